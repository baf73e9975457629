"""Which rows share a batch: rows of nearly equal length, in an order that a seed and an epoch number decide.

Attention over rows of one length is a single dense kernel call (see `kernels`), so a batch of equal lengths is the
fastest batch; shuffling first and sorting only inside pools keeps batches random enough to learn from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from moduformer.errors import TrainingError

POOL = 50
"""Batches sorted by length together: enough for near-equal lengths, few enough to stay random."""


@dataclass(frozen=True, eq=False)
class Plan:
    """The batches of every epoch, a pure function of lengths, sizes and seed.

    `lengths` are tokens a row; a batch holds `batch_size` rows, or as many as fit `batch_tokens` (at least one).
    Resuming needs no state but (epoch, position): `plan.epoch(e)[position:]`.
    """

    lengths: np.ndarray
    batch_size: int = 32
    batch_tokens: int | None = None
    seed: int = 0
    pool: int = POOL

    def __post_init__(self) -> None:
        if not len(self.lengths):
            raise TrainingError("there are no rows to train on")
        if self.batch_size < 1 or (self.batch_tokens is not None and self.batch_tokens < 1):
            raise TrainingError(f"a batch needs at least one row, but batch_size is {self.batch_size}")

    def epoch(self, number: int) -> list[np.ndarray]:
        """The row numbers of each batch of epoch `number`, counted from 0; every row occurs exactly once."""
        generator = np.random.default_rng((self.seed, number))
        shuffled = generator.permutation(len(self.lengths))
        batches: list[np.ndarray] = []
        size = self._pool_rows()
        for start in range(0, len(shuffled), size):
            rows = shuffled[start : start + size]
            rows = rows[np.argsort(self.lengths[rows], kind="stable")]
            batches += self._cut(rows)
        return [batches[i] for i in generator.permutation(len(batches))]

    def steps(self, epochs: int) -> int:
        """How many batches `epochs` epochs hold."""
        if self.batch_tokens is None:
            return epochs * -(-len(self.lengths) // self.batch_size)
        return sum(len(self.epoch(number)) for number in range(epochs))

    def _pool_rows(self) -> int:
        rows = self.batch_size
        if self.batch_tokens is not None:
            rows = max(1, round(self.batch_tokens / float(self.lengths.mean())))
        return self.pool * rows

    def _cut(self, rows: np.ndarray) -> list[np.ndarray]:
        if self.batch_tokens is not None:
            return _by_tokens(rows, self.lengths, self.batch_tokens)
        return [rows[i : i + self.batch_size] for i in range(0, len(rows), self.batch_size)]


def evaluation_batches(lengths: Sequence[int] | np.ndarray, tokens: int = 4096) -> list[np.ndarray]:
    """Row numbers in batches of at most `tokens` tokens (at least one row), longest rows first.

    Longest first makes a shortage of memory show at once. Put results back with `out[batch] = ...`.
    """
    sizes = np.asarray(lengths)
    return _by_tokens(np.argsort(-sizes, kind="stable"), sizes, tokens)


def _by_tokens(rows: np.ndarray, lengths: np.ndarray, budget: int) -> list[np.ndarray]:
    batches, start, held = [], 0, 0
    for i, length in enumerate(lengths[rows].tolist()):
        if i > start and held + length > budget:
            batches.append(rows[start:i])
            start, held = i, 0
        held += length
    if start < len(rows):
        batches.append(rows[start:])
    return batches
