"""A whole run of question answering: from a file of questions to a folder with an answerer, its scores and its card."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from moduformer.errors import DataError
from moduformer.metrics.answering import AnsweringMetrics, normalised_answer, normalised_korean_answer
from moduformer.pipelines.question_answering import Answers
from moduformer.tasks.answerer_training import Trained, answer_scores, answered, metric_for
from moduformer.tasks.answering_report import answering_document
from moduformer.tasks.classification_run import HELD_OUT, files_of
from moduformer.tasks.fine_tuning import save_adapter
from moduformer.tasks.question_answerer import QuestionAnswerer
from moduformer.tasks.whole_run import Finished, SplitRows, trained_columns, write_document, write_json, write_lines
from moduformer.train.callbacks import Callback, History, json_safe
from moduformer.train.questions import Questions, read_questions, split_questions
from moduformer.train.recipes import recipe_record

PREDICTIONS = "predictions.json"
"""The answer to each evaluation question by its id, as the official scripts of SQuAD and KorQuAD read it."""

ANSWERS = "answers.jsonl"
"""Every evaluation question with its right answers and what was predicted, a line each."""

MISALIGNED = "misaligned.jsonl"
"""Answers of the training questions whose edges are no edges of tokens, with what was learned in their place."""


@dataclass(frozen=True)
class AnsweringSettings:
    """What a person asked for. `text`, `pair` and `label` name the columns of contexts, questions and answers.

    `few_shot` trains on so many questions; `model` and the rest are `QuestionAnswerer`'s.
    """

    data: str
    text: str | None = None
    pair: str | None = None
    label: str | None = None
    evaluation: str | None = None
    few_shot: int | None = None
    model: str = "minilm"
    recipe: str = "plain"
    epochs: int | None = None
    learning_rate: float | None = None
    batch_size: int | None = None
    max_length: int | None = None
    stride: int | None = None
    adapt: bool = False
    patience: int | None = None
    seed: int = 0
    device: str | None = None
    precision: str | None = None
    dropout: float | None = None
    recompute: bool = False

    def estimator(self) -> QuestionAnswerer:
        """The estimator these settings describe."""
        own = asdict(self)
        for name in ("data", "text", "pair", "label", "evaluation", "few_shot", "seed"):
            own.pop(name)
        return QuestionAnswerer(**own, random_state=self.seed)


@dataclass
class AnsweringScores:
    """Scores of an answerer on some questions, what it answered to each, and which script counts so."""

    examples: Questions
    scores: AnsweringMetrics
    predicted: list[Answers]
    metric: str

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe numbers, in percent."""
        found: dict[str, Any] = json_safe({"rows": len(self.examples), "metric": self.metric} | self.scores.to_dict())
        return found

    def predictions(self) -> dict[str, str]:
        """The answers by the questions' ids."""
        return {name: found.best.text for name, found in zip(self.examples.ids, self.predicted)}

    def lines(self) -> list[dict[str, Any]]:
        """Every question with its right answers and what was predicted."""
        made = []
        for name, right, found in zip(self.examples.ids, self.examples.texts, self.predicted):
            best = found.best
            place = {"start": best.start, "end": best.end, "score": best.score, "null_score": found.null_score}
            line = {"id": name, "question": found.question, "answers": right, "predicted": best.text}
            made.append(line | place | {"windows": found.windows})
        return made

    def wrong(self) -> list[int]:
        """The questions whose answer shares nothing with a right one, the surest first."""
        found = [
            i
            for i, (row, right) in enumerate(zip(self.predicted, self.examples.texts))
            if not any(self._units(row.best.text) & self._units(text) for text in right) and (right or row.best.text)
        ]
        return sorted(found, key=lambda i: -self.predicted[i].best.score)

    def _units(self, text: str) -> set[str]:
        """What F1 counts in an answer: characters of Korean, else words."""
        if self.metric == "korquad":
            return set(normalised_korean_answer(text)) - {" "}
        return set(normalised_answer(text).split())

    def worst(self, most: int) -> list[str]:
        """The surest wrong answers, a line each."""
        lines = []
        for i in self.wrong()[:most]:
            right = " / ".join(dict.fromkeys(self.examples.texts[i])) or "no answer"
            best, place = self.predicted[i].best, f"{Path(self.examples.name).name} {self.examples.places[i]}"
            said = repr(best.text) if best.text else "no answer"
            lines.append(f"{place}: {self.examples.questions[i]} {said} ({best.score:.3f}); right: {right}")
        return lines


