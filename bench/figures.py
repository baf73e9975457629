"""The arithmetic of a comparison: medians, ratios of the same round, and how far two contenders' answers agree."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Spread:
    """The median of some rounds, the least and the most."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, rounds: Sequence[float]) -> Spread:
        """Of at least one round."""
        return cls(statistics.median(rounds), min(rounds), max(rounds))


def ratios(rounds: Sequence[float], base: Sequence[float], lower_is_better: bool = False) -> Spread:
    """How many times as good as `base`, round by round: what else the machine did in a round met both of them."""
    pairs = list(zip(rounds, base, strict=False))
    return Spread.of([theirs / own if lower_is_better else own / theirs for own, theirs in pairs])


def cosines(vectors: np.ndarray, reference: np.ndarray) -> tuple[float, float]:
    """Mean and least cosine of the rows of two matrices `[rows, dim]`."""
    import numpy as np

    dots = (vectors * reference).sum(1, dtype=np.float64)
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1) * np.linalg.norm(reference.astype(np.float64), axis=1)
    found = dots / lengths
    return float(found.mean()), float(found.min())


def share_equal(labels: Sequence[int], reference: Sequence[int]) -> float:
    """The share of places where two lists of labels are equal."""
    if len(labels) != len(reference):
        raise ValueError(f"{len(labels)} labels beside {len(reference)}")
    return sum(a == b for a, b in zip(labels, reference)) / len(reference)


def same_prefix(tokens: Sequence[int], reference: Sequence[int]) -> int:
    """How many first tokens two texts share."""
    pairs = zip(tokens, reference, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(tokens), len(reference)))


def probe_agreement(vectors: np.ndarray, reference: np.ndarray, labels: Sequence[int]) -> float:
    """The share of texts to which one linear classifier, fitted to half the reference vectors, gives the same label."""
    import numpy as np
    from sklearn.linear_model import LogisticRegression

    # Some contenders give vectors of length one.
    reference, vectors = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in (reference, vectors))
    half = len(labels) // 2
    if len(set(labels[:half])) < 2:
        return float("nan")
    probe = LogisticRegression(C=10.0, max_iter=1000).fit(reference[:half], labels[:half])
    return share_equal(probe.predict(vectors).tolist(), probe.predict(reference).tolist())
