"""What a table of the benchmark is: its contenders, the work they share, and the columns it prints."""

from __future__ import annotations

import argparse
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic

from bench.contender import Contender, W

if TYPE_CHECKING:
    from bench.sitting import Record


@dataclass(frozen=True)
class Column:
    """A measure or an agreement as it is printed.

    Attributes:
        key: its name in a record.
        heading: what stands above it.
        digits: after the point.
        ratio: print how many times as good as the base, before everything else.
        lower_is_better: seconds and memory are; speeds are not.
        spread: print the least and the most beside the median.
        scale: the number is multiplied by it, as shares are by 100.
    """

    key: str
    heading: str
    digits: int = 0
    ratio: bool = False
    lower_is_better: bool = False
    spread: bool = False
    scale: float = 1.0


class Table(ABC, Generic[W]):
    """A table: `name` on the command line, `title` in the page, and `contenders`, the first of which is the base.

    `reference` names the contender whose outputs the others are compared with; where it did not run, the first that did
    and that `may_be_reference` takes its place.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    about: ClassVar[str]
    work_type: ClassVar[type[Any]]
    contenders: ClassVar[Sequence[Contender[Any]]]
    columns: ClassVar[Sequence[Column]]
    agreements: ClassVar[Sequence[Column]] = ()
    reference: ClassVar[str] = ""
    stand_in: ClassVar[str] = "moduformer float32"
    warm_up: ClassVar[int] = 1
    rounds: ClassVar[int] = 5

    def contender(self, name: str) -> Contender[Any]:
        """The contender of that name. Raises `KeyError` for one that is none."""
        return {each.name: each for each in self.contenders}[name]

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Adds the options that only this table has."""

    @abstractmethod
    def work(self, options: argparse.Namespace) -> W:
        """What the contenders get."""

    def agreement(self, output: Any, reference: Any, work: W) -> dict[str, float]:
        """How far an output is from the reference's, by the keys of `agreements`."""
        return {}

    def base(self, records: Sequence[Record]) -> Record | None:
        """The record that ratios are of: the first contender's, or our float32 where that did not run."""
        ran = [record for record in records if record.ran]
        first = [record for record in ran if record.name == self.contenders[0].name]
        return next(iter(first or [record for record in ran if record.name == self.stand_in] or ran), None)

    def grid(self, records: Sequence[Record]) -> str:
        """The results as a Markdown table."""
        from bench.markdown import grid

        return grid(self, records)

    def draw(self, records: Sequence[Record], path: Path) -> None:
        """The results as a picture."""
        from bench.picture import bars

        bars(self.columns, records, path)

    def compare(self, records: Sequence[Record], work: W) -> str | None:
        """Fills in every record's agreement; returns whose outputs were the reference."""
        found = {record.name: record for record in records if record.ran}
        chosen = found.get(self.reference) or found.get(self.stand_in)
        if chosen is None:
            return None
        for record in (each for each in found.values() if each.output is not None):
            record.agreement = self.agreement(record.output, chosen.output, work)
        return chosen.name
