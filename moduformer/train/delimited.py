"""CSV and TSV with line numbers: every cell stays the string it is, and every bad row is named.

The format is RFC 4180: a cell that starts with a quote ends at the next single quote, two quotes inside it are one.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from moduformer.errors import DataError
from moduformer.train.encodings import LONGEST_LINE, known_encoding, not_text, numbered_lines, sniff_encoding

DELIMITERS = {",": "comma", "\t": "tab", ";": "semicolon", "|": "vertical bar"}
_SAMPLE = 200
MOST_COLUMNS = 4096

Record = tuple[int, list[str] | str]
"""The line a record starts on, and its cells or the reason it cannot be read."""


class _UnclosedQuote(Exception):
    def __init__(self, line: int) -> None:
        super().__init__(line)
        self.line = line


def _quoted_record(first: int, text: str, delimiter: str, lines: Iterator[tuple[int, str]]) -> list[str] | str:
    cells: list[str] = []
    position = 0
    size = len(text)
    while True:
        if text.startswith('"', position):
            parts = []
            position += 1
            while True:
                quote = text.find('"', position)
                if quote < 0:
                    parts.append(text[position:])
                    number, text = next(lines, (0, ""))
                    size += len(text)
                    if not number or size > LONGEST_LINE:
                        raise _UnclosedQuote(first)
                    position = 0
                elif text.startswith('"', quote + 1):
                    parts.append(text[position : quote + 1])
                    position = quote + 2
                else:
                    parts.append(text[position:quote])
                    position = quote + 1
                    break
            cells.append("".join(parts))
            if text[position:].rstrip("\r\n") == "":
                return cells
            if not text.startswith(delimiter, position):
                return f"text follows the closing quote of cell {len(cells)}; double the quotes inside a cell"
            position += len(delimiter)
        else:
            end = text.find(delimiter, position)
            if end < 0:
                cells.append(text[position:].rstrip("\r\n"))
                return cells
            cells.append(text[position:end])
            position = end + len(delimiter)


def records(lines: Iterator[tuple[int, str]], delimiter: str, quotes: bool = True) -> Iterator[Record]:
    """Cut numbered lines into records; blank lines between records are skipped.

    Raises:
        _UnclosedQuote: a quote is open at the end of the file or for more than `LONGEST_LINE` characters.
    """
    for number, line in lines:
        if not quotes or '"' not in line:
            content = line.rstrip("\r\n")
            if content:
                yield number, not_text(content) or content.split(delimiter)
            continue
        cells = _quoted_record(number, line, delimiter, lines)
        if isinstance(cells, list):
            bad = next((reason for cell in cells if (reason := not_text(cell))), None)
            yield number, bad or cells
        else:
            yield number, cells


def _sniff_delimiter(sample: list[tuple[int, str]], prefer_tab: bool) -> str:
    """The candidate of the header line that cuts the most sample rows into as many cells as the header has."""
    best, best_score = ("\t" if prefer_tab else ","), 0.0
    for delimiter in sorted(DELIMITERS, key=lambda d: (d != best, list(DELIMITERS).index(d))):
        widths: list[int] = []
        try:
            for _, cells in records(iter(sample), delimiter):
                widths.append(len(cells) if isinstance(cells, list) else 0)
        except _UnclosedQuote:
            pass
        if widths and widths[0] > 1:
            score = Counter(widths)[widths[0]] / len(widths)
            if score > best_score:
                best, best_score = delimiter, score
    return best


def _looks_like_data(first: list[str], sample: list[list[str]], known: frozenset[str]) -> bool:
    """A first row with no known column name, of which a cell comes again below or is empty, long or a number."""
    if any(cell.strip().casefold() in known for cell in first):
        return False
    repeated = any(cell and any(row[i : i + 1] == [cell] for row in sample) for i, cell in enumerate(first))
    return repeated or any(len(cell) > 64 or cell.strip().lstrip("-").isdecimal() for cell in first)


def _column_names(header: list[str], path: Path, notes: list[str]) -> list[str]:
    names = [cell.strip() for cell in header]
    if names != header:
        notes.append("spaces around column names were removed")
    if len(names) > MOST_COLUMNS:
        raise DataError(f"{path}: {len(names):,} columns; at most {MOST_COLUMNS:,} are read")
    for i, name in enumerate(names):
        if not name:
            names[i] = f"column_{i + 1}"
            notes.append(f"column {i + 1} has no name in the header; it is called {names[i]!r}")
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise DataError(f"{path}, line 1: the column name {twice[0]!r} is used more than once; rename one of them")
    return names


def read_delimited(
    path: Path,
    *,
    encoding: str | None,
    delimiter: str | None,
    header: bool | None,
    known_names: Iterable[str],
    notes: list[str],
) -> tuple[list[str], Iterator[Record]]:
    """Open a CSV or TSV file.

    Args:
        path: the file.
        encoding, delimiter, header: None to guess; what was guessed is added to `notes`.
        known_names: column names (lower case) that make the first row a header.
        notes: sentences about what was guessed; appended to.

    Returns:
        the column names and the data records, each with the line it starts on; a record with more or fewer cells
        than the header has comes as the reason it was refused.

    Raises:
        DataError: an empty file, an unclosed quote, a cell too long, column names used twice.
    """
    if encoding is None:
        sniffed = sniff_encoding(path)
        encoding = sniffed.name
        if sniffed.note:
            notes.append(sniffed.note)
        elif encoding not in ("utf-8", "utf-8-sig"):
            notes.append(f"encoding {encoding}, by its byte order mark")
    else:
        known_encoding(encoding)
    sample = list(islice(numbered_lines(path, encoding), _SAMPLE))
    if not any(line.strip() for _, line in sample):
        raise DataError(f"{path}: the file is empty")
    if delimiter is None:
        delimiter = _sniff_delimiter(sample, prefer_tab=path.suffix.lower() in (".tsv", ".tab"))
        if delimiter != ",":
            notes.append(f"columns are separated by {DELIMITERS[delimiter]}")
    elif len(delimiter) != 1 or delimiter in '"\r\n':
        raise DataError(f"a delimiter is one character other than a quote or line break, not {delimiter!r}")

    quotes = True
    # Many published TSV files are not quoted at all and have stray quotes in their texts.
    broken = _quoting_fault(path, encoding, delimiter) if delimiter == "\t" else None
    if broken and _quoting_fault(path, encoding, delimiter, quotes=False) is None:
        quotes = False
        notes.append(f"quotes are read as plain characters (line {broken} does not quote as CSV does)")

    def guarded() -> Iterator[Record]:
        try:
            yield from records(numbered_lines(path, encoding), delimiter, quotes)
        except _UnclosedQuote as error:
            raise DataError(
                f"{path}, line {error.line}: a quote is opened and not closed (to the end of the file, or "
                f"for {LONGEST_LINE:,} characters); close it, or double the quotes inside the text"
            ) from None

    rows = guarded()
    line, first = next(rows, (1, "the file has no rows"))
    if isinstance(first, str):
        raise DataError(f"{path}, line {line}: {first}")
    if header is None:
        following = [cells for _, cells in _lenient(sample, delimiter, quotes) if isinstance(cells, list)]
        header = not _looks_like_data(first, following[1:], frozenset(known_names))
        if not header:
            notes.append("the first row looks like data, so the columns are called column_1, column_2, ...")
    if header:
        names = _column_names(first, path, notes)
        return names, _of_width(rows, len(names))
    names = [f"column_{i + 1}" for i in range(len(first))]
    return names, _of_width(_again(first, line, rows), len(names))


def _lenient(sample: list[tuple[int, str]], delimiter: str, quotes: bool) -> Iterator[Record]:
    try:
        yield from records(iter(sample), delimiter, quotes)
    except _UnclosedQuote:
        return


def _again(first: list[str], line: int, rows: Iterator[Record]) -> Iterator[Record]:
    yield line, first
    yield from rows


def _of_width(rows: Iterator[Record], width: int) -> Iterator[Record]:
    for line, cells in rows:
        if isinstance(cells, list) and len(cells) != width:
            yield (
                line,
                f"{len(cells)} cells where the header has {width}; quote a text that contains the delimiter",
            )
        else:
            yield line, cells


def _quoting_fault(path: Path, encoding: str, delimiter: str, quotes: bool = True) -> int | None:
    """The first line whose record does not fit the header's width; None when all fit."""
    width = 0
    try:
        for line, cells in records(numbered_lines(path, encoding), delimiter, quotes):
            if isinstance(cells, str) and cells.startswith(("it contains", "byte")):
                continue
            width = width or len(cells)
            if isinstance(cells, str) or len(cells) != width:
                return line
    except _UnclosedQuote as error:
        return error.line
    return None
