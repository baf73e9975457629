"""A long text as passages that a model can read one after another: cut at paragraphs or sentences, nothing left out."""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from moduformer.errors import PipelineError

# The end of a sentence: a mark, what closes behind it, and space; or a full-width mark, which needs no space.
_SENTENCE_ENDS = re.compile(r"[.!?…]+[\"'”’)\]»]*\s+|[。！？]+[」』”’）]*\s*")
_PARAGRAPH_ENDS = re.compile(r"\n\s*\n\s*")
_LINE_ENDS = re.compile(r"\n+")
_SPACES = re.compile(r"\s+")
# Before a mark these mostly stand inside a sentence; cutting there would cost a model its context, never a letter.
_ABBREVIATION = re.compile(r"(?:\b(?:Mr|Mrs|Ms|Dr|Prof|St|Jr|Sr|vs|etc|e\.g|i\.e|cf|Fig|No|Vol|pp?)|\b[A-Z])\.\s+$")


@dataclass(frozen=True)
class Passage:
    """A part `text[start:end]` of a text, and the space that stood between it and the part before it."""

    start: int
    end: int
    before: str = ""


def passages(text: str, limit: int, length: Callable[[str], int]) -> list[Passage]:
    """A text in passages of at most `limit` tokens each, as long as they can be.

    Arguments:
        length: tokens of a piece of text, without a frame.

    A passage ends with a paragraph where it can, else with a sentence, else (a sentence longer than `limit`) with a
    word, else anywhere between two characters as readers see them. What lies between two passages is space, so that
    all of the text is in one of them. Raises `PipelineError` for a limit below 1, or a character longer than it.
    """
    if limit < 1:
        raise PipelineError(f"there is no room for the text: a window has {limit} tokens; ask for fewer new tokens")
    first, last = _stripped(text, 0, len(text))
    if length(text[first:last]) <= limit:
        return [Passage(first, last)]
    spans = _packed(text, first, last, limit, length, [_paragraphs, _sentences, _words, _characters])
    joined = [Passage(*spans[0])]
    for (_, end), (start, stop) in pairwise(spans):
        joined.append(Passage(start, stop, text[end:start]))
    return joined


def join(parts: Sequence[str], between: Sequence[str]) -> str:
    """Texts made of passages as one text: a line break where one stood, else a space, but none where none is written.

    Arguments:
        between: the space that stood before every passage, the first one's ignored.
    """
    whole = ""
    for part, space in zip(parts, between):
        part = part.strip()
        if not part:
            continue
        if not whole:
            whole = part
            continue
        lines = space.count("\n")
        # Chinese and Japanese set no space between sentences.
        glue = "\n" * min(lines, 2) if lines else "" if _is_dense(whole[-1]) and _is_dense(part[0]) else " "
        whole += glue + part
    return whole


def _packed(
    text: str,
    start: int,
    end: int,
    limit: int,
    length: Callable[[str], int],
    ways: list[Callable[[str, int, int], list[int]]],
) -> list[tuple[int, int]]:
    """Spans of at most `limit` tokens, cut at the edges the first way gives; what is too long by the next."""
    edges = [*ways[0](text, start, end), end]
    made: list[tuple[int, int]] = []
    at = start
    while at < end:
        at, _ = _stripped(text, at, end)
        if at >= end:
            break
        first = bisect_right(edges, at)
        # The number of edges that still fit, by doubling and halving: few pieces of text are ever tokenized.
        fits, step = first - 1, 1
        while fits + step < len(edges) and length(text[at : _stripped(text, at, edges[fits + step])[1]]) <= limit:
            fits += step
            step *= 2
        while step:
            if fits + step < len(edges) and length(text[at : _stripped(text, at, edges[fits + step])[1]]) <= limit:
                fits += step
            step //= 2
        if fits >= first:
            made.append(_stripped(text, at, edges[fits]))
            at = edges[fits]
            continue
        if len(ways) == 1:
            raise PipelineError(f"a window of {limit} tokens does not hold even one character; ask for a larger one")
        made += _packed(text, at, edges[first], limit, length, ways[1:])
        at = edges[first]
    return made


def _paragraphs(text: str, start: int, end: int) -> list[int]:
    found = [match.end() for match in _PARAGRAPH_ENDS.finditer(text, start, end)]
    # Where blank lines set paragraphs off, a single line break may only be the width of a page.
    return found or [match.end() for match in _LINE_ENDS.finditer(text, start, end)]


def _sentences(text: str, start: int, end: int) -> list[int]:
    return [
        match.end()
        for match in _SENTENCE_ENDS.finditer(text, start, end)
        if _ABBREVIATION.search(text, max(start, match.start() - 8), match.end()) is None
    ]


def _words(text: str, start: int, end: int) -> list[int]:
    return [match.end() for match in _SPACES.finditer(text, start, end)]


def _characters(text: str, start: int, end: int) -> list[int]:
    return [place for place in range(start + 1, end) if not _belongs(text, place)]


def _belongs(text: str, place: int) -> bool:
    """Whether a character is part of the one before it: a mark on it, a vowel or end of a syllable, a joined sign."""
    own, before = text[place], text[place - 1]
    if unicodedata.combining(own) or unicodedata.category(own) in ("Mn", "Me", "Mc") or own in "\u200d\ufe0e\ufe0f":
        return True
    # Hangul in separate letters: vowels and final consonants go on with a syllable.
    return "\u1160" <= own <= "\u11ff" or "\ud7b0" <= own <= "\ud7ff" or before == "\u200d"


def _stripped(text: str, start: int, end: int) -> tuple[int, int]:
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return start, end


def _is_dense(character: str) -> bool:
    return "\u3000" <= character <= "\u30ff" or "\u3400" <= character <= "\u9fff" or "\uff00" <= character <= "\uffef"
