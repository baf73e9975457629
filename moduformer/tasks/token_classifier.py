"""A tagger of words and finder of entities with the conventions of scikit-learn."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from moduformer.errors import CheckpointError, DataError
from moduformer.loading import load
from moduformer.model import Model
from moduformer.pipelines.token_classification import Tagged, TaggedSpan, TokenClassification
from moduformer.tasks.fine_tuned import TRAINING_NUMBERS, WINDOW_NUMBERS, FineTuned
from moduformer.tasks.tagger_training import Trained, Training, tag_scores, tagging_pipeline, train_tagger
from moduformer.text.tags import TagScheme
from moduformer.train.callbacks import Callback
from moduformer.train.tagged import TaggedExamples, tagged_from_lists


class TokenClassifier(FineTuned):
    """Fine-tunes a pretrained Transformer to find entities in texts, or to tag words.

    Texts longer than the model reads are read in overlapping windows, when training and predicting; every token is
    learned and read where it has most context. Predicted tags obey their scheme: no entity goes on that did not begin.

    Arguments:
        model: what to start from: an alias ("minilm", "e5-small"), a hub id, or a folder.
        recipe: "plain" (all layers), "ulmfit" (discriminative rates and gradual unfreezing, Howard & Ruder 2018) or
            "lora" (low-rank adapters, Hu et al. 2022, merged when saved).
        epochs, learning_rate, batch_size: None takes the recipe's; its rate is lower for deeper and wider models.
        class_weight: None, or "balanced" to let rare tags count more.
        random_state: seed of everything random; equal seeds give equal models.
        max_length: tokens of a window, special tokens included; None takes what the model reads, at most 512.
        stride: tokens two neighbouring windows share; None takes a quarter of `max_length`.
        adapt: first train the encoder on masked words of the training texts.
        patience: stop early, after so many epochs without a better score, and keep the best epoch. A tenth of the
            training texts is set aside to choose by; None trains on all of them to the end.
        device: where to train and predict; None is the CPU.
        precision: "float32" or "bfloat16" for the matrix products of training; None takes the recipe's.
        dropout: share of the hidden states dropped while training; None takes the model's own.
        recompute: keep only what goes into each layer, and compute the rest again for the gradients: less memory.

    Attributes after `fit`:
        classes_: the tags: O and a B and an I of each type, or tags without marks such as parts of speech.
        model_: the `moduformer.Model`.
        marked_: whether the tags mark entities.
        misaligned_: the spans of the training texts whose edges are no edges of tokens, with what was learned instead.
        report_: how many texts, windows and tokens were trained on.
        history_: losses and evaluations of the training.
        recipe_: the recipe with every setting that was used.
    """

    settings_file = "tagger.json"
    task_name = "token-classification"
    numbers = TRAINING_NUMBERS | WINDOW_NUMBERS

    def __init__(
        self,
        model: str | Path = "minilm",
        recipe: str = "plain",
        epochs: int | None = None,
        class_weight: str | None = None,
        random_state: int = 0,
        learning_rate: float | None = None,
        batch_size: int | None = None,
        max_length: int | None = None,
        stride: int | None = None,
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
        self.adapt = adapt
        self.patience = patience
        self.device = device
        self.precision = precision
        self.dropout = dropout
        self.recompute = recompute

    # Learning ------------------------------------------------------------------------------------------------------

    def fit(self, X: Any, y: Any, eval_set: tuple[Any, Any] | None = None, callbacks: Sequence[Callback] = ()) -> Self:
        """Learns from tagged text.

        Arguments:
            X: sentences as lists of words, or texts.
            y: for words a tag for each, in BIO, IOB1, BIOES or without marks; for texts their spans, `(start, end,
                label)` or mappings with these keys.
            eval_set: the same to evaluate on after each epoch; never trained on.
            callbacks: watchers, see `moduformer.train.callbacks`.

        Raises `DataError` naming the row that cannot be used, and what `moduformer.load` raises.
        """
        evaluation = None if eval_set is None else tagged_from_lists(*eval_set)
        self.fit_examples(tagged_from_lists(X, y), evaluation, callbacks=callbacks)
        return self

    def fit_examples(
        self,
        examples: TaggedExamples,
        evaluation: TaggedExamples | None = None,
        *,
        callbacks: Sequence[Callback] = (),
        folder: Path | None = None,
        resume: bool = False,
    ) -> Trained:
        """`fit` on examples read from a file; logs and checkpoints go to `folder`. Returns the details of the run."""
        self.check(examples, evaluation)
        trained = train_tagger(
            Training(
                self.model,
                self.resolved_recipe(),
                examples,
                evaluation,
                self.class_weight,
                self.max_length,
                self.stride,
                self.device,
                callbacks,
                folder,
                resume,
                self.patience,
            )
        )
        self._trained(trained)
        self._take(trained.model, examples.marked)
        self.report_ = trained.report
        self.misaligned_ = trained.misaligned
        return trained

    def check(self, examples: TaggedExamples, evaluation: TaggedExamples | None = None) -> None:
        """Raises what `fit_examples` would raise for these rows and settings, before any model is read."""
        self.check_parameters()
        if self.resolved_recipe().linear_head:
            raise DataError(f"recipe {self.recipe!r} is for whole texts; use plain, ulmfit or lora for tags")
        if not any(examples.spans):
            raise DataError(f"{examples.name}: none of its {len(examples):,} rows has an entity to learn from")
        if evaluation is not None and evaluation.marked != examples.marked:
            raise DataError(f"{evaluation.name} and {examples.name} have tags of different kinds")

    def check_parameters(self) -> None:
        super().check_parameters()
        if self.class_weight not in (None, "balanced"):
            raise DataError(f"class_weight is {self.class_weight!r}; for tags use 'balanced' or None")

    def _take(self, model: Model, marked: bool) -> None:
        self.model_, self.marked_ = model, marked
        self.classes_ = np.array(model.labels)
        self._pipeline = tagging_pipeline(model, self.max_length, self.stride)

    # Predicting ----------------------------------------------------------------------------------------------------

    @property
    def pipeline(self) -> TokenClassification:
        """The token-classification pipeline of the trained model."""
        self.check_fitted()
        return self._pipeline

    def predict(self, X: Any) -> list[Any]:
        """For sentences as words a list of tags each; for texts a list of spans `(start, end, label)` each."""
        listed = list(X) if not isinstance(X, str) else X
        split = self._is_split(listed)
        found = self.tagged(listed)
        if split:
            return [tagged.word_tags() for tagged in found]
        return [[(span.start, span.end, span.type) for span in tagged.spans] for tagged in found]

    def predict_spans(self, X: Any) -> list[list[TaggedSpan]]:
        """The entities of each text (or sentence), with their texts and scores."""
        return [tagged.spans for tagged in self.tagged(X)]

    def tagged(self, X: Any) -> list[Tagged]:
        """Everything that was found out about each text: scores of tokens, tags, spans, windows."""
        self.check_fitted()
        listed = list(X) if not isinstance(X, str) else X
        split = self._is_split(listed)
        return self._pipeline.predict(listed, is_split_into_words=split) if len(listed) else []

    def score(self, X: Any, y: Any) -> float:
        """The F1 of entities over all texts (as seqeval counts them); for tags without marks their accuracy."""
        self.check_fitted()
        return tag_scores(self._pipeline, tagged_from_lists(X, y))[0].score

    @staticmethod
    def _is_split(X: Any) -> bool:
        if isinstance(X, str):
            raise DataError("X is one string; give a list of texts, [text] for a single one")
        split = [isinstance(row, list | tuple | np.ndarray) for row in X]
        for number, (row, own) in enumerate(zip(X, split)):
            if own != split[0] or not (own or isinstance(row, str)):
                raise DataError(f"X[{number}] is a {type(row).__name__}; every row must be a text, or a list of words")
        return bool(split and split[0])

    # Files ---------------------------------------------------------------------------------------------------------

    def _learned(self) -> dict[str, Any]:
        return {"marked": self.marked_}

    @classmethod
    def load(cls, folder: str | Path, device: str | None = None) -> Self:
        """A tagger from a folder that `save` wrote, or from any token-classification checkpoint.

        Raises `CheckpointError` if the folder holds none.
        """
        made, stored = cls._from_settings(folder, device)
        model = load(folder, None if stored else "token-classification", device)
        if model.spec.head("tag") is None or model.labels is None:
            raise CheckpointError(f"{folder} is not a tagger: its checkpoint has no head for tokens, or no labels")
        made._take(model, bool(stored.get("marked", TagScheme.of(model.labels).kind != "plain")))
        made.misaligned_ = []
        return made
