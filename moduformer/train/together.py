"""Several objectives of one model, trained at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from moduformer.architecture import HeadKind
from moduformer.errors import TrainingError
from moduformer.model import Model
from moduformer.train.encoded import Encoded
from moduformer.train.objectives import Objective, Prepared


@dataclass(eq=False)
class Parts(Prepared):
    """The same rows as each of several objectives has them."""

    parts: tuple[Prepared, ...] = ()

    @property
    def tokens(self) -> int:
        """Tokens computed, by all objectives."""
        return sum(part.tokens for part in self.parts)


@dataclass(frozen=True)
class Together:
    """Several objectives on the same rows, each through the head it trains (Sun et al. 2021, ERNIE 3.0, section 3.2).

    The loss is the mean over the targets of all, of which those of `parts[i]` count `shares[i]` times each; without
    `shares` all count once.
    """

    parts: tuple[Objective, ...]
    shares: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if not self.parts or (self.shares is not None and len(self.shares) != len(self.parts)):
            raise TrainingError(f"{len(self.parts)} objectives, but shares are {self.shares}: there is one for each")

    @property
    def head(self) -> HeadKind:
        """The first objective's."""
        return self.parts[0].head

    def prepare(self, examples: Encoded, labels: Any, rows: np.ndarray, epoch: int, device: torch.device) -> Prepared:
        """The rows as each objective has them."""
        made = tuple(part.prepare(examples, labels, rows, epoch, device) for part in self.parts)
        weight = sum(share * part.weight for share, part in zip(self._shares, made))
        first = made[0]
        return Parts(first.batch, first.wanted, weight, first.target, first.row_weights, made)

    def loss(self, model: Model, prepared: Prepared) -> Tensor:
        """The sum over the targets of all, as often as each counts."""
        assert isinstance(prepared, Parts)
        sums = zip(self._shares, self.parts, prepared.parts)
        return torch.stack([share * part.loss(model, own) for share, part, own in sums]).sum()

    @property
    def _shares(self) -> tuple[float, ...]:
        return self.shares or (1.0,) * len(self.parts)
