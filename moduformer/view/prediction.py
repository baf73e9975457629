"""What a model says about its input: one distribution to watch while heads are switched, and what it wrote."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from moduformer.blocks.head import Head
from moduformer.model import Model, States
from moduformer.view.tokens import spelled, visible

if TYPE_CHECKING:
    from moduformer.view.inputs import Inputs

LISTED = 10
"""Tokens of a vocabulary that a prediction names."""

LIKELIEST = 5
CHUNK = 128
"""Tokens whose logits over a vocabulary are held at once."""

PREFERRED = ("classify", "tag", "span", "masked-lm", "language-model", "replaced-token", "next-sentence", "match")
"""Heads whose prediction is shown, the first that a model has."""


@dataclass(frozen=True)
class Asked:
    """Which prediction is watched: a head's, about one token (`place`) or the whole; no head is the mean state.

    `of` is what a page calls it; `labels` are all outputs, or None for a vocabulary's.
    """

    of: str
    head: str | None = None
    place: int | None = None
    sequence: str | None = None
    labels: tuple[str, ...] | None = None

    @property
    def at(self) -> list[int] | None:
        """The tokens that heads have to read; None is all of them."""
        if self.head is None:
            return [0]  # one row of vocabulary logits, which nobody looks at
        return None if self.place is None else [self.place]


@dataclass(frozen=True, eq=False)
class Prediction:
    """A distribution over labels or a vocabulary: `values` `[outputs]`, of which `listed` are shown, best first."""

    asked: Asked
    values: Tensor
    listed: tuple[int, ...]
    labels: tuple[str, ...]

    def to_dict(self) -> dict[str, Any] | None:
        """Plain data for JSON; None where a model predicts nothing."""
        if self.asked.head is None:
            return None
        data: dict[str, Any] = {
            "of": self.asked.of,
            "labels": list(self.labels),
            "probabilities": [round(float(self.values[number]), 6) for number in self.listed],
        }
        if self.asked.place is not None:
            data |= {"sequence": self.asked.sequence, "token": self.asked.place}
        return data


def ask(model: Model, inputs: Inputs, states: States | None = None, at: int | None = None) -> Asked:
    """Which prediction of a model to watch. `states` are those of a pass, which tags are chosen by; `at` is the token
    that a prediction of tokens shall be about."""
    spec = model.spec
    kind = next((kind for kind in PREFERRED if spec.head(kind) is not None), None)  # type: ignore[arg-type]
    sequence = "target" if "target" in inputs.readings else "source"
    if kind in ("classify", "next-sentence", "match"):
        head = spec.head(kind)  # type: ignore[arg-type]
        assert head is not None
        count = head.outputs or 2
        names = model.labels if kind == "classify" and model.labels and len(model.labels) == count else None
        if names is None:
            names = ("follows", "is another") if kind == "next-sentence" else tuple(f"LABEL_{i}" for i in range(count))
        return Asked(_of_classes(model, count), kind, None, None, tuple(names))
    if kind is None or spec.asks_ahead or spec.reads_backward or not inputs.ids:
        return Asked("state")
    reading = inputs.readings[sequence]
    ordinary = [place for place, token in enumerate(reading.tokens) if not token.special]
    if kind == "language-model":
        place = len(reading) - 1
        if sequence == "target" and place and reading.separators and reading.separators[place]:
            place -= 1  # what comes after its end is nothing
        place = place if at is None else at
        return Asked("next token", kind, place, sequence)
    if kind == "masked-lm":
        mask = getattr(model.tokenizer, "mask_id", None)
        masks = [place for place, number in enumerate(inputs.ids) if number == mask]
        if at is None and not masks:
            return Asked("state")
        return Asked("masked token", kind, masks[0] if at is None else at, "source")
    if kind == "span":
        tokens = tuple(visible(token.text) for token in inputs.readings["source"].tokens)
        return Asked("answer start", kind, None, None, tokens)
    chosen = at
    if chosen is None and states is not None and ordinary:
        logits = states.heads[kind]
        # The surest token with a tag of its own says more than a first word.
        sure = (
            logits.softmax(-1).masked_fill(logits.argmax(-1, keepdim=True) == 0, -1.0).amax(-1)
            if kind == "tag"
            else logits.flatten()
        )
        chosen = max(ordinary, key=lambda token: float(sure[token]))
    place = chosen if chosen is not None else ordinary[0] if ordinary else 0
    if kind == "replaced-token":
        return Asked("replaced token", kind, place, "source", ("original", "replaced"))
    head = spec.head("tag")
    assert head is not None
    names = model.labels or tuple(f"LABEL_{i}" for i in range(head.outputs or 0))
    return Asked("tag", kind, place, sequence, tuple(names))


def _of_classes(model: Model, count: int) -> str:
    problem = None if model.origin is None else model.origin.config.get("problem_type")
    if problem == "regression":
        return "value"
    return "labels" if problem == "multi_label_classification" or count == 1 else "class"


def logits_of(asked: Asked, states: States, copies: int = 1) -> Tensor:
    """What a head says of every row, `[rows, outputs]`: logits, or the mean state where there is no head."""
    if asked.head is None:
        return states.hidden.unflatten(0, (copies, -1)).mean(1)
    logits = states.heads[asked.head]
    if asked.head == "span":
        return logits.unflatten(0, (copies, -1))[..., 0]
    if asked.head == "replaced-token":
        score = logits.reshape(copies, 1)
        return torch.cat((torch.zeros_like(score), score), 1)
    return logits.reshape(copies, -1)


def distribution(asked: Asked, logits: Tensor) -> Tensor:
    """Logits `[rows, outputs]` as probabilities; values and states stay what they are."""
    if asked.of in ("state", "value"):
        return logits.float()
    return logits.float().sigmoid() if asked.of == "labels" else logits.float().softmax(-1)


def predict(model: Model, asked: Asked, logits: Tensor) -> Prediction:
    """The prediction of one row's logits `[outputs]`; `listed` are all labels, or a vocabulary's likeliest tokens."""
    values = distribution(asked, logits[None])[0]
    if asked.labels is not None and asked.of != "answer start":
        return Prediction(asked, values, tuple(range(len(asked.labels))), asked.labels)
    best = tuple(values.topk(min(LISTED, len(values))).indices.tolist())
    if asked.labels is not None:
        return Prediction(asked, values, best, tuple(asked.labels[number] for number in best))
    if asked.head is None:
        return Prediction(asked, values, (), ())
    return Prediction(asked, values, best, tuple(name_of(model, number) for number in best))


def moved(asked: Asked, before: Tensor, after: Tensor) -> Tensor:
    """How far distributions `[rows, outputs]` are from another `[outputs]`, `[rows]`: the total variation; for states
    one minus the cosine, for labels the largest change, for a value its change."""
    if asked.of == "state":
        return 1 - F.cosine_similarity(after, before[None], dim=-1)
    change = (after - before[None]).abs()
    return change.amax(-1) if asked.of in ("labels", "value") else change.sum(-1) / 2


def name_of(model: Model, number: int) -> str:
    """A token of the target's vocabulary as text; a piece of a character as the vocabulary spells it."""
    if model.tokenizer is None:
        return f"[{number}]"
    tokenizer = model.tokenizer
    text = tokenizer.decode([number], skip_special_tokens=False)
    if "\N{REPLACEMENT CHARACTER}" in text:
        return spelled([tokenizer.id_to_token(number) or ""])
    return visible(text or tokenizer.id_to_token(number) or f"[{number}]")


