"""`moduformer run`: one of the pipelines, from the shell."""

from __future__ import annotations

import json
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from moduformer.cli.output import facts

_SHOWN = 100
"""Characters of an input that stand above its result."""


def run(
    task: Annotated[str | None, typer.Argument(help="Such as text-classification; see --list.", metavar="TASK")] = None,
    inputs: Annotated[
        list[str] | None, typer.Argument(help="Texts, of any length; - reads a text a line.", metavar="INPUT")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Folder, hub id or alias; without it, the task's default.")] = None,
    file: Annotated[
        Path | None, typer.Option(help="File with an input a line: text, or JSON in a .jsonl; - for standard input.")
    ] = None,
    whole: Annotated[bool, typer.Option("--whole", help="The file is one input.")] = False,
    labels: Annotated[str | None, typer.Option(help="Labels of zero-shot-classification, commas between.")] = None,
    context: Annotated[str | None, typer.Option(help="The text that question-answering looks into.")] = None,
    option: Annotated[
        list[str] | None,
        typer.Option("--option", "-o", metavar="NAME=VALUE", help="Of the pipeline, such as top_k=3; repeatable."),
    ] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Inputs read before the first result.")] = None,
    listed: Annotated[bool, typer.Option("--list", help="Every task and its default model.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON line an input.")] = False,
    device: Annotated[str | None, typer.Option(help="cpu or cuda.")] = None,
) -> None:
    """Run a task on texts with a model that has learned it."""
    if listed:
        _list(as_json)
        return
    if task is None:
        raise typer.BadParameter("name a task; `moduformer run --list` shows them")
    if bool(inputs) == bool(file):
        raise typer.BadParameter("give inputs, or --file with a file of them; - is standard input")
    options: dict[str, Any] = dict(map(_option, option or ()))
    if labels is not None:
        options["candidate_labels"] = labels
    rows = _rows(inputs or [], file, whole)
    if context is not None:
        rows = ({"question": row, "context": context} if isinstance(row, str) else row for row in rows)
    from moduformer.pipelines.registry import pipeline

    pipe = pipeline(task, model, device=device)
    if pipe.task == "token-classification" and not as_json:
        # A person wants to see entities; a program gets what the library's call gives.
        options.setdefault("aggregation_strategy", "simple")
    if batch_size is None and "-" in (str(file), *(inputs or ())) and sys.stdin.isatty():
        batch_size = 1
    waiting: deque[Any] = deque()
    found: Iterator[Any] = pipe(_noted(rows, waiting), **({"batch_size": batch_size} if batch_size else {}), **options)
    several = file is not None or len(inputs or ()) > 1
    for number, result in enumerate(found, 1):
        value = waiting.popleft()
        if as_json:
            print(json.dumps({"row": number, "input": value, "result": result}, ensure_ascii=False), flush=True)
            continue
        if several and not whole:
            print(f"{number}: {_short(value)}")
        for line in readable(result):
            print(f"  {line}" if several and not whole else line)
        sys.stdout.flush()


def _list(as_json: bool) -> None:
    from moduformer.pipelines.registry import ALIASES, TASKS

    names = {task: sorted(alias for alias, of in ALIASES.items() if of == task) for task in TASKS}
    if as_json:
        for task, entry in TASKS.items():
            print(json.dumps({"task": task, "also": names[task], "hub": entry.hub, "without_hub": entry.here}))
        return
    rows: list[tuple[str, ...]] = [
        (task, ", ".join(names[task]), entry.hub or "-", entry.here or "-") for task, entry in TASKS.items()
    ]
    facts("", ["task", "also called", "default model", "without the hub"], rows)


def _option(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise typer.BadParameter(f"--option {text!r} is not of the form NAME=VALUE")
    try:
        return name.strip(), json.loads(value)
    except ValueError:
        return name.strip(), {"None": None, "True": True, "False": False}.get(value, value)


def _rows(inputs: list[str], file: Path | None, whole: bool) -> Iterator[Any]:
    for given in inputs:
        if given == "-":
            yield from _lines(sys.stdin, "standard input", False)
        else:
            yield given
    if file is None:
        return
    from moduformer.errors import DataError

    try:
        if str(file) == "-":
            yield from [sys.stdin.read()] if whole else _lines(sys.stdin, "standard input", False)
        else:
            with file.open(encoding="utf-8-sig") as opened:
                yield from [opened.read()] if whole else _lines(opened, str(file), file.suffix.lower() == ".jsonl")
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise DataError(f"{file} is not UTF-8 text; save it as UTF-8") from None


def _lines(lines: Iterable[str], where: str, parsed: bool) -> Iterator[Any]:
    from moduformer.errors import DataError

    for number, line in enumerate(lines, 1):
        text = line.rstrip("\r\n")
        if not parsed:
            yield text
        elif text.strip():
            try:
                yield json.loads(text)
            except (ValueError, RecursionError):
                raise DataError(f"{where}, line {number}, is no JSON: {text[:60]!r}") from None


def _noted(rows: Iterable[Any], waiting: deque[Any]) -> Iterator[Any]:
    for row in rows:
        waiting.append(row)
        yield row


def readable(result: Any) -> Iterator[str]:
    """A pipeline's result as lines for a person."""
    if isinstance(result, dict):
        yield from _record(result)
    elif isinstance(result, list) and result and not isinstance(result[0], dict | list):
        yield f"{len(result)} numbers: {_numbers(result)}"
    elif isinstance(result, list) and result and _is_matrix(result[0]):
        yield f"{len(result[0])} tokens of {len(result[0][0])} numbers each"
        yield from (_numbers(row) for row in result[0])
    elif isinstance(result, list):
        for number, entry in enumerate(result):
            if number and isinstance(entry, list):
                yield ""
            yield from readable(entry)
        if not result:
            yield "(nothing found)"
    else:
        yield str(result)


def _record(record: dict[str, Any]) -> Iterator[str]:
    if isinstance(record.get("scores"), list):
        yield from (f"{score:.4f}  {label}" for label, score in zip(record["labels"], record["scores"]))
        return
    for name in ("generated_text", "summary_text", "translation_text"):
        if name in record:
            written = record[name]
            yield written if isinstance(written, str) else str(written[-1].get("content", ""))
            return
    words: list[str] = []
    for name, value in record.items():
        if name == "score":
            words.insert(0, f"{value:.4f}")
        elif name in ("label", "entity_group", "entity", "answer", "word", "token_str", "sequence"):
            words.append(str(value).strip() or "(no answer)")
    if record.keys() >= {"start", "end"}:
        words.append(f"[{record['start']}:{record['end']}]")
    yield "  ".join(words)


def _is_matrix(value: Any) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and isinstance(value[0], list)
        and not isinstance(value[0][0], list | dict)
    )


def _numbers(row: list[float]) -> str:
    return " ".join(f"{number:.4f}" for number in row[:6]) + (" ..." if len(row) > 6 else "")


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = " ".join(text.split())
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."
