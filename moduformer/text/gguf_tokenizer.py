"""The tokenizer and the chat template that a GGUF file carries in its key-values.

Source: the `tokenizer.ggml.*` keys of the GGUF specification; the pre-tokenizers and defaults of llama.cpp.
"""

from collections.abc import Callable, Mapping
from typing import Any

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
)

from moduformer.errors import TextError
from moduformer.text.rust import tokenizer_errors

Metadata = Mapping[str, Any]

NORMAL, CONTROL, USER_DEFINED = 1, 3, 4
SPACE = "▁"

# Above any known vocabulary (262 144 tokens); they bound the time a hostile one takes.
MAX_TOKENS = 1 << 20
MAX_CHARACTERS = 1 << 22
MAX_SPLIT_COST = 1 << 26

LLAMA3_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2_WORDS = LLAMA3_WORDS.replace(r"\p{N}{1,3}", r"\p{N}")


def _gpt2_words() -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)


def _digit_words() -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), _gpt2_words()])


def _words_by(pattern: str) -> Callable[[], pre_tokenizers.PreTokenizer]:
    return lambda: pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


# A file without the key, or with "default", comes from a converter that did not know better than GPT-2.
PRE_TOKENIZERS: dict[str, Callable[[], pre_tokenizers.PreTokenizer]] = {
    **dict.fromkeys(("default", "gpt-2", "phi-2", "olmo"), _gpt2_words),
    **dict.fromkeys(("smollm", "starcoder", "refact", "command-r", "codeshell", "exaone"), _digit_words),
    **dict.fromkeys(("llama-bpe", "llama3", "llama-v3", "falcon3"), _words_by(LLAMA3_WORDS)),
    **dict.fromkeys(("qwen2", "deepseek-r1-qwen", "stablelm2"), _words_by(QWEN2_WORDS)),
}
COMPOSED = ("qwen2", "deepseek-r1-qwen")
WHOLE_WORDS_FIRST = ("llama-bpe", "llama3", "llama-v3", "falcon3")
BEGINS_WITH_BOS = WHOLE_WORDS_FIRST


def _typed(metadata: Metadata, key: str, kind: type, default: Any = None) -> Any:
    value = metadata.get(f"tokenizer.ggml.{key}", default)
    if value is default:
        return default
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise TextError(f"tokenizer.ggml.{key} is a {type(value).__name__}, not a {kind.__name__}.")
    return value


def _list(metadata: Metadata, key: str, kind: type | tuple[type, ...]) -> list[Any]:
    values = _typed(metadata, key, list, [])
    if any(not isinstance(value, kind) for value in values):
        raise TextError(f"tokenizer.ggml.{key} holds values of the wrong type.")
    return values


def _tokens(metadata: Metadata) -> list[str]:
    tokens = _list(metadata, "tokens", str)
    if not 0 < len(tokens) <= MAX_TOKENS or sum(map(len, tokens)) > MAX_CHARACTERS:
        raise TextError(
            "The GGUF file holds no vocabulary, or one beyond the limits, in tokenizer.ggml.tokens; "
            "give a folder with a tokenizer.json beside it."
        )
    return tokens


def _vocabulary(tokens: list[str]) -> dict[str, int]:
    """Token to id; of a doubled token the first id counts, as in llama.cpp."""
    vocabulary: dict[str, int] = {}
    for number, token in enumerate(tokens):
        vocabulary.setdefault(token, number)
    return vocabulary


def _types(metadata: Metadata, count: int) -> list[int]:
    types = _list(metadata, "token_type", int)
    if types and len(types) != count:
        raise TextError(f"tokenizer.ggml.token_type has {len(types)} entries for {count} tokens.")
    return types or [NORMAL] * count


ROLE_KEYS = {
    "bos": "bos_token_id",
    "eos": "eos_token_id",
    "unk": "unknown_token_id",
    "sep": "seperator_token_id",  # so spelled in the specification
    "pad": "padding_token_id",
    "cls": "cls_token_id",
    "mask": "mask_token_id",
}


def special_ids(metadata: Metadata) -> dict[str, int]:
    """The ids of the special tokens that a GGUF file names.

    Args:
        metadata: of a `GGUFFile`.

    Returns:
        A subset of `bos`, `eos`, `unk`, `sep`, `pad`, `cls`, `mask`, each with its id.

    Raises:
        TextError: an id is not in the vocabulary.
    """
    count = len(_tokens(metadata))
    ids: dict[str, int] = {}
    for role, key in ROLE_KEYS.items():
        number = _typed(metadata, key, int)
        if number is None:
            continue
        # Some converters write -1 or 2^32 - 1 for "none".
        if number in (-1, (1 << 32) - 1):
            continue
        if not 0 <= number < count:
            raise TextError(f"tokenizer.ggml.{key} is {number}, and the vocabulary has {count} tokens.")
        ids[role] = number
    return ids


