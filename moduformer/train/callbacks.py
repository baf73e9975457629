"""What a training run tells others while it runs, and what is left of it afterwards."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from moduformer.errors import TrainingError


@dataclass(frozen=True)
class Step:
    """One optimizer step.

    `loss` is the mean of this step's rows, `epoch` the number of epochs done (1.5: in the middle of the second),
    `rates` the learning rate of each group, `trained` the groups that train. Speeds are of the last steps; evaluation
    and saving do not count. `seconds` have passed since the run (or its resumption) began and about `seconds_left`
    remain.
    """

    step: int
    total_steps: int
    epoch: float
    loss: float
    rates: dict[str, float]
    trained: tuple[str, ...]
    gradient_norm: float
    rows_per_second: float
    tokens_per_second: float
    seconds: float
    seconds_left: float

    @property
    def learning_rate(self) -> float:
        """The top group's rate."""
        return next(reversed(self.rates.values()))


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` returned after a step; `best` says that no earlier one was better."""

    step: int
    epoch: float
    metrics: dict[str, float]
    best: bool = False


@dataclass
class History:
    """What happened: logged steps, evaluations, and why it ended ("finished", "patience" or "terminated")."""

    total_steps: int = 0
    steps: list[Step] = field(default_factory=list)
    evaluations: list[Evaluation] = field(default_factory=list)
    best_step: int | None = None
    best_value: float | None = None
    ended: str = "running"
    seconds: float = 0.0
    rows: int = 0
    tokens: int = 0
    resumed_from: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe data: a number that is not finite becomes None."""
        data: dict[str, Any] = json_safe(asdict(self))
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> History:
        """Reads `to_dict`'s data. Raises `TrainingError` if a field is missing."""
        if missing := [f.name for f in fields(cls) if f.name not in data]:
            raise TrainingError(f"the history of this run lacks {missing[0]!r}; start a new run")
        steps = [
            Step(**(_numbers(s) | {"trained": tuple(s["trained"]), "rates": _numbers(s["rates"])}))
            for s in data["steps"]
        ]
        evaluations = [Evaluation(**(e | {"metrics": _numbers(e["metrics"])})) for e in data["evaluations"]]
        return cls(**{**data, "steps": steps, "evaluations": evaluations})


class Callback:
    """Watches a run; every method may be overridden and does nothing by itself."""

    def on_train_begin(self, history: History) -> None:
        """Before the first step; `history.total_steps` is known, and a resumed run's earlier steps are in it."""

    def on_step(self, step: Step) -> None:
        """After every optimizer step."""

    def on_log(self, step: Step) -> None:
        """After every `log_every`-th step, the last one, and a step whose loss is not finite."""

    def on_evaluate(self, evaluation: Evaluation) -> None:
        """After an evaluation."""

    def on_save(self, path: Path, step: int) -> None:
        """After a checkpoint is safely on disk."""

    def on_train_end(self, history: History) -> None:
        """When training is over, whether it finished, stopped early or was terminated; not after an error."""


def json_safe(value: Any) -> Any:
    """The same data with None for every number that is not finite, since JSON has no NaN."""
    if isinstance(value, dict):
        return {key: json_safe(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_safe(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _numbers(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: math.nan if value is None else value for key, value in values.items()}
