"""An estimator of language models: adapted to texts, or trained from nothing but them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from moduformer.atomic import write_text
from moduformer.errors import CheckpointError, DataError, ModuformerError, TrainingError
from moduformer.generate.text import Generated, generate_text
from moduformer.loading import usable_device
from moduformer.metrics.language_model import LanguageModelMetrics
from moduformer.model import Model
from moduformer.tasks.estimator import Estimator
from moduformer.tasks.language_model_training import (
    SCRATCH,
    SCRATCH_EPOCHS,
    SCRATCH_LENGTH,
    SCRATCH_RATE,
    Trained,
    Training,
    is_causal,
    language_model,
    score_texts,
    train_language_model,
)
from moduformer.tasks.seq2seq import read_settings
from moduformer.train.callbacks import Callback
from moduformer.train.plain_texts import PlainTexts, texts_from_list
from moduformer.train.scratch import Size

SETTINGS_FILE = "language_model.json"
"""Beside the checkpoint: how it was made and how long its windows are."""


class LanguageModel(Estimator):
    """Adapts a pretrained model to texts, or trains one from nothing but texts with a vocabulary of its own.

    A decoder learns the next token, an encoder the tokens that are hidden from it. Long texts are cut into windows in
    which every token is learned once; nothing is left out.

    Arguments:
        model: a checkpoint (an alias, a hub id, a folder); or, from scratch, "gpt", "llama" or "bert".
        recipe: "plain" (all layers), "ulmfit" or "lora".
        epochs, learning_rate, batch_size: None takes the recipe's; from scratch 5 epochs at 1e-3.
        random_state: seed of everything random; equal seeds give equal models.
        max_length: tokens of a window; None takes what the model reads, at most 512; from scratch 256.
        size: of a model from scratch: `Size`, or its fields by name.
        probability: share of the tokens that are hidden (encoders).
        patience: stop early, after so many epochs without a lower loss on a tenth of the text set aside.
        device, precision, dropout: see `TextClassifier`.

    Attributes after `fit`:
        model_: the `moduformer.Model`.
        causal_: whether it learned the next token.
        report_: how many texts, windows and tokens were trained on.
        history_: losses and evaluations of the training.
        recipe_: the recipe with every setting that was used.
    """

    def __init__(
        self,
        model: str | Path = "gpt",
        recipe: str = "plain",
        epochs: int | None = None,
        random_state: int = 0,
        learning_rate: float | None = None,
        batch_size: int | None = None,
        max_length: int | None = None,
        size: Size | Mapping[str, Any] | None = None,
        probability: float = 0.15,
        patience: int | None = None,
        device: str | None = None,
        precision: str | None = None,
        dropout: float | None = None,
    ) -> None:
        self.model = model
        self.recipe = recipe
        self.epochs = epochs
        self.random_state = random_state
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.max_length = max_length
        self.size = size
        self.probability = probability
        self.patience = patience
        self.device = device
        self.precision = precision
        self.dropout = dropout

    # Learning ------------------------------------------------------------------------------------------------------

    def fit(self, texts: Any, y: Any = None, eval_set: Any = None, callbacks: Sequence[Callback] = ()) -> Self:
        """Learns from texts.

        Arguments:
            texts: a list, array or column of texts of any length.
            y: not used; for scikit-learn.
            eval_set: texts whose perplexity is measured after each epoch; never trained on.
            callbacks: watchers, see `moduformer.train.callbacks`.

        Raises `DataError` naming the text that cannot be used, and what `moduformer.load` raises.
        """
        evaluation = None if eval_set is None else texts_from_list(eval_set)
        self.fit_texts(texts_from_list(texts), evaluation, callbacks=callbacks)
        return self

    def fit_texts(
        self,
        texts: PlainTexts,
        evaluation: PlainTexts | None = None,
        *,
        callbacks: Sequence[Callback] = (),
        folder: Path | None = None,
        resume: bool = False,
    ) -> Trained:
        """`fit` on texts read from a file; logs and checkpoints go to `folder`. Returns the details of the run."""
        self.check(texts)
        trained = train_language_model(
            Training(
                self.model,
                self.resolved_recipe(),
                texts,
                evaluation,
                self._size(),
                self._length(),
                self.probability,
                self.device,
                callbacks,
                folder,
                resume,
                self.patience,
            )
        )
        if trained.lora is not None:
            trained.lora.merge()
        self._take(trained.model)
        self.adapter_, self.history_ = trained.lora, trained.history
        self.recipe_, self.report_ = trained.recipe, trained.report
        return trained

    def resolved_recipe(self) -> Any:
        """The recipe with this estimator's own settings in place of its defaults."""
        from moduformer.train.recipes import recipe

        own = ("epochs", "learning_rate", "batch_size", "precision", "dropout")
        changes = {name: getattr(self, name) for name in own if getattr(self, name) is not None}
        if self.model in SCRATCH:
            changes = {"epochs": SCRATCH_EPOCHS, "learning_rate": SCRATCH_RATE} | changes
        return recipe(self.recipe, seed=int(self.random_state or 0), **changes)

    def check(self, texts: PlainTexts) -> None:
        """Raises what `fit_texts` would raise for these texts and settings, before any model is read."""
        self._check_parameters()
        self.resolved_recipe()
        if not len(texts):
            raise DataError(f"{texts.name} has no texts")

    def _check_parameters(self) -> None:
        usable_device(self.device)
        for name, least in (("max_length", 4), ("patience", 1)):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < least):
                raise DataError(f"{name} is {value!r}; it must be a whole number of at least {least}")
        if not isinstance(self.probability, int | float) or not 0 < self.probability < 1:
            raise DataError(f"probability is {self.probability!r}; it must be between 0 and 1")
        if self.size is not None and self.model not in SCRATCH:
            raise DataError(f"size is for models from scratch, and {self.model} is a checkpoint with a size of its own")
        self._size()

    def _size(self) -> Size | None:
        if self.size is None or isinstance(self.size, Size):
            return self.size
        try:
            return Size(**self.size)
        except TypeError:
            raise DataError(
                f"size is {self.size!r:.80}; its fields are layers, d_model, d_ff, heads, dropout and vocab"
            ) from None

    def _length(self) -> int | None:
        return SCRATCH_LENGTH if self.max_length is None and self.model in SCRATCH else self.max_length

    def _take(self, model: Model) -> None:
        self.model_, self.causal_ = model, is_causal(model)

    # What it makes of texts ----------------------------------------------------------------------------------------

    def metrics(self, texts: Any) -> LanguageModelMetrics:
        """Perplexity with its interval, and for decoders bits a byte and a character; see `score_texts`."""
        self.check_fitted()
        return self.measure(texts_from_list(texts))

    def measure(self, texts: PlainTexts) -> LanguageModelMetrics:
        """`metrics` of texts read from a file."""
        return score_texts(self.model_, texts.texts, self._length(), self.probability)

    def score(self, texts: Any, y: Any = None) -> float:
        """The perplexity, negative, since more is better in scikit-learn: of all tokens for a decoder, of the tokens
        hidden by a fixed draw for an encoder."""
        return -self.metrics(texts).perplexity

    def predict(self, texts: Any) -> list[float]:
        """The perplexity of each text by itself."""
        self.check_fitted()
        return [self.measure(PlainTexts([text])).perplexity for text in texts_from_list(texts).texts]

    def generate(self, prompts: str | Sequence[str], **settings: Any) -> list[Generated]:
        """What a decoder writes after prompts; see `generate_text`. Raises `TrainingError` for an encoder."""
        self.check_fitted()
        if not self.causal_:
            raise TrainingError("an encoder guesses hidden words and writes no text; use the fill-mask pipeline")
        return generate_text(self.model_, prompts, **settings)

    # Files ---------------------------------------------------------------------------------------------------------

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "model_")

    def save(self, folder: str | Path) -> Path:
        """Writes a checkpoint in Hugging Face layout, and `language_model.json`. Returns the folder."""
        self.check_fitted()
        folder, size = Path(folder), self._size()
        parameters = self.get_params(deep=False) | {"model": str(self.model)}
        parameters["size"] = None if size is None else vars(size)
        stored = {"version": 1, "task": "language-modeling", "parameters": parameters}
        try:
            self.model_.save(folder)
            write_text(folder / SETTINGS_FILE, json.dumps(stored, indent=2, ensure_ascii=False) + "\n")
        except OSError as error:
            raise ModuformerError(f"{folder} cannot be written: {error.strerror or error}") from None
        return folder

    @classmethod
    def load(cls, folder: str | Path, device: str | None = None) -> Self:
        """A language model from a folder that `save` wrote, or from any checkpoint. Raises `CheckpointError`."""
        own = (Path(folder) / SETTINGS_FILE).is_file()
        stored = read_settings(Path(folder) / SETTINGS_FILE) if own else {}
        known = set(cls.parameter_names())
        kept = {name: value for name, value in dict(stored.get("parameters") or {}).items() if name in known}
        made = cls(**{"model": str(folder), **kept, "device": device})
        try:
            made._check_parameters()
        except (DataError, TypeError) as error:
            raise CheckpointError(f"{Path(folder) / SETTINGS_FILE}: {error}; fetch or train the folder anew") from None
        made._take(language_model(folder, device))
        made.history_, made.adapter_, made.report_, made.recipe_ = None, None, {}, None  # type: ignore[assignment]
        return made
