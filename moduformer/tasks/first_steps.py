"""What a training run would cost: its own first steps, timed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from moduformer.tasks.run_records import peak_memory
from moduformer.train.callbacks import Callback, Step

TIMED = 6
"""Steps that are timed; the first of a run is slower than the others."""


class _Enough(Exception):
    """Ends a run whose first steps were all that was wanted."""


class _FirstSteps(Callback):
    def __init__(self) -> None:
        self.last: Step | None = None

    def on_step(self, step: Step) -> None:
        self.last = step
        if step.step >= TIMED:
            raise _Enough


def cost(fit: Callable[[Sequence[Callback]], object]) -> dict[str, Any]:
    """Steps, seconds and bytes that a run would need, evaluation aside, as JSON-safe facts.

    Args:
        fit: begins the run with these callbacks and writes nothing; it is ended after a few steps.
    """
    watcher = _FirstSteps()
    with suppress(_Enough):
        fit([watcher])
    last = watcher.last
    return {
        "steps": None if last is None else last.total_steps,
        "seconds": None if last is None else last.seconds + last.seconds_left,
        "peak_memory_bytes": peak_memory(),
    }