def written(model: Model, inputs: Inputs, states: States) -> dict[str, Any] | None:
    """The probability of every token of a decoder's text, and what would have been likelier; None of other models."""
    spec = model.spec
    if spec.head("language-model") is None or spec.decoder is None or spec.asks_ahead or spec.reads_backward:
        return None
    sequence = "target" if "target" in inputs.readings else "source"
    ids = inputs.target if inputs.target is not None else inputs.ids
    probabilities: list[float | None] = [None]
    likeliest: list[list[list[Any]]] = [[]]
    head, table = model.heads["language-model"], model.targets.tokens.weight
    assert isinstance(head, Head)
    hidden = head.states(states.hidden, states.batch.rows)
    names: dict[int, str] = {}
    for start in range(0, len(ids) - 1, CHUNK):
        following = torch.tensor(ids[start + 1 : start + 1 + CHUNK], device=states.hidden.device)
        logits = head(hidden[start : start + len(following)], table)
        shares = logits.float().softmax(-1)
        probabilities += [round(value, 6) for value in shares.gather(1, following[:, None]).squeeze(1).tolist()]
        best = shares.topk(min(LIKELIEST, shares.shape[1]))
        for values, numbers in zip(best.values.tolist(), best.indices.tolist()):
            for number in numbers:
                names.setdefault(number, name_of(model, number))
            likeliest.append([[names[number], round(value, 5)] for number, value in zip(numbers, values)])
    found = {"sequence": sequence, "probabilities": probabilities, "likeliest": likeliest}
    return found if inputs.written_from is None else found | {"from": inputs.written_from}
