"""A trainer's work: from labelled texts to a classifier, and its labels for texts that it has not seen."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from bench.contender import Contender, Measured, Work, timed
from bench.figures import share_equal

LEARNING_RATE = 5e-5


@dataclass(frozen=True)
class TrainerWork(Work):
    """Texts and labels (numbers from 0) to learn from, and others to be right about."""

    texts: list[str]
    labels: list[int]
    new_texts: list[str]
    new_labels: list[int]
    batch: int


class Trainer(Contender[TrainerWork]):
    """Fine-tunes an encoder from the start at every turn."""

    def prepare(self, work: TrainerWork) -> None:
        """Nothing: every turn loads the encoder anew."""
        import torch

        torch.set_num_threads(work.threads)

    @abstractmethod
    def fit(self, work: TrainerWork) -> None:
        """Loads the encoder, tokenises, trains."""

    @abstractmethod
    def predict(self, texts: Sequence[str]) -> list[int]:
        """Labels by what `fit` has made."""

    def run(self, work: TrainerWork) -> Measured:
        """Examples a second from the texts to the trained classifier, and its share of right labels."""
        seconds, _ = timed(lambda: self.fit(work))
        found = self.predict(work.new_texts)
        measures = {"examples_per_second": len(work.texts) / seconds, "seconds": seconds}
        return Measured(measures | {"accuracy": share_equal(found, work.new_labels)}, found)
