"""The tokenizer of a checkpoint: text to ids and back, for every file layout `transformers` writes.

Everything ends in one `tokenizers.Tokenizer`: `tokenizer.json` is screened and loaded, older layouts (`vocab.txt`,
`vocab.json` with `merges.txt`, SentencePiece models) are first written as such a file.
"""

import hashlib
import io
import json
import os
import re
import secrets
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import tokenizers

from ..errors import TextError
from .marian import marian_tokenizer
from .rust import tokenizer_errors
from .screening import MAX_BYTES, parse_json, screen_tokenizer
from .sentencepiece_file import read_model, sentencepiece_tokenizer, style_of
from .settings import NO_LIMIT, ROLES, AddedFlags, TokenizerSettings, read_settings
from .vocabulary import byte_pair_family, byte_pair_tokenizer, wordpiece_tokenizer

_SENTENCEPIECE_FILES = ("spiece.model", "sentencepiece.bpe.model", "tokenizer.model", "spm.model", "source.spm")
_SETTINGS_FILES = (
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
)
_VOCABULARY_FILES = ("tokenizer.json", "vocab.txt", "vocab.json", "merges.txt", *_SENTENCEPIECE_FILES, "target.spm")

#: Names that play a role where no file says so.
_USUAL_NAMES: dict[str, tuple[str, ...]] = {
    "pad": ("[PAD]", "<pad>", "<|padding|>", "<|pad|>"),
    "unk": ("[UNK]", "<unk>"),
    "cls": ("[CLS]", "<cls>"),
    "sep": ("[SEP]", "<sep>"),
    "mask": ("[MASK]", "<mask>"),
    "bos": ("<s>", "<bos>", "<|begin_of_text|>", "<|startoftext|>"),
    "eos": ("</s>", "<eos>", "<|end_of_text|>", "<|endoftext|>"),
}

_BYTE_PIECE = re.compile(r"<0x[0-9A-Fa-f]{2}>")
_BRACKETED = re.compile(r"[<\[].+[>\]]", re.DOTALL)


@dataclass(frozen=True)
class FrameStep:
    """One step of the frame around a text: a special token (`token_id`), or a sequence (0 text, 1 pair)."""

    type_id: int
    token_id: int | None = None
    sequence: int | None = None


class Encoding:
    """The tokens of one text (or pair of texts); every field is a list as long as `ids`.

    Fields are fetched from the compiled library when first read, so asking only for `ids` costs only the ids.
    """

    __slots__ = ("_ids", "_offsets", "_raw")

    def __init__(self, raw: tokenizers.Encoding) -> None:
        self._raw = raw
        self._ids: list[int] | None = None
        self._offsets: list[tuple[int, int]] | None = None

    @property
    def ids(self) -> list[int]:
        """Token ids."""
        if self._ids is None:
            self._ids = self._raw.ids
        return self._ids

    @property
    def type_ids(self) -> list[int]:
        """Segment of each token, as the tokenizer's own template numbers them (`token_type_ids`)."""
        return self._raw.type_ids

    @property
    def offsets(self) -> list[tuple[int, int]]:
        """`(start, end)` of each token in the Python string it came from; `(0, 0)` for special tokens."""
        if self._offsets is None:
            self._offsets = self._raw.offsets
        return self._offsets

    @property
    def special_tokens_mask(self) -> list[int]:
        """1 for tokens the template added, 0 for tokens of the text."""
        return self._raw.special_tokens_mask

    @property
    def word_ids(self) -> list[int | None]:
        """Number of the word (as the pre-tokenizer splits) each token belongs to; None for special tokens."""
        return self._raw.word_ids

    @property
    def sequence_ids(self) -> list[int | None]:
        """0 for tokens of the text, 1 for tokens of the pair, None for special tokens."""
        return self._raw.sequence_ids

    @property
    def tokens(self) -> list[str]:
        """The tokens as the vocabulary spells them."""
        return self._raw.tokens

    def __len__(self) -> int:
        return len(self._raw)

    def __repr__(self) -> str:
        return f"Encoding({len(self)} tokens)"


