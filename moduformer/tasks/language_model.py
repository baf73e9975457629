"""An estimator of language models: adapted to texts, or trained from nothing but them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from moduformer.errors import DataError, TrainingError
from moduformer.generate.text import Generated, generate_text
from moduformer.metrics.language_model import LanguageModelMetrics
from moduformer.model import Model
from moduformer.tasks.fine_tuned import TRAINING_NUMBERS, FineTuned, Number
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
from moduformer.train.callbacks import Callback
from moduformer.train.plain_texts import PlainTexts, texts_from_list
from moduformer.train.scratch import Size


class LanguageModel(FineTuned):
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
        device, precision, dropout, recompute: see `TextClassifier`.

    Attributes after `fit`:
        model_: the `moduformer.Model`.
        causal_: whether it learned the next token.
        report_: how many texts, windows and tokens were trained on.
        history_: losses and evaluations of the training.
        recipe_: the recipe with every setting that was used.
    """

    settings_file = "language_model.json"
    task_name = "language-modeling"
    numbers = TRAINING_NUMBERS | {"max_length": Number(4, whole=True), "probability": Number(limit=1)}

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
        recompute: bool = False,
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
        self.recompute = recompute

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
        self._trained(trained)
        self._take(trained.model)
        self.report_ = trained.report
        return trained

    def _overrides(self) -> dict[str, Any]:
        scratch = {"epochs": SCRATCH_EPOCHS, "learning_rate": SCRATCH_RATE} if self.model in SCRATCH else {}
        return scratch | super()._overrides()

    def check(self, texts: PlainTexts) -> None:
        """Raises what `fit_texts` would raise for these texts and settings, before any model is read."""
        self.check_parameters()
        self.resolved_recipe()
        if not len(texts):
            raise DataError(f"{texts.name} has no texts")

    def check_parameters(self) -> None:
        super().check_parameters()
        if not self.probability:
            raise DataError(f"probability is {self.probability!r}; it must be above 0")
        if self.size is not None and self.model not in SCRATCH:
            raise DataError(f"size is for models from scratch, and {self.model} is a checkpoint with a size of its own")

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

    @classmethod
    def load(cls, folder: str | Path, device: str | None = None) -> Self:
        """A language model from a folder that `save` wrote, or from any checkpoint. Raises `CheckpointError`."""
        made, stored = cls._from_settings(folder, device)
        if not stored:
            made.model = str(folder)
        made._take(language_model(folder, device))
        return made
