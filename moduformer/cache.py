"""Keys and values of earlier tokens, kept by the caller between forward passes.

Each layer gets the cache its spec asks for: growing, or a ring of `window` slots, or the encoder's keys and values,
made once. A slot stores the position of its token, so masks and position biases never guess it; shared key-value
heads are stored once, never expanded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from moduformer import native
from moduformer.architecture import Stack
from moduformer.batch import Rows
from moduformer.errors import TextError
from moduformer.kernels import Group, Layout, padding

NEVER = 2**62
"""A position that no token has."""


@dataclass(eq=False)
class Slots:
    """Where tokens lie: positions `[rows, capacity]`, -1 where empty; with a `window`, a ring that forgets.

    `lost` `[rows]` is the highest position that a ring has written over, negative where none is.
    """

    window: int | None
    positions: Tensor
    lost: Tensor

    def place(self, rows: Rows) -> Placement:
        """Gives every new token a slot, making room first."""
        first = not self.positions.numel()
        longest, last = max(rows.lengths), int(rows.positions.max()) + 1
        if self.window is None:
            needed = last
        else:
            # A first pass attends to its own tokens, so the ring holds only what later ones can see.
            needed = min(last, self.window if first else self.window + longest - 1)
        moved = self._resize(needed)
        size = self.positions.shape[1]
        index = rows.row_of * size + rows.positions % size
        keep = None
        if longest > size:
            keep = rows.positions > (rows.positions[rows.ends] - size)[rows.row_of]
            index = index[keep]
        self.positions.view(-1)[index] = rows.positions if keep is None else rows.positions[keep]
        if self.window is not None:
            self.lost = torch.maximum(self.lost, rows.positions[rows.ends] - size)
        return Placement(index, keep, moved, size, None if first else self._layout(rows))

    def holds(self, lengths: Tensor) -> bool:
        """Whether all is still here that the next token of rows of these lengths may look at."""
        if self.window is None:
            return True
        return bool(((self.lost < 0) | (lengths - self.window >= self.lost)).all())

    def truncate(self, lengths: Tensor) -> None:
        """Empties the slots of tokens from position `lengths` `[rows]` on."""
        self.positions = self.positions.masked_fill(self.positions >= lengths[:, None], -1)

    def forget(self, first: Tensor) -> None:
        """Empties the slots of tokens before position `first` `[rows]`."""
        self.lost = torch.maximum(self.lost, torch.minimum(first - 1, self.positions.amax(1)))
        self.positions = self.positions.masked_fill(self.positions < first[:, None], -1)

    def _resize(self, needed: int) -> tuple[Tensor, Tensor] | None:
        """Makes room for `needed` slots a row, or gives back a ring's that a long chunk had needed."""
        old, (count, capacity) = self.positions, self.positions.shape
        if needed <= capacity and (self.window is None or capacity <= 2 * max(needed, self.window)):
            return None
        size = max(needed, 2 * capacity, 16)
        if self.window is not None:
            size = max(needed, min(size, self.window))
        remembered = old > old.amax(1, keepdim=True) - size if capacity else old >= 0
        row, slot = (remembered & (old >= 0)).nonzero(as_tuple=True)
        kept = old[row, slot]
        target = row * size + kept % size
        self.positions = old.new_full((count, size), -1)
        self.positions.view(-1)[target] = kept
        return row * capacity + slot, target

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
            query_padding=padding(rows.lengths, longest, rows.positions.device),
            slots=self.positions[:, :filled],
        )
        return Layout(rows, rows, (group,))


@dataclass(frozen=True, eq=False)
class Placement:
    """The result of `Slots.place`: flat slot numbers of the new tokens that are kept, and old ones moved because
    storage changed size. `layout` says who meets whom; None in a first pass, which needs no stored keys."""

    index: Tensor
    keep: Tensor | None
    moved: tuple[Tensor, Tensor] | None
    capacity: int
    layout: Layout | None


