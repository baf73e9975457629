"""The settings of a training run, as plain data that can be written, compared and hashed."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal

from moduformer.errors import TrainingError
from moduformer.train.groups import Policy, TrainAll
from moduformer.train.schedule import LinearWarmup, Schedule

LARGEST_SEED = 2**32 - 1
"""The largest that NumPy, pandas and scikit-learn take."""

_COSMETIC = {"changes_numbers": False}


@dataclass(frozen=True)
class Settings:
    """How to train.

    Attributes:
        epochs: passes over the data; `max_steps` optimizer steps end training earlier.
        batch_size: rows of a micro-batch; `batch_tokens` cuts batches by tokens instead of rows.
        accumulate: micro-batches an optimizer step; 8 rows x 1 and 2 rows x 4 are the same step.
        learning_rate: peak rate of the top group; `rate_decay` divides it for each group below (2.6 for ULMFiT).
        schedule: the rate over time.
        policy: which groups train in which epoch.
        embedding: "rows" updates only the token vectors that occur, "dense" all of them at each step, "frozen" none.
        attention_dropout: replaces the spec's while training. The default 0 keeps attention on its fast kernel.
        dropout: of hidden states, in place of the spec's while training; None leaves the spec's.
        precision: "float32", or "bfloat16" autocast of matrix products (weights and optimizer stay in float32).
        recompute: layers keep their inputs alone and are computed again for their gradients (gradient checkpointing):
            less memory for more time, and the same numbers.
        evaluate_every, save_every: "epoch" or a number of optimizer steps; None: never.
        metric: which number of `evaluate`'s result is compared to find the best step; `greater_is_better` says how.
        patience: evaluations without a better metric before training stops; None: never.
        keep_best: end with the best evaluated weights rather than the last.
    """

    epochs: int = 3
    max_steps: int | None = None
    batch_size: int = 32
    batch_tokens: int | None = None
    accumulate: int = 1
    learning_rate: float = 1e-4
    rate_decay: float = 1.0
    schedule: Schedule = field(default_factory=LinearWarmup)
    policy: Policy = field(default_factory=TrainAll)
    embedding: Literal["rows", "dense", "frozen"] = "rows"
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    max_grad_norm: float | None = 1.0
    attention_dropout: float = 0.0
    dropout: float | None = None
    precision: Literal["float32", "bfloat16"] = "float32"
    recompute: bool = field(default=False, metadata=_COSMETIC)
    seed: int = 0
    evaluate_every: Literal["epoch"] | int | None = "epoch"
    metric: str | None = None
    greater_is_better: bool = True
    patience: int | None = None
    keep_best: bool = True
    save_every: Literal["epoch"] | int | None = field(default="epoch", metadata=_COSMETIC)
    log_every: int = field(default=10, metadata=_COSMETIC)

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "accumulate", "log_every"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise TrainingError(f"{name} must be a whole number of at least 1, but is {value!r}")
        for name in ("evaluate_every", "save_every"):
            value = getattr(self, name)
            if value not in (None, "epoch") and not (isinstance(value, int) and value >= 1):
                raise TrainingError(f"{name} must be 'epoch', a number of steps or None, but is {value!r}")
        if not self.learning_rate > 0:
            raise TrainingError(f"learning_rate must be above 0, but is {self.learning_rate!r}")
        for name in ("attention_dropout", "dropout"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < 1:
                raise TrainingError(f"{name} must be at least 0 and below 1, but is {value!r}")
        if not isinstance(self.seed, int) or isinstance(self.seed, bool) or not 0 <= self.seed <= LARGEST_SEED:
            raise TrainingError(f"seed must be a whole number from 0 to {LARGEST_SEED}, but is {self.seed!r}")
        if self.embedding not in ("rows", "dense", "frozen"):
            raise TrainingError(f"embedding must be 'rows', 'dense' or 'frozen', but is {self.embedding!r}")
        if self.precision not in ("float32", "bfloat16"):
            raise TrainingError(f"precision must be 'float32' or 'bfloat16', but is {self.precision!r}")
        if not isinstance(self.recompute, bool):
            raise TrainingError(f"recompute must be True or False, but is {self.recompute!r}")
        if self.patience is not None and self.metric is None:
            raise TrainingError("patience needs a metric to watch; set metric to a name that evaluate returns")

    def identity(self) -> dict[str, Any]:
        """The settings that change the weights, as JSON-safe data: what must be equal to resume."""
        return {f.name: plain(getattr(self, f.name)) for f in dataclasses.fields(self) if f.metadata != _COSMETIC}


def plain(value: Any) -> Any:
    """A dataclass as JSON-safe data that also holds the name of its class."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {"type": type(value).__name__} | {
            f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)
        }
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    return value


def difference(old: Any, new: Any, path: str = "") -> list[str]:
    """Line by line, how two JSON-safe values differ: `path: old -> new`."""
    if isinstance(old, dict) and isinstance(new, dict):
        lines = []
        for key in dict.fromkeys((*old, *new)):
            lines += difference(old.get(key, "(none)"), new.get(key, "(none)"), f"{path}.{key}".lstrip("."))
        return lines
    return [] if old == new else [f"{path}: {old} -> {new}"]
