"""Reading and editing what happens inside a forward pass, without changing its numbers.

`Trace("encoder.*.attention.weights", "decoder.3.hidden")` reads; the fused kernel still makes the output, and weights
are computed from queries and keys only when someone looks. `edit={"encoder.2.attention.weights": f}` changes a value on
its way; only layers whose attention weights are edited take the explicit path.

Names, with the layer's number i from 0: `embedding` (and `decoder.embedding` of an encoder-decoder),
`{stack}.{i}.hidden` (after the layer), `{stack}.{i}.feed_forward.output`, and for `attention` and `cross_attention`:
`.q .k .v .weights .output`. A recurrent decoder has the weights of its attention as `cross_attention.weights` of its
last layer, with one head. With a cache, keys lie at their positions in the text instead of the columns of the grid.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from moduformer import kernels
from moduformer.batch import Batch
from moduformer.errors import TraceError

if TYPE_CHECKING:
    from moduformer.kernels import Group, Layout, Scores

Edit = Callable[[Tensor], Tensor]


class Trace:
    """What to read of a forward pass; afterwards a mapping from names to tensors on the caller's padded grid.

    Arguments: patterns of names (`*` stands for anything); `edit` maps patterns to functions from a tensor to its
    replacement: attention weights come as `[rows, heads, queries, keys]` of one group of rows, everything else flat as
    `[tokens, ...]`.
    """

    def __init__(self, *patterns: str, edit: Mapping[str, Edit] | None = None) -> None:
        self.patterns = patterns
        self.edits = dict(edit or {})
        self._found: dict[str, Callable[[], Tensor]] = {}
        self._batches: dict[str, Batch] = {}
        self._passed: dict[str, None] = {}
        self._edited: set[str] = set()
        self._steps: dict[str, list[Tensor]] = {}

    def begin(self, **batches: Batch) -> None:
        """Called by the model: forgets the last pass and notes the batch each stack works on."""
        self._found.clear()
        self._passed.clear()
        self._edited.clear()
        self._steps.clear()
        self._batches = batches

    def end(self) -> None:
        """Called by the model after a pass. Raises `TraceError` if an edit met nothing that it could change."""
        for pattern in self.edits:
            if pattern not in self._edited:
                raise TraceError(f"no value is called {pattern!r}, so its edit did nothing; {self._names()}")

    def see(self, name: str, value: Tensor) -> Tensor:
        """Called by the model with a flat value `[tokens, ...]`; returns it, edited if asked."""
        value = self._edit(name, value)
        batch, kept = self._batches[name.split(".")[0]], value.detach()
        self._read(name, lambda: batch.pad(kept))
        return value

    def step(self, name: str, value: Tensor) -> Tensor:
        """Called by the model with the values of one step `[rows, ...]`; returns them, edited if asked. See `join`."""
        value = self._edit(name, value)
        self._steps.setdefault(name, []).append(value.detach())
        return value

    def join(self, name: str, back: Tensor) -> None:
        """Called by the model after the last step: token n of the flat run is number `back[n]` of all steps' values."""
        batch, kept = self._batches[name.split(".")[0]], torch.cat(self._steps.pop(name))[back]
        self._read(name, lambda: batch.pad(kept))

    def weigh(self, name: str, weights: Tensor) -> Tensor:
        """Called by the model with attention weights `[rows, 1, queries, keys]`; returns them, edited if asked."""
        return self._edit(name, weights)

    def align(self, name: str, weights: Tensor, across: str) -> None:
        """Called by the model with weights `[tokens, places]` over the tokens of the stack `across`, counted in their
        row; they are read as `[rows, 1, queries, keys]`."""
        queries, keys, kept = self._batches[name.split(".")[0]], self._batches[across], weights.detach()
        self._read(name, lambda: _aligned(queries.pad(kept), keys).unsqueeze(1))

    def attend(self, name: str, scores: Scores, across: str | None = None) -> Tensor:
        """Called by the model instead of `kernels.attend`; `across` names the stack that keys come from."""
        stack = name.split(".")[0]
        queries, keys = self._batches[stack], self._batches[across or stack]
        scores = replace(
            scores,
            q=self._edit(f"{name}.q", scores.q),
            k=self._edit(f"{name}.k", scores.k.flatten(0, -3)).view(scores.k.shape),
            v=self._edit(f"{name}.v", scores.v.flatten(0, -3)).view(scores.v.shape),
        )
        edits = [edit for pattern, edit in self.edits.items() if self._meets(pattern, f"{name}.weights")]
        changed: list[Tensor] = []

        def change(found: list[Tensor]) -> list[Tensor]:
            for edit in edits:
                found = [edit(part) for part in found]
            changed.extend(part.detach() for part in found)
            return found

        out = kernels.attend_explicitly(scores, change) if edits else kernels.attend(scores)
        group = scores.layout.groups[0]
        self._read(f"{name}.q", lambda: queries.pad(scores.q.detach()))
        if group.slots is None:
            self._read(f"{name}.k", lambda: keys.pad(scores.k.detach()))
            self._read(f"{name}.v", lambda: keys.pad(scores.v.detach()))
            self._read(
                f"{name}.weights",
                lambda: _on_grid(changed or kernels.weights(scores), scores.layout, queries, keys).detach(),
            )
        else:
            # Later steps write into the cache's slots, so reading cannot wait until someone looks.
            slots = group.slots
            self._read(f"{name}.k", lambda: _by_position(scores.k.detach(), slots), at_once=True)
            self._read(f"{name}.v", lambda: _by_position(scores.v.detach(), slots), at_once=True)
            self._read(
                f"{name}.weights",
                lambda: _cached_on_grid((changed or kernels.weights(scores))[0].detach(), group, queries),
                at_once=True,
            )
        return out

    def _edit(self, name: str, value: Tensor) -> Tensor:
        for pattern, edit in self.edits.items():
            if self._meets(pattern, name):
                value = edit(value)
        return value

    def _meets(self, pattern: str, name: str) -> bool:
        if not fnmatch.fnmatchcase(name, pattern):
            return False
        self._edited.add(pattern)
        return True

    def _read(self, name: str, value: Callable[[], Tensor], at_once: bool = False) -> None:
        """Keeps a value under its name if it was asked for; `value` computes it when someone looks."""
        self._passed[name] = None
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in self.patterns):
            found = value() if at_once else None
            self._found[name] = value if found is None else lambda: found

    def _names(self) -> str:
        if not self._passed:
            return "nothing was traced yet: pass trace= to the model first"
        near = [name for name in self._passed if ".0." in name or "." not in name]
        return f"traced: {', '.join(self._found) or 'nothing'}; names of the first layer: {', '.join(near)}"

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._found:
            raise TraceError(f"{name!r} was not traced; {self._names()}")
        return self._found[name]()

    def __contains__(self, name: object) -> bool:
        return name in self._found

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)

    def keys(self) -> list[str]:
        """The names that were traced."""
        return list(self._found)

    def items(self) -> Iterator[tuple[str, Any]]:
        """Names and tensors, computed as they are asked for."""
        return ((name, self[name]) for name in self._found)


