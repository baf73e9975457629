"""The family tree as a picture: who builds on whom, as SVG and as a page that shows more under the pointer."""

from __future__ import annotations

import json
from importlib.resources import files
from itertools import pairwise

from markupsafe import Markup

from moduformer.catalog.lineage import Lineage, Place
from moduformer.catalog.page import span
from moduformer.catalog.row import Link, Row, rows
from moduformer.catalog.words import term
from moduformer.report.drawing import Drawing, element, group, line, path, rectangle, text_width, write

_HEIGHT, _STEP, _GAP, _TOP, _LEFT = 34.0, 42.0, 34.0, 96.0, 24.0

_TITLE = {
    "en": "Who builds on whom: {n} language models, {first}–{last}",
    "ko": "누가 누구를 바탕으로 했나: 언어 모델 {n}개, {first}–{last}",
}
_HANGS = {
    "en": "Each hangs under the first model it builds on; “+” names the others.",
    "ko": "각 모델은 첫째 바탕 모델 아래에 달렸고, “+”는 나머지 바탕이다.",
}


def svg(language: str = "en") -> str:
    """The picture as a file that loads nothing and follows the reader's light or dark theme."""
    drawing = _draw(language)
    return drawing.standalone(_title(language), _file("tree.css"))


def html(language: str = "en") -> str:
    """The picture as one self-contained page: the pointer on a model shows its card and all it took and gave."""
    drawing = _draw(language)
    words = {name: _hover(place.row, language) for name, place in Lineage().places.items()}
    links = {row.id: {link.id: _taken(link, language) for link in row.builds_on} for row in rows().values()}
    data = json.dumps({"words": words, "links": links}, ensure_ascii=False).replace("<", "\\u003c")
    return (
        _file("tree.html")
        .replace("{{language}}", language)
        .replace("{{title}}", str(Markup.escape(_title(language))))
        .replace("{{style}}", _file("tree.css"))
        .replace("{{picture}}", str(drawing.inline("title")))
        .replace("{{script}}", _file("tree.js").replace("{{data}}", data))
    )


def _draw(language: str) -> Drawing:
    lineage = Lineage()
    places = lineage.places
    columns = sorted({place.column for place in places.values()})
    widths = {column: _width([place for place in places.values() if place.column == column]) for column in columns}
    at = {columns[0]: _LEFT}
    for before, after in pairwise(columns):
        at[after] = at[before] + widths[before] + _GAP
    width = at[columns[-1]] + widths[columns[-1]] + _LEFT
    height = _TOP + (max(place.line for place in places.values()) + 1) * _STEP + 12
    boxes = {
        name: _Box(at[place.column], _TOP + place.line * _STEP, widths[place.column]) for name, place in places.items()
    }
    drawn = [
        *_years(columns, at, widths, height),
        *(_edge(boxes[place.parent], boxes[name], place) for name, place in places.items() if place.parent),
        *(_node(boxes[name], place, language) for name, place in places.items()),
        *_legend(language, width),
    ]
    return Drawing(width, height, group(drawn, **{"class": "tree"}), natural=True)


class _Box:
    def __init__(self, x: float, y: float, width: float) -> None:
        self.x, self.y, self.width = x, y, width
        self.right, self.middle = x + width, y + _HEIGHT / 2


def _width(column: list[Place]) -> float:
    """As wide as its widest name; what else it builds on is cut to fit."""
    return max(92.0, *(1.12 * text_width(place.row.name, 12.5) + 20 for place in column))


def _years(columns: list[tuple[int, int]], at: dict, widths: dict, height: float) -> list[Markup]:
    drawn = []
    for number, year in enumerate(sorted({year for year, _ in columns})):
        own = [column for column in columns if column[0] == year]
        left, right = at[own[0]] - _GAP / 2, at[own[-1]] + widths[own[-1]] + _GAP / 2
        if number % 2 == 0:
            drawn.append(rectangle(left, _TOP - 30, right - left, height - _TOP + 30, "year"))
        drawn.append(write((left + right) / 2, _TOP - 12, str(year), ("en",), "when", "middle"))
    return drawn


def _edge(parent: _Box, child: _Box, place: Place) -> Markup:
    style = f"edge {_strongest(place.row.builds_on[0])} {place.stem}"
    if child.x < parent.x:  # described before the model it starts from was
        foot = parent.x + 14
        return path([(foot, parent.y + _HEIGHT), (foot, child.middle), (child.right, child.middle)], style)
    turn = parent.right + 12
    points = [(parent.right, parent.middle), (turn, parent.middle), (turn, child.middle), (child.x, child.middle)]
    return path(points if child.middle != parent.middle else [points[0], points[-1]], style)


def _strongest(link: Link) -> str:
    return next(name for name in ("weights", "architecture", *link.taken) if name in link.taken)


def _node(box: _Box, place: Place, language: str) -> Markup:
    row = place.row
    others = "+ " + ", ".join(rows()[link.id].name for link in row.builds_on[1:]) if row.builds_on[1:] else ""
    name_at = box.y + (14.5 if others else 21.5)
    return element(
        "g",
        {"class": f"node {row.access} {place.stem}", "data-id": row.id},
        element("title", {}, _hover(row, language)),
        rectangle(box.x, box.y, box.width, _HEIGHT, "box", rx=6),
        write(box.x + 10, name_at, row.name, ("en",), "name"),
        *(
            [write(box.x + 10, box.y + 27.5, others, ("en",), "others", room=box.width - 14, font=9.5)]
            if others
            else []
        ),
    )


def _legend(language: str, width: float) -> list[Markup]:
    drawn = [
        write(_LEFT, 26, _title(language), (language,), "heading"),
        write(_LEFT, 46, _HANGS[language], (language,), "small"),
    ]
    x = width - _LEFT
    for name in ("api-only", "recipe", "published-architecture", "open-weights"):
        label = term(name, language)
        x -= text_width(label, 11) + 34
        drawn.append(
            group(
                [rectangle(x, 13, 18, 13, "box", rx=3), write(x + 24, 24, label, (language,), "small")],
                **{"class": f"node {name}"},
            )
        )
    x = width - _LEFT
    for style, words in (
        ("idea", ("idea", "data", "tokenizer")),
        ("architecture", ("architecture",)),
        ("weights", ("weights",)),
    ):
        label = ", ".join(term(word, language) for word in words)
        x -= text_width(label, 11) + 44
        drawn += [line(x, 40, x + 28, 40, f"edge {style}"), write(x + 34, 44, label, (language,), "small")]
    return drawn


def _hover(row: Row, language: str) -> str:
    facts = [term(row.kind, language), term(row.access, language), span(row)]
    took = [f"← {rows()[link.id].name}: {_taken(link, language)}" for link in row.builds_on]
    return "\n".join(
        [
            f"{row.name} · {row.year} · {row.organisation}",
            row.summary.in_language(language),
            " · ".join(filter(None, facts)),
            *took,
        ]
    )


def _taken(link: Link, language: str) -> str:
    return ", ".join(term(word, language) for word in link.taken)


def _title(language: str) -> str:
    years = [row.year for row in rows().values()]
    return _TITLE[language].format(n=len(years), first=min(years), last=max(years))


def _file(name: str) -> str:
    return files("moduformer.catalog").joinpath(name).read_text(encoding="utf-8")
