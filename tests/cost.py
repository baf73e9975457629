"""Bounds on the processor time of a guard, in a unit that a slow or busy machine stretches as much as the guard."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


def yardstick() -> int:
    """A fixed piece of work in plain Python: about a tenth of a second on a laptop."""
    return sum(number * number % 7 for number in range(1_000_000))


def processor_seconds(work: Callable[[], object]) -> float:
    """What `work` costs this process."""
    start = time.process_time()
    work()
    return time.process_time() - start


@contextmanager
def bounded_cost(yardsticks: float = 100) -> Iterator[None]:
    """The block costs this process less than so many yardsticks; what the guards hold off costs thousands."""
    unit = processor_seconds(yardstick)
    start = time.process_time()
    yield
    cost = time.process_time() - start
    unit = max(unit, processor_seconds(yardstick))
    assert cost < yardsticks * unit, f"cost {cost:.2f} s, where a yardstick takes {unit:.3f} s"
