"""An encoder-decoder's work: ragged sources, written greedily and with beams."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from bench.contender import Contender, Measured, Work, timed


@dataclass(frozen=True)
class TranslatorWork(Work):
    """Token ids of sources, each ending with its end token, and how many tokens are written for each.

    The number is the same for all contenders, so that none saves time by stopping early.
    """

    sources: list[list[int]]
    new: int
    beams: int


class Translator(Contender[TranslatorWork]):
    """Sources to targets."""

    @abstractmethod
    def translate(self, sources: Sequence[list[int]], new: int, beams: int) -> list[list[int]]:
        """Exactly `new` tokens for each source."""

    def run(self, work: TranslatorWork) -> Measured:
        """Tokens a second, greedy and with beams."""
        measures, outputs = {}, []
        for beams, name in ((1, "greedy"), (work.beams, "beams")):
            seconds, written = timed(partial(self.translate, work.sources, work.new, beams))
            measures[f"tokens_{name}"] = len(work.sources) * work.new / seconds
            outputs.append(written)
        seconds, _ = timed(lambda: self.translate(work.sources[:1], work.new, 1))
        measures["one_ms"] = 1000 * seconds
        return Measured(measures, outputs)