class AnsweringRun:
    """Question answering as `whole_run.carry_out` carries it out."""

    def __init__(self, settings: AnsweringSettings) -> None:
        self.asked = settings
        self.model = settings.model
        self.answerer = settings.estimator()
        self.rows: SplitRows[Questions]
        self.trained: Trained | None = None
        self.measured: AnsweringScores

    def read(self) -> SplitRows[Questions]:
        """The questions to train on and those to evaluate on, which are never trained on."""
        self.rows = read_rows(self.asked)
        return self.rows

    def check(self) -> None:
        """See `QuestionAnswerer.check`."""
        self.answerer.check(self.rows.train, self.rows.evaluation)

    def settings(self) -> dict[str, Any]:
        """What `settings.json` holds."""
        recipe = self.answerer.resolved_recipe() if self.trained is None else self.trained.recipe
        columns = self.rows.train.columns
        named = {"text": "context", "pair": "question", "label": "answers"}
        return {
            "task": "answer",
            "asked": asdict(self.asked),
            "recipe": recipe_record(recipe),
            "columns": {option: columns[what] for option, what in named.items() if what in columns},
            "rows": self.rows.counts(),
            "evaluation": self.rows.evaluation_from,
        }

    def fit(self, callbacks: Sequence[Callback], folder: Path, resume: bool) -> History | None:
        """Trains."""
        self.trained = self.answerer.fit_examples(
            self.rows.train, self.rows.evaluation, callbacks=callbacks, folder=folder, resume=resume
        )
        return self.trained.history

    @property
    def remarks(self) -> list[str]:
        """What loading had to say, and the answers that do not align."""
        assert self.trained is not None
        notes, odd = list(self.trained.model.notes), self.trained.misaligned
        if odd:
            notes.append(f"answers that do not align with tokens: {len(odd):,} (in {MISALIGNED}), the first: {odd[0]}")
        return notes

    def measure(self) -> AnsweringScores:
        """Scores on the evaluation questions."""
        self.measured = measure(self.answerer, self.rows.evaluation)
        return self.measured

    def save(self, folder: Path) -> None:
        """Writes the answerer, its adapter, its predictions and the answers that do not align."""
        assert self.trained is not None
        self.answerer.save(folder)
        if self.trained.lora is not None:
            save_adapter(self.answerer.model_, self.trained.lora, folder / "adapter", self.model)
        write_json(folder / PREDICTIONS, self.measured.predictions())
        write_lines(folder / ANSWERS, self.measured.lines())
        if self.trained.misaligned:
            write_lines(folder / MISALIGNED, [vars(answer) for answer in self.trained.misaligned])

    def report(self, finished: Finished, command: str | None, say: Callable[[str], None]) -> None:
        """Writes the card and the page."""
        write_document(answering_document(self, finished, command), finished.folder, say)


def read_rows(settings: AnsweringSettings) -> SplitRows[Questions]:
    """Reads the questions to train on and those to evaluate on.

    Raises:
        DataError: a file that cannot be used; names the file, the question and why.
    """
    source, beside = files_of(settings.data)
    columns = settings.pair, settings.text, settings.label
    everything = read_questions(source, *columns, **_reading(source))
    given = settings.evaluation or beside
    others: list[Questions] = []
    if given is None:
        train, evaluation = split_questions(everything, HELD_OUT, settings.seed)
        origin = f"{HELD_OUT:.0%} of the questions, whole articles, seed {settings.seed}"
    else:
        train, origin = everything, Path(given).name
        evaluation = read_questions(given, *_present(given, everything.columns), located=False, **_reading(given))
        others = [evaluation]
    if settings.few_shot is not None and settings.few_shot < len(train):
        chosen = np.random.default_rng(settings.seed).permutation(len(train))[: settings.few_shot]
        train = train.select(sorted(chosen.tolist()))
    rows = SplitRows(train, evaluation, origin, notes=[n for e in (everything, *others) for n in e.notes])
    rows.refused = [str(bad) for e in (everything, *others) for bad in e.refused]
    seen = set(train.contexts) & set(evaluation.contexts)
    if seen:
        rows.notes.append(f"{len(seen):,} contexts are in both parts, so the scores are too good")
    return rows


def _present(source: str, columns: dict[str, str]) -> tuple[str | None, str | None, str | None]:
    """The training file's columns of questions, contexts and answers, where the other file has them."""
    if not columns:
        return None, None, None
    try:
        # Nested JSON has no columns, and is read without.
        read_questions(source, columns["question"], columns["context"], columns["answers"], located=False)
    except DataError:
        return None, None, None
    return columns["question"], columns["context"], columns["answers"]


