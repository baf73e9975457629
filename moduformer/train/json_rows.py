"""JSON lines and JSON arrays as rows: strict, bounded in depth and size, every fault with its line.

What RFC 8259 leaves open and what silently changes data is refused: NaN, duplicate keys, numbers out of range.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from moduformer.errors import DataError
from moduformer.train.encodings import LONGEST_LINE, not_text, numbered_lines

DEEPEST = 64
_LONGEST_INTEGER = 64

Row = tuple[int, dict[str, Any] | str]
"""The line a row starts on, and its object or the reason it cannot be read."""

_STRUCTURE = re.compile(r'[\\"\[\]{}]')
_SKIP_STRINGS = re.compile(r'"(?:[^"\\]|\\.)*"?|[^"\[\]{}]+', re.DOTALL)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number; use null for a missing value")


def _bounded_integer(digits: str) -> int:
    if len(digits) > _LONGEST_INTEGER:
        raise ValueError(f"an integer of {len(digits):,} digits; write it as a string")
    return int(digits)


def _finite_float(digits: str) -> float:
    if len(digits) > 4096 or (value := float(digits)) in (float("inf"), float("-inf")):
        raise ValueError(f"the number {digits[:20]}... is out of range")
    return value


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise ValueError(f"the key {key!r} appears twice in one object")
            seen.add(key)
    return found


_DECODER = json.JSONDecoder(
    object_pairs_hook=_unique_keys,
    parse_int=_bounded_integer,
    parse_float=_finite_float,
    parse_constant=_refuse_constant,
)


def _depth(text: str) -> int:
    """The deepest nesting of brackets outside strings."""
    if text.count("[") + text.count("{") <= DEEPEST:
        return 0
    depth = deepest = 0
    for bracket in _SKIP_STRINGS.sub("", text):
        depth += 1 if bracket in "[{" else -1
        deepest = max(deepest, depth)
    return deepest


def _all_strings_are_text(value: Any) -> str | None:
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, str):
            if reason := not_text(item):
                return reason
        elif isinstance(item, dict):
            stack.extend(item.keys())
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)
    return None


def parse_json(text: str) -> Any:
    """One JSON value, strictly.

    Raises:
        ValueError: what is wrong: nesting beyond 64 levels, NaN or infinity, duplicate keys, an integer of more than
            64 digits, bytes that are no text, or broken syntax.
    """
    if reason := not_text(text):
        raise ValueError(reason)
    if _depth(text) > DEEPEST:
        raise ValueError(f"nested more than {DEEPEST} levels deep")
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        cut = error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated")
        raise ValueError(f"broken JSON: {error.msg}" + ("; the row is cut short" if cut else "")) from None
    except RecursionError:
        raise ValueError("nested too deep") from None
    # Only an escape can bring a NUL or half a surrogate pair into text that has none.
    if "\\u" in text and (reason := _all_strings_are_text(value)):
        raise ValueError(reason)
    return value


def _row(text: str) -> dict[str, Any] | str:
    try:
        value = parse_json(text)
    except ValueError as error:
        return str(error)
    if not isinstance(value, dict):
        return f'a row is an object like {{"text": ..., "label": ...}}, not {type(value).__name__}'
    return value


def read_json_lines(path: Path, encoding: str) -> Iterator[Row]:
    """The rows of a JSON lines file (jsonlines.org), one object a line; blank lines are skipped.

    Raises:
        DataError: a line longer than 4 Mi characters.
    """
    for number, line in numbered_lines(path, encoding):
        text = line.strip()
        if text:
            yield number, _row(text)


def read_json_array(path: Path, encoding: str) -> Iterator[Row]:
    """The rows of a JSON array of objects, read one element at a time, so that memory stays with one row.

    Raises:
        DataError: the file is no array, an element is longer than 4 Mi characters or nested too deep, text follows
            the array, or the file is cut short.
    """
    depth, in_string = 0, False
    start_line, size = 1, 0
    pieces: list[str] = []
    closed, separator = False, ""

    def fail(line: int, reason: str) -> DataError:
        return DataError(f"{path}, line {line}: {reason}")

    skip_next, skip_at = False, 0
    for number, line in numbered_lines(path, encoding):
        begin = 0
        for match in _STRUCTURE.finditer(line):
            mark, at = match.group(), match.start()
            if skip_next:
                skip_next = False
                if at == skip_at:
                    continue
            if in_string:
                if mark == "\\":
                    skip_next, skip_at = True, at + 1
                elif mark == '"':
                    in_string = False
                continue
            if mark == '"':
                in_string = True
            elif mark in "[{":
                depth += 1
                if depth == 1:
                    if mark != "[" or closed or line[:at].strip() or pieces:
                        raise fail(number, "expected one array of objects: [{...}, ...]")
                    begin, start_line, pieces, size = at + 1, number, [], 0
                elif depth == 2:
                    between = "".join(pieces) + line[begin:at]
                    if between.strip() != separator:
                        raise fail(number, f"expected {separator + ' {'!r}, found {between.strip()[:40] + mark!r}")
                    separator = ","
                    begin, start_line, pieces, size = at, number, [], 0
            elif mark in "]}":
                depth -= 1
                if depth == 1:
                    yield start_line, _row("".join(pieces) + line[begin : at + 1])
                    begin, pieces, size = at + 1, [], 0
                elif depth == 0:
                    between = "".join(pieces) + line[begin:at]
                    if mark != "]" or between.strip():
                        raise fail(number, f"expected ] after the last object, found {between.strip()[:40]!r}")
                    closed, begin, pieces, size = True, at + 1, [], 0
                elif depth < 0:
                    raise fail(number, f"{mark} closes nothing")
        skip_next = False
        rest = line[begin:]
        size += len(rest)
        if size > LONGEST_LINE:
            raise fail(start_line, f"one row is longer than {LONGEST_LINE:,} characters")
        if rest.strip():
            if closed:
                raise fail(number, "text follows the end of the array")
            pieces.append(rest)
        elif pieces:
            pieces.append(rest)
    if not closed:
        raise fail(start_line, "the array is cut short: the file ends inside it")
