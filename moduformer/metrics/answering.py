"""Scores of extractive question answering: exact match and F1 of SQuAD v1.1, SQuAD v2.0 and KorQuAD 1.0, in percent.

Rajpurkar et al. 2016 (arXiv:1606.05250), Rajpurkar et al. 2018 (arXiv:1806.03822), Lim et al. 2019 (arXiv:1909.07005).
"""

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from moduformer.errors import DataError
from moduformer.metrics.bootstrap import bootstrap_interval
from moduformer.metrics.results import Scores, aligned, text_of

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
# KorQuAD turns quotes and brackets into spaces before it drops the rest of ASCII's punctuation.
_KOREAN_BRACKETS = str.maketrans(dict.fromkeys("'\"《》<>〈〉()‘’", " "))


@dataclass(frozen=True)
class AnswerPart:
    """The scores of the questions of one kind, in percent."""

    examples: int
    exact_match: float
    f1: float


@dataclass(frozen=True)
class BestThresholds:
    """The thresholds over which no answer should be given, and the scores they would give, in percent.

    They are chosen on the examples that are scored, so their scores are upper bounds. Among equal no-answer scores the
    official search may stop in the middle, and so does this one.
    """

    exact_match: float
    exact_match_threshold: float
    f1: float
    f1_threshold: float


@dataclass(frozen=True)
class AnsweringMetrics(Scores):
    """Scores of answers, in percent.

    Attributes:
        examples: how many questions were scored.
        exact_match: the share of answers that equal one of the right ones after normalisation.
        f1: the mean overlap with the right answer nearest to it.
        exact_match_interval, f1_interval: their 95 % percentile bootstrap intervals over questions.
        answerable, unanswerable: the same of the questions with and without an answer; None where there are none.
        best: of the no-answer scores; None without them.
    """

    headline: ClassVar[str] = "f1"

    examples: int
    exact_match: float
    f1: float
    exact_match_interval: tuple[float, float]
    f1_interval: tuple[float, float]
    answerable: AnswerPart | None = None
    unanswerable: AnswerPart | None = None
    best: BestThresholds | None = None


def normalised_answer(text: str) -> str:
    """SQuAD's form of an answer: lower case, without ASCII punctuation and English articles, single spaces."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_NO_PUNCTUATION)).split())


def normalised_korean_answer(text: str) -> str:
    """KorQuAD's form of an answer: quotes and brackets are spaces, lower case, without ASCII punctuation."""
    return " ".join(text.translate(_KOREAN_BRACKETS).lower().translate(_NO_PUNCTUATION).split())


def squad_metrics(
    predictions: Sequence[str], answers: Sequence[Sequence[str]], confidence: float = 0.95, seed: int = 0
) -> AnsweringMetrics:
    """Score answers as SQuAD v1.1's script does: every question has an answer, and F1 counts words.

    Args:
        predictions: an answer for each question.
        answers: for each question its right answers, at least one.
        confidence: of the intervals.
        seed: of the bootstrap.

    Returns:
        the scores.

    Raises:
        DataError: no questions, lengths that differ, a question without answers, or an answer that is no string.
    """
    return _answered(predictions, answers, normalised_answer, str.split, confidence, seed)


def korquad_metrics(
    predictions: Sequence[str], answers: Sequence[Sequence[str]], confidence: float = 0.95, seed: int = 0
) -> AnsweringMetrics:
    """Score answers as KorQuAD 1.0's script does: F1 counts characters, so a particle too many costs little.

    Arguments, result and errors are those of `squad_metrics`.
    """

    def characters(text: str) -> list[str]:
        return list(text.replace(" ", ""))

    return _answered(predictions, answers, normalised_korean_answer, characters, confidence, seed)


