"""`moduformer explore`: a look at the data before training."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from moduformer.cli.output import console, result


def explore(
    data: Annotated[str, typer.Argument(help="CSV, TSV, JSON Lines or Parquet file, or a folder with train and test.")],
    text: Annotated[str | None, typer.Option(help="Column of texts; guessed if not given.")] = None,
    label: Annotated[list[str] | None, typer.Option(help="Column of labels.")] = None,
    pair: Annotated[str | None, typer.Option(help="Column of second texts.")] = None,
    separator: Annotated[str | None, typer.Option(help="What separates several labels in a cell.")] = None,
    evaluation: Annotated[str | None, typer.Option(help="Evaluation file, to find leaks.")] = None,
    model: Annotated[str | None, typer.Option(help="Count tokens as this model does.")] = None,
    max_length: Annotated[int | None, typer.Option(min=4, help="Tokens the model shall read at once.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Class balance, lengths, duplicates, leaks and suspicious rows of a labelled file."""
    from moduformer.tasks.classification_run import files_of
    from moduformer.train.explore import explore as look
    from moduformer.train.explore import render
    from moduformer.train.labelled_rows import read_examples

    source, beside = files_of(data)
    evaluation = evaluation or beside
    label_column: Any = None if not label else label[0] if len(label) == 1 else label
    reading: dict[str, Any] = {"bad_rows": "report", "separator": separator}
    examples = read_examples(source, text, label_column, pair, **reading)
    columns = examples.label_columns
    other = None
    if evaluation is not None:
        same = columns[0] if len(columns) == 1 else columns
        other = read_examples(evaluation, examples.text_column, same, examples.pair_column, **reading)
    counter, limit = _counter(model) if model else (None, None)
    found = look(examples, other, counter, max_length or limit)
    if as_json:
        result(found.to_dict())
    else:
        render(found, console())


def _counter(model: str) -> tuple[Any, int | None]:
    from moduformer.errors import TextError
    from moduformer.sources.resolve import resolve
    from moduformer.text.loading import tokenizer_for

    tokenizer = tokenizer_for(resolve(model).path)
    if tokenizer is None:
        raise TextError(f"{model} has no tokenizer to count tokens with")
    return (
        lambda texts: [len(row) for row in tokenizer.encode_batch(texts, offsets=False)],
        min(tokenizer.model_max_length or 512, 512),
    )
