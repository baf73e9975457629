"""How sure a score is: percentile intervals of scores over resampled examples."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from moduformer.errors import DataError

if TYPE_CHECKING:
    import numpy

RESAMPLES = 2000
_CHUNK = 4_000_000
"""Draws made at once: 32 MB of them."""


def bootstrap_interval(
    values: Any, confidence: float = 0.95, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[float, float]:
    """The percentile bootstrap interval of a mean (Efron and Tibshirani 1993, chapter 13).

    Args:
        values: one number an example [n], such as 1 for a right answer and 0 for a wrong one.
        confidence: the share of resampled means the interval covers.
        resamples: how often n of the values are drawn with replacement.
        seed: of the drawing.

    Returns:
        the low and the high end.
    """
    import numpy as np

    array = np.asarray(values, np.float64)
    if array.ndim != 1 or not len(array) or not 0 < confidence < 1:
        raise DataError("the bootstrap needs values [examples] and a confidence between 0 and 1")
    generator = np.random.default_rng(seed)
    count = len(array)
    if np.isin(array, (0, 1)).all():
        # The sum of n draws of zeros and ones is binomial: the same distribution without n * resamples draws.
        means = generator.binomial(count, array.mean(), resamples) / count
    else:
        step = max(1, _CHUNK // count)
        sizes = [min(step, resamples - first) for first in range(0, resamples, step)]
        means = np.concatenate([array[generator.integers(0, count, (rows, count))].mean(axis=1) for rows in sizes])
    return _percentiles(means, confidence)


def bootstrap_totals(
    counts: Any,
    score: "Callable[[numpy.ndarray], numpy.ndarray]",
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[float, float]:
    """The percentile bootstrap interval of a score made from sums over examples, such as micro F1 or BLEU.

    Args:
        counts: what each example adds to the sums [n, k].
        score: from sums [resamples, k] to scores [resamples].
        confidence: the share of resampled scores the interval covers.
        resamples: how often n examples are drawn with replacement.
        seed: of the drawing.

    Returns:
        the low and the high end.
    """
    import numpy as np

    array = np.asarray(counts, np.float64)
    if array.ndim != 2 or not len(array) or not 0 < confidence < 1:
        raise DataError("the bootstrap needs counts [examples, k] and a confidence between 0 and 1")
    generator = np.random.default_rng(seed)
    count = len(array)
    sums = []
    for first in range(0, resamples, step := max(1, _CHUNK // count)):
        rows = min(step, resamples - first)
        drawn = generator.integers(0, count, (rows, count)) + np.arange(rows)[:, None] * count
        sums.append(np.bincount(drawn.ravel(), minlength=rows * count).reshape(rows, count) @ array)
    return _percentiles(score(np.concatenate(sums)), confidence)


def _percentiles(values: "numpy.ndarray", confidence: float) -> tuple[float, float]:
    import numpy as np

    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
