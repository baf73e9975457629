"""Sentences that people rated from -4 (most negative) to 4 (most positive), published by Hutto & Gilbert (2014)."""

from __future__ import annotations

import csv
import io
import math
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from moduformer.atomic import write_text
from moduformer.errors import DataError

LARGEST_FILE = 32 * 2**20
"""The largest of the published tables has 1.5 MB."""

LONGEST_TEXT = 20_000
MARGIN = 0.5
"""Smallest distance from 0 at which a mean rating counts as positive or negative.

A mean is that of about 20 ratings, which scatter by 0.7 to 0.9 in these tables, so its standard error is about 0.2:
from 0.5 on, the sign would survive asking another 20 people."""

POSITIVE, NEGATIVE = "positive", "negative"


@dataclass(frozen=True)
class RatedText:
    """One row of a table; `line` counts from 1."""

    line: int
    rating: float
    text: str

    @property
    def label(self) -> str:
        """Its side of 0."""
        return POSITIVE if self.rating > 0 else NEGATIVE


@dataclass(frozen=True)
class RatedTable:
    """What a table held: its usable rows, and in words which rows are not usable and why."""

    name: str
    rows: tuple[RatedText, ...]
    refused: tuple[str, ...] = ()


@dataclass(frozen=True)
class Polarity:
    """Rows that are clearly positive or negative, each text once.

    `unclear` counts rows nearer to 0 than the margin, `repeated` those whose text came before, and `disputed` those
    whose text stands on both sides.
    """

    rows: tuple[RatedText, ...]
    unclear: int
    repeated: int
    disputed: int


def read_rated(path: Path) -> RatedTable:
    """Reads a table of lines `id <tab> mean rating <tab> text`.

    Raises:
        DataError: the file is absent, far too large, or holds no usable row.
    """
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise DataError(f"{path.name} is larger than {LARGEST_FILE >> 20} MiB, which no table of this kind is")
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); delete its folder and fetch it again") from None
    rows: list[RatedText] = []
    refused: list[str] = []
    for number, line in enumerate(data.split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            rows.append(_row(number, line.rstrip(b"\r")))
        except ValueError as error:
            refused.append(f"{path.name} line {number}: {error}")
    if not rows:
        first = f"; {refused[0]}" if refused else ""
        raise DataError(f"{path.name} holds no line of the form id, rating, text{first}")
    return RatedTable(path.name, tuple(rows), tuple(refused))


def _row(number: int, line: bytes) -> RatedText:
    try:
        fields = line.decode("utf-8").split("\t")
    except UnicodeDecodeError:
        raise ValueError("is not UTF-8") from None
    if len(fields) != 3:
        raise ValueError(f"has {len(fields)} fields where id, rating and text are expected")
    try:
        rating = float(fields[1])
    except ValueError:
        raise ValueError(f"the rating {fields[1][:40]!r} is not a number") from None
    if not (math.isfinite(rating) and -4 <= rating <= 4):
        raise ValueError(f"the rating {fields[1][:40]!r} is not between -4 and 4")
    text = fields[2].strip()
    if not text:
        raise ValueError("has no text")
    if len(text) > LONGEST_TEXT:
        raise ValueError(f"has {len(text):,} characters; {LONGEST_TEXT:,} are allowed")
    return RatedText(number, rating, text)


def clear_polarity(rows: Sequence[RatedText], margin: float = MARGIN) -> Polarity:
    """Keeps rows at least `margin` from 0, and of equal texts (but for case and spaces) the first one."""
    clear = [row for row in rows if abs(row.rating) >= margin]
    sides: dict[str, set[str]] = {}
    for row in clear:
        sides.setdefault(_key(row), set()).add(row.label)
    kept: dict[str, RatedText] = {}
    disputed = 0
    for row in clear:
        if len(sides[_key(row)]) > 1:
            disputed += 1
        else:
            kept.setdefault(_key(row), row)
    return Polarity(
        rows=tuple(kept.values()),
        unclear=len(rows) - len(clear),
        repeated=len(clear) - disputed - len(kept),
        disputed=disputed,
    )


def _key(row: RatedText) -> str:
    return " ".join(row.text.casefold().split())


def without(rows: Iterable[RatedText], taken: Iterable[RatedText]) -> list[RatedText]:
    """The rows whose text does not stand among `taken`."""
    keys = {_key(row) for row in taken}
    return [row for row in rows if _key(row) not in keys]


def draw(rows: Sequence[RatedText], count: int, seed: int) -> list[RatedText]:
    """At most `count` rows by chance, in the order of the table; equal seeds draw equal rows."""
    if count >= len(rows):
        return list(rows)
    return [rows[i] for i in sorted(random.Random(seed).sample(range(len(rows)), count))]


def write_csv(rows: Iterable[RatedText], path: Path) -> Path:
    """Writes columns `text`, `label`, `rating`."""
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    table.writerow(("text", "label", "rating"))
    table.writerows((row.text, row.label, f"{row.rating:.4g}") for row in rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, out.getvalue())
    return path
