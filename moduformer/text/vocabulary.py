"""Write `vocab.txt`, or `vocab.json` with `merges.txt`, as the content of a `tokenizer.json`."""

from typing import Any

from ..errors import TextError
from .screening import MAX_BYTES, parse_json
from .sentencepiece_file import template

_QWEN2_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
_CLIP_PATTERN = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"

#: Byte-level BPE families whose text is framed as `<s> A </s>`, pairs as `<s> A </s></s> B </s>`.
_ROBERTA = {
    "roberta", "xlm-roberta-bpe", "bart", "longformer", "led", "mvp", "lilt", "ibert", "data2vec-text", "bridgetower",
    "mra", "mega", "clap", "roberta-prelayernorm", "camembert-bpe", "luke", "layoutlmv3",
}  # fmt: skip
_DEBERTA = {"deberta"}
_CLIP = {"clip", "clipseg", "owlvit", "owlv2", "groupvit"}
_QWEN = {"qwen2", "qwen2_moe", "qwen3", "qwen3_moe", "qwen2_vl"}
_NEOX = {"gpt_neox", "mpt", "olmo", "mamba", "falcon_mamba"}


def read_lines(content: bytes, where: str) -> list[str]:
    """The lines of a vocabulary file, ends of line removed.

    Raises:
        TextError: the file is not UTF-8 or too large.
    """
    if len(content) > MAX_BYTES:
        raise TextError(f"{where}: {len(content):,} bytes, more than a vocabulary has.")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TextError(f"{where}: not UTF-8 text (byte {error.start}); save it as UTF-8.") from None
    lines = text.replace("\r\n", "\n").split("\n")
    return lines[:-1] if lines and lines[-1] == "" else lines


def _named(settings: dict[str, Any], name: str, default: str) -> str:
    value = settings.get(f"{name}_token")
    if isinstance(value, dict):
        value = value.get("content")
    return value if isinstance(value, str) else default


def _document(model: dict[str, Any], **steps: Any) -> dict[str, Any]:
    empty = {"normalizer": None, "pre_tokenizer": None, "post_processor": None, "decoder": None}
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [], **empty, **steps, "model": model}


def wordpiece_tokenizer(content: bytes, settings: dict[str, Any], model_type: str | None, where: str) -> dict[str, Any]:
    """BERT's `vocab.txt` (Devlin et al. 2019): one token a line, the line number is its id.

    Args:
        content: the bytes of the file.
        settings: `tokenizer_config.json`: `do_lower_case`, `strip_accents`, `tokenize_chinese_chars`, special tokens.
        model_type: of `config.json`; MPNet frames text like RoBERTa.
        where: the file, for messages.
    """
    # A line given twice keeps its last id, as in the original reader.
    ids = {token: index for index, token in enumerate(read_lines(content, where))}
    like_roberta = model_type == "mpnet"
    unk = _named(settings, "unk", "[UNK]")
    cls = _named(settings, "cls", "<s>" if like_roberta else "[CLS]")
    sep = _named(settings, "sep", "</s>" if like_roberta else "[SEP]")
    after: dict[str, Any] | None = None
    if cls in ids and sep in ids:
        if like_roberta:
            after = _roberta_frame(ids, cls, sep, trim=True, prefix=False)
        else:
            after = template(f"{cls}:0 $A:0 {sep}:0", f"{cls}:0 $A:0 {sep}:0 $B:1 {sep}:1", ids)
    model = {
        "type": "WordPiece",
        "unk_token": unk,
        "continuing_subword_prefix": "##",
        "max_input_chars_per_word": 100,
        "vocab": ids,
    }
    accents = settings.get("strip_accents")
    normalizer = {
        "type": "BertNormalizer",
        "clean_text": True,
        "handle_chinese_chars": bool(settings.get("tokenize_chinese_chars", True)),
        "strip_accents": accents if isinstance(accents, bool) else None,
        "lowercase": bool(settings.get("do_lower_case", True)),
    }
    decoder = {"type": "WordPiece", "prefix": "##", "cleanup": True}
    before = {"type": "BertPreTokenizer"}
    return _document(model, normalizer=normalizer, pre_tokenizer=before, post_processor=after, decoder=decoder)


def _roberta_frame(ids: dict[str, int], cls: str, sep: str, trim: bool, prefix: bool) -> dict[str, Any]:
    return {
        "type": "RobertaProcessing",
        "sep": [sep, ids[sep]],
        "cls": [cls, ids[cls]],
        "trim_offsets": trim,
        "add_prefix_space": prefix,
    }


def _byte_level(prefix: bool, use_regex: bool = True, trim: bool = True) -> dict[str, Any]:
    return {"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": trim, "use_regex": use_regex}


