"""Pairs of a source and what shall be written for it: translations, summaries, answers, from tables or two text files.

A target may be a list of several right ones: the first is learned, and all count when predictions are scored.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from moduformer.errors import DataError
from moduformer.train.columns import no_rows
from moduformer.train.encodings import sniff_encoding
from moduformer.train.tables import Refused, Table, read_table, require_columns

SOURCE_NAMES = (
    "source", "src", "document", "article", "dialogue", "text", "input", "original", "content", "body", "question",
    "원문", "본문", "문서", "질문",
)  # fmt: skip
"""Column names taken for the source, most telling first."""

TARGET_NAMES = (
    "target", "tgt", "summary", "highlights", "tldr", "translation", "output", "abstract", "headline", "title",
    "response", "answer", "번역", "번역문", "요약", "요약문", "답변",
)  # fmt: skip
"""Column names taken for the target, most telling first."""

LANGUAGES = frozenset(
    "ar bg bn ca cs cy da de el en es et eu fa fi fr ga gl he hi hr hu hy id is it ja ka kk ko lt lv mk ml mn mr ms "
    "my nb ne nl nn no pa pl ps pt ro ru si sk sl sq sr sv sw ta te th tl tr uk ur uz vi zh".split()
)
"""Codes of languages (ISO 639-1) that columns of translations are called by."""

LONGEST_FILE = 4 * 2**30


@dataclass
class Pairs:
    """Sources with their targets, and where each came from. `rows_read == len(pairs) + len(refused)`.

    Attributes:
        sources: the texts to read.
        targets: for each the right texts, at least one.
        source_column, target_column: the columns (or files) they came from.
        rows, lines: row number and line of every pair, from 1 (`lines` is None for Parquet and memory).
        refused: the rows that are not used.
        notes: what was guessed or noticed.
        name: the file, or "the data".
    """

    sources: list[str]
    targets: list[tuple[str, ...]]
    source_column: str = "source"
    target_column: str = "target"
    rows: list[int] = field(default_factory=list)
    lines: list[int] | None = None
    rows_read: int = 0
    refused: list[Refused] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    name: str = "the data"

    def __len__(self) -> int:
        return len(self.sources)

    def where(self, index: int) -> str:
        """Where a pair comes from: "train.csv line 7"."""
        place = f"row {self.rows[index]}" if self.lines is None else f"line {self.lines[index]}"
        return f"{self.name} {place}"

    def select(self, indices: Iterable[int]) -> Pairs:
        """Some of the pairs, in the order of the positions given."""
        chosen = [int(i) for i in indices]
        return replace(
            self,
            sources=[self.sources[i] for i in chosen],
            targets=[self.targets[i] for i in chosen],
            rows=[self.rows[i] for i in chosen],
            lines=None if self.lines is None else [self.lines[i] for i in chosen],
            rows_read=len(chosen),
            refused=[],
            notes=[],
        )


def read_pairs(
    path: Any,
    source: str | None = None,
    target: str | None = None,
    **reading: Any,
) -> Pairs:
    """Pairs of a table: CSV, TSV, JSON Lines, Parquet, or in memory.

    Arguments:
        path: what `tables.read_table` takes.
        source, target: the columns; None guesses: by their names, else two columns called by languages (the first is
            the source), else the only two columns of texts; `notes` say so.
        reading: see `read_table`.

    Raises:
        DataError: the file or a column cannot be used, or no row can.
    """
    table = read_table(path, **reading)
    if not len(table):
        raise no_rows(table)
    notes = list(table.notes)
    require_columns(table.columns, [name for name in (source, target) if name is not None], table.name)
    source, target = _columns(table, source, target, notes)
    made = Pairs([], [], source, target, lines=None if table.lines is None else [], name=table.name, notes=notes)
    made.rows_read, made.refused = table.rows_read, list(table.refused)
    for index, (first, second) in enumerate(zip(table.column(source), table.column(target))):
        given, why = _joined(first)
        wanted, fault = _several(second)
        if given is None or wanted is None:
            line = None if table.lines is None else table.lines[index]
            made.refused.append(Refused(table.rows[index], line, f"source: {why}" if given is None else fault))
            continue
        made.sources.append(given)
        made.targets.append(wanted)
        made.rows.append(table.rows[index])
        if made.lines is not None and table.lines is not None:
            made.lines.append(table.lines[index])
    if not made.sources:
        raise DataError(f"{table.name}: none of its {made.rows_read:,} rows is a pair; {made.refused[0].reason}")
    return made


def read_parallel(source: str | Path, target: str | Path) -> Pairs:
    """Pairs of two text files, a line of one for a line of the other; pairs with an empty line are refused.

    Raises:
        DataError: a file that cannot be read, or files of different length.
    """
    firsts, seconds = read_lines(source), read_lines(target)
    if len(firsts) != len(seconds):
        raise DataError(
            f"{source} has {len(firsts):,} lines but {target} has {len(seconds):,}; each line of one must stand for "
            "the same line of the other"
        )
    made = Pairs([], [], str(source), str(target), lines=[], rows_read=len(firsts), name=str(source))
    for number, (first, second) in enumerate(zip(firsts, seconds), 1):
        if not first.strip() or not second.strip():
            made.refused.append(Refused(number, number, f"the {'target' if first.strip() else 'source'} is empty"))
            continue
        made.sources.append(first)
        made.targets.append((second,))
        made.rows.append(number)
        assert made.lines is not None
        made.lines.append(number)
    if not made.sources:
        raise DataError(f"{source}: none of its {len(firsts):,} lines is a pair")
    return made


def pairs_from_lists(sources: Sequence[Any], targets: Sequence[Any]) -> Pairs:
    """Pairs of texts in memory; a target is a text, or a list of several right ones.

    Raises:
        DataError: lengths that differ, or something that is no text; names its number.
    """
    for name, given in (("sources", sources), ("targets", targets)):
        if isinstance(given, str | bytes) or not hasattr(given, "__len__"):
            raise DataError(f"{name} are a list of texts, not a {type(given).__name__}; give [text] for a single one")
    firsts, seconds = _listed(sources), _listed(targets)
    if len(firsts) != len(seconds):
        raise DataError(f"there are {len(firsts):,} sources but {len(seconds):,} targets; give one for each")
    if not firsts:
        raise DataError("there are no pairs")
    made = Pairs([], [], rows=list(range(1, len(firsts) + 1)), rows_read=len(firsts))
    for number, (first, second) in enumerate(zip(firsts, seconds)):
        text, why = _joined(first) if isinstance(first, str) else (None, f"is a {type(first).__name__}, no text")
        wanted, fault = _several(second)
        if text is None or wanted is None:
            raise DataError(f"{f'sources[{number}]: {why}' if text is None else f'targets[{number}]: {fault}'}")
        made.sources.append(text)
        made.targets.append(wanted)
    return made


def read_lines(path: str | Path) -> list[str]:
    """The lines of a text file, without their ends. Raises `DataError` for a file that cannot be read."""
    path = Path(path)
    try:
        if not path.is_file():
            raise DataError(f"{path}: no such file" if not path.exists() else f"{path} is not a regular file")
        if path.stat().st_size > LONGEST_FILE:
            raise DataError(f"{path}: {path.stat().st_size:,} bytes are more than is read at once; split the file")
        encoding = sniff_encoding(path).name
        # Only line feeds end a line: other breaks may stand inside a sentence of parallel text.
        return path.read_bytes().decode(encoding).removeprefix("\ufeff").replace("\r\n", "\n").rstrip("\n").split("\n")
    except (OSError, UnicodeDecodeError, LookupError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from None


def split_pairs(pairs: Pairs, fraction: float = 0.1, seed: int = 0) -> tuple[Pairs, Pairs]:
    """Pairs to train on and pairs held out; equal sources stay together. Raises `DataError` for fewer than two."""
    import numpy as np

    groups: dict[str, list[int]] = {}
    for index, source in enumerate(pairs.sources):
        groups.setdefault(" ".join(source.split()).casefold(), []).append(index)
    if len(groups) < 2:
        raise DataError(f"{pairs.name}: {len(groups)} source is too few to hold some out; give a file to evaluate on")
    order = np.random.default_rng(seed).permutation(len(groups))
    listed, wanted = list(groups.values()), max(1, round(len(pairs) * fraction))
    aside: list[int] = []
    for place in order[:-1]:
        if len(aside) >= wanted:
            break
        aside += listed[place]
    held = set(aside)
    return pairs.select(i for i in range(len(pairs)) if i not in held), pairs.select(sorted(held))


def _columns(table: Table, source: str | None, target: str | None, notes: list[str]) -> tuple[str, str]:
    if source is not None and target is not None:
        return source, target
    folded = {name.strip().casefold(): name for name in table.columns}
    first = source or next((folded[name] for name in SOURCE_NAMES if name in folded), None)
    second = target or next((folded[name] for name in TARGET_NAMES if name in folded and folded[name] != first), None)
    if first is None or second is None:
        spoken = [name for key, name in folded.items() if key in LANGUAGES]
        texts = [name for name in table.columns if _holds_texts(table.column(name))]
        both = spoken if len(spoken) == 2 else texts
        free = [name for name in both if name not in (source, target)]
        if len(both) != 2 or (source is None) + (target is None) != len(free):
            raise DataError(
                f"{table.name}: which columns are source and target? Name them, with --text and --label on the command "
                f"line. Columns: {', '.join(table.columns)}"
            )
        first, second = source or free[0], target or free[-1]
    notes.append(f"columns guessed: source {first!r}, target {second!r}")
    return first, second


def _holds_texts(values: Sequence[Any]) -> bool:
    sample = [value for value in values[:1000] if value is not None]
    return bool(sample) and all(isinstance(value, str) for value in sample)


def _joined(value: Any) -> tuple[str | None, str]:
    if isinstance(value, list | tuple) and value and all(isinstance(part, str) for part in value):
        value = " ".join(value)
    if value is None:
        return None, "it is missing"
    if not isinstance(value, str):
        return None, f"it is a {type(value).__name__}, not a text"
    return (value, "") if value.strip() else (None, "it is empty")


def _several(value: Any) -> tuple[tuple[str, ...] | None, str]:
    listed = list(value) if isinstance(value, list | tuple) else [value]
    if listed and all(isinstance(text, str) and text.strip() for text in listed):
        return tuple(listed), ""
    return None, "target: " + (_joined(value)[1] or "one of its texts is empty")


def _listed(given: Any) -> list[Any]:
    values: list[Any] = given.tolist() if hasattr(given, "tolist") else list(given)
    return values
