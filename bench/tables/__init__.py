"""The tables, by name; each is imported when it is asked for."""

from __future__ import annotations

from importlib import import_module
from typing import Any

NAMES = ("encoder", "decoder", "encoder-decoder", "fine-tuning", "few-shots", "cold-start", "growth")


def table(name: str) -> Any:
    """The table of that name."""
    if name not in NAMES:
        raise SystemExit(f"{name!r} is no table; the tables are {', '.join(NAMES)}")
    return import_module(f"bench.tables.{name.replace('-', '_')}").TABLE
