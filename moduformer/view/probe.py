"""Attention weights while a forward pass goes by, a few rows at a time: no layer has to be kept."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from moduformer import kernels
from moduformer.batch import Rows
from moduformer.kernels import Layout, Scores
from moduformer.trace import Edit, Trace

CHUNK = 2**22
"""Weights that are computed at once."""

KEPT = 256 * 2**20
"""Bytes of queries and keys that are kept for later questions; older layers are computed again."""


class Weights(Protocol):
    """The attention weights of one layer and one text."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Heads, queries, keys."""
        ...

    @property
    def size(self) -> int:
        """Bytes that keeping it takes."""
        ...

    def rows(self, start: int, stop: int) -> Tensor:
        """The weights of some queries, `[heads, stop - start, keys]`."""
        ...


@dataclass(frozen=True, eq=False)
class Scored:
    """Weights that are computed from queries and keys when asked for."""

    scores: Scores

    @property
    def shape(self) -> tuple[int, int, int]:
        """Heads, queries, keys."""
        return self.scores.q.shape[1], self.scores.q.shape[0], self.scores.k.shape[0]

    @property
    def size(self) -> int:
        """Bytes of queries, keys and biases."""
        held = [self.scores.q, self.scores.k, *(self.scores.bias or ())]
        return sum(tensor.numel() * tensor.element_size() for tensor in held)

    def sliced(self, start: int, stop: int) -> Scores:
        """The scores of some queries alone."""
        scores, rows = self.scores, self.scores.layout.queries
        some = Rows(
            (stop - start,),
            rows.positions[start:stop],
            regular=False,
            coordinates=None if rows.coordinates is None else rows.coordinates[start:stop],
            prefixes=rows.prefixes,
        )
        return replace(
            scores,
            q=scores.q[start:stop],
            # Every group is one row here, and the kernel wants values of the same length.
            v=scores.k,
            layout=Layout(some, scores.layout.keys),
            bias=None if scores.bias is None else [bias[..., start:stop, :] for bias in scores.bias],
            dropout=0.0,
        )

    @torch.no_grad()
    def rows(self, start: int, stop: int) -> Tensor:
        """The weights of some queries, `[heads, stop - start, keys]`."""
        found = kernels.weights(self.sliced(start, stop))[0][0]
        return torch.nan_to_num(found.float())


@dataclass(frozen=True, eq=False)
class Aligned:
    """The weights `[queries, keys]` of a recurrent decoder, which has one head."""

    weights: Tensor

    @property
    def shape(self) -> tuple[int, int, int]:
        """Heads, queries, keys."""
        return 1, self.weights.shape[0], self.weights.shape[1]

    @property
    def size(self) -> int:
        """Bytes of the weights."""
        return self.weights.numel() * self.weights.element_size()

    def rows(self, start: int, stop: int) -> Tensor:
        """The weights of some queries, `[1, stop - start, keys]`."""
        return self.weights[None, start:stop].float()


Look = Callable[[str, str, Weights], None]
"""Called with an attention's name in the trace, the stack its keys come from, and its weights."""


class Probe(Trace):
    """A trace that hands every layer's weights on as they come by and keeps none of them."""

    def __init__(self, look: Look, *patterns: str, edit: Mapping[str, Edit] | None = None) -> None:
        super().__init__(*patterns, edit=edit)
        self._look = look

    def attend(self, name: str, scores: Scores, across: str | None = None) -> Tensor:
        """Called by the model instead of `kernels.attend`."""
        out = super().attend(name, scores, across)
        # Views of a fused product would keep the values alive, too.
        k = scores.k.detach().contiguous()
        kept = replace(scores, q=scores.q.detach().contiguous(), k=k, v=k)
        self._look(name, across or name.split(".")[0], Scored(kept))
        return out

    def align(self, name: str, weights: Tensor, across: str) -> None:
        """Called by a recurrent decoder with the weights of all its steps."""
        super().align(name, weights, across)
        self._look(name.removesuffix(".weights"), across, Aligned(weights.detach()))


def chunks(weights: Weights) -> Iterator[tuple[int, Tensor]]:
    """The weights a few queries at a time: the first query's number, and `[heads, some, keys]`."""
    heads, queries, keys = weights.shape
    step = max(1, CHUNK // max(1, heads * keys))
    for start in range(0, queries, step):
        yield start, weights.rows(start, min(start + step, queries))


class Shelf:
    """Layers' weights by name, the latest ones, up to `most` bytes."""

    def __init__(self, most: int = KEPT) -> None:
        self._most, self._kept = most, OrderedDict[str, Weights]()

    def put(self, name: str, weights: Weights) -> None:
        """Keeps a layer if there is room for it at all; the ones asked for longest ago go."""
        self._kept.pop(name, None)
        if weights.size > self._most:
            return
        self._kept[name] = weights
        while sum(each.size for each in self._kept.values()) > self._most:
            self._kept.popitem(last=False)

    def get(self, name: str) -> Weights | None:
        """A layer that is still kept, or None."""
        found = self._kept.get(name)
        if found is not None:
            self._kept.move_to_end(name)
        return found
