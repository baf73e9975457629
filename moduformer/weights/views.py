"""Both sides of a checkpoint row as strided views of equal shape, so that loading and saving are one copy each.

A pattern names the axes of a tensor, as in `"(h n d) in"`: the first dimension is h x n x d, the second is `in`. Two
patterns with the same axis names describe the same numbers in two orders; GPT-NeoX keeps q, k and v inside each head,
`"(h n d) in"`, where the model keeps heads inside q, k and v, `"(n h d) in"`. A number is an axis of that size.
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
class Slice:
    """One of several parts that lie one after another along an axis of a file's tensor.

    `parts` are their lengths, as numbers or as names of known sizes; `index` says which of them is meant.
    """

    axis: str
    parts: tuple[int | str, ...]
    index: int

    def lengths(self, known: Mapping[str, int]) -> list[int]:
        """The lengths of all parts."""
        return [known[part] if isinstance(part, str) else part for part in self.parts]


@dataclass(frozen=True)
class Axes:
    """How a file's tensor is laid out against the model's; both patterns hold the same axis names.

    With a `slice` the file's tensor is longer than the model's along one axis, and only that part of it is meant:
    Falcon keeps `g (r q, k, v) d`, r queries with the key and the value that they share.
    """

    file: str
    model: str
    slice: Slice | None = None

    def of_bias(self) -> Axes:
        """The same for the bias that belongs to a matrix: only the model's output axis remains."""
        out = parse(self.model)[0]
        inside = next(group for group in parse(self.file) if set(group) == set(out))
        return Axes(f"({' '.join(inside)})", f"({' '.join(out)})", self.slice)

    def file_shape(self, model_shape: tuple[int, ...], known: Mapping[str, int]) -> tuple[int, ...]:
        """The shape a file's tensor must have, from the model's; `known` are sizes of axes inside a group."""
        sizes = self._file_sizes(_sizes(parse(self.model), model_shape, self._known(known)), known)
        return tuple(math.prod(sizes[axis] for axis in group) for group in parse(self.file))

    def align(self, file: Tensor, model: Tensor, known: Mapping[str, int]) -> tuple[Tensor, Tensor]:
        """Views of a file's tensor and a model's with one dimension an axis, in the same order."""
        sizes = _sizes(parse(self.model), tuple(model.shape), self._known(known))
        stored = _spread(file, parse(self.file), self._file_sizes(sizes, known))
        if self.slice is not None:
            lengths = self.slice.lengths(known)
            place = sorted(sizes).index(self.slice.axis)
            stored = stored.narrow(place, sum(lengths[: self.slice.index]), lengths[self.slice.index])
        return stored, _spread(model, parse(self.model), sizes)

    def _known(self, known: Mapping[str, int]) -> Mapping[str, int]:
        part = self.slice
        return known if part is None else {**known, part.axis: part.lengths(known)[part.index]}

    def _file_sizes(self, sizes: dict[str, int], known: Mapping[str, int]) -> dict[str, int]:
        return sizes if self.slice is None else {**sizes, self.slice.axis: sum(self.slice.lengths(known))}


def _sizes(pattern: Pattern, shape: tuple[int, ...], known: Mapping[str, int]) -> dict[str, int]:
    sizes: dict[str, int] = {}
    known = {**known, **{axis: int(axis) for group in pattern for axis in group if axis.isdigit()}}
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
