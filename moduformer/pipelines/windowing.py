"""Texts as rows a model can read: each whole if it fits, else as overlapping windows. Nothing is cut off silently."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from moduformer.architecture import LearnedPositions
from moduformer.errors import TextError
from moduformer.model import Model
from moduformer.text.tokenizer import Encoding, Tokenizer
from moduformer.text.windows import Windows, windows
from moduformer.train.encoded import Encoded

LONGEST = 512
"""Tokens a window holds at most unless asked for more: what most encoders were trained to read."""

_CHUNK = 2000
"""Texts tokenized together: enough to occupy the tokenizer's threads, few enough to hold their offsets."""


@dataclass(frozen=True, eq=False)
class WindowedTexts:
    """Windows over texts, in the order of the texts.

    Attributes:
        encoded: a row a window.
        owner: number of the text of each window, `[windows]`.
        spans: first and last + 1 character of each window in its text (the longer one of a pair), `[windows, 2]`.
        tokens: tokens of text each window holds, the frame not counted, `[windows]`.
        texts: number of texts.
    """

    encoded: Encoded
    owner: np.ndarray
    spans: np.ndarray
    tokens: np.ndarray
    texts: int

    @property
    def counts(self) -> np.ndarray:
        """Windows a text, `[texts]`."""
        return np.bincount(self.owner, minlength=self.texts)

    def shared(self, weights: np.ndarray | None = None) -> Encoded:
        """The windows to train on: those of one text share its weight (1 unless given) evenly."""
        counts = self.counts
        if weights is None and counts.max(initial=1) == 1:
            return self.encoded
        own = np.ones(self.texts) if weights is None else np.asarray(weights, dtype=np.float64)
        return replace(self.encoded, weights=(own / np.maximum(counts, 1))[self.owner])

    def select(self, windows: np.ndarray) -> WindowedTexts:
        """Some of the windows, by number."""
        return WindowedTexts(
            self.encoded.select(windows), self.owner[windows], self.spans[windows], self.tokens[windows], self.texts
        )

    def report(self) -> dict[str, int]:
        """How many texts, windows and tokens there are; `tokens_dropped` is 0 by construction."""
        return {
            "texts": self.texts,
            "windows": len(self.owner),
            "long_texts": int((self.counts > 1).sum()),
            "tokens": int(self.encoded.ids.lengths.sum()),
            "longest_window": int(self.encoded.ids.lengths.max(initial=0)),
            "tokens_dropped": 0,
        }


