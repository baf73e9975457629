"""Tagging on the command line: what `train --task tag`, `predict` and `evaluate` do with a tagger."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moduformer.cli import standard_input
from moduformer.cli.output import cost_rows, duration, grid, say

if TYPE_CHECKING:
    from moduformer.tasks.tagging_run import TaggingScores
    from moduformer.tasks.whole_run import Finished, Learning

_CHUNK = 1024


def settings() -> type[Any]:
    """The dataclass of what a person may ask for."""
    from moduformer.tasks.tagging_run import TaggingSettings

    return TaggingSettings


def learning(settings: Any) -> Learning:
    """The run that these settings describe."""
    from moduformer.tasks.tagging_run import TaggingRun

    return TaggingRun(settings)


def look(settings: Any) -> dict[str, Any]:
    """What a run would do and cost, as JSON-safe facts."""
    from moduformer.tasks.tagging_run import dry_run

    return dry_run(settings)


def show_plan(facts: dict[str, Any]) -> None:
    """Those facts as tables."""
    data, tokens, estimate = facts["data"], facts["tokens"], facts["estimate"]
    rows = [
        ["rows to train on", f"{data['rows_used']:,}"],
        ["rows to evaluate on", f"{data['rows_evaluation']:,} ({data['evaluation_from']})"],
        ["rows refused", f"{data['rows_refused']:,}"],
        ["columns", f"{data['text_column']} and {data['label_column']}"],
        ["spans that do not align with tokens", f"{data['misaligned']:,}"],
        ["tokens", f"{tokens['total']:,}, median {tokens['median']:.0f}, longest {tokens['longest']:,}"],
        [f"texts over {tokens['max_length']} tokens", f"{tokens['long_texts']:,}, read as windows, nothing cut off"],
        ["windows", f"{tokens['windows']:,}"],
        ["model", f"{facts['model']['name']}, {facts['model']['parameters']:,} parameters"],
        ["recipe", facts["recipe"]["name"]],
        *cost_rows(estimate),
    ]
    grid("what training would do", ["", ""], rows)
    counts = [[name, f"{c['train']:,}", f"{c['evaluation']:,}"] for name, c in data["types"].items()]
    grid("types", ["type", "train", "evaluation"], counts)
    for line in data["refused"]:
        say(f"refused: {line}")
    for line in (*data["notes"], *data["misaligned_first"]):
        say(line)


def show(finished: Finished) -> None:
    """A finished run's scores as a table."""
    _show_numbers(finished.scores.to_dict(), "held-out rows")
    print(f"{finished.folder}: model, metrics.json, README.md, report.html ({duration(finished.seconds)})")


def answers(folder: Path, given: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The entities of each text, and the tags of each list of words."""
    from moduformer.pipelines.inputs import in_chunks
    from moduformer.tasks.token_classifier import TokenClassifier

    tagger = TokenClassifier.load(folder, given.get("device"))
    number = 0
    for chunk in in_chunks(_rows(folder, given), _CHUNK):
        known = [row for row in chunk if row]
        found: dict[bool, Iterator[Any]] = {True: iter([]), False: iter([])}
        for split in found:
            kind = list if split else str
            found[split] = iter(tagger.tagged([row for row in known if isinstance(row, kind)]))
        for row in chunk:
            number += 1
            line: dict[str, Any] = {"row": number}
            if not row:
                yield line | {"text": None, "entities": None, "error": "there is no text"}
                continue
            tagged = next(found[isinstance(row, list)])
            line |= {"tokens": row, "tags": tagged.word_tags()} if isinstance(row, list) else {"text": row}
            line["entities"] = [
                {"type": s.type, "start": s.start, "end": s.end, "text": s.text, "score": s.score} for s in tagged.spans
            ]
            if given.get("windows"):
                line["windows"] = [{"start": w.text_range[0], "end": w.text_range[1]} for w in tagged.tokens.windows]
            yield line


def _rows(folder: Path, given: Mapping[str, Any]) -> Iterator[Any]:
    """Texts, or lists of words, of the command or of a file; None where a row has none."""
    if given.get("texts"):
        return iter([text if text.strip() else None for text in given["texts"]])
    file = str(given.get("file"))
    if file == "-":
        return (line.rstrip("\n") if line.strip() else None for line in standard_input.lines())
    if not file.lower().endswith((".json", ".jsonl", ".ndjson", ".parquet", ".csv", ".tsv")):
        from moduformer.pipelines.pipeline import many

        return (line if line.strip() else None for line in many(Path(file)))
    from moduformer.tasks.whole_run import trained_columns
    from moduformer.train.columns import guess_text_column
    from moduformer.train.tables import plain, read_table
    from moduformer.train.tagged import WORD_NAMES

    table = read_table(file)
    stored = trained_columns(folder).get("text")
    words = next((name for name in WORD_NAMES if name in table.columns), None)
    column = given.get("text") or (stored if stored in table.columns else words) or guess_text_column(table)
    return iter([_row(plain(value)) for value in table.column(column)])


def _row(value: Any) -> Any:
    if isinstance(value, str):
        return value if value.strip() else None
    whole = isinstance(value, list) and all(isinstance(word, str) for word in value)
    return value if whole else None


def evaluate(folder: Path, data: str, given: Mapping[str, Any]) -> tuple[dict[str, Any], Any]:
    """Scores of a trained folder as JSON-safe data, and the same as they were measured."""
    from moduformer.tasks.tagging_run import evaluate_folder

    labels = given.get("label") or [None]
    _, measured = evaluate_folder(folder, data, given.get("text"), labels[0])
    for bad in measured.examples.refused[:20]:
        say(f"refused: {measured.examples.name} {bad.where()}: {bad.reason}")
    return measured.to_dict(), measured


def show_scores(measured: TaggingScores, errors: int) -> None:
    """Scores as tables, and so many of the rows with most errors."""
    numbers = measured.to_dict()
    _show_numbers(numbers, "rows")
    if numbers.get("per_type"):
        rows = [
            [c["name"], f"{c['precision']:.3f}", f"{c['recall']:.3f}", f"{c['f1']:.3f}", f"{c['support']:,}"]
            for c in numbers["per_type"]
        ]
        grid("types", ["type", "precision", "recall", "F1", "entities"], rows)
        for line in measured.worst(errors):
            print(line)


def _show_numbers(numbers: Mapping[str, Any], what: str) -> None:
    shown = ("f1", "precision", "recall", "macro_f1", "accuracy", "token_accuracy")
    rows = [[name.replace("_", " "), f"{numbers[name]:.4f}"] for name in shown if numbers.get(name) is not None]
    interval = numbers.get("f1_interval") or numbers.get("accuracy_interval")
    if interval:
        rows.insert(1, [f"95 % interval of the {numbers['headline']}", f"{interval[0]:.4f} to {interval[1]:.4f}"])
    grid(f"on {numbers['rows']:,} {what}", ["metric", "value"], rows)
