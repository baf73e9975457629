"""Texts as token runs for tasks that ask something of tokens: which window reads each token best, and where it stands.

A text that fits is one window. In longer ones every token is read in the window that gives it most context on its
poorer side (Devlin et al. 2019, "maximum context").
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from moduformer.errors import PipelineError, TextError
from moduformer.pipelines.windowing import Windower, best_windows
from moduformer.text.tokenizer import Encoding
from moduformer.text.windows import windows


@dataclass(frozen=True)
class Tokenizing:
    """What a call says about tokenizing: keep only what fits, tokens of a window, whether special tokens are added."""

    truncation: bool = False
    max_length: int | None = None
    framed: bool = True


@dataclass(frozen=True, eq=False)
class TokenRun:
    """One text as windows of tokens.

    Attributes:
        ids: the whole text's token ids, framed once, `[tokens]`.
        rows, types: token ids and segments of each window, framed.
        window, place: where each token of the whole text is read: the window's number and the place in it, `[tokens]`.
        truncated: whether tokens of the text are in no window.
        source, before: the encoding the text's own tokens are of, and how many tokens of `ids` come before them.
    """

    ids: np.ndarray
    rows: list[Any]
    types: list[Any]
    window: np.ndarray
    place: np.ndarray
    truncated: bool
    source: Encoding
    before: int

    @cached_property
    def offsets(self) -> list[tuple[int, int]]:
        """The characters of each token in the text; (0, 0) for special tokens."""
        own = self.source.offsets[: len(self.ids) - self.before]
        return [(0, 0)] * self.before + own + [(0, 0)] * (len(self.ids) - self.before - len(own))


def token_runs(read: Windower, texts: Sequence[str], wanted: Tokenizing) -> list[TokenRun]:
    """The windows of each text.

    Raises:
        TextError: a text gives no token, or no window can be made; names the text.
    """
    runs = []
    for number, whole in enumerate(read.tokenizer.encode_batch(texts, add_special_tokens=wanted.framed)):
        if not len(whole):
            raise TextError(f"text {number} gives no token, and no special tokens are added; leave it out")
        runs.append(_run(read, texts[number], whole, wanted))
    return runs


def _run(read: Windower, text: str, whole: Encoding, wanted: Tokenizing) -> TokenRun:
    if len(whole) <= read.max_length:
        ids = np.asarray(whole.ids, dtype=np.int32)
        places = np.arange(len(ids))
        types = np.asarray(whole.type_ids, dtype=np.int32) if read.segments else np.zeros_like(ids)
        return TokenRun(ids, [ids], [types], np.zeros_like(places), places, False, whole, 0)
    plain = read.tokenizer.encode(text, add_special_tokens=False) if wanted.framed else whole
    template = [step for step in read.tokenizer.frame() if wanted.framed or step.token_id is None]
    stride = read.stride_for(None, template)
    cut = windows(plain, read.max_length, stride, template, max_windows=1 if wanted.truncation else None)
    before = next(number for number, step in enumerate(template) if step.sequence is not None)
    after = len(template) - before - 1
    seen, window = cut.report.tokens_seen, best_windows(cut)
    place = before + np.arange(seen) - np.array([one.start_token for one in cut])[window]
    last = len(cut) - 1
    ends = np.arange(len(cut[last].ids) - after, len(cut[last].ids))
    frame = [step.token_id for step in template if step.token_id is not None]
    return TokenRun(
        np.asarray([*frame[:before], *plain.ids[:seen], *frame[before:]], dtype=np.int32),
        [np.asarray(one.ids, dtype=np.int32) for one in cut],
        [np.asarray(one.type_ids, dtype=np.int32) for one in cut],
        np.concatenate([np.zeros(before, dtype=np.int64), window, np.full(after, last)]),
        np.concatenate([np.arange(before), place, ends]),
        cut.report.truncated,
        plain,
        before,
    )


def tokenizing(
    name: str, given: Mapping[str, Any] | None, truncation: bool | str | None = None, max_length: int | None = None
) -> Tokenizing:
    """What a call says itself, together with the keyword arguments for the tokenizer that its option `name` holds.

    Raises:
        PipelineError: a keyword that has no meaning here, or truncation said twice.
    """
    more = dict(given or {})
    if more.pop("padding", None) == "max_length":
        raise PipelineError(f"{name} asks for padding up to max_length, but nothing is padded here; pad the result")
    for needless in ("return_tensors", "return_attention_mask", "return_token_type_ids"):
        more.pop(needless, None)
    framed = bool(more.pop("add_special_tokens", True))
    if "truncation" in more and truncation is not None:
        raise PipelineError(f"truncation is given twice, by itself and in {name}; leave one out")
    longest = more.pop("max_length", None)
    said = more.pop("truncation", None)
    if more:
        raise PipelineError(f"{name} has {', '.join(more)}; it takes truncation, max_length and add_special_tokens")
    # A tokenizer that is told a length and nothing about truncation cuts there.
    cut = said if truncation is None else truncation
    cut = longest is not None if cut is None else cut
    return Tokenizing(bool(cut) and cut != "do_not_truncate", max_length if longest is None else longest, framed)
