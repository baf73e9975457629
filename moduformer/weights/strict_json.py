"""JSON out of an untrusted file: one object, every key once, nothing Python adds to the standard."""

import json
from typing import Any


def parse_object(text: bytes) -> dict[str, Any]:
    """Parse a JSON object.

    Args:
        text: UTF-8 bytes; their length must already be bounded.

    Raises:
        ValueError: not UTF-8, not JSON, not an object, nested too deeply, or a key is given twice.
    """
    try:
        value = json.loads(text.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_refuse)
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 at byte {error.start}") from error
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {key[:100]!a} is given twice")
        if not key.isascii():
            # "\ud800" is a string in JSON, but no text: printing or saving it would fail much later.
            key.encode("utf-8")
        found[key] = value
    return found


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is not JSON")