def _on_grid(groups: list[Tensor], layout: Layout, queries: Batch, keys: Batch) -> Tensor:
    """Weights of every group on one padded grid `[rows, heads, queries, keys]` in the caller's order of rows."""
    heads = groups[0].shape[1]
    grid = groups[0].new_zeros(len(queries.order), heads, queries.width, keys.width)
    row, q_start, k_start = 0, 0, 0
    for group, found in zip(layout.groups, groups):
        for i in range(group.count):
            t, s = queries.rows.lengths[row], keys.rows.lengths[row]
            q_cells = queries.cells[q_start : q_start + t] % queries.width
            k_cells = keys.cells[k_start : k_start + s] % keys.width
            block = torch.zeros_like(grid[0]).index_put(
                (torch.arange(heads)[:, None, None], q_cells[None, :, None], k_cells[None, None, :]),
                found[i, :, :t, :s],
            )
            grid[queries.order[row]] = block
            row, q_start, k_start = row + 1, q_start + t, k_start + s
    return grid


def _aligned(weights: Tensor, keys: Batch) -> Tensor:
    """Weights `[rows, queries, places]` with every place in its token's column of the caller's grid."""
    grid = weights.new_zeros(*weights.shape[:2], keys.width)
    start = 0
    for row, length in zip(keys.order, keys.rows.lengths):
        grid[row, :, keys.cells[start : start + length] % keys.width] = weights[row, :, :length]
        start += length
    return grid


def _cached_on_grid(weights: Tensor, group: Group, queries: Batch) -> Tensor:
    """Weights over a cache's slots as `[rows, heads, queries, positions]`."""
    assert group.slots is not None
    grid = queries.pad(kernels.gather(weights.transpose(1, 2), group.query_padding))
    return _by_position(grid.permute(0, 3, 2, 1), group.slots).permute(0, 2, 3, 1)


def _by_position(values: Tensor, slots: Tensor) -> Tensor:
    """`[rows, slots, ...]` of a cache at their positions, `[rows, positions, ...]`; zero where forgotten."""
    row, slot = (slots >= 0).nonzero(as_tuple=True)
    out = values.new_zeros(slots.shape[0], int(slots.max()) + 1, *values.shape[2:])
    out[row, slots[row, slot]] = values[row, slot]
    return out