def byte_pair_tokenizer(
    vocabulary: bytes, merges: bytes, settings: dict[str, Any], model_type: str | None, where: str
) -> dict[str, Any]:
    """GPT-2's `vocab.json` and `merges.txt` (Radford et al. 2019), with the frame of the family.

    Args:
        vocabulary: the bytes of `vocab.json`.
        merges: the bytes of `merges.txt` (a first line `#version` is skipped).
        settings: `tokenizer_config.json`.
        model_type: of `config.json`; decides pre-tokenizer and frame (GPT-2, RoBERTa, DeBERTa, CLIP, Qwen, GPT-NeoX).
        where: the folder, for messages.
    """
    ids = parse_json(vocabulary, f"{where}/vocab.json")
    if not isinstance(ids, dict):
        raise TextError(f"{where}/vocab.json: not an object of tokens and ids.")
    pairs = _merge_pairs(merges, f"{where}/merges.txt")
    prefix = bool(settings.get("add_prefix_space", False))
    model: dict[str, Any] = {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": "",
        "end_of_word_suffix": "",
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": False,
        "vocab": ids,
        "merges": pairs,
    }
    if model_type == "openai-gpt":
        model |= {"end_of_word_suffix": "</w>", "unk_token": _named(settings, "unk", "<unk>")}
        flags = {"clean_text": True, "handle_chinese_chars": True, "strip_accents": None, "lowercase": True}
        return _document(
            model,
            normalizer={"type": "BertNormalizer", **flags},
            pre_tokenizer={"type": "BertPreTokenizer"},
            decoder={"type": "BPEDecoder", "suffix": "</w>"},
        )
    if model_type in _CLIP:
        return _clip(model, ids, settings)
    decoder = _byte_level(True)
    before: dict[str, Any] = _byte_level(prefix)
    normalizer: dict[str, Any] | None = {"type": "NFC"} if model_type in _QWEN | _NEOX else None
    after: dict[str, Any] | None = None
    if model_type in _QWEN:
        split = {
            "type": "Split", "pattern": {"Regex": _QWEN2_PATTERN}, "behavior": "Isolated", "invert": False
        }  # fmt: skip
        before = {"type": "Sequence", "pretokenizers": [split, _byte_level(prefix, use_regex=False)]}
    roberta = byte_pair_family(model_type, settings, ids) == "roberta"
    default_cls, default_sep = ("<s>", "</s>") if roberta else ("[CLS]", "[SEP]")
    cls, sep = _named(settings, "cls", default_cls), _named(settings, "sep", default_sep)
    if roberta and cls in ids and sep in ids:
        after = _roberta_frame(ids, cls, sep, bool(settings.get("trim_offsets", True)), prefix)
    elif model_type in _DEBERTA and cls in ids and sep in ids:
        after = template(f"{cls}:0 $A:0 {sep}:0", f"{cls}:0 $A:0 {sep}:0 {sep}:0 $B:0 {sep}:0", ids)
    return _document(model, normalizer=normalizer, pre_tokenizer=before, post_processor=after, decoder=decoder)


def byte_pair_family(model_type: str | None, settings: dict[str, Any], ids: dict[str, int]) -> str:
    """The family (a key of `moduformer.text.settings.FAMILY_ROLES`) of a `vocab.json` with `merges.txt`."""
    if model_type in _ROBERTA or (model_type is None and _looks_like_roberta(ids, settings)):
        return "roberta"
    for family, names in (("deberta", _DEBERTA), ("clip", _CLIP), ("qwen2", _QWEN), ("gpt_neox", _NEOX)):
        if model_type in names:
            return family
    return "openai-gpt" if model_type == "openai-gpt" else "gpt2"


def _looks_like_roberta(ids: dict[str, int], settings: dict[str, Any]) -> bool:
    named = str(settings.get("tokenizer_class", ""))
    if named:
        return named.removesuffix("Fast") in (
            "RobertaTokenizer",
            "BartTokenizer",
            "LongformerTokenizer",
            "LEDTokenizer",
        )
    return all(token in ids for token in ("<s>", "</s>", "<pad>", "<mask>"))


def _clip(model: dict[str, Any], ids: dict[str, int], settings: dict[str, Any]) -> dict[str, Any]:
    bos, eos = _named(settings, "bos", "<|startoftext|>"), _named(settings, "eos", "<|endoftext|>")
    model |= {"end_of_word_suffix": "</w>", "unk_token": _named(settings, "unk", "<|endoftext|>")}
    spaces = {"type": "Replace", "pattern": {"Regex": r"\s+"}, "content": " "}
    split = {"type": "Split", "pattern": {"Regex": _CLIP_PATTERN}, "behavior": "Removed", "invert": True}
    after = _roberta_frame(ids, bos, eos, trim=False, prefix=False) if bos in ids and eos in ids else None
    return _document(
        model,
        normalizer={"type": "Sequence", "normalizers": [{"type": "NFC"}, spaces, {"type": "Lowercase"}]},
        pre_tokenizer={"type": "Sequence", "pretokenizers": [split, _byte_level(False)]},
        post_processor=after,
        decoder=_byte_level(True),
    )


def _merge_pairs(content: bytes, where: str) -> list[list[str]]:
    pairs = []
    for number, line in enumerate(read_lines(content, where), start=1):
        line = line.strip(" \r\t")
        if not line or (line.startswith("#version") and number == 1):
            continue
        parts = line.split(" ")
        if len(parts) != 2:
            raise TextError(f"{where}, line {number}: a merge is two tokens with one space between them.")
        pairs.append(parts)
    return pairs
