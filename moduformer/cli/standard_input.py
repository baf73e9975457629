"""Text that comes through standard input; bytes that are none are refused with their line."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Iterator

_ESCAPED = re.compile("[\udc80-\udcff]")


def lines() -> Iterator[str]:
    """The lines of standard input as they come, line endings kept. Raises `DataError` where one is no text."""
    from moduformer.errors import DataError

    if isinstance(sys.stdin, io.TextIOWrapper):
        # What a locale makes of wrong bytes differs; here they come as lone surrogates everywhere.
        sys.stdin.reconfigure(errors="surrogateescape")
    number = 0
    while line := sys.stdin.readline():
        number += 1
        if wrong := _ESCAPED.search(line):
            raise DataError(
                f"standard input, line {number}: byte 0x{ord(wrong.group()) - 0xDC00:02x} is not "
                f"{sys.stdin.encoding}; convert the text to UTF-8 first, for instance with iconv -f cp949 -t utf-8"
            )
        yield line


def text() -> str:
    """The whole of standard input. Raises `DataError` where it is no text."""
    return "".join(lines())
