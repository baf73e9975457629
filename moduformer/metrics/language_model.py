"""Scores of language models: perplexity and bits, from summed negative log-likelihoods.

Jelinek et al. 1977; bits per character or byte compare models whose tokenizers differ, perplexity does not.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from moduformer.errors import DataError
from moduformer.metrics.bootstrap import bootstrap_totals
from moduformer.metrics.results import Scores, aligned

if TYPE_CHECKING:
    import numpy


class ScoredWindow(NamedTuple):
    """A part of a long text: tokens `start` to before `end` are read, those from `first` on are scored."""

    start: int
    end: int
    first: int


@dataclass(frozen=True)
class LanguageModelMetrics(Scores):
    """Scores of a language model.

    Attributes:
        examples: how many texts or windows were scored.
        tokens: how many tokens were scored, each once.
        loss: the mean negative log-likelihood of a token, in nats.
        perplexity: exp(loss); infinite where that is too large for a float.
        perplexity_interval: its 95 % percentile bootstrap interval over examples; None for a single one.
        bits_per_byte, bits_per_character: the summed negative log-likelihood in bits, over the UTF-8 bytes or the
            characters (code points) of the texts; None where their number was not given.
        bytes, characters: those numbers.
    """

    headline: ClassVar[str] = "perplexity"

    examples: int
    tokens: int
    loss: float
    perplexity: float
    perplexity_interval: tuple[float, float] | None
    bits_per_byte: float | None = None
    bits_per_character: float | None = None
    bytes: int | None = None
    characters: int | None = None


def scored_windows(tokens: int, size: int, overlap: int) -> Iterator[ScoredWindow]:
    """Windows over a long text in which each token but the first is scored exactly once.

    Args:
        tokens: of the text.
        size: of a window, in tokens; the last one may be shorter.
        overlap: how many tokens a window shares with the one before it; they are read and not scored, so that the
            first scored token has at least as many before it. At least 1, below `size`.

    Yields:
        windows from the beginning to the end; none for texts of fewer than two tokens.

    Raises:
        DataError: an overlap that leaves tokens out or makes no way.
    """
    if not 1 <= overlap < size:
        raise DataError(f"windows of {size} tokens need an overlap from 1 to {size - 1}; got {overlap}")
    start, first = 0, 1
    while first < tokens:
        end = min(start + size, tokens)
        yield ScoredWindow(start, end, first)
        start, first = end - overlap, end


def language_model_metrics(
    losses: Sequence[float],
    tokens: Sequence[int],
    texts: Sequence[str] | None = None,
    byte_count: int | None = None,
    character_count: int | None = None,
    confidence: float = 0.95,
    seed: int = 0,
) -> LanguageModelMetrics:
    """Score a language model from what each text or window cost it.

    Args:
        losses: for each the negative log-likelihoods of its scored tokens, summed, in nats.
        tokens: for each how many tokens that are; overlapping windows count no token twice (`scored_windows`).
        texts: the texts that were scored, from which bytes and characters are counted; their number is free.
        byte_count, character_count: in place of `texts`.
        confidence: of the interval.
        seed: of the bootstrap.

    Returns:
        the scores.

    Raises:
        DataError: nothing to score, lengths that differ, losses that are not finite or below 0, counts below 0.
    """
    import numpy as np

    aligned(tokens, losses, "texts")
    try:
        sums = np.array([losses, tokens], np.float64).T
    except (TypeError, ValueError):
        raise DataError("losses and tokens are numbers, one for each text") from None
    if sums.ndim != 2 or not np.isfinite(sums).all() or (sums < 0).any():
        bad = next((row for row, pair in enumerate(sums.tolist()) if not _counts(pair)), 0)
        raise DataError(
            f"the loss and tokens of text {bad} are not finite numbers from 0 on; the model's output is damaged"
        )
    if (sums[:, 1] % 1).any() or not (total := int(sums[:, 1].sum())):
        raise DataError("tokens are whole numbers, at least one in all")
    if texts is not None:
        if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
            raise DataError("texts are a list of strings")
        byte_count = sum(len(text.encode("utf-8", "surrogatepass")) for text in texts)
        character_count = sum(len(text) for text in texts)
    loss = float(math.fsum(sums[:, 0]))
    scored = sums[sums[:, 1] > 0]
    return LanguageModelMetrics(
        len(sums),
        total,
        loss / total,
        float(_perplexities(np.array([[loss, total]]))[0]),
        bootstrap_totals(scored, _perplexities, confidence, seed=seed) if len(scored) > 1 else None,
        _bits(loss, byte_count, "bytes"),
        _bits(loss, character_count, "characters"),
        byte_count,
        character_count,
    )


def _counts(pair: Any) -> bool:
    return all(isinstance(value, float) and math.isfinite(value) and value >= 0 for value in pair)


def _bits(loss: float, count: int | None, what: str) -> float | None:
    if count is None:
        return None
    if count < 1:
        raise DataError(f"there are {count} {what}; bits are counted over at least one")
    return loss / math.log(2) / count


def _perplexities(sums: "numpy.ndarray") -> "numpy.ndarray":
    import numpy as np

    with np.errstate(over="ignore"):
        return np.exp(sums[:, 0] / sums[:, 1])
