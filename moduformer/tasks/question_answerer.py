"""An answerer of questions out of texts, with the conventions of scikit-learn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from moduformer.errors import CheckpointError, DataError
from moduformer.loading import load
from moduformer.model import Model
from moduformer.pipelines.inputs import rows_of
from moduformer.pipelines.question_answering import Answers, QuestionAnswering
from moduformer.tasks.answerer_training import (
    METRICS,
    Trained,
    Training,
    answer_scores,
    answering_pipeline,
    train_answerer,
)
from moduformer.tasks.fine_tuned import COUNT, TRAINING_NUMBERS, WINDOW_NUMBERS, FineTuned, Number
from moduformer.train.callbacks import Callback
from moduformer.train.questions import Questions, questions_from_lists


class QuestionAnswerer(FineTuned):
    """Fine-tunes a pretrained Transformer to answer questions with a stretch of the text they are asked about.

    Contexts longer than the model reads are read in overlapping windows, when training and predicting. An answer may
    begin and end within a word, so that a Korean particle is not part of it.

    Arguments:
        model: what to start from: an alias ("minilm", "e5-small"), a hub id, or a folder; one that answers questions
            already goes on learning.
        recipe: "plain" (all layers), "ulmfit" (discriminative rates and gradual unfreezing, Howard & Ruder 2018) or
            "lora" (low-rank adapters, Hu et al. 2022, merged when saved).
        epochs, learning_rate, batch_size: None takes the recipe's; its rate is lower for deeper and wider models.
        random_state: seed of everything random; equal seeds give equal models.
        max_length: tokens of a window, question and special tokens included; None: 384, or what the model reads.
        stride: tokens two neighbouring windows share; None: 128, or half of a short window.
        max_answer_length: tokens of a predicted answer at most.
        metric: what `score` computes: "squad", "squad_v2" or "korquad", each as its official script; None: squad_v2
            where a question has no answer, korquad where answers are Korean, else squad.
        adapt: first train the encoder on masked words of the training texts.
        patience: stop early, after so many epochs without a better score, and keep the best epoch. A tenth of the
            articles is set aside to choose by; None trains on all of them to the end.
        device: where to train and predict; None is the CPU.
        precision: "float32" or "bfloat16" for the matrix products of training; None takes the recipe's.
        dropout: share of the hidden states dropped while training; None takes the model's own.
        recompute: keep only what goes into each layer, and compute the rest again for the gradients: less memory.

    Attributes after `fit`:
        model_: the `moduformer.Model`.
        impossible_: whether "there is no answer" may be the answer, as it was for some training questions.
        misaligned_: the answers of the training texts whose edges are no edges of tokens, with what was learned.
        report_: how many questions, windows and tokens were trained on.
        history_: losses and evaluations of the training.
        recipe_: the recipe with every setting that was used.
    """

    settings_file = "answerer.json"
    task_name = "question-answering"
    numbers = TRAINING_NUMBERS | WINDOW_NUMBERS | {"max_length": Number(8, whole=True), "max_answer_length": COUNT}

    def __init__(
        self,
        model: str | Path = "minilm",
        recipe: str = "plain",
        epochs: int | None = None,
        random_state: int = 0,
        learning_rate: float | None = None,
        batch_size: int | None = None,
        max_length: int | None = None,
        stride: int | None = None,
        max_answer_length: int = 30,
        metric: str | None = None,
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
        self.random_state = random_state
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.max_length = max_length
        self.stride = stride
        self.max_answer_length = max_answer_length
        self.metric = metric
        self.adapt = adapt
        self.patience = patience
        self.device = device
        self.precision = precision
        self.dropout = dropout
        self.recompute = recompute

    # Learning ------------------------------------------------------------------------------------------------------

    def fit(self, X: Any, y: Any, eval_set: tuple[Any, Any] | None = None, callbacks: Sequence[Callback] = ()) -> Self:
        """Learns from questions, contexts and answers.

        Arguments:
            X: pairs of question and context: tuples, dicts with these keys, or a table of the two columns.
            y: for each an answer: its text (where that stands once in the context), `{"text": ..., "answer_start":
                ...}`, several of them, or None where there is none.
            eval_set: the same to evaluate on after each epoch; never trained on.
            callbacks: watchers, see `moduformer.train.callbacks`.

        Raises `DataError` naming the row that cannot be used, and what `moduformer.load` raises.
        """
        evaluation = None if eval_set is None else _questions(*eval_set, located=False)
        self.fit_examples(_questions(X, y), evaluation, callbacks=callbacks)
        return self

    def fit_examples(
        self,
        examples: Questions,
        evaluation: Questions | None = None,
        *,
        callbacks: Sequence[Callback] = (),
        folder: Path | None = None,
        resume: bool = False,
    ) -> Trained:
        """`fit` on questions read from a file; logs and checkpoints go to `folder`. Returns the details of the run."""
        self.check(examples, evaluation)
        trained = train_answerer(
            Training(
                self.model,
                self.resolved_recipe(),
                examples,
                evaluation,
                self.metric,
                self.max_length,
                self.stride,
                self.max_answer_length,
                self.device,
                callbacks,
                folder,
                resume,
                self.patience,
            )
        )
        self._trained(trained)
        self._take(trained.model, bool(examples.unanswerable))
        self.report_ = trained.report
        self.misaligned_ = trained.misaligned
        return trained

    def check(self, examples: Questions, evaluation: Questions | None = None) -> None:
        """Raises what `fit_examples` would raise for these rows and settings, before any model is read."""
        self.check_parameters()
        if self.resolved_recipe().linear_head:
            raise DataError(f"recipe {self.recipe!r} is for whole texts; use plain, ulmfit or lora for answers")
        if not any(answer.start is not None for answers in examples.answers for answer in answers):
            raise DataError(f"{examples.name}: none of its {len(examples):,} questions has an answer to learn from")
        if evaluation is not None and not examples.unanswerable and self.metric != "squad_v2":
            without = next((i for i, answers in enumerate(evaluation.answers) if not answers), None)
            if without is not None:
                raise DataError(
                    f"{evaluation.name}, {evaluation.places[without]}: question {evaluation.ids[without]} has no "
                    "answer, but every question that is trained on has one; leave such questions out"
                )

    def check_parameters(self) -> None:
        super().check_parameters()
        if self.metric is not None and self.metric not in METRICS:
            raise DataError(f"metric is {self.metric!r}; use one of {', '.join(METRICS)}, or None")

    def _take(self, model: Model, impossible: bool) -> None:
        self.model_, self.impossible_ = model, impossible
        self._pipeline = answering_pipeline(model, self.max_length, self.stride, self.max_answer_length, impossible)

    # Predicting ----------------------------------------------------------------------------------------------------

    @property
    def pipeline(self) -> QuestionAnswering:
        """The question-answering pipeline of the trained model."""
        self.check_fitted()
        return self._pipeline

    def predict(self, X: Any) -> list[str]:
        """The answer to each question, "" where there is none; X is as for `fit`."""
        return [found.best.text for found in self.answers(X)]

    def answers(self, X: Any, top_k: int = 1, **options: Any) -> list[Answers]:
        """The best answers to each question, with scores, places and windows; options are the pipeline's."""
        self.check_fitted()
        pairs = _pairs(X)
        return self._pipeline.predict(pairs, top_k=top_k, **options) if pairs else []

    def score(self, X: Any, y: Any) -> float:
        """The mean F1 with the right answers, from 0 to 1, as the official script of `metric` counts it."""
        questions = _questions(X, y, located=False)
        answers = self.predict(list(zip(questions.questions, questions.contexts)))
        return answer_scores(answers, questions, self.metric).f1 / 100

    # Files ---------------------------------------------------------------------------------------------------------

    def _learned(self) -> dict[str, Any]:
        return {"impossible": self.impossible_}

    @classmethod
    def load(cls, folder: str | Path, device: str | None = None) -> Self:
        """An answerer from a folder that `save` wrote, or from any question-answering checkpoint.

        Raises `CheckpointError` if the folder holds none.
        """
        made, stored = cls._from_settings(folder, device)
        model = load(folder, None if stored else "question-answering", device)
        if model.spec.head("span") is None:
            raise CheckpointError(f"{folder} does not answer questions: its checkpoint has no head for that")
        made._take(model, stored.get("impossible") is True)
        made.misaligned_ = []
        return made


def _pairs(X: Any) -> list[tuple[Any, Any]]:
    """Questions and contexts. Raises `DataError` naming a row that is no pair."""
    columns = [str(name) for name in getattr(X, "columns", ())]
    if "question" in columns and "context" in columns:
        return list(zip(X["question"].tolist(), X["context"].tolist()))
    if isinstance(X, Mapping):
        raise DataError("X is one mapping; give a list of them, [mapping] for a single one")
    pairs = []
    for number, row in enumerate(rows_of(X)):
        pair = (row.get("question"), row.get("context")) if isinstance(row, Mapping) else row
        if not isinstance(pair, tuple | list) or len(pair) != 2 or not all(isinstance(text, str) for text in pair):
            raise DataError(f"X[{number}] is no question with its context; give (question, context)")
        pairs.append((pair[0], pair[1]))
    return pairs


def _questions(X: Any, y: Any, located: bool = True) -> Questions:
    pairs, answers = _pairs(X), list(y)
    if len(pairs) != len(answers):
        raise DataError(f"there are {len(pairs)} questions but {len(answers)} answers")
    return questions_from_lists([pair[0] for pair in pairs], [pair[1] for pair in pairs], answers, located)
