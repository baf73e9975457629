"""A run as a whole: what a request to stop leaves out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from moduformer.tasks.fine_tuning import TERMINATED
from moduformer.tasks.whole_run import SplitRows, carry_out
from moduformer.train.callbacks import History


class Learnt:
    """A learning that notes which of its steps were taken, and ends as it is told to."""

    model = None
    remarks = ()

    def __init__(self, ended: str) -> None:
        self.ended, self.steps = ended, []

    def read(self) -> SplitRows[list[int]]:
        return SplitRows([1, 2], [3], "three.csv")

    def check(self) -> None:
        self.steps.append("check")

    def settings(self) -> dict[str, Any]:
        return {}

    def fit(self, callbacks: Any, folder: Path, resume: bool) -> History:
        history = History()
        history.ended = self.ended
        return history

    def measure(self) -> Any:
        self.steps.append("measure")
        return self

    def to_dict(self) -> dict[str, Any]:
        return {"rows": 1}

    def save(self, folder: Path) -> None:
        self.steps.append("save")

    def report(self, *arguments: Any) -> None:
        self.steps.append("report")


@pytest.mark.parametrize(
    ("ended", "steps"), [("finished", ["check", "measure", "save", "report"]), (TERMINATED, ["check"])]
)
def test_a_run_that_was_told_to_stop_is_neither_measured_nor_saved(ended: str, steps: list[str], tmp_path) -> None:
    learning: Any = Learnt(ended)
    finished = carry_out(learning, tmp_path / "out")
    assert learning.steps == steps
    assert finished.complete == (tmp_path / "out" / "metrics.json").is_file() == (ended == "finished")
