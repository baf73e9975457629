"""The logit lens: what a model would say if it stopped after each layer (nostalgebraist 2020, "interpreting GPT")."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from moduformer.blocks.stack import Stack
from moduformer.model import Model
from moduformer.view.prediction import CHUNK, LIKELIEST, name_of


def readable_layers(model: Model) -> str | None:
    """The stack whose layers the lens reads; None where what comes after the last layer is more than a norm."""
    stack = model.decoder or model.encoder
    head = model.spec.head("language-model") or model.spec.head("masked-lm")
    if head is None or head.reads != "tokens" or head.module is not None or not isinstance(stack, Stack):
        return None
    if stack.top_query is not None or model.spec.asks_ahead or stack.convolution is not None:
        return None
    return stack.name


def logits_after(model: Model, hidden: Tensor) -> Tensor:
    """A layer's states `[tokens, dim]` through the final norm and the head, `[tokens, vocabulary]`."""
    stack: Any = model.decoder or model.encoder
    if stack.norm is not None:
        hidden = stack.norm(hidden)
    if stack.projection is not None:
        hidden = stack.projection(hidden)
    kind = "language-model" if model.spec.head("language-model") is not None else "masked-lm"
    return model.heads[kind](hidden, model.targets.tokens.weight)


@torch.no_grad()
def lens(model: Model, layers: list[Tensor]) -> list[list[list[list[Any]]]]:
    """For each layer's states `[tokens, dim]` and each token, the likeliest `[text, probability]` of what it says."""
    names: dict[int, str] = {}
    found = []
    for hidden in layers:
        tokens: list[list[list[Any]]] = []
        for part in hidden.split(CHUNK):
            best = logits_after(model, part).float().softmax(-1).topk(LIKELIEST)
            for values, numbers in zip(best.values.tolist(), best.indices.tolist()):
                for number in numbers:
                    names.setdefault(number, name_of(model, number))
                tokens.append([[names[number], round(value, 4)] for number, value in zip(numbers, values)])
        found.append(tokens)
    return found
