"""What a run of text classification is asked for, reads and leaves behind."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from moduformer.metrics.classification import ClassificationMetrics, MultilabelMetrics
from moduformer.tasks.text_classifier import TextClassifier
from moduformer.tasks.whole_run import SplitRows
from moduformer.train.callbacks import History, json_safe
from moduformer.train.examples import Examples


@dataclass(frozen=True)
class RunSettings:
    """What a person asked for. `labels` names one column of labels, or several columns of 0 and 1.

    `model` to `class_weight` are `TextClassifier`'s; `few_shot` trains on so many rows of each class;
    `unlabelled` is a file of texts to adapt to.
    """

    data: str
    text: str | None = None
    labels: tuple[str, ...] = ()
    pair: str | None = None
    separator: str | None = None
    evaluation: str | None = None
    few_shot: int | None = None
    unlabelled: str | None = None
    model: str = "minilm"
    recipe: str = "plain"
    epochs: int | None = None
    learning_rate: float | None = None
    batch_size: int | None = None
    class_weight: str | None = None
    max_length: int | None = None
    stride: int | None = None
    merge: str = "mean"
    adapt: bool = False
    patience: int | None = None
    seed: int = 0
    device: str | None = None
    precision: str | None = None
    dropout: float | None = None
    recompute: bool = False
    bad_rows: str = "report"

    def estimator(self) -> TextClassifier:
        """The estimator these settings describe."""
        return TextClassifier(
            model=self.model,
            recipe=self.recipe,
            epochs=self.epochs,
            class_weight=self.class_weight,
            random_state=self.seed,
            learning_rate=self.learning_rate,
            batch_size=self.batch_size,
            max_length=self.max_length,
            stride=self.stride,
            merge=self.merge,
            adapt=self.adapt or self.unlabelled is not None,
            patience=self.patience,
            device=self.device,
            precision=self.precision,
            dropout=self.dropout,
            recompute=self.recompute,
        )


@dataclass
class RunData(SplitRows[Examples]):
    """The rows of a run."""

    refused_reasons: dict[str, int] = field(default_factory=dict)


@dataclass
class Metrics:
    """Scores of a classifier on some examples, and its probabilities for each of them."""

    examples: Examples
    probabilities: np.ndarray
    scores: ClassificationMetrics | MultilabelMetrics
    loss: float
    majority_accuracy: float | None

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe numbers."""
        data = {"rows": len(self.examples), "loss": self.loss, "majority_accuracy": self.majority_accuracy}
        found: dict[str, Any] = json_safe(data | self.scores.to_dict())
        return found


@dataclass
class Outcome:
    """What a finished run left in `folder`; `metrics` are of the evaluation rows."""

    folder: Path
    classifier: TextClassifier
    metrics: Metrics
    seconds: float
    history: History | None = None


def peak_memory() -> int | None:
    """The most memory this process has held, in bytes; None where the system does not say."""
    try:
        import resource
        import sys
    except ImportError:
        return None
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used if sys.platform == "darwin" else used * 1024
