"""Schemes of tags, which tag may follow which, and the best sequence of tags that obeys them.

Tags mark entities token by token: IOB1 (Ramshaw and Marcus 1995), BIO or IOB2 (Tjong Kim Sang and Veenstra 1999), BIOES
(Ratinov and Roth 2009 write BILOU), IO; tags without marks, such as parts of speech, may follow one another freely. The
best legal sequence is found by dynamic programming (Viterbi 1967) over log-probabilities.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import numpy as np

from moduformer.errors import TextError

Kind = Literal["bio", "iob1", "bioes", "io", "plain"]
KINDS: tuple[str, ...] = get_args(Kind)

OUTSIDE = "O"
UNTYPED = "_"
"""The type of entities whose tags are a bare B and I."""

_MARKS = {"B": "B", "I": "I", "M": "I", "E": "E", "L": "E", "S": "S", "U": "S"}
_BEFORE = re.compile(r"([BIMELSU])(?:[-_](.+))?", re.DOTALL)
_AFTER = re.compile(r"(?:(.+)[-_])([BIMELSU])", re.DOTALL)


class Stretch(NamedTuple):
    """Positions `first` to `end - 1` of a sequence that belong together, and their type."""

    type: str
    first: int
    end: int


@dataclass(frozen=True)
class TagScheme:
    """The tags of a model and the grammar they obey.

    Attributes:
        labels: the tags, in the model's order.
        marks: of each tag, one of "B", "I", "E", "S" or "O"; "" where the scheme is "plain".
        types: of each tag; "" for O.
        kind: the grammar; None where tags of B and I are either BIO or IOB1, which their names do not tell.
    """

    labels: tuple[str, ...]
    marks: tuple[str, ...]
    types: tuple[str, ...]
    kind: Kind | None

    @classmethod
    def of(cls, labels: Sequence[str], kind: str | None = None) -> TagScheme:
        """The scheme that these names follow; `kind` settles it.

        "PER-B" is understood like "B-PER", and L, U and M like E, S and I. Names without marks beside an O are types of
        IO; without an O they are plain tags.

        Raises:
            TextError: a kind that does not exist or that these names cannot be.
        """
        if kind is not None and kind not in KINDS:
            raise TextError(f"{kind!r} is no scheme of tags; use one of {', '.join(KINDS)}")
        named = [label for label in labels if label != OUTSIDE]
        for pattern, mark, type_ in ((_BEFORE, 1, 2), (_AFTER, 2, 1)):
            found = {label: match for label in named if (match := pattern.fullmatch(label))}
            if named and len(found) == len(named) and kind != "plain":
                marks = tuple("O" if label == OUTSIDE else _MARKS[found[label][mark]] for label in labels)
                types = tuple("" if label == OUTSIDE else found[label][type_] or UNTYPED for label in labels)
                return cls(tuple(labels), marks, types, _kind(set(marks), kind))
        if OUTSIDE in labels and kind in (None, "io"):
            marks = tuple("O" if label == OUTSIDE else "I" for label in labels)
            return cls(tuple(labels), marks, tuple("" if label == OUTSIDE else label for label in labels), "io")
        if kind not in (None, "plain"):
            raise TextError(f"the tags {', '.join(named[:5])} have no marks, so they cannot be {kind}")
        return cls(tuple(labels), ("",) * len(labels), tuple(labels), "plain")

    def may(self, kind: Kind | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Which tag may begin a sequence `[tags]`, follow another `[before, after]`, and end a sequence `[tags]`."""
        kind = kind or self.kind or "bio"
        marks, types = np.array(self.marks), np.array(self.types)
        count = len(marks)
        begin, end, follow = np.ones(count, bool), np.ones(count, bool), np.ones((count, count), bool)
        same = (types[:, None] == types[None, :]) & (marks != "O")[:, None]
        if kind == "bio":
            begin = marks != "I"
            follow = (marks != "I")[None, :] | same
        elif kind == "iob1":
            begin = marks != "B"
            follow = (marks != "B")[None, :] | same
        elif kind == "bioes":
            begin, end = ~np.isin(marks, ("I", "E")), ~np.isin(marks, ("B", "I"))
            open_ = ~end
            follow = np.where(open_[:, None], same & ~begin[None, :], begin[None, :])
        return begin, follow, end

    def stretches(self, path: Sequence[int]) -> list[Stretch]:
        """The entities that a sequence of tags (by number) marks; for plain tags every position is one."""
        if self.kind == "plain":
            return [Stretch(self.labels[tag], i, i + 1) for i, tag in enumerate(path)]
        found: list[Stretch] = []
        first, before = 0, ("O", "")
        for position, tag in enumerate([*path, None]):
            mark, type_ = ("O", "") if tag is None else (self.marks[tag], self.types[tag])
            changed = mark in "OBS" or before[0] in "OES" or type_ != before[1]
            if before[0] != "O" and changed:
                found.append(Stretch(before[1], first, position))
            if changed:
                first = position
            before = mark, type_
        return found


def _kind(marks: set[str], wanted: str | None) -> Kind | None:
    ends = marks & {"E", "S"}
    if wanted == "io" and marks & {"B", "E", "S"}:
        raise TextError("tags with a B cannot be io")
    if wanted in ("bio", "iob1") and ends:
        raise TextError(f"tags with E or S cannot be {wanted}")
    if wanted is not None:
        return wanted  # type: ignore[return-value]
    if ends:
        return "bioes"
    if "B" not in marks:
        return "io"
    return None if "I" in marks else "bio"


def best_path(log_probabilities: np.ndarray, scheme: TagScheme) -> np.ndarray:
    """The most probable legal sequence of tags, by number, `[positions]`.

    Where names do not tell BIO from IOB1, the likelier of the best sequences of either is taken. Where no sequence is
    legal (tags of BIOES without S, and one position), the likeliest tag of each position.

    Args:
        log_probabilities: `[positions, tags]`.
        scheme: the tags and their grammar.
    """
    if not len(log_probabilities):
        return np.zeros(0, dtype=np.int64)
    kinds: tuple[Kind, ...] = ("bio", "iob1") if scheme.kind is None else (scheme.kind,)
    found = [_best(log_probabilities, *scheme.may(kind)) for kind in kinds]
    return max(found, key=lambda path: path[1])[0]


def _best(scores: np.ndarray, begin: np.ndarray, follow: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, float]:
    free = scores.argmax(1)
    if begin[free[0]] and end[free[-1]] and follow[free[:-1], free[1:]].all():
        return free, float(scores.max(1).sum(dtype=np.float64))
    cost = np.where(follow, 0.0, -np.inf)
    reached = scores[0].astype(np.float64) + np.where(begin, 0.0, -np.inf)
    came = np.zeros(scores.shape, dtype=np.int64)
    every = np.arange(scores.shape[1])
    for position in range(1, len(scores)):
        ways = reached[:, None] + cost
        came[position] = ways.argmax(0)
        reached = ways[came[position], every] + scores[position]
    reached = reached + np.where(end, 0.0, -np.inf)
    if reached.max() == -np.inf:
        return free, -np.inf
    path = np.zeros(len(scores), dtype=np.int64)
    path[-1] = reached.argmax()
    for position in range(len(scores) - 1, 0, -1):
        path[position - 1] = came[position, path[position]]
    return path, float(reached.max())
