"""Running a classifier over windows quickly: rows of like length together, batches of about as many tokens each."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from moduformer.architecture import Head, HeadKind
from moduformer.batch import Batch
from moduformer.blocks.head import read
from moduformer.model import Model
from moduformer.tasks.windowing import WindowedTexts
from moduformer.text.windows import merge
from moduformer.train.batching import evaluation_batches
from moduformer.train.encoded import Encoded

TOKENS = 4096
"""Tokens a batch holds: large enough to keep the processor's multipliers busy, small enough for its caches."""


def window_logits(
    model: Model,
    encoded: Encoded,
    head: HeadKind = "classify",
    progress: Callable[[int], None] | None = None,
    tokens: int = TOKENS,
) -> np.ndarray:
    """Logits of every row `[rows, classes]` (float32), in the order of the rows.

    `progress` is called with the number of rows done after each batch.
    """
    return _rows(model, encoded, lambda batch: model.run(batch).heads[head], progress, tokens)


def mean_states(model: Model, encoded: Encoded, progress: Callable[[int], None] | None = None) -> np.ndarray:
    """The mean of every row's last hidden states `[rows, dim]` (float32), in the order of the rows."""
    reader = Head("classify", reads="mean")

    def pooled(batch: Batch) -> torch.Tensor:
        states = model.run(batch)
        return read(reader, states.hidden, states.batch.rows, states.batch.tokens, ())

    return _rows(model, encoded, pooled, progress, TOKENS)


def _rows(
    model: Model,
    encoded: Encoded,
    compute: Callable[[Batch], torch.Tensor],
    progress: Callable[[int], None] | None,
    tokens: int,
) -> np.ndarray:
    training = model.training
    model.eval()
    found: np.ndarray | None = None
    done = 0
    try:
        with torch.inference_mode():
            for rows in evaluation_batches(encoded.lengths, tokens):
                ids = [encoded.ids.row(int(i)) for i in rows]
                types = None if encoded.segments is None else [encoded.segments.row(int(i)) for i in rows]
                batch = Batch.from_lists(ids, types, device=model.device)
                values = batch.restore(compute(batch)).float().cpu().numpy()
                if found is None:
                    found = np.empty((len(encoded), values.shape[1]), dtype=np.float32)
                found[rows] = values
                done += len(rows)
                if progress is not None:
                    progress(done)
    finally:
        model.train(training)
    return np.empty((0, 0), dtype=np.float32) if found is None else found


def probabilities(logits: np.ndarray, multi_label: bool) -> np.ndarray:
    """Softmax over classes, or a sigmoid of each where several may hold; float64."""
    values = logits.astype(np.float64)
    if multi_label:
        return 1.0 / (1.0 + np.exp(-np.clip(values, -700, 700)))
    raised = np.exp(values - values.max(axis=1, keepdims=True))
    return raised / raised.sum(axis=1, keepdims=True)


def merge_windows(
    scores: np.ndarray, texts: WindowedTexts, how: str, multi_label: bool
) -> tuple[np.ndarray, np.ndarray]:
    """One row a text out of one row a window, and the number of the window that decided.

    "mean" weighs windows by the tokens they hold; "max" takes each class's largest score (made to sum to 1 again where
    classes exclude each other).
    """
    counts = texts.counts
    starts = np.cumsum(counts) - counts
    merged, deciding = scores[starts].copy(), starts.copy()
    for number in np.flatnonzero(counts > 1):
        rows = slice(starts[number], starts[number] + counts[number])
        result = merge(scores[rows].tolist(), how, texts.tokens[rows].tolist())  # type: ignore[arg-type]
        merged[number] = result.scores
        if how == "max" and not multi_label:
            merged[number] /= merged[number].sum()
        deciding[number] = starts[number] + result.window
    return merged, deciding
