"""The feature-extraction pipeline: a vector for every token of a text of any length, or one vector a text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from moduformer.batch import Batch
from moduformer.errors import PipelineError
from moduformer.model import Model
from moduformer.pipelines.pipeline import Pipeline, text_of
from moduformer.pipelines.token_windows import TokenRun, token_runs, tokenizing
from moduformer.pipelines.windowing import windower
from moduformer.text.tokenizer import Tokenizer
from moduformer.train.batching import evaluation_batches
from moduformer.train.encoded import Encoded
from moduformer.train.evaluation import TOKENS, batch_of

_HELD = 32768
"""Token vectors held at once, about 100 MB of the usual widths."""


@dataclass(frozen=True)
class FeatureOptions:
    """What a call may say.

    Attributes:
        return_tensors: torch tensors instead of lists.
        pooling: one vector a text: the "mean" of all its tokens, special ones included, or its "first" or "last" token.
            None gives every token's vector.
        normalize: vectors of length one.
        truncation: keep only what fits into one window.
        tokenize_kwargs: `truncation`, `max_length` and `add_special_tokens`, as for Hugging Face's tokenizers.
        max_length: tokens of a window at most; None takes what the model reads, at most 512.
        stride: tokens that two neighbouring windows share; None takes a quarter of a window.
        details: a dict of `features`, `tokens`, `offsets`, `windows` and `truncated` in place of the bare features.
    """

    return_tensors: bool | str = False
    pooling: Literal["mean", "first", "last"] | None = None
    normalize: bool = False
    truncation: bool | str | None = None
    tokenize_kwargs: Mapping[str, Any] | None = None
    max_length: int | None = None
    stride: int | None = None
    details: bool = False

    def __post_init__(self) -> None:
        if self.pooling not in (None, "mean", "first", "last"):
            raise PipelineError(f"pooling is {self.pooling!r}; use mean, first or last, or None for every token")


@dataclass(frozen=True, eq=False)
class Features:
    """The vectors of a text.

    Attributes:
        vectors: float32 `[tokens, dim]`; `[dim]` where pooled.
    """

    vectors: np.ndarray
    run: TokenRun = field(repr=False)
    tokenizer: Tokenizer = field(repr=False)

    @property
    def tokens(self) -> list[str]:
        """The text's tokens, special ones included; spelled when somebody looks."""
        return [self.tokenizer.id_to_token(number) or "" for number in self.run.ids.tolist()]

    @property
    def offsets(self) -> list[tuple[int, int]]:
        """First and last + 1 character of each token in the text; (0, 0) for special tokens."""
        return self.run.offsets

    @property
    def windows(self) -> int:
        """How many windows the text was read in; each token's vector is of the one with most context."""
        return len(self.run.rows)

    @property
    def truncated(self) -> bool:
        """Whether some of the text was not read."""
        return self.run.truncated


class FeatureExtraction(Pipeline[str, Features, FeatureOptions]):
    """Last hidden states of texts; those of the encoder where a model has an encoder and a decoder.

    `pooling="mean", normalize=True` gives the sentence vectors that sentence-transformers gives for MiniLM and E5.
    """

    task = "feature-extraction"
    head = "feature-extraction"
    options_type = FeatureOptions

    def read(self, value: Any, options: FeatureOptions) -> str:
        """A text."""
        return text_of(value)

    def find(self, items: Sequence[str], options: FeatureOptions) -> Iterator[Features]:
        """The vectors of each text, stitched from its windows."""
        if not items:
            return
        wanted = tokenizing("tokenize_kwargs", options.tokenize_kwargs, options.truncation, options.max_length)
        read = windower(self.model, wanted.max_length, options.stride)
        runs = token_runs(read, items, wanted)
        for group in _groups(runs):
            vectors = _pooled(self.model, group, options.pooling) if options.pooling else _stitched(self.model, group)
            for run, found in zip(group, vectors):
                if options.normalize:
                    found = found / np.maximum(np.linalg.norm(found, axis=-1, keepdims=True), 1e-12)
                assert self.tokenizer is not None
                yield Features(found, run, self.tokenizer)

    def shape(self, found: Features, options: FeatureOptions) -> Any:
        """`[1][tokens][dim]`, or `[dim]` where pooled."""
        vectors = found.vectors if options.pooling else found.vectors[None]
        features = torch.from_numpy(vectors) if options.return_tensors else vectors.tolist()
        if not options.details:
            return features
        return {
            "features": features,
            "tokens": found.tokens,
            "offsets": found.offsets,
            "windows": found.windows,
            "truncated": found.truncated,
        }


