"""Texts, or sentences given as words, as tokens in windows; and scores of tokens out of the scores of windows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from moduformer.errors import TextError
from moduformer.model import Model
from moduformer.pipelines.windowing import Windower, best_windows
from moduformer.text.windows import Windows, windows
from moduformer.train.encoded import Encoded
from moduformer.train.evaluation import predict_tokens

_CHUNK = 1000
"""Texts tokenized together."""


@dataclass(frozen=True)
class Words:
    """A sentence that is split into words already, and what stands between them where it is written as one text."""

    words: tuple[str, ...]
    delimiter: str = " "

    @property
    def text(self) -> str:
        """The sentence as one text."""
        return self.delimiter.join(self.words)

    @property
    def spans(self) -> list[tuple[int, int]]:
        """First and last + 1 character of each word in that text."""
        found, at = [], 0
        for word in self.words:
            found.append((at, at + len(word)))
            at += len(word) + len(self.delimiter)
        return found


@dataclass(frozen=True, eq=False)
class TokenizedText:
    """A text as tokens, the frame not among them, and as the windows a model reads.

    Attributes:
        text: the text; offsets count its characters.
        ids: token ids `[tokens]`.
        offsets: first and last + 1 character of each token, as the tokenizer says, `[tokens, 2]`.
        windows: the framed windows; together they hold `seen` tokens, all of them unless the text was cut.
        words: first and last + 1 character of each given word, `[words, 2]`; None for a text.
    """

    text: str
    ids: list[int]
    offsets: np.ndarray
    windows: Windows
    words: np.ndarray | None = None

    @property
    def seen(self) -> int:
        """Tokens that are in a window."""
        return self.windows.report.tokens_seen

    @property
    def before(self) -> int:
        """Special tokens ahead of the text's first token."""
        return next((i for i, token in enumerate(self.windows[0].source_tokens) if token >= 0), 0)

    def trimmed(self) -> np.ndarray:
        """The offsets without the white space that some tokenizers count with a token, `[tokens, 2]`."""
        return self._trimmed

    @cached_property
    def _trimmed(self) -> np.ndarray:
        found = self.offsets.copy()
        for number, (start, end) in enumerate(self.offsets.tolist()):
            piece = self.text[start:end]
            if piece and (piece[0].isspace() or piece[-1].isspace()):
                start += len(piece) - len(piece.lstrip())
                found[number] = start, max(start, start + len(piece.strip()))
        return found

    def word_of(self) -> np.ndarray:
        """Number of the given word that each token begins in, -1 where it begins in none, `[tokens]`."""
        assert self.words is not None
        starts = self.trimmed()[:, 0]
        numbers = np.searchsorted(self.words[:, 0], starts, side="right") - 1
        ends = self.words[:, 1] if len(self.words) else np.zeros(1)
        return np.where((numbers >= 0) & (starts < ends[numbers]), numbers, -1)


def tokenized(read: Windower, texts: Sequence[str | Words], truncation: bool = False) -> list[TokenizedText]:
    """Texts as tokens in windows.

    Arguments:
        read: the tokenizer, and how long windows are and how much they share.
        texts: texts, or sentences as words.
        truncation: keep only the first window of each.

    Raises:
        TextError: windows without room for text, or a text that is none; names its number.
    """
    template = read.tokenizer.frame()
    found = []
    for start in range(0, len(texts), _CHUNK):
        chunk = texts[start : start + _CHUNK]
        whole = [text.text if isinstance(text, Words) else text for text in chunk]
        encodings = read.tokenizer.encode_batch(whole, add_special_tokens=False)
        for number, (text, written, encoding) in enumerate(zip(chunk, whole, encodings), start):
            offsets, spans = np.array(encoding.offsets, np.int64).reshape(-1, 2), None
            if isinstance(text, Words):
                spans = np.array(text.spans, np.int64).reshape(-1, 2)
                own = read.tokenizer.encode_words(text.words)
                # Byte-level tokenizers may take a word without the space before it for another word.
                if text.delimiter != " " or own.ids == encoding.ids:
                    numbers = [number or 0 for number in own.word_ids]
                    encoding, offsets = own, np.array(own.offsets, np.int64).reshape(-1, 2) + spans[numbers, :1]
            try:
                cut = windows(
                    encoding, read.max_length, read.stride_for(None, template), template,
                    max_windows=1 if truncation else None,
                )  # fmt: skip
            except TextError as error:
                raise TextError(f"text {number}: {error}") from None
            found.append(TokenizedText(written, encoding.ids, offsets, cut, spans))
    return found


def as_encoded(texts: Iterable[TokenizedText], segments: bool) -> Encoded:
    """A row for every window that holds a token, in order."""
    read = [window for text in texts for window in text.windows if window.ids]
    return Encoded.of([window.ids for window in read], [window.type_ids for window in read] if segments else None)


def window_logits(model: Model, texts: Sequence[TokenizedText], segments: bool) -> list[list[np.ndarray]]:
    """The "tag" head's logits for each window of each text, `[tokens of the window, tags]`, the frame's included."""
    encoded = as_encoded(texts, segments)
    rows: list[torch.Tensor] = predict_tokens(model, encoded) if len(encoded) else []
    flat = iter(rows)
    head = model.spec.head("tag")
    empty = np.zeros((0, head.outputs or 0 if head else 0), np.float32)
    return [[next(flat).numpy() if window.ids else empty for window in text.windows] for text in texts]


def gathered(text: TokenizedText, parts: Sequence[np.ndarray]) -> np.ndarray:
    """One row a token out of the rows of windows, each read where the token has most context, `[seen, ...]`."""
    best, before = best_windows(text.windows), text.before
    found = np.empty((text.seen, *parts[0].shape[1:]), parts[0].dtype)
    for window, part in zip(text.windows, parts):
        # Windows follow one another, and so do the tokens that are read best in each.
        first, end = np.searchsorted(best, window.index), np.searchsorted(best, window.index, side="right")
        found[first:end] = part[first - window.start_token + before : end - window.start_token + before]
    return found
