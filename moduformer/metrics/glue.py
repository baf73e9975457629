"""GLUE's tasks and their scores (Wang et al. 2018, arXiv:1804.07461), as data; a task's headline is their mean."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from moduformer.errors import DataError
from moduformer.metrics.bootstrap import RESAMPLES
from moduformer.metrics.inputs import class_numbers
from moduformer.metrics.regression import pearson, spearman
from moduformer.metrics.results import Scores, aligned

if TYPE_CHECKING:
    import numpy


@dataclass(frozen=True)
class GlueTask:
    """One task of GLUE.

    Attributes:
        title: its name in the paper.
        texts: how many texts an example has, 1 or 2.
        labels: class names in the order of their numbers; empty where numbers are predicted.
        scores: of "accuracy", "f1" (of class 1), "matthews", "pearson", "spearman".
    """

    title: str
    texts: int
    labels: tuple[str, ...]
    scores: tuple[str, ...]


_NLI = ("entailment", "neutral", "contradiction")
_TWO = ("entailment", "not_entailment")

GLUE = {
    "cola": GlueTask("CoLA", 1, ("unacceptable", "acceptable"), ("matthews",)),
    "sst2": GlueTask("SST-2", 1, ("negative", "positive"), ("accuracy",)),
    "mrpc": GlueTask("MRPC", 2, ("not_equivalent", "equivalent"), ("accuracy", "f1")),
    "stsb": GlueTask("STS-B", 2, (), ("pearson", "spearman")),
    "qqp": GlueTask("QQP", 2, ("not_duplicate", "duplicate"), ("accuracy", "f1")),
    "mnli": GlueTask("MNLI matched", 2, _NLI, ("accuracy",)),
    "mnli-mm": GlueTask("MNLI mismatched", 2, _NLI, ("accuracy",)),
    "qnli": GlueTask("QNLI", 2, _TWO, ("accuracy",)),
    "rte": GlueTask("RTE", 2, _TWO, ("accuracy",)),
    "wnli": GlueTask("WNLI", 2, ("not_entailment", "entailment"), ("accuracy",)),
    "ax": GlueTask("diagnostics", 2, _NLI, ("matthews",)),
}
"""Label orders are those of the published data sets."""


@dataclass(frozen=True)
class GlueMetrics(Scores):
    """Scores of one task.

    Attributes:
        task: its name in `GLUE`.
        examples: how many were scored.
        mean: the mean of the task's scores, which the leaderboard averages over tasks.
        mean_interval: its 95 % percentile bootstrap interval over examples.
        accuracy, f1, matthews, pearson, spearman: None where they are not among the task's scores, or not defined.
    """

    headline: ClassVar[str] = "mean"

    task: str
    examples: int
    mean: float
    mean_interval: tuple[float, float]
    accuracy: float | None = None
    f1: float | None = None
    matthews: float | None = None
    pearson: float | None = None
    spearman: float | None = None


def glue_metrics(
    task: str, targets: Sequence[Any], predictions: Sequence[Any], confidence: float = 0.95, seed: int = 0
) -> GlueMetrics:
    """Score predictions of a task of GLUE.

    Args:
        task: one of `GLUE`, in any case, "-", "_" and spaces aside.
        targets: true class numbers, or similarities for STS-B.
        predictions: predicted ones.
        confidence: of the interval.
        seed: of the bootstrap.

    Returns:
        the scores.

    Raises:
        DataError: a task that is not there, no examples, lengths that differ, class numbers out of range, numbers
            that are not finite.
    """
    import numpy as np

    name = _task_name(task)
    aligned(targets, predictions, "examples")
    generator = np.random.default_rng(seed)
    if GLUE[name].labels:
        values, means = _of_classes(GLUE[name], targets, predictions, generator)
    else:
        values, means = _of_numbers(targets, predictions, generator)
    low, high = np.nanquantile(means, [(1 - confidence) / 2, (1 + confidence) / 2]) if len(means) else (np.nan, np.nan)
    known = [value for value in values.values() if value is not None]
    mean = sum(known) / len(known) if len(known) == len(values) else float("nan")
    return GlueMetrics(name, len(targets), mean, (float(low), float(high)), **values)


def _task_name(task: Any) -> str:
    def plain(name: str) -> str:
        return "".join(c for c in name.lower() if c.isalnum())

    names = {plain(name): name for name in GLUE} | {plain(row.title): name for name, row in GLUE.items()}
    found = names.get(plain(task)) if isinstance(task, str) else None
    if found is None:
        raise DataError(f"GLUE has no task {task!r}; its tasks are {', '.join(GLUE)}")
    return found


def _of_classes(
    task: GlueTask, targets: Any, predictions: Any, generator: "numpy.random.Generator"
) -> "tuple[dict[str, float | None], numpy.ndarray]":
    import numpy as np

    classes = len(task.labels)
    truth, guess = class_numbers(targets, classes, "targets"), class_numbers(predictions, classes, "predictions")
    counts = np.bincount(truth * classes + guess, minlength=classes**2)
    # Drawing examples again draws the cells of the confusion matrix from a multinomial distribution.
    drawn = generator.multinomial(len(truth), counts / len(truth), RESAMPLES).reshape(-1, classes, classes)
    whole = counts.reshape(1, classes, classes)
    values: dict[str, float | None] = {name: float(_FROM_CONFUSION[name](whole)[0]) for name in task.scores}
    return values, np.mean([_FROM_CONFUSION[name](drawn) for name in task.scores], axis=0)


def _of_numbers(
    targets: Any, predictions: Any, generator: "numpy.random.Generator"
) -> "tuple[dict[str, float | None], numpy.ndarray]":
    import numpy as np

    try:
        truth, guess = np.asarray(targets, np.float64), np.asarray(predictions, np.float64)
    except (TypeError, ValueError):
        raise DataError("similarities are numbers, one for each example") from None
    if truth.ndim != 1 or guess.ndim != 1 or not (np.isfinite(truth).all() and np.isfinite(guess).all()):
        raise DataError("similarities are finite numbers, one for each example")
    means = []
    for _ in range(RESAMPLES // 2):
        rows = generator.integers(0, len(truth), len(truth))
        both = pearson(truth[rows], guess[rows]), spearman(truth[rows], guess[rows])
        if None not in both:
            means.append(sum(value for value in both if value is not None) / 2)
    return {"pearson": pearson(truth, guess), "spearman": spearman(truth, guess)}, np.array(means)


def _accuracy(confusion: "numpy.ndarray") -> "numpy.ndarray":
    return confusion.trace(axis1=1, axis2=2) / confusion.sum(axis=(1, 2))


def _f1(confusion: "numpy.ndarray") -> "numpy.ndarray":
    import numpy as np

    wrong = confusion[:, 0, 1] + confusion[:, 1, 0]
    return 2 * confusion[:, 1, 1] / np.maximum(2 * confusion[:, 1, 1] + wrong, 1)


def _matthews(confusion: "numpy.ndarray") -> "numpy.ndarray":
    """Gorodkin's correlation; 0 where one side has a single class, as in scikit-learn."""
    import numpy as np

    counts = confusion.astype(np.float64)
    true, given, total = counts.sum(axis=2), counts.sum(axis=1), counts.sum(axis=(1, 2))
    shared = counts.trace(axis1=1, axis2=2) * total - (true * given).sum(axis=1)
    spread = (total**2 - (true**2).sum(axis=1)) * (total**2 - (given**2).sum(axis=1))
    return np.divide(shared, np.sqrt(spread), out=np.zeros_like(shared), where=spread > 0)


_FROM_CONFUSION: "dict[str, Callable[[numpy.ndarray], numpy.ndarray]]" = {
    "accuracy": _accuracy,
    "f1": _f1,
    "matthews": _matthews,
}