class Tokenizer:
    """A tokenizer with its special tokens and settings.

    Ordinary text gets exactly the ids `transformers` gives. That includes its default that a special token written in
    the text (`"[SEP]"`) becomes the special id; `allow_special=False` encodes such text as plain characters instead,
    which is right for text that comes from outside.

    Args:
        raw: the compiled tokenizer; its padding and truncation are switched off, because they cut silently.
        settings: special tokens and options.
        files: original files by name, written back unchanged by `save`.
    """

    def __init__(
        self,
        raw: tokenizers.Tokenizer,
        settings: TokenizerSettings | None = None,
        files: dict[str, bytes] | None = None,
    ) -> None:
        with tokenizer_errors("this tokenizer cannot be set up"):
            raw.no_truncation()
            raw.no_padding()
            if getattr(raw.model, "dropout", None):
                # Dropout of merges is for training the vocabulary's robustness; inference is deterministic.
                raw.model.dropout = None
        self._raw = raw
        self.settings = settings or TokenizerSettings()
        self._files = dict(files or {})
        self._literal: tuple[tokenizers.Tokenizer, dict[str, str]] | None = None
        self._lock = threading.Lock()

    # -- making ---------------------------------------------------------------------------------------------------

    @classmethod
    def load(cls, folder: Path | str, model_type: str | None = None) -> "Tokenizer | None":
        """Load the tokenizer files of a checkpoint folder.

        Args:
            folder: holds `tokenizer.json`, else `vocab.txt`, else `vocab.json` and `merges.txt`, else a SentencePiece
                model (`spiece.model`, `sentencepiece.bpe.model`, `tokenizer.model`, `spm.model`).
            model_type: of `config.json`; decides normalisation and special tokens where the files leave them open.

        Returns:
            the tokenizer, or None where the folder has no tokenizer files.

        Raises:
            TextError: a file is damaged, hostile or of an unknown kind.
        """
        folder = Path(folder)
        files = _read_folder(folder)
        if not any(name in files for name in _VOCABULARY_FILES if name != "merges.txt"):
            return None
        where = str(folder)
        settings = read_settings(files, where)
        data, source, family = _tokenizer_data(files, settings, model_type, where)
        if data is None:
            return None
        return cls._from_data(data, settings, files, f"{where}/{source}", family)

    @classmethod
    def from_json(cls, content: bytes, /, where: str = "tokenizer.json", **special: str) -> "Tokenizer":
        """Load the content of one `tokenizer.json`; `special` names roles, as in `from_tokenizers`."""
        data = parse_json(content, where)
        settings = TokenizerSettings().with_named(**special)
        return cls._from_data(data, settings, {"tokenizer.json": content}, where)

    @classmethod
    def from_tokenizers(cls, raw: tokenizers.Tokenizer, /, **special: Any) -> "Tokenizer":
        """Wrap a `tokenizers.Tokenizer` made elsewhere, for example from the vocabulary inside a GGUF file.

        Args:
            raw: the tokenizer.
            special: `bos="<s>"`, `eos=...`, `unk=`, `sep=`, `pad=`, `cls=`, `mask=` (a trailing `_token` is allowed),
                `model_max_length=512`, `add_bos=True`, `add_eos=True`, `chat_template="..."`.

        Raises:
            TextError: an unknown role.
        """
        options = {name.removesuffix("_token"): value for name, value in special.items() if value is not None}
        settings = TokenizerSettings(
            model_max_length=options.pop("model_max_length", None),
            add_bos=options.pop("add_bos", None),
            add_eos=options.pop("add_eos", None),
            chat_template=options.pop("chat_template", None),
        ).with_named(**options)
        tokenizer = cls(raw, settings)
        tokenizer._complete(None, where="this tokenizer")
        return tokenizer

    @classmethod
    def _from_data(
        cls, data: Any, settings: TokenizerSettings, files: dict[str, bytes], where: str, family: str | None = None
    ) -> "Tokenizer":
        screen_tokenizer(data, where)
        text = files["tokenizer.json"].decode("utf-8-sig") if "tokenizer.json" in files else None
        if text is None or data.get("padding") is not None or data.get("truncation") is not None:
            # Stored padding and truncation are never used, and a hostile length in them would be.
            text = json.dumps({**data, "padding": None, "truncation": None}, ensure_ascii=False)
        with tokenizer_errors(f"{where}: the tokenizer library refuses this file"):
            raw = tokenizers.Tokenizer.from_str(text)
            for entry in data.get("added_tokens") or []:
                if raw.token_to_id(entry["content"]) != entry["id"]:
                    raise TextError(
                        f"{where}: added token {entry['content'][:40]!r} has the id {entry['id']}, but the next free "
                        f"id is {raw.token_to_id(entry['content'])}; renumber `added_tokens` without gaps."
                    )
        tokenizer = cls(raw, settings, files)
        tokenizer._complete(family, where)
        return tokenizer

    @classmethod
    def train(
        cls,
        texts: Iterable[str],
        kind: Literal["wordpiece", "unigram", "bpe"] = "wordpiece",
        vocab_size: int = 8000,
        lowercase: bool = False,
    ) -> "Tokenizer":
        """Learn a vocabulary from texts, for a model trained from scratch.

        Args:
            texts: the corpus.
            kind: `wordpiece` (framed like BERT), `unigram` (framed like XLM-R) or `bpe` (byte-level, no frame, with
                `<|endoftext|>` and `<|padding|>`).
            vocab_size: at most this many tokens, special tokens included.
            lowercase: fold case first (not for `bpe`).

        Raises:
            TextError: too little text for such a vocabulary, or an unknown kind.
        """
        if kind not in _RECIPES:
            raise TextError(f"{kind!r} is no kind of tokenizer to train; choose {', '.join(_RECIPES)}.")
        if not 8 <= vocab_size <= 2_000_000:
            raise TextError(f"a vocabulary of {vocab_size} tokens; choose 8 to 2,000,000.")
        with tokenizer_errors(f"cannot train a {kind} vocabulary of {vocab_size} tokens on these texts"):
            listed = list(_encodable(texts))
            if not any(text.strip() for text in listed):
                raise TextError("there is no text to learn a vocabulary from.")
            raw, special = _RECIPES[kind](listed, vocab_size, lowercase)
            if kind != "bpe":
                _frame_trained(raw, special["cls"], special["sep"])
        return cls.from_tokenizers(raw, **special)

    def _complete(self, family: str | None, where: str) -> None:
        """Give every special token its id and role, and the frame that the settings ask for."""
        with tokenizer_errors(f"{where}: its special tokens cannot be set"):
            self._add_numbered(where)
            if family is not None:
                usual = self.settings.with_family(family)
                # DeBERTa-v2 publishes its mask token nowhere but here; elsewhere an absent token has no embedding row.
                missing_too = family == "deberta-v2"
                named = {
                    role: flags
                    for role, flags in usual.named.items()
                    if missing_too or role in self.settings.named or self._raw.token_to_id(flags.content) is not None
                }
                self.settings = replace(self.settings, named=named)
            self._add_missing(
                [self.settings.named[role] for role in ROLES if role in self.settings.named] + [*self.settings.extra]
            )
            self._apply_bos_eos()
        if family is None or family == "plain":
            self._guess_roles()
            self._roles_from_frame()

    def _add_numbered(self, where: str) -> None:
        known = {token.content for token in self._raw.get_added_tokens_decoder().values()}
        for number, flags in sorted(self.settings.numbered.items()):
            if flags.content in known:
                found = self._raw.token_to_id(flags.content)
            else:
                self._raw.add_tokens([_added_token(flags)])
                found = self._raw.token_to_id(flags.content)
            if found != number:
                raise TextError(
                    f"{where}: the settings give the token {flags.content[:40]!r} the id {number}, the vocabulary "
                    f"gives it {found}; the files do not belong together."
                )

    def _add_missing(self, wanted: list[AddedFlags]) -> None:
        known = {token.content: token for token in self._raw.get_added_tokens_decoder().values()}
        missing = []
        for flags in wanted:
            found = known.get(flags.content)
            if found is None:
                found = known[flags.content] = _added_token(flags, special=True)
                missing.append(found)
            elif not found.special:
                # A list of special tokens has the last word over `added_tokens.json`, which knows no such flag.
                found.special = True
                missing.append(found)
        if missing:
            self._raw.add_special_tokens(missing)

    def _guess_roles(self) -> None:
        special = {token.content for token in self._raw.get_added_tokens_decoder().values() if token.special}
        found = {}
        for role, names in _USUAL_NAMES.items():
            name = next((name for name in names if name in special), None)
            if role not in self.settings.named and name is not None:
                found[role] = name
        if found:
            self.settings = self.settings.with_named(**found)

    def _roles_from_frame(self) -> None:
        # RoBERTa and its kin frame a text like BERT does but call the two ends <s> and </s>.
        if "cls" in self.settings.named or "sep" in self.settings.named:
            return
        steps = self.frame(pair=False)
        if len(steps) == 3 and steps[0].token_id is not None and steps[2].token_id is not None:
            cls, sep = (self._raw.id_to_token(number) for number in (steps[0].token_id, steps[2].token_id))
            if cls and sep:
                self.settings = self.settings.with_named(cls=cls, sep=sep)

    def _apply_bos_eos(self) -> None:
        settings = self.settings
        if settings.add_bos is None and settings.add_eos is None:
            return
        bos = settings.named.get("bos") if settings.add_bos else None
        eos = settings.named.get("eos") if settings.add_eos else None
        if bos is None and eos is None and self._raw.num_special_tokens_to_add(False) == 0:
            return
        front = [f"{bos.content}:{{0}}"] if bos else []
        back = [f"{eos.content}:{{0}}"] if eos else []
        first = [part.format(0) for part in front] + ["$A:0"] + [part.format(0) for part in back]
        second = [part.format(1) for part in front] + ["$B:1"] + [part.format(1) for part in back]
        tokens = [(flags.content, self._raw.token_to_id(flags.content)) for flags in (bos, eos) if flags]
        step: Any = tokenizers.processors.TemplateProcessing(
            single=first, pair=first + second, special_tokens=list(dict(tokens).items())
        )
        before = self._raw.post_processor
        if isinstance(before, tokenizers.processors.ByteLevel):
            # It only trims the space off the offsets, which a frame does not replace.
            step = tokenizers.processors.Sequence([before, step])
        self._raw.post_processor = step

    # -- text to ids ----------------------------------------------------------------------------------------------

    def encode(
        self, text: str, pair: str | None = None, add_special_tokens: bool = True, *, allow_special: bool = True
    ) -> Encoding:
        """Encode one text, or two that belong together.

        Args:
            text: the text.
            pair: a second text (premise and hypothesis, question and context).
            add_special_tokens: frame it as the model expects (`[CLS] ... [SEP]`).
            allow_special: whether a special token spelled out in the text becomes its id, which is what `transformers`
                does; False makes it plain text, so no text can smuggle a control token in.

        Raises:
            TextError: the text is not a string or holds half of a surrogate pair.
        """
        raw = self._raw if allow_special else self._literal_tokenizer()[0]
        try:
            with tokenizer_errors("the text cannot be encoded"):
                return Encoding(raw.encode(text, pair, add_special_tokens=add_special_tokens))
        except TextError as error:
            raise _text_problem([text], [pair] if pair is not None else None) or error from error

    def encode_batch(
        self,
        texts: Sequence[str],
        pairs: Sequence[str] | None = None,
        add_special_tokens: bool = True,
        *,
        allow_special: bool = True,
        offsets: bool = True,
    ) -> list[Encoding]:
        """Encode many texts at once, on all cores and without holding the interpreter.

        Args:
            texts, pairs: the texts; `pairs` has one for each.
            add_special_tokens, allow_special: as in `encode`.
            offsets: False skips the positions in the text (all `(0, 0)`), which is faster.

        Raises:
            TextError: names the row that cannot be encoded.
        """
        raw = self._raw if allow_special else self._literal_tokenizer()[0]
        texts = list(texts)
        if pairs is not None:
            pairs = list(pairs)
            if len(pairs) != len(texts):
                raise TextError(f"{len(texts)} texts but {len(pairs)} pairs; give one pair for each text.")
        rows: Any = texts if pairs is None else list(zip(texts, pairs))
        encode = raw.encode_batch if offsets else raw.encode_batch_fast
        try:
            with tokenizer_errors("the texts cannot be encoded"):
                return [Encoding(row) for row in encode(rows, add_special_tokens=add_special_tokens)]
        except TextError as error:
            raise _text_problem(texts, pairs) or error from error

    def encode_words(self, words: Sequence[str]) -> Encoding:
        """Encode a text that is split into words already, each by itself, without a frame.

        Returns:
            the tokens; `offsets` count the characters of a token's own word, and `word_ids` number the words.

        Raises:
            TextError: a word is not a string or holds half of a surrogate pair.
        """
        listed = list(words)
        try:
            with tokenizer_errors("the words cannot be encoded"):
                return Encoding(self._raw.encode(listed, is_pretokenized=True, add_special_tokens=False))
        except TextError as error:
            raise _text_problem(listed, None) or error from error

    def join(self, tokens: Sequence[str]) -> str:
        """Tokens, as the vocabulary spells them, as one text, however the tokenizer writes what it split."""
        decoder = self._raw.decoder
        return " ".join(tokens) if decoder is None else str(decoder.decode(list(tokens)))

    def of_targets(self) -> "Tokenizer":
        """The tokenizer of what an encoder-decoder writes: this one, but for Marian, which has a model for each side.

        Raises:
            TextError: the target's SentencePiece model is damaged.
        """
        if "target.spm" not in self._files or "vocab.json" not in self._files:
            return self
        target = read_model(self._files["target.spm"], "target.spm")
        data = marian_tokenizer(self._files["vocab.json"], target, self.settings.raw, "this tokenizer")
        return Tokenizer._from_data(data, self.settings, {}, "target.spm", "marian")

    def encode_parts(self, parts: Sequence[tuple[str, bool]]) -> list[int]:
        """Encode one text given in parts, of which some are control tokens and all others are plain text.

        Args:
            parts: `(text, is_control)`; a control part is one of `control_tokens` and becomes its id, in the others
                nothing does. The parts are encoded as one text, without a frame.

        Returns:
            token ids.

        Raises:
            TextError: an unknown control token, or text that cannot be encoded.
        """
        raw, names = self._literal_tokenizer()
        unknown = next((text for text, control in parts if control and text not in names), None)
        if unknown is not None:
            raise TextError(f"{unknown[:40]!r} is no control token of this tokenizer.")
        joined = "".join(names[text] if control else text for text, control in parts)
        try:
            with tokenizer_errors("the text cannot be encoded"):
                return raw.encode(joined, add_special_tokens=False).ids
        except TextError as error:
            raise _text_problem([joined], None) or error from error

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        """The text of token ids; special tokens are left out unless asked for.

        Raises:
            TextError: an id that is not a number from 0 to 2**32 - 1.
        """
        with tokenizer_errors("these ids cannot be decoded"):
            text = self._raw.decode([int(number) for number in ids], skip_special_tokens=skip_special_tokens)
            suffix = getattr(self._raw.model, "end_of_word_suffix", None)
            if suffix and isinstance(self._raw.decoder, tokenizers.decoders.ByteLevel):
                # CLIP: bytes with an end-of-word mark, which the byte decoder leaves in.
                text = text.replace(suffix, " ").strip()
            return text

    def token_to_id(self, token: str) -> int | None:
        """The id of a token, None where there is no such token."""
        with tokenizer_errors("this token cannot be looked up"):
            return self._raw.token_to_id(token)

    def id_to_token(self, number: int) -> str | None:
        """The token of an id, None where there is no such id."""
        with tokenizer_errors("this id cannot be looked up"):
            return self._raw.id_to_token(number)

    def frame(self, pair: bool = False) -> list[FrameStep]:
        """The special tokens around a text (or two), in order, as the tokenizer's own template puts them."""
        return self._pair_frame if pair else self._single_frame

    @cached_property
    def _single_frame(self) -> list[FrameStep]:
        return self._probe_frame(pair=False)

    @cached_property
    def _pair_frame(self) -> list[FrameStep]:
        return self._probe_frame(pair=True)

    def _probe_frame(self, pair: bool) -> list[FrameStep]:
        with tokenizer_errors("the template of this tokenizer cannot be read"):
            texts: Iterator[str] = iter(["a", "1", ".", "가", "the", "<", "\n", "Z", *self._raw.get_vocab()])
            probe = next((text for text in texts if self._raw.encode(text, add_special_tokens=False).ids), None)
            if probe is None:
                raise TextError("no text gives a token.")
            framed = self._raw.encode(probe, probe if pair else None)
            steps: list[FrameStep] = []
            for number, type_id, sequence in zip(framed.ids, framed.type_ids, framed.sequence_ids):
                if sequence is None:
                    steps.append(FrameStep(type_id, token_id=number))
                elif not steps or steps[-1].sequence != sequence:
                    steps.append(FrameStep(type_id, sequence=sequence))
            return steps

    # -- control tokens in foreign text ---------------------------------------------------------------------------

    @cached_property
    def control_tokens(self) -> frozenset[str]:
        """Tokens that steer the model: special ones, and added ones written in brackets (`<think>`, `[TOOL]`)."""
        added = self._raw.get_added_tokens_decoder().values()
        return frozenset(
            token.content
            for token in added
            if (token.special or _BRACKETED.fullmatch(token.content)) and not _BYTE_PIECE.fullmatch(token.content)
        )

    def _literal_tokenizer(self) -> tuple[tokenizers.Tokenizer, dict[str, str]]:
        """A twin with the same ids in which control tokens have names that no text can contain.

        Returns:
            the twin, and control token to secret name.
        """
        with self._lock:
            if self._literal is None:
                with tokenizer_errors("a tokenizer without control tokens cannot be made"):
                    self._literal = self._make_literal()
            return self._literal

    def _make_literal(self) -> tuple[tokenizers.Tokenizer, dict[str, str]]:
        # Letters and digits only, so that no normaliser changes or removes them; random, so that no text has them.
        nonce = secrets.token_hex(12)
        names = {token: f"zq{nonce}{index:06x}qz" for index, token in enumerate(sorted(self.control_tokens))}
        data = json.loads(self._raw.to_str())
        model = data["model"]
        vocabulary = model["vocab"]
        if isinstance(vocabulary, list):
            model["vocab"] = [[names.get(token, token), score] for token, score in vocabulary]
        else:
            model["vocab"] = {names.get(token, token): number for token, number in vocabulary.items()}
        if "merges" in model:
            model["merges"] = [merge for merge in model["merges"] if not _touches(merge, names)]
        if model.get("unk_token") in names:
            model["unk_token"] = names[model["unk_token"]]
        for entry in data["added_tokens"]:
            entry["content"] = names.get(entry["content"], entry["content"])
        return tokenizers.Tokenizer.from_str(json.dumps(data, ensure_ascii=False)), names

    # -- facts ----------------------------------------------------------------------------------------------------

    def _role_id(self, role: str) -> int | None:
        flags = self.settings.named.get(role)
        return None if flags is None else self._raw.token_to_id(flags.content)

    @property
    def pad_id(self) -> int | None:
        """Id of the padding token, None where there is none."""
        return self._role_id("pad")

    @property
    def bos_id(self) -> int | None:
        """Id of the beginning-of-sequence token."""
        return self._role_id("bos")

    @property
    def eos_id(self) -> int | None:
        """Id of the end-of-sequence token."""
        return self._role_id("eos")

    @property
    def unk_id(self) -> int | None:
        """Id of the unknown token."""
        return self._role_id("unk")

    @property
    def cls_id(self) -> int | None:
        """Id of the classification token."""
        return self._role_id("cls")

    @property
    def sep_id(self) -> int | None:
        """Id of the separator token."""
        return self._role_id("sep")

    @property
    def mask_id(self) -> int | None:
        """Id of the mask token."""
        return self._role_id("mask")

    @property
    def special_tokens(self) -> dict[str, str]:
        """Role (`"cls"`, `"pad"`, ...) to token."""
        return {role: self.settings.named[role].content for role in ROLES if role in self.settings.named}

    @property
    def chat_template(self) -> str | None:
        """The Jinja template of a chat model, None where there is none."""
        return self.settings.chat_template

    @property
    def vocab_size(self) -> int:
        """Number of tokens, added tokens included."""
        return self._raw.get_vocab_size(with_added_tokens=True)

    @cached_property
    def max_id(self) -> int:
        """The largest id; the embedding needs `max_id + 1` rows."""
        return max(self._raw.get_vocab(with_added_tokens=True).values(), default=-1)

    @property
    def model_max_length(self) -> int | None:
        """How many tokens the model takes, None where the files do not say."""
        return self.settings.model_max_length

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of the canonical `tokenizer.json`: equal digests encode every text equally."""
        data = json.loads(self._raw.to_str())
        canonical = json.dumps(data, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()

    def to_tokenizers(self) -> tokenizers.Tokenizer:
        """The compiled tokenizer inside, shared and not copied."""
        return self._raw

    def __repr__(self) -> str:
        return f"Tokenizer({type(self._raw.model).__name__}, {self.vocab_size} tokens, {self.special_tokens})"

    # -- saving ---------------------------------------------------------------------------------------------------

    def save(self, folder: Path | str) -> None:
        """Write `tokenizer.json`, `tokenizer_config.json` and `special_tokens_map.json`.

        A tokenizer that was loaded from a folder writes the files it read, byte for byte, and only adds what was
        missing. `transformers.AutoTokenizer` gives the same ids from the result.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        files = dict(self._files)
        if "tokenizer.json" not in files:
            files["tokenizer.json"] = self._raw.to_str(pretty=True).encode()
        if "tokenizer_config.json" not in files:
            files["tokenizer_config.json"] = _json_bytes(self._config())
        if "special_tokens_map.json" not in files:
            named = self.settings.named
            files["special_tokens_map.json"] = _json_bytes(
                {f"{role}_token": named[role].content for role in ROLES if role in named}
            )
        for name, content in files.items():
            # A reader never sees half a file.
            partial = folder / f".{name}.partial"
            partial.write_bytes(content)
            os.replace(partial, folder / name)

    def _config(self) -> dict[str, Any]:
        types = any(step.type_id for step in self.frame(pair=True))
        config: dict[str, Any] = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "clean_up_tokenization_spaces": False,
            "model_input_names": ["input_ids", *(["token_type_ids"] if types else []), "attention_mask"],
            "model_max_length": self.settings.model_max_length or 10**30,
        }
        config |= {f"{role}_token": token for role, token in self.special_tokens.items()}
        if self.settings.extra:
            config["additional_special_tokens"] = [flags.content for flags in self.settings.extra]
        if self.settings.chat_template is not None:
            config["chat_template"] = self.settings.chat_template
        return config


