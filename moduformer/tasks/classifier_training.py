"""How a text classifier gets its weights: by training the encoder, or by a linear head on frozen features."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from moduformer.architecture import Head, Norm, Transform
from moduformer.errors import CheckpointError, DataError, TrainingError
from moduformer.loading import load
from moduformer.model import Model, build, initialise
from moduformer.tasks.inference import mean_states, merge_windows, probabilities, window_logits
from moduformer.tasks.windowing import WindowedTexts, windower
from moduformer.train.callbacks import Callback, History
from moduformer.train.encoded import Encoded
from moduformer.train.examples import Examples, class_weights
from moduformer.train.labels import LabelSet
from moduformer.train.loop import train
from moduformer.train.metrics import classification_metrics, multilabel_metrics
from moduformer.train.objectives import Classification, MaskedLanguage, MultiLabel, Objective
from moduformer.train.recipes import Recipe
from moduformer.train.seeds import kept_random, seed_all
from moduformer.train.settings import Settings

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


@dataclass
class Trained:
    """A trained classifier, how its training went, and what it read."""

    model: Model
    history: History | None
    windows: WindowedTexts
    adaptation: History | None = None
    lora: Any = None


def train_classifier(job: Training) -> Trained:
    """Runs a job.

    Raises:
        DataError: weights that do not fit the classes.
        TrainingError, CheckpointError, SourceError, TextError: as `load` and `train` do.
    """
    if job.recipe.frozen_features:
        return _fit_features(job)
    model = new_classifier(job.source, job.examples.classes, job.recipe.settings.seed, job.device)
    read = windower(model, job.max_length, job.stride)
    texts = read(job.examples.texts, job.examples.pairs)
    adaptation = _adapt(model, texts.encoded, job)
    lora = _attach_lora(model, job)
    history = train(
        model,
        texts.shared(job.weights),
        job.examples.targets[texts.owner],
        job.recipe.settings,
        objective=objective(job.examples, job.class_weight),
        adapters=lora,
        evaluate=_evaluator(job, read(job.evaluation.texts, job.evaluation.pairs)) if job.evaluation else None,
        callbacks=job.callbacks,
        folder=job.folder,
        resume=job.resume,
    )
    return Trained(model, history, texts, adaptation, lora)


def new_classifier(source: str | Path, classes: LabelSet, seed: int, device: str | None = None) -> Model:
    """A pretrained encoder with a new head for these classes, the same one for the same seed."""
    with kept_random():
        seed_all(seed)
        return load(source, "text-classification", device, labels=classes.names, new_head=True)


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
        weights[examples.classes.index(label)] = float(weight)
    if min(weights) < 0 or max(weights) == 0:
        raise DataError("class weights must not be negative, and not all 0")
    return tuple(weights)


def _evaluator(job: Training, texts: WindowedTexts) -> Callable[[Model], dict[str, float]]:
    assert job.evaluation is not None
    targets, several = job.evaluation.targets, job.examples.multi_label

    def evaluate(model: Model) -> dict[str, float]:
        scores = probabilities(window_logits(model, texts.encoded), several)
        merged, _ = merge_windows(scores, texts, job.merge, several)
        return headline(targets, merged, several)

    return evaluate


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


# Low-rank adapters ---------------------------------------------------------------------------------------------------


def _attach_lora(model: Model, job: Training) -> Any:
    if job.recipe.lora is None:
        return None
    from moduformer.train.lora import Lora

    return Lora(model, job.recipe.lora, seed=job.recipe.settings.seed)


# Adaptation to the domain --------------------------------------------------------------------------------------------


def _adapt(model: Model, encoded: Encoded, job: Training) -> History | None:
    """Masked language modelling on the training texts (Howard & Ruder 2018, section 3.2, with Devlin et al.'s task)."""
    adaptation = job.recipe.adaptation
    if adaptation is None:
        return None
    tokenizer = model.tokenizer
    if tokenizer.mask_id is None or model.encoder is None:
        raise TrainingError(
            "adaptation hides words behind a mask token, which this model does not have; use adapt=False"
        )
    settings = job.recipe.settings
    guesser = _masked_model(job, model)
    special = {number for number in map(tokenizer.token_to_id, tokenizer.special_tokens.values()) if number is not None}
    task = MaskedLanguage(
        tokenizer.mask_id, model.spec.vocab, tuple(sorted(special)), adaptation.probability, settings.seed
    )
    adapted = Settings(
        epochs=adaptation.epochs,
        batch_size=settings.batch_size,
        learning_rate=adaptation.learning_rate,
        seed=settings.seed,
        evaluate_every=None,
        embedding="frozen",
        log_every=settings.log_every,
    )
    folder = None if job.folder is None else job.folder / "adaptation"
    return train(
        guesser, encoded, None, adapted, objective=task, callbacks=job.callbacks, folder=folder, resume=job.resume
    )


def _masked_model(job: Training, model: Model) -> Model:
    """The classifier's own encoder under a head that guesses words: the checkpoint's, or else a new one."""
    seed = job.recipe.settings.seed
    try:
        guesser = load(job.source, "fill-mask", job.device)
    except CheckpointError:
        spec = model.spec
        transform = Transform(spec.embedding.width, "gelu", Norm(eps=1e-12))
        return with_head(model, Head("masked-lm", transform=transform, tied=True), seed)
    guesser.embedding, guesser.encoder = model.embedding, model.encoder
    return guesser


def with_head(model: Model, head: Head, seed: int) -> Model:
    """A model with this one head on the same embedding and stacks (shared, not copied); the head is new."""
    made = build(replace(model.spec, heads=(head,)), device="meta")
    made.heads.to_empty(device=model.device)
    initialise(made.heads, torch.Generator(device=model.device).manual_seed(seed))
    made.embedding, made.encoder, made.decoder = model.embedding, model.encoder, model.decoder
    made.tokenizer, made.notes = model.tokenizer, list(model.notes)
    return made.eval()


# A linear head on frozen features ------------------------------------------------------------------------------------


def _fit_features(job: Training) -> Trained:
    from sklearn.linear_model import LogisticRegression
    from sklearn.multiclass import OneVsRestClassifier

    body = load(job.source, "feature-extraction", job.device)
    texts = windower(body, job.max_length, job.stride)(job.examples.texts, job.examples.pairs)
    features = mean_states(body, texts.encoded).astype(np.float64)
    mean, scale = features.mean(0), np.maximum(features.std(0), 1e-6)
    shares = texts.shared(job.weights).weights
    shares = np.ones(len(features)) if shares is None else shares
    weights = _class_weights(job.examples, job.class_weight)
    targets = job.examples.targets[texts.owner]
    regression = LogisticRegression(C=FEATURES_C, max_iter=2000)
    inputs = (features - mean) / scale
    if job.examples.multi_label:
        several = OneVsRestClassifier(regression).fit(inputs, targets.astype(np.int64))
        rows = [_binary(one, inputs.shape[1]) for one in several.estimators_]
        weight, bias = np.stack([w for w, _ in rows]), np.array([b for _, b in rows])
    else:
        counted = shares if weights is None else shares * np.asarray(weights)[targets]
        regression.fit(inputs, targets, sample_weight=counted)
        weight, bias = regression.coef_, regression.intercept_
        if len(weight) == 1:
            # Two classes: the logistic function of z is the softmax of (0, z).
            weight, bias = np.vstack([np.zeros_like(weight), weight]), np.array([0.0, bias[0]])
    # The scaling of the features is folded into the head, so that the saved model is encoder, mean and one matrix.
    weight = weight / scale
    bias = bias - weight @ mean
    head = Head("classify", reads="mean", outputs=len(job.examples.classes))
    model = with_head(body, head, job.recipe.settings.seed)
    with torch.no_grad():
        model.heads["classify"].weight.copy_(torch.from_numpy(weight))
        model.heads["classify"].bias.copy_(torch.from_numpy(bias))
    model.labels = job.examples.classes.names
    return Trained(model, None, texts)


FEATURES_C = 0.1
"""Inverse strength of the L2 penalty on standardised features; they are many and few rows should do."""


def _binary(estimator: Any, width: int) -> tuple[np.ndarray, float]:
    if hasattr(estimator, "coef_"):
        return estimator.coef_[0], float(estimator.intercept_[0])
    # scikit-learn puts a constant where a class is always or never present.
    always = bool(np.ravel(estimator.predict(np.zeros((1, width))))[0])
    return np.zeros(width), 30.0 if always else -30.0