@dataclass(eq=False)
class LayerCache:
    """One layer's keys and values: `[rows, capacity, kv_heads, head_dim]`, and the encoder's, flat, when it crosses."""

    k: Tensor | None = None
    v: Tensor | None = None
    cross: tuple[Tensor, Tensor] | None = None

    def extend(self, k: Tensor, v: Tensor, placement: Placement, rows: int) -> tuple[Tensor, Tensor]:
        """Stores new flat keys and values; returns those that `placement.layout` speaks of: the stored ones,
        `[rows, slots, kv_heads, head_dim]`, or in a first pass the new ones, flat as they came."""
        self.k, self.v = held_k, held_v = self.held(placement, rows, k, k.shape[1:], v.shape[1:])
        if placement.keep is not None:
            k_kept, v_kept = k[placement.keep], v[placement.keep]
        else:
            k_kept, v_kept = k, v
        held_k, held_v = held_k.flatten(0, 1), held_v.flatten(0, 1)
        dense = all(part.stride()[-2:] == (part.shape[-1], 1) for part in (k_kept, v_kept))
        if dense and k.shape == v.shape and native.serves(k, v, held_k, held_v):
            native.store(k_kept, v_kept, held_k, held_v, placement.index)
        else:
            held_k.index_copy_(0, placement.index, k_kept)
            held_v.index_copy_(0, placement.index, v_kept)
        if placement.layout is None:
            return k, v
        keys = placement.layout.groups[0].keys
        return self.k[:, :keys], self.v[:, :keys]

    def held(
        self, placement: Placement, rows: int, like: Tensor, shape: Sequence[int], v_shape: Sequence[int] | None = None
    ) -> tuple[Tensor, Tensor]:
        """The stored keys and values, `[rows, capacity, *shape]` each, with room for what `placement` speaks of.

        Values may have a `v_shape` of their own; the type is that of `like`."""
        self.k = _roomy(self.k, placement, (rows, placement.capacity, *shape), like)
        self.v = _roomy(self.v, placement, (rows, placement.capacity, *(v_shape or shape)), like)
        return self.k, self.v

    def select(self, chosen: Tensor, source: Tensor | None) -> None:
        """Keeps these rows, and these tokens of the encoder's."""
        if self.k is not None and self.v is not None:
            self.k, self.v = self.k[chosen], self.v[chosen]
        if self.cross is not None and source is not None:
            self.cross = (self.cross[0][source], self.cross[1][source])


def _roomy(held: Tensor | None, placement: Placement, shape: Sequence[int], like: Tensor) -> Tensor:
    if held is not None and held.shape[1] == shape[1]:
        return held
    resized = like.new_zeros(shape)
    if held is not None and placement.moved is not None:
        source, target = placement.moved
        resized.flatten(0, 1).index_copy_(0, target, held.flatten(0, 1)[source])
    return resized


