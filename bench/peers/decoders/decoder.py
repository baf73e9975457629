"""A decoder's work: greedy continuations of equally long prompts, one at a time and several at once."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from bench.contender import Contender, Measured, Work, timed


@dataclass(frozen=True)
class DecoderWork(Work):
    """Token ids to continue by `new` tokens each: the first prompt alone, then `batch` of them at once.

    Attributes:
        gguf: the file that the weights were first published in.
    """

    gguf: str
    prompts: list[list[int]]
    batch: int
    new: int


class Decoder(Contender[DecoderWork]):
    """Token ids to token ids."""

    @abstractmethod
    def write(self, prompts: Sequence[list[int]], new: int) -> list[list[int]]:
        """The `new` tokens after each prompt, all of them, whether or not an end token is among them."""

    def run(self, work: DecoderWork) -> Measured:
        """Seconds to the first token, and tokens a second after it, at batch 1 and at `batch`."""
        measures: dict[str, float] = {}
        written: list[list[int]] = []
        for size, name in ((1, "one"), (work.batch, "batch")):
            prompts = work.prompts[:size]
            first, _ = timed(partial(self.write, prompts, 1))
            whole, written = timed(partial(self.write, prompts, work.new))
            measures[f"first_{name}"] = first
            # On a busy machine the first token alone can take longer than all of them.
            after = (work.new - 1) / (whole - first) if whole > first else work.new / whole
            measures[f"tokens_{name}"] = size * after
            measures[f"whole_{name}"] = whole
        return Measured(measures, written)
