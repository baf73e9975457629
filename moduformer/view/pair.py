"""One query and one key of one head: the two vectors, and what their product is made of; a layer of them as bytes."""

from __future__ import annotations

import struct
from typing import Any

import torch
from torch import Tensor

from moduformer.view.probe import Scored


@torch.no_grad()
def pair(weights: Scored, head: int, query: int, key: int) -> dict[str, Any]:
    """`query` and `key` (vectors, after a rotation by position if there is one), their `products`, the `score` they sum
    to after scaling, what a position rule `added`, and the `weight` after the softmax over all keys."""
    scores = weights.scores
    q = scores.q[query, head].float()
    k = scores.k[key, head * scores.k.shape[1] // scores.q.shape[1]].float()
    added = 0.0
    if scores.bias is not None:
        bias = scores.bias[0]
        added = float(bias[0, head if bias.shape[1] > 1 else 0, query, key])
    return {
        "query": _short(q.tolist()),
        "key": _short(k.tolist()),
        "products": _short((q * k).tolist()),
        "score": round(float(q @ k) * scores.scale, 6),
        "added": round(added, 6) if added > float("-inf") else None,
        "weight": round(float(weights.rows(query, query + 1)[head, 0, key]), 6),
    }


@torch.no_grad()
def pack_parts(weights: Scored) -> bytes:
    """Queries, keys and what a position rule adds, of one layer and all heads, for a file (docs/viewer-format.md)."""
    scores = weights.scores
    _, queries, keys = weights.shape
    bias = None if scores.bias is None else scores.bias[0][0].expand(-1, queries, keys)
    header = struct.pack("<IIIf", scores.q.shape[2], scores.k.shape[1], 0 if bias is None else len(bias), scores.scale)
    return header + _halves(scores.q) + _halves(scores.k) + (b"" if bias is None else _halves(bias))


def _halves(values: Tensor) -> bytes:
    """Numbers as little-endian float16; what is larger than that can say is infinite."""
    return values.detach().float().cpu().numpy().astype("<f2").tobytes()


def _short(values: list[float]) -> list[float]:
    return [float(f"{value:.6g}") for value in values]
