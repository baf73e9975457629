"""Learning-rate schedules: which share of the peak rate a step takes.

`step` counts from 0 (the first optimizer step) to `total - 1`; every schedule is a pure function of the two, so a
resumed run needs no scheduler state beyond its step number.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from moduformer.errors import TrainingError


class Schedule(Protocol):
    """Anything with `factor`: the share of the peak learning rate at a step."""

    def factor(self, step: int, total: int) -> float: ...


@dataclass(frozen=True)
class Constant:
    """The peak rate throughout."""

    def factor(self, step: int, total: int) -> float:
        """1 at every step."""
        return 1.0


@dataclass(frozen=True)
class LinearWarmup:
    """A linear rise over the first `warmup` share of the steps, then a linear fall to 0 (Devlin et al. 2019, A.2)."""

    warmup: float = 0.06

    def __post_init__(self) -> None:
        _check_share("warmup", self.warmup)

    def factor(self, step: int, total: int) -> float:
        """The share of the peak rate at `step` of `total`."""
        return _warmed(step, total, self.warmup, lambda progress: 1.0 - progress)


@dataclass(frozen=True)
class Cosine:
    """A linear rise, then half a cosine down to 0 (Loshchilov & Hutter 2017, eq. 5, without restarts)."""

    warmup: float = 0.06

    def __post_init__(self) -> None:
        _check_share("warmup", self.warmup)

    def factor(self, step: int, total: int) -> float:
        """The share of the peak rate at `step` of `total`."""
        return _warmed(step, total, self.warmup, lambda progress: 0.5 * (1.0 + math.cos(math.pi * progress)))


@dataclass(frozen=True)
class SlantedTriangular:
    """A short linear rise and a long linear fall (Howard & Ruder 2018, eq. 3).

    `cut_frac` is the share of steps with a rising rate, `ratio` how much smaller the lowest rate is than the peak.
    """

    cut_frac: float = 0.1
    ratio: float = 32.0

    def __post_init__(self) -> None:
        _check_share("cut_frac", self.cut_frac)

    def factor(self, step: int, total: int) -> float:
        """The share of the peak rate at `step` of `total`."""
        cut = math.floor(total * self.cut_frac)
        if step < cut:
            p = step / cut
        else:
            # The paper's cut * (1/cut_frac - 1) is the number of falling steps; written so that a cut of 0 is defined.
            p = 1.0 - (step - cut) / max(total - cut, 1)
        return (1.0 + p * (self.ratio - 1.0)) / self.ratio


@dataclass(frozen=True)
class InverseSquareRoot:
    """A linear rise over `warmup_steps`, then a fall with the step's square root (Vaswani et al. 2017, eq. 3)."""

    warmup_steps: int = 4000

    def factor(self, step: int, total: int) -> float:
        """The share of the peak rate at `step`."""
        count, warmup = step + 1, max(self.warmup_steps, 1)
        return min(count / warmup, math.sqrt(warmup / count))


def _warmed(step: int, total: int, warmup: float, fall: Callable[[float], float]) -> float:
    rising = math.ceil(total * warmup)
    if step < rising:
        return (step + 1) / rising
    return fall((step - rising) / max(total - rising, 1))


def _check_share(name: str, value: float) -> None:
    if not 0.0 <= value < 1.0:
        raise TrainingError(f"{name} is a share of all steps between 0 and 1, but is {value!r}")
