"""Scores of predicted numbers."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from moduformer.errors import DataError
from moduformer.metrics.bootstrap import bootstrap_interval
from moduformer.metrics.results import Scores

if TYPE_CHECKING:
    import numpy


@dataclass(frozen=True)
class RegressionMetrics(Scores):
    """Scores of predicted numbers; correlations are None where one side is constant, the interval is over examples."""

    headline: ClassVar[str] = "mse"

    examples: int
    mse: float
    mae: float
    pearson: float | None
    spearman: float | None
    mse_interval: tuple[float, float] | None = None


def regression_metrics(targets: Any, predictions: Any) -> RegressionMetrics:
    """Score predicted numbers [n] against true ones [n].

    Raises:
        DataError: no examples, shapes that differ, or values that are not finite.
    """
    import numpy as np

    truth, guess = np.asarray(targets, np.float64), np.asarray(predictions, np.float64)
    if truth.shape != guess.shape or truth.ndim != 1 or not len(truth):
        raise DataError(f"targets and predictions are [examples]; got {truth.shape} and {guess.shape}")
    if not (np.isfinite(truth).all() and np.isfinite(guess).all()):
        raise DataError("targets and predictions must be finite numbers")
    error = guess - truth
    return RegressionMetrics(
        len(truth),
        float(np.mean(error**2)),
        float(np.mean(np.abs(error))),
        pearson(truth, guess),
        spearman(truth, guess),
        bootstrap_interval(error**2),
    )


def pearson(a: "numpy.ndarray", b: "numpy.ndarray") -> float | None:
    """The correlation of two arrays [n] of floats; None where one is constant."""
    import numpy as np

    a, b = a - a.mean(), b - b.mean()
    scale = math.sqrt(float(a @ a) * float(b @ b))
    return float(np.clip(float(a @ b) / scale, -1, 1)) if scale > 0 else None


def spearman(a: "numpy.ndarray", b: "numpy.ndarray") -> float | None:
    """The correlation of the ranks of two arrays [n], ties sharing their mean rank; None where one is constant."""
    return pearson(_ranks(a), _ranks(b))


def _ranks(values: "numpy.ndarray") -> "numpy.ndarray":
    """Ranks from 0, ties sharing their mean rank."""
    import numpy as np

    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts) - 1
    return (last - (counts - 1) / 2)[inverse]
