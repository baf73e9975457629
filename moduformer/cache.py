"""Keys and values of earlier tokens, kept by the caller between forward passes.

Each layer gets the cache its spec asks for: growing, or a ring of `window` slots, or the encoder's keys and values,
made once. A slot stores the position of its token, so masks and position biases never guess it; shared key-value
heads are stored once, never expanded.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from moduformer.architecture import Stack
from moduformer.batch import Rows
from moduformer.kernels import Group, Layout, _real


@dataclass(eq=False)
class Slots:
    """Where tokens lie: positions `[rows, capacity]`, -1 where empty; with a `window`, a ring that forgets."""

    window: int | None
    positions: Tensor

    def place(self, rows: Rows) -> Placement:
        """Gives every new token a slot, making room first."""
        longest = max(rows.lengths)
        last = int(rows.positions.max()) + 1
        old = self.positions
        capacity = old.shape[1]
        needed = last if self.window is None else min(last, self.window + longest - 1)
        moved = None
        if needed > capacity:
            grown = max(needed, 2 * capacity, 16) if self.window is None else needed
            self.positions = old.new_full((old.shape[0], grown), -1)
            kept_row, kept_slot = (old >= 0).nonzero(as_tuple=True)
            kept = old[kept_row, kept_slot]
            target = kept_row * grown + kept % grown
            self.positions.view(-1)[target] = kept
            moved = (kept_row * capacity + kept_slot, target)
        size = self.positions.shape[1]
        index = rows.row_of * size + rows.positions % size
        # In a prompt longer than the ring later tokens of a row overwrite earlier ones.
        if self.window is not None and longest > size:
            keep = rows.positions > (rows.positions[rows.ends] - size)[rows.row_of]
        else:
            keep = None
        self.positions.view(-1)[index if keep is None else index[keep]] = (
            rows.positions if keep is None else rows.positions[keep]
        )
        return Placement(rows.positions, index, keep, moved, size, self._layout(rows))

    def _layout(self, rows: Rows) -> Layout:
        # Grown storage is mostly empty at first; only the filled part is looked at.
        filled = int(self.positions.max()) + 1 if self.window is None else self.positions.shape[1]
        count, longest = len(rows.lengths), max(rows.lengths)
        group = Group(
            count=count,
            queries=longest,
            keys=filled,
            query_tokens=rows.tokens,
            key_tokens=count * filled,
            queries_real=_real(rows.lengths, longest, rows.positions.device),
            slots=self.positions[:, :filled],
        )
        return Layout(rows, rows, (group,))


@dataclass(frozen=True, eq=False)
class Placement:
    """The result of `Slots.place`: flat slot numbers of new tokens, and old ones moved because storage grew."""

    positions: Tensor
    index: Tensor
    keep: Tensor | None
    moved: tuple[Tensor, Tensor] | None
    capacity: int
    layout: Layout


@dataclass(eq=False)
class LayerCache:
    """One layer's keys and values: `[rows, capacity, kv_heads, head_dim]`, and the encoder's, flat, when it crosses."""

    k: Tensor | None = None
    v: Tensor | None = None
    cross: tuple[Tensor, Tensor] | None = None

    def extend(self, k: Tensor, v: Tensor, placement: Placement, rows: int) -> tuple[Tensor, Tensor]:
        """Stores new flat keys and values; returns all of them, flat over `[rows * keys]`."""
        self.k = self._store(self.k, k, placement, rows)
        self.v = self._store(self.v, v, placement, rows)
        keys = placement.layout.groups[0].keys
        return self.k[:, :keys].reshape(-1, *k.shape[1:]), self.v[:, :keys].reshape(-1, *v.shape[1:])

    @staticmethod
    def _store(held: Tensor | None, new: Tensor, placement: Placement, rows: int) -> Tensor:
        if held is None or held.shape[1] != placement.capacity:
            grown = new.new_zeros(rows, placement.capacity, *new.shape[1:])
            if held is not None and placement.moved is not None:
                source, target = placement.moved
                grown.flatten(0, 1)[target] = held.flatten(0, 1)[source]
            held = grown
        index, keep = placement.index, placement.keep
        held.flatten(0, 1)[index if keep is None else index[keep]] = new if keep is None else new[keep]
        return held


@dataclass(eq=False)
class Cache:
    """What a stack remembers of `rows` rows; made by `Model.cache`, filled by forward passes."""

    rows: int
    layers: list[LayerCache]
    slots: dict[int | None, Slots] = field(default_factory=dict)
    seen: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.long))

    @classmethod
    def of(cls, stack: Stack, rows: int, device: torch.device | str | None = None) -> Cache:
        """An empty cache for `rows` rows of a stack."""
        windows = {stack.block(i).attention.window for i in range(stack.layers)}
        empty = torch.zeros(rows, 0, dtype=torch.long, device=device)
        return cls(
            rows,
            [LayerCache() for _ in range(stack.layers)],
            {window: Slots(window, empty) for window in windows},
            torch.zeros(rows, dtype=torch.long, device=device),
        )

    def place(self, rows: Rows) -> dict[int | None, Placement]:
        """Makes room for the tokens of one forward pass in every kind of layer."""
        if len(rows.lengths) != self.rows:
            raise ValueError(f"this cache holds {self.rows} rows, but {len(rows.lengths)} came")
        self.seen = rows.positions[rows.ends] + 1
        return {window: slots.place(rows) for window, slots in self.slots.items()}
