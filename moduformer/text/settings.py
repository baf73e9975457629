"""The small files beside a tokenizer: which token plays which part, and how long a text may be.

transformers 4 writes `special_tokens_map.json`, `added_tokens.json` and, in `tokenizer_config.json`,
`added_tokens_decoder` and `additional_special_tokens`; transformers 5 writes all of it into `tokenizer_config.json`,
with `extra_special_tokens`. Both are read; the configuration wins over the map.
"""

from dataclasses import dataclass, field, replace
from typing import Any

from ..errors import TextError
from .screening import MAX_ADDED, MAX_PIECE, parse_json

#: Parts a token can play, in the order `transformers` lists them.
ROLES = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")

_ROBERTA_ROLES = {
    "bos": "<s>", "eos": "</s>", "unk": "<unk>", "sep": "</s>", "pad": "<pad>", "cls": "<s>", "mask": "<mask>"
}  # fmt: skip
_BRACKET_ROLES = {
    "bos": "[CLS]", "eos": "[SEP]", "unk": "[UNK]", "sep": "[SEP]", "pad": "[PAD]", "cls": "[CLS]", "mask": "[MASK]"
}  # fmt: skip
_END_OF_TEXT = {"bos": "<|endoftext|>", "eos": "<|endoftext|>", "unk": "<|endoftext|>"}

#: Which token plays which part in a family, where its files leave it open (as the published checkpoints have it).
FAMILY_ROLES: dict[str, dict[str, str]] = {
    "wordpiece": {role: _BRACKET_ROLES[role] for role in ("unk", "sep", "pad", "cls", "mask")},
    "mpnet": {**_ROBERTA_ROLES, "unk": "[UNK]"},
    "roberta": _ROBERTA_ROLES,
    "gpt2": _END_OF_TEXT,
    "gpt_neox": {**_END_OF_TEXT, "pad": "<|padding|>"},
    "qwen2": {"eos": "<|endoftext|>", "unk": "<|endoftext|>", "pad": "<|endoftext|>"},
    "clip": {**_END_OF_TEXT, "bos": "<|startoftext|>", "pad": "<|endoftext|>"},
    "openai-gpt": {"unk": "<unk>"},
    "deberta": _BRACKET_ROLES,
    "deberta-v2": _BRACKET_ROLES,
    "albert": {**_BRACKET_ROLES, "unk": "<unk>", "pad": "<pad>"},
    "xlnet": {**_ROBERTA_ROLES, "sep": "<sep>", "cls": "<cls>"},
    "xlm-roberta": _ROBERTA_ROLES,
    "t5": {"eos": "</s>", "unk": "<unk>", "pad": "<pad>"},
    "marian": {"eos": "</s>", "unk": "<unk>", "pad": "<pad>"},
    "llama": {"bos": "<s>", "eos": "</s>", "unk": "<unk>"},
    "gemma": {"bos": "<bos>", "eos": "<eos>", "unk": "<unk>", "pad": "<pad>", "mask": "<mask>"},
}

#: A length limit above this is a placeholder that means "none" (transformers writes 10**30).
NO_LIMIT = 10**9

SMALL_FILE = 16 * 2**20


@dataclass(frozen=True)
class AddedFlags:
    """How a token is cut out of text before the model sees it; the fields of `tokenizers.AddedToken`."""

    content: str
    single_word: bool = False
    lstrip: bool = False
    rstrip: bool = False
    normalized: bool = False
    special: bool = True


@dataclass(frozen=True)
class TokenizerSettings:
    """Special tokens and options of a tokenizer.

    Attributes:
        named: role (`"cls"`, `"pad"`, ...) to token.
        extra: further special tokens, such as T5's sentinels.
        numbered: id to token of `added_tokens_decoder` or `added_tokens.json`.
        model_max_length: tokens the model takes, or None.
        add_bos, add_eos: whether a frame of BOS/EOS is asked for; None where the files do not say.
        chat_template: the Jinja template of a chat model, or None.
        raw: `tokenizer_config.json` as it is.
    """

    named: dict[str, AddedFlags] = field(default_factory=dict)
    extra: tuple[AddedFlags, ...] = ()
    numbered: dict[int, AddedFlags] = field(default_factory=dict)
    model_max_length: int | None = None
    add_bos: bool | None = None
    add_eos: bool | None = None
    chat_template: str | None = None
    raw: dict[str, Any] = field(default_factory=dict)

    def with_family(self, family: str) -> "TokenizerSettings":
        """A copy where roles that the files leave open are played as in the published checkpoints of a family."""
        usual = {role: AddedFlags(token) for role, token in FAMILY_ROLES.get(family, {}).items()}
        return replace(self, named={**usual, **self.named})

    def with_named(self, **tokens: str) -> "TokenizerSettings":
        """A copy where roles are played by the given tokens."""
        unknown = set(tokens) - set(ROLES)
        if unknown:
            raise TextError(f"{sorted(unknown)[0]!r} is no role of a special token; roles are {', '.join(ROLES)}.")
        return replace(self, named={**self.named, **{role: AddedFlags(token) for role, token in tokens.items()}})