@dataclass(frozen=True)
class Windower:
    """How texts become windows of at most `max_length` tokens, special tokens included, that share `stride` tokens."""

    tokenizer: Tokenizer
    max_length: int
    stride: int
    segments: bool

    def __call__(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> WindowedTexts:
        """Windows over texts, or over pairs: the longer text of a pair is windowed, the other stands in every window.

        Raises:
            TextError: a text is no text, or the shorter one of a pair leaves no room for the other; names the row.
        """
        # Arrays, since a list of Python's whole numbers takes ten times the memory.
        rows: list[Any] = []
        types: list[Any] = []
        owner: list[int] = []
        spans: list[tuple[int, int]] = []
        tokens: list[int] = []
        frame = sum(step.token_id is not None for step in self.tokenizer.frame(pair=pairs is not None))
        for start in range(0, len(texts), _CHUNK):
            chunk = texts[start : start + _CHUNK]
            seconds = None if pairs is None else pairs[start : start + _CHUNK]
            for i, encoding in enumerate(self.tokenizer.encode_batch(chunk, seconds, offsets=False)):
                ids = encoding.ids
                if not ids:
                    raise TextError(f"text {start + i} gives no token, and this tokenizer adds none; leave it out")
                if len(ids) <= self.max_length:
                    rows.append(np.asarray(ids, dtype=np.int32))
                    types.append(np.asarray(encoding.type_ids, dtype=np.int32) if self.segments else ())
                    owner.append(start + i)
                    spans.append((0, len(chunk[i]) if seconds is None else max(len(chunk[i]), len(seconds[i]))))
                    tokens.append(max(len(ids) - frame, 0))
                    continue
                for window in self._cut(chunk[i], None if seconds is None else seconds[i], start + i):
                    rows.append(np.asarray(window.ids, dtype=np.int32))
                    types.append(np.asarray(window.type_ids, dtype=np.int32) if self.segments else ())
                    owner.append(start + i)
                    spans.append(window.text_range)
                    tokens.append(window.stop_token - window.start_token)
        encoded = Encoded.of(rows, types if self.segments else None)
        places = np.asarray(spans, dtype=np.int64).reshape(-1, 2)
        return WindowedTexts(encoded, np.asarray(owner, dtype=np.int64), places, np.asarray(tokens), len(texts))

    def count(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> list[int]:
        """Tokens of each text (or pair) before it is windowed, special tokens included."""
        found: list[int] = []
        for start in range(0, len(texts), _CHUNK):
            seconds = None if pairs is None else pairs[start : start + _CHUNK]
            found += map(len, self.tokenizer.encode_batch(texts[start : start + _CHUNK], seconds, offsets=False))
        return found

    def _cut(self, text: str, pair: str | None, row: int) -> Windows:
        first = self.tokenizer.encode(text, add_special_tokens=False)
        template = self.tokenizer.frame(pair=pair is not None)
        question: Encoding | None = None
        if pair is not None:
            second = self.tokenizer.encode(pair, add_special_tokens=False)
            question, windowed = first, second
            if len(first) > len(second):
                # `windows` cuts the sequence numbered 1; swapping the numbers makes it cut the first text in place.
                swap = {0: 1, 1: 0, None: None}
                template = [replace(step, sequence=swap[step.sequence]) for step in template]
                question, windowed = second, first
        else:
            windowed = first
        try:
            return windows(windowed, self.max_length, self.stride_for(question, template), template, question=question)
        except TextError as error:
            raise TextError(f"text {row}: {error}") from None

    def stride_for(self, question: Encoding | None, template: Sequence[object]) -> int:
        """The stride, smaller where a long second text leaves little room."""
        room = self.max_length - len(template) - (0 if question is None else len(question)) + 1
        return min(self.stride, max(room // 2, 0))


def windower(model: Model, max_length: int | None = None, stride: int | None = None) -> Windower:
    """The windower of a model; `max_length` is at most what its positions reach, `stride` a quarter of it by default.

    Raises:
        TextError: the model has no tokenizer, or it cannot read windows that long.
    """
    if model.tokenizer is None:
        raise TextError("this model's folder has no tokenizer; add its tokenizer.json, or choose another model")
    limit = longest_row(model)
    if max_length is not None and limit is not None and max_length > limit:
        raise TextError(f"max_length is {max_length}, but this model reads at most {limit} tokens at once")
    length = max_length or min(LONGEST, limit or LONGEST)
    return Windower(
        model.tokenizer, length, length // 4 if stride is None else stride, segments=model.spec.embedding.segments > 1
    )


def longest_row(model: Model) -> int | None:
    """Tokens the model reads at once, where its positions or its tokenizer set a limit."""
    positions = model.spec.embedding.positions
    limits = [positions.max] if isinstance(positions, LearnedPositions) else []
    if model.tokenizer is not None and model.tokenizer.model_max_length is not None:
        limits.append(model.tokenizer.model_max_length)
    return min(limits, default=None)


def best_windows(cut: Windows) -> np.ndarray:
    """The window in which each token of a text has most context on its poorer side, `[seen]` (Devlin et al. 2019).

    The same as `Windows.best_for_token` token by token, in one pass over the windows.
    """
    seen = cut.report.tokens_seen
    best, context = np.zeros(seen, np.int64), np.full(seen, -1)
    for window in cut:
        place = slice(window.start_token, window.stop_token)
        count = window.stop_token - window.start_token
        own = np.minimum(np.arange(count), np.arange(count)[::-1])
        better = own > context[place]
        best[place][better] = window.index
        context[place][better] = own[better]
    return best
