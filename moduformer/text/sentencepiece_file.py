"""Read a SentencePiece `.model` file and write it as the content of a `tokenizer.json`.

The file is a protocol buffer (`ModelProto` of github.com/google/sentencepiece, src/sentencepiece_model.proto). It is
read here with every length checked against the file first, because the reference reader takes memory before it looks
and its trie of normalisation rules can be made to read out of bounds; the rules run in the memory-safe `tokenizers`.
"""

import base64
import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ..errors import TextError
from .charsmap import screen_charsmap
from .screening import MAX_BYTES, MAX_PIECE

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
UNIGRAM, BPE = 1, 2
SPACE = "▁"


@dataclass(frozen=True)
class Piece:
    """One entry of the vocabulary: its text, its log probability (or merge order) and its kind."""

    text: str
    score: float = 0.0
    kind: int = NORMAL


@dataclass
class SentencePieceModel:
    """What a `.model` file holds, as far as encoding needs it."""

    pieces: list[Piece] = field(default_factory=list)
    kind: int = UNIGRAM
    byte_fallback: bool = False
    unk_id: int = 0
    bos_id: int = 1
    eos_id: int = 2
    pad_id: int = -1
    unk_piece: str = "<unk>"
    bos_piece: str = "<s>"
    eos_piece: str = "</s>"
    pad_piece: str = "<pad>"
    charsmap: bytes = b""
    add_dummy_prefix: bool = True
    remove_extra_whitespaces: bool = True


def read_model(content: bytes, where: str) -> SentencePieceModel:
    """Parse a SentencePiece model.

    Args:
        content: the bytes of the file.
        where: the file, for messages.

    Raises:
        TextError: the bytes are not such a model, or hold something no real model holds.
    """
    if len(content) > MAX_BYTES:
        raise TextError(f"{where}: {len(content):,} bytes, more than a SentencePiece model has.")
    model = SentencePieceModel()
    try:
        for number, value in _fields(memoryview(content)):
            if number == 1:
                model.pieces.append(_piece(_message(value)))
            elif number == 2:
                _trainer(model, _message(value))
            elif number == 3:
                _normalizer(model, _message(value))
    except (_Malformed, UnicodeDecodeError) as error:
        raise TextError(f"{where}: not a SentencePiece model ({error}); download the file again.") from None
    if not model.pieces:
        raise TextError(f"{where}: a SentencePiece model without pieces.")
    longest = max(len(piece.text) for piece in model.pieces)
    if longest > MAX_PIECE:
        raise TextError(f"{where}: a piece of {longest:,} characters; {MAX_PIECE:,} are allowed.")
    if model.kind not in (UNIGRAM, BPE):
        raise TextError(f"{where}: SentencePiece model type {model.kind}; only unigram (1) and BPE (2) are supported.")
    if not 0 <= model.unk_id < len(model.pieces):
        raise TextError(f"{where}: the unknown id {model.unk_id} is outside the {len(model.pieces)} pieces.")
    screen_charsmap(model.charsmap, where)
    return model


class _Malformed(Exception):
    pass


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise _Malformed("it ends inside a number")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, at
    raise _Malformed("a number of more than ten bytes")


def _fields(data: memoryview) -> Iterator[tuple[int, "int | memoryview"]]:
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        if number == 0:
            raise _Malformed("field number 0")
        if wire == 0:
            value, at = _varint(data, at)
            yield number, value
            continue
        if wire == 2:
            length, at = _varint(data, at)
        elif wire in (1, 5):
            length = 8 if wire == 1 else 4
        else:
            raise _Malformed(f"wire type {wire}")
        if length > len(data) - at:
            raise _Malformed(f"a field of {length} bytes where {len(data) - at} are left")
        yield number, data[at : at + length]
        at += length


def _message(value: "int | memoryview") -> memoryview:
    if isinstance(value, int):
        raise _Malformed("a number where a message belongs")
    return value