@dataclass(eq=False)
class Cache:
    """What a stack remembers of `rows` rows; made by `Model.cache`, filled by forward passes.

    `seen` `[rows]` counts each row's tokens so far: the position of its next one. `marks` `[rows, 3]` are
    what `blocks.infilling` remembers of a text with blanks; the first column is where its context ended. `images`
    `[rows, images]` are the positions of image tokens, where a text has them, `NEVER` where a row has fewer. `modules`
    are the caches of heads' modules, by the head's kind, which go wherever this one goes.
    """

    rows: int
    layers: list[LayerCache]
    slots: dict[int | None, Slots]
    seen: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.long))
    marks: Tensor | None = None
    images: Tensor | None = None
    modules: dict[str, Cache] = field(default_factory=dict)

    @classmethod
    def of(cls, stack: Stack, rows: int, device: torch.device | str | None = None) -> Cache:
        """An empty cache for `rows` rows of a stack."""
        layers = stack.layers + (stack.top_query is not None)
        windows = {stack.block(i).attention.window for i in range(layers)}
        empty = torch.zeros(rows, 0, dtype=torch.long, device=device)
        nothing = torch.full((rows,), -1, dtype=torch.long, device=device)
        return cls(
            rows,
            [LayerCache() for _ in range(layers)],
            {window: Slots(window, empty, nothing) for window in windows},
            torch.zeros(rows, dtype=torch.long, device=device),
        )

    def place(self, rows: Rows) -> dict[int | None, Placement]:
        """Makes room for the tokens of one forward pass in every kind of layer.

        Raises `TextError` unless the rows are this cache's and their tokens follow those it has seen.
        """
        if len(rows.lengths) != self.rows:
            raise TextError(f"this cache holds {self.rows} rows, but {len(rows.lengths)} came")
        begins = rows.positions[rows.starts]
        if not torch.equal(begins, self.seen):
            raise TextError(
                f"this cache has seen {self.seen.tolist()} tokens of its rows, but the next begin at positions "
                f"{begins.tolist()}; make the batch with Batch.following(rows, cache.seen)"
            )
        self.seen = rows.positions[rows.ends] + 1
        return {window: slots.place(rows) for window, slots in self.slots.items()}

    def copy(self, chosen: Sequence[int]) -> Cache:
        """A cache of its own with these rows of this one, which stays as it is."""
        made = replace(
            self,
            layers=[replace(layer) for layer in self.layers],
            slots={window: replace(slots) for window, slots in self.slots.items()},
            modules={kind: module.copy(range(module.rows)) for kind, module in self.modules.items()},
        )
        made.select(chosen)
        return made

    def select(self, chosen: Sequence[int], source: Tensor | None = None) -> None:
        """Keeps these rows, in this order; a row may come more than once, as beams do.

        Where the stack crosses, `source` are the places of the encoder's tokens to keep; None keeps all.
        """
        index = torch.tensor(chosen, dtype=torch.long, device=self.seen.device)
        self.rows, self.seen = len(chosen), self.seen[index]
        self.marks = None if self.marks is None else self.marks[index]
        self.images = None if self.images is None else self.images[index]
        for slots in self.slots.values():
            slots.positions, slots.lost = slots.positions[index], slots.lost[index]
        for layer in self.layers:
            layer.select(index, source)
        for module in self.modules.values():
            module.select(chosen)

    def images_before(self, positions: Tensor, row_of: Tensor) -> Tensor:
        """How many image tokens each row has had `[rows]`; the next ones, at `positions` of rows `row_of`, are kept."""
        if self.images is None:
            self.images = self.seen.new_zeros(self.rows, 0)
        counts = (self.images < NEVER).sum(1)
        if len(positions):
            new = torch.bincount(row_of, minlength=self.rows)
            index = torch.arange(len(positions), device=new.device) - (new.cumsum(0) - new)[row_of]
            grid = self.seen.new_full((self.rows, int(new.max())), NEVER)
            grid[row_of, index] = positions
            self.images = torch.cat((self.images, grid), dim=1)
        return counts

    def keep(self, last: int) -> None:
        """Forgets all but the `last` tokens of each row, as the memory of Transformer-XL does (Dai et al. 2019, section
        3.2); positions go on from what was seen."""
        for slots in self.slots.values():
            slots.forget(self.seen - last)
        for module in self.modules.values():
            module.keep(last)

    def truncate(self, lengths: Sequence[int] | Tensor) -> None:
        """Forgets what came after the first `lengths` tokens of each row, as if it had never been seen.

        Raises `TextError` for a length beyond what was seen, and where a layer's ring has written over tokens that the
        next one would look at, or inside a context that sees itself; the cache is then unchanged.
        """
        wanted = torch.as_tensor(lengths, dtype=torch.long, device=self.seen.device)
        if wanted.shape != self.seen.shape or bool(((wanted < 0) | (wanted > self.seen)).any()):
            raise TextError(f"rows of {self.seen.tolist()} tokens cannot be cut back to {wanted.tolist()}")
        context = None if self.marks is None else torch.minimum(self.marks[:, 0], self.seen)
        if context is not None and bool(wanted.any()) and bool((wanted < context).any()):
            raise TextError("a row cannot be cut back inside its context, of which every token has seen all others")
        for slots in (slots for each in (self, *self.modules.values()) for slots in each.slots.values()):
            if not slots.holds(wanted):
                raise TextError(
                    f"rows of {self.seen.tolist()} tokens cannot be cut back to {wanted.tolist()}: layers with a "
                    f"window of {slots.window} have forgotten what came before; read the text anew with an empty cache"
                )
        for slots in self.slots.values():
            slots.truncate(wanted)
        if self.marks is not None:
            self.marks[:, 0].masked_fill_(self.marks[:, 0] >= wanted, NEVER)
        if self.images is not None:
            self.images = self.images.masked_fill(self.images >= wanted[:, None], NEVER)
        self.seen = wanted.clone()
        for module in self.modules.values():
            module.truncate(wanted)
