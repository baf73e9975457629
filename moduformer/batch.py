"""Ragged batches: a flat run of tokens with lengths and positions. Padding exists only at the front door.

Token-wise layers work on `[tokens, dim]` and never see padding, so a sentence's result does not depend on its
batch-mates and no arithmetic is spent on padding. Rows are kept sorted by length, which lets attention see rows of
equal length as one dense view (see `kernels`); results go back in the caller's order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate, pairwise

import torch
from torch import Tensor

from moduformer.errors import TextError


@dataclass(frozen=True, eq=False)
class Rows:
    """Consecutive rows of a flat run of tokens.

    `lengths` are tokens a row; `positions` `[tokens]` count from a row's first real token; `regular` says that every
    row's positions are 0, 1, 2 ... without a hole.

    `coordinates` `[tokens, 1 or 2]` are where tokens stand for rotary and learned positions, when that is not
    `positions` (GLM: in the text, and inside a blank); `prefixes` `[rows]` are the positions from the first on that all
    tokens of a row see, before it goes on causally.
    """

    lengths: tuple[int, ...]
    positions: Tensor
    regular: bool = True
    coordinates: Tensor | None = None
    prefixes: Tensor | None = None

    def coordinate(self, axis: int) -> Tensor:
        """The tokens' first or second coordinate `[tokens]`: by default their position, and zero."""
        if self.coordinates is not None and axis < self.coordinates.shape[1]:
            return self.coordinates[:, axis]
        return self.positions if axis == 0 else torch.zeros_like(self.positions)

    @cached_property
    def horizons(self) -> Tensor:
        """The last position that each token may look at, `[tokens]`."""
        if self.prefixes is None:
            return self.positions
        return torch.maximum(self.positions, (self.prefixes - 1)[self.row_of])

    @property
    def tokens(self) -> int:
        """How many tokens all rows hold."""
        return sum(self.lengths)

    @cached_property
    def starts(self) -> Tensor:
        """Where each row begins in the flat run, `[rows]`."""
        return self.sizes.cumsum(0) - self.sizes

    @cached_property
    def ends(self) -> Tensor:
        """The last token of each row in the flat run, `[rows]`."""
        return self.sizes.cumsum(0) - 1

    @cached_property
    def row_of(self) -> Tensor:
        """The row number of every token, `[tokens]`."""
        return torch.repeat_interleave(torch.arange(len(self.lengths), device=self.positions.device), self.sizes)

    def at(self, places: Tensor) -> Rows:
        """One token of each row, those at `places` `[rows]` of the flat run, as rows of their own."""
        return Rows(
            lengths=(1,) * len(self.lengths),
            positions=self.positions[places],
            regular=False,
            coordinates=None if self.coordinates is None else self.coordinates[places],
            prefixes=self.prefixes,
        )

    def joined(self, counts: Sequence[int]) -> Rows:
        """The same tokens, as many rows as `counts` says being one: for looking at what they share, wherever they
        stand themselves. Raises `TextError` where counts and rows do not fit."""
        if sum(counts) != len(self.lengths) or not all(counts):
            raise TextError(f"{len(self.lengths)} rows cannot be joined as {list(counts)}")
        ends = list(accumulate(counts, initial=0))
        lengths = tuple(sum(self.lengths[start:stop]) for start, stop in pairwise(ends))
        return Rows(lengths, self.positions, regular=False)

    def places(self, chosen: Sequence[int]) -> Tensor:
        """Where the tokens of some rows lie in the flat run, row after row, `[their tokens]`."""
        starts = self.starts.tolist()
        runs = [torch.arange(starts[i], starts[i] + self.lengths[i]) for i in chosen]
        return torch.cat(runs).to(self.positions.device)

    @cached_property
    def sizes(self) -> Tensor:
        """`lengths` as a tensor, `[rows]`."""
        return torch.tensor(self.lengths, device=self.positions.device)