def _text(value: "int | memoryview") -> str:
    return bytes(_message(value)).decode("utf-8")


def _number(value: "int | memoryview") -> int:
    if not isinstance(value, int):
        raise _Malformed("bytes where a number belongs")
    return value - 2**64 if value >= 2**63 else value


def _piece(data: memoryview) -> Piece:
    text, score, kind = "", 0.0, NORMAL
    for number, value in _fields(data):
        if number == 1:
            text = _text(value)
        elif number == 2:
            packed = _message(value)
            if len(packed) != 4:
                raise _Malformed("a score that is not a 32-bit float")
            score = struct.unpack("<f", packed)[0]
            if not math.isfinite(score):
                raise _Malformed("a score that is not finite")
        elif number == 3:
            kind = _number(value)
    return Piece(text, score, kind)


def _trainer(model: SentencePieceModel, data: memoryview) -> None:
    numbers = {3: "kind", 40: "unk_id", 41: "bos_id", 42: "eos_id", 43: "pad_id"}
    texts = {45: "unk_piece", 46: "bos_piece", 47: "eos_piece", 48: "pad_piece"}
    for number, value in _fields(data):
        if number in numbers:
            setattr(model, numbers[number], _number(value))
        elif number in texts:
            setattr(model, texts[number], _text(value))
        elif number == 35:
            model.byte_fallback = bool(_number(value))


def _normalizer(model: SentencePieceModel, data: memoryview) -> None:
    for number, value in _fields(data):
        if number == 2:
            model.charsmap = bytes(_message(value))
        elif number == 3:
            model.add_dummy_prefix = bool(_number(value))
        elif number == 4:
            model.remove_extra_whitespaces = bool(_number(value))


