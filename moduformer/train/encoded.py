"""Encoded examples: rows of token ids, flat and compact, as the training loop takes them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from moduformer.errors import DataError


@dataclass(frozen=True, eq=False)
class Ragged:
    """Rows of whole numbers of different lengths: `flat` `[values]` and `starts` `[rows + 1]`."""

    flat: np.ndarray
    starts: np.ndarray

    @classmethod
    def of(cls, rows: Iterable[Sequence[int] | np.ndarray]) -> Ragged:
        """From lists (or arrays) of numbers."""
        arrays = [np.asarray(row, dtype=np.int32) for row in rows]
        starts = np.zeros(len(arrays) + 1, dtype=np.int64)
        np.cumsum([len(row) for row in arrays], out=starts[1:])
        return cls(np.concatenate(arrays) if arrays else np.zeros(0, np.int32), starts)

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def lengths(self) -> np.ndarray:
        """Values a row, `[rows]`."""
        return np.diff(self.starts)

    def row(self, i: int) -> list[int]:
        """One row as a list."""
        values: list[int] = self.flat[self.starts[i] : self.starts[i + 1]].tolist()
        return values

    def select(self, rows: Sequence[int] | np.ndarray) -> Ragged:
        """The rows with these numbers."""
        return Ragged.of(self.flat[self.starts[i] : self.starts[i + 1]] for i in rows)

    def followed_by(self, other: Ragged) -> Ragged:
        """These rows and then the other's."""
        starts = np.concatenate([self.starts, self.starts[-1] + other.starts[1:]])
        return Ragged(np.concatenate([self.flat, other.flat]), starts)


@dataclass(frozen=True, eq=False)
class Encoded:
    """What a model reads: token ids a row, perhaps token types, the decoder's targets, a weight for each row.

    `targets` are the tokens an encoder-decoder shall write, without the start token and with the end token. `weights`
    `[rows]` scale each row's part in the loss (1 / windows for the windows of one long text).
    """

    ids: Ragged
    segments: Ragged | None = None
    targets: Ragged | None = None
    weights: np.ndarray | None = None

    @classmethod
    def of(
        cls,
        ids: Iterable[Sequence[int]],
        segments: Iterable[Sequence[int]] | None = None,
        targets: Iterable[Sequence[int]] | None = None,
        weights: Sequence[float] | None = None,
    ) -> Encoded:
        """From lists of token ids.

        Raises:
            DataError: an empty row, or parts that do not have the same rows.
        """
        made = cls(
            Ragged.of(ids),
            None if segments is None else Ragged.of(segments),
            None if targets is None else Ragged.of(targets),
            None if weights is None else np.asarray(weights, dtype=np.float64),
        )
        made._check()
        return made

    def _check(self) -> None:
        for name, part in (("ids", self.ids), ("segments", self.segments), ("targets", self.targets)):
            if part is None:
                continue
            if len(part) != len(self):
                raise DataError(f"there are {len(self)} rows of token ids but {len(part)} rows of {name}")
            empty = np.flatnonzero(part.lengths == 0)
            if len(empty):
                raise DataError(f"row {int(empty[0])} of {name} has no token; drop it or give it a text")
        if self.segments is not None and not np.array_equal(self.segments.starts, self.ids.starts):
            row = int(np.flatnonzero(self.segments.lengths != self.ids.lengths)[0])
            raise DataError(f"row {row} has {self.ids.lengths[row]} tokens but {self.segments.lengths[row]} segments")
        if self.weights is not None and (self.weights.shape != (len(self),) or not (self.weights >= 0).all()):
            raise DataError(f"weights must be {len(self)} numbers that are not negative, one for each row")

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def lengths(self) -> np.ndarray:
        """Tokens a row, the decoder's included, `[rows]`."""
        return self.ids.lengths if self.targets is None else self.ids.lengths + self.targets.lengths

    def select(self, rows: Sequence[int] | np.ndarray) -> Encoded:
        """The rows with these numbers."""
        return replace(
            self,
            ids=self.ids.select(rows),
            segments=None if self.segments is None else self.segments.select(rows),
            targets=None if self.targets is None else self.targets.select(rows),
            weights=None if self.weights is None else self.weights[np.asarray(rows)],
        )

    def digest(self, labels: object = None) -> str:
        """SHA-256 over all tokens, weights and labels: the same for the same data, whatever file it came from."""
        state = hashlib.sha256()
        for part in (self.ids, self.segments, self.targets):
            for array in (np.zeros(0),) if part is None else (part.starts, part.flat):
                _add(state, array)
        _add(state, np.zeros(0) if self.weights is None else self.weights)
        for array in (labels.starts, labels.flat) if isinstance(labels, Ragged) else (np.asarray(labels),):
            _add(state, array if array.dtype != object else np.zeros(0))
        return state.hexdigest()


def _add(state: hashlib._Hash, array: np.ndarray) -> None:
    state.update(f"{array.dtype}{array.shape}".encode())
    state.update(np.ascontiguousarray(array).tobytes())
