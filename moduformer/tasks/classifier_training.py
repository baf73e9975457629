"""How a text classifier gets its weights: by training the encoder with its head, or by a linear head on features."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from moduformer.architecture import Head
from moduformer.errors import DataError, TrainingError
from moduformer.loading import load
from moduformer.metrics.classification import classification_metrics, multilabel_metrics
from moduformer.model import Model
from moduformer.pipelines.scores import merge_windows, probabilities
from moduformer.pipelines.windowing import WindowedTexts, Windower, windower
from moduformer.tasks.fine_tuning import TERMINATED, adapted, attach_lora, with_heads, with_new_head
from moduformer.train.callbacks import Callback, History
from moduformer.train.encoded import Encoded
from moduformer.train.evaluation import predict
from moduformer.train.examples import Examples, class_weights
from moduformer.train.labels import LabelSet
from moduformer.train.loop import train
from moduformer.train.objectives import Classification, Contrast, MultiLabel, Objective
from moduformer.train.recipes import Recipe
from moduformer.train.splitting import split

MERGES = ("mean", "max")
"""How the scores of a long text's windows become one: see `moduformer.text.windows.merge`."""


@dataclass
class Training:
    """One training run of a classifier: what it starts from, what it learns from, how, and who watches.

    Attributes:
        source: the pretrained model, as `moduformer.load` takes it.
        recipe: the recipe with every setting filled in.
        examples, evaluation: what to train on, and what to evaluate on after each epoch (never trained on).
        weights: of the examples, or None.
        class_weight: None, "balanced", or a weight for each label.
        max_length, stride: of windows, see `windowing.windower`.
        merge: how windows become one prediction.
        folder: where logs and checkpoints go, or None.
        unlabelled: more texts for the adaptation.
        patience: stop after so many epochs without a better score on rows set aside (`choice`), and keep the best.
    """

    source: str | Path
    recipe: Recipe
    examples: Examples
    evaluation: Examples | None = None
    weights: np.ndarray | None = None
    class_weight: str | Mapping[Any, float] | None = None
    max_length: int | None = None
    stride: int | None = None
    merge: str = "mean"
    device: str | None = None
    callbacks: Sequence[Callback] = ()
    folder: Path | None = None
    resume: bool = False
    patience: int | None = None
    choice: Examples | None = None
    unlabelled: Sequence[str] = ()


@dataclass
class Trained:
    """A trained classifier, how its training went, what it read, and the recipe as it was used for this model."""

    model: Model
    history: History | None
    windows: WindowedTexts
    recipe: Recipe
    adaptation: History | None = None
    lora: Any = None


def train_classifier(job: Training) -> Trained:
    """Runs a job.

    Raises:
        DataError: weights that do not fit the classes.
        TrainingError, CheckpointError, SourceError, TextError: as `load` and `train` do.
    """
    if job.recipe.linear_head:
        return _fit_linear_head(job)
    if job.patience is not None:
        job = _with_rows_to_choose_by(job)
    model = new_classifier(job.source, job.examples.classes, job.recipe.settings.seed, job.device)
    job = replace(job, recipe=job.recipe.for_model(model.spec))
    read = windower(model, job.max_length, job.stride)
    texts = read(job.examples.texts, job.examples.pairs)
    adaptation = adapted(model, _words_of(texts.encoded, read, job), job)
    if adaptation is not None and adaptation.ended == TERMINATED:
        return Trained(model, adaptation, texts, job.recipe, adaptation)
    lora = attach_lora(model, job)
    history = train(
        model,
        texts.shared(job.weights),
        job.examples.targets[texts.owner],
        job.recipe.settings,
        objective=objective(job.examples, job.class_weight),
        adapters=lora,
        evaluate=_evaluator(job, read),
        callbacks=job.callbacks,
        folder=job.folder,
        resume=job.resume,
    )
    return Trained(model, history, texts, job.recipe, adaptation, lora)


def _words_of(encoded: Encoded, read: Windower, job: Training) -> Encoded:
    """What a model is adapted to: the texts that are trained on, and those without labels."""
    if job.recipe.adaptation is None or not job.unlabelled:
        return encoded
    more = read(job.unlabelled).encoded
    segments = (
        None if encoded.segments is None or more.segments is None else encoded.segments.followed_by(more.segments)
    )
    return Encoded(encoded.ids.followed_by(more.ids), segments)


def new_classifier(source: str | Path, classes: LabelSet, seed: int, device: str | None = None) -> Model:
    """A pretrained encoder with a new head for these classes (see `with_new_head`).

    A family that has no classifier of its own gets a head on the mean of all states.
    """
    return with_new_head(source, Head("classify", reads="mean", outputs=len(classes)), classes.names, seed, device)


def objective(examples: Examples, class_weight: str | Mapping[Any, float] | None) -> Objective:
    """What training minimises: one class a row, or any number of them."""
    weights = _class_weights(examples, class_weight)
    return MultiLabel(weights) if examples.multi_label else Classification(weights)


def _class_weights(examples: Examples, wanted: str | Mapping[Any, float] | None) -> tuple[float, ...] | None:
    if wanted is None:
        return None
    if isinstance(wanted, str):
        if wanted != "balanced":
            raise DataError(f"class_weight is {wanted!r}; use 'balanced', a weight for each label, or None")
        return tuple(class_weights(examples).tolist())
    weights = [1.0] * len(examples.classes)
    for label, weight in wanted.items():
        if not isinstance(weight, int | float | np.number) or not np.isfinite(weight):
            raise DataError(f"class_weight of {label!r} is {weight!r:.40}, not a number")
        weights[examples.classes.index(label)] = float(weight)
    if min(weights) < 0 or max(weights) == 0:
        raise DataError("class weights must not be negative, and not all 0")
    return tuple(weights)


