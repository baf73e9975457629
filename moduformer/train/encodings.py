"""Which encoding a text file is in, and its lines with their numbers."""

import codecs
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from moduformer.errors import DataError

LONGEST_LINE = 4 * 2**20
"""Characters one line or one cell may have; a longer one is a damaged or hostile file, not a text to train on."""

_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_CHUNK = 2**18
_SURROGATE = re.compile("[\ud800-\udfff]")
_HANGUL_BEYOND_KS_X_1001 = re.compile(rb"[\x81-\xc6][\x41-\x5a\x61-\x7a\x81-\xa0]|[\x81-\xa0][\xa1-\xfe]")


@dataclass(frozen=True)
class Encoding:
    """The encoding of a file and, when it was guessed rather than marked, the sentence that says so."""

    name: str
    note: str | None = None


def not_text(piece: str) -> str | None:
    """Why a piece of a file cannot be text: a NUL or a byte outside its encoding; None when it is text."""
    if "\0" in piece:
        return "it contains a NUL character"
    if not piece.isascii() and (found := _SURROGATE.search(piece)):
        code = ord(found.group())
        if 0xDC80 <= code <= 0xDCFF:
            return f"byte 0x{code - 0xDC00:02x} is not valid in the file's encoding"
        return f"it contains half a surrogate pair (U+{code:04X}), which no encoding can store"
    return None


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk


def _decodes(path: Path, encoding: str) -> bool:
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        for chunk in _chunks(path):
            decoder.decode(chunk)
        decoder.decode(b"", True)
    except UnicodeDecodeError:
        return False
    return True


def _is_damaged_utf8(path: Path) -> bool:
    """Mostly valid multi-byte UTF-8: damage, not another encoding, where valid sequences are rare accidents."""
    good = bad = 0
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    for chunk in _chunks(path):
        text = decoder.decode(chunk)
        if not text.isascii():
            wrong = len(_SURROGATE.findall(text))
            bad += wrong
            good += sum(not character.isascii() for character in text) - wrong
    return good >= 4 * max(bad, 1)


def _is_plausible_cp949(path: Path) -> bool:
    """Decodes as cp949 and keeps mostly to the common syllables; Western text that decodes by accident does not."""
    if not _decodes(path, "cp949"):
        return False
    high = rare = 0
    for chunk in _chunks(path):
        high += len(chunk.translate(None, bytes(range(128))))
        rare += len(_HANGUL_BEYOND_KS_X_1001.findall(chunk))
    return rare * 8 <= high


def _has_control_range(path: Path) -> bool:
    return any(len(chunk.translate(None, bytes(range(0x80, 0xA0)))) < len(chunk) for chunk in _chunks(path))


def _utf16_without_mark(head: bytes) -> str | None:
    """UTF-16 by its NULs: its ASCII part has them on one side of the byte pairs; stray ones are few or on both."""
    pairs = len(head) // 2
    even, odd = head[0 : 2 * pairs : 2].count(0), head[1 : 2 * pairs : 2].count(0)
    if odd >= max(2, pairs // 50) and even * 4 <= odd:
        return "utf-16-le"
    if even >= max(2, pairs // 50) and odd * 4 <= even:
        return "utf-16-be"
    return None


def sniff_encoding(path: Path) -> Encoding:
    """The encoding of a text file: byte order mark, UTF-8, UTF-16 by its NULs, cp949, and a Western one last.

    Args:
        path: the file; it is read through once, in small pieces.

    Returns:
        the encoding's Python name and a note when it is a guess. A file that is mostly valid UTF-8 stays UTF-8, so
        that its damaged rows are named instead of the whole file being turned into other letters.
    """
    with path.open("rb") as file:
        head = file.read(2**16)
    for mark, name in _BYTE_ORDER_MARKS:
        if head.startswith(mark):
            return Encoding(name)
    if 0 in head and (wide := _utf16_without_mark(head)):
        return Encoding(wide, f"the file has no byte order mark; its NUL bytes say {wide}")
    if _decodes(path, "utf-8"):
        return Encoding("utf-8")
    if _is_damaged_utf8(path):
        return Encoding("utf-8", "the file is UTF-8 with damaged bytes")
    if _is_plausible_cp949(path):
        return Encoding("cp949", "the file is not UTF-8; read as cp949 (Korean Windows)")
    western = "cp1252" if _has_control_range(path) and _decodes(path, "cp1252") else "latin-1"
    return Encoding(
        western,
        f"the file is neither UTF-8 nor cp949; read as {western}, which takes almost any byte: check the texts",
    )


def known_encoding(name: str) -> str:
    """The name of a text encoding Python knows, or a DataError."""
    try:
        "".encode(name)
    except (LookupError, ValueError) as error:
        raise DataError(f"no text encoding is called {name!r}; try utf-8, utf-16, cp949 or latin-1") from error
    return name


def numbered_lines(path: Path, encoding: str) -> Iterator[tuple[int, str]]:
    r"""The lines of a file, numbered from 1, line ending kept; only \n, \r\n and \r end a line.

    Bytes outside the encoding come as lone surrogates (`not_text` names them), so that one bad row does not hide the
    others.

    Raises:
        DataError: a line longer than `LONGEST_LINE`, or bytes that end the decoding.
    """
    with path.open("rb") as raw, io.TextIOWrapper(raw, encoding, "surrogateescape", newline="") as file:
        number = 0
        while True:
            try:
                line = file.readline(LONGEST_LINE + 1)
            except UnicodeDecodeError as error:
                raise DataError(
                    f"{path}, near line {number + 1}: the bytes are not valid {encoding}: {error.reason}; "
                    "save the file as UTF-8 or name its encoding"
                ) from error
            if not line:
                return
            number += 1
            if len(line) > LONGEST_LINE:
                raise DataError(
                    f"{path}, line {number}: the line is longer than {LONGEST_LINE:,} characters; "
                    "is a line break or a closing quote missing?"
                )
            yield number, line
