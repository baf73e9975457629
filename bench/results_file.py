"""A table's results as data: every round of every contender, so that the page can be made again from them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.sitting import Record


def as_data(records: Sequence[Record], facts: Mapping[str, Any]) -> dict[str, Any]:
    """Plain data for JSON; outputs are left out."""
    return {**facts, "contenders": [_record(record) for record in records]}


def write(path: Path, data: Mapping[str, Any]) -> None:
    """Writes the file whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".tmp")
    unfinished.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    unfinished.replace(path)


def records(data: Mapping[str, Any]) -> list[Record]:
    """The records of a file's data."""
    return [Record(**each) for each in data["contenders"]]


def _record(record: Record) -> dict[str, Any]:
    found: dict[str, Any] = {"name": record.name}
    if record.measures:
        found["measures"] = {name: [_short(value) for value in values] for name, values in record.measures.items()}
    if record.agreement:
        found["agreement"] = {name: _short(value, 6) for name, value in record.agreement.items()}
    for name in ("versions", "ready_seconds", "missing", "failed"):
        if value := getattr(record, name):
            found[name] = _short(value) if isinstance(value, float) else value
    return found


def _short(value: float, digits: int = 5) -> float | None:
    return float(f"{value:.{digits}g}") if math.isfinite(value) else None
