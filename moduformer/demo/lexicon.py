"""Sentiment from a list of rated words and five rules: the baseline that a trained model has to beat.

The five rules are those of Hutto & Gilbert (2014), section "Identifying generalizable heuristics": exclamation marks,
capitals, words of degree, "but", and negation up to three words before. Their published program knows some idioms and
emoji more, so its scores differ a little from these.
"""

from __future__ import annotations

import math
import string
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from moduformer.errors import DataError

LARGEST_FILE = 8 * 2**20
_EXCLAMATION, _MOST_EXCLAMATIONS = 0.292, 4
_CAPITALS = 0.733
_DEGREE = 0.293
_FADE = (1.0, 0.95, 0.9)
_NEGATION = -0.74
_BEFORE_BUT, _AFTER_BUT = 0.5, 1.5
_NORMALISER = 15.0

_STRONGER = frozenset(
    "absolutely amazingly awfully completely considerably decidedly deeply enormously entirely especially "
    "exceptionally extremely fabulously fully greatly highly hugely incredibly intensely more most particularly "
    "purely quite really remarkably so substantially thoroughly totally tremendously unbelievably unusually "
    "utterly very".split()
)
_WEAKER = frozenset(
    "almost barely hardly less little marginally occasionally partly scarcely slightly somewhat".split()
)
_NEGATIONS = frozenset(
    "aint cannot cant couldnt didnt doesnt dont hadnt hasnt havent isnt neither never no nobody none nor not "
    "nothing nowhere rarely seldom shouldnt wasnt werent without wont wouldnt".split()
)


@dataclass(frozen=True)
class Lexicon:
    """Words, emoticons and abbreviations, each with its valence from -4 to 4."""

    valences: dict[str, float]

    @classmethod
    def read(cls, path: Path) -> Lexicon:
        """Reads lines `word <tab> valence <tab> ...`; others are passed over.

        Raises:
            DataError: the file is absent, far too large, or holds no such line.
        """
        try:
            if path.stat().st_size > LARGEST_FILE:
                raise DataError(
                    f"{path.name} is larger than {LARGEST_FILE >> 20} MiB, which no lexicon of this kind is"
                )
            text = path.read_bytes().decode("utf-8", "replace")
        except OSError as error:
            raise DataError(f"{path} cannot be read ({error.strerror}); delete its folder and fetch it again") from None
        valences: dict[str, float] = {}
        for line in text.split("\n"):
            fields = line.split("\t")
            try:
                valence = float(fields[1])
            except (IndexError, ValueError):
                continue
            if fields[0] and math.isfinite(valence):
                valences[fields[0]] = valence
        if not valences:
            raise DataError(f"{path.name} holds no line of the form word, valence")
        return cls(valences)

    def score(self, text: str) -> float:
        """The sentiment of a text, from -1 to 1; 0 where no word of it is known."""
        words = [self._word(piece) for piece in text.split()]
        shouting = any(w.isupper() for w in words) and not all(w.isupper() for w in words if w.lower() != w.upper())
        lowered = [word.lower() for word in words]
        turn = lowered.index("but") if "but" in lowered else None
        total = 0.0
        for place, word in enumerate(lowered):
            valence = self._valence(words, lowered, place, shouting)
            if turn is not None and word != "but":
                valence *= _BEFORE_BUT if place < turn else _AFTER_BUT
            total += valence
        total += math.copysign(_EXCLAMATION * min(text.count("!"), _MOST_EXCLAMATIONS), total) if total else 0.0
        return total / math.sqrt(total * total + _NORMALISER)

    def _word(self, piece: str) -> str:
        """A piece of text without the punctuation around it, unless it is an emoticon."""
        if piece.lower() in self.valences:
            return piece
        bare = piece.strip(string.punctuation)
        return bare if len(bare) > 1 else piece

    def _valence(self, words: Sequence[str], lowered: Sequence[str], place: int, shouting: bool) -> float:
        valence = self.valences.get(lowered[place], 0.0)
        if not valence or lowered[place] in _STRONGER | _WEAKER:
            return 0.0
        sign = math.copysign(1.0, valence)
        if shouting and words[place].isupper():
            valence += sign * _CAPITALS
        before = lowered[max(0, place - 3) : place][::-1]
        for word, fade in zip(before, _FADE):
            if word in _STRONGER:
                valence += sign * _DEGREE * fade
            elif word in _WEAKER:
                valence -= sign * _DEGREE * fade
        if any(word.replace("'", "").replace("’", "") in _NEGATIONS for word in before):
            valence *= _NEGATION
        return valence
