"""How training looks while it runs: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import sys
import time
from typing import Any

from moduformer.cli.output import duration, say
from moduformer.train.callbacks import Callback, Evaluation, History, Step

QUIET_SECONDS = 20.0
"""Longest silence in a log that nobody watches live."""


class Progress(Callback):
    """Shows a run on stderr."""

    def __init__(self) -> None:
        self.bar: Any = None
        self.task: Any = None
        self.said = time.monotonic()
        self.first = True

    def on_train_begin(self, history: History) -> None:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
            from rich.progress import Progress as Bar

            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[news]}"),
            )
            self.bar = Bar(*columns, console=Console(file=sys.stderr), transient=True)
            self.task = self.bar.add_task("training", total=history.total_steps, news="")
            self.bar.start()
        else:
            say(f"training: {history.total_steps:,} steps")

    def on_step(self, step: Step) -> None:
        left, rate = duration(step.seconds_left), f"{step.rows_per_second:.0f} rows/s"
        if self.bar is not None:
            self.bar.update(self.task, completed=step.step, news=f"loss {step.loss:.3f}  {rate}  {left} left")
        elif time.monotonic() - self.said > QUIET_SECONDS or self.first:
            self.first, self.said = False, time.monotonic()
            say(f"step {step.step:,} of {step.total_steps:,}  loss {step.loss:.3f}  {rate}  about {left} left")

    def on_evaluate(self, evaluation: Evaluation) -> None:
        numbers = "  ".join(f"{name} {value:.4f}" for name, value in evaluation.metrics.items())
        line = f"epoch {evaluation.epoch:.4g}: {numbers}"
        if self.bar is not None:
            self.bar.console.print(line, highlight=False, markup=False)
        else:
            say(line)

    def on_train_end(self, history: History) -> None:
        self.close()

    def close(self) -> None:
        """Takes the bar away, also after an error."""
        if self.bar is not None:
            self.bar.stop()
            self.bar = None
