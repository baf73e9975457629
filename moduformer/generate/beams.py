"""Beam search, its sampled kind, and diverse beam search, as transformers' `generate` defines them.

Every prompt's search is its own: what a beam does depends on no other prompt, and beams that are done cost nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from moduformer.batch import Batch
from moduformer.errors import TextError
from moduformer.generate.decoding import Decoding, Row
from moduformer.generate.processors import Processor, apply
from moduformer.generate.sampling import positions_of
from moduformer.generate.settings import GenerationSettings
from moduformer.generate.strategies import EndedBy, Made, Request

if TYPE_CHECKING:
    from moduformer.model import Model


@dataclass
class _Candidate:
    """A beam with one more token: `place` is the row that it continues, counted inside its group."""

    place: int
    token: int
    score: float


@dataclass
class _Group:
    """The beams of one prompt that compete with each other; plain beam search has one group a prompt."""

    beams: list[_Candidate] = field(default_factory=lambda: [_Candidate(0, -1, 0.0)])
    finished: list[Made] = field(default_factory=list)
    going: bool = True


def generate(model: Model, prompts: Batch | Sequence[Sequence[int]], request: Request) -> list[list[Made]]:
    """The strategy: `num_beams` beams a prompt, of which the `num_return_sequences` best come back, best first.

    A result's score is the sum of its tokens' log-probabilities (as the processors leave them, an end token's among
    them) over its length to the power of `length_penalty`. With `num_beam_groups`, groups choose one after another,
    and a token costs `diversity_penalty` for every beam of an earlier group that has just chosen it (Vijayakumar et
    al. 2018). With `do_sample` candidates are drawn without replacement instead of taken from the top. Where processors
    leave fewer texts than were asked for, the last one is repeated. Raises `TextError` where they leave none.
    """
    settings = request.settings
    decoding = Decoding(model, prompts, request.prefix, request.prefixes)
    count, groups = len(decoding.rows), settings.num_beam_groups
    generators = request.generators(decoding.prompts)[:: settings.num_return_sequences] if settings.do_sample else []
    if groups > 1:
        decoding.select([row for row in range(count) for _ in range(groups)])
    searches = [[_Group() for _ in range(groups)] for _ in range(count)]
    processors = [*request.all_processors(), *settings.warpers()]
    room = positions_of(model)
    while True:
        scores = decoding.logits.log_softmax(-1)
        first, rows, tokens = 0, [], []
        for prompt, search in enumerate(searches):
            said: list[int] = []
            for group in search:
                if not group.going:
                    continue
                own = slice(first, first + len(group.beams))
                beams = decoding.rows[own]
                totals = _totals(group, beams, scores[own], processors, settings, said)
                chosen = _candidates(totals, settings, generators[prompt] if generators else None)
                said += _step(group, beams, chosen, request, room)
                if group.going:
                    rows += [first + candidate.place for candidate in group.beams]
                    tokens += [candidate.token for candidate in group.beams]
                first = own.stop
        if not rows:
            break
        decoding.select(rows)
        decoding.advance(tokens)
    return [_best(search, settings.num_return_sequences) for search in searches]


def _totals(
    group: _Group,
    beams: Sequence[Row],
    own: Tensor,
    processors: Sequence[Processor],
    settings: GenerationSettings,
    said: Sequence[int],
) -> Tensor:
    """Scores of all continuations of a group's beams, whose tokens' log-probabilities are `own`, `[beams, vocab]`."""
    if said and settings.diversity_penalty:
        times = torch.bincount(torch.tensor(said, device=own.device), minlength=own.shape[-1])
        own = own - settings.diversity_penalty * times
    before = torch.tensor([beam.score for beam in group.beams], dtype=own.dtype, device=own.device)
    return apply(processors, beams, own) + before[:, None]


def _candidates(totals: Tensor, settings: GenerationSettings, generator: torch.Generator | None) -> list[_Candidate]:
    """The continuations to choose from: enough that, were all end tokens among them, every beam could go on."""
    width, vocab = settings.num_beams // settings.num_beam_groups, totals.shape[-1]
    flat = totals.flatten()
    keys = flat
    if generator is not None:
        # The order of keys with Gumbel noise is that of draws without replacement (Kool et al. 2019).
        noise = torch.rand(len(flat), dtype=torch.float64, generator=generator).clamp_min(1e-300).to(flat.device)
        keys = flat.double() - (-noise.log()).log()
    wanted = width * max(2, 1 + len(set(settings.eos_token_id)))
    places = _largest(keys, min(wanted, len(keys)))
    scored = zip(places.tolist(), flat[places].tolist())
    return [_Candidate(place // vocab, place % vocab, score) for place, score in scored if score != float("-inf")]


BLOCK = 64


def _largest(numbers: Tensor, count: int) -> Tensor:
    """Places of the `count` largest of `[n]` numbers, the largest first.

    They lie in the `count` blocks whose own largest are largest, or behind the last whole block: no more is sorted."""
    blocks = len(numbers) // BLOCK
    if blocks <= count:
        return numbers.topk(count).indices
    of_blocks = numbers[: blocks * BLOCK].view(blocks, BLOCK).amax(1).topk(count).indices
    inside = torch.arange(BLOCK, device=numbers.device)
    rest = torch.arange(blocks * BLOCK, len(numbers), device=numbers.device)
    places = torch.cat(((of_blocks[:, None] * BLOCK + inside).flatten(), rest))
    return places[numbers[places].topk(count).indices]


def _step(
    group: _Group, beams: Sequence[Row], chosen: list[_Candidate], request: Request, room: int | None
) -> list[int]:
    """Finishes what ends and chooses the beams that go on, if any do; returns the tokens that diversity counts."""
    settings, width = request.settings, request.settings.num_beams // request.settings.num_beam_groups
    new = len(beams[0].new) + 1
    full = new >= request.max_new_tokens or (room is not None and len(beams[0].ids) >= room)
    for candidate in chosen[:width]:
        # Those further down are there so that beams can go on, and end nothing.
        ends = candidate.token in request.ends
        if ends or full:
            why: EndedBy = "eos" if ends else "length" if new >= request.max_new_tokens else "context"
            ids = [*beams[candidate.place].new, candidate.token]
            group.finished.append(Made(ids, why, _over_length(candidate.score, new, settings)))
    group.finished.sort(key=_score, reverse=True)
    del group.finished[width:]
    open_ones = [candidate for candidate in chosen if candidate.token not in request.ends]
    # Sampled candidates come in the order they were drawn.
    group.beams = sorted(open_ones, key=lambda candidate: candidate.score, reverse=True)[:width]
    group.going = bool(group.beams) and not full
    if group.going and len(group.finished) == width:
        never = settings.early_stopping == "never" and settings.length_penalty > 0
        best = _over_length(group.beams[0].score, request.max_new_tokens if never else new, settings)
        group.going = settings.early_stopping is not True and best > _score(group.finished[-1])
    return [candidate.token for candidate in group.beams]


def _over_length(score: float, length: int, settings: GenerationSettings) -> float:
    # Bounded, or an extreme penalty would be no number.
    return score / math.exp(max(-600.0, min(settings.length_penalty * math.log(length), 600.0)))


def _best(search: Sequence[_Group], wanted: int) -> list[Made]:
    found = sorted((made for group in search for made in group.finished), key=_score, reverse=True)
    if not found:
        raise TextError("the settings leave no token that any beam could go on with; allow more, or use more beams")
    return (found + [found[-1]] * wanted)[:wanted]


def _score(made: Made) -> float:
    return float("-inf") if made.score is None else made.score
