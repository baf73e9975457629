"""An estimator that learns to write one text about another: translations, summaries, answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from moduformer.errors import CheckpointError, DataError
from moduformer.loading import load
from moduformer.metrics.results import Scores
from moduformer.metrics.summaries import summary_metrics
from moduformer.metrics.translation import translation_metrics
from moduformer.model import Model
from moduformer.pipelines.text_to_text import Answered, Answering
from moduformer.tasks.fine_tuned import COUNT, TRAINING_NUMBERS, FineTuned, Number
from moduformer.tasks.seq2seq_training import TASKS, Trained, Training, from_scratch, pipeline_of, train_pairs
from moduformer.train.callbacks import Callback
from moduformer.train.pairs import Pairs, pairs_from_lists
from moduformer.train.scratch import Size


class Seq2Seq(FineTuned):
    """Fine-tunes an encoder-decoder on pairs of texts, or trains one from nothing but the pairs.

    Long sources are predicted in windows at edges of sentences (translation, summarization); when training, what is
    longer than the model reads is cut and counted in `report_`.

    Arguments:
        model: a checkpoint with an encoder and a decoder (a folder or a hub id); or, trained from scratch with a
            vocabulary of its own: "transformer" (Vaswani et al. 2017) or a recurrent architecture: "seq2seq-lstm"
            (Sutskever et al. 2014), "seq2seq-gru" (Cho et al. 2014), "seq2seq-gru-bahdanau" (Bahdanau et al. 2015),
            "seq2seq-lstm-luong" (Luong et al. 2015).
        recipe: "plain" (all layers), "ulmfit" or "lora"; from scratch the recipe is that of the 2017 paper.
        task: "translation", "summarization" or "text2text-generation": what `score` measures, and how long sources
            are read.
        epochs, learning_rate, batch_size: None takes the recipe's; from scratch 10 epochs of about 64 pairs a step.
        random_state: seed of everything random; equal seeds give equal models.
        source_language, target_language: such as "en" and "ko": mBART's languages, T5's prefixes, and what BLEU counts.
        size: of a model from scratch: `Size`, or its fields by name.
        max_source, max_target: tokens of a source and of a target when training; None takes what the model can.
        num_beams: how many beams a prediction is searched with.
        label_smoothing: share of the probability that other tokens than the right one get while training.
        patience: stop early, after so many epochs without a lower loss on a tenth of the pairs set aside.
        device, precision, dropout, recompute: see `TextClassifier`.

    Attributes after `fit`:
        model_: the `moduformer.Model`.
        report_: how many pairs and tokens were trained on, and how many did not fit.
        history_: losses and evaluations of the training.
        recipe_: the recipe with every setting that was used; None from scratch.
    """

    settings_file = "seq2seq.json"
    task_name = "seq2seq"
    numbers = TRAINING_NUMBERS | {
        **dict.fromkeys(("max_source", "max_target", "num_beams"), COUNT),
        "label_smoothing": Number(limit=1),
    }

    def __init__(
        self,
        model: str | Path = "transformer",
        recipe: str = "plain",
        task: str = "translation",
        epochs: int | None = None,
        random_state: int = 0,
        learning_rate: float | None = None,
        batch_size: int | None = None,
        source_language: str | None = None,
        target_language: str | None = None,
        size: Size | Mapping[str, Any] | None = None,
        max_source: int | None = None,
        max_target: int | None = None,
        num_beams: int = 4,
        label_smoothing: float = 0.1,
        patience: int | None = None,
        device: str | None = None,
        precision: str | None = None,
        dropout: float | None = None,
        recompute: bool = False,
    ) -> None:
        self.model = model
        self.recipe = recipe
        self.task = task
        self.epochs = epochs
        self.random_state = random_state
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.source_language = source_language
        self.target_language = target_language
        self.size = size
        self.max_source = max_source
        self.max_target = max_target
        self.num_beams = num_beams
        self.label_smoothing = label_smoothing
        self.patience = patience
        self.device = device
        self.precision = precision
        self.dropout = dropout
        self.recompute = recompute

    # Learning ------------------------------------------------------------------------------------------------------

    def fit(
        self,
        sources: Any,
        targets: Any,
        eval_set: tuple[Any, Any] | None = None,
        callbacks: Sequence[Callback] = (),
    ) -> Self:
        """Learns to write the targets from the sources.

        Arguments:
            sources: a list, array or column of texts.
            targets: a text for each, or a list of several right ones, of which the first is learned.
            eval_set: the same, whose loss is measured after each epoch; never trained on.
            callbacks: watchers, see `moduformer.train.callbacks`.

        Raises `DataError` naming the pair that cannot be used, and what `moduformer.load` raises.
        """
        evaluation = None if eval_set is None else pairs_from_lists(*eval_set)
        self.fit_pairs(pairs_from_lists(sources, targets), evaluation, callbacks=callbacks)
        return self

    def fit_pairs(
        self,
        pairs: Pairs,
        evaluation: Pairs | None = None,
        *,
        callbacks: Sequence[Callback] = (),
        folder: Path | None = None,
        resume: bool = False,
    ) -> Trained:
        """`fit` on pairs read from a file; logs and checkpoints go to `folder`. Returns the details of the run."""
        self.check(pairs)
        trained = train_pairs(
            Training(
                self.model,
                self.resolved_recipe(),
                pairs,
                evaluation,
                self.task,
                (self.source_language, self.target_language),
                self._size(),
                self.epochs,
                self.learning_rate,
                self.batch_size,
                self.label_smoothing,
                self.max_source,
                self.max_target,
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

    def check(self, pairs: Pairs) -> None:
        """Raises what `fit_pairs` would raise for these pairs and settings, before any model is read."""
        self.check_parameters()
        self.resolved_recipe()
        if len(pairs) < 1:
            raise DataError(f"{pairs.name} has no pairs")

    def check_parameters(self) -> None:
        super().check_parameters()
        if self.task not in TASKS:
            raise DataError(f"task is {self.task!r}; use one of {', '.join(TASKS)}")
        if self.size is not None and not from_scratch(self.model):
            raise DataError(f"size is for models from scratch, and {self.model} is a checkpoint with a size of its own")

    def _take(self, model: Model) -> None:
        self.model_ = model
        self._pipeline = pipeline_of(model, self.task, (self.source_language, self.target_language))

    # Predicting ----------------------------------------------------------------------------------------------------

    @property
    def pipeline(self) -> Answering[Any]:
        """The pipeline of the trained model, such as that of translation."""
        self.check_fitted()
        return self._pipeline

    def predict(self, sources: Any, **settings: Any) -> list[str]:
        """What is written for each source; `settings` of generation (`max_new_tokens`, `num_beams`, ...)."""
        return [found.texts[0] for found in self.answers(sources, **settings)]

    def answers(self, sources: Any, **settings: Any) -> Iterator[Answered]:
        """As `predict`, one after another, with scores, windows and whether anything was cut."""
        self.check_fitted()
        if isinstance(sources, str):
            raise DataError("sources is one string; give a list of texts, [text] for a single one")
        stored = self.model_.generation_config or {}
        usual = {"num_beams": self.num_beams, "max_new_tokens": stored.get("max_new_tokens")}
        chosen = {name: value for name, value in usual.items() if value is not None}
        if "max_length" in settings:
            chosen["max_new_tokens"] = None
        return self._pipeline.stream(sources, **(chosen | settings))

    def metrics(self, sources: Any, targets: Any, **settings: Any) -> Scores:
        """Scores of predictions: BLEU, chrF and chrF++ of translations (sacreBLEU), ROUGE of other texts."""
        pairs = pairs_from_lists(sources, targets)
        return self.measure(self.predict(pairs.sources, **settings), pairs)

    def measure(self, predicted: Sequence[str], pairs: Pairs) -> Scores:
        """Scores of predictions for pairs."""
        if self.task == "translation":
            kinds = ("bleu", "chrf", "chrf++")
            return translation_metrics(predicted, pairs.targets, self.target_language, kinds=kinds)
        return summary_metrics(predicted, pairs.targets, tokens="words")

    def score(self, sources: Any, targets: Any) -> float:
        """BLEU of translations, from 0 to 100 (as sacreBLEU counts it); else the F1 of ROUGE-L, from 0 to 1."""
        return self.metrics(sources, targets).score

    # Files ---------------------------------------------------------------------------------------------------------

    def _learned(self) -> dict[str, Any]:
        return {"task": self.task}

    @classmethod
    def load(cls, folder: str | Path, device: str | None = None, **parameters: Any) -> Self:
        """An estimator from a folder that `save` wrote, or from any encoder-decoder's checkpoint.

        `parameters` are used in place of the stored ones, such as `task` for a checkpoint from elsewhere. Raises
        `CheckpointError` if the folder holds none.
        """
        made, _ = cls._from_settings(folder, device, **parameters)
        model = load(folder, "text-generation", device)
        if model.encoder is None or model.decoder is None:
            raise CheckpointError(f"{folder} has no encoder beside a decoder; it continues texts and answers none")
        made._take(model)
        return made