def check_fits(tokenizer: Tokenizer, embedding_rows: int) -> None:
    """Refuse a tokenizer that can produce ids the model has no embedding for.

    Args:
        tokenizer: the tokenizer.
        embedding_rows: rows of the token embedding.

    Raises:
        TextError: naming the first tokens without a row.
    """
    if tokenizer.max_id < embedding_rows:
        return
    outside = sorted(
        (number, token) for token, number in tokenizer.to_tokenizers().get_vocab().items() if number >= embedding_rows
    )
    named = ", ".join(f"{token[:30]!r} ({number})" for number, token in outside[:3])
    raise TextError(
        f"the tokenizer has {len(outside)} tokens whose ids the model's {embedding_rows} embedding rows do not hold: "
        f"{named}{', ...' if len(outside) > 3 else ''}. Use the tokenizer that belongs to this checkpoint, or "
        f"resize the embedding to {tokenizer.max_id + 1} rows."
    )


def _read_folder(folder: Path) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    for name in (*_VOCABULARY_FILES, *_SETTINGS_FILES):
        path = folder / name
        try:
            if not path.is_file():
                continue
            if path.stat().st_size > MAX_BYTES:
                raise TextError(f"{path}: {path.stat().st_size:,} bytes, more than a tokenizer file has.")
            files[name] = path.read_bytes()
        except OSError as error:
            raise TextError(f"{path}: cannot be read ({error.strerror}).") from None
    return files


