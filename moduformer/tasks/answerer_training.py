"""How an answerer of questions gets its weights, and which tokens of each window it learns to mark."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from moduformer.architecture import Head
from moduformer.errors import DataError, TrainingError
from moduformer.loading import load
from moduformer.metrics.answering import AnsweringMetrics, korquad_metrics, squad_metrics, squad_v2_metrics
from moduformer.model import Model
from moduformer.pipelines.question_answering import Answers, QuestionAnswering
from moduformer.pipelines.question_windows import QuestionWindower, ReadQuestion, question_windower
from moduformer.sources.resolve import resolve
from moduformer.tasks.fine_tuning import TERMINATED, adapted, attach_lora, with_new_head
from moduformer.train.callbacks import Callback, History
from moduformer.train.encoded import Encoded
from moduformer.train.gold_answers import GoldAnswer
from moduformer.train.loop import train
from moduformer.train.objectives import Span
from moduformer.train.questions import Questions, split_questions
from moduformer.train.recipes import Recipe
from moduformer.weights.strict_json import parse_object

CHOICE = "choice"
"""Begins the names of numbers measured on the rows that early stopping chooses by."""

METRICS = ("squad", "squad_v2", "korquad")

_CHUNK = 512
_MOST_CONFIG = 16 * 2**20
_NOTHING = 0
"""The token that marks a window without the answer: the first, which is [CLS] (Devlin et al. 2019)."""


@dataclass(frozen=True)
class Misaligned:
    """An answer whose edges are no edges of tokens, and what was learned in its place."""

    id: str
    text: str
    learned: str

    def __str__(self) -> str:
        return f"question {self.id}: {self.text!r} does not align with tokens; learned as {self.learned!r}"


@dataclass
class Training:
    """One training run of an answerer; see `classifier_training.Training`.

    `max_answer_length` is of tokens, for the answers given when the run evaluates.
    """

    source: str | Path
    recipe: Recipe
    examples: Questions
    evaluation: Questions | None = None
    metric: str | None = None
    max_length: int | None = None
    stride: int | None = None
    max_answer_length: int = 30
    device: str | None = None
    callbacks: Sequence[Callback] = ()
    folder: Path | None = None
    resume: bool = False
    patience: int | None = None


@dataclass
class Trained:
    """A trained answerer, how its training went, what it read, and the answers that did not align with tokens."""

    model: Model
    history: History | None
    recipe: Recipe
    report: dict[str, int]
    misaligned: list[Misaligned]
    lora: Any = None


def train_answerer(job: Training) -> Trained:
    """Runs a job.

    Raises:
        TrainingError, CheckpointError, SourceError, TextError: as `load` and `train` do.
    """
    choice = None
    if job.patience is not None:
        job, choice = _with_rows_to_choose_by(job)
    model = new_answerer(job.source, job.recipe.settings.seed, job.device)
    job = replace(job, recipe=job.recipe.for_model(model.spec))
    read = question_windower(model, job.max_length, job.stride)
    lesson = marked_tokens(read, job.examples)
    adaptation = adapted(model, lesson.encoded, job)
    if adaptation is not None and adaptation.ended == TERMINATED:
        return Trained(model, adaptation, job.recipe, lesson.report, lesson.misaligned)
    lora = attach_lora(model, job)
    history = train(
        model,
        lesson.encoded,
        lesson.wanted,
        job.recipe.settings,
        objective=Span(),
        adapters=lora,
        evaluate=_evaluator(job, choice),
        callbacks=job.callbacks,
        folder=job.folder,
        resume=job.resume,
    )
    return Trained(model, history, job.recipe, lesson.report, lesson.misaligned, lora)


def new_answerer(source: str | Path, seed: int, device: str | None = None) -> Model:
    """A pretrained model that marks first and last tokens: with the head it has for that, or else with a new one."""
    if _answers_already(source):
        model = load(source, "question-answering", device)
        if model.quantization is not None:
            raise TrainingError(f"{source} is quantised and cannot be trained; start from its float checkpoint")
        model.notes = [*model.notes, "goes on with the question-answering head it has"]
        return model
    return with_new_head(source, Head("span", outputs=2), None, seed, device)


def _answers_already(source: str | Path) -> bool:
    """Whether the checkpoint says that it has a question-answering head."""
    path = Path(resolve(source).path) / "config.json"
    try:
        if path.stat().st_size > _MOST_CONFIG:
            return False
        named = parse_object(path.read_bytes()).get("architectures")
    except (OSError, ValueError):
        return False
    return isinstance(named, list) and any(str(name).endswith("QuestionAnswering") for name in named)


# Targets -------------------------------------------------------------------------------------------------------------


@dataclass
class Lesson:
    """What is learned from questions.

    Attributes:
        encoded: a row a window.
        wanted: first and last token to mark in each, int `[windows, 2]`.
        misaligned: answers that no run of tokens is.
        report: how many questions, windows and tokens there are.
    """

    encoded: Encoded
    wanted: np.ndarray
    misaligned: list[Misaligned] = field(default_factory=list)
    report: dict[str, int] = field(default_factory=dict)


def marked_tokens(read: QuestionWindower, questions: Questions) -> Lesson:
    """Windows over the contexts, and which tokens to mark in each: those of the first answer that is located.

    A window that does not hold the whole answer is one without an answer.
    """
    # Arrays, since a list of Python's whole numbers takes ten times the memory.
    ids: list[Any] = []
    types: list[Any] = []
    wanted: list[tuple[int, int]] = []
    misaligned: list[Misaligned] = []
    long = 0
    for start in range(0, len(questions), _CHUNK):
        part = questions.select(range(start, min(start + _CHUNK, len(questions))))
        for row, name, answers in zip(read(part.questions, part.contexts), part.ids, part.answers):
            long += len(row.windows) > 1
            for window in row.windows:
                ids.append(np.asarray(window.ids, dtype=np.int32))
                if read.segments:
                    types.append(np.asarray(window.type_ids, dtype=np.int32))
            answer = next((answer for answer in answers if answer.start is not None), None)
            targets, learned = window_targets(row, answer)
            wanted += targets
            if answer is not None and learned != answer.text:
                misaligned.append(Misaligned(name, answer.text, learned))
    encoded = Encoded.of(ids, types if read.segments else None)
    places = np.asarray(wanted, dtype=np.int64).reshape(-1, 2)
    report = {
        "texts": len(questions),
        "windows": len(encoded),
        "windows_without_answer": int((places[:, 0] == _NOTHING).sum()),
        "long_texts": long,
        "tokens": int(encoded.ids.lengths.sum()),
        "longest_window": int(encoded.ids.lengths.max(initial=0)),
        "tokens_dropped": 0,
        "misaligned": len(misaligned),
        "max_length": read.max_length,
    }
    return Lesson(encoded, places, misaligned, report)


def window_targets(row: ReadQuestion, answer: GoldAnswer | None) -> tuple[list[tuple[int, int]], str]:
    """First and last token to mark in each window, and the text that these tokens are.

    A token that is partly of the answer is marked; white space that a token holds beside its word does not count.
    """
    nothing = (_NOTHING, _NOTHING)
    if answer is None or answer.start is None or answer.end is None:
        return [nothing] * len(row.windows), ""
    places = [_trimmed(row.context, start, end) for start, end in row.tokens.offsets]
    held = [i for i, (start, end) in enumerate(places) if start < answer.end and end > answer.start]
    if not held:
        return [nothing] * len(row.windows), ""
    first, last = held[0], held[-1]
    targets = []
    for window in row.windows:
        if not (window.start_token <= first and last < window.stop_token):
            targets.append(nothing)
            continue
        before = window.source_tokens.index(window.start_token) - window.start_token
        targets.append((before + first, before + last))
    return targets, row.context[places[first][0] : places[last][1]]


def _trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return start, end


# Scores --------------------------------------------------------------------------------------------------------------


def metric_for(questions: Questions) -> str:
    """Which published script scores such questions: "squad", "squad_v2" if some have no answer, or "korquad"."""
    if questions.unanswerable:
        return "squad_v2"
    letters = "".join(text for texts in questions.texts for text in texts)
    hangul = sum("가" <= letter <= "힣" for letter in letters)
    others = sum(letter.isalpha() for letter in letters) - hangul
    return "korquad" if hangul > others else "squad"


def answer_scores(
    answers: Sequence[str], questions: Questions, metric: str | None = None, seed: int = 0
) -> AnsweringMetrics:
    """Scores of answers as the official script computes them; `metric` None takes `metric_for`.

    Raises:
        DataError: no such metric, or a question without answers under one that wants them.
    """
    chosen = metric or metric_for(questions)
    if chosen not in METRICS:
        raise DataError(f"metric is {chosen!r}; use one of {', '.join(METRICS)}")
    if chosen == "squad_v2":
        return squad_v2_metrics(answers, questions.texts, seed=seed)
    return (korquad_metrics if chosen == "korquad" else squad_metrics)(answers, questions.texts, seed=seed)


def answering_pipeline(
    model: Model, max_length: int | None, stride: int | None, max_answer_length: int, impossible: bool
) -> QuestionAnswering:
    """A pipeline that reads windows as the answerer was trained on them."""
    read = question_windower(model, max_length, stride)
    return QuestionAnswering(
        model,
        max_seq_len=read.max_length,
        doc_stride=read.stride,
        max_answer_len=max_answer_length,
        handle_impossible_answer=impossible,
    )


def answered(pipe: QuestionAnswering, questions: Questions, **options: Any) -> list[Answers]:
    """What the pipeline says to each question."""
    return pipe.predict(list(zip(questions.questions, questions.contexts)), **options) if len(questions) else []


def _evaluator(job: Training, choice: Questions | None) -> Callable[[Model], dict[str, float]] | None:
    parts = [("", job.evaluation), (f"{CHOICE}_", choice)]
    if all(questions is None for _, questions in parts):
        return None

    def evaluate(model: Model) -> dict[str, float]:
        impossible = bool(job.examples.unanswerable)
        pipe = answering_pipeline(model, job.max_length, job.stride, job.max_answer_length, impossible)
        found: dict[str, float] = {}
        for prefix, questions in parts:
            if questions is not None:
                scores = answer_scores([row.best.text for row in answered(pipe, questions)], questions, job.metric)
                found |= {f"{prefix}f1": scores.f1, f"{prefix}exact_match": scores.exact_match}
        return found

    return evaluate


def _with_rows_to_choose_by(job: Training) -> tuple[Training, Questions]:
    """Sets a tenth of the training rows aside for early stopping: the evaluation rows must not choose the model."""
    kept, aside = split_questions(job.examples, 0.1, job.recipe.settings.seed)
    settings = replace(job.recipe.settings, metric=f"{CHOICE}_f1", greater_is_better=True, patience=job.patience)
    return replace(job, examples=kept, recipe=replace(job.recipe, settings=settings)), aside