def chat_template(metadata: Metadata) -> str | None:
    """The Jinja chat template of a GGUF file, or None.

    Args:
        metadata: of a `GGUFFile`.

    Raises:
        TextError: the key holds something other than text.
    """
    template = metadata.get("tokenizer.chat_template")
    if template is not None and not isinstance(template, str):
        raise TextError(f"tokenizer.chat_template is a {type(template).__name__}, not text.")
    return template or None


def tokenizer_from_gguf(metadata: Metadata) -> Tokenizer:
    """Build the tokenizer a GGUF file describes.

    Args:
        metadata: of a `GGUFFile`: `tokenizer.ggml.model` (`gpt2`, `llama` or `bert`), `.pre`, `.tokens`,
            `.token_type`, `.scores`, `.merges`, the special ids, `.add_bos_token`, `.add_eos_token`.

    Returns:
        A tokenizer with the file's ids.

    Raises:
        TextError: there is no tokenizer, its kind is unknown, or it contradicts itself.
    """
    kind = _typed(metadata, "model", str)
    if kind is None:
        raise TextError("This GGUF file holds no tokenizer; give a folder with a tokenizer.json beside it.")
    if kind not in KINDS:
        raise TextError(
            f"This GGUF file has a tokenizer of kind {kind[:40]!r}; {', '.join(KINDS)} are read. "
            "Give a folder with a tokenizer.json beside it."
        )
    tokens = _tokens(metadata)
    types = _types(metadata, len(tokens))
    with tokenizer_errors("The vocabulary of this GGUF file is not usable"):
        return KINDS[kind](metadata, tokens, types)


def _mark_whole_tokens(tokenizer: Tokenizer, tokens: list[str], types: list[int]) -> None:
    """Let control and user-defined tokens be found in text as wholes, before it is cut into words."""
    special: list[AddedToken] = []
    plain: list[AddedToken] = []
    for token, kind in zip(tokens, types):
        if token and kind == CONTROL:
            special.append(AddedToken(token, special=True, normalized=False))
        elif token and kind == USER_DEFINED:
            plain.append(AddedToken(token, special=False, normalized=False))
    tokenizer.add_special_tokens(special)
    tokenizer.add_tokens(plain)


def _add_ends(
    tokenizer: Tokenizer, metadata: Metadata, tokens: list[str], bos: bool, eos: bool, roles: tuple[str, str]
) -> None:
    """Put the begin and end tokens that the file asks for around a text, and around each text of a pair."""
    ids = special_ids(metadata)
    wanted = (_typed(metadata, "add_bos_token", bool, bos), _typed(metadata, "add_eos_token", bool, eos))
    names = [tokens[ids[role]] if add and role in ids else None for role, add in zip(roles, wanted)]
    first, last = ([name] if name else [] for name in names)
    if first or last:
        known = sorted({name for name in names if name})
        tokenizer.post_processor = processors.TemplateProcessing(
            single=[*first, "$A", *last],
            pair=[*first, "$A", *last, *(f"{name}:1" for name in first), "$B:1", *(f"{n}:1" for n in last)],
            special_tokens=[(name, tokens.index(name)) for name in known],
        )


def _byte_level_bpe(metadata: Metadata, tokens: list[str], types: list[int]) -> Tokenizer:
    """GPT-2's byte-level BPE (Radford et al. 2019); the models differ only in how text is cut into words."""
    name = _typed(metadata, "pre", str, "default")
    if name not in PRE_TOKENIZERS:
        raise TextError(
            f"This GGUF file cuts words by the rule {name[:40]!r}, which is not known here; known are "
            f"{', '.join(PRE_TOKENIZERS)}. Give a folder with a tokenizer.json beside it."
        )
    vocabulary = _vocabulary(tokens)
    merges = [_merge(merge, vocabulary) for merge in _list(metadata, "merges", str)]
    whole = name in WHOLE_WORDS_FIRST
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, fuse_unk=False, ignore_merges=whole))
    if name in COMPOSED:
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = PRE_TOKENIZERS[name]()
    tokenizer.decoder = decoders.ByteLevel()
    _mark_whole_tokens(tokenizer, tokens, types)
    _add_ends(tokenizer, metadata, tokens, name in BEGINS_WITH_BOS, False, ("bos", "eos"))
    return tokenizer


