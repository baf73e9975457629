"""A report of any task as one document, written as a model card in Markdown and as a page that needs nothing else.

Names, labels and texts come from strangers: in Markdown every character that could act becomes a reference, and the
page runs no script and loads nothing.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from importlib.resources import files
from typing import Any, Literal

from moduformer.report.card import fenced, front_matter, markdown
from moduformer.report.wording import clean

MarkKind = Literal["right", "missed", "wrong"]


@dataclass(frozen=True)
class Table:
    """Rows under names of columns; `caption` says what they are."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""


@dataclass(frozen=True)
class Code:
    """Lines of a program."""

    text: str
    language: str = "python"


@dataclass(frozen=True)
class Mark:
    """Characters `start` to `end - 1` of a text, what they were taken for, and whether that was right."""

    start: int
    end: int
    label: str
    kind: MarkKind


@dataclass(frozen=True)
class MarkedText:
    """A text with marks that do not overlap; `where` says where it comes from."""

    text: str
    marks: Sequence[Mark]
    where: str = ""


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it: paragraphs, tables, code, marked texts (which only the page shows)."""

    title: str
    parts: Sequence[str | Table | Code | MarkedText]


@dataclass(frozen=True)
class Document:
    """A title, a paragraph that says what this is, sections, and the header of a model card as plain data."""

    title: str
    lead: str
    sections: Sequence[Section]
    header: Mapping[str, Any] = field(default_factory=dict)


def as_markdown(document: Document) -> str:
    """The document as a model card; equal documents give equal cards."""
    lines = [f"# {markdown(document.title)}", markdown(document.lead)]
    for section in document.sections:
        parts = [made for part in section.parts if (made := _markdown_part(part))]
        if parts:
            lines += [f"## {markdown(section.title)}", *parts]
    return front_matter(document.header) + "\n\n".join(lines) + "\n"


def as_html(document: Document) -> str:
    """The document as a page; equal documents give equal pages."""
    style = files("moduformer.report").joinpath("document.css").read_text(encoding="utf-8").replace("\r\n", "\n")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    body = [f"<h1>{_html(document.title)}</h1>", f"<p>{_html(document.lead)}</p>"]
    for section in document.sections:
        body += [f"<h2>{_html(section.title)}</h2>", *(_html_part(part) for part in section.parts)]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'sha256-{digest}'; "
        "base-uri 'none'; form-action 'none'\">\n"
        f"<title>{_html(document.title)}</title>\n<style>{style}</style>\n</head>\n<body>\n"
        + "\n".join(body)
        + "\n</body>\n</html>\n"
    )


def _markdown_part(part: str | Table | Code | MarkedText) -> str:
    if isinstance(part, str):
        return markdown(part)
    if isinstance(part, Code):
        return fenced(part.text, part.language)
    if isinstance(part, MarkedText):
        return ""
    lines = [f"**{markdown(part.caption)}**\n"] if part.caption else []
    lines.append("| " + " | ".join(markdown(name) for name in part.columns) + " |")
    lines.append("| " + " | ".join([":--", *["--:"] * (len(part.columns) - 1)]) + " |")
    lines += ["| " + " | ".join(markdown(cell) for cell in row) + " |" for row in part.rows]
    return "\n".join(lines)


def _html_part(part: str | Table | Code | MarkedText) -> str:
    if isinstance(part, str):
        return f"<p>{_html(part)}</p>"
    if isinstance(part, Code):
        return f"<pre><code>{_html(part.text)}</code></pre>"
    if isinstance(part, MarkedText):
        where = f"<small>{_html(part.where)}</small>" if part.where else ""
        return f'<div class="marked">{where}{_marked(part)}</div>'
    caption = f"<caption>{_html(part.caption)}</caption>" if part.caption else ""
    head = "".join(f'<th scope="col">{_html(name)}</th>' for name in part.columns)
    rows = "\n".join("<tr>" + "".join(f"<td>{_html(cell)}</td>" for cell in row) + "</tr>" for row in part.rows)
    return f'<div class="wide"><table>{caption}<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody></table></div>'


def _marked(part: MarkedText) -> str:
    made, at = [], 0
    for mark in sorted(part.marks, key=lambda mark: (mark.start, mark.end)):
        if mark.start < at:
            continue
        made.append(_html(part.text[at : mark.start]))
        inside = f"{_html(part.text[mark.start : mark.end])}<b>{_html(mark.label)}</b>"
        made.append(f'<mark class="{mark.kind}">{inside}</mark>')
        at = mark.end
    return "".join(made) + _html(part.text[at:])


def _html(text: object) -> str:
    return escape(clean(text))