def _reading(source: str) -> dict[str, Any]:
    return {"bad_rows": "report"} if Path(source).exists() else {}


def measure(answerer: QuestionAnswerer, questions: Questions) -> AnsweringScores:
    """Scores of an answerer on questions."""
    found = answered(answerer.pipeline, questions)
    metric = answerer.metric or metric_for(questions)
    scores = answer_scores([row.best.text for row in found], questions, metric)
    return AnsweringScores(questions, scores, found, metric)


def evaluate_folder(
    folder: Path, data: str, text: str | None = None, pair: str | None = None, label: str | None = None
) -> tuple[QuestionAnswerer, AnsweringScores]:
    """Scores of a saved answerer on a file; columns are those of its training where the file has them.

    Raises:
        DataError: the file cannot be used.
    """
    answerer = QuestionAnswerer.load(folder)
    source, beside = files_of(data)
    source = beside or source
    stored = trained_columns(folder)
    columns = {"question": stored.get("pair"), "context": stored.get("text"), "answers": stored.get("label")}
    known = {what: name for what, name in columns.items() if name is not None}
    present = _present(source, known) if len(known) == len(columns) else (None, None, None)
    asked = tuple(own or guess for own, guess in zip((pair, text, label), present))
    questions = read_questions(source, *asked, located=False, **_reading(source))
    return answerer, measure(answerer, questions)


# Looking before training ---------------------------------------------------------------------------------------------


def dry_run(settings: AnsweringSettings, steps: int = 4) -> dict[str, Any]:
    """What a run would do and cost, as JSON-safe facts; a few steps are timed and nothing is written.

    Raises what the run itself would.
    """
    from moduformer.pipelines.question_windows import question_windower
    from moduformer.tasks.answerer_training import marked_tokens, new_answerer
    from moduformer.tasks.run_records import peak_memory
    from moduformer.train.batching import Plan

    rows = read_rows(settings)
    answerer = settings.estimator()
    answerer.check(rows.train, rows.evaluation)
    model = new_answerer(settings.model, settings.seed, settings.device)
    recipe = answerer.resolved_recipe().for_model(model.spec)
    lesson = marked_tokens(question_windower(model, settings.max_length, settings.stride), rows.train)
    lengths, loop = lesson.encoded.lengths, recipe.settings
    plan = Plan(lengths, loop.batch_size * loop.accumulate, loop.batch_tokens, loop.seed)
    with_answer = np.flatnonzero([bool(answers) for answers in rows.train.answers])
    chosen = np.random.default_rng(settings.seed).permutation(with_answer)[: loop.batch_size * loop.accumulate * steps]
    short = replace(settings, epochs=1, adapt=False, patience=None, recipe="plain").estimator()
    timed = short.fit_examples(rows.train.select(chosen))
    seconds = (timed.history.seconds if timed.history else 0.0) / max(timed.report["windows"], 1)
    return {
        "task": "answer",
        "data": {
            "name": rows.train.name,
            "rows_used": len(rows.train),
            "rows_evaluation": len(rows.evaluation),
            "evaluation_from": rows.evaluation_from,
            "rows_refused": len(rows.refused),
            "refused": rows.refused[:20],
            "columns": rows.train.columns,
            "contexts": len(set(rows.train.contexts)),
            "unanswerable": rows.train.unanswerable,
            "metric": metric_for(rows.evaluation),
            "misaligned": len(lesson.misaligned),
            "misaligned_first": [str(answer) for answer in lesson.misaligned[:20]],
            "notes": rows.notes,
        },
        "tokens": {
            "total": int(lengths.sum()),
            "median": float(np.median(lengths)),
            "longest": int(lengths.max()),
            "max_length": lesson.report["max_length"],
            "long_texts": lesson.report["long_texts"],
            "windows": len(lesson.encoded),
            "windows_without_answer": lesson.report["windows_without_answer"],
            "dropped": 0,
        },
        "model": {"name": settings.model, "parameters": model.num_parameters(), "notes": model.notes},
        "recipe": {"name": recipe.name, "settings": loop.identity()},
        "estimate": {
            "steps": plan.steps(loop.epochs),
            "seconds_per_window": seconds,
            "seconds": seconds * len(lesson.encoded) * loop.epochs,
            "peak_memory_bytes": peak_memory(),
        },
    }
