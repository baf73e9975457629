"""Which column of a table holds the texts and which the labels, where nobody says so."""

import re
from collections.abc import Collection, Sequence
from typing import Any

from moduformer.errors import DataError
from moduformer.train.tables import (
    LABEL_NAMES,
    TEXT_NAMES,
    Table,
)

_SAMPLE = 1000


def _strings(values: Sequence[Any]) -> list[str]:
    return [value for value in values if isinstance(value, str)]


def _are_numbers(strings: Sequence[str]) -> bool:
    return all(re.fullmatch(r"\s*[+-]?[\d.,]+\s*", text) for text in strings if text)


def _holds_lists(values: Sequence[Any]) -> bool:
    return any(hasattr(value, "__len__") and not isinstance(value, str | bytes | dict) for value in values)


def guess_text_column(table: Table, taken: Collection[str] = ()) -> str:
    """The column of texts: by its name, else the column of strings with the longest ones.

    Raises:
        DataError: the table has no rows, or no column holds texts (numbers and labels are none).
    """
    if not len(table):
        raise no_rows(table)
    folded = {name.strip().casefold(): name for name in table.columns if name not in taken}
    for name in TEXT_NAMES:
        column = folded.get(name)
        if column is not None and _strings(table.frame[column].head(_SAMPLE).tolist()):
            return column
    lengths = {}
    for name, column in folded.items():
        values = table.frame[column].head(_SAMPLE).tolist()
        strings = _strings(values)
        if name not in LABEL_NAMES and strings and len(strings) * 2 >= len(values) and not _are_numbers(strings):
            lengths[column] = sum(map(len, strings)) / len(strings)
    if not lengths:
        split = next((name for name in table.columns if _holds_lists(table.frame[name].head(_SAMPLE).tolist())), None)
        todo = "Name the text column"
        if split is not None:
            todo = f"{split!r} holds lists; words and their tags are for --task tag"
        raise DataError(f"{table.name}: no column holds texts; it has: {', '.join(table.columns)}. {todo}")
    return max(lengths, key=lambda column: lengths[column])


def guess_label_column(table: Table, taken: Collection[str] = ()) -> str:
    """The column of labels: by its name, else the only column whose few values come again and again.

    Raises:
        DataError: none or several columns could be the label.
    """
    folded = {name.strip().casefold(): name for name in table.columns if name not in taken}
    for name in LABEL_NAMES:
        if name in folded:
            return folded[name]
    likely = []
    for column in folded.values():
        values = [v for v in table.frame[column].head(_SAMPLE).tolist() if isinstance(v, (str, int, float, bool))]
        if len(values) >= 2 and len(set(values)) <= max(2, min(len(values) // 2, 200)):
            likely.append(column)
    if len(likely) == 1:
        return likely[0]
    why = f"{' and '.join(map(repr, likely[:4]))} could be it" if likely else "none looks like it"
    raise DataError(f"{table.name}: which column is the label? {why}; name it. Columns: {', '.join(table.columns)}")


def naming_column(table: Table, label: str, taken: Collection[str]) -> str:
    """The column that names the numbers of a label column, one name a number; the column itself when none does."""
    numbers = table.frame[label].tolist()
    if not all(isinstance(value, int) for value in numbers):
        return label
    for column in table.columns:
        names = table.frame[column].tolist() if column != label and column not in taken else []
        if names and all(isinstance(name, str) and 0 < len(name) <= 64 for name in names):
            pairs = set(zip(numbers, names))
            if 1 < len(pairs) == len({number for number, _ in pairs}) == len({name for _, name in pairs}):
                # With one row a number any column of different strings would do, such as an id.
                return column if len(pairs) * 2 <= len(names) else label
    return label


def no_rows(table: Table) -> DataError:
    """The error that says why a table has no row to use."""
    if table.refused:
        first = table.refused[0]
        return DataError(
            f"{table.name}: none of its {table.rows_read} rows can be read; {first.where()}: {first.reason}"
        )
    header = f", only a header ({', '.join(table.columns)})" if table.columns else ""
    return DataError(f"{table.name} has no rows{header}")
