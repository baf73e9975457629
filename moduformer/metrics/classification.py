"""Scores of a classifier: exact, with their uncertainty, and safe to write as JSON."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from moduformer.errors import DataError
from moduformer.metrics.bootstrap import bootstrap_interval, bootstrap_totals
from moduformer.metrics.calibration import brier_score, expected_calibration_error
from moduformer.metrics.inputs import class_numbers, probability_rows, zeros_and_ones
from moduformer.metrics.results import Scores

if TYPE_CHECKING:
    import numpy


@dataclass(frozen=True)
class ClassMetrics:
    """One class: precision and recall are 0 where nothing was predicted or nothing is there to find."""

    name: str
    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class ClassificationMetrics(Scores):
    """Scores where every example has exactly one class.

    Attributes:
        examples: how many were scored.
        accuracy: the share answered right.
        accuracy_interval: its 95 % percentile bootstrap interval over examples.
        macro_precision, macro_recall, macro_f1: plain means over the classes that appear or are predicted.
        weighted_f1: mean F1 weighted by support.
        micro_f1: F1 of all decisions pooled, over all classes; equals the accuracy.
        matthews: the correlation of Matthews (Gorodkin 2004 for several classes).
        per_class: every class, in class order.
        confusion: counts, rows the true and columns the predicted classes.
        calibration_error, brier, log_loss: of the probabilities; None without them.
    """

    headline: ClassVar[str] = "accuracy"

    examples: int
    accuracy: float
    accuracy_interval: tuple[float, float]
    macro_precision: float
    macro_recall: float
    macro_f1: float
    weighted_f1: float
    micro_f1: float
    matthews: float
    per_class: list[ClassMetrics] = field(default_factory=list)
    confusion: list[list[int]] = field(default_factory=list)
    calibration_error: float | None = None
    brier: float | None = None
    log_loss: float | None = None


@dataclass(frozen=True)
class MultilabelMetrics(Scores):
    """Scores where an example has any number of labels.

    Attributes:
        examples: how many were scored.
        micro_f1, macro_f1, weighted_f1: F1 pooled over all decisions, averaged over classes, weighted by support.
        samples_f1: F1 of each example's labels, averaged; 1 where no label is right and none was given.
        subset_accuracy: the share of examples whose labels are all right.
        hamming_loss: the share of single decisions that are wrong.
        per_class: every class, in class order.
        calibration_error, brier: of the probabilities of the single decisions; None without them.
        micro_f1_interval: the 95 % percentile bootstrap interval of `micro_f1` over examples.
    """

    headline: ClassVar[str] = "micro_f1"

    examples: int
    micro_f1: float
    macro_f1: float
    weighted_f1: float
    samples_f1: float
    subset_accuracy: float
    hamming_loss: float
    per_class: list[ClassMetrics] = field(default_factory=list)
    calibration_error: float | None = None
    brier: float | None = None
    micro_f1_interval: tuple[float, float] | None = None


def _per_class(targets: Any, predictions: Any, labels: Sequence[int], names: Sequence[str]) -> list[ClassMetrics]:
    from sklearn.metrics import precision_recall_fscore_support

    columns = precision_recall_fscore_support(targets, predictions, labels=list(labels), zero_division=0)
    return [ClassMetrics(str(name), float(p), float(r), float(f), int(s)) for name, p, r, f, s in zip(names, *columns)]


def _names(names: Sequence[str] | None, classes: int) -> list[str]:
    if names is None:
        return [str(i) for i in range(classes)]
    if len(names) != classes:
        raise DataError(f"there are {len(names)} class names for {classes} classes")
    return [str(name) for name in names]


def classification_metrics(
    targets: Any,
    predictions: Any = None,
    probabilities: Any = None,
    names: Sequence[str] | None = None,
    confidence: float = 0.95,
    seed: int = 0,
) -> ClassificationMetrics:
    """Score single-label predictions.

    Args:
        targets: true class numbers [n].
        predictions: predicted class numbers [n]; None takes the most probable class.
        probabilities: [n, classes], rows summing to one; None leaves the calibration scores out.
        names: a name for each class; None numbers them.
        confidence: of the accuracy interval.
        seed: of the bootstrap.

    Returns:
        the scores.

    Raises:
        DataError: no examples, shapes that do not fit, class numbers out of range, probabilities not finite.
    """
    import numpy as np
    from sklearn.metrics import log_loss, matthews_corrcoef, precision_recall_fscore_support

    truth = class_numbers(targets, len(names) if names is not None else None, "targets")
    if not len(truth):
        raise DataError("there are no examples to score")
    scores = None if probabilities is None else probability_rows(probabilities, len(truth))
    if predictions is None:
        if scores is None:
            raise DataError("give predictions, probabilities, or both")
        predictions = scores.argmax(axis=1)
    classes = len(names) if names is not None else None
    guess = class_numbers(predictions, classes, "predictions")
    if len(guess) != len(truth):
        raise DataError(f"there are {len(guess)} predictions for {len(truth)} targets")
    if classes is None:
        classes = scores.shape[1] if scores is not None else int(max(truth.max(), guess.max())) + 1
    if scores is not None:
        if scores.shape[1] != classes or truth.max() >= classes:
            raise DataError(f"the probabilities have {scores.shape[1]} columns for {classes} classes")
        if np.abs(scores.sum(axis=1) - 1).max() > 1e-3:
            raise DataError("the probabilities of an example must sum to one")
    labels = list(range(classes))
    right = truth == guess
    # scikit-learn's default: classes that neither appear nor are predicted do not count in the macro means.
    macro = precision_recall_fscore_support(truth, guess, average="macro", zero_division=0)
    weighted = precision_recall_fscore_support(truth, guess, average="weighted", zero_division=0)
    accuracy = float(right.mean())
    return ClassificationMetrics(
        examples=len(truth),
        accuracy=accuracy,
        accuracy_interval=bootstrap_interval(right, confidence, seed=seed),
        macro_precision=float(macro[0]),
        macro_recall=float(macro[1]),
        macro_f1=float(macro[2]),
        weighted_f1=float(weighted[2]),
        micro_f1=accuracy,
        # With one class on both sides there is nothing to correlate; scikit-learn warns and answers 0.
        matthews=float(matthews_corrcoef(truth, guess)) if len(np.union1d(truth, guess)) > 1 else 0.0,
        per_class=_per_class(truth, guess, labels, _names(names, classes)),
        confusion=np.bincount(truth * classes + guess, minlength=classes**2).reshape(classes, classes).tolist(),
        calibration_error=None if scores is None else expected_calibration_error(scores, truth),
        brier=None if scores is None else brier_score(scores, truth),
        log_loss=None
        if scores is None
        else float(log_loss(truth, _normalised(scores), labels=labels))
        if classes > 1
        else 0.0,
    )


def _normalised(scores: "numpy.ndarray") -> "numpy.ndarray":
    return scores / scores.sum(axis=1, keepdims=True)


def multilabel_metrics(
    targets: Any,
    predictions: Any = None,
    probabilities: Any = None,
    names: Sequence[str] | None = None,
    threshold: float = 0.5,
) -> MultilabelMetrics:
    """Score multi-label predictions.

    Args:
        targets: zeros and ones [n, classes].
        predictions: zeros and ones [n, classes]; None takes the probabilities that reach `threshold`.
        probabilities: [n, classes], each between 0 and 1; None leaves the calibration scores out.
        names: a name for each class; None numbers them.
        threshold: from which probability a label is given.

    Returns:
        the scores.

    Raises:
        DataError: no examples, shapes that do not fit, values other than 0 and 1, probabilities not finite.
    """
    import numpy as np
    from sklearn.metrics import f1_score, hamming_loss

    truth = zeros_and_ones(targets, "targets")
    if not truth.size:
        raise DataError("there are no examples to score")
    scores = None if probabilities is None else probability_rows(probabilities, len(truth))
    if predictions is None:
        if scores is None:
            raise DataError("give predictions, probabilities, or both")
        predictions = scores >= threshold
    guess = zeros_and_ones(predictions, "predictions")
    for what, array in (("predictions", guess), ("probabilities", scores)):
        if array is not None and array.shape != truth.shape:
            raise DataError(f"{what} have the shape {array.shape}, targets {truth.shape}")
    classes = truth.shape[1]
    hits = (truth & guess).sum(axis=1)
    sizes = truth.sum(axis=1) + guess.sum(axis=1)
    f1_of_samples = np.where(sizes == 0, 1.0, 2 * hits / np.maximum(sizes, 1))
    flat = None if scores is None else scores.ravel()
    if classes == 1:
        # scikit-learn reads a single column as a binary problem; the pooled decisions are the same thing.
        single = float(f1_score(truth.ravel(), guess.ravel(), zero_division=0))
        micro, macro, weighted = single, single, single
        per_class = _per_class(truth.ravel(), guess.ravel(), [1], _names(names, 1))
    else:
        micro, macro, weighted = (
            float(f1_score(truth, guess, average=kind, zero_division=0)) for kind in ("micro", "macro", "weighted")
        )
        per_class = _per_class(truth, guess, range(classes), _names(names, classes))
    return MultilabelMetrics(
        examples=len(truth),
        micro_f1=micro,
        macro_f1=macro,
        weighted_f1=weighted,
        samples_f1=float(f1_of_samples.mean()),
        subset_accuracy=float((truth == guess).all(axis=1).mean()),
        hamming_loss=float(hamming_loss(truth, guess)),
        per_class=per_class,
        # Each decision is a two-class answer, so its confidence is the probability of the side it took.
        calibration_error=None
        if flat is None
        else expected_calibration_error(np.stack([1 - flat, flat], axis=1), truth.ravel()),
        brier=None if flat is None else float(np.mean((flat - truth.ravel()) ** 2)),
        micro_f1_interval=bootstrap_totals(
            np.stack([hits, sizes], axis=1), lambda sums: 2 * sums[:, 0] / np.maximum(sums[:, 1], 1)
        ),
    )
