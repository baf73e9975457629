"""From the logits of first and last tokens to the spans of text that answer a question.

Chen et al. 2017 (arXiv:1704.00051, section 3.2): the product of two probabilities, over spans of bounded length.
"""

from __future__ import annotations

import numpy as np

from moduformer.text.windows import Windows


def probabilities_of(logits: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Softmax over the tokens `among` (bool `[tokens]`), 0 elsewhere; float64 `[tokens]`."""
    values = np.where(among, logits.astype(np.float64), -np.inf)
    raised = np.exp(values - values.max())
    found: np.ndarray = raised / raised.sum()
    return found


def best_spans(
    starts: np.ndarray, ends: np.ndarray, longest: int, most: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The spans with the largest product of `starts[first] * ends[last]`, best first; products of 0 are none.

    Arguments:
        starts, ends: probabilities `[tokens]`.
        longest: tokens of a span at most.
        most: spans at most.

    Returns:
        first tokens, last tokens and products, `[spans]` each.
    """
    firsts, lasts, scores = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], [np.zeros(0)]
    for more in range(min(longest, len(starts))):
        products = starts[: len(starts) - more] * ends[more:]
        chosen = np.flatnonzero(products)
        if len(chosen) > most:
            chosen = chosen[np.argpartition(-products[chosen], most - 1)[:most]]
        firsts.append(chosen)
        lasts.append(chosen + more)
        scores.append(products[chosen])
    first, last, score = np.concatenate(firsts), np.concatenate(lasts), np.concatenate(scores)
    order = np.lexsort((last, first, -score))[:most]
    return first[order], last[order], score[order]


def whole_text(logits: list[np.ndarray], windows: Windows) -> np.ndarray:
    """Every token's logits `[tokens, 2]`, each read in the window where it has most context (Devlin et al. 2019).

    `logits` are `[tokens of the window, 2]` each. A span may so begin in one window and end in the next, and no edge of
    a window loses an answer.
    """
    total = windows.report.tokens_total
    found, margin = np.zeros((total, 2)), np.full(total, -1)
    for window, values in zip(windows, logits):
        places = np.flatnonzero(np.asarray(window.source_tokens) >= 0)
        tokens = np.arange(window.start_token, window.stop_token)
        context = np.minimum(tokens - window.start_token, window.stop_token - 1 - tokens)
        better = context > margin[tokens]
        found[tokens[better]] = values[places[better]]
        margin[tokens] = np.maximum(margin[tokens], context)
    return found
