"""What a contender is: one way of doing a table's work, in a process of its own."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import shutil
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar


@dataclass(frozen=True)
class Work:
    """What every contender of a table gets, alike for all.

    Attributes:
        folder: the weights, in Hugging Face layout.
        kept: where conversions of them lie from one sitting to the next.
        threads: how many threads each may use.
    """

    folder: str
    kept: str
    threads: int


W = TypeVar("W", bound=Work)


@dataclass
class Measured:
    """One turn: `measures` by name, and the `output` that is compared with the reference's (lists, or a matrix)."""

    measures: dict[str, float]
    output: Any = None
    more: dict[str, Any] = field(default_factory=dict)


class Contender(ABC, Generic[W]):
    """One library, doing the work in one way.

    Attributes:
        name: as it stands in the table.
        modules: what must be importable, beside what moduformer itself needs.
        packages: what `pip` installs to get them.
    """

    name: str
    modules: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()

    def missing(self) -> str | None:
        """What to install first; None where everything is there."""
        lacking = [name for name in self.modules if importlib.util.find_spec(name) is None]
        if not lacking:
            return None
        return f"not installed: pip install -c constraints.txt {' '.join(self.packages or self.modules)}"

    def versions(self) -> dict[str, str]:
        """The versions of its packages."""
        found = {}
        for name in self.packages:
            try:
                found[name] = importlib.metadata.version(name)
            except importlib.metadata.PackageNotFoundError:
                continue
        return found

    def files(self, work: W) -> list[Path]:
        """The conversions it reads; `convert` makes those that are not there, in another process."""
        return []

    def convert(self, work: W) -> None:
        """Makes `files`."""

    @abstractmethod
    def prepare(self, work: W) -> None:
        """Loads the model: what a program does once. Imports the library first."""

    @abstractmethod
    def run(self, work: W) -> Measured:
        """Does the work once."""

    def processes(self) -> list[int]:
        """Processes that it started and whose memory is its own."""
        return []


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A path to write a file or folder to, which appears under its own name only when it is complete."""
    unfinished = path.with_name(f".{path.name}.unfinished")
    path.parent.mkdir(parents=True, exist_ok=True)
    if unfinished.is_dir():
        shutil.rmtree(unfinished)
    unfinished.unlink(missing_ok=True)
    yield unfinished
    if path.is_dir():
        shutil.rmtree(path)
    unfinished.rename(path)


def timed(act: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds, and what came of it."""
    start = time.perf_counter()
    found = act()
    return time.perf_counter() - start, found