def _merge(merge: str, vocabulary: dict[str, int]) -> tuple[str, str]:
    # The first character may itself be the space that parts the two halves in the vocabularies of some models.
    left, _, right = merge[1:].partition(" ")
    left = merge[:1] + left
    if not (left in vocabulary and right in vocabulary and left + right in vocabulary):
        raise TextError(f"The merge {merge[:80]!r} of this GGUF file is not between two of its tokens.")
    return left, right


def _sentencepiece_bpe(metadata: Metadata, tokens: list[str], types: list[int]) -> Tokenizer:
    """SentencePiece BPE with byte fallback (Kudo & Richardson 2018), in which a piece's score is its priority."""
    scores = _list(metadata, "scores", (int, float))
    if len(scores) != len(tokens):
        raise TextError(f"tokenizer.ggml.scores has {len(scores)} entries for {len(tokens)} tokens.")
    vocabulary = _vocabulary(tokens)
    ids = special_ids(metadata)
    unknown = tokens[ids["unk"]] if "unk" in ids else None
    merges = _merges_by_score(vocabulary, scores, types)
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, unk_token=unknown, fuse_unk=True, byte_fallback=True))
    prefixed = _typed(metadata, "add_space_prefix", bool, True)
    spaces = normalizers.Replace(" ", SPACE)
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend(SPACE), spaces]) if prefixed else spaces
    steps: list[Any] = [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    if prefixed:
        steps.append(decoders.Strip(" ", 1, 0))
    tokenizer.decoder = decoders.Sequence(steps)
    _mark_whole_tokens(tokenizer, tokens, types)
    _add_ends(tokenizer, metadata, tokens, True, False, ("bos", "eos"))
    return tokenizer


def _merges_by_score(vocabulary: dict[str, int], scores: list[float], types: list[int]) -> list[tuple[str, str]]:
    """Every way to join two pieces into a third, best score first; ties in the order of the parts' ids."""
    normal = [(piece, number) for piece, number in vocabulary.items() if types[number] == NORMAL]
    if sum(len(piece) ** 2 for piece, _ in normal) > MAX_SPLIT_COST:
        raise TextError("The pieces of this GGUF file's vocabulary are too long to be words.")
    merges: list[tuple[float, int, int, str, str]] = []
    for piece, number in normal:
        for cut in range(1, len(piece)):
            left = vocabulary.get(piece[:cut])
            right = vocabulary.get(piece[cut:]) if left is not None else None
            if left is not None and right is not None:
                merges.append((-scores[number], left, right, piece[:cut], piece[cut:]))
    merges.sort()
    return [(left, right) for _, _, _, left, right in merges]


def _wordpiece(metadata: Metadata, tokens: list[str], types: list[int]) -> Tokenizer:
    """BERT's WordPiece; the file marks the start of a word (U+2581) where BERT marks its continuation (##)."""
    ids = special_ids(metadata)
    ids = {"cls": ids["bos"], **ids} if "bos" in ids else ids
    ids = {"sep": ids["eos"], **ids} if "eos" in ids else ids
    if not {"cls", "sep", "unk"} <= ids.keys():
        raise TextError("This GGUF file names no [CLS], [SEP] or [UNK] for its WordPiece vocabulary.")
    marked = {tokens[number] for number in ids.values()}

    def original(token: str) -> str:
        if token in marked or (token.startswith("[") and token.endswith("]") and len(token) > 2):
            return token
        return token[1:] if token.startswith(SPACE) else f"##{token}"

    originals = [original(token) for token in tokens]
    vocabulary = _vocabulary(originals)
    # No key tells cased from uncased, but an uncased vocabulary has no capital outside its special tokens.
    words = (token for token in originals if not (token.startswith("[") and token.endswith("]")))
    lowercase = not any(token != token.lower() for token in words)
    unknown, cls, sep = (originals[ids[role]] for role in ("unk", "cls", "sep"))
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token=unknown))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.add_special_tokens([originals[number] for number in ids.values()])
    _mark_whole_tokens(tokenizer, originals, types)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=[cls, "$A", sep],
        pair=[cls, "$A", sep, "$B:1", f"{sep}:1"],
        special_tokens=[(cls, vocabulary[cls]), (sep, vocabulary[sep])],
    )
    return tokenizer


KINDS: dict[str, Callable[[Metadata, list[str], list[int]], Tokenizer]] = {
    "gpt2": _byte_level_bpe,
    "llama": _sentencepiece_bpe,
    "bert": _wordpiece,
}
