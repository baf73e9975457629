"""A text classifier with the conventions of scikit-learn: labels of any type in, the same labels out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from moduformer.errors import CheckpointError, DataError, TextError
from moduformer.loading import load
from moduformer.model import Model
from moduformer.pipelines.inputs import in_chunks, rows_of, texts_and_pairs
from moduformer.pipelines.scores import merge_windows, probabilities
from moduformer.pipelines.windowing import Windower, windower
from moduformer.tasks.classifier_training import MERGES, Trained, Training, objective, train_classifier
from moduformer.tasks.estimator import Classifier
from moduformer.tasks.fine_tuned import TRAINING_NUMBERS, WINDOW_NUMBERS, FineTuned, Number
from moduformer.train.callbacks import Callback
from moduformer.train.evaluation import predict
from moduformer.train.examples import Examples, check_trainable
from moduformer.train.labelled_rows import examples_from_lists
from moduformer.train.labels import Label, LabelSet
from moduformer.train.tables import plain

SETTINGS_FILE = "classifier.json"
"""Beside the checkpoint: what config.json has no place for, the labels' types and how long texts are read."""

_CHUNK = 4096


@dataclass(frozen=True)
class WindowScores:
    """One window of a text: characters `start` to `end`, and a probability for each class."""

    start: int
    end: int
    probabilities: tuple[float, ...]


@dataclass(frozen=True)
class WindowedPrediction:
    """A prediction and the windows it was made from; `windows[deciding]` settled it.

    `label` is the predicted label (a list of them for multi-label), `probabilities` one for each of `classes_`.
    """

    label: Any
    probabilities: tuple[float, ...]
    windows: tuple[WindowScores, ...]
    deciding: int


