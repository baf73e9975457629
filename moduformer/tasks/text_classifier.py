"""A text classifier with the conventions of scikit-learn: labels of any type in, the same labels out."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Self

import numpy as np

from moduformer.atomic import write_text
from moduformer.errors import CheckpointError, DataError, ModuformerError, TextError
from moduformer.loading import load, usable_device
from moduformer.model import Model
from moduformer.pipelines.inputs import in_chunks, rows_of, texts_and_pairs
from moduformer.pipelines.scores import merge_windows, probabilities
from moduformer.pipelines.windowing import Windower, windower
from moduformer.tasks.classifier_training import MERGES, Trained, Training, objective, train_classifier
from moduformer.tasks.estimator import Classifier
from moduformer.train.callbacks import Callback
from moduformer.train.evaluation import predict
from moduformer.train.examples import Examples, check_trainable
from moduformer.train.labelled_rows import examples_from_lists
from moduformer.train.labels import Label, LabelSet
from moduformer.train.tables import plain

SETTINGS_FILE = "classifier.json"
"""Beside the checkpoint: what config.json has no place for, the labels' types and how long texts are read."""

_CHUNK = 4096

_KINDS: dict[str, type] = {
    **dict.fromkeys(("epochs", "batch_size", "max_length", "stride", "patience", "random_state"), Integral),
    **dict.fromkeys(("learning_rate", "dropout", "threshold"), Real),
}


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


