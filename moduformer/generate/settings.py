"""How a text is to be generated: the settings of Hugging Face's generate, checked, with the same names and defaults."""

from __future__ import annotations

import difflib
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from moduformer.errors import TextError
from moduformer.generate.processors import (
    BadWords,
    ForcedFirst,
    ForcedLast,
    FrequencyPenalty,
    MinLength,
    MinP,
    NoRepeatNgrams,
    PresencePenalty,
    Processor,
    RepetitionPenalty,
    Suppressed,
    Temperature,
    TopK,
    TopP,
    Typical,
)

if TYPE_CHECKING:
    from moduformer.model import Model

DEFAULT_NEW_TOKENS = 20
"""How many tokens are made where neither the caller nor the checkpoint says."""

MAX_TOKENS = 2**31
"""No text is longer."""


@dataclass(frozen=True)
class GenerationSettings:
    """Named as in Hugging Face, with its defaults (`top_k` is 50 there; 0 switches it off).

    Lengths: `max_length` and `min_length` count the prompt (or the decoder's prefix), the other two only new tokens,
    which have the last word; without either, 20 new tokens are made. `seed` makes sampling repeatable, and a
    prompt's text the same alone and in a batch: one number, or one a prompt. `regex` and
    `json_schema` bind the text to a form. Raises `TextError` for a value out of range.
    """

    max_new_tokens: int | None = None
    max_length: int | None = None
    min_new_tokens: int | None = None
    min_length: int = 0
    do_sample: bool = False
    temperature: float = 1.0
    top_k: int = 50
    top_p: float = 1.0
    min_p: float | None = None
    typical_p: float = 1.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    no_repeat_ngram_size: int = 0
    bad_words_ids: tuple[tuple[int, ...], ...] = ()
    suppress_tokens: tuple[int, ...] = ()
    begin_suppress_tokens: tuple[int, ...] = ()
    forced_bos_token_id: int | None = None
    forced_eos_token_id: tuple[int, ...] = ()
    num_beams: int = 1
    num_beam_groups: int = 1
    diversity_penalty: float = 0.0
    length_penalty: float = 1.0
    early_stopping: bool | str = False
    num_return_sequences: int = 1
    penalty_alpha: float | None = None
    prompt_lookup_num_tokens: int | None = None
    max_matching_ngram_size: int = 2
    num_assistant_tokens: int = 20
    eos_token_id: tuple[int, ...] = ()
    pad_token_id: int | None = None
    bos_token_id: int | None = None
    decoder_start_token_id: int | None = None
    stop_strings: tuple[str, ...] = ()
    regex: str | None = None
    json_schema: Mapping[str, Any] | str | None = None
    seed: int | tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        for name, (kind, low, high) in _RANGES.items():
            if getattr(self, name) is not None or _DEFAULTS[name] is not None:
                _check(name, getattr(self, name), kind, low, high)
        for name in ("suppress_tokens", "begin_suppress_tokens", "forced_eos_token_id", "eos_token_id"):
            for token in getattr(self, name):
                _check(name, token, int, 0, MAX_TOKENS)
        for word in self.bad_words_ids:
            if not word:
                raise TextError("bad_words_ids holds an empty word; each is a list of at least one token id")
            for token in word:
                _check("bad_words_ids", token, int, 0, MAX_TOKENS)
        if not isinstance(self.do_sample, bool):
            raise TextError(f"do_sample is {self.do_sample!r:.40}; it must be True or False")
        if self.early_stopping not in (True, False, "never"):
            raise TextError(f"early_stopping is {self.early_stopping!r:.40}; it must be True, False or 'never'")
        if self.do_sample and self.temperature == 0:
            raise TextError("temperature 0 cannot be sampled from; for the most probable token use do_sample=False")
        if not all(isinstance(text, str) and text for text in self.stop_strings):
            raise TextError("stop_strings must be texts of at least one character")
        for name, value in (("regex", self.regex), ("json_schema", self.json_schema)):
            allowed = (str,) if name == "regex" else (str, Mapping)
            if value is not None and not isinstance(value, allowed):
                raise TextError(f"{name} is {type(value).__name__}, not a text")
        for seed in self.seed if isinstance(self.seed, tuple) else () if self.seed is None else (self.seed,):
            _check("seed", seed, int, 0, 2**63 - 1)
        self._check_together()

    def _check_together(self) -> None:
        if self.num_beams % self.num_beam_groups:
            raise TextError(f"num_beams {self.num_beams} must be divisible by num_beam_groups {self.num_beam_groups}")
        if self.num_beam_groups > 1 and self.do_sample:
            raise TextError("num_beam_groups cannot be combined with do_sample; choose diverse beams or sampling")
        if self.num_return_sequences > 1 and not self.do_sample and self.num_return_sequences > self.num_beams:
            raise TextError(
                f"num_return_sequences is {self.num_return_sequences}, but without sampling there are only "
                f"{self.num_beams} different results; set do_sample=True or num_beams={self.num_return_sequences}"
            )
        if self.regex is not None and self.json_schema is not None:
            raise TextError("regex and json_schema cannot both bind the text; choose one")

    @classmethod
    def of(cls, model: Model, **overrides: Any) -> GenerationSettings:
        """A model's own settings (its `generation_config.json`, else its spec), then the caller's `overrides`.

        Raises `TextError` for an unknown name, with the nearest known one, and for a value out of range; an override
        of None takes Hugging Face's default.
        """
        spec = model.spec
        base = cls(
            eos_token_id=_tuple(spec.eos_id),
            pad_token_id=spec.pad_id,
            bos_token_id=spec.bos_id,
            decoder_start_token_id=spec.decoder_start_id,
        )
        stored = {
            name: value
            for name, value in _stored(model).items()
            # Some files say -1 for a token there is not.
            if value is not None and not (name.endswith("_token_id") and isinstance(value, int) and value < 0)
        }
        try:
            base = base.override(
                **{name: value for name, value in stored.items() if name in _NAMES and name not in _OURS}
            )
        except TextError as error:
            raise TextError(f"generation_config.json of this model: {error}") from None
        chosen = base.override(**overrides)
        idle = sorted(name for name in _OF_SAMPLING if overrides.get(name) not in (None, _DEFAULTS[name]))
        if idle and not chosen.do_sample:
            warnings.warn(f"{', '.join(idle)} has no effect without do_sample=True", UserWarning, stacklevel=2)
        return chosen

    def override(self, **values: Any) -> GenerationSettings:
        """These settings with some values changed; see `of`."""
        for name in values:
            if name not in _NAMES:
                near = difflib.get_close_matches(name, _NAMES, 1, 0.5)
                hint = f"; did you mean {near[0]}?" if near else f"; settings are {', '.join(_NAMES)}"
                raise TextError(f"{name!r:.60} is no setting of generation{hint}")
        # A length that is asked for is not overruled by one of the other kind that was there before.
        for asked, other in (("max_length", "max_new_tokens"), ("min_length", "min_new_tokens")):
            if values.get(asked) is not None:
                values = {other: None, **values}
        changed: dict[str, Any] = {
            name: _DEFAULTS[name] if value is None else _plain(name, value) for name, value in values.items()
        }
        return replace(self, **changed)

    def new_tokens(self, given: int) -> int:
        """How many tokens may be added to a text of `given` tokens. Raises `TextError` where it is already too long."""
        if self.max_new_tokens is not None:
            return self.max_new_tokens
        if self.max_length is None:
            return DEFAULT_NEW_TOKENS
        if given >= self.max_length:
            raise TextError(
                f"the text has {given} tokens already and max_length is {self.max_length}; raise it, or use "
                "max_new_tokens, which does not count the prompt"
            )
        return self.max_length - given

    def processors(self, max_new_tokens: int) -> list[Processor]:
        """The processors these settings ask for, in Hugging Face's order, without those of sampling."""
        ends = self.eos_token_id
        bad = tuple(word for word in self.bad_words_ids if not (len(word) == 1 and word[0] in ends))
        chosen: list[Processor] = []
        if self.repetition_penalty != 1:
            chosen.append(RepetitionPenalty(self.repetition_penalty))
        if self.presence_penalty:
            chosen.append(PresencePenalty(self.presence_penalty))
        if self.frequency_penalty:
            chosen.append(FrequencyPenalty(self.frequency_penalty))
        if self.no_repeat_ngram_size:
            chosen.append(NoRepeatNgrams(self.no_repeat_ngram_size))
        if bad:
            chosen.append(BadWords(bad))
        if ends and (self.min_length or self.min_new_tokens):
            length = self.min_length if self.min_new_tokens is None else 0
            chosen.append(MinLength(ends, length, self.min_new_tokens or 0))
        if self.forced_bos_token_id is not None:
            chosen.append(ForcedFirst(self.forced_bos_token_id))
        if self.forced_eos_token_id:
            chosen.append(ForcedLast(self.forced_eos_token_id, max_new_tokens))
        if self.suppress_tokens:
            chosen.append(Suppressed(self.suppress_tokens))
        if self.begin_suppress_tokens:
            chosen.append(Suppressed(self.begin_suppress_tokens, True, self.forced_bos_token_id is not None))
        return chosen

    def warpers(self) -> list[Processor]:
        """The processors of sampling, in Hugging Face's order; none without `do_sample`."""
        chosen: list[Processor] = []
        if not self.do_sample:
            return chosen
        # A beam needs one token to go on with beside every token that would end it.
        keep = len(self.eos_token_id) + 1 if self.num_beams > 1 else 1
        if self.temperature != 1:
            chosen.append(Temperature(self.temperature))
        if self.top_k:
            chosen.append(TopK(self.top_k, keep))
        if self.top_p < 1:
            chosen.append(TopP(self.top_p, keep))
        if self.min_p is not None:
            chosen.append(MinP(self.min_p, keep))
        if self.typical_p < 1:
            chosen.append(Typical(self.typical_p, keep))
        return chosen


