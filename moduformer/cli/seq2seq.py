"""Pairs of texts on the command line: what `train --task seq2seq`, `predict` and `evaluate` do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moduformer.cli import standard_input
from moduformer.cli.output import cost_rows, duration, grid, say

if TYPE_CHECKING:
    from moduformer.tasks.seq2seq_run import WritingScores
    from moduformer.tasks.whole_run import Finished, Learning


def settings() -> type[Any]:
    """The dataclass of what a person may ask for."""
    from moduformer.tasks.seq2seq_run import Seq2SeqSettings

    return Seq2SeqSettings


def learning(settings: Any) -> Learning:
    """The run that these settings describe."""
    from moduformer.tasks.seq2seq_run import Seq2SeqRun

    return Seq2SeqRun(settings)


def look(settings: Any) -> dict[str, Any]:
    """What a run would do and cost, as JSON-safe facts."""
    from moduformer.tasks.seq2seq_run import dry_run

    return dry_run(settings)


def show_plan(facts: dict[str, Any]) -> None:
    """Those facts as tables."""
    data = facts["data"]
    rows = [
        ["pairs to train on", f"{data['rows_used']:,}"],
        ["pairs to evaluate on", f"{data['rows_evaluation']:,} ({data['evaluation_from']})"],
        ["rows refused", f"{data['rows_refused']:,}"],
        ["sources and targets", f"{data['source_column']} and {data['target_column']}"],
        ["characters", f"{data['source_characters']:,} and {data['target_characters']:,}"],
        ["taken for", facts["writes"]],
        ["model", facts["model"]["name"]],
        ["recipe", facts["recipe"]["name"]],
        *cost_rows(facts["estimate"]),
    ]
    grid("what training would do", ["", ""], rows)
    for line in (*(f"refused: {line}" for line in data["refused"]), *data["notes"]):
        say(line)


def show(finished: Finished) -> None:
    """A finished run's scores as a table."""
    measured: Any = finished.metrics
    grid(f"on {len(measured.pairs):,} held-out pairs", ["score", "value"], [list(row) for row in measured.table()])
    print(f"{finished.folder}: model, metrics.json, README.md, report.html ({duration(finished.seconds)})")


def answers(folder: Path, given: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """What is written for each text."""
    from moduformer.pipelines.inputs import in_chunks
    from moduformer.tasks.seq2seq import Seq2Seq

    writer = Seq2Seq.load(folder, given.get("device"))
    number = 0
    for chunk in in_chunks(texts_of(folder, given), 16):
        found = iter(writer.answers([text for text in chunk if text]))
        for text in chunk:
            number += 1
            if not text:
                yield {"row": number, "text": None, "written": None, "error": "there is no text"}
                continue
            answer = next(found)
            line: dict[str, Any] = {"row": number, "text": text, "written": answer.texts[0]}
            if given.get("windows"):
                line["windows"] = [{"start": window.start, "end": window.end} for window in answer.windows]
            yield line


def texts_of(folder: Path, given: Mapping[str, Any]) -> Iterator[str | None]:
    """Texts of the command or of a file; None where a row has none."""
    if given.get("texts"):
        return iter([text if text.strip() else None for text in given["texts"]])
    file = str(given.get("file"))
    if file == "-":
        return (line.rstrip("\n") if line.strip() else None for line in standard_input.lines())
    if not file.lower().endswith((".json", ".jsonl", ".ndjson", ".parquet", ".csv", ".tsv")):
        from moduformer.pipelines.pipeline import many

        return (line if line.strip() else None for line in many(Path(file)))
    from moduformer.tasks.seq2seq_run import trained_columns
    from moduformer.train.columns import guess_text_column
    from moduformer.train.tables import read_table

    table = read_table(file)
    stored = trained_columns(folder).get("text")
    column = given.get("text") or (stored if stored in table.columns else None) or guess_text_column(table)
    joined = (" ".join(value) if isinstance(value, list) else value for value in table.column(column))
    return iter([value if isinstance(value, str) and value.strip() else None for value in joined])


def evaluate(folder: Path, data: str, given: Mapping[str, Any]) -> tuple[dict[str, Any], Any]:
    """Scores of a trained folder as JSON-safe data, and the same as they were measured."""
    from moduformer.tasks.seq2seq_run import evaluate_folder

    labels = given.get("label") or [None]
    _, measured = evaluate_folder(folder, data, given.get("text"), labels[0])
    for bad in measured.pairs.refused[:20]:
        say(f"refused: {measured.pairs.name} {bad.where()}: {bad.reason}")
    return measured.to_dict(), measured


def show_scores(measured: WritingScores, errors: int) -> None:
    """Scores as a table, and so many of the first pairs with what was written."""
    grid(f"on {len(measured.pairs):,} pairs", ["score", "value"], [list(row) for row in measured.table()])
    for line in measured.lines()[:errors]:
        print(f"{line['source']}\n  right:   {line['targets'][0]}\n  written: {line['predicted']}")