class TextClassifier(FineTuned, Classifier):
    """Fine-tunes a pretrained Transformer to classify texts, or pairs of texts.

    Texts longer than the model reads are read in overlapping windows, when training and predicting; nothing is cut off.

    Arguments:
        model: what to start from: an alias ("minilm", "e5-small"), a hub id, or a folder.
        recipe: "plain" (all layers), "ulmfit" (discriminative rates and gradual unfreezing, Howard & Ruder 2018),
            "lora" (low-rank adapters, Hu et al. 2022, merged when saved), "features" (a linear head on the frozen
            encoder's mean states) or "contrast" (the same after texts of one class were drawn together, for few texts).
        epochs, learning_rate, batch_size: None takes the recipe's; its rate is lower for deeper and wider models.
        class_weight: None, "balanced", or a dict of label to weight.
        random_state: seed of everything random; equal seeds give equal models.
        max_length: tokens of a window, special tokens included; None takes what the model reads, at most 512.
        stride: tokens two neighbouring windows share; None takes a quarter of `max_length`.
        merge: "mean" or "max", how the scores of a text's windows become one.
        threshold: probability from which a label counts as present (multi-label only).
        adapt: first train the encoder on masked words of the training texts, and of texts without labels (see `fit`).
        patience: stop early, after so many epochs without a better score, and keep the best epoch. A tenth of the
            training texts is set aside to choose by; None trains on all of them to the end.
        device: where to train and predict; None is the CPU.
        precision: "float32" or "bfloat16" for the matrix products of training; None takes the recipe's.
        dropout: share of the hidden states dropped while training; None takes the model's own.
        recompute: keep only what goes into each layer, and compute the rest again for the gradients: less memory.

    Attributes after `fit`:
        classes_: the labels, in the order of `predict_proba`'s columns.
        model_: the `moduformer.Model`.
        report_: how many texts, windows and tokens were trained on.
        history_: losses and evaluations of the training (None for "features").
        recipe_: the recipe with every setting that was used.
        multi_label_: whether a text may have any number of labels.
    """

    settings_file = SETTINGS_FILE
    task_name = "text-classification"
    numbers = TRAINING_NUMBERS | WINDOW_NUMBERS | {"threshold": Number(limit=1)}

    def __init__(
        self,
        model: str | Path = "minilm",
        recipe: str = "plain",
        epochs: int | None = None,
        class_weight: str | Mapping[Any, float] | None = None,
        random_state: int = 0,
        learning_rate: float | None = None,
        batch_size: int | None = None,
        max_length: int | None = None,
        stride: int | None = None,
        merge: str = "mean",
        threshold: float = 0.5,
        adapt: bool = False,
        patience: int | None = None,
        device: str | None = None,
        precision: str | None = None,
        dropout: float | None = None,
        recompute: bool = False,
    ) -> None:
        self.model = model
        self.recipe = recipe
        self.epochs = epochs
        self.class_weight = class_weight
        self.random_state = random_state
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.max_length = max_length
        self.stride = stride
        self.merge = merge
        self.threshold = threshold
        self.adapt = adapt
        self.patience = patience
        self.device = device
        self.precision = precision
        self.dropout = dropout
        self.recompute = recompute

    # Learning ------------------------------------------------------------------------------------------------------

    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Sequence[float] | None = None,
        eval_set: tuple[Any, Any] | None = None,
        callbacks: Sequence[Callback] = (),
        unlabelled: Sequence[str] = (),
    ) -> Self:
        """Learns from texts and labels.

        Arguments:
            X: texts, or pairs of texts: a list, array, Series or table of one or two columns.
            y: a label each (string, number or bool); or for multi-label a collection of labels each, or a 0/1 matrix.
            sample_weight: how much each text counts.
            eval_set: texts and labels to evaluate on after each epoch; never trained on.
            callbacks: watchers, see `moduformer.train.callbacks`.
            unlabelled: texts without labels, which `adapt` learns from too.

        Raises `DataError` naming the row that cannot be used, and what `moduformer.load` raises.
        """
        examples = _examples(X, y)
        matrix = getattr(y, "ndim", 1) == 2 or _is_matrix(y)
        evaluation = None if eval_set is None else _examples(*eval_set, classes=examples.classes)
        weights = None if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)
        if weights is not None and (weights.shape != (len(examples),) or not (weights >= 0).all()):
            raise DataError(f"sample_weight must be {len(examples)} numbers that are not negative, one a text")
        self.fit_examples(examples, evaluation, weights=weights, callbacks=callbacks, unlabelled=unlabelled)
        self._as_matrix = matrix and examples.multi_label
        return self

    def fit_examples(
        self,
        examples: Examples,
        evaluation: Examples | None = None,
        *,
        weights: np.ndarray | None = None,
        callbacks: Sequence[Callback] = (),
        folder: Path | None = None,
        resume: bool = False,
        unlabelled: Sequence[str] = (),
    ) -> Trained:
        """`fit` on examples read from a file; logs and checkpoints go to `folder`. Returns the details of the run."""
        self.check(examples, evaluation)
        if len(unlabelled) and not self.adapt:
            raise DataError("unlabelled texts are for adaptation; set adapt=True, or leave them out")
        trained = train_classifier(
            Training(
                self.model,
                self.resolved_recipe(),
                examples,
                evaluation,
                weights,
                self.class_weight,
                self.max_length,
                self.stride,
                self.merge,
                self.device,
                callbacks,
                folder,
                resume,
                self.patience,
                unlabelled=unlabelled,
            )
        )
        self._trained(trained)
        self._take(trained.model, examples.classes, examples.multi_label)
        self.report_ = trained.windows.report() | {"max_length": self._windower.max_length}
        return trained

    def _overrides(self) -> dict[str, Any]:
        return {} if self.recipe == "features" else super()._overrides()

    def check(self, examples: Examples, evaluation: Examples | None = None) -> None:
        """Raises what `fit_examples` would raise for these rows and settings, before any model is read."""
        self.check_parameters()
        check_trainable(examples, evaluation)
        self.resolved_recipe()
        objective(examples, self.class_weight)

    def check_parameters(self) -> None:
        super().check_parameters()
        if self.class_weight is not None and not isinstance(self.class_weight, str | Mapping):
            raise DataError("class_weight is 'balanced', a weight for each label, or None")
        unused = [name for name in ("adapt", "precision", "dropout", "recompute") if getattr(self, name)]
        if self.recipe == "features" and unused:
            raise DataError(f"recipe 'features' trains no layer of the encoder: leave out {', '.join(unused)}")
        unused = [name for name in ("adapt", "patience") if getattr(self, name)]
        if self.recipe == "contrast" and unused:
            raise DataError(f"recipe 'contrast' has no use for {' and '.join(unused)}: leave it out")
        if self.merge not in MERGES:
            raise DataError(f"merge is {self.merge!r}; use one of {', '.join(MERGES)}")
        if self.threshold is None or not 0 < self.threshold < 1:
            raise DataError(f"threshold is a probability between 0 and 1, not {self.threshold!r}")

    def _take(self, model: Model, classes: LabelSet, multi_label: bool) -> None:
        self.model_, self.label_set_, self.multi_label_ = model, classes, multi_label
        self.classes_ = _array(classes.values)
        self._as_matrix = False
        if model.origin is not None:
            kind = "multi_label_classification" if multi_label else "single_label_classification"
            model.origin.config["problem_type"] = kind
        self._windower: Windower = windower(model, self.max_length, self.stride)

    # Predicting ----------------------------------------------------------------------------------------------------

    def predict_proba(self, X: Any) -> np.ndarray:
        """A probability for each text and class, `[texts, classes]`, columns in the order of `classes_`.

        X may be a generator: texts are taken from it a few thousand at a time.
        """
        self.check_fitted()
        parts = [scores for scores, _, _ in self._scored(X)]
        return np.concatenate(parts) if parts else np.zeros((0, len(self.label_set_)))

    def predict(self, X: Any) -> Any:
        """The label of each text, of the type it was given in; for multi-label a list of labels each, or a matrix."""
        return self.decide(self.predict_proba(X))

    def decide(self, scores: np.ndarray) -> Any:
        """What `predict` returns for probabilities that `predict_proba` returned."""
        if not self.multi_label_:
            return self.classes_[scores.argmax(1)] if len(scores) else self.classes_[:0]
        chosen = scores >= self.threshold
        return chosen.astype(np.int64) if self._as_matrix else self.label_set_.decode_sets(scores, self.threshold)

    def stream(self, X: Iterable[Any]) -> Iterator[tuple[Any, np.ndarray]]:
        """Label and probabilities of one text after another, from a source of any length."""
        self.check_fitted()
        for scores, _, _ in self._scored(X):
            yield from zip(self.decide(scores), scores)

    def predict_windows(self, X: Any) -> list[WindowedPrediction]:
        """Predictions with the windows they were made from, and which window decided."""
        self.check_fitted()
        found = []
        for scores, texts, window_scores in self._scored(X):
            merged, deciding = merge_windows(window_scores, texts, self.merge, self.multi_label_)
            counts = texts.counts
            starts = np.cumsum(counts) - counts
            for number, label in enumerate(self.decide(merged)):
                rows = range(starts[number], starts[number] + counts[number])
                windows = tuple(
                    WindowScores(int(texts.spans[i, 0]), int(texts.spans[i, 1]), tuple(window_scores[i].tolist()))
                    for i in rows
                )
                found.append(
                    WindowedPrediction(
                        label.item() if isinstance(label, np.generic) else label,
                        tuple(scores[number].tolist()),
                        windows,
                        int(deciding[number] - starts[number]),
                    )
                )
        return found

    def score(self, X: Any, y: Any, sample_weight: Sequence[float] | None = None) -> float:
        """The accuracy; for multi-label the share of texts whose labels are all right. An unknown label is a miss."""
        scores = self.predict_proba(X)
        if self.multi_label_:
            wanted = _examples(X, y, classes=self.label_set_).targets
            right = ((scores >= self.threshold) == wanted.astype(bool)).all(1)
        else:
            labels = [plain(label) for label in y]
            if len(labels) != len(scores):
                raise DataError(f"there are {len(scores)} texts but {len(labels)} labels")
            found = [self.label_set_.find(label) for label in labels]
            right = np.array([number == chosen for number, chosen in zip(found, scores.argmax(1).tolist())])
        return float(np.average(right, weights=sample_weight))

    def _scored(self, X: Any) -> Iterator[tuple[np.ndarray, Any, np.ndarray]]:
        row = 0
        for chunk in in_chunks(rows_of(X), _CHUNK):
            try:
                texts = self._windower(*texts_and_pairs(chunk))
            except (DataError, TextError) as error:
                raise type(error)(f"{error} (counted from row {row})" if row else str(error)) from None
            scores = probabilities(predict(self.model_, texts.encoded).numpy(), self.multi_label_)
            merged, _ = merge_windows(scores, texts, self.merge, self.multi_label_)
            yield merged, texts, scores
            row += len(chunk)

    # Files ---------------------------------------------------------------------------------------------------------

    def _learned(self) -> dict[str, Any]:
        return {"classes": self.label_set_.to_dict(), "multi_label": self.multi_label_, "matrix": self._as_matrix}

    def _stored_parameters(self) -> dict[str, Any]:
        stored = super()._stored_parameters()
        if isinstance(self.class_weight, Mapping):
            stored["class_weight"] = [[label, float(weight)] for label, weight in self.class_weight.items()]
        return stored

    @classmethod
    def _restored(cls, parameters: dict[str, Any]) -> dict[str, Any]:
        if not isinstance(parameters.get("class_weight"), list):
            return parameters
        return parameters | {"class_weight": {_key(label): weight for label, weight in parameters["class_weight"]}}

    @classmethod
    def load(cls, folder: str | Path, device: str | None = None) -> Self:
        """A classifier from a folder that `save` wrote, or from any text classification checkpoint.

        Raises `CheckpointError` if the folder holds no classifier.
        """
        made, stored = cls._from_settings(folder, device)
        model = load(folder, None if stored else "text-classification", device)
        head = model.spec.head("classify")
        if head is None or model.labels is None:
            raise CheckpointError(f"{folder} is not a text classifier: its checkpoint has no classification head")
        try:
            classes = LabelSet.from_dict(stored["classes"]) if "classes" in stored else LabelSet(tuple(model.labels))
        except (DataError, TypeError, ValueError) as error:
            raise CheckpointError(f"{Path(folder) / SETTINGS_FILE}: {error}; fetch or train the folder anew") from None
        config = {} if model.origin is None else model.origin.config
        multi_label = stored.get("multi_label", config.get("problem_type") == "multi_label_classification")
        if len(classes) != head.outputs:
            raise CheckpointError(
                f"{folder}: {SETTINGS_FILE} names {len(classes)} classes, but the model has {head.outputs} outputs"
            )
        made._take(model, classes, bool(multi_label))
        made._as_matrix = bool(stored.get("matrix", False))
        return made


