"""Right answers of extractive question answering: what was annotated, and where in its context it stands."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from moduformer.train.json_rows import parse_json

NEAR = 3
"""Characters that an offset may be off where the answer stands several times: a blank or quote that was stripped."""

_SHOWN = 60


@dataclass(frozen=True)
class GoldAnswer:
    """A right answer: its text, and where it begins in the context; `start` is None where it was not located."""

    text: str
    start: int | None = None

    @property
    def end(self) -> int | None:
        """One past its last character."""
        return None if self.start is None else self.start + len(self.text)


@dataclass(frozen=True)
class Located:
    """What became of an answer: `answer` where it is in the context, `repair` what had to be changed for that.

    Without an answer, `reason` says why there is none.
    """

    answer: GoldAnswer | None = None
    repair: str = ""
    reason: str = ""


def locate(context: str, text: str, start: int | None) -> Located:
    """Finds an answer in its context.

    Arguments:
        context: the text that is answered from.
        text: the answer as it was annotated.
        start: the character it begins at, as annotated; None where that was not said.

    Returns:
        the answer at its offset; else, if there is exactly one place it can mean, at that place.
    """
    shown = repr(text[:_SHOWN])
    if not text.strip():
        return Located(reason="an answer is empty")
    if start is not None and start >= 0 and context.startswith(text, start):
        return Located(GoldAnswer(text, start))
    said = "no offset" if start is None else f"the offset {start}, where {context[max(start, 0) :][: len(text)]!r} is"
    for kind, place in () if start is None else _other_counts(context, start):
        if context.startswith(text, place):
            return Located(
                GoldAnswer(text, place), f"{shown} has {said}; it counts {kind}, and is {place} in characters"
            )
    places = _places(re.escape(text), context, 0)
    if not places:
        places = _loose_places(text, context)
    if not places:
        return Located(reason=f"the answer {shown} is not in the context")
    if len(places) > 1 and start is not None:
        near = [place for place in places if abs(place[0] - start) <= NEAR]
        places = near if len(near) == 1 else places
    if len(places) > 1:
        return Located(reason=f"the answer {shown} has {said}, and stands {len(places)} times in the context")
    first, last = places[0]
    found = GoldAnswer(context[first:last], first)
    return Located(
        found, f"{shown} has {said}; it stands at {first}" + ("" if found.text == text else f" as {found.text!r}")
    )


def answers_of(value: Any, starts: Any = None) -> list[tuple[str, int | None]] | str:
    """Texts and offsets of what a file holds as answers; or as a string why they cannot be read.

    Arguments:
        value: a text; a list of texts; `{"text": [...], "answer_start": [...]}`; a list of `{"text", "answer_start"}`;
            any of these as JSON; None or nothing for a question without an answer.
        starts: the offsets where they stand apart.
    """
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        try:
            return answers_of(parse_json(value), starts)
        except ValueError:
            pass
    if value is None or value == "":
        return []
    if isinstance(value, Mapping):
        if "text" not in value:
            return f"the answers have the keys {', '.join(map(str, value))}; text is missing"
        return answers_of(value["text"], value.get("answer_start", starts))
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value)
    if isinstance(value, str):
        start = _number(starts[0] if isinstance(starts, list | tuple) and len(starts) == 1 else starts)
        return start if isinstance(start, str) else [(value, start)]
    if not isinstance(value, list | tuple):
        return f"the answers are a {type(value).__name__}"
    if starts is not None and (not isinstance(starts, list | tuple) or len(starts) != len(value)):
        return f"there are {len(value)} answers but not as many offsets"
    found: list[tuple[str, int | None]] = []
    for i, entry in enumerate(value):
        one = (
            answers_of(entry, None if starts is None else starts[i])
            if not isinstance(entry, list | tuple)
            else "a list"
        )
        if isinstance(one, str):
            return one if one != "a list" else "the answers are lists within lists"
        if not one:
            return "an answer is empty"
        found += one
    return found


def _number(start: Any) -> int | str | None:
    if start is None or start == "":
        return None
    if isinstance(start, float) and start.is_integer():
        start = int(start)
    if isinstance(start, str) and re.fullmatch(r"\s*\d{1,15}(\.0)?\s*", start):
        start = int(float(start))
    if isinstance(start, bool) or not isinstance(start, int):
        return f"the offset {str(start)[:20]!r} is no whole number"
    return start if abs(start) < 2**53 else f"the offset {start} is no place in a text"


def _other_counts(context: str, start: int) -> list[tuple[str, int]]:
    """The character that an offset means which counts bytes of UTF-8, or UTF-16's units as JavaScript does."""
    if start < 0 or context.isascii():
        return []
    counts = []
    for kind, encoding, size in (("bytes", "utf-8", 1), ("UTF-16 units", "utf-16-le", 2)):
        before = context.encode(encoding, "surrogatepass")[: start * size]
        counts.append((kind, len(before.decode(encoding, "ignore"))))
    return counts


def _places(pattern: str, context: str, flags: int) -> list[tuple[int, int]]:
    """Every match, overlapping ones too."""
    return [match.span(1) for match in re.finditer(f"(?=({pattern}))", context, flags)]


def _loose_places(text: str, context: str) -> list[tuple[int, int]]:
    """Where the answer stands but for white space, letter case, or how its letters are composed."""
    for form in (text, unicodedata.normalize("NFC", text), unicodedata.normalize("NFD", text)):
        words = r"\s+".join(map(re.escape, form.split()))
        for flags in (0, re.IGNORECASE):
            if places := _places(words, context, flags):
                return places
    return []
