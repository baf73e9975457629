"""Tokens with scores of tags, gathered into entities the way the pipelines of Hugging Face `transformers` 4 do it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Entity = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Piece:
    """A token: how it is spelled, the probability of each tag, its place in the text and in the framed sequence.

    `continues`: it goes on with the word of the token before it.
    """

    word: str
    scores: np.ndarray
    start: int
    end: int
    index: int
    continues: bool


class Grouping:
    """How tokens become entities, with a model's tags and a way of joining tokens."""

    def __init__(self, labels: Sequence[str], join: Callable[[list[str]], str]) -> None:
        self.labels, self.join = labels, join

    def __call__(self, pieces: Sequence[Piece], strategy: str) -> list[Entity]:
        """Every token ("none"), or runs of tokens or words of one type ("simple", "first", "average", "max")."""
        if strategy == "none":
            return [self._token(piece) for piece in pieces]
        parts = [self._token(piece) for piece in pieces] if strategy == "simple" else self._words(pieces, strategy)
        runs: list[list[Entity]] = []
        for part in parts:
            begins, kind = _mark(part["entity"])
            if runs and not begins and kind == _mark(runs[-1][-1]["entity"])[1]:
                runs[-1].append(part)
            else:
                runs.append([part])
        return [self._run(run) for run in runs]

    def _token(self, piece: Piece) -> Entity:
        best = int(piece.scores.argmax())
        return {
            "entity": self.labels[best],
            "score": float(piece.scores[best]),
            "index": piece.index,
            "word": piece.word,
            "start": piece.start,
            "end": piece.end,
        }

    def _words(self, pieces: Sequence[Piece], strategy: str) -> list[Entity]:
        words: list[list[Piece]] = []
        for piece in pieces:
            if words and piece.continues:
                words[-1].append(piece)
            else:
                words.append([piece])
        return [self._word(word, strategy) for word in words]

    def _word(self, pieces: list[Piece], strategy: str) -> Entity:
        if strategy == "first":
            scores = pieces[0].scores
        elif strategy == "max":
            scores = max(pieces, key=lambda piece: piece.scores.max()).scores
        else:
            scores = np.stack([piece.scores for piece in pieces]).mean(0)
        best = int(scores.argmax())
        return {
            "entity": self.labels[best],
            "score": float(scores[best]),
            "word": self.join([piece.word for piece in pieces]),
            "start": pieces[0].start,
            "end": pieces[-1].end,
        }

    def _run(self, parts: list[Entity]) -> Entity:
        return {
            "entity_group": parts[0]["entity"].split("-", 1)[-1],
            "score": float(np.mean([part["score"] for part in parts])),
            "word": self.join([part["word"] for part in parts]),
            "start": parts[0]["start"],
            "end": parts[-1]["end"],
        }


def longest_of_overlapping(entities: Sequence[Entity]) -> list[Entity]:
    """Of entities that several windows found in one place the longest, and of equally long ones the surest."""
    found: list[Entity] = []
    for entity in sorted(entities, key=lambda entity: entity["start"]):
        last = found[-1] if found else None
        if last is None or not last["start"] <= entity["start"] < last["end"]:
            found.append(entity)
        elif (entity["end"] - entity["start"], entity["score"]) > (last["end"] - last["start"], last["score"]):
            found[-1] = entity
    return found


def _mark(label: str) -> tuple[bool, str]:
    """Whether a tag begins an entity, and its type; what has no mark goes on."""
    return label.startswith("B-"), label[2:] if label.startswith(("B-", "I-")) else label
