"""The log of a run as CSV files: `log.csv`, one row a logged step, and `evaluations.csv`, one row an evaluation."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from moduformer.train.callbacks import Callback, Evaluation, History, Step

LOG = "log.csv"
EVALUATIONS = "evaluations.csv"
_COLUMNS = (
    "step", "epoch", "loss", "learning_rate", "gradient_norm", "rows_per_second", "tokens_per_second", "seconds",
)  # fmt: skip


class LogFiles(Callback):
    """Writes both files into a folder; a resumed run's files are first put back to what its checkpoint knew."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.metrics: list[str] = []

    def on_train_begin(self, history: History) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._write(LOG, "w", [_COLUMNS, *map(_row, history.steps)])
        (self.folder / EVALUATIONS).unlink(missing_ok=True)
        for evaluation in history.evaluations:
            self.on_evaluate(evaluation)

    def on_log(self, step: Step) -> None:
        self._write(LOG, "a", [_row(step)])

    def on_evaluate(self, evaluation: Evaluation) -> None:
        if not self.metrics:
            self.metrics = list(evaluation.metrics)
            self._write(EVALUATIONS, "w", [("step", "epoch", "best", *self.metrics)])
        values = [_number(evaluation.metrics.get(name)) for name in self.metrics]
        self._write(EVALUATIONS, "a", [(evaluation.step, _number(evaluation.epoch), int(evaluation.best), *values)])

    def _write(self, name: str, mode: str, rows: list[Any]) -> None:
        with open(self.folder / name, mode, newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(rows)


def _row(step: Step) -> list[str]:
    return [_number(getattr(step, column)) for column in _COLUMNS]


def _number(value: Any) -> str:
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