def squad_v2_metrics(
    predictions: Sequence[str],
    answers: Sequence[Sequence[str]],
    no_answer_scores: Sequence[float] | None = None,
    threshold: float = 1.0,
    confidence: float = 0.95,
    seed: int = 0,
) -> AnsweringMetrics:
    """Score answers as SQuAD v2.0's script does: a question without right answers wants an empty one.

    Args:
        predictions: an answer for each question; "" says that there is none.
        answers: for each question its right answers; an empty list where there is none.
        no_answer_scores: for each question how sure the model is that there is no answer; any scale.
        threshold: no-answer scores above it make the answer an empty one. The script's default, 1, leaves
            probabilities without effect.
        confidence: of the intervals.
        seed: of the bootstrap.

    Returns:
        the scores of all questions, of both kinds, and the best thresholds where no-answer scores are given.

    Raises:
        DataError: no questions, lengths that differ, an answer that is no string, or scores that are not numbers.
    """
    rows = _checked(predictions, answers)
    exact, f1 = [], []
    for prediction, right in rows:
        guess = normalised_answer(prediction)
        targets = [text for text in map(normalised_answer, right) if text] or [""]
        exact.append(float(guess in targets))
        f1.append(max(_overlap_or_both_empty(guess.split(), target.split()) for target in targets))
    answerable = [bool(right) for _, right in rows]
    best = None
    if no_answer_scores is not None:
        scores = _numbers(no_answer_scores, len(rows))
        best = BestThresholds(
            *_best_threshold(predictions, exact, scores, answerable),
            *_best_threshold(predictions, f1, scores, answerable),
        )
        for values in (exact, f1):
            for row, score in enumerate(scores):
                if score > threshold:
                    values[row] = float(not answerable[row])
    with_answer, without = (
        _part(exact, f1, [row for row, has in enumerate(answerable) if has is kind]) for kind in (True, False)
    )
    return _metrics(exact, f1, confidence, seed, with_answer, without, best)


def _answered(
    predictions: Sequence[str],
    answers: Sequence[Sequence[str]],
    normalise: Callable[[str], str],
    units: Callable[[str], list[str]],
    confidence: float,
    seed: int,
) -> AnsweringMetrics:
    exact, f1 = [], []
    for row, (prediction, right) in enumerate(_checked(predictions, answers)):
        if not right:
            raise DataError(f"question {row} has no right answer; questions without one are scored by squad_v2_metrics")
        guess, targets = normalise(prediction), [normalise(text) for text in right]
        exact.append(float(guess in targets))
        f1.append(max(_overlap(units(guess), units(target)) for target in targets))
    return _metrics(exact, f1, confidence, seed)


def _checked(predictions: Any, answers: Any) -> list[tuple[str, list[str]]]:
    aligned(answers, predictions, "questions")
    rows = []
    for row, (prediction, right) in enumerate(zip(predictions, answers)):
        if isinstance(right, str) or not hasattr(right, "__len__"):
            raise DataError(f"the answers of question {row} are {type(right).__name__}, not a list of strings")
        rows.append(
            (text_of(prediction, row, "prediction"), [text_of(text, row, "an answer of question") for text in right])
        )
    return rows


def _numbers(values: Any, rows: int) -> list[float]:
    import numpy as np

    try:
        array = np.asarray(values, np.float64)
    except (TypeError, ValueError):
        raise DataError("no-answer scores are numbers, one for each question") from None
    if array.shape != (rows,) or not np.isfinite(array).all():
        raise DataError(f"no-answer scores are {rows} finite numbers, one for each question; got {array.shape}")
    return [float(value) for value in array]


def _overlap(guess: list[str], target: list[str]) -> float:
    """F1 of two bags; 0 where nothing is shared."""
    shared = sum((Counter(guess) & Counter(target)).values())
    return 2 * shared / (len(guess) + len(target)) if shared else 0.0


def _overlap_or_both_empty(guess: list[str], target: list[str]) -> float:
    return _overlap(guess, target) if guess and target else float(guess == target)


def _best_threshold(
    predictions: Sequence[str], values: Sequence[float], scores: Sequence[float], answerable: Sequence[bool]
) -> tuple[float, float]:
    """The best score in percent, and up to which no-answer score an answer is given for it."""
    # With the lowest threshold nothing is answered, and all questions without an answer are right.
    current = best = float(sum(not has for has in answerable))
    threshold = 0.0
    for row in sorted(range(len(scores)), key=scores.__getitem__):
        current += values[row] if answerable[row] else -float(bool(predictions[row]))
        if current > best:
            best, threshold = current, scores[row]
    return 100 * best / len(scores), threshold


def _percent(values: Sequence[float]) -> float:
    return 100 * sum(values) / len(values)


def _part(exact: Sequence[float], f1: Sequence[float], rows: Sequence[int]) -> AnswerPart | None:
    return AnswerPart(len(rows), _percent([exact[i] for i in rows]), _percent([f1[i] for i in rows])) if rows else None


def _metrics(
    exact: Sequence[float],
    f1: Sequence[float],
    confidence: float,
    seed: int,
    answerable: AnswerPart | None = None,
    unanswerable: AnswerPart | None = None,
    best: BestThresholds | None = None,
) -> AnsweringMetrics:
    (low, high), (f1_low, f1_high) = (bootstrap_interval(values, confidence, seed=seed) for values in (exact, f1))
    return AnsweringMetrics(
        len(exact),
        _percent(exact),
        _percent(f1),
        (100 * low, 100 * high),
        (100 * f1_low, 100 * f1_high),
        answerable,
        unanswerable,
        best,
    )