def _evaluator(job: Training, read: Windower) -> Callable[[Model], dict[str, float]] | None:
    several = job.examples.multi_label
    parts = {"": job.evaluation, f"{CHOICE}_": job.choice}
    texts = {name: (read(part.texts, part.pairs), part.targets) for name, part in parts.items() if part is not None}
    if not texts:
        return None

    def evaluate(model: Model) -> dict[str, float]:
        found = {}
        for name, (rows, targets) in texts.items():
            scores = probabilities(predict(model, rows.encoded).numpy(), several)
            merged, _ = merge_windows(scores, rows, job.merge, several)
            found.update({f"{name}{key}": value for key, value in headline(targets, merged, several).items()})
        return found

    return evaluate


CHOICE = "choice"
"""Begins the names of numbers measured on the rows that early stopping chooses by."""


def _with_rows_to_choose_by(job: Training) -> Training:
    """Sets a tenth of the training rows aside for early stopping: the evaluation rows must not choose the model."""
    kept, aside = split(job.examples, 0.1, job.recipe.settings.seed)
    weights = job.weights
    if weights is not None:
        place = {row: i for i, row in enumerate(job.examples.rows)}
        weights = weights[[place[row] for row in kept.rows]]
    metric = f"{CHOICE}_micro_f1" if job.examples.multi_label else f"{CHOICE}_accuracy"
    settings = replace(job.recipe.settings, metric=metric, greater_is_better=True, patience=job.patience)
    recipe = replace(job.recipe, settings=settings)
    return replace(job, examples=kept, choice=aside, weights=weights, recipe=recipe)


def headline(targets: np.ndarray, scores: np.ndarray, multi_label: bool) -> dict[str, float]:
    """The few numbers to show after an epoch; `loss` is the mean negative log-likelihood."""
    kept = np.clip(scores, 1e-12, 1.0)
    if multi_label:
        found = multilabel_metrics(targets, probabilities=scores)
        rest = np.clip(1.0 - scores, 1e-12, 1.0)
        loss = -(targets * np.log(kept) + (1 - targets) * np.log(rest)).mean()
        return {"micro_f1": found.micro_f1, "macro_f1": found.macro_f1, "loss": float(loss)}
    chosen = scores.argmax(1)
    metrics = classification_metrics(targets, chosen, names=[str(i) for i in range(scores.shape[1])])
    loss = -np.log(kept[np.arange(len(targets)), targets]).mean()
    return {"accuracy": metrics.accuracy, "macro_f1": metrics.macro_f1, "loss": float(loss)}


# A linear head on features -------------------------------------------------------------------------------------------


def _fit_linear_head(job: Training) -> Trained:
    from moduformer.train.features import AFTER_CONTRAST, STRENGTHS, fit_features

    body = load(job.source, "feature-extraction", job.device)
    texts = windower(body, job.max_length, job.stride)(job.examples.texts, job.examples.pairs)
    encoded, seed = texts.shared(job.weights), job.recipe.settings.seed
    targets, classes = job.examples.targets[texts.owner], len(job.examples.classes)
    history = None
    strengths = AFTER_CONTRAST if job.recipe.contrast else STRENGTHS
    if job.recipe.contrast:
        job = replace(job, recipe=job.recipe.for_model(body.spec))
        history = _drawn_together(body, encoded, targets, job)
    weights = _class_weights(job.examples, job.class_weight)
    if job.examples.multi_label:
        weight, bias = _fit_each_class(body, encoded, targets, weights, strengths, seed)
    else:
        linear = fit_features(body, encoded, targets, classes, weights, strengths, seed=seed)
        weight, bias = linear.weight, linear.bias
    model = with_heads(body, (Head("classify", reads="mean", outputs=classes),), seed)
    model.notes = list(body.notes)
    head = model.heads["classify"]
    with torch.no_grad():
        for name, value in (("weight", weight), ("bias", bias)):
            head.get_parameter(name).copy_(torch.from_numpy(np.asarray(value, dtype=np.float32)))
    model.labels = job.examples.classes.names
    return Trained(model, history, texts, job.recipe)


def _drawn_together(body: Model, encoded: Encoded, targets: np.ndarray, job: Training) -> History:
    if body.quantization is not None:
        raise TrainingError(f"{job.source} is quantised and cannot be trained; start from its float checkpoint")
    if body.encoder is not None and body.decoder is not None:
        raise TrainingError(f"{job.source} has an encoder and a decoder; this recipe needs a model with one of them")
    history = train(
        body,
        encoded,
        targets,
        job.recipe.settings,
        objective=Contrast(),
        callbacks=job.callbacks,
        folder=job.folder,
        resume=job.resume,
    )
    body.eval()
    return history


def _fit_each_class(
    body: Model,
    encoded: Encoded,
    targets: np.ndarray,
    weights: tuple[float, ...] | None,
    strengths: Sequence[float],
    seed: int,
) -> tuple[np.ndarray, np.ndarray]:
    """One logistic regression a class, where a text may have several; a class always or never there is a bias."""
    from moduformer.train.features import fit_features

    weight = np.zeros((targets.shape[1], body.spec.dim), dtype=np.float32)
    bias = np.zeros(targets.shape[1], dtype=np.float32)
    for number in range(targets.shape[1]):
        present = targets[:, number].astype(np.int64)
        if present.min() == present.max():
            bias[number] = 30.0 if present[0] else -30.0
            continue
        own = None if weights is None else (1.0, weights[number])
        linear = fit_features(body, encoded, present, 2, own, strengths, seed=seed)
        # The sigmoid of a difference of two logits is their softmax.
        weight[number], bias[number] = linear.weight[1] - linear.weight[0], linear.bias[1] - linear.bias[0]
    return weight, bias
