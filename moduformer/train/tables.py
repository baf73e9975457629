"""Tables of labelled text from a file or from memory: nothing converted, nothing dropped in silence.

`read_table` takes CSV, TSV, JSON lines, a JSON array, Parquet, pandas and plain Python lists. Cells of CSV and TSV are
strings and stay the strings they are ("NA", "007", "1e5", "TRUE", ""); typed formats keep their types, and a missing
value is None. Every row that was read is either in the frame or in `refused`, by its number and line.
"""

import difflib
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from moduformer.errors import DataError
from moduformer.train.delimited import MOST_COLUMNS, read_delimited
from moduformer.train.encodings import known_encoding, not_text, sniff_encoding
from moduformer.train.json_rows import parse_json, read_json_array, read_json_lines

if TYPE_CHECKING:
    import pandas

BadRows = Literal["raise", "report"]

TEXT_NAMES = (
    "text", "sentence", "review", "document", "content", "body", "message", "comment", "tweet", "utterance",
    "query", "question", "title", "headline", "description", "sentence1", "premise", "texts", "sentences",
    "내용", "문장", "텍스트", "본문", "리뷰", "댓글", "발화", "제목", "질문",
)  # fmt: skip
"""Column names taken for the text, most telling first."""

PAIR_NAMES = ("text_pair", "sentence2", "hypothesis", "문장2")
"""Column names taken for the second text of a pair."""

LABEL_NAMES = (
    "label_name", "label_names", "label_text", "label", "labels", "category", "class", "target", "sentiment",
    "intent", "emotion", "topic", "gold_label", "y", "tag",
    "라벨", "레이블", "분류", "카테고리", "감정", "범주", "의도", "주제",
)  # fmt: skip
"""Column names taken for the label, most telling first: names before numbers, since both say the same."""

_KNOWN_NAMES = (
    *TEXT_NAMES,
    *PAIR_NAMES,
    *LABEL_NAMES,
    "id",
    "guid",
    "index",
    "idx",
    "score",
    "tokens",
    "tags",
)
_REPORTED = 5
_ENOUGH_BAD_ROWS = 20
_LARGEST_SINGLE_OBJECT = 32 * 2**20


@dataclass(frozen=True)
class Refused:
    """A row that is not used, and why.

    Attributes:
        row: its number among the data rows, from 1 (the header does not count).
        line: the line of the file it starts on, from 1; None for Parquet and data in memory.
        reason: why, as a sentence without a full stop.
    """

    row: int
    line: int | None
    reason: str

    def where(self) -> str:
        return f"row {self.row}" if self.line is None else f"line {self.line}"

    def to_dict(self) -> dict[str, Any]:
        return {"row": self.row, "line": self.line, "reason": self.reason}


@dataclass
class Table:
    """Rows read from a file or from memory. `rows_read == len(frame) + len(refused)`, always.

    Attributes:
        frame: the used rows, one object column a name; None where a value is missing.
        path: the file, or None.
        rows_read: how many data rows the source has.
        refused: the rows not used.
        notes: what was guessed or noticed: encoding, delimiter, header.
        rows: the row number (from 1) of every row of the frame.
        lines: the line (from 1) of every row of the frame; None for Parquet and data in memory.
    """

    frame: "pandas.DataFrame"
    path: str | None = None
    rows_read: int = 0
    refused: list[Refused] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    lines: list[int] | None = None

    def __len__(self) -> int:
        return len(self.frame)

    @property
    def columns(self) -> list[str]:
        return list(self.frame.columns)

    @property
    def name(self) -> str:
        return "the data" if self.path is None else self.path

    def where(self, index: int) -> str:
        """Where the row at a position of the frame comes from: "line 7" or "row 6"."""
        return f"row {self.rows[index]}" if self.lines is None else f"line {self.lines[index]}"

    def column(self, name: str) -> list[Any]:
        """The values of a column, or a DataError that names the columns there are."""
        require_columns(self.columns, [name], self.name)
        return self.frame[name].tolist()


