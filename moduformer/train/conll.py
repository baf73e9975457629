"""Sentences in columns, a token a line: as in CoNLL's shared tasks, in CoNLL-U, and in files of tab-separated tags.

A blank line ends a sentence (Tjong Kim Sang and De Meulder 2003). Lines of `-DOCSTART-` and comments are left out; a
line that begins with # is a comment where it has other columns than the tokens around it.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from moduformer.errors import DataError
from moduformer.train.encodings import not_text, numbered_lines, sniff_encoding
from moduformer.train.tables import Refused

_SAMPLE = 2000
_MOST_LISTED = 20


@dataclass(frozen=True)
class Columns:
    """Sentences of a file in columns.

    Attributes:
        sentences: the tokens and tags of each.
        lines: the line each begins on.
        word, tag: the columns they came from, from 0.
        width: how many columns there are.
        read: how many sentences the file has.
        refused: those that are not used, and why.
        notes: what was guessed.
    """

    sentences: list[tuple[list[str], list[str]]]
    lines: list[int]
    word: int
    tag: int
    width: int
    read: int
    refused: list[Refused]
    notes: list[str]


def read_columns(path: Path, word: int | None = None, tag: int | None = None) -> Columns:
    """Reads a file in columns.

    Args:
        path: the file; UTF-8, UTF-16 and cp949 are recognised.
        word, tag: the columns of tokens and of tags, from 0, negative ones from the right; None: the first column and
            the last, or those of CoNLL-U.

    Raises:
        DataError: there are not two columns, there is no such column, or a line is too long.
    """
    notes: list[str] = []
    sniffed = sniff_encoding(path)
    if sniffed.note:
        notes.append(sniffed.note)
    sample = [
        cells for _, cells in islice(_lines(path, sniffed.name), _SAMPLE) if cells and not cells[0].startswith("#")
    ]
    width = Counter(map(len, sample)).most_common(1)[0][0] if sample else 0
    if width < 2:
        raise DataError(
            f"{path}: expected a token and its tag on each line, apart by a tab or a space, and a blank line between "
            f"sentences; most lines have {width} columns"
        )
    numbered = width > 2 and sum(cells[0].split("-")[0].split(".")[0].isdigit() for cells in sample) > len(sample) * 0.9
    universal = numbered and width == 10
    word = _column(path, (1 if numbered else 0) if word is None else word, width)
    tag = _column(path, (3 if universal else width - 1) if tag is None else tag, width)
    if width > 2:
        notes.append(f"of {width} columns, tokens are in column {word} and tags in column {tag} (counted from 0)")
    sentences: list[tuple[list[str], list[str]]] = []
    lines: list[int] = []
    refused: list[Refused] = []
    read = 0
    for first, rows in _blocks(path, sniffed.name, width):
        read += 1
        kept = [cells for _, cells in rows if not (universal and not cells[0].isdigit())]
        odd = next(((number, cells) for number, cells in rows if len(cells) != width), None)
        unreadable = next((reason for _, cells in rows for cell in cells if (reason := not_text(cell))), None)
        if odd is not None:
            number, cells = odd
            refused.append(Refused(read, first, f"line {number} has {len(cells)} columns where others have {width}"))
        elif unreadable is not None:
            refused.append(Refused(read, first, unreadable))
        elif kept:
            sentences.append(([cells[word] for cells in kept], [cells[tag] for cells in kept]))
            lines.append(first)
        else:
            read -= 1
    return Columns(sentences, lines, word, tag, width, read, refused, notes)


def _lines(path: Path, encoding: str) -> Iterator[tuple[int, list[str]]]:
    """Number and cells of each line; no cells where it is blank."""
    for number, line in numbered_lines(path, encoding):
        text = line.rstrip("\r\n").removeprefix("\ufeff") if number == 1 else line.rstrip("\r\n")
        # A token may itself be a space, so only a tab decides.
        yield number, text.split("\t") if "\t" in text else text.split()


def _blocks(path: Path, encoding: str, width: int) -> Iterator[tuple[int, list[tuple[int, list[str]]]]]:
    """The lines of each sentence, and the number of its first."""
    block: list[tuple[int, list[str]]] = []
    for number, cells in _lines(path, encoding):
        if not cells or not any(cells):
            if block:
                yield block[0][0], block
            block = []
        elif cells[0].startswith("-DOCSTART-") or _is_comment(cells, width):
            continue
        else:
            block.append((number, cells))
    if block:
        yield block[0][0], block


def _is_comment(cells: list[str], width: int) -> bool:
    return cells[0].startswith("#") and (len(cells) != width or " " in cells[-1].strip())


def _column(path: Path, wanted: int, width: int) -> int:
    column = wanted + width if wanted < 0 else wanted
    if not 0 <= column < width:
        raise DataError(f"{path} has {width} columns, so there is no column {wanted}; columns count from 0")
    return column