def _tokenizer_data(
    files: dict[str, bytes], settings: TokenizerSettings, model_type: str | None, where: str
) -> tuple[Any, str, str | None]:
    """The content of a `tokenizer.json`, the file it came from, and the family whose roles apply."""
    if "tokenizer.json" in files:
        return parse_json(files["tokenizer.json"], f"{where}/tokenizer.json"), "tokenizer.json", None
    if "vocab.txt" in files:
        data = wordpiece_tokenizer(files["vocab.txt"], settings.raw, model_type, f"{where}/vocab.txt")
        return data, "vocab.txt", "mpnet" if model_type == "mpnet" else "wordpiece"
    if "vocab.json" in files and "merges.txt" in files:
        data = byte_pair_tokenizer(files["vocab.json"], files["merges.txt"], settings.raw, model_type, where)
        return data, "vocab.json", byte_pair_family(model_type, settings.raw, data["model"]["vocab"])
    if "vocab.json" in files and "source.spm" in files:
        source = read_model(files["source.spm"], f"{where}/source.spm")
        return marian_tokenizer(files["vocab.json"], source, settings.raw, where), "vocab.json", "marian"
    for name in _SENTENCEPIECE_FILES:
        if name in files:
            model = read_model(files[name], f"{where}/{name}")
            style = style_of(model_type, model)
            return sentencepiece_tokenizer(model, style, settings.raw), name, style
    return None, "", None


