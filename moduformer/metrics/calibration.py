"""Whether probabilities mean what they say."""

from typing import Any

from moduformer.errors import DataError
from moduformer.metrics.inputs import class_numbers, probability_rows

CALIBRATION_BINS = 15


def expected_calibration_error(probabilities: Any, targets: Any, bins: int = CALIBRATION_BINS) -> float:
    """The expected calibration error (Naeini et al. 2015; Guo et al. 2017, arXiv:1706.04599, equation 3).

    The confidence of an example is its largest probability. Confidences are put into `bins` bins of equal width, bin
    m covering ((m - 1) / bins, m / bins], the first one 0 as well. The error is the mean over bins, weighted by the
    share of examples in them, of |accuracy - mean confidence|.

    Args:
        probabilities: [n, classes].
        targets: true class numbers [n].
        bins: how many.

    Returns:
        a number from 0 (calibrated) to 1.
    """
    import numpy as np

    truth = class_numbers(targets, None, "targets")
    scores = probability_rows(probabilities, len(truth))
    if not len(truth) or bins < 1:
        raise DataError("the calibration error needs examples and at least one bin")
    confidence = scores.max(axis=1)
    right = scores.argmax(axis=1) == truth
    edges = np.arange(1, bins) / bins
    place = np.searchsorted(edges, confidence, side="left")
    difference = np.bincount(place, right - confidence, minlength=bins)
    return float(np.abs(difference).sum() / len(truth))


def brier_score(probabilities: Any, targets: Any) -> float:
    """The score of Brier (1950): the mean over examples of the squared error summed over all classes; 0 to 2.

    Args:
        probabilities: [n, classes].
        targets: true class numbers [n].
    """
    import numpy as np

    truth = class_numbers(targets, None, "targets")
    scores = probability_rows(probabilities, len(truth)).copy()
    if not len(truth) or truth.max() >= scores.shape[1]:
        raise DataError(f"Brier's score needs examples whose classes are among the {scores.shape[1]} columns")
    scores[np.arange(len(truth)), truth] -= 1
    return float((scores**2).sum(axis=1).mean())
