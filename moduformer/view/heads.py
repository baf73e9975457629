"""Which heads do what: scores of every head over a few texts, and over random tokens that are repeated."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from moduformer.errors import TextError
from moduformer.generate.sampling import positions_of
from moduformer.model import Model
from moduformer.trace import Trace
from moduformer.view.inputs import Inputs
from moduformer.view.record import Recording, record
from moduformer.view.switching import edits
from moduformer.view.tokens import Reading, Token

TEXTS = (
    "The old lighthouse keeper climbed the stairs every evening, lit the lamp, and wrote a line about the weather.",
    "When the committee met again in March, nobody could explain why the report was late, although it was short.",
    "She bought three apples, two pears and a bag of rice; the rest of the money went into a small tin on the shelf.",
    "Although the film begins slowly, its second half is funny, warm and surprisingly honest about growing older.",
    "Water freezes at zero degrees, but salt water needs a lower temperature, which is why roads are salted in winter.",
    "The train to the coast was late, so the children counted birds, bridges and boats until the sea came into view.",
)
"""What heads are tried on unless other texts are given."""

REPEATED = 50
"""Random tokens, which come twice (Olsson et al. 2022, section on repeated random tokens)."""

ROWS = 4
"""Draws of random tokens."""

COLUMNS = ("entropy", "distance", "previous", "next", "self", "first", "separator", "induction")


@dataclass(frozen=True)
class HeadScores:
    """One head, counted from 0, and its mean scores; see `scores.measure`. `induction` is that on repeated random
    tokens."""

    attention: str
    layer: int
    head: int
    scores: dict[str, float]

    @property
    def name(self) -> str:
        """Layer and head, "3.1"."""
        return f"{self.layer}.{self.head}"


def head_scores(model: Model, texts: Sequence[str] = TEXTS, seed: int = 0) -> list[HeadScores]:
    """The scores of all heads of a model, averaged over texts.

    Arguments:
        model: with a tokenizer.
        texts: what it reads.
        seed: of the random tokens, which decoders read for their induction scores.

    Raises `TextError` for texts that the model cannot read, or where there are none.
    """
    if isinstance(texts, str) or not texts:
        raise TextError("give a list of texts to try the heads on")
    means = _means([record(model, text) for text in texts])
    if model.decoder is not None and not model.spec.has_source and model.tokenizer is not None:
        drawn = _means([repeated_tokens(model, seed + row) for row in range(ROWS)])
        for key, scores in means.items():
            scores.pop("induction", None)
            if "induction" in drawn.get(key, {}):
                scores["induction"] = drawn[key]["induction"]
    else:
        for scores in means.values():
            scores.pop("induction", None)
    return [HeadScores(*key, scores) for key, scores in means.items()]


def best(heads: Sequence[HeadScores], score: str, count: int = 5) -> list[HeadScores]:
    """The heads with the highest score, best first; only those that have it."""
    able = [head for head in heads if score in head.scores]
    return sorted(able, key=lambda head: (-head.scores[score], head.layer, head.head))[:count]


@dataclass(frozen=True)
class Check:
    """How well random tokens are predicted when they come a second time, in nats a token: with all heads, without the
    heads in question, and without as many others of the same layers."""

    all_heads: float
    without: float
    without_others: float
    heads: tuple[HeadScores, ...]


def check_induction(model: Model, found: Sequence[HeadScores], count: int = 5, seed: int = 0) -> Check:
    """Switches the best induction heads off, to see whether they are what repeats (Olsson et al. 2022, argument 3).

    Arguments:
        found: what `head_scores` found of a decoder.
        count: heads to switch off.
        seed: of the random tokens, which are others than those that the scores are of, and of the other heads.

    Raises `TextError` for a model that has no induction scores.
    """
    chosen = best(found, "induction", count)
    if not chosen:
        raise TextError("induction heads are a matter of decoders, and this model has none")
    layers = {head.layer for head in chosen}
    others = [head for head in found if head.layer in layers and head not in chosen]
    drawn = random.Random(seed).sample(others, min(count, len(others)))
    losses = [
        sum(_second_reading(model, heads, seed + ROWS + row) for row in range(ROWS)) / ROWS
        for heads in ([], chosen, drawn)
    ]
    return Check(losses[0], losses[1], losses[2], tuple(chosen))


@torch.no_grad()
def _second_reading(model: Model, off: Sequence[HeadScores], seed: int) -> float:
    """The mean loss in nats of random tokens that come again, the first of them left out."""
    recording = repeated_tokens(model, seed)
    ids = torch.tensor(recording.inputs.ids, device=model.device)
    asked = range(len(ids) - (len(ids) // 2), len(ids) - 1)
    kinds = {name: each.layers for name, each in recording.attentions.items()}
    trace = Trace(edit=edits(kinds, [[(head.attention, head.layer, head.head) for head in off]]))
    logits = recording.inputs.run(model, trace, at=asked).heads["language-model"]
    return float(torch.nn.functional.cross_entropy(logits.float(), ids[asked.start + 1 :]))


def _means(recordings: Sequence[Recording]) -> dict[tuple[str, int, int], dict[str, float]]:
    """The mean of each score over recordings, for every attention, layer and head."""
    found: dict[tuple[str, int, int], dict[str, list[float]]] = {}
    for recording in recordings:
        for name, attention in recording.attentions.items():
            for score, layers in attention.scores.items():
                for layer, values in enumerate(layers):
                    for head, value in enumerate(values):
                        kept = found.setdefault((name, layer, head), {}).setdefault(score, [])
                        if value is not None and math.isfinite(value):
                            kept.append(value)
    return {
        key: {name: sum(values) / len(values) for name, values in scores.items() if values}
        for key, scores in found.items()
    }


def repeated_tokens(model: Model, seed: int = 0) -> Recording:
    """A decoder's recording of random tokens that come twice, after the token that begins texts."""
    tokenizer = model.tokenizer
    ordinary = [number for number in range(min(model.spec.vocab, tokenizer.max_id + 1)) if _plain(tokenizer, number)]
    room = positions_of(model)
    count = REPEATED if room is None else max(2, min(REPEATED, (room - 1) // 2))
    generator = torch.Generator().manual_seed(seed)
    drawn = [ordinary[i] for i in torch.randint(len(ordinary), (count,), generator=generator).tolist()]
    start = model.spec.bos_id if model.spec.bos_id is not None else tokenizer.bos_id
    ids = ([] if start is None else [start]) + drawn + drawn
    tokens = tuple(Token(str(number), 0, 0) for number in ids)
    reading = Reading("", tokens, tuple(ids), (False,) * len(ids))
    return Recording(model, Inputs({"source": reading}, tuple(ids), stacks={"decoder": "source"}))


def _plain(tokenizer: object, number: int) -> bool:
    name = tokenizer.id_to_token(number)  # type: ignore[attr-defined]
    return name is not None and name not in tokenizer.control_tokens  # type: ignore[attr-defined]
