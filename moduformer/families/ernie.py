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


def third(layers: int, hidden: int, **more: Any) -> dict[str, Any]:
    """The config of a published size of ERNIE 3.0, all of which have three task types."""
    sizes = {"vocab_size": 40000, "max_position_embeddings": 2048, "type_vocab_size": 4, "use_task_id": True}
    return bert.size(layers, hidden, **sizes, **more)


FAMILY = Family(
    model_type="ernie",
    template=bert.TEMPLATE,
    rules=(*bert.RULES, TaskTypes()),
    rows=(*bert.BODY, *bert.HEADS, Row("embeddings.task_type_embeddings", "embedding.task_types")),
    architectures=bert.architectures("Ernie"),
    prefix="ernie.",
    unused=(r"(.*\.)?embeddings\.position_ids",),
    presets={
        "ernie-1.0-base-zh": bert.size(12, 768, vocab_size=18000, max_position_embeddings=513, hidden_act="relu"),
        "ernie-2.0-base-en": bert.size(12, 768, type_vocab_size=4),
        "ernie-2.0-large-en": bert.size(24, 1024, type_vocab_size=4),
        "ernie-3.0-xbase-zh": third(20, 1024),
        "ernie-3.0-base-zh": third(12, 768),
        "ernie-3.0-medium-zh": third(6, 768),
        "ernie-3.0-mini-zh": third(6, 384, num_attention_heads=12),
        "ernie-3.0-micro-zh": third(4, 384, num_attention_heads=12),
        "ernie-3.0-nano-zh": third(4, 312, num_attention_heads=12),
    },
)
