"""Both sides of a checkpoint row as strided views of equal shape, so that loading and saving are one copy each.

A pattern names the axes of a tensor, as in `"(h n d) in"`: the first dimension is h x n x d, the second is `in`. Two
patterns with the same axis names describe the same numbers in two orders; GPT-NeoX keeps q, k and v inside each head,
`"(h n d) in"`, where the model keeps heads inside q, k and v, `"(n h d) in"`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from torch import Tensor

Pattern = tuple[tuple[str, ...], ...]


@lru_cache(maxsize=256)
def parse(pattern: str) -> Pattern:
    """`"(h n d) in"` to `(("h", "n", "d"), ("in",))`."""
    return tuple(tuple(part.strip("()").split()) for part in re.findall(r"\([^)]*\)|\S+", pattern))


@dataclass(frozen=True)
class Axes:
    """How a file's tensor is laid out against the model's; both patterns hold the same axis names."""

    file: str
    model: str

    def of_bias(self) -> Axes:
        """The same for the bias that belongs to a matrix: only the model's output axis remains."""
        out = parse(self.model)[0]
        inside = next(group for group in parse(self.file) if set(group) == set(out))
        return Axes(f"({' '.join(inside)})", f"({' '.join(out)})")

    def file_shape(self, model_shape: tuple[int, ...], known: Mapping[str, int]) -> tuple[int, ...]:
        """The shape a file's tensor must have, from the model's; `known` are sizes of axes inside a group."""
        sizes = _sizes(parse(self.model), model_shape, known)
        return tuple(math.prod(sizes[axis] for axis in group) for group in parse(self.file))

    def align(self, file: Tensor, model: Tensor, known: Mapping[str, int]) -> tuple[Tensor, Tensor]:
        """Views of a file's tensor and a model's with one dimension an axis, in the same order."""
        sizes = _sizes(parse(self.model), tuple(model.shape), known)
        return _spread(file, parse(self.file), sizes), _spread(model, parse(self.model), sizes)


def _sizes(pattern: Pattern, shape: tuple[int, ...], known: Mapping[str, int]) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for group, size in zip(pattern, shape):
        missing = [axis for axis in group if axis not in known]
        rest = size // math.prod(known[axis] for axis in group if axis in known)
        sizes.update({axis: known[axis] for axis in group if axis in known})
        if missing:
            sizes[missing[0]] = rest
    return sizes


def _spread(tensor: Tensor, pattern: Pattern, sizes: Mapping[str, int]) -> Tensor:
    axes = [axis for group in pattern for axis in group]
    split = tensor.view([sizes[axis] for axis in axes])
    return split.permute([axes.index(axis) for axis in sorted(axes)])
