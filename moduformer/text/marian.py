"""Marian's tokenizer as OPUS-MT publishes it: one SentencePiece model to read with, one to write with, joint ids.

`vocab.json` numbers the pieces of both models. The source's pieces are chosen by their scores; the target's stand in
the vocabulary so that they can be decoded, with scores so low that no text is read as them.
"""

from __future__ import annotations

from typing import Any

from ..errors import TextError
from .patterns import MAX_PATTERN
from .screening import parse_json
from .sentencepiece_file import NORMAL, SPACE, USER_DEFINED, SentencePieceModel, template

_NOWHERE = "\ue000"
"""A character that no piece holds, so that it is read as unknown."""

_FAR = 1000.0
_OUTER_SPACE = {"type": "Replace", "pattern": {"Regex": "^ +| +$"}, "content": ""}


def marian_tokenizer(
    vocabulary: bytes, source: SentencePieceModel, settings: dict[str, Any], where: str
) -> dict[str, Any]:
    """Write Marian's files as the content of a `tokenizer.json`.

    Arguments:
        vocabulary: the bytes of `vocab.json`, piece to id.
        source: the parsed `source.spm`.
        settings: `tokenizer_config.json`.
        where: the folder, for messages.

    Raises:
        TextError: two vocabularies, ids with gaps, or no unknown token.
    """
    if settings.get("separate_vocabs"):
        raise TextError(f"{where}: source and target have vocabularies of their own, which one tokenizer cannot hold.")
    ids = parse_json(vocabulary, f"{where}/vocab.json")
    if not isinstance(ids, dict) or sorted(ids.values(), key=repr) != sorted(range(len(ids)), key=repr):
        raise TextError(f"{where}/vocab.json: not an object of pieces and ids from 0 without gaps.")
    unk, eos, pad = (_named(settings, role, usual) for role, usual in _USUAL.items())
    for token in (unk, eos):
        if token not in ids:
            raise TextError(f"{where}/vocab.json: the token {token!r} is missing.")
    scores = {piece.text: piece.score for piece in source.pieces if piece.kind in (NORMAL, USER_DEFINED)}
    far = min(scores.values(), default=0.0) - _FAR
    listed = sorted(ids, key=ids.__getitem__)
    special = [token for token in (eos, unk, pad) if token in ids]
    codes = [token for token in listed if token.startswith(">>") and token.endswith("<<")]
    normalizers: list[dict[str, Any]] = []
    if source.charsmap:
        import base64

        normalizers.append({"type": "Precompiled", "precompiled_charsmap": base64.b64encode(source.charsmap).decode()})
    known = _outside({character for piece in scores for character in piece if piece in ids})
    if known is not None:
        normalizers.append({"type": "Replace", "pattern": {"Regex": known}, "content": _NOWHERE})
    normalizers += [
        {"type": "Strip", "strip_left": True, "strip_right": True},
        {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "},
    ]
    metaspace = {"type": "Metaspace", "replacement": SPACE, "prepend_scheme": "always", "split": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": sorted(
            (_added(token, ids[token], token in special) for token in dict.fromkeys([*special, *codes])),
            key=lambda entry: entry["id"],
        ),
        "normalizer": {"type": "Sequence", "normalizers": normalizers},
        "pre_tokenizer": metaspace,
        "post_processor": template(f"$A:0 {eos}:0", f"$A:0 $B:0 {eos}:0", ids),
        # What is read as unknown leaves no text behind, and no space at either end.
        "decoder": {"type": "Sequence", "decoders": [metaspace, {"type": "Fuse"}, _OUTER_SPACE]},
        "model": {
            "type": "Unigram",
            "unk_id": ids[unk],
            "vocab": [[piece, scores.get(piece, far)] for piece in listed],
            "byte_fallback": False,
        },
    }


_USUAL = {"unk": "<unk>", "eos": "</s>", "pad": "<pad>"}


def _named(settings: dict[str, Any], role: str, usual: str) -> str:
    value = settings.get(f"{role}_token")
    value = value.get("content") if isinstance(value, dict) else value
    return value if isinstance(value, str) and value else usual


def _added(content: str, number: int, special: bool) -> dict[str, Any]:
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": special}
    return {"id": number, "content": content, **flags}


def _outside(characters: set[str]) -> str | None:
    """A pattern of every character but these; None where it would be longer than a pattern may be."""
    codes = sorted(map(ord, characters | {" ", SPACE}))
    ranges: list[tuple[int, int]] = []
    for code in codes:
        if ranges and ranges[-1][1] == code - 1:
            ranges[-1] = (ranges[-1][0], code)
        else:
            ranges.append((code, code))
    inside = "".join(_literal(a) if a == b else f"{_literal(a)}-{_literal(b)}" for a, b in ranges)
    pattern = f"[^{inside}]+"
    return pattern if len(pattern) <= MAX_PATTERN else None


def _literal(code: int) -> str:
    character = chr(code)
    return character if character.isalnum() or code > 127 else f"\\x{code:02x}"
