"""A recording of one forward pass: what a page draws, and the answers to what it asks afterwards."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from moduformer.errors import TextError
from moduformer.images import ImageProcessor
from moduformer.model import Model, States
from moduformer.trace import Trace
from moduformer.view.gradient import graded, relevance
from moduformer.view.inputs import Inputs, inputs_of, kind_of
from moduformer.view.lens import lens, readable_layers
from moduformer.view.pair import pack_parts, pair
from moduformer.view.prediction import Asked, Prediction, ask, distribution, logits_of, moved, predict, written
from moduformer.view.probe import Probe, Scored, Shelf, Weights
from moduformer.view.rollout import mean_weights, rollout
from moduformer.view.scores import Places, pack, survey
from moduformer.view.switching import Head, Layers, each_alone, edits

FORMAT = "moduformer recording 1"
THUMBNAIL = 32
MOST_SQUARED = 1024
"""Tokens up to which whole maps of tokens by tokens are told as JSON."""

MOST_LENS = 512
MOST_GRADED = 2**26
"""Weights of all layers that may be held at once for their gradients."""

MOST_EFFECTS = 2**17
"""Tokens that are read to switch every head off by itself, all heads together."""

BATCH = 2048
"""Tokens of a batch in which heads are switched off one a row."""

CHOSEN = ("tag", "replaced-token")
"""Heads whose prediction is about a token that is chosen by what they say of all."""


@dataclass(eq=False)
class Attention:
    """One kind of attention of a recording: which sequences meet, its layers, and what is known of each head."""

    name: str
    queries: str
    keys: str
    layers: Layers
    places: Places
    size: int
    scores: dict[str, list[list[float | None]]] = field(default_factory=dict)
    thumbnails: list[bytes] = field(default_factory=list)

    def add(self, name: str, weights: Weights) -> None:
        """The next layer of this attention."""
        own = isinstance(weights, Scored) and weights.scores.q.shape[1] == weights.scores.k.shape[1]
        self.layers = Layers((*self.layers.names, name), weights.shape[0], own)
        found, picture = survey(weights, self.places, self.size)
        for score, values in found.items():
            self.scores.setdefault(score, []).append(values)
        self.thumbnails.append(picture)

    def to_dict(self, can: Sequence[str]) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "name": self.name,
            "queries": self.queries,
            "keys": self.keys,
            "layers": len(self.layers),
            "heads": self.layers.heads,
            # A score that only some layers have says nothing beside the others.
            "scores": {score: rows for score, rows in self.scores.items() if len(rows) == len(self.layers)},
            "thumbnail": {"size": self.size, "data": base64.b64encode(b"".join(self.thumbnails)).decode()},
            "can": list(can),
        }


class Recording:
    """What a model looked at in one pass, and what else can be asked about it.

    `data` is what a page reads (docs/viewer-format.md). The methods are its questions: indices count from 0, and an
    attention is named as in `data`. They run the model again where they must; layers are never all held.
    """

    def __init__(self, model: Model, inputs: Inputs, name: str = "model", id: str = "1", at: int | None = None) -> None:
        self.model, self.inputs, self.name, self.id = model, inputs, name, id
        self.attentions: dict[str, Attention] = {}
        self._shelf = Shelf()
        asked = ask(model, inputs, None, at)
        sequence = inputs.readings.get(asked.sequence or "")
        if asked.place is not None and sequence is not None and not 0 <= asked.place < len(sequence):
            raise TextError(f"there is no token {asked.place}; the text has {len(sequence)}, counted from 0")
        with _reading(model):
            states = inputs.run(model, Probe(self._look), at=None if asked.head in CHOSEN else asked.at)
            self.asked = ask(model, inputs, states, at) if asked.head in CHOSEN else asked
            self._prediction = self._predicted(states, whole=asked.head in CHOSEN)
            self._written = written(model, inputs, states)

    # What a page reads ---------------------------------------------------------------------------------------------

    @property
    def can(self) -> list[str]:
        """The questions that have an answer here."""
        found = {question for attention in self.attentions.values() for question in self._can(attention)}
        if self.attentions:
            found |= {"off"}
        if readable_layers(self.model) and self._read_length() <= MOST_LENS:
            found |= {"lens"}
        order = ("layer", "pair", "rollout", "gradient", "lens", "off", "effects", "record")
        return [question for question in order if question in found | {"record"}]

    @property
    def data(self) -> dict[str, Any]:
        """The recording as plain data for JSON."""
        origin = self.model.origin
        return {
            "format": FORMAT,
            "id": self.id,
            "model": {
                "name": self.name,
                "family": origin.family.name if origin is not None else "",
                "kind": kind_of(self.model),
                "parameters": self.model.num_parameters(),
            },
            "sequences": {name: reading.to_dict() for name, reading in self.inputs.readings.items()},
            "attentions": [attention.to_dict(self._can(attention)) for attention in self.attentions.values()],
            "prediction": self._prediction.to_dict(),
            "written": self._written,
            "can": self.can,
        }

    @property
    def prediction(self) -> Prediction:
        """What the model predicts; `prediction.values` are all probabilities."""
        return self._prediction

    def _can(self, attention: Attention) -> list[str]:
        queries, keys = self._lengths(attention)
        found = ["layer"]
        if all(isinstance(self._shelf.get(name), Scored | None) for name in attention.layers.names) and (
            kind_of(self.model) != "recurrent"
        ):
            found.append("pair")
        if attention.queries == attention.keys and queries <= MOST_SQUARED:
            found.append("rollout")
        graded_weights = sum(
            len(each.layers) * each.layers.heads * self._lengths(each)[0] * self._lengths(each)[1]
            for each in self.attentions.values()
        )
        small = max(queries, keys) <= MOST_SQUARED and graded_weights <= MOST_GRADED
        if small and self.asked.head is not None and self.model.quantization is None:
            found.append("gradient")
        if len(attention.layers) * attention.layers.heads * self._all_tokens() <= MOST_EFFECTS:
            found.append("effects")
        return found

    # Questions -----------------------------------------------------------------------------------------------------

    def layer(self, attention: str, layer: int, head: int | None = None) -> bytes:
        """A layer's weights as bytes: see `scores.pack`."""
        found = self.attention(attention, layer, head)
        return pack(self._weights(found.layers.names[layer]), head)

    def weights(self, attention: str, layer: int, head: int) -> Tensor:
        """One head's weights as they are, `[queries, keys]`."""
        found = self._weights(self.attention(attention, layer, head).layers.names[layer])
        return torch.cat([found.rows(i, i + 1)[head] for i in range(found.shape[1])])

    def pair(self, attention: str, layer: int, head: int, query: int, key: int) -> dict[str, Any]:
        """What makes one weight: see `pair.pair`. Raises `TextError` for an attention without queries and keys."""
        found = self.attention(attention, layer, head)
        for what, number, count in zip(("query", "key"), (query, key), self._lengths(found)):
            if not 0 <= number < count:
                raise TextError(f"there is no {what} {number}; {attention} has {count}, counted from 0")
        weights = self._weights(found.layers.names[layer])
        if not isinstance(weights, Scored):
            raise TextError(f"{attention} is no product of queries and keys")
        return pair(weights, head, query, key)

    def parts(self, attention: str, layer: int) -> bytes:
        """What makes the weights of a layer as bytes: see `pair.pack_parts`. Raises `TextError` where `pair` does."""
        weights = self._weights(self.attention(attention, layer).layers.names[layer])
        if not isinstance(weights, Scored):
            raise TextError(f"{attention} is no product of queries and keys")
        return pack_parts(weights)

    def rollout(self, attention: str) -> Tensor:
        """Attention rollout `[queries, keys]` of a self-attention; see `rollout.rollout`."""
        found = self.attention(attention)
        self._allowed(found, "rollout")
        return rollout(mean_weights(self._weights(name)) for name in found.layers.names)

    def gradient(self, attention: str, target: int | None = None, token: int | None = None) -> tuple[Tensor, Tensor]:
        """Attention times gradient: each head's part `[layers, heads]`, and relevance `[queries, keys]`.

        Arguments:
            target: index into the labels of the prediction; None is the first of them.
            token: instead, a token of the text that was written: why this one.
        """
        found = self.attention(attention)
        self._allowed(found, "gradient")
        asked, number = self._wanted(target, token)

        def run(trace: Trace) -> Tensor:
            states = self.inputs.run(self.model, trace, at=asked.at)
            return logits_of(asked, states)[0, number]

        names = {name: each.layers.names for name, each in self.attentions.items()}
        with _reading(self.model, torch.enable_grad):
            kept = graded(run, [name for layers in names.values() for name in layers])
        result = relevance(kept, names, attention)
        return result.heads, result.weights

    def lens(self) -> list[list[list[list[Any]]]]:
        """The logit lens, `[layers][tokens][five][text, probability]`; see `lens.lens`."""
        stack = readable_layers(self.model)
        if stack is None or "lens" not in self.can:
            raise TextError("the logit lens is for models with a head over a vocabulary, and texts of up to 512 tokens")
        trace = Trace(f"{stack}.*.hidden")
        with _reading(self.model):
            self.inputs.run(self.model, trace, at=[0])
            layers = [trace[name][0] for name in trace if name.split(".")[1].isdigit()]
            return lens(self.model, layers)

    def off(self, heads: Sequence[Head]) -> dict[str, Any]:
        """The prediction and what is written with some heads off, and how far the prediction `moved`.

        `heads` are `(attention, layer, head)`.
        """
        for attention, layer, head in heads:
            self.attention(attention, layer, head)
        kinds = {name: each.layers for name, each in self.attentions.items()}
        with _reading(self.model):
            states = self.inputs.run(self.model, Trace(edit=edits(kinds, [heads])), at=self.asked.at)
            found = self._predicted(states)
            text = written(self.model, self.inputs, states)
        distance = float(moved(self.asked, self._prediction.values, found.values[None])[0])
        return {"prediction": found.to_dict(), "written": text, "moved": round(distance, 6)}

    def effects(self, attention: str) -> Tensor:
        """How far the prediction moves with each head alone off, `[layers, heads]`."""
        found = self.attention(attention)
        self._allowed(found, "effects")
        kinds = {name: each.layers for name, each in self.attentions.items()}
        far: list[Tensor] = []
        with _reading(self.model):
            for some in each_alone(attention, found.layers, max(1, BATCH // max(1, self._all_tokens()))):
                trace = Trace(edit=edits(kinds, [[head] for head in some]))
                states = self.inputs.run(self.model, trace, copies=len(some), at=self.asked.at)
                values = distribution(self.asked, logits_of(self.asked, states, len(some)))
                far.append(moved(self.asked, self._prediction.values, values))
        return torch.cat(far).view(len(found.layers), found.layers.heads)

    def attention(self, name: str, layer: int | None = None, head: int | None = None) -> Attention:
        """The attention of a name. Raises `TextError` for a name, layer or head that is not there."""
        found = self.attentions.get(name)
        if found is None:
            raise TextError(f"there is no attention of that name; there are {', '.join(self.attentions) or 'none'}")
        for what, number, count in (("layer", layer, len(found.layers)), ("head", head, found.layers.heads)):
            if number is not None and not 0 <= number < count:
                raise TextError(f"there is no {what} {number} in {name}, which has {count}, counted from 0")
        return found

    # Inside --------------------------------------------------------------------------------------------------------

    def _look(self, name: str, across: str, weights: Weights) -> None:
        stack, _, rest = name.partition(".")
        queries, keys = self.inputs.stacks.get(stack), self.inputs.stacks.get(across)
        readings = self.inputs.readings
        if queries is None or keys is None or not {queries, keys} <= set(readings):
            return
        heads, asking, asked = weights.shape
        if (asking, asked) != (len(readings[queries]), len(readings[keys])):
            return  # an image's vectors after a bridge, which are no patches
        kind = f"{stack}.{rest.partition('.')[2]}"
        if kind not in self.attentions:
            size = min(THUMBNAIL, max(asking, asked))
            places = self._places(stack, queries, keys)
            self.attentions[kind] = Attention(kind, queries, keys, Layers((), heads, False), places, size)
        if self.attentions[kind].layers.heads == heads:
            self.attentions[kind].add(name, weights)
            self._shelf.put(name, weights)

    def _places(self, stack: str, queries: str, keys: str) -> Places:
        device, reading = self.model.device, self.inputs.readings[keys]
        settings = getattr(self.model.spec, stack, None)
        grid = None
        if reading.grid is not None:
            grid = (*reading.grid, len(reading) - reading.grid[0] * reading.grid[1])
        return Places(
            same=queries == keys,
            causal=queries == keys and bool(getattr(settings, "causal", False)),
            separators=torch.tensor(reading.separators, device=device) if reading.separators else None,
            ids=torch.tensor(reading.ids, device=device) if reading.ids else None,
            grid=grid,
        )

    def _weights(self, name: str) -> Weights:
        """A layer's weights, from the shelf or by another pass."""
        found = self._shelf.get(name)
        if found is None:
            wanted: list[Weights] = []

            def look(seen: str, _: str, weights: Weights) -> None:
                if seen == name:
                    wanted.append(weights)

            with _reading(self.model):
                self.inputs.run(self.model, Probe(look), at=[0] if self.inputs.ids else None)
            found = wanted[0]
            self._shelf.put(name, found)
        return found

    def _predicted(self, states: States, whole: bool = False) -> Prediction:
        """The prediction; `whole` where the heads have read every token and not only the one it is about."""
        head, place = self.asked.head, self.asked.place or 0
        if whole and head is not None:
            states = replace(states, heads=states.heads | {head: states.heads[head][place : place + 1]})
        return predict(self.model, self.asked, logits_of(self.asked, states)[0])

    def _wanted(self, target: int | None, token: int | None) -> tuple[Asked, int]:
        """The prediction that a gradient is of, and which output of it."""
        if token is not None:
            if self._written is None or not 0 < token < len(self._written["probabilities"]):
                raise TextError(f"there is no written token {token} that something precedes")
            ids = self.inputs.readings[self._written["sequence"]].ids
            return Asked("next token", "language-model", token - 1, self._written["sequence"]), ids[token]
        listed = self._prediction.listed
        number = 0 if target is None else target
        if not 0 <= number < len(listed):
            raise TextError(f"there is no label {number}; the prediction has {len(listed)}, counted from 0")
        return self.asked, listed[number]

    def _allowed(self, attention: Attention, question: str) -> None:
        if question not in self._can(attention):
            raise TextError(f"{question} has no answer for {attention.name} here; the text may be too long for it")

    def _lengths(self, attention: Attention) -> tuple[int, int]:
        readings = self.inputs.readings
        return len(readings[attention.queries]), len(readings[attention.keys])

    def _read_length(self) -> int:
        return max(len(reading) for reading in self.inputs.readings.values())

    def _all_tokens(self) -> int:
        return sum(len(reading) for reading in self.inputs.readings.values())


@contextmanager
def _reading(model: Model, grad: Callable[[], Any] = torch.no_grad) -> Iterator[None]:
    """Nothing is drawn and nothing is learned while a model is looked at; it is left as it was."""
    training = model.training
    model.eval()
    try:
        with grad():
            yield
    finally:
        if training:
            model.train()


def record(
    model: Model,
    text: str | None = None,
    target: str | None = None,
    image: Any = None,
    generate: int = 0,
    *,
    pair: str | None = None,
    name: str | None = None,
    at: int | None = None,
    id: str = "1",
    processor: ImageProcessor | None = None,
) -> Recording:
    """Runs a model once and records what its heads look at.

    Arguments:
        model: from `mf.load`, `mf.build` (with a tokenizer), or an estimator's `model_`.
        text: what it reads.
        target: an encoder-decoder's second text; without it the model writes one.
        image: a file, a Pillow image, or pixel values `[channels, height, width]`.
        generate: tokens that a decoder shall write after the text.
        pair: a second text that belongs to the first (question and context, premise and hypothesis).
        name: what a page calls the model.
        at: the token that a prediction of tokens shall be about; None is the last (or the masked) one.
        id: a short name, different for each recording of a page.
        processor: how pictures are prepared; None resizes them to what the model sees, with CLIP's mean.

    Raises `TextError` for what the model cannot read.
    """
    if not 0 <= generate <= 10_000:
        raise TextError(f"generate is {generate}; give a number of tokens from 0 to 10,000")
    inputs = inputs_of(model, text, pair, target, image, generate, processor)
    family = model.origin.family.name if model.origin is not None else None
    return Recording(model, inputs, name or family or "model", id, at)