def _added_token(flags: AddedFlags, special: bool | None = None) -> tokenizers.AddedToken:
    return tokenizers.AddedToken(
        flags.content,
        single_word=flags.single_word,
        lstrip=flags.lstrip,
        rstrip=flags.rstrip,
        normalized=flags.normalized,
        special=flags.special if special is None else special,
    )


def _touches(merge: Any, names: dict[str, str]) -> bool:
    left, right = merge.split(" ") if isinstance(merge, str) else merge
    return left in names or right in names or left + right in names


def _text_problem(texts: Sequence[Any], pairs: Sequence[Any] | None) -> TextError | None:
    """The first row that is no text, described; looked for only after encoding has failed."""
    several = len(texts) > 1
    for label, rows in (("text", texts), ("pair", pairs or [])):
        for index, text in enumerate(rows):
            name = f"{label} {index}" if several else f"the {label}"
            if not isinstance(text, str):
                return TextError(f"{name} is {type(text).__name__}, not a string; convert it or leave the row out.")
            try:
                text.encode("utf-8")
            except UnicodeEncodeError as error:
                return TextError(
                    f"{name} holds half of a surrogate pair (U+{ord(text[error.start]):04X}) at character "
                    f"{error.start}, which is not text; repair it with "
                    f"`text.encode('utf-16', 'surrogatepass').decode('utf-16', 'replace')`."
                )
    return None


