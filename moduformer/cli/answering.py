"""Question answering on the command line: what `train --task answer`, `predict` and `evaluate` do with an answerer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from moduformer.cli import standard_input
from moduformer.cli.output import cost_rows, duration, grid, say

if TYPE_CHECKING:
    from moduformer.tasks.answering_run import AnsweringScores
    from moduformer.tasks.whole_run import Finished, Learning

_CHUNK = 256


def settings() -> type[Any]:
    """The dataclass of what a person may ask for."""
    from moduformer.tasks.answering_run import AnsweringSettings

    return AnsweringSettings


def learning(settings: Any) -> Learning:
    """The run that these settings describe."""
    from moduformer.tasks.answering_run import AnsweringRun

    return AnsweringRun(settings)


def look(settings: Any) -> dict[str, Any]:
    """What a run would do and cost, as JSON-safe facts."""
    from moduformer.tasks.answering_run import dry_run

    return dry_run(settings)


def show_plan(facts: dict[str, Any]) -> None:
    """Those facts as tables."""
    data, tokens, estimate = facts["data"], facts["tokens"], facts["estimate"]
    rows = [
        ["questions to train on", f"{data['rows_used']:,}, {data['unanswerable']:,} of them without an answer"],
        ["contexts of these", f"{data['contexts']:,}"],
        ["questions to evaluate on", f"{data['rows_evaluation']:,} ({data['evaluation_from']})"],
        ["scored as", data["metric"]],
        ["questions refused", f"{data['rows_refused']:,}"],
        ["answers that do not align with tokens", f"{data['misaligned']:,}"],
        ["tokens", f"{tokens['total']:,}, a window's median {tokens['median']:.0f}, longest {tokens['longest']:,}"],
        [f"over {tokens['max_length']} tokens", f"{tokens['long_texts']:,}, read as windows, nothing cut off"],
        ["windows", f"{tokens['windows']:,}, {tokens['windows_without_answer']:,} of them without the whole answer"],
        ["model", f"{facts['model']['name']}, {facts['model']['parameters']:,} parameters"],
        ["recipe", facts["recipe"]["name"]],
        *cost_rows(estimate),
    ]
    grid("what training would do", ["", ""], rows)
    for line in data["refused"]:
        say(f"refused: {line}")
    for line in (*data["notes"], *data["misaligned_first"]):
        say(line)


def show(finished: Finished) -> None:
    """A finished run's scores as a table."""
    _show_numbers(finished.scores.to_dict(), "held-out questions")
    written = "model, metrics.json, predictions.json, README.md, report.html"
    print(f"{finished.folder}: {written} ({duration(finished.seconds)})")


def answers(folder: Path, given: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The answer to each question."""
    from moduformer.pipelines.inputs import in_chunks
    from moduformer.tasks.question_answerer import QuestionAnswerer

    rows = _rows(folder, given)
    answerer = QuestionAnswerer.load(folder, given.get("device"))
    number = 0
    for chunk in in_chunks(rows, _CHUNK):
        known = [(question, context) for _, question, context in chunk if _is_asked(question, context)]
        found = iter(answerer.answers(known))
        for name, question, context in chunk:
            number += 1
            line: dict[str, Any] = {"row": number, "id": name, "question": question}
            if not _is_asked(question, context):
                yield line | {"answer": None, "error": "there is no question, or no context"}
                continue
            answer = next(found)
            best = answer.best
            line |= {"answer": best.text, "score": best.score, "start": best.start, "end": best.end}
            if answerer.impossible_:
                line["null_score"] = answer.null_score
            yield line | ({"windows": answer.windows} if given.get("windows") else {})


def _is_asked(question: Any, context: Any) -> bool:
    return all(isinstance(text, str) and bool(text.strip()) for text in (question, context))


def _rows(folder: Path, given: Mapping[str, Any]) -> Iterator[tuple[Any, Any, Any]]:
    """Id, question and context of each row of the command or of a file."""
    texts = given.get("texts")
    if texts:
        if len(texts) % 2:
            raise typer.BadParameter("give a question and its context, each in quotes; or --file with a file of both")
        return iter([(str(i // 2 + 1), texts[i], texts[i + 1]) for i in range(0, len(texts), 2)])
    from moduformer.tasks.whole_run import trained_columns
    from moduformer.train.questions import asked_questions

    file = str(given.get("file"))
    if file == "-":
        return _from_lines(standard_input.lines())
    stored = trained_columns(folder)
    own = given.get("pair") or stored.get("pair"), given.get("text") or stored.get("text")
    if given.get("pair") or given.get("text"):
        return asked_questions(file, given.get("pair"), given.get("text"), bad_rows="report")
    from moduformer.errors import DataError

    try:
        return iter(list(asked_questions(file, *own, bad_rows="report")))
    except DataError:
        return asked_questions(file, bad_rows="report")


def _from_lines(lines: Iterable[str]) -> Iterator[tuple[Any, Any, Any]]:
    from moduformer.errors import DataError
    from moduformer.train.json_rows import parse_json

    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = parse_json(line)
        except ValueError as error:
            raise DataError(f"standard input, line {number}: {error}") from None
        if not isinstance(row, dict):
            raise DataError(f'standard input, line {number}: give {{"question": ..., "context": ...}} a line')
        yield row.get("id", str(number)), row.get("question"), row.get("context")


def evaluate(folder: Path, data: str, given: Mapping[str, Any]) -> tuple[dict[str, Any], Any]:
    """Scores of a trained folder as JSON-safe data, and the same as they were measured."""
    from moduformer.tasks.answering_run import evaluate_folder

    labels = given.get("label") or [None]
    _, measured = evaluate_folder(folder, data, given.get("text"), given.get("pair"), labels[0])
    for bad in measured.examples.refused[:20]:
        say(f"refused: {bad}")
    return measured.to_dict(), measured


def show_scores(measured: AnsweringScores, errors: int) -> None:
    """Scores as tables, and so many of the surest wrong answers."""
    _show_numbers(measured.to_dict(), "questions")
    for line in measured.worst(errors):
        print(line)


def _show_numbers(numbers: Mapping[str, Any], what: str) -> None:
    rows = [["F1", numbers["f1"]], ["exact match", numbers["exact_match"]]]
    shown = [[name, f"{value:.2f}"] for name, value in rows]
    for name, key in (("F1", "f1_interval"), ("exact match", "exact_match_interval")):
        shown.append([f"95 % interval of {name}", f"{numbers[key][0]:.2f} to {numbers[key][1]:.2f}"])
    for kind, key in (("with an answer", "answerable"), ("without an answer", "unanswerable")):
        part = numbers.get(key)
        if part and numbers["metric"] == "squad_v2":
            shown.append([f"F1 of {part['examples']:,} {kind}", f"{part['f1']:.2f}"])
    grid(f"on {numbers['rows']:,} {what}, scored as {numbers['metric']}", ["metric", "value"], shown)
