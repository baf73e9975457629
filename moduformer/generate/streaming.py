"""Text as it is written: whole characters only, and nothing of a stop string."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Protocol

_BYTE = re.compile(r"<0x[0-9A-Fa-f]{2}>")
_BROKEN = "\N{REPLACEMENT CHARACTER}"


class Decoder(Protocol):
    """The part of a tokenizer that a stream needs."""

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        """The text of token ids."""
        ...

    def id_to_token(self, number: int) -> str | None:
        """The token of an id."""
        ...


class TextStream:
    """The text of one row, token by token.

    Arguments:
        tokenizer: decodes the tokens.
        stops: the text ends before the first of these to be complete.
        emit: called with every piece of text as soon as it is certain; the pieces together are `text`.

    A character whose bytes are still coming is held back, and so is what may be the beginning of a stop string. After
    `finish` the text is exactly `tokenizer.decode` of all tokens, cut at the first stop string.
    """

    def __init__(
        self, tokenizer: Decoder, stops: Sequence[str] = (), emit: Callable[[str], object] | None = None
    ) -> None:
        self._tokenizer, self._stops, self._emit = tokenizer, tuple(stops), emit
        self._ids: list[int] = []
        # Tokens from `_anchor` on are decoded again; those before `_done` are there as context, whose text is known.
        self._anchor = self._done = 0
        self._known = ""
        self._certain = ""
        self._sent = 0
        self.stop: str | None = None
        self.finished = False

    @property
    def text(self) -> str:
        """What has been emitted."""
        return self._certain[: self._sent]

    def push(self, token: int) -> bool:
        """Takes the next token; returns whether the text ends here, at a stop string."""
        if self.finished:
            return True
        if not self._silent(token):
            self._ids.append(token)
            self._certain += self._fresh()
        return self._look()

    def finish(self) -> str:
        """There are no more tokens: emits what was held back. Returns the whole text."""
        if not self.finished:
            whole = self._tokenizer.decode(self._ids)
            # What has been emitted cannot be taken back, and only a broken decoder would want to.
            self._certain += whole[len(self._certain) :]
            if not self._look():
                self._send(len(self._certain))
            self.finished = True
        return self.text

    def _silent(self, token: int) -> bool:
        """Whether decoding passes over this id: a special token, or none at all (embeddings are often rounded up)."""
        if self._tokenizer.id_to_token(token) is None:
            return True
        return not self._tokenizer.decode([token]) and bool(self._tokenizer.decode([token], skip_special_tokens=False))

    def _fresh(self) -> str:
        """Text that the latest token made certain."""
        if _BYTE.fullmatch(self._tokenizer.id_to_token(self._ids[-1]) or ""):
            # A run of single bytes is decoded as a whole: until it ends, one wrong byte could still spoil all of it.
            return ""
        both = self._tokenizer.decode(self._ids[self._anchor :])
        settled = both.removesuffix(_BROKEN)
        if not settled.startswith(self._known):
            return ""
        fresh = settled[len(self._known) :]
        self._known = settled
        if settled == both:
            self._anchor, self._done = self._done, len(self._ids)
            self._known = self._tokenizer.decode(self._ids[self._anchor :])
        return fresh

    def _look(self) -> bool:
        """Looks for stop strings in what is not sent yet, and sends what cannot be part of one."""
        found = [(self._certain.find(stop, self._sent), stop) for stop in self._stops]
        # The one that is complete first, so that it does not matter how the text is cut into tokens.
        hits = sorted((place + len(stop), place, stop) for place, stop in found if place >= 0)
        if hits:
            _, place, self.stop = hits[0]
            self._send(place)
            self.finished = True
            return True
        held = max((_overlap(self._certain[self._sent :], stop) for stop in self._stops), default=0)
        self._send(len(self._certain) - held)
        return False

    def _send(self, until: int) -> None:
        piece, self._sent = self._certain[self._sent : until], until
        if piece and self._emit is not None:
            self._emit(piece)


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that begins `stop`."""
    return next((n for n in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:n])), 0)
