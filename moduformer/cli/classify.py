"""`moduformer predict` and `moduformer evaluate`: a trained folder at work."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from moduformer.cli import standard_input
from moduformer.cli.output import grid, result, say
from moduformer.cli.output import line as print_line
from moduformer.cli.tasks import CLASSIFY, commands_of, task_of, trained

if TYPE_CHECKING:
    from moduformer.tasks.text_classifier import TextClassifier


def predict(
    folder: Annotated[
        Path,
        typer.Argument(
            help="Folder that `moduformer train` wrote, or the name of a model of the package.", metavar="DIR"
        ),
    ],
    texts: Annotated[list[str] | None, typer.Argument(help="Texts to classify.", metavar="TEXT")] = None,
    file: Annotated[
        str | None, typer.Option(help="File of texts: a table, or .txt with one a line; - for standard input.")
    ] = None,
    text: Annotated[str | None, typer.Option(help="Column of texts.")] = None,
    pair: Annotated[str | None, typer.Option(help="Column of second texts.")] = None,
    windows: Annotated[bool, typer.Option("--windows", help="Show what each window of a long text says.")] = False,
    device: Annotated[str | None, typer.Option(help="cpu or cuda.")] = None,
) -> None:
    """Label texts: one JSON line a text, with the label, its score and the scores of all labels."""
    if bool(texts) == bool(file):
        raise typer.BadParameter("give texts, or --file with a file of texts")
    folder = trained(folder)
    task = task_of(folder)
    if task != CLASSIFY:
        given = {"texts": texts, "file": file, "text": text, "pair": pair, "windows": windows, "device": device}
        lacking = 0
        for found in commands_of(task).answers(folder, given):
            lacking += "error" in found
            print_line(found)
        if lacking:
            say(f"{lacking:,} rows have no text")
        return
    from moduformer.tasks.text_classifier import TextClassifier

    classifier = TextClassifier.load(folder, device)
    rows = map(_text, texts) if texts else _rows(file or "", folder, text, pair)
    refused = 0
    for number, (row, answer) in enumerate(_answers(classifier, rows, windows), 1):
        line: dict[str, Any] = {"row": number}
        line |= {"text": row} if isinstance(row, str) else {"text": row[0], "pair": row[1]} if row else {"text": None}
        refused += answer is None
        line |= answer or {"label": None, "error": "there is no text"}
        print_line(line)
    if refused:
        say(f"{refused:,} rows have no text")


def _answers(
    classifier: TextClassifier, rows: Iterator[Any], windows: bool
) -> Iterator[tuple[Any, dict[str, Any] | None]]:
    from moduformer.pipelines.inputs import in_chunks

    names = classifier.label_set_.names
    for chunk in in_chunks(rows, 1024):
        known = [row for row in chunk if row is not None]
        found = iter(classifier.predict_windows(known))
        for row in chunk:
            if row is None:
                yield row, None
                continue
            prediction = next(found)
            scores = dict(zip(names, prediction.probabilities))
            answer: dict[str, Any] = {"label": prediction.label}
            if not classifier.multi_label_:
                answer["score"] = max(prediction.probabilities)
            answer["scores"] = scores
            if windows:
                answer["windows"] = [
                    {"start": w.start, "end": w.end, "scores": dict(zip(names, w.probabilities))}
                    for w in prediction.windows
                ]
                answer["deciding"] = prediction.deciding
            yield row, answer


def _rows(file: str, folder: Path, text: str | None, pair: str | None) -> Iterator[Any]:
    """Texts (or pairs) of a file; None where a row has none."""
    if file == "-":
        return (_text(line.rstrip("\n")) for line in standard_input.lines())
    if file.lower().endswith(".txt"):
        return map(_text, _lines(Path(file)))
    from moduformer.tasks.classification_run import trained_columns
    from moduformer.train.columns import guess_text_column, no_rows
    from moduformer.train.tables import read_table

    table = read_table(file)
    if not len(table):
        raise no_rows(table)
    columns = trained_columns(folder)
    text = text or (columns.get("text") if columns.get("text") in table.columns else guess_text_column(table))
    pair = pair or (columns.get("pair") if columns.get("pair") in table.columns else None)
    first = [_text(value) for value in table.column(str(text))]
    if pair is None:
        return iter(first)
    second = [_text(value) for value in table.column(pair)]
    return iter([None if a is None or b is None else (a, b) for a, b in zip(first, second)])


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value.strip() else None


def _lines(path: Path) -> Iterator[str]:
    from moduformer.errors import DataError

    try:
        with open(path, encoding="utf-8-sig") as file:
            for line in file:
                yield line.rstrip("\n")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is not UTF-8 text (byte {error.start} of a block); convert it, or use a .csv"
        ) from None


def evaluate(
    folder: Annotated[
        Path,
        typer.Argument(
            help="Folder that `moduformer train` wrote, or the name of a model of the package.", metavar="DIR"
        ),
    ],
    data: Annotated[str, typer.Argument(help="File with texts and labels.")],
    text: Annotated[str | None, typer.Option(help="Column of texts.")] = None,
    label: Annotated[list[str] | None, typer.Option(help="Column of labels.")] = None,
    pair: Annotated[str | None, typer.Option(help="Column of second texts.")] = None,
    errors: Annotated[int, typer.Option(min=0, help="How many of the worst errors to show.")] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Measure a trained folder on a file: metrics, confusion matrix, worst errors."""
    folder = trained(folder)
    task = task_of(folder)
    if task != CLASSIFY:
        commands = commands_of(task)
        data_, measured = commands.evaluate(folder, data, {"text": text, "label": label, "pair": pair})
        if as_json:
            result(data_)
        else:
            commands.show_scores(measured, errors)
        return
    from moduformer.tasks.classification_run import evaluate_run, worst_mistakes

    classifier, metrics = evaluate_run(folder, data, text, label or (), pair)
    names = classifier.label_set_.names
    mistakes = worst_mistakes(metrics, names, errors)
    numbers = metrics.to_dict()
    for row in metrics.examples.refused[:20]:
        say(f"refused: {metrics.examples.name} {row.where()}: {row.reason}")
    if as_json:
        result(numbers | {"labels": list(names), "worst_errors": [vars(mistake) for mistake in mistakes]})
        return
    shown = (
        "accuracy",
        "subset_accuracy",
        "micro_f1",
        "macro_f1",
        "weighted_f1",
        "matthews",
        "calibration_error",
        "loss",
    )
    rows = [[name, f"{numbers[name]:.4f}"] for name in shown if numbers.get(name) is not None]
    if numbers.get("accuracy_interval"):
        low, high = numbers["accuracy_interval"]
        rows.insert(1, ["95 % interval of the accuracy", f"{low:.4f} to {high:.4f}"])
    grid(f"on {numbers['rows']:,} rows", ["metric", "value"], rows)
    grid(
        "classes",
        ["class", "precision", "recall", "F1", "rows"],
        [
            [c["name"], f"{c['precision']:.3f}", f"{c['recall']:.3f}", f"{c['f1']:.3f}", f"{c['support']:,}"]
            for c in numbers["per_class"]
        ],
    )
    if numbers.get("confusion") and len(names) <= 30:
        counts = [[name, *map(str, row)] for name, row in zip(names, numbers["confusion"])]
        grid("confusion: rows are true, columns predicted", ["", *names], counts)
    for mistake in mistakes:
        shortened = mistake.text if len(mistake.text) <= 160 else mistake.text[:157] + "..."
        print(f"{mistake.where}: {mistake.true} taken for {mistake.predicted} ({mistake.probability:.3f}): {shortened}")
