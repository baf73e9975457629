"""Scores that depend on how far apart two tokens are: a vector a distance, looked up by every pair of tokens."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from moduformer.kernels import Group, Scores


def by_distance(states: Tensor, vectors: Tensor, rows: Tensor) -> Tensor:
    """Products of states with the vector that belongs to each pair of tokens.

    Arguments: states `[rows, heads, T, d]`, vectors `[distances, heads, d]`, and for each pair the number of its
    vector, `[rows or 1, 1, T, S]`. Returns `[rows, heads, T, S]`.
    """
    products = states @ vectors.permute(1, 2, 0)
    return products.gather(-1, rows.expand(*products.shape[:3], rows.shape[-1]))


def grids(scores: Scores) -> Iterator[tuple[Group, Tensor, Tensor]]:
    """Every group of rows with its queries `[rows, heads, T, d]` and its keys `[rows, kv_heads, S, d]`."""
    layout = scores.layout
    parts = zip(layout.groups, scores.q.split(layout.query_splits), scores.k.split(layout.key_splits))
    for group, q, k in parts:
        yield group, group.query_grid(q).transpose(1, 2), group.key_grid(k).transpose(1, 2)
