"""From a classifier's logits over windows to probabilities over texts."""

from __future__ import annotations

import numpy as np

from moduformer.pipelines.windowing import WindowedTexts
from moduformer.text.windows import merge


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
