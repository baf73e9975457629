"""A call of a pipeline, as both libraries get it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Call:
    """A call of a pipeline: what it is made with, and what it is called with; `generator`: its list as a generator."""

    args: Sequence[Any]
    kwargs: dict[str, Any] = field(default_factory=dict)
    construct: dict[str, Any] = field(default_factory=dict)
    generator: bool = False
