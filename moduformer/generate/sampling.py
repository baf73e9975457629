"""Greedy search and sampling: one token at a time, the most probable one or a random one, until every row has ended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from moduformer.architecture import LearnedPositions
from moduformer.batch import Batch
from moduformer.generate.decoding import Decoding
from moduformer.generate.processors import apply
from moduformer.generate.strategies import EndedBy, Made, Request

if TYPE_CHECKING:
    from moduformer.model import Model


def generate(model: Model, prompts: Batch | Sequence[Sequence[int]], request: Request) -> list[list[Made]]:
    """The strategy: `num_return_sequences` results a prompt, read once, in the order of their generators."""
    decoding = Decoding(model, prompts, request.prefix, request.prefixes)
    count, copies = len(decoding.rows), request.settings.num_return_sequences
    generators = request.generators(decoding.prompts) if request.settings.do_sample else []
    if copies > 1:
        decoding.select([row for row in range(count) for _ in range(copies)])
    made = write(decoding, request, generators)
    return [made[first : first + copies] for first in range(0, len(made), copies)]


def write(decoding: Decoding, request: Request, generators: Sequence[torch.Generator] = ()) -> list[Made]:
    """Continues every row of a decoding that has logits until all have ended; one result a row, in their order.

    `generators` has one for every row, where there is sampling. Rows that end are taken out of `decoding`, but for the
    last ones; their last token is not fed.
    """
    process, warp = request.all_processors(), request.settings.warpers()
    room = positions_of(decoding.model)
    results = list(range(len(decoding.rows)))
    made = [Made([], "length") for _ in results]
    while True:
        logits = apply([*process, *warp], decoding.rows, decoding.logits)
        if request.settings.do_sample:
            chosen = sample(logits, [generators[result] for result in results])
        else:
            chosen = logits.argmax(-1).tolist()
        going = []
        for place, (result, token) in enumerate(zip(results, chosen)):
            made[result].ids.append(token)
            stopped = request.watch is not None and request.watch(result, token)
            ended = _ended(request, token, stopped, len(made[result].ids), decoding.lengths[place], room)
            if ended is None:
                going.append(place)
            else:
                made[result].ended_by = ended
        if not going:
            return made
        if len(going) < len(results):
            decoding.select(going)
            results, chosen = [results[i] for i in going], [chosen[i] for i in going]
        decoding.advance(chosen)


def _ended(request: Request, token: int, stopped: bool, new: int, fed: int, room: int | None) -> EndedBy | None:
    if token in request.ends:
        return "eos"
    if stopped:
        return "stop"
    if new >= request.max_new_tokens:
        return "length"
    return "context" if room is not None and fed >= room else None


def sample(logits: Tensor, generators: Sequence[torch.Generator]) -> list[int]:
    """A token for every row of `[rows, vocab]` logits, drawn from its softmax by the row's own generator.

    One uniform number a row is looked up in the cumulative distribution, so what a row draws depends on its own logits
    and generator only.
    """
    cumulative = logits.double().softmax(-1).cumsum(-1)
    total = cumulative[:, -1:]
    drawn = torch.cat([torch.rand(1, 1, dtype=torch.float64, generator=own) for own in generators]).to(logits.device)
    # Below the total, or rounding could choose a token behind the last possible one.
    aim = torch.minimum(drawn * total, torch.nextafter(total, torch.zeros_like(total)))
    return torch.searchsorted(cumulative, aim, right=True).squeeze(1).tolist()


def positions_of(model: Model) -> int | None:
    """How many tokens the model's decoder has positions for; None where it has no such bound."""
    spec = model.spec
    embedding = getattr(spec, "target_embedding", None) or spec.embedding
    return embedding.positions.max if isinstance(embedding.positions, LearnedPositions) else None
