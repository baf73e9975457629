"""Disentangled attention (He et al. 2021, DeBERTa): contents against positions, positions against contents."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from moduformer import architecture
from moduformer.blocks.attention import Attention, Pass
from moduformer.blocks.distances import by_distance, grids
from moduformer.blocks.norm import Norm
from moduformer.kernels import Layout, Scores


@dataclass(frozen=True, eq=False)
class Nearby:
    """The rows of a table of distances that a batch needs, `[distances, dim]`, and for each group of rows the number of
    every pair's, `[rows or 1, 1, T, S]`."""

    vectors: Tensor
    rows: list[Tensor]


class DistanceVectors(nn.Module):
    """A table of vectors; `weight` `[2 reach, dim]`, where row `reach` is distance 0."""

    def __init__(self, settings: architecture.DistanceVectors, dim: int) -> None:
        super().__init__()
        self.settings = settings
        self.weight = nn.Parameter(torch.empty(2 * settings.reach, dim))
        self.norm = Norm(settings.norm, dim) if settings.norm else None

    def forward(self, layout: Layout) -> Nearby:
        """What the queries and keys of a layout need: a short text reads a small part of the table."""
        rows = [self._rows(q - k).unsqueeze(1) for q, k in layout.positions()]
        first, last = min(int(part.min()) for part in rows), max(int(part.max()) for part in rows)
        vectors = self.weight[first : last + 1]
        return Nearby(vectors if self.norm is None else self.norm(vectors), [part - first for part in rows])

    def _rows(self, distance: Tensor) -> Tensor:
        reach = self.settings.reach
        if self.settings.buckets is not None:
            # The authors' code: distances up to half of the buckets as they are, larger ones by their logarithm.
            half = self.settings.buckets // 2
            far = distance.abs().clamp(min=half)
            share = torch.log(far / half) / torch.log(torch.tensor((self.settings.max_distance - 1) / half))
            counted = (torch.ceil(share * (half - 1)) + half).long() * distance.sign()
            distance = torch.where(distance.abs() <= half, distance, counted)
        return (distance + reach).clamp(0, 2 * reach - 1)


class DisentangledAttention(Attention):
    """Self-attention whose scores add what a token's content says of a distance (eq. 4)."""

    def __init__(self, settings: architecture.Attention, dim: int) -> None:
        super().__init__(settings, dim)
        position = settings.position
        assert isinstance(position, architecture.Disentangled)
        self.position, inner = position, settings.heads * settings.head_dim
        own = () if position.shared else position.terms
        self.position_k = nn.Linear(dim, inner) if "c2p" in own else None
        self.position_q = nn.Linear(dim, inner) if "p2c" in own else None

    def scores(self, q: Tensor, k: Tensor, v: Tensor, layout: Layout, run: Pass, layer: int) -> Scores:
        """Those of contents, with the products of contents and positions as a bias."""
        found = super().scores(q, k, v, layout, run, layer)
        distances = run.distances
        assert distances is not None, "disentangled attention needs the stack's table of distances"
        near = run.once((DistanceVectors, layout), lambda: distances(layout))
        vectors = F.dropout(near.vectors, self.position.dropout, self.training)
        positions = self._project(vectors)
        biases = []
        for number, (_, queries, keys) in enumerate(grids(found)):
            rows, bias = near.rows[number], None if found.bias is None else found.bias[number]
            for term in self.position.terms:
                if term == "c2p":
                    part = by_distance(queries, positions[term], rows)
                else:
                    part = by_distance(keys, positions[term], rows.transpose(-1, -2)).transpose(-1, -2)
                bias = part * found.scale if bias is None else bias + part * found.scale
            assert bias is not None
            biases.append(bias)
        return replace(found, bias=biases)

    def _project(self, vectors: Tensor) -> dict[str, Tensor]:
        """Positions `[distances, dim]` as each term needs them, `[distances, heads, head_dim]`: keys or queries."""
        size, count = self.settings.head_dim, self.settings.heads
        if self.position.shared:
            # Through the layer, not by its matrix: adapters and codes of few bits are positions' concern, too.
            heads = self.qkv(vectors).unflatten(-1, (-1, size))
            return {"p2c": heads[:, :count], "c2p": heads[:, count : 2 * count]}
        own = {"p2c": self.position_q, "c2p": self.position_k}
        return {term: layer(vectors).unflatten(-1, (-1, size)) for term, layer in own.items() if layer is not None}
