"""Masks as rules over positions: who may look at whom. Rules are hashable values, so a kernel is chosen once each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Rule:
    """Every key of the same row is visible; `&` narrows a rule by another."""

    def allows(self, queries: Tensor, keys: Tensor, horizons: Tensor | None = None) -> Tensor | None:
        """Which keys each query sees, from integer positions broadcast against each other; None means all.

        `horizons` is the last position that each query may look at in a row with a prefix (`Rows.horizons`)."""
        return None

    def __and__(self, other: Rule) -> Rule:
        if type(self) is Rule:
            return other
        if type(other) is Rule:
            return self
        return Both(self, other)


@dataclass(frozen=True)
class Causal(Rule):
    """A query sees its own position and earlier ones."""

    def allows(self, queries: Tensor, keys: Tensor, horizons: Tensor | None = None) -> Tensor | None:
        return keys <= queries


@dataclass(frozen=True)
class Prefix(Rule):
    """A query sees its own position, earlier ones and all of its row's prefix (Dong et al. 2019, UniLM, figure 1)."""

    def allows(self, queries: Tensor, keys: Tensor, horizons: Tensor | None = None) -> Tensor | None:
        return keys <= (queries if horizons is None else horizons)


@dataclass(frozen=True)
class Window(Rule):
    """A query sees keys fewer than `size` positions away: with `Causal`, the last `size` including its own."""

    size: int

    def allows(self, queries: Tensor, keys: Tensor, horizons: Tensor | None = None) -> Tensor | None:
        return (queries - keys).abs() < self.size


@dataclass(frozen=True)
class SameNumber(Rule):
    """A query sees the keys that have its own number for a position; one without a number, 0, sees all."""

    def allows(self, queries: Tensor, keys: Tensor, horizons: Tensor | None = None) -> Tensor | None:
        return (keys == queries) | (queries == 0)


@dataclass(frozen=True)
class Both(Rule):
    """Visible under both rules."""

    left: Rule
    right: Rule

    def allows(self, queries: Tensor, keys: Tensor, horizons: Tensor | None = None) -> Tensor | None:
        left, right = self.left.allows(queries, keys, horizons), self.right.allows(queries, keys, horizons)
        if left is None or right is None:
            return left if right is None else right
        return left & right


EVERYTHING = Rule()
