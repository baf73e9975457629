"""Labelled examples for classification: texts, their classes, and where each came from."""

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from moduformer.errors import DataError
from moduformer.train.labels import LabelSet
from moduformer.train.tables import (
    Refused,
)

if TYPE_CHECKING:
    import numpy

_LISTED = 5


@dataclass
class Examples:
    """Texts with their classes, and where each came from. `rows_read == len(examples) + len(refused)`.

    Attributes:
        texts: the texts.
        labels: the original label of each text; a tuple of labels when `multi_label`.
        targets: class numbers [n] (int64), or zeros and ones [n, classes] (float32) when `multi_label`.
        classes: the classes, in order.
        pairs: the second text of each example, or None.
        text_column, pair_column, label_columns: the columns they came from.
        rows, lines: row number and line of every example, from 1 (`lines` is None for Parquet and memory).
        rows_read: how many rows the source had; 0 for a part of other examples.
        refused: the rows that are not used.
        notes: what was guessed or noticed.
        name: the file, or "the data".
    """

    texts: list[str]
    labels: list[Any]
    targets: "numpy.ndarray"
    classes: LabelSet
    multi_label: bool = False
    pairs: list[str] | None = None
    text_column: str = "text"
    pair_column: str | None = None
    label_columns: tuple[str, ...] = ("label",)
    rows: list[int] = field(default_factory=list)
    lines: list[int] | None = None
    rows_read: int = 0
    refused: list[Refused] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    name: str = "the data"

    def __len__(self) -> int:
        return len(self.texts)

    def place(self, index: int) -> str:
        """Where in its source an example is: "line 7", or "row 6" where there are no lines."""
        return f"row {self.rows[index]}" if self.lines is None else f"line {self.lines[index]}"

    def where(self, index: int) -> str:
        """Where an example comes from: "train.csv line 7"."""
        return f"{self.name} {self.place(index)}"

    def counts(self) -> "numpy.ndarray":
        """How many examples each class has [classes] (int64)."""
        import numpy as np

        if self.multi_label:
            return self.targets.sum(axis=0).astype(np.int64)
        return np.bincount(self.targets, minlength=len(self.classes)).astype(np.int64)

    def select(self, indices: Iterable[int]) -> "Examples":
        """Some of the examples, in the order of their positions given; the classes stay those of the whole."""
        import numpy as np

        chosen = [int(i) for i in indices]
        return replace(
            self,
            texts=[self.texts[i] for i in chosen],
            labels=[self.labels[i] for i in chosen],
            targets=self.targets[np.asarray(chosen, np.int64)],
            pairs=None if self.pairs is None else [self.pairs[i] for i in chosen],
            rows=[self.rows[i] for i in chosen],
            lines=None if self.lines is None else [self.lines[i] for i in chosen],
            rows_read=len(chosen),
            refused=[],
            notes=[],
        )


def label_variants(examples: Examples) -> list[tuple[str, ...]]:
    """Groups of classes whose names differ only in spaces, letter case or Unicode form, such as "pos" and "pos "."""
    groups: dict[str, list[str]] = {}
    for value in examples.classes.values:
        if isinstance(value, str):
            groups.setdefault(re.sub(r"\s+", "", unicodedata.normalize("NFKC", value)).casefold(), []).append(value)
    return [tuple(group) for group in groups.values() if len(group) > 1]


def check_trainable(train: Examples, evaluation: Examples | None = None) -> None:
    """Refuse what cannot be trained on before any model is loaded.

    Raises:
        DataError: no examples, fewer than two classes with examples, or an evaluation label without training rows.
    """
    if not len(train):
        raise DataError(f"{train.name}: there are no examples to train on")
    counts = train.counts()
    present = [i for i, count in enumerate(counts) if count]
    if train.multi_label:
        if not present:
            raise DataError(f"{train.name}: no example has any label")
    elif len(present) < 2:
        only = train.classes.values[present[0]]
        raise DataError(
            f"{train.name}: every one of the {len(train)} examples has the label {only!r}; "
            "a classifier needs two classes"
        )
    if evaluation is None:
        return
    if evaluation.multi_label != train.multi_label:
        raise DataError("training and evaluation data must both be multi-label, or neither")
    missing: Counter[str] = Counter()
    first = ""
    for i, chosen in enumerate(evaluation.labels):
        for value in chosen if evaluation.multi_label else (chosen,):
            if train.classes.find(value) not in present:
                missing[repr(value)] += 1
                first = first or evaluation.where(i)
    if missing:
        shown = ", ".join(f"{value} ({count} rows)" for value, count in missing.most_common(_LISTED))
        raise DataError(
            f"{first}: evaluation labels that no training example has: {shown}. Training has {train.classes.shown()}"
        )


def class_weights(examples: Examples) -> "numpy.ndarray":
    """scikit-learn's "balanced" weights [classes] (float64): n / (classes * count); 0 for a class without examples.

    For multi-label examples they weigh the positive term of each class: negatives / positives.
    """
    import numpy as np

    counts = examples.counts().astype(np.float64)
    present = counts > 0
    weights = np.zeros_like(counts)
    if examples.multi_label:
        weights[present] = (len(examples) - counts[present]) / counts[present]
    else:
        weights[present] = len(examples) / (present.sum() * counts[present])
    return weights


def majority_accuracy(examples: Examples) -> float:
    """The accuracy of always answering the most frequent class; what a model must beat."""
    counts = examples.counts()
    return float(counts.max() / len(examples)) if len(examples) else math.nan
