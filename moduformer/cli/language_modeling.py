"""Language models on the command line: what `train --task lm`, `predict` and `evaluate` do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moduformer.cli.output import cost_rows, duration, grid, say
from moduformer.cli.seq2seq import texts_of

if TYPE_CHECKING:
    from moduformer.tasks.language_model_run import TextScores
    from moduformer.tasks.whole_run import Finished, Learning


def settings() -> type[Any]:
    """The dataclass of what a person may ask for."""
    from moduformer.tasks.language_model_run import LanguageModelSettings

    return LanguageModelSettings


def learning(settings: Any) -> Learning:
    """The run that these settings describe."""
    from moduformer.tasks.language_model_run import LanguageModelRun

    return LanguageModelRun(settings)


def look(settings: Any) -> dict[str, Any]:
    """What a run would do and cost, as JSON-safe facts."""
    from moduformer.tasks.language_model_run import dry_run

    return dry_run(settings)


def show_plan(facts: dict[str, Any]) -> None:
    """Those facts as tables."""
    data = facts["data"]
    rows = [
        ["texts to train on", f"{data['rows_used']:,}"],
        ["texts to evaluate on", f"{data['rows_evaluation']:,} ({data['evaluation_from']})"],
        ["rows refused", f"{data['rows_refused']:,}"],
        ["column", data["text_column"] or "the whole file"],
        ["characters", f"{data['characters']:,}"],
        ["model", facts["model"]["name"] + (", from scratch" if facts["model"]["from_scratch"] else "")],
        ["recipe", facts["recipe"]["name"]],
        *cost_rows(facts["estimate"]),
    ]
    grid("what training would do", ["", ""], rows)
    for line in (*(f"refused: {line}" for line in data["refused"]), *data["notes"]):
        say(line)


def show(finished: Finished) -> None:
    """A finished run's scores as a table."""
    measured: Any = finished.metrics
    grid("on held-out text", ["score", "value"], [list(row) for row in measured.table()])
    print(f"{finished.folder}: model, metrics.json, README.md, report.html ({duration(finished.seconds)})")


def answers(folder: Path, given: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The perplexity of each text."""
    from moduformer.tasks.language_model import LanguageModel

    learner = LanguageModel.load(folder, given.get("device"))
    for number, text in enumerate(texts_of(folder, given), 1):
        if not text:
            yield {"row": number, "text": None, "perplexity": None, "error": "there is no text"}
        else:
            yield {"row": number, "text": text, "perplexity": learner.predict([text])[0]}


def evaluate(folder: Path, data: str, given: Mapping[str, Any]) -> tuple[dict[str, Any], Any]:
    """Scores of a trained folder as JSON-safe data, and the same as they were measured."""
    from moduformer.tasks.language_model_run import evaluate_folder

    _, measured = evaluate_folder(folder, data, given.get("text"))
    for bad in measured.texts.refused[:20]:
        say(f"refused: {measured.texts.name} {bad.where()}: {bad.reason}")
    return measured.to_dict(), measured


def show_scores(measured: TextScores, errors: int) -> None:
    """Scores as a table."""
    grid(f"on {len(measured.texts):,} texts", ["score", "value"], [list(row) for row in measured.table()])
