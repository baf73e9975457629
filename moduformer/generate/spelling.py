"""How a tokenizer's tokens are spelled in bytes, so that a text can be judged token by token as it is written."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from moduformer.errors import TextError

if TYPE_CHECKING:
    from moduformer.text.tokenizer import Tokenizer

_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_SPACE = "\N{LOWER ONE EIGHTH BLOCK}"


@dataclass(frozen=True)
class Spelling:
    """The bytes of every token by its id; None for tokens of control, which are no text.

    `strips` says that decoding takes a space away from the beginning of a text, as SentencePiece's does.
    """

    words: dict[int, bytes | None]
    strips: bool

    @property
    def control(self) -> frozenset[int]:
        """Ids of tokens that are no text."""
        return frozenset(number for number, word in self.words.items() if word is None)

    def of(self, width: int) -> list[bytes | None]:
        """The bytes of the tokens from 0 to `width`; None for ids that no token has, too."""
        return [self.words.get(number) for number in range(width)]


_KNOWN: WeakKeyDictionary[Tokenizer, Spelling] = WeakKeyDictionary()


def spelling(tokenizer: Tokenizer) -> Spelling:
    """The spelling of a byte-level BPE's or a SentencePiece model's tokens.

    Raises `TextError` for tokenizers that join tokens by rules instead of spelling them out (WordPiece and its kin).
    """
    if tokenizer in _KNOWN:
        return _KNOWN[tokenizer]
    raw = tokenizer.to_tokenizers()
    decoder = json.loads(raw.to_str()).get("decoder")
    kinds = {step["type"]: step for step in _steps(decoder)}
    added = raw.get_added_tokens_decoder()
    control = {number for number, token in added.items() if token.special or token.content in tokenizer.control_tokens}
    control |= {raw.token_to_id(text) for text in tokenizer.special_tokens.values()}  # type: ignore[misc]
    by_byte = "ByteLevel" in kinds
    metaspace = kinds.get("Metaspace")
    replaced = kinds.get("Replace", {}).get("content") == " "
    if not by_byte and metaspace is None and not replaced:
        kind = type(raw.model).__name__
        raise TextError(
            f"a text can be bound to a form with byte-level BPE and SentencePiece tokenizers, but this one ({kind}) "
            "joins its tokens by rules of its own"
        )
    if getattr(raw.model, "end_of_word_suffix", None):
        raise TextError("a text cannot be bound to a form with a tokenizer that marks the ends of words")
    space = (metaspace or {}).get("replacement", _SPACE)
    letters = {letter: byte for byte, letter in byte_letters()} if by_byte else {}
    words: dict[int, bytes | None] = {}
    for token, number in raw.get_vocab(with_added_tokens=True).items():
        piece = _BYTE.fullmatch(token) if "ByteFallback" in kinds else None
        if number in control:
            words[number] = None
        elif number in added:
            words[number] = token.encode()
        elif piece is not None:
            words[number] = bytes([int(piece[1], 16)])
        elif by_byte and all(letter in letters for letter in token):
            words[number] = bytes(letters[letter] for letter in token)
        else:
            words[number] = token.replace(space, " ").encode() if not by_byte else token.encode()
    strips = _strips(tokenizer, space) if not by_byte else False
    _KNOWN[tokenizer] = found = Spelling(words, strips)
    return found


def byte_letters() -> Iterator[tuple[int, str]]:
    """The letter by which byte-level BPE writes each byte: itself where it is visible, else one from 256 on."""
    visible = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    yield from ((byte, chr(byte)) for byte in visible)
    hidden = [byte for byte in range(256) if byte not in visible]
    yield from ((byte, chr(256 + place)) for place, byte in enumerate(hidden))


def _steps(decoder: dict[str, Any] | None) -> list[dict[str, Any]]:
    if decoder is None:
        return []
    if decoder["type"] != "Sequence":
        return [decoder]
    return [step for inner in decoder["decoders"] for step in _steps(inner)]


def _strips(tokenizer: Tokenizer, space: str) -> bool:
    vocabulary = tokenizer.to_tokenizers().get_vocab()
    number = next((number for token, number in vocabulary.items() if token.startswith(space) and len(token) > 1), None)
    return number is not None and not tokenizer.decode([number]).startswith(" ")
