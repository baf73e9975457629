"""Reading and editing what happens inside a forward pass, without changing its numbers.

`Trace("encoder.*.attention.weights", "decoder.3.hidden")` reads; the fused kernel still makes the output, and weights
are computed from queries and keys only when someone looks. `edit={"encoder.2.attention.weights": f}` changes a value on
its way; only layers whose attention weights are edited take the explicit path.

Names, with the layer's number i from 0: `embedding`, `{stack}.{i}.hidden` (after the layer), and for `attention`,
`cross_attention`: `.q .k .v .weights .output`; `{stack}.{i}.feed_forward.output`.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from moduformer import kernels
from moduformer.batch import Batch

if TYPE_CHECKING:
    from moduformer.kernels import Layout, Scores

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

    def begin(self, **batches: Batch) -> None:
        """Called by the model: forgets the last pass and notes the batch each stack works on."""
        self._found.clear()
        self._batches = batches

    def see(self, name: str, value: Tensor) -> Tensor:
        """Called by the model with a flat value `[tokens, ...]`; returns it, edited if asked."""
        for pattern, edit in self.edits.items():
            if fnmatch.fnmatchcase(name, pattern):
                value = edit(value)
        if self._wanted(name):
            batch = self._batches[name.split(".")[0]]
            kept = value.detach()
            self._found[name] = lambda: batch.pad(kept)
        return value

    def attend(self, name: str, scores: Scores, across: str | None = None) -> Tensor:
        """Called by the model instead of `kernels.attend`; `across` names the stack that keys come from."""
        stack = name.split(".")[0]
        queries, keys = self._batches[stack], self._batches[across or stack]
        edits = [edit for pattern, edit in self.edits.items() if fnmatch.fnmatchcase(f"{name}.weights", pattern)]
        for part, value, batch in (("q", scores.q, queries), ("k", scores.k, keys), ("v", scores.v, keys)):
            if self._wanted(f"{name}.{part}"):
                kept = value.detach()
                self._found[f"{name}.{part}"] = lambda kept=kept, batch=batch: batch.pad(kept)  # type: ignore[misc]
        changed: list[Tensor] = []

        def change(found: list[Tensor]) -> list[Tensor]:
            for edit in edits:
                found = [edit(part) for part in found]
            changed.extend(part.detach() for part in found)
            return found

        out = kernels.attend_explicitly(scores, change) if edits else kernels.attend(scores)
        if self._wanted(f"{name}.weights"):
            self._found[f"{name}.weights"] = lambda: _on_grid(
                changed or kernels.weights(scores), scores.layout, queries, keys
            ).detach()
        return out

    def _wanted(self, name: str) -> bool:
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in self.patterns)

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._found:
            known = ", ".join(sorted(self._found)[:8]) or "nothing yet: pass trace= to the model first"
            raise KeyError(f"{name!r} was not traced; traced: {known}")
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
