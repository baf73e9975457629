"""What a picture shows, for those who do not see it: its heading, and the words that its code draws."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from moduformer.course.words import Words

_PARTS = {"title": Words("제목", "title"), "x": Words("가로축", "x axis"), "y": Words("세로축", "y axis")}
_PARTS |= {"label": Words("범례", "legend")}
_KEYWORDS = {"title": "title", "suptitle": "title", "xlabel": "x", "ylabel": "y", "label": "label"}
_CALLS = {"title": "title", "suptitle": "title", "set_title": "title"}
_CALLS |= {"xlabel": "x", "set_xlabel": "x", "ylabel": "y", "set_ylabel": "y"}
_FIGURE = Words("그림", "Figure")


def alt_text(code: str, heading: str, language: str, number: int = 1, count: int = 1) -> str:
    """The alternative text of a picture.

    Arguments:
        code: of the cell that draws it.
        heading: that the cell stands below.
        language: "ko" or "en".
        number, count: which of the cell's pictures it is.
    """
    found: dict[str, list[str]] = {}
    for part, words in drawn_words(code):
        if words not in found.setdefault(part, []):
            found[part].append(words)
    parts = [f"{_PARTS[part].in_language(language)}: {', '.join(found[part])}" for part in _PARTS if part in found]
    which = f" {number}/{count}" if count > 1 else ""
    said = f"{_FIGURE.in_language(language)}{which}: {heading}"
    return f"{said} — {'; '.join(parts)}" if parts else said


def drawn_words(code: str) -> Iterator[tuple[str, str]]:
    """Titles, axes and legends that code gives to its pictures: which part, and its words; what is computed is "…"."""
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError):  # a cell with a line for the notebook's program
        return
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        given = [(_KEYWORDS.get(each.arg or ""), each.value) for each in node.keywords]
        if isinstance(node.func, ast.Attribute) and node.args:
            given.append((_CALLS.get(node.func.attr), node.args[0]))
        for part, value in given:
            words = _words(value) if part else ""
            if part and words.strip(" …:"):
                yield part, words


def _words(value: ast.expr) -> str:
    if isinstance(value, ast.Constant) and isinstance(value.value, str):
        text = value.value
    elif isinstance(value, ast.JoinedStr):
        text = "".join(str(each.value) if isinstance(each, ast.Constant) else "…" for each in value.values)
    else:
        return ""
    return " ".join(text.split())