def read_settings(files: dict[str, bytes], where: str) -> TokenizerSettings:
    """Read the settings out of the files of a folder.

    Args:
        files: file name to content; absent files are simply not used.
        where: the folder, for messages.

    Raises:
        TextError: a file is not what its name says.
    """
    config = _object(files, "tokenizer_config.json", where)
    legacy = _object(files, "special_tokens_map.json", where)
    added = _object(files, "added_tokens.json", where)
    named: dict[str, AddedFlags] = {}
    for role in ROLES:
        key = f"{role}_token"
        value = config.get(key) if config.get(key) is not None else legacy.get(key)
        flags = _flags(value, f"{where}: `{key}`")
        if flags is not None:
            named[role] = flags
    extra: dict[str, AddedFlags] = {}
    for source in (config, legacy):
        for key in ("additional_special_tokens", "extra_special_tokens"):
            values = source.get(key)
            listed = list(values.values()) if isinstance(values, dict) else values if isinstance(values, list) else []
            for value in listed[:MAX_ADDED]:
                flags = _flags(value, f"{where}: `{key}`")
                if flags is not None:
                    extra.setdefault(flags.content, flags)
    return TokenizerSettings(
        named=named,
        extra=tuple(extra.values()),
        numbered=_numbered(config, added, where),
        model_max_length=_length(config.get("model_max_length")),
        add_bos=_switch(config.get("add_bos_token")),
        add_eos=_switch(config.get("add_eos_token")),
        chat_template=_chat_template(files, config, where),
        raw=config,
    )


def _object(files: dict[str, bytes], name: str, where: str) -> dict[str, Any]:
    if name not in files:
        return {}
    parsed = parse_json(files[name], f"{where}/{name}", limit=SMALL_FILE)
    if not isinstance(parsed, dict):
        raise TextError(f"{where}/{name}: not a JSON object.")
    return parsed


def _flags(value: Any, where: str) -> AddedFlags | None:
    if isinstance(value, str):
        flags = AddedFlags(value)
    elif isinstance(value, dict) and isinstance(value.get("content"), str):
        switches = {
            name: bool(value[name])
            for name in ("single_word", "lstrip", "rstrip", "normalized", "special")
            if isinstance(value.get(name), bool)
        }
        flags = AddedFlags(value["content"], **switches)
    else:
        return None
    if not flags.content:
        return None
    if len(flags.content) > MAX_PIECE:
        raise TextError(f"{where} has {len(flags.content):,} characters; {MAX_PIECE:,} are allowed.")
    try:
        flags.content.encode("utf-8")
    except UnicodeEncodeError:
        raise TextError(f"{where} contains half of a surrogate pair, which is not text.") from None
    return flags


def _numbered(config: dict[str, Any], added: dict[str, Any], where: str) -> dict[int, AddedFlags]:
    found: dict[int, AddedFlags] = {}
    decoder = config.get("added_tokens_decoder")
    entries: list[tuple[Any, Any]] = list(decoder.items()) if isinstance(decoder, dict) else []
    if len(entries) > MAX_ADDED or len(added) > MAX_ADDED:
        raise TextError(f"{where}: more than {MAX_ADDED:,} added tokens.")
    for key, value in entries:
        flags = _flags(value, f"{where}: an added token")
        if not (isinstance(key, str) and key.isascii() and key.isdigit() and len(key) <= 9) or flags is None:
            raise TextError(f"{where}/tokenizer_config.json: `added_tokens_decoder` has the entry {str(key)[:40]!r}.")
        if isinstance(value, dict) and "special" not in value:
            flags = replace(flags, special=False)
        found[int(key)] = flags
    for token, number in added.items():
        if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number < NO_LIMIT:
            raise TextError(f"{where}/added_tokens.json: {token[:40]!r} has the impossible id {str(number)[:40]}.")
        found.setdefault(number, AddedFlags(token, special=False))
    return found


def _length(value: Any) -> int | None:
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < NO_LIMIT:
        return int(value)
    return None


def _switch(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def _chat_template(files: dict[str, bytes], config: dict[str, Any], where: str) -> str | None:
    if "chat_template.jinja" in files:
        try:
            return files["chat_template.jinja"].decode("utf-8-sig")
        except UnicodeDecodeError:
            raise TextError(f"{where}/chat_template.jinja: not UTF-8 text.") from None
    value = config.get("chat_template")
    if isinstance(value, list):
        # Several named templates: the one named "default" is the one for plain conversations.
        value = next(
            (entry.get("template") for entry in value if isinstance(entry, dict) and entry.get("name") == "default"),
            None,
        )
    return value if isinstance(value, str) else None
