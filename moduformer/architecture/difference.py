"""Two architectures side by side: only what differs."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Change:
    """One field that two specs do not share; `MISSING` stands for a part that one of them does not have."""

    path: str
    left: Any
    right: Any


MISSING = "(none)"


@dataclass(frozen=True)
class Difference:
    """What `Spec.diff` finds; prints as one line a field and is empty (false) when the specs are equal."""

    changes: tuple[Change, ...]

    def __bool__(self) -> bool:
        return bool(self.changes)

    def __iter__(self) -> Iterator[Change]:
        return iter(self.changes)

    def __len__(self) -> int:
        return len(self.changes)

    def __str__(self) -> str:
        if not self.changes:
            return "no difference"
        width = max(len(change.path) for change in self.changes)
        return "\n".join(f"{c.path:<{width}}  {_short(c.left)} -> {_short(c.right)}" for c in self.changes)


def difference(left: Any, right: Any) -> Difference:
    """Field by field, how `right` differs from `left`."""
    return Difference(tuple(_differences(left, right, "")))


def _short(value: Any) -> str:
    if dataclasses.is_dataclass(value):
        inner = ", ".join(f"{f.name}={_short(getattr(value, f.name))}" for f in dataclasses.fields(value))
        return f"{type(value).__name__}({inner})"
    return str(value)


def _differences(left: Any, right: Any, path: str) -> Iterator[Change]:
    if left == right:
        return
    if dataclasses.is_dataclass(left) and type(left) is type(right):
        for f in dataclasses.fields(left):
            yield from _differences(getattr(left, f.name), getattr(right, f.name), f"{path}.{f.name}".lstrip("."))
    elif path.endswith("pattern"):
        if len(left) != len(right):
            yield Change(path, f"{len(left)} blocks", f"{len(right)} blocks")
        period = math.lcm(len(left), len(right))
        for i in range(period):
            block = path.removesuffix("pattern") + ("block" if period == 1 else f"block.{i}")
            yield from _differences(left[i % len(left)], right[i % len(right)], block)
    elif path == "heads":
        heads = [{head.kind: head for head in side} for side in (left, right)]
        for kind in dict.fromkeys((*heads[0], *heads[1])):
            yield from _differences(heads[0].get(kind, MISSING), heads[1].get(kind, MISSING), f"heads.{kind}")
    else:
        yield Change(path, MISSING if left is None else left, MISSING if right is None else right)
