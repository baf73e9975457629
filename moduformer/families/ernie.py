"""Baidu's ERNIE 1.0-3.0 encoders (Sun et al. 2019, arXiv 1904.09223; 2020, 1907.12412): BERT with task types."""

from dataclasses import dataclass
from typing import Any

from moduformer.families import bert
from moduformer.families.family import Family
from moduformer.weights.config import Config, Get
from moduformer.weights.plan import Row


@dataclass(frozen=True)
class TaskTypes:
    """How many task types are added to the tokens; none unless `use_task_id` says so."""

    def read(self, config: Config) -> dict[str, Any]:
        """The two keys to one number."""
        return {"embedding.task_types": config.get("task_type_vocab_size", 3) if config.get("use_task_id") else 0}

    def write(self, get: Get) -> dict[str, Any]:
        """One number to the two keys."""
        count = get("embedding.task_types")
        return {"use_task_id": True, "task_type_vocab_size": count} if count else {"use_task_id": False}


FAMILY = Family(
    model_type="ernie",
    template=bert.TEMPLATE,
    rules=(*bert.RULES, TaskTypes()),
    rows=(*bert.BODY, *bert.PREDICTIONS, *bert.TASKS, Row("embeddings.task_type_embeddings", "embedding.task_types")),
    architectures=bert.architectures("Ernie"),
    prefix="ernie.",
    unused=(r"(.*\.)?embeddings\.position_ids",),
)