def require_columns(present: Sequence[str], wanted: Iterable[str], name: str) -> None:
    """Raise a DataError when a wanted column is missing, with the nearest name as a suggestion."""
    for column in wanted:
        if column not in present:
            near = difflib.get_close_matches(str(column), present, 1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            shown = ", ".join(repr(c) for c in present[:20])
            raise DataError(f"{name} has no column {column!r}.{hint} It has: {shown}")


class _Rows:
    """Collects rows column by column together with where each came from."""

    def __init__(self, name: str, bad_rows: BadRows, has_lines: bool) -> None:
        self.name = name
        self.bad_rows = bad_rows
        self.columns: dict[str, list[Any]] = {}
        self.rows: list[int] = []
        self.lines: list[int] | None = [] if has_lines else None
        self.refused: list[Refused] = []
        self.read = 0

    def refuse(self, line: int | None, reason: str) -> None:
        self.read += 1
        self.refused.append(Refused(self.read, line, reason))
        if self.bad_rows == "raise" and len(self.refused) >= _ENOUGH_BAD_ROWS:
            self.settle(more=True)

    def use(self, line: int | None) -> None:
        self.read += 1
        self.rows.append(self.read)
        if self.lines is not None and line is not None:
            self.lines.append(line)

    def settle(self, more: bool = False) -> None:
        """Raise for the bad rows unless they are to be reported."""
        if self.bad_rows == "raise" and self.refused:
            listed = "; ".join(f"{bad.where()}: {bad.reason}" for bad in self.refused[:_REPORTED])
            count = len(self.refused)
            several = f" ({count}{' or more' if more else ''} bad rows)" if count > 1 else ""
            raise DataError(
                f"{self.name}, {listed}{several}. Correct the file, or leave these rows out "
                "(in Python: bad_rows='report')"
            )

    def table(self, path: str | None, notes: list[str]) -> Table:
        import pandas as pd

        self.settle()
        frame = pd.DataFrame(
            {name: pd.Series(values, dtype=object) for name, values in self.columns.items()},
            index=pd.RangeIndex(len(self.rows)),
            dtype=object,
        )
        return Table(frame, path, self.read, self.refused, notes, self.rows, self.lines)


def _from_delimited(
    path: Path,
    columns: Sequence[str] | None,
    bad_rows: BadRows,
    notes: list[str],
    encoding: str | None,
    delimiter: str | None,
    header: bool | None,
) -> Table:
    names, records = read_delimited(
        path, encoding=encoding, delimiter=delimiter, header=header, known_names=_KNOWN_NAMES, notes=notes
    )
    require_columns(names, columns or (), str(path))
    rows = _Rows(str(path), bad_rows, has_lines=True)
    kept = [(i, name) for i, name in enumerate(names) if columns is None or name in columns]
    rows.columns = {name: [] for _, name in kept}
    targets = [(i, rows.columns[name]) for i, name in kept]
    for line, cells in records:
        if isinstance(cells, str):
            rows.refuse(line, cells)
        else:
            rows.use(line)
            for i, values in targets:
                values.append(cells[i])
    return rows.table(str(path), notes)


def _from_objects(
    objects: Iterable[tuple[int | None, Mapping[str, Any] | str]],
    name: str,
    path: str | None,
    columns: Sequence[str] | None,
    bad_rows: BadRows,
    notes: list[str],
    has_lines: bool,
) -> Table:
    rows = _Rows(name, bad_rows, has_lines)
    partial: dict[str, int] = {}
    for line, found in objects:
        if isinstance(found, str):
            rows.refuse(line, found)
            continue
        used = len(rows.rows)
        rows.use(line)
        for key, value in found.items():
            if columns is not None and key not in columns:
                continue
            values = rows.columns.get(key)
            if values is None:
                if len(rows.columns) >= MOST_COLUMNS:
                    raise DataError(f"{name}: more than {MOST_COLUMNS:,} different keys; every row must have the same")
                values = rows.columns[key] = []
            if len(values) < used:
                partial[key] = partial.get(key, 0) + used - len(values)
                values.extend([None] * (used - len(values)))
            values.append(value)
    total = len(rows.rows)
    for key, values in rows.columns.items():
        if len(values) < total:
            partial[key] = partial.get(key, 0) + total - len(values)
            values.extend([None] * (total - len(values)))
    notes.extend(f"{count} rows have no {key!r}; it is missing there" for key, count in partial.items())
    rows.settle()
    if total:
        require_columns(list(rows.columns), columns or (), name)
    return rows.table(path, notes)


def _from_json(
    path: Path,
    columns: Sequence[str] | None,
    bad_rows: BadRows,
    notes: list[str],
    encoding: str | None,
    array: bool,
) -> Table:
    if encoding is None:
        sniffed = sniff_encoding(path)
        encoding = sniffed.name
        if sniffed.note:
            notes.append(sniffed.note)
    else:
        known_encoding(encoding)
    if not array and (inside := _rows_within(path, encoding)):
        key, found = inside
        notes.append(f"the rows are the list {key!r} of the file's object")
        return _from_objects(
            ((None, row) for row in found), str(path), str(path), columns, bad_rows, notes, has_lines=False
        )
    read = read_json_array if array else read_json_lines
    return _from_objects(read(path, encoding), str(path), str(path), columns, bad_rows, notes, has_lines=True)


def _from_parquet(
    path: Path, columns: Sequence[str] | None, bad_rows: BadRows, notes: list[str], max_bytes: int
) -> Table:
    from moduformer.train.parquet import read_parquet

    names, batches = read_parquet(path, columns, max_bytes)
    rows = _Rows(str(path), bad_rows, has_lines=False)
    rows.columns = {name: [] for name in names}
    for batch in batches:
        for row in zip(*(batch[name] for name in names)):
            reason = next((r for v in row if isinstance(v, str) and (r := not_text(v))), None)
            if reason:
                rows.refuse(None, reason)
                continue
            rows.use(None)
            for name, value in zip(names, row):
                rows.columns[name].append(value)
    return rows.table(str(path), notes)


def _is_missing(value: Any) -> bool:
    if value is None:
        return True
    if isinstance(value, float):
        return math.isnan(value)
    return type(value).__name__ in ("NAType", "NaTType")


def plain(value: Any) -> Any:
    """A NumPy scalar or array as the Python value it holds; a missing value of any library as None."""
    if _is_missing(value):
        return None
    if hasattr(value, "dtype") and hasattr(value, "tolist"):
        value = value.tolist()
        return None if _is_missing(value) else value
    return value


def _from_memory(source: Any, columns: Sequence[str] | None, bad_rows: BadRows, notes: list[str]) -> Table:
    if hasattr(source, "to_pandas") and not isinstance(source, Mapping):
        source = source.to_pandas()
    if hasattr(source, "iloc") and hasattr(source, "columns"):
        names = [str(name) for name in source.columns]
        if len(set(names)) < len(names):
            raise DataError("the DataFrame has two columns of the same name; rename one of them")
        source = {name: source.iloc[:, i].tolist() for i, name in enumerate(names)}
    if isinstance(source, Mapping):
        data = {str(name): list(values) for name, values in source.items()}
        lengths = {name: len(values) for name, values in data.items()}
        if len(set(lengths.values())) > 1:
            raise DataError(f"the columns differ in length: {lengths}")
        count = next(iter(lengths.values()), 0)
        names = list(data)
        require_columns(names, columns or (), "the data")
        kept = [name for name in names if columns is None or name in columns]

        def objects() -> Iterator[tuple[None, dict[str, Any] | str]]:
            for i in range(count):
                yield None, _plain_row({name: data[name][i] for name in kept})

        table = _from_objects(objects(), "the data", None, columns, bad_rows, notes, has_lines=False)
        if not count:
            import pandas as pd

            table.frame = pd.DataFrame({name: pd.Series([], dtype=object) for name in kept})
        return table
    if isinstance(source, Iterable) and not isinstance(source, (str, bytes)):

        def items() -> Iterator[tuple[None, dict[str, Any] | str]]:
            for item in source:
                if isinstance(item, Mapping):
                    yield None, _plain_row({str(key): value for key, value in item.items()})
                else:
                    yield (
                        None,
                        f"a row is a dict like {{'text': ..., 'label': ...}}, not {type(item).__name__}",
                    )

        return _from_objects(items(), "the data", None, columns, bad_rows, notes, has_lines=False)
    raise DataError(
        f"cannot read a table from {type(source).__name__}; "
        "give a path, a DataFrame, a list of dicts or a dict of lists"
    )


def _plain_row(row: dict[str, Any]) -> dict[str, Any] | str:
    row = {name: plain(value) for name, value in row.items()}
    return next((r for v in row.values() if isinstance(v, str) and (r := not_text(v))), None) or row


_FOREIGN_FILES = (
    (b"PK\x03\x04", "a zip archive or an Excel workbook; save it as CSV (UTF-8), or unpack it"),
    (b"\x1f\x8b", "compressed with gzip; unpack it first"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook; save it as CSV (UTF-8)"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd; unpack it first"),
    (b"ARROW1", "an Arrow file; write it as Parquet"),
    (b"\x80\x04", "a pickle, which can run code; write the data as Parquet or CSV"),
    (b"\x80\x05", "a pickle, which can run code; write the data as Parquet or CSV"),
    (b"%PDF", "a PDF"),
    (b"\x89PNG", "an image"),
)


def file_kind(path: Path) -> str:
    """The format of a file, by its first bytes before its name."""
    with path.open("rb") as file:
        head = file.read(2**16)
    if not head:
        raise DataError(f"{path}: the file is empty")
    if head.startswith(b"PAR1"):
        return "parquet"
    for magic, what in _FOREIGN_FILES:
        if head.startswith(magic):
            raise DataError(f"{path} is {what}")
    suffix = path.suffix.lower()
    if suffix in (".parquet", ".pq"):
        raise DataError(f"{path}: not a Parquet file (it does not start with PAR1)")
    if suffix in (".jsonl", ".ndjson"):
        return "json lines"
    if suffix in (".json",):
        start = head.replace(b"\0", b"").lstrip(b"\xef\xbb\xbf\xff\xfe \t\r\n")[:1]
        return "json array" if start == b"[" else "json lines"
    return "delimited"


def _rows_within(path: Path, encoding: str | None) -> tuple[str, list[dict[str, Any]]] | None:
    """Name and rows of the only list of objects within a .json file's single object; None when it is not so."""
    if path.suffix.lower() != ".json" or path.stat().st_size > _LARGEST_SINGLE_OBJECT:
        return None
    try:
        value = parse_json(path.read_text(encoding or sniff_encoding(path).name))
    except ValueError:
        return None
    lists = [(k, v) for k, v in value.items() if isinstance(v, list)] if isinstance(value, dict) else []
    if len(lists) == 1 and lists[0][1] and all(isinstance(row, dict) for row in lists[0][1]):
        return lists[0]
    return None


def read_table(
    source: Any,
    columns: Sequence[str] | None = None,
    *,
    header: bool | None = None,
    encoding: str | None = None,
    delimiter: str | None = None,
    bad_rows: BadRows = "raise",
    max_bytes: int = 4 * 2**30,
) -> Table:
    """Read rows from a file or from memory without changing a value.

    Args:
        source: a path (.csv .tsv .txt .jsonl .json .parquet; the content decides where the name does not), a
            DataFrame, a list of dicts, a dict of columns, or anything with `to_pandas()`.
        columns: the columns that must be there; only these are kept. None keeps all.
        header: whether the first row of CSV or TSV names the columns; None guesses and says so.
        encoding, delimiter: of CSV, TSV and JSON; None guesses (UTF-8, UTF-16, cp949, latin-1 last) and says so.
        bad_rows: "raise" stops with the lines of the rows that cannot be read; "report" leaves them out and lists
            them in `refused`.
        max_bytes: bytes a Parquet file's values may take in memory.

    Returns:
        the table; `rows_read == len(frame) + len(refused)`.

    Raises:
        DataError: the file is missing, of another kind, damaged or too large, or a column or row is wrong.
    """
    if bad_rows not in ("raise", "report"):
        raise DataError(f"bad_rows is 'raise' or 'report', not {bad_rows!r}")
    if isinstance(columns, str):
        columns = [columns]
    notes: list[str] = []
    if not isinstance(source, (str, os.PathLike)):
        return _from_memory(source, columns, bad_rows, notes)
    path = Path(source)
    try:
        if path.is_dir():
            files = ", ".join(sorted(f.name for f in path.iterdir() if f.is_file())[:10])
            raise DataError(f"{path} is a folder; name one of its files: {files or 'it has none'}")
        if not path.exists():
            raise DataError(f"{path}: no such file")
        if not path.is_file():
            raise DataError(f"{path} is not a regular file")
        kind = file_kind(path)
        if kind == "parquet":
            return _from_parquet(path, columns, bad_rows, notes, max_bytes)
        if kind.startswith("json"):
            return _from_json(path, columns, bad_rows, notes, encoding, array=kind == "json array")
        return _from_delimited(path, columns, bad_rows, notes, encoding, delimiter, header)
    except (OSError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path}: cannot be read: {error}") from error