def _stored(model: Model) -> Mapping[str, Any]:
    """The checkpoint's own settings: those of generation_config.json or, in older checkpoints, of config.json."""
    if model.generation_config is not None:
        return model.generation_config
    config = {} if model.origin is None else model.origin.config
    return {name: config[name] for name in _OLDER if name in config}


def _tuple(value: int | Sequence[int] | None) -> tuple[int, ...]:
    return () if value is None else (value,) if isinstance(value, int) else tuple(value)


def _plain(name: str, value: Any) -> Any:
    """Tensors and lists as the tuples and numbers that the settings hold."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if name in ("suppress_tokens", "begin_suppress_tokens", "forced_eos_token_id", "eos_token_id", "stop_strings"):
        if isinstance(value, (int, str)):
            return (value,)
    elif name == "bad_words_ids":
        if not isinstance(value, list | tuple) or not all(isinstance(word, list | tuple) for word in value):
            raise TextError("bad_words_ids must be a list of lists of token ids")
        return tuple(tuple(word) for word in value)
    elif name != "seed":
        return value
    if name == "seed" and isinstance(value, int):
        return value
    if not isinstance(value, list | tuple | set | frozenset):
        raise TextError(f"{name} is {type(value).__name__}, not a list")
    return tuple(value)


def _check(name: str, value: Any, kind: type, low: float, high: float) -> None:
    fits = isinstance(value, int) and not isinstance(value, bool) if kind is int else _is_number(value)
    if not fits or not low <= value <= high:
        sort = "a whole number" if kind is int else "a number"
        shown = f"from {low:g} to {high:g}" if high < MAX_TOKENS else f"of at least {low:g}"
        raise TextError(f"{name} is {value!r:.40}; it must be {sort} {shown}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


_SMALLEST = 1e-6
_RANGES: dict[str, tuple[type, float, float]] = {
    "max_new_tokens": (int, 1, MAX_TOKENS),
    "max_length": (int, 1, MAX_TOKENS),
    "min_new_tokens": (int, 0, MAX_TOKENS),
    "min_length": (int, 0, MAX_TOKENS),
    "temperature": (float, 0, 1e6),
    "top_k": (int, 0, MAX_TOKENS),
    "top_p": (float, 0, 1),
    "min_p": (float, 0, 1),
    "typical_p": (float, _SMALLEST, 1),
    "repetition_penalty": (float, _SMALLEST, 1e6),
    "presence_penalty": (float, -1e6, 1e6),
    "frequency_penalty": (float, -1e6, 1e6),
    "no_repeat_ngram_size": (int, 0, MAX_TOKENS),
    "forced_bos_token_id": (int, 0, MAX_TOKENS),
    "num_beams": (int, 1, 10_000),
    "num_beam_groups": (int, 1, 10_000),
    "diversity_penalty": (float, 0, 1e6),
    "length_penalty": (float, -1e6, 1e6),
    "num_return_sequences": (int, 1, 10_000),
    "penalty_alpha": (float, 0, 1),
    "prompt_lookup_num_tokens": (int, 1, 10_000),
    "max_matching_ngram_size": (int, 1, 10_000),
    "num_assistant_tokens": (int, 1, 10_000),
    "pad_token_id": (int, 0, MAX_TOKENS),
    "bos_token_id": (int, 0, MAX_TOKENS),
    "decoder_start_token_id": (int, 0, MAX_TOKENS),
}
_OURS = ("regex", "json_schema", "seed")
"""What only a caller decides, whatever a file says."""
_OF_SAMPLING = ("temperature", "top_p", "min_p", "typical_p")
_OLDER = (
    *("max_length", "min_length", "do_sample", "temperature", "top_k", "top_p", "typical_p", "repetition_penalty"),
    *("no_repeat_ngram_size", "bad_words_ids", "num_beams", "num_beam_groups", "diversity_penalty", "length_penalty"),
    *("early_stopping", "num_return_sequences", "forced_bos_token_id", "forced_eos_token_id", "suppress_tokens"),
    "begin_suppress_tokens",
)
_NAMES = tuple(f.name for f in fields(GenerationSettings))
_DEFAULTS: dict[str, Any] = {f.name: f.default for f in fields(GenerationSettings)}
