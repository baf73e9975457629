"""Transformer-XL's attention (Dai et al. 2019, arXiv 1901.02860): contents against sinusoids of the distance.

A query's score with a key is (q + u) k + (q + v) W r(distance), where u and v stand for the query's own position, which
such a model does not know; XLNet adds (q + s) e(same segment or not).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from moduformer import architecture
from moduformer.blocks.attention import Attention, Pass
from moduformer.blocks.distances import by_distance, grids
from moduformer.blocks.position import sinusoids
from moduformer.cache import Placement
from moduformer.kernels import Group, Layout, Scores, spread

HIDDEN = -1e30
"""Added to the score of a key that a query may not see; finite, because a first query sees nothing at all."""


@dataclass(frozen=True, eq=False)
class Nearby:
    """Sinusoids of the distances in a batch `[distances, dim]`; for each group of rows the number of every pair's,
    whether the two are of different segments, and what the query may not see, `[rows or 1, 1, T, S]` each."""

    waves: Tensor
    rows: list[Tensor]
    different: list[Tensor] | None
    unseen: list[Tensor] | None


class RelativeAttention(Attention):
    """Self-attention without absolute positions; every layer projects distances by a matrix of its own."""

    def __init__(self, settings: architecture.Attention, dim: int) -> None:
        super().__init__(settings, dim)
        position = settings.position
        assert isinstance(position, architecture.RelativeSinusoids)
        self.position, self.dim = position, dim
        each = (settings.heads, settings.head_dim)
        self.distance = nn.Linear(dim, settings.heads * settings.head_dim, bias=False)
        self.content_bias = nn.Parameter(torch.zeros(each))
        self.position_bias = nn.Parameter(torch.zeros(each))
        if position.segments:
            self.segment_bias = nn.Parameter(torch.zeros(each))
            self.segments = nn.Parameter(torch.empty(2, *each))

    def scores(self, q: Tensor, k: Tensor, v: Tensor, layout: Layout, run: Pass, layer: int) -> Scores:
        """Those of contents, with the products of contents and distances as a bias."""
        found = super().scores(q, k, v, layout, run, layer)
        near: Nearby = run.once((self.position, layout), lambda: self._near(layout, run, q))
        waves = F.dropout(near.waves, self.position.dropout, self.training)
        vectors = self.distance(waves).unflatten(-1, (-1, self.settings.head_dim))
        biases = []
        for number, (_, queries, _) in enumerate(grids(found)):
            bias = by_distance(queries + self.position_bias.unsqueeze(1), vectors, near.rows[number])
            if near.different is not None:
                aspects = by_segment(queries + self.segment_bias.unsqueeze(1), self.segments)
                bias = bias + torch.where(near.different[number], aspects[..., 1:], aspects[..., :1])
            bias = bias * found.scale
            if near.unseen is not None:
                bias = bias.masked_fill(near.unseen[number], HIDDEN)
            biases.append(bias if found.bias is None else bias + found.bias[number])
        return replace(found, q=q + self.content_bias, bias=biases)

    def _near(self, layout: Layout, run: Pass, q: Tensor) -> Nearby:
        distances = [(q - k).unsqueeze(1) for q, k in layout.positions()]
        first, last = min(int(part.min()) for part in distances), max(int(part.max()) for part in distances)
        far = torch.arange(first, last + 1, device=q.device)
        if self.position.reach is not None:
            far = far.clamp(-self.position.reach, self.position.reach)
        waves = sinusoids(architecture.Sinusoids("halves", self.position.base), far, self.dim, q.dtype)
        pairs = Pairs(layout, run, self.settings.window)
        segmented = self.position.segments and run.batch is not None and run.batch.segments is not None
        return Nearby(
            waves,
            [part - first for part in distances],
            pairs.different_segments() if segmented else None,
            pairs.unseen(),
        )


def by_segment(states: Tensor, vectors: Tensor) -> Tensor:
    """Products of states `[rows, heads, T, d]` with vectors `[2, heads, d]`, `[rows, heads, T, 2]`."""
    return states @ vectors.permute(1, 2, 0)


@dataclass(eq=False)
class Pairs:
    """What the tokens of a batch say of every pair of query and key, group by group of a layout.

    Keys that a cache holds of earlier passes are of segment 0 and visible to all (Yang et al. 2019, section 2.4)."""

    layout: Layout
    run: Pass
    window: int | None

    def different_segments(self) -> list[Tensor]:
        """Whether query and key are of different segments."""
        assert self.run.batch is not None
        assert self.run.batch.segments is not None
        return self._meet(self.run.batch.segments, 0, torch.ne)

    def unseen(self) -> list[Tensor] | None:
        """What the batch's permutation hides; a token's own content is hidden from the query stream alone."""
        batch = self.run.batch
        if batch is None or batch.permutation is None or batch.permutation.unseen is None:
            return None
        grid, content = batch.permutation.unseen, self.layout.queries is self.run.rows

        def hidden(queries: Tensor, keys: Tensor) -> Tensor:
            # A token's cell on the caller's grid says its row and its column; -1 is a key of an earlier pass.
            found = grid[queries // batch.width, queries % batch.width, keys % batch.width] & (keys >= 0)
            return found & (queries != keys) if content else found

        return self._meet(batch.cells, -1, hidden)

    def _meet(self, values: Tensor, earlier: int, meet: Callable[[Tensor, Tensor], Tensor]) -> list[Tensor]:
        """`meet` of every query's value and every key's, `[rows, 1, T, S]`; keys of earlier passes have `earlier`."""
        batch, layout = self.run.batch, self.layout
        assert batch is not None
        own = values
        if layout.queries is not self.run.rows:
            assert batch.permutation is not None
            assert batch.permutation.places is not None
            own = values[batch.permutation.places]
        groups, found = layout.groups, []
        stored = groups[0].slots is not None
        keys = [values] if stored else values.split(layout.key_splits)
        for group, q, k in zip(groups, own.split(layout.query_splits), keys):
            key_grid = self._stored(k, earlier, group) if stored else spread(k, group.key_padding, group.count)
            query_grid = spread(q, group.query_padding, group.count)
            found.append(meet(query_grid.unsqueeze(-1), key_grid.unsqueeze(-2)).unsqueeze(1))
        return found

    def _stored(self, values: Tensor, earlier: int, group: Group) -> Tensor:
        assert self.run.placements is not None
        placement: Placement = self.run.placements[self.window]
        grid = values.new_full((group.count, placement.capacity), earlier)
        grid.view(-1)[placement.index] = values if placement.keep is None else values[placement.keep]
        return grid[:, : group.keys]
