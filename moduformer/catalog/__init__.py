"""The model table as a living part of the library: iterate it, ask it for a row, filter it.

```python
mf.catalog["bert"].parameters("base")      # by id, name, hub id or preset
[row.name for row in mf.catalog if row.year == 2019]
mf.catalog.filter(kind="decoder", korean=True)
mf.catalog.to_frame()
```
"""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Iterator
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING

from moduformer.catalog.row import Row, rows
from moduformer.errors import CatalogError, DataError

if TYPE_CHECKING:
    import pandas as pd

    from moduformer.architecture import Spec

__all__ = ["Row", "Table", "architecture", "filter", "find", "to_frame"]


def find(name: str) -> Row:
    """A row by its id, its name, one of its hub ids or presets; capitals and punctuation do not matter.

    Raises `CatalogError`, a `KeyError`, that names the nearest rows.
    """
    known = _names()
    found = known.get(_plain(str(name)))
    if found is None:
        near = difflib.get_close_matches(_plain(str(name)), known, n=8, cutoff=0.5)
        ids = list(dict.fromkeys(known[each].id for each in near)) or sorted(rows())
        raise CatalogError(f"no model of the table is called {str(name)!r:.80}; near: {', '.join(ids)}")
    return found


def filter(
    year: int | None = None,
    kind: str | None = None,
    access: str | None = None,
    korean: bool | None = None,
    max_memory: str | int | None = None,
    dtype: str = "bf16",
) -> tuple[Row, ...]:
    """The rows that fit.

    Args:
        year: of publication.
        kind: "encoder", "decoder", "encoder-decoder", "recurrent", "vision-language" or "unpublished".
        access: "open-weights", "published-architecture", "recipe" or "api-only".
        korean: made to read Korean, or not.
        max_memory: bytes, or "8GB": the weights of the row's smallest size fit in it.
        dtype: the type the weights are held in for that: "fp32", "bf16", "int8" or "int4".

    Raises `DataError` for a memory that cannot be read.
    """
    from moduformer.catalog.row import BITS

    room = _bytes(max_memory) if max_memory is not None else None
    if dtype not in BITS:
        raise DataError(f"{dtype!r:.40} is no type for weights; use {', '.join(BITS)}")
    return tuple(
        row
        for row in rows().values()
        if (year is None or row.year == year)
        and (kind is None or row.kind == kind)
        and (access is None or row.access == access)
        and (korean is None or row.korean == korean)
        and (room is None or _least(row, BITS[dtype]) <= room)
    )


def architecture(name: str) -> Spec:
    """The architecture of a row, "bert", or of one of its sizes, "gpt-3:175b".

    Raises `CatalogError` for an unknown row and `SpecError` for a size that is not there.
    """
    row, _, size = name.partition(":")
    return find(row).spec(size or None)


def to_frame() -> pd.DataFrame:
    """A table with a line for every row; lists are tuples."""
    import pandas as pd

    columns = ("id", "name", "year", "year_in_table", "organisation", "access", "kind", "korean", "family", "presets")
    frame = pd.DataFrame([{name: getattr(row, name) for name in columns} for row in rows().values()])
    frame["korean"] = frame["korean"].astype("boolean")
    frame["sizes"] = [tuple(size.label for size in row.sizes) for row in rows().values()]
    frame["builds_on"] = [tuple(link.id for link in row.builds_on) for row in rows().values()]
    frame["arxiv"] = [row.arxiv for row in rows().values()]
    return frame.set_index("id")


def _least(row: Row, bits: int) -> float:
    """Bytes of the weights of the smallest size that can be counted; infinite where none can."""
    from moduformer.errors import SpecError

    found = [float("inf")]
    for size in row.sizes:
        try:
            found.append(row.parameters(size.label) * bits / 8)
        except SpecError:
            continue
    return min(found)


def _bytes(text: str | int) -> int:
    """ "8GB" in bytes."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?\s*", str(text), re.IGNORECASE)
    if match is None:
        raise DataError(f"{str(text)!r:.40} is no amount of memory; write it like 8GB or 500MB")
    number, unit, binary = match.groups()
    return int(float(number) * (1024 if binary else 1000) ** " kmgt".index(unit.lower() or " "))


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "", name.lower())


@cache
def _names() -> dict[str, Row]:
    """Rows by everything they are called; an id or name wins over a preset or hub id of another row."""
    found: dict[str, Row] = {}
    for names in (
        lambda row: (row.id, row.name),
        lambda row: (*row.presets, *row.hub, *row.partial),
        lambda row: tuple(hub.rpartition("/")[2] for hub in row.hub),
    ):
        for row in rows().values():
            for name in names(row):
                found.setdefault(_plain(name), row)
    return found


class Table(ModuleType):
    """This module, which is also the table itself: `mf.catalog["bert"]`, `for row in mf.catalog`, `len(mf.catalog)`."""

    find = staticmethod(find)
    filter = staticmethod(filter)
    architecture = staticmethod(architecture)
    to_frame = staticmethod(to_frame)

    def __getitem__(self, name: str) -> Row:
        return find(name)

    def __iter__(self) -> Iterator[Row]:
        return iter(rows().values())

    def __len__(self) -> int:
        return len(rows())

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and _plain(name) in _names()


sys.modules[__name__].__class__ = Table