class TextClassifier(Classifier):
    """Fine-tunes a pretrained Transformer to classify texts, or pairs of texts.

    Texts longer than the model reads are read in overlapping windows, when training and predicting; nothing is cut off.

    Arguments:
        model: what to start from: an alias ("minilm", "e5-small"), a hub id, or a folder.
        recipe: "plain" (all layers), "ulmfit" (discriminative rates and gradual unfreezing, Howard & Ruder 2018),
            "lora" (low-rank adapters, Hu et al. 2022, merged when saved) or "features" (a linear head on the frozen
            encoder's mean states).
        epochs, learning_rate, batch_size: None takes the recipe's; its rate is lower for deeper and wider models.
        class_weight: None, "balanced", or a dict of label to weight.
        random_state: seed of everything random; equal seeds give equal models.
        max_length: tokens of a window, special tokens included; None takes what the model reads, at most 512.
        stride: tokens two neighbouring windows share; None takes a quarter of `max_length`.
        merge: "mean" or "max", how the scores of a text's windows become one.
        threshold: probability from which a label counts as present (multi-label only).
        adapt: first train the encoder on masked words of the training texts.
        patience: stop early, after so many epochs without a better score, and keep the best epoch. A tenth of the
            training texts is set aside to choose by; None trains on all of them to the end.
        device: where to train and predict; None is the CPU.
        precision: "float32" or "bfloat16" for the matrix products of training; None takes the recipe's.
        dropout: share of the hidden states dropped while training; None takes the model's own.

    Attributes after `fit`:
        classes_: the labels, in the order of `predict_proba`'s columns.
        model_: the `moduformer.Model`.
        report_: how many texts, windows and tokens were trained on.
        history_: losses and evaluations of the training (None for "features").
        recipe_: the recipe with every setting that was used.
        multi_label_: whether a text may have any number of labels.
    """

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

    # Learning ------------------------------------------------------------------------------------------------------

    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Sequence[float] | None = None,
        eval_set: tuple[Any, Any] | None = None,
        callbacks: Sequence[Callback] = (),
    ) -> Self:
        """Learns from texts and labels.

        Arguments:
            X: texts, or pairs of texts: a list, array, Series or table of one or two columns.
            y: a label each (string, number or bool); or for multi-label a collection of labels each, or a 0/1 matrix.
            sample_weight: how much each text counts.
            eval_set: texts and labels to evaluate on after each epoch; never trained on.
            callbacks: watchers, see `moduformer.train.callbacks`.

        Raises `DataError` naming the row that cannot be used, and what `moduformer.load` raises.
        """
        examples = _examples(X, y)
        matrix = getattr(y, "ndim", 1) == 2 or _is_matrix(y)
        evaluation = None if eval_set is None else _examples(*eval_set, classes=examples.classes)
        weights = None if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)
        if weights is not None and (weights.shape != (len(examples),) or not (weights >= 0).all()):
            raise DataError(f"sample_weight must be {len(examples)} numbers that are not negative, one a text")
        self.fit_examples(examples, evaluation, weights=weights, callbacks=callbacks)
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
    ) -> Trained:
        """`fit` on examples read from a file; logs and checkpoints go to `folder`. Returns the details of the run."""
        self.check(examples, evaluation)
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
            )
        )
        if trained.lora is not None:
            trained.lora.merge()
        self._take(trained.model, examples.classes, examples.multi_label)
        self.adapter_ = trained.lora
        self.history_ = trained.history
        self.recipe_ = trained.recipe
        self.report_ = trained.windows.report() | {"max_length": self._windower.max_length}
        return trained

    def resolved_recipe(self) -> Any:
        """The recipe with this estimator's own settings in place of its defaults."""
        from moduformer.train.recipes import recipe

        own = ("epochs", "learning_rate", "batch_size", "precision", "dropout")
        changes = {name: getattr(self, name) for name in own if getattr(self, name) is not None}
        if self.recipe == "features":
            changes = {}
        return recipe(self.recipe, seed=int(self.random_state or 0), adapt=int(self.adapt) or None, **changes)

    def check(self, examples: Examples, evaluation: Examples | None = None) -> None:
        """Raises what `fit_examples` would raise for these rows and settings, before any model is read."""
        self._check_parameters()
        check_trainable(examples, evaluation)
        self.resolved_recipe()
        objective(examples, self.class_weight)

    def _check_parameters(self) -> None:
        for name, kind in _KINDS.items():
            value = getattr(self, name)
            if value is not None and (not isinstance(value, kind) or isinstance(value, bool)):
                raise DataError(
                    f"{name} is {value!r:.40}; it must be a {'whole number' if kind is Integral else 'number'}"
                )
        for name, least in (("max_length", 4), ("stride", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise DataError(f"{name} is a number of tokens of at least {least}, not {value!r}")
        if self.stride is not None and self.max_length is not None and self.stride >= self.max_length:
            raise DataError(f"stride is {self.stride}, so that windows of {self.max_length} tokens would never move on")
        if not isinstance(self.adapt, bool):
            raise DataError(f"adapt is {self.adapt!r:.40}; it must be True or False")
        if self.class_weight is not None and not isinstance(self.class_weight, str | Mapping):
            raise DataError("class_weight is 'balanced', a weight for each label, or None")
        usable_device(self.device)
        if self.merge not in MERGES:
            raise DataError(f"merge is {self.merge!r}; use one of {', '.join(MERGES)}")
        if self.patience is not None and (not isinstance(self.patience, int) or self.patience < 1):
            raise DataError(f"patience is a number of epochs from 1 on, not {self.patience!r}")
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

    def save(self, folder: str | Path) -> Path:
        """Writes a checkpoint in Hugging Face layout, and `classifier.json`. Returns the folder.

        `transformers` gives the same probabilities, except for the "features" recipe, for whose head it has no class.
        """
        self.check_fitted()
        folder = Path(folder)
        try:
            self.model_.save(folder)
            write_text(folder / SETTINGS_FILE, json.dumps(self._settings(), indent=2, ensure_ascii=False) + "\n")
        except OSError as error:
            raise ModuformerError(f"{folder} cannot be written: {error.strerror or error}") from None
        return folder

    def _settings(self) -> dict[str, Any]:
        parameters = self.get_params(deep=False) | {"model": str(self.model)}
        if isinstance(self.class_weight, Mapping):
            parameters["class_weight"] = [[label, float(weight)] for label, weight in self.class_weight.items()]
        return {
            "version": 1,
            "task": "text-classification",
            "classes": self.label_set_.to_dict(),
            "multi_label": self.multi_label_,
            "matrix": self._as_matrix,
            "parameters": parameters,
        }

    @classmethod
    def load(cls, folder: str | Path, device: str | None = None) -> Self:
        """A classifier from a folder that `save` wrote, or from any text classification checkpoint.

        Raises `CheckpointError` if the folder holds no classifier.
        """
        model = load(folder, "text-classification" if _is_foreign(folder) else None, device)
        head = model.spec.head("classify")
        if head is None or model.labels is None:
            raise CheckpointError(f"{folder} is not a text classifier: its checkpoint has no classification head")
        stored = _read_settings(Path(folder) / SETTINGS_FILE)
        parameters = dict(stored.get("parameters") or {})
        known = set(cls().get_params())
        try:
            if isinstance(parameters.get("class_weight"), list):
                parameters["class_weight"] = {_key(label): weight for label, weight in parameters["class_weight"]}
            made = cls(**{name: value for name, value in parameters.items() if name in known} | {"device": device})
            made._check_parameters()
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
        made.history_, made.adapter_, made.report_ = None, None, {}
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


def _is_foreign(folder: str | Path) -> bool:
    return not (Path(folder) / SETTINGS_FILE).is_file()


def _key(label: Any) -> Any:
    return tuple(label) if isinstance(label, list) else label


def _read_settings(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    from moduformer.weights.strict_json import parse_object

    try:
        if path.stat().st_size > 64 * 2**20:
            raise CheckpointError(f"{path} is larger than any classifier's settings")
        data = parse_object(path.read_bytes())
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from None
    if not isinstance(data.get("parameters", {}), dict):
        raise CheckpointError(f"{path}: the parameters are no object; fetch or train the folder anew")
    if data.get("version") != 1:
        raise CheckpointError(f"{path} is of version {data.get('version')!r}; this program reads version 1")
    return data
