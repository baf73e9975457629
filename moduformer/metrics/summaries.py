"""ROUGE of summaries, for every script (Lin 2004, "ROUGE: A Package for Automatic Evaluation of Summaries").

Equal to the package `rouge-score` where texts are ASCII; that package drops every other character, so that Korean
scores 0 there.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from moduformer.errors import DataError
from moduformer.metrics.bootstrap import bootstrap_interval
from moduformer.metrics.results import Scores, aligned, text_of, texts_of

KINDS = ("rouge1", "rouge2", "rougeL", "rougeLsum")
_ASCII_WORD = re.compile(r"[a-z0-9]+")
# Hangul, kana, Chinese characters.
_SCRIPTS = re.compile(
    "([\u1100-\u11ff\u3040-\u30ff\u3130-\u318f\u3400-\u9fff\uac00-\ud7a3\uf900-\ufaff\U00020000-\U0003ffff])"
)
_STEMMED_FROM = 4
"""Shorter words are not stemmed, as in ROUGE-1.5.5."""


def words(text: str) -> list[str]:
    """Runs of letters, numbers and marks of any script, in lower case and composed form (NFC)."""
    text = unicodedata.normalize("NFC", text.lower())
    return "".join(c if unicodedata.category(c)[0] in "LNM" else " " for c in text).split()


def syllables(text: str) -> list[str]:
    """As `words`, but Hangul syllables, Chinese characters and kana each stand alone.

    For Chinese and Japanese, which write no spaces, and for Korean where a particle should not cost the whole word.
    """
    found: list[str] = []
    for word in words(text):
        found += [part for part in _SCRIPTS.split(word) if part]
    return found


def ascii_words(text: str) -> list[str]:
    """The tokens of `rouge-score`: runs of a-z and 0-9 in lower case; every other character parts words."""
    return _ASCII_WORD.findall(text.lower())


TOKENIZERS: Mapping[str, Callable[[str], list[str]]] = {
    "words": words,
    "syllables": syllables,
    "ascii-words": ascii_words,
}


@dataclass(frozen=True)
class Rouge:
    """Precision, recall and F1, from 0 to 1; `interval` is of the mean F1 of several summaries."""

    precision: float
    recall: float
    f1: float
    interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class SummaryMetrics(Scores):
    """Mean ROUGE of summaries, from 0 to 1; published tables usually give 100 times the F1.

    Attributes:
        examples: how many summaries were scored.
        rouge1, rouge2: of single tokens and of pairs.
        rougeL: of the longest common subsequence of the whole texts.
        rougeLsum: of the union of longest common subsequences of sentences; a line is a sentence.
        tokens: what was counted, the name of the tokenizer and whether a stemmer was used.
    """

    headline: ClassVar[str] = "rougeL.f1"

    examples: int
    rouge1: Rouge
    rouge2: Rouge
    rougeL: Rouge
    rougeLsum: Rouge
    tokens: str


def rouge(
    prediction: str,
    references: str | Sequence[str],
    tokens: str = "words",
    stemmer: Callable[[str], str] | None = None,
) -> dict[str, Rouge]:
    """ROUGE of one summary; of several references, for each kind the one with the highest F1 counts.

    Args:
        prediction: the summary.
        references: one right summary or several.
        tokens: what is counted: "words" (the default, also for Korean), "syllables", or "ascii-words".
        stemmer: takes endings off words of more than three characters, such as `nltk`'s `PorterStemmer().stem` for
            English; None leaves words as they are.

    Returns:
        "rouge1", "rouge2", "rougeL" and "rougeLsum".

    Raises:
        DataError: no reference, something that is no string, or a tokenizer that is not there.
    """
    split = _tokenizer(tokens, stemmer)
    targets = texts_of(references, 0, "reference")
    if not targets:
        raise DataError("there is no reference to compare the summary with")
    return _rouge(text_of(prediction, 0, "prediction"), targets, split)


def summary_metrics(
    predictions: Sequence[str],
    references: Sequence[str | Sequence[str]],
    tokens: str = "words",
    stemmer: Callable[[str], str] | None = None,
    confidence: float = 0.95,
    seed: int = 0,
) -> SummaryMetrics:
    """Mean ROUGE of summaries.

    Args:
        predictions: a summary for each text; an empty one scores 0.
        references: for each text one right summary, or several of which the best counts.
        tokens, stemmer: as in `rouge`.
        confidence: of the intervals.
        seed: of the bootstrap over summaries.

    Returns:
        the scores.

    Raises:
        DataError: no summaries, lengths that differ, no reference, or something that is no string.
    """
    aligned(references, predictions, "summaries")
    split = _tokenizer(tokens, stemmer)
    each = []
    for row, (prediction, reference) in enumerate(zip(predictions, references)):
        targets = texts_of(reference, row, "reference")
        if not targets:
            raise DataError(f"summary {row} has no reference")
        each.append(_rouge(text_of(prediction, row, "prediction"), targets, split))
    means = {kind: _mean([scores[kind] for scores in each], confidence, seed) for kind in KINDS}
    return SummaryMetrics(
        examples=len(each),
        rouge1=means["rouge1"],
        rouge2=means["rouge2"],
        rougeL=means["rougeL"],
        rougeLsum=means["rougeLsum"],
        tokens=tokens if stemmer is None else f"{tokens}, stemmed",
    )


def _mean(scores: Sequence[Rouge], confidence: float, seed: int) -> Rouge:
    return Rouge(
        sum(score.precision for score in scores) / len(scores),
        sum(score.recall for score in scores) / len(scores),
        sum(score.f1 for score in scores) / len(scores),
        bootstrap_interval([score.f1 for score in scores], confidence, seed=seed),
    )


def _tokenizer(tokens: str, stemmer: Callable[[str], str] | None) -> Callable[[str], list[str]]:
    split = TOKENIZERS.get(tokens)
    if split is None:
        raise DataError(f"there is no way to count {tokens!r}; choose one of {', '.join(TOKENIZERS)}")
    if stemmer is None:
        return split
    return lambda text: [stemmer(word) if len(word) >= _STEMMED_FROM else word for word in split(text)]


def _rouge(prediction: str, references: Sequence[str], split: Callable[[str], list[str]]) -> dict[str, Rouge]:
    guess, guess_lines = split(prediction), [split(line) for line in prediction.split("\n") if line]
    best: dict[str, Rouge] = {}
    for reference in references:
        target = split(reference)
        target_lines = [split(line) for line in reference.split("\n") if line]
        for kind, found in zip(
            KINDS,
            (
                _of_runs(target, guess, 1),
                _of_runs(target, guess, 2),
                _ratios(_common_length(target, guess), len(target), len(guess)),
                _of_lines(target_lines, guess_lines),
            ),
        ):
            if kind not in best or found.f1 > best[kind].f1:
                best[kind] = found
    return best


def _ratios(shared: int, target: int, guess: int) -> Rouge:
    if not shared:
        return Rouge(0.0, 0.0, 0.0)
    return Rouge(shared / guess, shared / target, 2 * shared / (guess + target))


def _of_runs(target: Sequence[str], guess: Sequence[str], length: int) -> Rouge:
    runs = [Counter(zip(*(side[k:] for k in range(length)))) for side in (target, guess)]
    return _ratios(sum((runs[0] & runs[1]).values()), runs[0].total(), runs[1].total())


def _lengths(target: Sequence[str], guess: Sequence[str]) -> list[int]:
    """The table of lengths of common subsequences, a row a whole number (Hyyrö 2004, "Bit-parallel LCS-length").

    Row i is of the first i tokens of the target. Its bit j is 0 where the length grows with token j of the guess, so
    the length for the first j tokens is the number of zeros among the lowest j bits.
    """
    places: dict[str, int] = {}
    for position, token in enumerate(guess):
        places[token] = places.get(token, 0) | 1 << position
    full = (1 << len(guess)) - 1
    rows = [full]
    for token in target:
        row, match = rows[-1], rows[-1] & places.get(token, 0)
        rows.append(((row + match) | (row - match)) & full)
    return rows


def _common_length(target: Sequence[str], guess: Sequence[str]) -> int:
    return len(guess) - _lengths(target, guess)[-1].bit_count()


def _common_places(target: Sequence[str], guess: Sequence[str]) -> set[int]:
    """Where in the target one longest common subsequence lies: of several, the one that `rouge-score` reads out."""
    rows, found = _lengths(target, guess), set()
    i, j = len(target), len(guess)

    def length(i: int, j: int) -> int:
        return j - (rows[i] & ((1 << j) - 1)).bit_count()

    while i and j:
        if target[i - 1] == guess[j - 1]:
            i, j = i - 1, j - 1
            found.add(i)
        elif length(i, j - 1) > length(i - 1, j):
            j -= 1
        else:
            i -= 1
    return found


def _of_lines(target: Sequence[Sequence[str]], guess: Sequence[Sequence[str]]) -> Rouge:
    """Summary-level ROUGE-L (Lin 2004, section 3.2), each token counted once at most, as in ROUGE-1.5.5."""
    left = [Counter(token for line in lines for token in line) for lines in (target, guess)]
    totals = [counter.total() for counter in left]
    hits = 0
    for line in target:
        union = set[int]().union(*(_common_places(line, other) for other in guess))
        for place in sorted(union):
            if all(counter[line[place]] > 0 for counter in left):
                hits += 1
                for counter in left:
                    counter[line[place]] -= 1
    return _ratios(hits, *totals)
