"""A finished run of tagging as a document: what it learned, how well, and where it errs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moduformer.metrics.tagging import TaggingMetrics
from moduformer.report.document import Code, Document, Mark, MarkedText, Section, Table
from moduformer.report.wording import duration
from moduformer.sources import MODELS
from moduformer.tasks.whole_run import Finished

if TYPE_CHECKING:
    from moduformer.tasks.tagging_run import TaggingRun, TaggingScores

MOST_ERRORS = 40
MOST_CHARACTERS = 1200


def tagging_document(run: TaggingRun, finished: Finished, command: str | None) -> Document:
    """The document of a run."""
    measured, rows, trained = run.measured, run.rows, run.trained
    assert trained is not None
    scores = measured.scores
    name, data = finished.folder.resolve().name, Path(rows.train.name).name
    base = Path(run.model).name if Path(run.model).exists() else run.model
    marked = isinstance(scores, TaggingMetrics)
    kind = "finder of entities" if marked else "tagger of words"
    headline = f"F1 {scores.f1:.3f}" if isinstance(scores, TaggingMetrics) else f"accuracy {scores.accuracy:.3f}"
    lead = (
        f"A {kind}, fine-tuned from {base} on {data} with the recipe {trained.recipe.name}: {headline} on "
        f"{len(measured.examples):,} held-out rows ({rows.evaluation_from})."
    )
    counts, held = rows.train.counts(), rows.evaluation.counts()
    sections = [
        Section("Results", _results(measured)),
        Section("Use", [Code(_use(name, rows.train.words is not None))]),
        Section(
            "Data",
            [
                f"{len(rows.train):,} rows were trained on and {len(rows.evaluation):,} kept for measuring; "
                f"{len(rows.refused):,} could not be used. {len(trained.misaligned):,} spans did not align with "
                "tokens and were learned as the nearest that do. Of long texts nothing was cut off.",
                Table(
                    ["type" if marked else "tag", "trained on", "held out"],
                    [[kind, f"{count:,}", f"{held.get(kind, 0):,}"] for kind, count in counts.items()],
                ),
            ],
        ),
        Section("Training", _training(run, finished, command)),
        Section("Errors", _errors(measured)),
        Section(
            "Limits",
            [
                "Measured on text like that it was trained on; on other text it will be worse. Entities of types that "
                "were rare in training are found least."
            ],
        ),
    ]
    return Document(name, lead, sections, _header(name, base, data, trained.recipe.name, scores))


def _results(measured: TaggingScores) -> list[str | Table]:
    scores = measured.scores
    if not isinstance(scores, TaggingMetrics):
        low, high = scores.accuracy_interval
        return [f"Accuracy {scores.accuracy:.4f} (95 % interval {low:.4f} to {high:.4f}) on {scores.tokens:,} words."]
    low, high = scores.f1_interval
    lines = [["all", scores.precision, scores.recall, scores.f1, scores.entities]]
    lines += [[c.name, c.precision, c.recall, c.f1, c.support] for c in scores.per_type]
    said = "An entity is right where its type and both ends are (as seqeval counts). "
    return [
        said + f"The 95 % interval of F1 is {low:.4f} to {high:.4f}.",
        Table(
            ["type", "precision", "recall", "F1", "entities"],
            [[str(n), f"{p:.4f}", f"{r:.4f}", f"{f:.4f}", f"{s:,}"] for n, p, r, f, s in lines],
        ),
    ]


def _use(name: str, words: bool) -> str:
    example = 'tagger.predict([["Kim", "lives", "in", "Seoul"]])  # a tag for each word\n' if words else ""
    return (
        "import moduformer as mf\n\n"
        f'tagger = mf.TokenClassifier.load("{name}")\n'
        f"{example}"
        'tagger.predict_spans(["Kim lives in Seoul."])  # type, start, end, text and score of each\n\n'
        f'mf.pipeline("token-classification", "{name}")("Kim lives in Seoul.", aggregation_strategy="bio")'
    )


def _training(run: TaggingRun, finished: Finished, command: str | None) -> list[str | Table | Code]:
    assert run.trained is not None
    settings = run.trained.recipe.settings.identity()
    shown = [[name, str(value)] for name, value in settings.items() if value is not None]
    parts: list[str | Table | Code] = [f"Took {duration_words(finished.seconds)}, evaluation included."]
    if command:
        parts.append(Code(command, "sh"))
    parts.append(Table(["setting", ""], shown))
    evaluations = [] if finished.history is None else finished.history.evaluations
    if evaluations:
        names = list(evaluations[0].metrics)
        lines = [[f"{e.epoch:g}", *(f"{e.metrics[name]:.4f}" for name in names)] for e in evaluations]
        parts.append(Table(["epoch", *names], lines, "After each epoch, on the held-out rows"))
    return parts


def duration_words(seconds: float) -> str:
    """Seconds as a person says them."""
    from moduformer.report.wording import in_language

    return str(in_language(duration(seconds), "en"))


def _errors(measured: TaggingScores) -> list[str | MarkedText]:
    """The rows with most errors: what was found, missed (in its true type) and wrongly found."""
    if not isinstance(measured.scores, TaggingMetrics):
        return []
    found = []
    for i in range(len(measured.examples)):
        true, guess = set(measured.examples.spans[i]), set(measured.spans(i))
        if true != guess and len(measured.examples.texts[i]) <= MOST_CHARACTERS:
            found.append((-len(true ^ guess), i, true, guess))
    shown: list[str | MarkedText] = []
    for _, i, true, guess in sorted(found, key=lambda entry: entry[:2])[:MOST_ERRORS]:
        marks = [Mark(s.start, s.end, s.type, "right") for s in true & guess]
        marks += [Mark(s.start, s.end, f"{s.type} found", "wrong") for s in guess - true]
        edges = [(s.start, s.end) for s in guess - true]
        marks += [
            Mark(s.start, s.end, f"{s.type} missed", "missed")
            for s in true - guess
            if not any(s.start < end and start < s.end for start, end in edges)
        ]
        missed = ", ".join(sorted(f"{measured.examples.texts[i][s.start : s.end]} ({s.type})" for s in true - guess))
        where = measured.examples.where(i) + (f"; true: {missed}" if missed else "")
        shown.append(MarkedText(measured.examples.texts[i], marks, where))
    if not shown:
        return ["No row of the held-out ones has an error."]
    return [f"{len(found):,} of {len(measured.examples):,} rows have an error; those with most come first.", *shown]


def _header(name: str, base: str, data: str, recipe: str, scores: Any) -> dict[str, Any]:
    base = MODELS[base].hub.repo_id if base in MODELS else base
    if isinstance(scores, TaggingMetrics):
        listed = [("f1", "F1", scores.f1), ("precision", "Precision", scores.precision),
                  ("recall", "Recall", scores.recall)]  # fmt: skip
    else:
        listed = [("accuracy", "Accuracy", scores.accuracy)]
    result = {
        "task": {"type": "token-classification", "name": "Token classification"},
        "dataset": {"type": "custom", "name": data, "split": "held-out"},
        "metrics": [{"type": kind, "name": shown, "value": round(value, 6)} for kind, shown, value in listed],
    }
    hub = {"base_model": base} if re.fullmatch(r"[\w.-]+/[\w.-]+", base, re.ASCII) else {}
    return {
        "library_name": "moduformer",
        "pipeline_tag": "token-classification",
        **hub,
        "metrics": [kind for kind, _, _ in listed],
        "tags": ["moduformer", "token-classification", "transformers", recipe],
        "model-index": [{"name": name, "results": [result]}],
    }
