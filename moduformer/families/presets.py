"""Published sizes, from the files of the folder `published`, whose README says how they are written."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

Tree = dict[str, Any]


@cache
def family_names() -> Mapping[str, str]:
    """The family of every published size, by its name."""
    return {name: family for family, groups in _file().items() for group in groups for name in group["sizes"]}


@cache
def published(family: str) -> Mapping[str, Tree]:
    """The configs of a family's published sizes, by name; `architecture` is the class of a size that has another than
    the family's first."""
    return {name: config(name) for group in _file().get(family, ()) for name in group["sizes"]}


@cache
def config(name: str) -> Tree:
    """The config of one published size. Raises `KeyError`."""
    group = next(group for group in _file()[family_names()[name]] if name in group["sizes"])
    size = group["sizes"][name]
    if isinstance(size, str):
        return config(size)
    numbers, own = ([], size) if isinstance(size, dict) else (size, {})
    if numbers and isinstance(numbers[-1], dict):
        *numbers, own = numbers
    found = _merged(_resolved(group.get("every", {})), config(own["like"]) if "like" in own else {})
    for path, value in zip(group.get("columns", "").split(), numbers):
        for key in reversed(path.split(".")):
            value = {key: value}
        found = _merged(found, value)
    return _merged(found, _resolved(own))


def _resolved(tree: Tree) -> Tree:
    """A table whose inner tables may be `like` a published size; "null" is None, which TOML has no word for."""
    found: Tree = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            inner = {k: v for k, v in config(value["like"]).items() if k != "architecture"} if "like" in value else {}
            found[key] = _merged(inner, _resolved(value))
        elif key != "like":
            found[key] = None if value == "null" else value
    return found


def _merged(base: Tree, more: Tree) -> Tree:
    """Both, and of two values the second, but for tables, which are merged."""
    both = {key: _merged(base[key], more[key]) for key in base if isinstance(base[key], dict) and key in more}
    return {**base, **more, **both}


@cache
def _file() -> dict[str, list[Tree]]:
    """Every family's groups of sizes, of all files."""
    found: dict[str, list[Tree]] = {}
    for path in sorted(Path(__file__).with_name("published").glob("*.toml")):
        found |= tomllib.loads(path.read_text(encoding="utf-8"))
    return found
