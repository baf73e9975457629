"""Paired sources: one Markdown file a notebook, every text in Korean and in English, every piece of code once.

<!-- needs: minilm hutto-gilbert -->      what is fetched before the notebook runs; may be left out
<!-- ko -->                               a text cell: the Korean part,
<!-- en -->                               then the English part
```python                                 a code cell, the same in both notebooks
```python answer                          the answer of the exercise before it: folded away in the notebook, run when
                                          the notebook is built, and it must satisfy the check
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

LANGUAGES = ("ko", "en")
FOLDER = Path(__file__).resolve().parent
SOURCES = FOLDER / "source"

_NEEDS = re.compile(r"<!-- needs:(.*)-->")
_MARK = re.compile(r"<!-- (ko|en) -->")
_FENCE = re.compile(r"```python( answer)?")
_ANSWER = {"ko": "풀이", "en": "An answer"}


class SourceMistake(Exception):
    """A source that cannot be read; the message names file and line."""


@dataclass(frozen=True)
class Text:
    """A text cell in both languages; `line` is where it begins, counted from 1."""

    ko: str
    en: str
    line: int


@dataclass(frozen=True)
class Code:
    """A code cell; `answer` tells the answer of an exercise from what the reader sees."""

    code: str
    line: int
    answer: bool = False

    def folded(self, language: str) -> str:
        """An answer as the text cell that hides it until it is clicked."""
        summary = f"<summary>{_ANSWER[language]}</summary>"
        return f"<details>{summary}\n\n```python\n{self.code}\n```\n\n</details>"


@dataclass(frozen=True)
class Source:
    """A notebook in both languages."""

    name: str
    needs: tuple[str, ...]
    cells: tuple[Text | Code, ...]

    def notebook(self, language: str) -> Path:
        """Where the notebook in a language is written."""
        return (FOLDER if language == "ko" else FOLDER / language) / f"{self.name}.ipynb"

    def code(self) -> list[Code]:
        """What runs, in order."""
        return [cell for cell in self.cells if isinstance(cell, Code)]

    def headings(self, language: str) -> list[str]:
        """All headings, with their `#`."""
        texts = [getattr(cell, language) for cell in self.cells if isinstance(cell, Text)]
        return [line for text in texts for line in _outside_fences(text) if re.match(r"#+ ", line)]


def sources() -> list[Source]:
    """All sources in the order of their names."""
    return [read(path) for path in sorted(SOURCES.glob("*.md"))]


def find(wanted: str) -> list[Source]:
    """The sources whose name begins with `wanted`. Raises `SourceMistake` if there are none."""
    found = [source for source in sources() if source.name.startswith(wanted)]
    if not found:
        raise SourceMistake(f"no source in {SOURCES.name}/ begins with {wanted!r}")
    return found


def read(path: Path) -> Source:
    """A source from its file. Raises `SourceMistake`."""
    return parse(path.stem, path.read_text(encoding="utf-8"))


def parse(name: str, text: str) -> Source:
    """A source from its text. Raises `SourceMistake` for text outside any cell, or a cell in one language."""
    needs: tuple[str, ...] = ()
    cells: list[Text | Code] = []
    parts: dict[str, list[str]] = {}
    fence: list[str] | None = None
    begun, answer, language, inner = 0, False, "", False

    def end_text() -> None:
        if not parts:
            return
        texts = {key: "\n".join(lines).strip() for key, lines in parts.items()}
        if missing := [key for key in LANGUAGES if not texts.get(key)]:
            raise SourceMistake(f"{name}.md line {begun}: this text has no {missing[0]} part")
        cells.append(Text(texts["ko"], texts["en"], begun))
        parts.clear()

    for number, line in enumerate(text.splitlines(), start=1):
        if fence is not None:
            if line == "```":
                cells.append(Code("\n".join(fence).strip("\n"), begun, answer))
                fence = None
            else:
                fence.append(line)
        elif not inner and (opening := _FENCE.fullmatch(line)):
            end_text()
            fence, begun, answer, language = [], number, bool(opening.group(1)), ""
        elif not inner and (mark := _MARK.fullmatch(line)):
            language = mark.group(1)
            if language == "ko":
                end_text()
                begun = number
            elif list(parts) != ["ko"]:
                raise SourceMistake(f"{name}.md line {number}: an en part stands right after its ko part")
            parts[language] = []
        elif language:
            inner = inner ^ line.startswith("```")
            parts[language].append(line)
        elif found := _NEEDS.fullmatch(line):
            needs = tuple(found.group(1).split())
        elif line.strip():
            raise SourceMistake(f"{name}.md line {number}: {line[:40]!r} stands in no cell; begin it with <!-- ko -->")
    if fence is not None or inner:
        raise SourceMistake(f"{name}.md: a ``` that was opened is never closed")
    end_text()
    return Source(name, needs, tuple(cells))


def _outside_fences(text: str) -> list[str]:
    inside, kept = False, []
    for line in text.splitlines():
        inside = inside ^ line.startswith("```")
        if not inside:
            kept.append(line)
    return kept