def _examples(X: Any, y: Any, classes: LabelSet | None = None) -> Examples:
    texts, pairs = texts_and_pairs(X)
    labels = np.asarray(y) if _is_matrix(y) else y
    if getattr(labels, "ndim", 1) == 2 and labels.shape[1] == 1:
        labels = labels.to_numpy().ravel() if hasattr(labels, "to_numpy") else labels.ravel()
    examples = examples_from_lists(texts, labels, pairs, classes=classes)
    if len(examples) != len(texts):
        raise DataError(f"{len(texts) - len(examples)} rows cannot be used: {examples.refused[0].reason}")
    return examples


def _is_matrix(y: Any) -> bool:
    """Whether a list is a matrix of 0 and 1 rather than collections of labels."""
    if not isinstance(y, list) or not y or not all(isinstance(row, list | tuple) for row in y):
        return False
    width = len(y[0])
    return width > 1 and all(len(row) == width and all(type(v) is int and v in (0, 1) for v in row) for row in y)


def _array(values: tuple[Label, ...]) -> np.ndarray:
    if len({type(value) for value in values}) == 1:
        return np.array(values)
    found = np.empty(len(values), dtype=object)
    found[:] = values
    return found


def _key(label: Any) -> Any:
    return tuple(label) if isinstance(label, list) else label