def _json_bytes(value: Any) -> bytes:
    return (json.dumps(value, ensure_ascii=False, indent=2) + "\n").encode()


def _encodable(texts: Iterable[str]) -> Iterator[str]:
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            raise TextError(f"text {index} is {type(text).__name__}, not a string.")
        if not text.isascii():
            problem = _text_problem([text], None)
            if problem:
                raise TextError(str(problem).replace("the text", f"text {index}", 1))
        yield text


def _frame_trained(raw: tokenizers.Tokenizer, cls: str, sep: str) -> None:
    bert = cls == "[CLS]"
    pair = f"{cls}:0 $A:0 {sep}:0 $B:1 {sep}:1" if bert else f"{cls}:0 $A:0 {sep}:0 {sep}:0 $B:0 {sep}:0"
    raw.post_processor = tokenizers.processors.TemplateProcessing(
        single=f"{cls}:0 $A:0 {sep}:0",
        pair=pair,
        special_tokens=[(cls, raw.token_to_id(cls)), (sep, raw.token_to_id(sep))],
    )


#: Characters a trained vocabulary holds at most; rarer ones become unknown (the default of the library's trainers).
_ALPHABET = 1000


def _wordpiece_recipe(
    texts: list[str], vocab_size: int, lowercase: bool
) -> tuple[tokenizers.Tokenizer, dict[str, str]]:
    special = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
    # Accents stay: taking them off would also take Hangul syllables apart.
    normalizer = tokenizers.normalizers.BertNormalizer(strip_accents=False, lowercase=lowercase)
    words = tokenizers.pre_tokenizers.BertPreTokenizer()
    counts: Counter[str] = Counter()
    for text in texts:
        for word, _ in words.pre_tokenize_str(normalizer.normalize_str(text)):
            counts.update(word[:1])
            counts.update("##" + character for character in word[1:])
    singles: Counter[str] = Counter()
    for token, count in counts.items():
        singles[token[-1]] += count
    alphabet = sorted(singles, key=lambda character: (-singles[character], character))[:_ALPHABET]
    inner = sorted(token for token in counts if token.startswith("##") and token[-1] in set(alphabet))
    # The trainer numbers characters inside words in the order of a hash map, which decides ties and differs from run
    # to run; naming them among the special tokens fixes their order. The result keeps only the real special tokens.
    learner = tokenizers.Tokenizer(tokenizers.models.WordPiece(unk_token="[UNK]"))
    learner.normalizer, learner.pre_tokenizer = normalizer, words
    trainer = tokenizers.trainers.WordPieceTrainer(
        vocab_size=vocab_size,
        special_tokens=[*special.values(), *inner],
        initial_alphabet=alphabet,
        limit_alphabet=len(alphabet),
        show_progress=False,
    )
    learner.train_from_iterator(texts, trainer)
    raw = tokenizers.Tokenizer(
        tokenizers.models.WordPiece(learner.get_vocab(with_added_tokens=False), unk_token="[UNK]")
    )
    raw.normalizer, raw.pre_tokenizer = normalizer, words
    raw.decoder = tokenizers.decoders.WordPiece()
    raw.add_special_tokens(list(special.values()))
    return raw, special