@dataclass(frozen=True, eq=False)
class Given:
    """Vectors `[given tokens, dim]` that stand in for those of the tokens where `places` `[tokens]` is true."""

    places: Tensor
    vectors: Tensor


@dataclass(frozen=True, eq=False)
class Beside:
    """What every row of a batch may look at beside its own tokens: flat vectors `[vectors, dim]` and their rows."""

    hidden: Tensor
    rows: Rows


@dataclass(frozen=True, eq=False)
class Batch:
    """Rows of token ids without padding, and the way back to the caller's padded `[rows, width]` grid.

    Row `i` here is the caller's row `order[i]`; token `n` here belongs in cell `cells[n]` of the flattened grid.
    `pixels` `[images, channels, height, width]` are the images of all rows, row after row, and `images` says how many
    each row has. What a model has made of them is `given` in place of tokens, or `beside` them. An `instruction` is
    text that is read along with the images, one row an image. Of what an encoder reads, `readers` are how many rows of
    the decoder, one after another, look at each row; where it is None, one.
    """

    tokens: Tensor
    rows: Rows
    order: tuple[int, ...]
    cells: Tensor
    width: int
    segments: Tensor | None = None
    task_types: Tensor | None = None
    permutation: Permutation | None = None
    entities: Tensor | None = None
    entity_mask: Tensor | None = None
    pixels: Tensor | None = None
    images: tuple[int, ...] = ()
    given: Given | None = None
    beside: Beside | None = None
    instruction: Batch | None = None
    readers: tuple[int, ...] | None = None

    @classmethod
    def from_pixels(
        cls, pixels: Tensor, tokens: int, images: Sequence[int] | None = None, order: Sequence[int] | None = None
    ) -> Batch:
        """A batch of images without text, each of which becomes `tokens` vectors.

        `images` is how many each row has (None: one); `order` the order of rows, as in `from_lists`.
        """
        counts = [1] * len(pixels) if images is None else list(images)
        order = tuple(range(len(counts))) if order is None else tuple(order)
        lengths, width = tuple(counts[i] * tokens for i in order), max(counts) * tokens
        positions = _count(lengths).to(pixels.device)
        starts = torch.repeat_interleave(torch.tensor([i * width for i in order]), torch.tensor(lengths))
        blank = cls(positions, Rows(lengths, positions), order, starts.to(pixels.device) + positions, width)
        return blank.with_pixels(pixels, counts)

    def with_pixels(self, pixels: Tensor, images: Sequence[int]) -> Batch:
        """The same rows with images: `images` of them for each of the caller's rows, in the caller's order.

        Raises `TextError` where their sum is another than the number of `pixels`.
        """
        if len(images) != len(self.order) or sum(images) != len(pixels):
            raise TextError(f"{len(pixels)} images are given, but the {len(self.order)} rows have {list(images)}")
        places = torch.arange(len(pixels)).split(list(images))
        chosen = torch.cat([places[i] for i in self.order]).to(pixels.device)
        return replace(self, pixels=pixels[chosen], images=tuple(images[i] for i in self.order))

    @classmethod
    def from_lists(
        cls,
        rows: Sequence[Sequence[int]],
        segments: Sequence[Sequence[int]] | None = None,
        order: Sequence[int] | None = None,
        device: torch.device | str | None = None,
    ) -> Batch:
        """A batch of token id lists (at least one token each); `segments` are token type ids of the same shape.

        `order` fixes the order of rows; by default the longest rows come first.
        """
        if not rows or not all(len(row) for row in rows):
            raise TextError("a batch needs at least one row, and every row at least one token")
        lengths = [len(row) for row in rows]
        order = by_length(lengths) if order is None else tuple(order)
        width = max(lengths)
        flat = [token for i in order for token in rows[i]]
        kept = tuple(lengths[i] for i in order)
        positions = _count(kept)
        row_starts = torch.repeat_interleave(torch.tensor([i * width for i in order]), torch.tensor(kept))
        return cls(
            tokens=torch.tensor(flat, dtype=torch.long, device=device),
            rows=Rows(kept, positions.to(device)),
            order=order,
            cells=(row_starts + positions).to(device),
            width=width,
            segments=None
            if segments is None
            else torch.tensor([s for i in order for s in segments[i]], dtype=torch.long, device=device),
        )

    @classmethod
    def following(
        cls, rows: Sequence[Sequence[int]], seen: Sequence[int] | Tensor, device: torch.device | str | None = None
    ) -> Batch:
        """The next tokens of every row of a cache, in the caller's order; `seen` are the tokens it holds of each."""
        batch = cls.from_lists(rows, order=range(len(rows)), device=device)
        before = torch.as_tensor(seen, device=device)[batch.rows.row_of]
        positions = batch.rows.positions + before
        return replace(batch, rows=replace(batch.rows, positions=positions, regular=not bool(before.any())))

    @classmethod
    def from_padded(
        cls,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        task_type_ids: Tensor | None = None,
        order: Sequence[int] | None = None,
    ) -> Batch:
        """A batch from a padded grid `[rows, width]`, padded on either side, unpadded once.

        Cells where `attention_mask` is 0 are left out. Raises `TextError` on a shape that does not fit or a row
        without any token.
        """
        if input_ids.dim() != 2 or not input_ids.numel():
            raise TextError(
                f"input_ids must be [rows, tokens] with at least one token, but is {tuple(input_ids.shape)}"
            )
        count, width = input_ids.shape
        for name, grid in (
            ("attention_mask", attention_mask),
            ("token_type_ids", token_type_ids),
            ("task_type_ids", task_type_ids),
        ):
            if grid is not None and grid.shape != input_ids.shape:
                raise TextError(f"{name} is {tuple(grid.shape)} but input_ids is {tuple(input_ids.shape)}")
        columns = torch.arange(width, device=input_ids.device)
        if attention_mask is None:
            lengths, regular = [width] * count, True
            positions = columns.expand(count, width)
            order = tuple(range(count)) if order is None else tuple(order)
            cells = torch.arange(count * width, device=input_ids.device).view(count, width)[list(order)].reshape(-1)
        else:
            real = attention_mask.bool()
            lengths = real.sum(1).tolist()
            if not all(lengths):
                raise TextError(f"row {lengths.index(0)} has no token: its attention_mask is all zero")
            first = real.int().argmax(1, keepdim=True)
            positions = columns - first
            regular = bool((_last(positions, real) + 1 == real.sum(1)).all())
            order = by_length(lengths) if order is None else tuple(order)
            picked = real[list(order)]
            grid_cells = torch.arange(count * width, device=input_ids.device).view(count, width)[list(order)]
            cells = grid_cells[picked]
        flat_positions = positions.reshape(-1)[cells]
        return cls(
            tokens=input_ids.reshape(-1)[cells],
            rows=Rows(tuple(lengths[i] for i in order), flat_positions, regular),
            order=order,
            cells=cells,
            width=width,
            segments=None if token_type_ids is None else token_type_ids.reshape(-1)[cells],
            task_types=None if task_type_ids is None else task_type_ids.reshape(-1)[cells],
        )

    def located(self, coordinates: Tensor | None = None, prefixes: Tensor | None = None) -> Batch:
        """The same tokens at `coordinates` `[rows, width, 1 or 2]`, rows beginning with `prefixes` `[rows]` positions
        that all of their tokens see (see `Rows`); both as the caller orders rows, None leaves them as they are.

        Raises `TextError` for a shape that does not fit.
        """
        rows, count = self.rows, len(self.order)
        if coordinates is not None:
            if coordinates.shape[:2] != (count, self.width) or not 1 <= coordinates.shape[2] <= 2:
                raise TextError(
                    f"positions must be {[count, self.width]} as the input is, or {[count, 2, self.width]}, but their "
                    f"shape is {tuple(coordinates.transpose(1, 2).shape)}"
                )
            rows = replace(rows, coordinates=self.gather(coordinates))
        if prefixes is not None:
            if prefixes.shape != (count,):
                raise TextError(f"prefix lengths must be {[count]}, one a row, but are {list(prefixes.shape)}")
            rows = replace(rows, prefixes=self.sort(prefixes))
        return replace(self, rows=rows)

    def linked(self, vectors: Tensor, mask: Tensor) -> Batch:
        """The same tokens with the `vectors` `[rows, width, entity width]` of entities that they name, where `mask`
        `[rows, width]` is not 0. Raises `TextError` for a shape that does not fit."""
        if vectors.dim() != 3 or vectors.shape[:2] != mask.shape:
            raise TextError(f"entity_vectors are {list(vectors.shape)}, but entity_mask is {list(mask.shape)}")
        return replace(self, entities=self.gather(vectors), entity_mask=self.gather(mask).bool())

    def permuted(self, unseen: Tensor | None, targets: Tensor | None) -> Batch:
        """The same tokens in a permutation, as Hugging Face writes it: `unseen` `[rows, width, width]` is not
        0 where the first token may not look at the second, `targets` `[rows, predicted, width]` is 1 at each token to
        predict; a line of zeros predicts nothing. Raises `TextError` for a shape or a target that does not fit.
        """
        count, width = len(self.order), self.width
        if unseen is not None and unseen.shape != (count, width, width):
            raise TextError(f"perm_mask must be {[count, width, width]}, but is {list(unseen.shape)}")
        hidden = None if unseen is None else unseen != 0
        if targets is None:
            return replace(self, permutation=Permutation(hidden))
        if targets.dim() != 3 or targets.shape[0] != count or targets.shape[2] != width:
            raise TextError(f"target_mapping must be {[count, 'predicted', width]}, but is {list(targets.shape)}")
        if not bool(((targets == 0) | (targets == 1)).all()) or bool((targets.sum(2) > 1).any()):
            raise TextError("every line of target_mapping is 1 at one token at most, and 0 elsewhere")
        number = torch.full((count * width,), -1, dtype=torch.long, device=self.cells.device)
        number[self.cells] = torch.arange(len(self.cells), device=self.cells.device)
        row, line, column = targets[list(self.order)].nonzero(as_tuple=True)
        rows = torch.tensor(self.order, device=row.device)[row]
        places = number[rows * width + column]
        lengths = tuple(torch.bincount(row, minlength=count).tolist())
        if not all(lengths) or bool((places < 0).any()):
            raise TextError("target_mapping must name at least one token of every row, and no padding")
        predicted = Batch(
            tokens=self.tokens[places],
            rows=Rows(lengths, self.rows.positions[places], regular=False),
            order=self.order,
            cells=rows * targets.shape[1] + line,
            width=targets.shape[1],
            segments=None if self.segments is None else self.segments[places],
        )
        return replace(self, permutation=Permutation(hidden, predicted, places))

    def shift_right(self, start: int | None) -> Batch:
        """The same rows one token later: each begins with `start` (None: its own last token) and loses its last."""
        first = self.tokens[self.rows.ends] if start is None else self.tokens.new_full(self.rows.starts.shape, start)
        tokens = torch.cat((self.tokens[:1], self.tokens[:-1])).index_copy(0, self.rows.starts, first)
        return replace(self, tokens=tokens, segments=None, task_types=None)

    def select(self, chosen: Sequence[int]) -> Batch:
        """Some of this batch's rows as a batch of their own, in the order given; a row may come more than once."""
        places = self.rows.places(chosen)
        lengths = tuple(self.rows.lengths[i] for i in chosen)
        rows = self.rows
        rows = Rows(
            lengths,
            rows.positions[places],
            rows.regular,
            None if rows.coordinates is None else rows.coordinates[places],
            None if rows.prefixes is None else rows.prefixes[list(chosen)],
        )
        return Batch(
            tokens=self.tokens[places],
            rows=rows,
            order=tuple(range(len(lengths))),
            cells=rows.row_of * self.width + self.cells[places] % self.width,
            width=self.width,
            segments=None if self.segments is None else self.segments[places],
            task_types=None if self.task_types is None else self.task_types[places],
            pixels=None if self.pixels is None else self.pixels[self._images_of(chosen)],
            images=tuple(self.images[i] for i in chosen) if self.images else (),
            instruction=None if self.instruction is None else self.instruction.select(self._instructions(chosen)),
            entities=None if self.entities is None else self.entities[places],
            entity_mask=None if self.entity_mask is None else self.entity_mask[places],
        )

    def _instructions(self, chosen: Sequence[int]) -> list[int]:
        assert self.instruction is not None
        return [self.instruction.order.index(i) for i in self._images_of(chosen).tolist()]

    def _images_of(self, chosen: Sequence[int]) -> Tensor:
        places = torch.arange(sum(self.images)).split(list(self.images))
        return torch.cat([places[i] for i in chosen])

    def pad(self, flat: Tensor) -> Tensor:
        """`[tokens, ...]` back on the caller's grid `[rows, width, ...]`, zero where there is no token."""
        count = len(self.order)
        if flat.shape[0] == count * self.width and self.order == tuple(range(count)):
            return flat.view(count, self.width, *flat.shape[1:])
        grid = flat.new_zeros(count * self.width, *flat.shape[1:])
        return grid.index_copy(0, self.cells, flat).view(count, self.width, *flat.shape[1:])

    def gather(self, grid: Tensor) -> Tensor:
        """The values of a padded grid `[rows, width]` at this batch's tokens, `[tokens]`.

        Raises `TextError` for a grid of another shape, whose values would silently belong to other tokens.
        """
        if grid.shape[:2] != (len(self.order), self.width):
            raise TextError(
                f"labels must be {[len(self.order), self.width]} as the input is, but are {list(grid.shape)}"
            )
        return grid.reshape(-1, *grid.shape[2:])[self.cells]

    def restore(self, per_row: Tensor) -> Tensor:
        """`[rows, ...]` from this batch's order of rows to the caller's."""
        if self.order == tuple(range(len(self.order))):
            return per_row
        inverse = torch.empty(len(self.order), dtype=torch.long)
        inverse[list(self.order)] = torch.arange(len(self.order))
        return per_row[inverse.to(per_row.device)]

    def sort(self, per_row: Tensor) -> Tensor:
        """`[rows, ...]` from the caller's order to this batch's order of rows."""
        return per_row[list(self.order)]


@dataclass(frozen=True, eq=False)
class Permutation:
    """An order in which the tokens of each row are predicted (Yang et al. 2019, XLNet, section 2.2).

    `unseen` `[rows, width, width]`, on the caller's grid, is true where the first token may not look at the second.
    `targets` are the tokens to predict as a batch of their own, `places` where they stand in the whole one.
    """

    unseen: Tensor | None = None
    targets: Batch | None = None
    places: Tensor | None = None


def by_length(*lengths: Sequence[int]) -> tuple[int, ...]:
    """Row numbers, longest first (by the first sequence of lengths, then the next), stable among equals."""
    return tuple(sorted(range(len(lengths[0])), key=lambda i: [-of[i] for of in lengths]))


def _count(lengths: Sequence[int]) -> Tensor:
    total = torch.arange(sum(lengths))
    sizes = torch.tensor(lengths)
    return total - torch.repeat_interleave(sizes.cumsum(0) - sizes, sizes)


def _last(positions: Tensor, real: Tensor) -> Tensor:
    return positions.masked_fill(~real, -1).amax(1)
