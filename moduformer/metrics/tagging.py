"""Scores of taggers: entities found, over BIO tags as seqeval counts them or over spans of characters.

An entity counts as found where its type and both ends are right (Tjong Kim Sang and De Meulder 2003, CoNLL-2003).
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from moduformer.errors import DataError
from moduformer.metrics.bootstrap import bootstrap_totals
from moduformer.metrics.classification import ClassMetrics
from moduformer.metrics.results import Scores, aligned

if TYPE_CHECKING:
    import numpy

UNTYPED = "_"
"""The type of entities whose tags are a bare B and I."""


class Entity(NamedTuple):
    """A typed span; `end` is the first position after it. Positions count tokens or characters."""

    type: str
    start: int
    end: int


@dataclass(frozen=True)
class TaggingMetrics(Scores):
    """Scores of entities; 0 where a ratio has nothing to divide by.

    Attributes:
        sequences: how many sentences or texts were scored.
        entities: how many entities there are to find.
        predicted: how many were predicted.
        precision, recall, f1: over all entities pooled (micro).
        f1_interval: the 95 % percentile bootstrap interval of `f1` over sequences.
        macro_precision, macro_recall, macro_f1: plain means over the types that appear or are predicted.
        weighted_precision, weighted_recall, weighted_f1: means over types weighted by support.
        per_type: every type, in alphabetical order.
        token_accuracy: the share of tags that are right; None where spans were scored.
    """

    headline: ClassVar[str] = "f1"

    sequences: int
    entities: int
    predicted: int
    precision: float
    recall: float
    f1: float
    f1_interval: tuple[float, float]
    macro_precision: float
    macro_recall: float
    macro_f1: float
    weighted_precision: float
    weighted_recall: float
    weighted_f1: float
    per_type: list[ClassMetrics] = field(default_factory=list)
    token_accuracy: float | None = None


@dataclass(frozen=True)
class TokenAccuracy(Scores):
    """The share of tags that are right, with its 95 % percentile bootstrap interval over sentences."""

    headline: ClassVar[str] = "accuracy"

    sentences: int
    tokens: int
    accuracy: float
    accuracy_interval: tuple[float, float]


def entities(tags: Sequence[str], strict: bool = False) -> list[Entity]:
    """The entities that a sequence of tags marks, ends counted in tokens.

    Args:
        tags: "O", and "B-TYPE" or "I-TYPE"; without `strict` also "E-TYPE" (the last of an entity) and "S-TYPE" (a
            single one).
        strict: read as IOB2: an entity begins with B and goes on with I of the same type, and an I elsewhere marks
            nothing. Otherwise as conlleval and seqeval's default: an I that nothing of its type stands before begins
            an entity.

    Returns:
        in order of their beginning.

    Raises:
        DataError: a tag that is neither, with its position.
    """
    found: list[Entity] = []
    before, type_before, start = "O", "", 0
    for position, tag in enumerate([*tags, "O"]):
        mark, kind = _parsed(tag, position, "BIO" if strict else "BIESO")
        if strict and mark == "I" and (before not in ("B", "I") or kind != type_before):
            mark, kind = "O", ""
        changed = kind != type_before
        if before != "O" and (mark in "BSO" or before in "ES" or changed):
            found.append(Entity(type_before, start, position))
        if mark != "O" and (mark in "BS" or before in "ESO" or changed):
            start = position
        before, type_before = mark, kind
    return found


def _parsed(tag: Any, position: int, marks: str) -> tuple[str, str]:
    if (
        not isinstance(tag, str)
        or not tag
        or tag[0] not in marks
        or (len(tag) > 1 and (tag[0] == "O" or tag[1] != "-"))
    ):
        listed = ", ".join(f"{mark}-TYPE" for mark in marks if mark != "O")
        raise DataError(f"the tag {tag!r} at position {position} is neither O nor one of {listed}")
    return tag[0], "" if tag[0] == "O" else tag[2:] or UNTYPED


def tagging_metrics(
    targets: Sequence[Sequence[str]],
    predictions: Sequence[Sequence[str]],
    strict: bool = False,
    confidence: float = 0.95,
    seed: int = 0,
) -> TaggingMetrics:
    """Score tags; equal to seqeval 1.2.2 in its default mode and in its strict mode of IOB2.

    Args:
        targets: true tags, a list for each sentence.
        predictions: predicted tags, as many for each sentence.
        strict: whether an I without a B of its type before it marks nothing (see `entities`).
        confidence: of the interval.
        seed: of the bootstrap.

    Returns:
        the scores.

    Raises:
        DataError: no sentences, lengths that differ, or a tag that is none.
    """
    aligned(targets, predictions, "sentences")
    pairs = []
    for row, (truth, guess) in enumerate(zip(targets, predictions)):
        _same_length(truth, guess, row)
        try:
            pairs.append((set(entities(truth, strict)), set(entities(guess, strict))))
        except DataError as error:
            raise DataError(f"sentence {row}: {error}") from None
    right = sum(t == g for truth, guess in zip(targets, predictions) for t, g in zip(truth, guess))
    tokens = sum(len(truth) for truth in targets)
    return _scored(pairs, confidence, seed, right / tokens if tokens else None)


def span_metrics(
    targets: Sequence[Iterable[tuple[str, int, int]]],
    predictions: Sequence[Iterable[tuple[str, int, int]]],
    confidence: float = 0.95,
    seed: int = 0,
) -> TaggingMetrics:
    """Score spans of characters; a span that is given twice counts once.

    Args:
        targets: for each text its true `(type, start, end)`, `text[start:end]` being the entity.
        predictions: for each text the predicted ones.
        confidence: of the interval.
        seed: of the bootstrap.

    Returns:
        the scores, without `token_accuracy`.

    Raises:
        DataError: no texts, lengths that differ, or a span that is none.
    """
    aligned(targets, predictions, "texts")
    pairs = [
        (_spans(t, row, "target"), _spans(p, row, "prediction")) for row, (t, p) in enumerate(zip(targets, predictions))
    ]
    return _scored(pairs, confidence, seed, None)


def _spans(spans: Any, row: int, what: str) -> set[Entity]:
    if isinstance(spans, (str, dict)) or not isinstance(spans, Iterable):
        raise DataError(f"the {what} of text {row} is {type(spans).__name__}, not a list of (type, start, end)")
    found = set()
    for span in spans:
        try:
            kind, start, end = span
            valid = isinstance(kind, str) and 0 <= start < end and int(start) == start and int(end) == end
        except (TypeError, ValueError, OverflowError):
            valid = False
        if not valid:
            raise DataError(
                f"the {what} of text {row} holds {span!r}, which is not (type, start, end) with start < end"
            )
        found.add(Entity(kind, int(start), int(end)))
    return found


def token_accuracy(
    targets: Sequence[Sequence[str]], predictions: Sequence[Sequence[str]], confidence: float = 0.95, seed: int = 0
) -> TokenAccuracy:
    """Score tags one by one, such as parts of speech.

    Args:
        targets: true tags, a list for each sentence; any values that compare.
        predictions: predicted tags, as many for each sentence.
        confidence: of the interval.
        seed: of the bootstrap.

    Raises:
        DataError: no tokens, or lengths that differ.
    """
    import numpy as np

    aligned(targets, predictions, "sentences")
    counts = []
    for row, (truth, guess) in enumerate(zip(targets, predictions)):
        _same_length(truth, guess, row)
        counts.append((sum(t == g for t, g in zip(truth, guess)), len(truth)))
    right, tokens = (sum(column) for column in zip(*counts))
    if not tokens:
        raise DataError("there are no tokens to score")
    interval = bootstrap_totals(counts, lambda sums: sums[:, 0] / np.maximum(sums[:, 1], 1), confidence, seed=seed)
    return TokenAccuracy(len(counts), tokens, right / tokens, interval)


def _same_length(truth: Any, guess: Any, row: int) -> None:
    for tags in (truth, guess):
        if isinstance(tags, str) or not hasattr(tags, "__len__"):
            raise DataError(f"sentence {row} is {type(tags).__name__}, not a list of tags")
    if len(truth) != len(guess):
        raise DataError(f"sentence {row} has {len(truth)} true tags and {len(guess)} predicted ones")


def _scored(
    pairs: Sequence[tuple[set[Entity], set[Entity]]], confidence: float, seed: int, accuracy: float | None
) -> TaggingMetrics:
    right, sought, given = Counter[str](), Counter[str](), Counter[str]()
    for truth, guess in pairs:
        right.update(entity.type for entity in truth & guess)
        sought.update(entity.type for entity in truth)
        given.update(entity.type for entity in guess)
    types = sorted(sought | given)
    per_type = [ClassMetrics(kind, *_ratios(right[kind], given[kind], sought[kind]), sought[kind]) for kind in types]
    support = sum(sought.values())
    precision, recall, f1 = _ratios(sum(right.values()), sum(given.values()), support)

    def mean(name: str, weighted: bool) -> float:
        weights = [c.support if weighted else 1 for c in per_type]
        total = sum(weights)
        return sum(w * getattr(c, name) for w, c in zip(weights, per_type)) / total if total else 0.0

    counts = [(len(truth & guess), len(guess) + len(truth)) for truth, guess in pairs]
    return TaggingMetrics(
        len(pairs),
        support,
        sum(given.values()),
        precision,
        recall,
        f1,
        bootstrap_totals(counts, _micro_f1, confidence, seed=seed),
        mean("precision", False),
        mean("recall", False),
        mean("f1", False),
        mean("precision", True),
        mean("recall", True),
        mean("f1", True),
        per_type,
        accuracy,
    )


def _ratios(right: int, given: int, sought: int) -> tuple[float, float, float]:
    return (
        right / given if given else 0.0,
        right / sought if sought else 0.0,
        2 * right / (given + sought) if given + sought else 0.0,
    )


def _micro_f1(sums: "numpy.ndarray") -> "numpy.ndarray":
    import numpy as np

    return 2 * sums[:, 0] / np.maximum(sums[:, 1], 1)
