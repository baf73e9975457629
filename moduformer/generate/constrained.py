"""Text bound to a form: a regular expression or a JSON schema, by masks from `llguidance` (extra `constrained`).

The mask of a step holds the tokens after which the text can still be completed, so a text that the model ends follows
the form; one that `max_new_tokens` cuts off is the beginning of such a text.
"""

from __future__ import annotations

import json
import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from moduformer.errors import TextError
from moduformer.generate.decoding import Row
from moduformer.generate.processors import NEVER, Processor
from moduformer.generate.spelling import spelling
from moduformer.generate.strategies import Request
from moduformer.text.rust import tokenizer_errors

if TYPE_CHECKING:
    from moduformer.model import Model
    from moduformer.text.tokenizer import Tokenizer

_KNOWN: WeakKeyDictionary[Tokenizer, dict[Any, Any]] = WeakKeyDictionary()
_COMPACT = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
"""JSON in one line, as `json.dumps` writes it: free white space is room for a model to get lost in."""


def constraint(model: Model, request: Request) -> Processor:
    """The processor that keeps a text to the settings' `regex` (the whole new text matches it) or `json_schema`.

    The form is that of the text as `Tokenizer.decode` gives it for the new tokens. Raises `TextError`: `llguidance` is
    not installed, a form it cannot read, a model without end token or tokenizer, a tokenizer whose tokens are not
    spelled in bytes (WordPiece).
    """
    settings = request.settings
    try:
        import llguidance
    except ModuleNotFoundError as error:
        if error.name != "llguidance":
            raise
        raise TextError(
            "regex and json_schema need the extra `constrained`: pip install 'moduformer[constrained]'"
        ) from None
    if request.tokenizer is None:
        raise TextError("a text can be bound to a form only where there is a tokenizer; this model came without one")
    if not request.ends:
        raise TextError("a bound text needs a token to end with, and this model has none; give eos_token_id")
    width = model.targets.tokens.weight.shape[0]
    spelled = spelling(request.tokenizer)
    if settings.regex is not None:
        what = "this regular expression"
        grammar = _regex_grammar(settings.regex, spelled.strips)
    else:
        what = "this JSON schema"
        grammar = _json_grammar(_schema(settings.json_schema), spelled.strips)
    with tokenizer_errors(f"{what} cannot be used"):
        matcher = llguidance.LLMatcher(_tokens(request.tokenizer, width, request.ends), grammar, log_level=0)
    if matcher.is_error():
        raise TextError(f"{what} cannot be used: {_reason(matcher)}")
    return Constraint(
        matcher,
        8 * ((width + 31) // 32 * 4),
        request.ends,
        spelled.control - request.ends,
        what,
        settings.num_beams > 1,
    )


def _regex_grammar(regex: str, strips: bool) -> str:
    from llguidance import regex_to_lark

    return f"{_begin(strips)}form: /{regex_to_lark(regex, 'd')}/"


def _begin(strips: bool) -> str:
    # Decoding takes the first space away, whatever it belongs to.
    return 'start: " " form\n' if strips else "start: form\n"


def _schema(given: Mapping[str, Any] | str | None) -> Any:
    try:
        schema = json.loads(given) if isinstance(given, str) else json.loads(json.dumps(given))
    except json.JSONDecodeError as error:
        raise TextError(f"json_schema is no JSON: {error.msg} in line {error.lineno}, column {error.colno}") from None
    except (RecursionError, TypeError, ValueError) as error:
        raise TextError(f"json_schema is no JSON: {error}") from None
    if not isinstance(schema, dict):
        raise TextError(f"json_schema is a JSON {type(schema).__name__}; a schema is an object")
    return schema


def _json_grammar(schema: Any, strips: bool) -> str:
    own = schema.get("x-guidance", {})
    if not isinstance(own, dict):
        raise TextError("x-guidance in json_schema must be an object")
    text = json.dumps({**schema, "x-guidance": {**_COMPACT, **own}})
    return f"{_begin(strips)}form: %json {text}"


def _tokens(tokenizer: Tokenizer, width: int, ends: frozenset[int]) -> Any:
    """The tokens as `llguidance` wants them, made once for a tokenizer."""
    from llguidance import LLTokenizer, TokenizerWrapper

    kept = _KNOWN.setdefault(tokenizer, {})
    key = (width, ends)
    if key not in kept:
        with tokenizer_errors("the tokens of this tokenizer cannot be used to bind a text"):
            kept[key] = LLTokenizer(
                TokenizerWrapper(_Words(spelling(tokenizer).of(width), tokenizer, ends)), width, sorted(ends), None
            )
    return kept[key]


class _Words:
    """What `llguidance` asks of a tokenizer."""

    bos_token_id = None

    def __init__(self, words: Sequence[bytes | None], tokenizer: Tokenizer, ends: frozenset[int]) -> None:
        self.eos_token_id = min(ends)
        # Beyond what can be written are tokens of control, and rows of the table that no token has.
        self.special_token_ids = [i for i, word in enumerate(words) if word is None or i in ends]
        never = frozenset(self.special_token_ids)
        self._unknown = next((i for i in self.special_token_ids if i not in ends), self.eos_token_id)
        self.tokens = [f"<|{i}|>".encode() if i in never or not word else word for i, word in enumerate(words)]
        self._tokenizer = tokenizer
        self._ids = {word: i for i, word in enumerate(self.tokens) if i not in never}
        self._longest = max(map(len, self._ids), default=0)

    def __call__(self, text: bytes | str) -> list[int]:
        data = text if isinstance(text, bytes) else text.encode()
        try:
            ids = self._tokenizer.encode(data.decode(), add_special_tokens=False, allow_special=False).ids
            if b"".join(self.tokens[number] for number in ids) == data:
                return ids
        except (UnicodeDecodeError, IndexError):
            pass
        # Half a character, or a tokenizer that puts a space before what it reads: the longest tokens, one by one.
        ids = []
        while data:
            size = next((n for n in range(min(len(data), self._longest), 0, -1) if data[:n] in self._ids), 0)
            # A byte that no token has is a token that may not be written, so that the form is known to end here.
            ids.append(self._ids[data[:size]] if size else self._unknown)
            data = data[max(size, 1) :]
        return ids


class Constraint:
    """A processor: forbids the tokens after which the text could not follow its form any more.

    Arguments:
        matcher: at the beginning of the form.
        width: how many bits its masks have.
        ends: tokens that end a text.
        silent: tokens that are no text, where other settings force them (a language at the beginning).
        what: names the form in errors.
        may_fail: a row may be left without any token, as a beam among others may.

    What is allowed depends on a row's new tokens alone, so beams, drafts and rows may come in any order. A silent token
    that other settings force is let through. Raises `TextError` where the form is too much for the library's limits,
    and where the vocabulary or the other settings leave no token that it allows.
    """

    def __init__(
        self, matcher: Any, width: int, ends: frozenset[int], silent: frozenset[int], what: str, may_fail: bool = False
    ) -> None:
        self._begin, self._silent, self._what, self._may_fail = matcher, silent, what, may_fail
        self._never = torch.tensor(sorted(silent), dtype=torch.long)
        self._only_end = torch.zeros(width, dtype=torch.bool).index_fill(0, torch.tensor(sorted(ends)), True)
        self._known: OrderedDict[tuple[int, ...], tuple[Any, Tensor]] = OrderedDict()

    def __call__(self, rows: Sequence[Row], logits: Tensor) -> Tensor:
        """See `Processor`."""
        room = max(256, 4 * len(rows))
        masks = []
        for row in rows:
            masks.append(self._state(tuple(row.new))[1])
            while len(self._known) > room:
                self._known.popitem(last=False)
        allowed = torch.stack(masks)[:, : logits.shape[-1]].to(logits.device)
        bound = logits.masked_fill(~allowed, NEVER)
        nothing = (bound == NEVER).all(-1)
        if bool(nothing.any()):
            places = logits.argmax(-1).tolist()
            silent = torch.tensor([place in self._silent for place in places], device=logits.device)
            forced = silent & ((logits != NEVER).sum(-1) == 1)
            if not self._may_fail and bool((nothing & ~forced).any()):
                raise TextError(
                    f"{self._what}, the vocabulary and the other settings leave no token to go on with; allow more, "
                    "or remove bad words, suppressed tokens, no_repeat_ngram_size or the least length"
                )
            bound = torch.where((nothing & forced)[:, None], logits, bound)
        return bound

    def _state(self, new: tuple[int, ...]) -> tuple[Any, Tensor]:
        found = self._known.get(new)
        if found is not None:
            self._known.move_to_end(new)
            return found
        length = next((n for n in range(len(new) - 1, 0, -1) if new[:n] in self._known), 0)
        matcher = (self._known[new[:length]][0] if length else self._begin).deep_copy()
        for token in new[length:]:
            # A forced token may have led away from the form; then there is nothing to follow any more.
            if token not in self._silent and not matcher.is_stopped():
                matcher.consume_token(token)
        self._known[new] = found = (matcher, self._mask(matcher))
        return found

    def _mask(self, matcher: Any) -> Tensor:
        if matcher.is_stopped():
            return self._only_end
        with tokenizer_errors(f"{self._what} cannot be followed"):
            bits = torch.frombuffer(bytearray(matcher.compute_bitmask()), dtype=torch.uint8)
        mask = ((bits[:, None] >> torch.arange(8, dtype=torch.uint8)) & 1).bool().flatten()
        mask[self._never[self._never < len(mask)]] = False
        # A form that goes on with what no token spells is an error of the matcher's too.
        if matcher.is_error() and matcher.stop_reason() != "NoExtensionBias":
            raise TextError(f"{self._what} is too much to follow: {_reason(matcher)}")
        return mask if not matcher.is_error() else torch.zeros_like(mask)


def _reason(matcher: Any) -> str:
    told = " ".join(matcher.get_error().split("<state>")[0].split())
    # Where it points at is the grammar around the form, which nobody has seen.
    return re.sub(r"^at \d+\(\d+\): | \d+ \| start: .*$", "", told)[:300]