def sentencepiece_tokenizer(model: SentencePieceModel, style: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Write a SentencePiece model as the content of a `tokenizer.json`.

    Args:
        model: the parsed file.
        style: one of `STYLES`: which family's special ids, normalisation and template to add.
        settings: `tokenizer_config.json` (special tokens, `do_lower_case`, `keep_accents`, `legacy`, ...).

    Returns:
        a dict to be screened and handed to `tokenizers.Tokenizer.from_str`.
    """
    return STYLES[style](model, settings)


def _token(settings: dict[str, Any], name: str, default: str) -> str:
    value = settings.get(f"{name}_token")
    if isinstance(value, dict):
        value = value.get("content")
    return value if isinstance(value, str) else default


def _scores(model: SentencePieceModel, first: int = 0) -> list[list[Any]]:
    return [[piece.text, piece.score] for piece in model.pieces[first:]]


def _unigram(vocabulary: list[list[Any]], unk_id: int, byte_fallback: bool = False) -> dict[str, Any]:
    return {"type": "Unigram", "unk_id": unk_id, "vocab": vocabulary, "byte_fallback": byte_fallback}


def _precompiled(model: SentencePieceModel) -> list[dict[str, Any]]:
    if not model.charsmap:
        return []
    return [{"type": "Precompiled", "precompiled_charsmap": base64.b64encode(model.charsmap).decode()}]


def _metaspace(scheme: str = "always", split: bool = True) -> dict[str, Any]:
    return {"type": "Metaspace", "replacement": SPACE, "prepend_scheme": scheme, "split": split}


def _words_then_metaspace(scheme: str = "always") -> dict[str, Any]:
    return {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, _metaspace(scheme)]}


def _sequence(normalizers: list[dict[str, Any]]) -> dict[str, Any] | None:
    return {"type": "Sequence", "normalizers": normalizers} if normalizers else None


def _replace(old: str, new: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": {"String": old}, "content": new}


def _replace_pattern(old: str, new: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": {"Regex": old}, "content": new}


def template(single: str, pair: str, ids: dict[str, int]) -> dict[str, Any]:
    """A `TemplateProcessing` step from the short notation `"[CLS]:0 $A:0 [SEP]:0"`."""

    def steps(notation: str) -> list[dict[str, Any]]:
        listed = []
        for word in notation.split():
            name, _, type_id = word.rpartition(":")
            if name in ("$A", "$B"):
                listed.append({"Sequence": {"id": name[1], "type_id": int(type_id)}})
            else:
                listed.append({"SpecialToken": {"id": name, "type_id": int(type_id)}})
        return listed

    used = {step["SpecialToken"]["id"] for step in steps(single) + steps(pair) if "SpecialToken" in step}
    return {
        "type": "TemplateProcessing",
        "single": steps(single),
        "pair": steps(pair),
        "special_tokens": {name: {"id": name, "ids": [ids[name]], "tokens": [name]} for name in sorted(used)},
    }


def _assembled(
    model: SentencePieceModel,
    vocabulary: dict[str, Any],
    normalizer: dict[str, Any] | None,
    pre_tokenizer: dict[str, Any] | None,
    decoder: dict[str, Any] | None,
    post_processor: dict[str, Any] | None,
) -> dict[str, Any]:
    listed = vocabulary["vocab"]
    ids = listed if isinstance(listed, dict) else {entry[0]: index for index, entry in enumerate(listed)}
    # Control symbols are special; user-defined symbols are cut out of the text but stay in the decoded text.
    added = [
        _added(piece.text, ids[piece.text], special=piece.kind == CONTROL)
        for piece in model.pieces
        if piece.kind in (CONTROL, USER_DEFINED) and piece.text in ids and piece.text
    ]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": sorted({entry["id"]: entry for entry in added}.values(), key=lambda entry: entry["id"]),
        "normalizer": normalizer,
        "pre_tokenizer": pre_tokenizer,
        "post_processor": post_processor,
        "decoder": decoder,
        "model": vocabulary,
    }


def _added(content: str, number: int, special: bool) -> dict[str, Any]:
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": special}
    return {"id": number, "content": content, **flags}


def _ids(vocabulary: dict[str, Any]) -> dict[str, int]:
    listed = vocabulary["vocab"]
    return listed if isinstance(listed, dict) else {entry[0]: index for index, entry in enumerate(listed)}


def _t5(model: SentencePieceModel, settings: dict[str, Any]) -> dict[str, Any]:
    extra = settings.get("extra_ids", 100)
    extra = extra if isinstance(extra, int) and 0 <= extra <= 1000 else 100
    sentinels = [f"<extra_id_{index}>" for index in range(extra - 1, -1, -1)]
    vocabulary = _unigram(_scores(model) + [[name, 0.0] for name in sentinels], model.unk_id)
    ids = _ids(vocabulary)
    eos = _token(settings, "eos", "</s>")
    after = template(f"$A:0 {eos}:0", f"$A:0 {eos}:0 $B:0 {eos}:0", ids) if eos in ids else None
    data = _assembled(model, vocabulary, _sequence(_precompiled(model)), _words_then_metaspace(), _metaspace(), after)
    data["added_tokens"] += [_added(name, ids[name], special=True) for name in sentinels]
    return data


def _classifier_template(ids: dict[str, int], cls: str, sep: str) -> dict[str, Any] | None:
    if cls not in ids or sep not in ids:
        return None
    return template(f"{cls}:0 $A:0 {sep}:0", f"{cls}:0 $A:0 {sep}:0 $B:1 {sep}:1", ids)


def _quotes_accents_case(model: SentencePieceModel, settings: dict[str, Any], lower: bool) -> list[dict[str, Any]]:
    steps = [_replace("``", '"'), _replace("''", '"')]
    if not settings.get("keep_accents", False):
        steps += [{"type": "NFKD"}, {"type": "StripAccents"}]
    if settings.get("do_lower_case", lower):
        steps.append({"type": "Lowercase"})
    return steps + _precompiled(model)


def _albert(model: SentencePieceModel, settings: dict[str, Any]) -> dict[str, Any]:
    vocabulary = _unigram(_scores(model), 1 if len(model.pieces) > 1 else 0)
    ids = _ids(vocabulary)
    after = _classifier_template(ids, _token(settings, "cls", "[CLS]"), _token(settings, "sep", "[SEP]"))
    steps = _sequence(_quotes_accents_case(model, settings, lower=True))
    return _assembled(model, vocabulary, steps, _words_then_metaspace(), _metaspace(), after)


def _xlnet(model: SentencePieceModel, settings: dict[str, Any]) -> dict[str, Any]:
    vocabulary = _unigram(_scores(model), model.unk_id)
    ids = _ids(vocabulary)
    cls, sep = _token(settings, "cls", "<cls>"), _token(settings, "sep", "<sep>")
    after = None
    if cls in ids and sep in ids:
        after = template(f"$A:0 {sep}:0 {cls}:2", f"$A:0 {sep}:0 $B:1 {sep}:1 {cls}:2", ids)
    steps = _sequence(_quotes_accents_case(model, settings, lower=False))
    return _assembled(model, vocabulary, steps, _words_then_metaspace(), _metaspace(), after)


def _fairseq_pieces(model: SentencePieceModel, settings: dict[str, Any]) -> list[list[Any]]:
    # fairseq put its own four specials before the model's pieces and dropped the model's first three.
    front = [("bos", "<s>"), ("pad", "<pad>"), ("eos", "</s>"), ("unk", "<unk>")]
    return [[_token(settings, name, default), 0.0] for name, default in front] + _scores(model, first=3)


def _xlm_roberta(model: SentencePieceModel, settings: dict[str, Any]) -> dict[str, Any]:
    mask = _token(settings, "mask", "<mask>")
    vocabulary = _unigram([*_fairseq_pieces(model, settings), [mask, 0.0]], 3)
    ids = _ids(vocabulary)
    bos, eos = _token(settings, "bos", "<s>"), _token(settings, "eos", "</s>")
    after = template(f"{bos}:0 $A:0 {eos}:0", f"{bos}:0 $A:0 {eos}:0 {eos}:0 $B:0 {eos}:0", ids)
    return _assembled(model, vocabulary, _sequence(_precompiled(model)), _words_then_metaspace(), _metaspace(), after)


def _deberta_v2(model: SentencePieceModel, settings: dict[str, Any]) -> dict[str, Any]:
    vocabulary = _unigram(_scores(model), model.unk_id)
    ids = _ids(vocabulary)
    steps: list[dict[str, Any]] = [{"type": "Lowercase"}] if settings.get("do_lower_case") else []
    steps += [_replace_pattern(r"\s{2,}|[\n\r\t]", " "), {"type": "NFC"}]
    steps.append({"type": "Strip", "strip_left": False, "strip_right": True})
    before: list[dict[str, Any]] = []
    if settings.get("split_by_punct"):
        before.append({"type": "Punctuation", "behavior": "Isolated"})
    before.append(_metaspace())
    after = _classifier_template(ids, _token(settings, "cls", "[CLS]"), _token(settings, "sep", "[SEP]"))
    return _assembled(
        model, vocabulary, _sequence(steps), {"type": "Sequence", "pretokenizers": before}, _metaspace(), after
    )


def byte_pairs(vocabulary: dict[str, int]) -> list[list[str]]:
    """The merges of a SentencePiece BPE model: every split of a piece into two pieces, earliest result first."""
    merges: list[tuple[int, int, int, int, int, str, str]] = []
    for piece, number in vocabulary.items():
        for cut in range(1, len(piece)):
            left, right = piece[:cut], piece[cut:]
            if left in vocabulary and right in vocabulary:
                order = (number, len(left), len(right), vocabulary[left], vocabulary[right])
                merges.append((*order, left, right))
    merges.sort()
    return [[left, right] for *_, left, right in merges]


def _bpe(model: SentencePieceModel, unk: str | None, byte_fallback: bool) -> dict[str, Any]:
    vocabulary = {piece.text: index for index, piece in enumerate(model.pieces)}
    return {
        "type": "BPE",
        "dropout": None,
        "unk_token": unk,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": True,
        "byte_fallback": byte_fallback,
        "ignore_merges": False,
        "vocab": vocabulary,
        "merges": byte_pairs(vocabulary),
    }


def _bytes_decoder(strip: bool) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [_replace(SPACE, " "), {"type": "ByteFallback"}, {"type": "Fuse"}]
    if strip:
        steps.append({"type": "Strip", "content": " ", "start": 1, "stop": 0})
    return {"type": "Sequence", "decoders": steps}


def _llama(model: SentencePieceModel, settings: dict[str, Any]) -> dict[str, Any]:
    prefix = settings.get("add_prefix_space")
    prefix = True if prefix is None else bool(prefix)
    legacy = settings.get("legacy", False)
    scheme = "never" if not prefix else "first" if legacy is False else "always"
    vocabulary = _bpe(model, None, byte_fallback=True)
    return _assembled(model, vocabulary, None, _metaspace(scheme, split=False), _bytes_decoder(prefix), None)


def _gemma(model: SentencePieceModel, settings: dict[str, Any]) -> dict[str, Any]:
    before = {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False}
    vocabulary = _bpe(model, _token(settings, "unk", "<unk>"), byte_fallback=True)
    return _assembled(model, vocabulary, _replace(" ", SPACE), before, _bytes_decoder(strip=False), None)


def _plain(model: SentencePieceModel, settings: dict[str, Any]) -> dict[str, Any]:
    """A family nobody described: what the file itself says, as SentencePiece would encode it."""
    if model.kind == BPE:
        vocabulary = _bpe(model, model.unk_piece, model.byte_fallback)
    else:
        vocabulary = _unigram(_scores(model), model.unk_id, model.byte_fallback)
    steps = _precompiled(model)
    if model.remove_extra_whitespaces:
        steps += [{"type": "Strip", "strip_left": True, "strip_right": True}, _replace_pattern(" {2,}", " ")]
    scheme = "always" if model.add_dummy_prefix else "never"
    before = _metaspace(scheme, split=model.kind == UNIGRAM)
    decoder = _bytes_decoder(model.add_dummy_prefix) if model.byte_fallback else _metaspace(scheme)
    ids = _ids(vocabulary)
    eos = model.eos_piece
    after = template(f"$A:0 {eos}:0", f"$A:0 {eos}:0 $B:0 {eos}:0", ids) if settings.get("add_eos_token") else None
    return _assembled(model, vocabulary, _sequence(steps), before, decoder, after)


#: How families lay out a SentencePiece vocabulary.
STYLES = {
    "t5": _t5,
    "albert": _albert,
    "xlnet": _xlnet,
    "xlm-roberta": _xlm_roberta,
    "deberta-v2": _deberta_v2,
    "llama": _llama,
    "gemma": _gemma,
    "plain": _plain,
}

_STYLE_OF = {
    "t5": ["t5", "mt5", "umt5", "byt5", "longt5", "switch_transformers", "musicgen", "pix2struct"],
    "albert": ["albert"],
    "xlnet": ["xlnet"],
    "xlm-roberta": ["xlm-roberta", "xlm-roberta-xl", "xlm_roberta", "xmod", "layoutxlm", "gte", "jina_embeddings_v3"],
    "deberta-v2": ["deberta-v2"],
    "llama": ["llama", "code_llama", "mistral", "mixtral", "phi3", "idefics", "minicpm", "yi", "internlm2", "stablelm"],
    "gemma": ["gemma", "gemma2", "gemma3", "gemma3_text"],
}


def style_of(model_type: str | None, model: SentencePieceModel) -> str:
    """The entry of `STYLES` for a `model_type` of `config.json`; guessed from the file where it is unknown."""
    for style, names in _STYLE_OF.items():
        if model_type in names:
            return style
    if model_type is None and model.kind == BPE and model.byte_fallback:
        return "llama"
    return "plain"
