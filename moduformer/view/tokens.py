"""Tokens as people read them: characters of the text, never bytes of a character, with the words they belong to."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from moduformer.generate.streaming import TextStream

if TYPE_CHECKING:
    from moduformer.text.tokenizer import Encoding, Tokenizer

_WORD = re.compile(r"\w+(?:['’]\w+)*|[^\w\s]")
_BLANK = frozenset("▁ĠĊĉ \t\r\n")
"""What vocabularies write for white space."""

_BROKEN = "\N{REPLACEMENT CHARACTER}"
_BYTE = re.compile(r"<0x[0-9A-Fa-f]{2}>")
_PLAIN = (*range(33, 127), *range(161, 173), *range(174, 256))
_LETTERS = {chr(number): number for number in _PLAIN}
_LETTERS |= {chr(256 + i): number for i, number in enumerate(n for n in range(256) if n not in _PLAIN)}
"""Which byte each letter of a byte-level vocabulary is."""

_SEEN = {" ": "␣", "\n": "⏎", "\t": "⇥", "▁": "␣", "Ġ": "␣", "Ċ": "⏎", "ĉ": "⇥"}


@dataclass(frozen=True)
class Token:
    """One token: characters `start` to `end` of the text, the number of its word, and what stands for it on a page.

    `part` is `(k, n)` for the k-th of n tokens that together are one character.
    """

    text: str
    start: int
    end: int
    word: int = 0
    special: bool = False
    part: tuple[int, int] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        data: dict[str, Any] = {"text": self.text, "start": self.start, "end": self.end, "word": self.word}
        data["special"] = self.special
        return data if self.part is None else data | {"part": list(self.part)}


@dataclass(frozen=True)
class Reading:
    """A text and its tokens; `separators` says which of them end a part of the text ([SEP], end of text)."""

    text: str
    tokens: tuple[Token, ...]
    ids: tuple[int, ...] = ()
    separators: tuple[bool, ...] = ()
    grid: tuple[int, int] | None = None
    picture: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        data: dict[str, Any] = {"text": self.text, "tokens": [token.to_dict() for token in self.tokens]}
        return data if self.grid is None else data | {"grid": list(self.grid), "picture": self.picture}

    def __len__(self) -> int:
        return len(self.tokens)


def of_encoding(tokenizer: Tokenizer, encoding: Encoding, text: str, pair: str | None = None) -> Reading:
    """The tokens of an encoded text; a second text stands on a line of its own."""
    whole = text if pair is None else f"{text}\n{pair}"
    shift = {0: 0, 1: len(text) + 1, None: 0}
    spans = []
    for (start, end), special, of, name in zip(
        encoding.offsets, encoding.special_tokens_mask, encoding.sequence_ids, encoding.tokens
    ):
        known = bool(special) or name in tokenizer.control_tokens
        spans.append(_Span(start + shift[of], end + shift[of], known, name))
    return _reading(tokenizer, whole, spans, encoding.ids)


def of_ids(tokenizer: Tokenizer, ids: Sequence[int], before: Reading | None = None) -> Reading:
    """The tokens of ids that a model wrote, after those of a text that was given."""
    stream, known = TextStream(tokenizer), 0
    offset = 0 if before is None else len(before.text)
    spans: list[_Span] = []
    waiting: list[int] = []
    for number in ids:
        name = tokenizer.id_to_token(number) or f"[{number}]"
        if name in tokenizer.control_tokens or tokenizer.id_to_token(number) is None:
            spans.append(_Span(0, 0, True, name))
            continue
        waiting.append(len(spans))
        spans.append(_Span(0, 0, False, name))
        stream.push(number)
        if len(stream.text) > known:
            # What comes after bytes that are no character has them emitted with it, but is a token by itself.
            own = tokenizer.decode([number])
            whole = len(stream.text) - len(own)
            if len(waiting) > 1 and known < whole and _BROKEN not in own and stream.text.endswith(own):
                _settle(spans, waiting[:-1], offset + known, offset + whole)
                known = whole
                del waiting[:-1]
            _settle(spans, waiting, offset + known, offset + len(stream.text))
            waiting.clear()
            known = len(stream.text)
    written = stream.finish()
    _settle(spans, waiting, offset + known, offset + len(written))
    text, tokens, seen = written, list(ids), []
    if before is not None:
        text, tokens = before.text + written, [*before.ids, *ids]
        seen = [
            _Span(token.start, token.end, token.special, tokenizer.id_to_token(number) or token.text)
            for token, number in zip(before.tokens, before.ids)
        ]
    return _reading(tokenizer, text, [*seen, *spans], tokens)


@dataclass(frozen=True)
class _Span:
    start: int
    end: int
    special: bool
    name: str

    @property
    def blank(self) -> bool:
        return not self.special and bool(self.name) and set(self.name) <= _BLANK


def _settle(spans: list[_Span], waiting: list[int], start: int, end: int) -> None:
    """Tokens whose characters are complete now all have them; several share what only together is a character."""
    for place in waiting:
        spans[place] = replace(spans[place], start=start, end=end)


def _reading(tokenizer: Tokenizer, text: str, spans: Sequence[_Span], ids: Sequence[int]) -> Reading:
    words = list(_WORD.finditer(text))
    firsts = [word.start() for word in words]
    tokens: list[Token] = []
    word, before, place = -1, None, 0
    for group in _groups(spans):
        # A special token stands where the text before it ended.
        start, end = min(span.start for span in group), max(span.end for span in group)
        if group[0].special:
            start = end = place
        elif group[0].blank and text[start:end].strip():
            end = start  # the space that a vocabulary puts before a first word, counted as the word's first character
        start, end = _trimmed(text, start, end)
        place = max(place, end)
        shown = _shown(group, text[start:end])
        number = bisect_right(firsts, start) - 1
        inside = number >= 0 and start < words[number].end() and end > start and not group[0].special
        key = number if inside else None
        if key is None or key != before:
            word += 1
        before = key
        for i, _ in enumerate(group):
            part = (i + 1, len(group)) if len(group) > 1 else None
            tokens.append(Token(shown, start, end, word, group[0].special, part))
    tokens = _with_their_words(tokens)
    # In some vocabularies one token begins a text and ends it; the one that begins it separates nothing.
    ends = {tokenizer.sep_id, tokenizer.eos_id} - {None}
    separators = tuple(number in ends and place > 0 for place, number in enumerate(ids))
    return Reading(text, tuple(tokens), tuple(ids), separators)


def _with_their_words(tokens: Sequence[Token]) -> list[Token]:
    """A lone space belongs to the word that it begins; the words are numbered without gaps again."""
    joined = list(tokens)
    for place in range(len(joined) - 2, -1, -1):
        token, after = joined[place], joined[place + 1]
        if token.text == "␣" and token.part is None and not token.special and not after.special:
            joined[place] = replace(token, word=after.word)
    numbers = {word: number for number, word in enumerate(dict.fromkeys(token.word for token in joined))}
    return [replace(token, word=numbers[token.word]) for token in joined]


def _groups(spans: Sequence[_Span]) -> list[list[_Span]]:
    """Neighbours that share a character are one group; every other token is a group of its own."""
    groups: list[list[_Span]] = []
    end = 0
    for span in spans:
        alone = span.special or span.blank or span.end <= span.start
        if groups and not alone and span.start < end and not _alone(groups[-1][0]):
            groups[-1].append(span)
        else:
            groups.append([span])
        end = max(end, span.end) if not span.special and not span.blank else end
    return groups


def _alone(span: _Span) -> bool:
    return span.special or span.blank or span.end <= span.start


def _trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    """Without the white space that many tokenizers count with a token, where there is anything else."""
    piece = text[start:end]
    if not piece.strip():
        return start, end
    return start + len(piece) - len(piece.lstrip()), end - len(piece) + len(piece.rstrip())


def _shown(group: Sequence[_Span], piece: str) -> str:
    if group[0].special:
        return visible(group[0].name)
    if piece and not set(piece) - {_BROKEN}:
        return spelled([span.name for span in group])
    return visible(piece or group[0].name)


def spelled(names: Sequence[str]) -> str:
    """Tokens that are no characters, as their bytes: "⟨ec 95⟩"."""
    return "⟨" + " ".join(f"{byte:02x}" for name in names for byte in _bytes_of(name)) + "⟩"


def _bytes_of(name: str) -> bytes:
    """The bytes of a token: of a byte-level one (Radford et al. 2019, section 2.2), of one like "<0xEC>", or UTF-8."""
    if _BYTE.fullmatch(name):
        return bytes([int(name[3:5], 16)])
    return bytes(_LETTERS[sign] for sign in name) if set(name) <= set(_LETTERS) else name.encode()


def visible(text: str) -> str:
    """White space alone, and controls anywhere, as signs that can be seen."""
    if not text.strip() or not set(text) - set(_SEEN):
        return "".join(_SEEN.get(character, "␣") for character in text)
    return "".join(chr(0x2400 + ord(c)) if ord(c) < 32 else "␡" if ord(c) == 127 else c for c in text)
