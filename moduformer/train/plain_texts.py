"""Texts without labels, for language models: text files whole, columns of tables row by row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from moduformer.errors import DataError
from moduformer.train.columns import guess_text_column, no_rows
from moduformer.train.pairs import read_lines
from moduformer.train.tables import Refused, read_table, require_columns

_TABLES = (".csv", ".tsv", ".jsonl", ".json", ".ndjson", ".parquet")


@dataclass
class PlainTexts:
    """Texts and where they came from.

    Attributes:
        texts: the texts; a text file is one.
        column: the column they came from; None for a text file.
        refused: the rows that are not used.
        notes: what was guessed or noticed.
        name: the file, or "the data".
    """

    texts: list[str]
    column: str | None = None
    refused: list[Refused] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    name: str = "the data"

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def characters(self) -> int:
        """How many there are in all."""
        return sum(map(len, self.texts))


def read_texts(path: Any, text: str | None = None, **reading: Any) -> PlainTexts:
    """Texts of a file: one of a text file, one a row of a table.

    Arguments:
        text: the column of a table; None guesses and says so.
        reading: see `read_table`.

    Raises:
        DataError: a file or column that cannot be used, or no text at all.
    """
    if isinstance(path, str | Path) and Path(path).suffix.lower() not in _TABLES and text is None:
        whole = "\n".join(read_lines(path))
        if not whole.strip():
            raise DataError(f"{path} holds no text")
        return PlainTexts([whole], name=str(path))
    table = read_table(path, **reading)
    if not len(table):
        raise no_rows(table)
    notes = list(table.notes)
    if text is None:
        text = guess_text_column(table)
        notes.append(f"column guessed: {text!r}")
    require_columns(table.columns, [text], table.name)
    made = PlainTexts([], text, list(table.refused), notes, table.name)
    for index, value in enumerate(table.column(text)):
        if isinstance(value, str) and value.strip():
            made.texts.append(value)
        else:
            line = None if table.lines is None else table.lines[index]
            reason = "the text is empty" if isinstance(value, str) else "there is no text"
            made.refused.append(Refused(table.rows[index], line, reason))
    if not made.texts:
        raise DataError(f"{table.name}: none of its {table.rows_read:,} rows has a text in {text!r}")
    return made


def texts_from_list(texts: Any) -> PlainTexts:
    """Texts in memory. Raises `DataError` for one string, or something that is no text; names its number."""
    if isinstance(texts, str | bytes):
        raise DataError("texts are one string; give a list of texts, [text] for a single one")
    listed: Sequence[Any] = texts.tolist() if hasattr(texts, "tolist") else list(texts)
    for number, text in enumerate(listed):
        if not isinstance(text, str) or not text.strip():
            raise DataError(
                f"texts[{number}] is {f'a {type(text).__name__}' if not isinstance(text, str) else 'empty'}"
            )
    if not listed:
        raise DataError("there are no texts")
    return PlainTexts(list(listed))


def split_texts(texts: PlainTexts, fraction: float = 0.1, seed: int = 0) -> tuple[PlainTexts, PlainTexts]:
    """Texts to train on and texts held out: rows at random, or of a single text the end, cut at a line.

    Raises:
        DataError: a text too short to be divided.
    """
    import numpy as np

    if len(texts) > 1:
        order = np.random.default_rng(seed).permutation(len(texts))
        held = set(order[: max(1, round(len(texts) * fraction))].tolist())
        parts = ([t for i, t in enumerate(texts.texts) if (i in held) == wanted] for wanted in (False, True))
    else:
        whole = texts.texts[0]
        place = int(len(whole) * (1 - fraction))
        edge = whole.find("\n", place)
        edge = next((e + 1 for e in (edge, whole.rfind("\n", 0, place), whole.find(" ", place)) if e > 0), place)
        parts = ([part] if part.strip() else [] for part in (whole[:edge], whole[edge:]))
    train, aside = parts
    if not train or not aside:
        raise DataError(f"{texts.name} is too short to hold a part out; give a file to evaluate on")
    return PlainTexts(train, texts.column, name=texts.name), PlainTexts(aside, texts.column, name=texts.name)
