"""Where each model of the family tree stands: columns are years, and no two lines cross.

A model hangs under the first of those it builds on. The largest branch goes straight on, the others turn down, each as
high as there is room: rows are shared by branches of different years.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from moduformer.catalog.row import Row, rows

STEMS = ("lstm-seq2seq-attention", "transformer", "bert", "t5", "gpt-1", "gpt-3", "llama")
"""Models whose descendants are drawn in one colour, until one of them is a stem itself."""

_BOX, _TRUNK = 0.4, 0.6
"""A box reaches this far into its column; the line that its children hang on runs here."""


@dataclass(frozen=True)
class Place:
    """A model in the picture. `column` is (year, generation within the year); `parent` is the id it hangs under."""

    row: Row
    parent: str
    stem: str
    line: int
    column: tuple[int, int]


@dataclass
class _Branch:
    """A model and all below it: their lines from 0, and what each line is taken up by, from left to right."""

    lines: dict[str, int]
    taken: dict[int, list[tuple[float, float]]] = field(default_factory=dict)

    def take(self, line: int, start: float, end: float) -> None:
        self.taken.setdefault(line, []).append((start, end))

    def fits(self, other: _Branch, offset: int) -> bool:
        """Whether another branch can hang so many lines lower without touching anything of this one."""
        return not any(
            start <= right and left <= end
            for line, intervals in other.taken.items()
            for start, end in intervals
            for left, right in self.taken.get(line + offset, ())
        )

    def add(self, other: _Branch, offset: int) -> None:
        self.lines |= {name: line + offset for name, line in other.lines.items()}
        for line, intervals in other.taken.items():
            self.taken.setdefault(line + offset, []).extend(intervals)


class Lineage:
    """The places of all rows."""

    def __init__(self) -> None:
        self.rows = rows()
        self.parents = {row.id: row.builds_on[0].id if row.builds_on else "" for row in self.rows.values()}
        self._columns = sorted({self.column(name) for name in self.rows})

    @cached_property
    def places(self) -> dict[str, Place]:
        """Every model's place, by id."""
        lines = self._whole().lines
        return {
            name: Place(row, self.parents[name], self.stem(name), lines[name], self.column(name))
            for name, row in self.rows.items()
        }

    def children(self, name: str) -> list[str]:
        """The models that hang under one, the largest branch first."""
        found = [child for child, parent in self.parents.items() if parent == name]
        year = self.rows[name].year if name else 0
        return sorted(found, key=lambda child: (-self._size(child), self.rows[child].year < year, self.column(child)))

    def stem(self, name: str) -> str:
        """The stem a model belongs to; itself if it stands alone."""
        while name not in STEMS and self.parents[name]:
            name = self.parents[name]
        return name

    def column(self, name: str) -> tuple[int, int]:
        """Its year, and how many of its forebears are of the same year."""
        parent, year = self.parents[name], self.rows[name].year
        return year, self.column(parent)[1] + 1 if parent and self.rows[parent].year == year else 0

    def _size(self, name: str) -> int:
        return 1 + sum(self._size(child) for child, parent in self.parents.items() if parent == name)

    def _at(self, name: str) -> float:
        return float(self._columns.index(self.column(name)))

    def _whole(self) -> _Branch:
        """All roots, one below the other where they do not fit beside."""
        whole = _Branch({})
        for root in self.children(""):
            branch = self._branch(root)
            offset = 0
            while not whole.fits(branch, offset):
                offset += 1
            whole.add(branch, offset)
        return whole

    def _branch(self, name: str) -> _Branch:
        at = self._at(name)
        branch, last, low = _Branch({name: 0}), 0, 0
        branch.take(0, at, at + _BOX)
        for number, child in enumerate(self.children(name)):
            below = self._branch(child)
            if self._at(child) > at:
                below.take(0, at + _TRUNK, self._at(child))
            else:  # drawn before what it starts from: its line comes down from the box itself
                below.take(0, self._at(child) + _BOX, at + _BOX)
            offset = last = last + 1 if number else 0
            while not branch.fits(below, offset):
                offset = last = last + 1
            if self._at(child) > at:
                low = offset
            else:
                for line in range(1, offset + 1):
                    branch.take(line, at, at + _BOX)
            branch.add(below, offset)
        for line in range(1, low + 1):
            branch.take(line, at + _TRUNK, at + _TRUNK)
        return branch
