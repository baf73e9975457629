"""A BERT of two layers and dim 32, and ragged rows whose class can be learned, for the tests of training."""

from __future__ import annotations

import numpy as np

from moduformer.architecture import (
    Attention,
    Block,
    Embedding,
    FeedForward,
    Head,
    LearnedPositions,
    Norm,
    Spec,
    Stack,
    Transform,
)
from moduformer.train.encoded import Encoded

VOCAB = 100


def bert(
    classes: int = 3, dropout: float = 0.1, dim: int = 32, layers: int = 2, heads: tuple[Head, ...] | None = None
) -> Spec:
    """A tiny BERT with a pooled classifier, or with other heads."""
    attention = Attention(heads=2, head_dim=dim // 2, kv_heads=2, dropout=dropout)
    block = Block(attention, FeedForward(4 * dim, dropout=0.0), dropout=dropout)
    pooled = (
        Head("pool", reads="first", transform=Transform(dim, "tanh")),
        Head("classify", reads="pool", outputs=classes, dropout=dropout),
    )
    return Spec(
        vocab=VOCAB,
        dim=dim,
        embedding=Embedding(dim, positions=LearnedPositions(64), segments=2, norm=Norm(), dropout=dropout),
        encoder=Stack(layers, (block,)),
        heads=pooled if heads is None else heads,
    )


def sentences(count: int = 64, classes: int = 3, seed: int = 0) -> tuple[Encoded, np.ndarray]:
    """Rows of 3 to 15 tokens that depend on their class."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, classes, count)
    rows = [[1, *(10 + 10 * int(c) + generator.integers(0, 10, generator.integers(2, 15)))] for c in labels]
    return Encoded.of(rows), labels
