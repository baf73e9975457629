"""A finished run of question answering as a document: what it learned, how well, and where it errs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moduformer.metrics.answering import AnsweringMetrics
from moduformer.report.document import Code, Document, Mark, MarkedText, Section, Table
from moduformer.sources import MODELS
from moduformer.tasks.tagging_report import duration_words
from moduformer.tasks.whole_run import Finished

if TYPE_CHECKING:
    from moduformer.tasks.answering_run import AnsweringRun, AnsweringScores

MOST_ERRORS = 30
MOST_CHARACTERS = 1200

_SCRIPTS = {
    "squad": "SQuAD v1.1's script counts: F1 is the overlap of words",
    "squad_v2": "SQuAD v2.0's script counts: F1 is the overlap of words, and no answer is right where there is none",
    "korquad": "KorQuAD 1.0's script counts: F1 is the overlap of characters",
}


def answering_document(run: AnsweringRun, finished: Finished, command: str | None) -> Document:
    """The document of a run."""
    measured, rows, trained = run.measured, run.rows, run.trained
    assert trained is not None
    scores = measured.scores
    name, data = finished.folder.resolve().name, Path(rows.train.name).name
    base = Path(run.model).name if Path(run.model).exists() else run.model
    lead = (
        f"Answers questions with a stretch of the text they are asked about. Fine-tuned from {base} on {data} with the "
        f"recipe {trained.recipe.name}: F1 {scores.f1:.2f}, exact match {scores.exact_match:.2f} on "
        f"{scores.examples:,} held-out questions ({rows.evaluation_from})."
    )
    report = trained.report
    lines = [
        ["questions", f"{len(rows.train):,}", f"{len(rows.evaluation):,}"],
        ["contexts", f"{len(set(rows.train.contexts)):,}", f"{len(set(rows.evaluation.contexts)):,}"],
        ["questions without an answer", f"{rows.train.unanswerable:,}", f"{rows.evaluation.unanswerable:,}"],
    ]
    sections = [
        Section("Results", _results(measured)),
        Section("Use", [Code(_use(name))]),
        Section(
            "Data",
            [
                f"{len(rows.refused):,} questions could not be used. {len(trained.misaligned):,} answers did not align "
                f"with tokens and were learned as the tokens they are part of. Contexts were read in "
                f"{report['windows']:,} windows of at most {report['max_length']:,} tokens, of which "
                f"{report['windows_without_answer']:,} held no whole answer; nothing was cut off.",
                Table(["", "trained on", "held out"], lines),
            ],
        ),
        Section("Training", _training(run, finished, command)),
        Section("Errors", _errors(measured)),
        Section(
            "Limits",
            [
                "Measured on text like that it was trained on; on other text it will be worse. It finds stretches of "
                "the text: it does not count, compare or conclude, and an answer may be false where the text is."
            ],
        ),
    ]
    return Document(name, lead, sections, _header(name, base, data, trained.recipe.name, scores))


def _results(measured: AnsweringScores) -> list[str | Table]:
    scores = measured.scores
    rows = [("all", scores.examples, scores.exact_match, scores.f1)]
    for kind, part in (("with an answer", scores.answerable), ("without an answer", scores.unanswerable)):
        if part is not None:
            rows.append((kind, part.examples, part.exact_match, part.f1))
    (low, high), (f1_low, f1_high) = scores.exact_match_interval, scores.f1_interval
    return [
        f"As {_SCRIPTS[measured.metric]}. The 95 % interval of F1 is {f1_low:.2f} to {f1_high:.2f}, that of exact "
        f"match {low:.2f} to {high:.2f}.",
        Table(
            ["questions", "number", "exact match", "F1"],
            [[kind, f"{count:,}", f"{exact:.2f}", f"{f1:.2f}"] for kind, count, exact, f1 in rows],
        ),
    ]


def _use(name: str) -> str:
    return (
        "import moduformer as mf\n\n"
        f'answerer = mf.QuestionAnswerer.load("{name}")\n'
        'answerer.predict([("Where does Kim live?", "Kim lives in Seoul.")])\n\n'
        f'mf.pipeline("question-answering", "{name}")(question="Where does Kim live?", context="Kim lives in Seoul.")'
    )


def _training(run: AnsweringRun, finished: Finished, command: str | None) -> list[str | Table | Code]:
    assert run.trained is not None
    settings = run.trained.recipe.settings.identity()
    parts: list[str | Table | Code] = [f"Took {duration_words(finished.seconds)}, evaluation included."]
    if command:
        parts.append(Code(command, "sh"))
    parts.append(Table(["setting", ""], [[key, str(value)] for key, value in settings.items() if value is not None]))
    evaluations = [] if finished.history is None else finished.history.evaluations
    if evaluations:
        names = list(evaluations[0].metrics)
        lines = [[f"{e.epoch:g}", *(f"{e.metrics[key]:.2f}" for key in names)] for e in evaluations]
        parts.append(Table(["epoch", *names], lines, "After each epoch, on the held-out questions"))
    return parts


def _errors(measured: AnsweringScores) -> list[str | MarkedText]:
    """The surest wrong answers, in their contexts."""
    wrong = measured.wrong()
    shown: list[str | MarkedText] = []
    for i in wrong:
        context, best = measured.examples.contexts[i], measured.predicted[i].best
        if len(context) > MOST_CHARACTERS:
            continue
        marks = [Mark(best.start, best.end, "answered", "wrong")] if best.text else []
        for answer in measured.examples.answers[i][:1]:
            start, end = answer.start, answer.end
            if start is not None and end is not None and not (start < best.end and best.start < end):
                marks.append(Mark(start, end, "right", "missed"))
        right = " / ".join(dict.fromkeys(measured.examples.texts[i])) or "no answer"
        said = best.text or "no answer"
        where = f"{measured.examples.questions[i]} Answered: {said} ({best.score:.2f}); right: {right}"
        shown.append(MarkedText(context, sorted(marks, key=lambda mark: mark.start), where))
        if len(shown) == MOST_ERRORS:
            break
    if not wrong:
        return ["Every answer to the held-out questions shares something with a right one."]
    return [f"{len(wrong):,} of {len(measured.examples):,} answers share nothing with a right one.", *shown]


def _header(name: str, base: str, data: str, recipe: str, scores: AnsweringMetrics) -> dict[str, Any]:
    base = MODELS[base].hub.repo_id if base in MODELS else base
    listed = [("exact_match", "Exact match", scores.exact_match), ("f1", "F1", scores.f1)]
    result = {
        "task": {"type": "question-answering", "name": "Question answering"},
        "dataset": {"type": "custom", "name": data, "split": "held-out"},
        "metrics": [{"type": kind, "name": shown, "value": round(value, 4)} for kind, shown, value in listed],
    }
    hub = {"base_model": base} if re.fullmatch(r"[\w.-]+/[\w.-]+", base, re.ASCII) else {}
    return {
        "library_name": "moduformer",
        "pipeline_tag": "question-answering",
        **hub,
        "metrics": [kind for kind, _, _ in listed],
        "tags": ["moduformer", "question-answering", "transformers", recipe],
        "model-index": [{"name": name, "results": [result]}],
    }
