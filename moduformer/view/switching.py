"""Switching heads off, alone or together, by editing a pass as it goes by."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from moduformer.trace import Edit


@dataclass(frozen=True)
class Layers:
    """One kind of attention: the names of its layers in a trace, its heads, and whether each has its own values."""

    names: tuple[str, ...]
    heads: int
    own_values: bool

    def __len__(self) -> int:
        return len(self.names)


Head = tuple[str, int, int]
"""An attention's name, a layer, a head."""


def edits(attentions: Mapping[str, Layers], off: Iterable[Iterable[Head]]) -> dict[str, Edit]:
    """What `Trace(edit=...)` takes so that some heads give nothing.

    Arguments:
        attentions: the model's attentions by name.
        off: for each row of the batch, its heads that are off; the rows are equally long.

    A head's output is its weights times its values, so zeros in either switch it off; values where the head has its
    own, because the fused kernel then still does the work.
    """
    rows = [list(heads) for heads in off]
    masks: dict[tuple[str, bool], Tensor] = {}
    for row, heads in enumerate(rows):
        for attention, layer, head in heads:
            layers = attentions[attention]
            key = (layers.names[layer], layers.own_values)
            masks.setdefault(key, torch.zeros(len(rows), layers.heads, dtype=torch.bool))[row, head] = True
    return {
        f"{name}.v" if values else f"{name}.weights": _without(mask, values) for (name, values), mask in masks.items()
    }


def _without(mask: Tensor, values: bool) -> Edit:
    """An edit that zeroes heads `[rows, heads]` in values `[tokens, heads, width]` or weights `[rows, heads, ...]`."""

    def without_values(found: Tensor) -> Tensor:
        grid = found.unflatten(0, (len(mask), -1))
        return grid.masked_fill(mask.to(found.device)[:, None, :, None], 0.0).flatten(0, 1)

    def without_weights(found: Tensor) -> Tensor:
        return found.masked_fill(mask[: len(found)].to(found.device)[:, :, None, None], 0.0)

    return without_values if values else without_weights


def each_alone(attention: str, layers: Layers, most: int) -> Iterator[list[Head]]:
    """Every head of an attention, layer by layer, at most so many at once."""
    heads = [(attention, layer, head) for layer in range(len(layers)) for head in range(layers.heads)]
    for start in range(0, len(heads), most):
        yield heads[start : start + most]
