"""SVG made from escaped pieces: elements, text in one or more languages, and the width that text takes."""

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from markupsafe import Markup, escape

from moduformer.report.wording import LANGUAGES, Phrase, clean, in_language

Attribute = str | float | None


@dataclass(frozen=True)
class Drawing:
    """A picture of `width` x `height` user units; `natural` ones keep their size and scroll instead of shrinking."""

    width: float
    height: float
    body: Markup
    natural: bool = False

    def inline(self, labelled_by: str) -> Markup:
        """An `svg` element for a page, read aloud as the element whose id is given."""
        # The style sheet lets a fluid picture shrink with the page, never grow until its text shouts.
        scale = 1.0 if self.natural else 1.28
        return element(
            "svg",
            {
                "class": "natural" if self.natural else "fluid",
                "width": self.width * scale,
                "height": self.height * scale,
                "viewBox": f"0 0 {_number(self.width)} {_number(self.height)}",
                "role": "img",
                "aria-labelledby": labelled_by,
            },
            self.body,
        )

    def standalone(self, title: str, style: str) -> str:
        """A whole SVG file; it loads nothing, and follows the reader's light or dark theme.

        Args:
            title: what a screen reader says.
            style: the style sheet of the charts, written by this program.
        """
        return str(
            element(
                "svg",
                {
                    "xmlns": "http://www.w3.org/2000/svg",
                    "width": self.width,
                    "height": self.height,
                    "viewBox": f"0 0 {_number(self.width)} {_number(self.height)}",
                    "role": "img",
                },
                element("title", {}, clean(title)),
                Markup("<style>") + Markup(style) + Markup("</style>"),
                element("rect", {"class": "ground", "width": self.width, "height": self.height, "rx": 8}),
                self.body,
            )
        )


def element(name: str, attributes: Mapping[str, Attribute], *children: str) -> Markup:
    """One element. Names come from this program; values and text are escaped unless they are Markup already."""
    written = "".join(
        f' {key}="{escape(clean(value)) if isinstance(value, str) else _number(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    inside = "".join(child if isinstance(child, Markup) else escape(clean(child)) for child in children)
    return Markup(f"<{name}{written}>{inside}</{name}>")


def group(children: Sequence[Markup], **attributes: Attribute) -> Markup:
    """Elements in one `g`."""
    return element("g", attributes, *children)


def line(x1: float, y1: float, x2: float, y2: float, style: str) -> Markup:
    """A straight line."""
    return element("line", {"class": style, "x1": x1, "y1": y1, "x2": x2, "y2": y2})


def path(points: Sequence[tuple[float, float]], style: str, close: bool = False) -> Markup:
    """A line through points, or the area inside them."""
    corners = " ".join(f"{_number(x)},{_number(y)}" for x, y in points)
    return element("path", {"class": style, "d": f"M{corners}{'Z' if close else ''}"})


def rectangle(x: float, y: float, width: float, height: float, style: str, **more: Attribute) -> Markup:
    """A rectangle, with no `hint` children."""
    return element("rect", {"class": style, "x": x, "y": y, "width": width, "height": height, **more})


def hinted(hint: str, *children: Markup) -> Markup:
    """Elements that show a hint under the pointer."""
    return element("g", {}, element("title", {}, hint), *children)


def write(
    x: float,
    y: float,
    text: Phrase,
    languages: Sequence[str] = LANGUAGES,
    style: str = "",
    anchor: str = "start",
    turn: float = 0,
    room: float | None = None,
    font: float = 12,
) -> Markup:
    """A text; where it differs by language and more than one is asked for, each is its own element of that class.

    Args:
        x, y: where its baseline starts, ends or has its middle, as `anchor` says.
        text: what to write.
        languages: the languages to write.
        style: classes of the style sheet.
        anchor: start, middle or end.
        turn: degrees clockwise around (x, y).
        room: the width in user units that it may take; what does not fit is cut and hinted in full.
        font: the font size that the style gives, for measuring.
    """
    versions = {language: in_language(text, language) for language in languages}
    alike = len(set(versions.values())) == 1
    made = Markup("")
    for language, version in versions.items():
        version = " ".join(version.split())
        shown = version if room is None else shorten(version, room, font)
        name = style if alike or len(versions) == 1 else f"{style} {language}".strip()
        children = [Markup(escape(shown))]
        if shown != version:
            children.append(element("title", {}, version))
        made += element(
            "text",
            {
                "class": name or None,
                "x": x,
                "y": y,
                "text-anchor": None if anchor == "start" else anchor,
                "transform": f"rotate({_number(turn)} {_number(x)} {_number(y)})" if turn else None,
            },
            *children,
        )
        if alike:
            break
    return made


def text_width(text: str, font: float = 12) -> float:
    """About how wide a text is in user units, a little too wide rather than too narrow."""
    return sum(_character_width(character) for character in text) * font


def shorten(text: str, room: float, font: float = 12) -> str:
    """The longest beginning of a text that fits, ended by an ellipsis where something was cut."""
    if len(text) * font <= room or text_width(text, font) <= room:
        return text
    widths = accumulate(_character_width(character) * font for character in text)
    fits = sum(1 for width in widths if width <= room - font)
    return text[: max(fits, 1)].rstrip() + "…"


def widest(texts: Sequence[Phrase], font: float = 12) -> float:
    """The width of the widest of some texts in any language; 0 for none."""
    return max((text_width(clean(v), font) for t in texts for v in _versions(t)), default=0.0)


def _versions(text: Phrase) -> list[str]:
    return [text] if isinstance(text, str) else list(text.values())


def _character_width(character: str) -> float:
    if unicodedata.east_asian_width(character) in "WF":
        return 1.0
    if unicodedata.combining(character):
        return 0.0
    if character in "iljI.,:;'|!()[] ft":
        return 0.34
    if character.isupper() or character in "mwMW@%&":
        return 0.76
    return 0.58


def _number(value: float) -> str:
    shown = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if shown == "-0" else shown