def _groups(runs: Sequence[TokenRun]) -> Iterator[list[TokenRun]]:
    group: list[TokenRun] = []
    held = 0
    for run in runs:
        size = sum(map(len, run.rows))
        if group and held + size > _HELD:
            yield group
            group, held = [], 0
        group.append(run)
        held += size
    if group:
        yield group


def _stitched(model: Model, runs: Sequence[TokenRun]) -> list[np.ndarray]:
    starts = np.cumsum([0, *(len(run.rows) for run in runs)])
    rows: list[np.ndarray] = [np.zeros(0)] * int(starts[-1])
    for numbers, batch, hidden in _last_hidden(model, runs):
        for place, part in zip(batch.order, hidden.float().cpu().split(list(batch.rows.lengths))):
            rows[int(numbers[place])] = part.numpy()
    found = []
    for start, run in zip(starts.tolist(), runs):
        if len(run.rows) == 1:
            found.append(rows[start])
            continue
        lengths = np.cumsum([0, *map(len, run.rows)])
        found.append(np.concatenate(rows[start : start + len(run.rows)])[lengths[run.window] + run.place])
    return found


def _pooled(model: Model, runs: Sequence[TokenRun], how: str) -> np.ndarray:
    """A vector a text, summed where the model is: token vectors never leave the device."""
    owner = np.repeat(np.arange(len(runs)), [len(run.rows) for run in runs])
    weights = [row for run in runs for row in _weights(run, how)]
    found: Tensor | None = None
    for numbers, batch, hidden in _last_hidden(model, runs):
        listed = [int(numbers[place]) for place in batch.order]
        weight = torch.from_numpy(np.concatenate([weights[i] for i in listed])).to(hidden.device)
        texts = torch.from_numpy(owner[listed]).to(hidden.device)[batch.rows.row_of]
        if found is None:
            found = hidden.new_zeros(len(runs), hidden.shape[1], dtype=torch.float32)
        found.index_add_(0, texts, hidden.float() * weight[:, None])
    assert found is not None
    pooled: np.ndarray = found.cpu().numpy()
    return pooled


def _weights(run: TokenRun, how: str) -> list[np.ndarray]:
    """What each token of each window gives to the text's vector."""
    weights = [np.zeros(len(row), dtype=np.float32) for row in run.rows]
    chosen = {"mean": range(len(run.ids)), "first": range(1), "last": range(len(run.ids) - 1, len(run.ids))}[how]
    for token in chosen:
        weights[run.window[token]][run.place[token]] = 1 / len(chosen)
    return weights


def _last_hidden(model: Model, runs: Sequence[TokenRun]) -> Iterator[tuple[np.ndarray, Batch, Tensor]]:
    """Numbers of windows, their batch and its last hidden states `[tokens, dim]`, batch after batch."""
    segments = [types for run in runs for types in run.types] if model.spec.embedding.segments > 1 else None
    encoded = Encoded.of([row for run in runs for row in run.rows], segments)
    for numbers in evaluation_batches(encoded.lengths, TOKENS):
        with torch.inference_mode():
            batch = batch_of(model, encoded, numbers)
            if model.spec.has_source and model.encoder is not None:
                hidden, _ = model.encoder.encode(model.embedding(batch), batch.rows)
            else:
                hidden = model.run(batch, wanted="hidden").hidden
            yield numbers, batch, hidden