def _unigram_recipe(texts: list[str], vocab_size: int, lowercase: bool) -> tuple[tokenizers.Tokenizer, dict[str, str]]:
    import sentencepiece

    special = {
        "bos": "<s>",
        "pad": "<pad>",
        "eos": "</s>",
        "unk": "<unk>",
        "mask": "<mask>",
        "cls": "<s>",
        "sep": "</s>",
    }
    # SentencePiece's own trainer (Kudo 2018): that of `tokenizers` gives another vocabulary in every process.
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_writer=written,
        vocab_size=vocab_size,
        model_type="unigram",
        hard_vocab_limit=False,
        character_coverage=0.9999,
        normalization_rule_name="nmt_nfkc_cf" if lowercase else "nmt_nfkc",
        max_sentence_length=2**20,
        num_threads=4,
        minloglevel=3,
        bos_id=0,
        pad_id=1,
        eos_id=2,
        unk_id=3,
        control_symbols=["<mask>"],
    )
    model = read_model(written.getvalue(), "the trained vocabulary")
    data = sentencepiece_tokenizer(model, "plain", {})
    raw = tokenizers.Tokenizer.from_str(json.dumps(data, ensure_ascii=False))
    raw.add_special_tokens(list(dict.fromkeys(special.values())))
    return raw, special


def _bpe_recipe(texts: list[str], vocab_size: int, lowercase: bool) -> tuple[tokenizers.Tokenizer, dict[str, str]]:
    special = {"eos": "<|endoftext|>", "pad": "<|padding|>"}
    raw = tokenizers.Tokenizer(tokenizers.models.BPE())
    raw.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = tokenizers.decoders.ByteLevel()
    raw.post_processor = tokenizers.processors.ByteLevel(trim_offsets=True)
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(special.values()),
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw.train_from_iterator(texts, trainer)
    return raw, special


_RECIPES = {"wordpiece": _wordpiece_recipe, "unigram": _unigram_recipe, "bpe": _bpe_recipe}

__all__ = ["NO_LIMIT", "Encoding", "FrameStep", "Tokenizer", "check_fits"]
