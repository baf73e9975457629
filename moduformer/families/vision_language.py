"""A language model and an image encoder as one family: the text's own rules and rows, one level down."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from moduformer.architecture import Head, Vision
from moduformer.errors import CheckpointError
from moduformer.families.family import Architecture, Family
from moduformer.weights.config import Config, Get, Nested, Rule
from moduformer.weights.plan import Row


@dataclass(frozen=True)
class TiedAbove:
    """`tie_word_embeddings` stands beside the objects, or inside that of the text."""

    text: str = "text_config"

    def read(self, config: Config) -> dict[str, Any]:
        """Tied where either says so."""
        inner = config.get(self.text)
        below = isinstance(inner, Mapping) and inner.get("tie_word_embeddings")
        return {"heads.language-model.tied": True} if config.get("tie_word_embeddings") or below else {}

    def write(self, get: Get) -> dict[str, Any]:
        """The key above."""
        return {"tie_word_embeddings": get("heads.language-model.tied")}


def text_kind(config: Config, known: Iterable[str], default: str) -> str:
    """The `model_type` of a config's `text_config`. Raises `CheckpointError` for one that is not `known`."""
    given = config.get("text_config") or {}
    kind = given.get("model_type", default) if isinstance(given, Mapping) else given
    if not isinstance(kind, str) or kind not in known:
        raise CheckpointError(f"config.json: text_config.model_type is {kind!r:.80}; supported: {', '.join(known)}")
    return kind


def text_rows(text: Family, architecture: str, lead: str) -> tuple[Row, ...]:
    """The rows of a language model whose tensors all begin with `lead`."""
    prefix = text.prefix_of(architecture)
    return tuple(
        replace(
            row,
            file=f"{lead}{'' if row.head else prefix}{row.file}",
            also=tuple(f"{lead}{place}{name}" for name in row.also for place in dict.fromkeys((prefix, ""))),
            head=True,
        )
        for row in text.rows
    )


def compose(
    text: Family,
    architecture: str,
    vision: Vision,
    *,
    model_type: str,
    name: str,
    rules: tuple[Rule, ...],
    rows: tuple[Row, ...],
    lead: str = "language_model.",
    image_heads: tuple[Head, ...] = (),
    older_names: tuple[tuple[str, str], ...] = (),
    variant: Callable[[Config], Family] | None = None,
) -> Family:
    """A family whose text is the class `architecture` of `text`; `vision`, `rules` and `rows` are the image's."""
    heads = text.architecture(architecture).heads
    return Family(
        model_type=model_type,
        template=replace(text.template, vision=vision),
        rules=(Nested("text_config", text.rules), TiedAbove(), *rules),
        rows=(*text_rows(text, architecture, lead), *rows),
        architectures={
            f"{name}ForConditionalGeneration": Architecture(heads, prefix="", image_heads=image_heads),
            f"{name}Model": Architecture(prefix="", image_heads=image_heads),
        },
        unused=(
            rf"{lead}(.*\.)?(rotary_emb\.inv_freq|EncDecAttention\.relative_attention_bias\.weight)",
            r".*embeddings\.position_ids",
        ),
        older_names=older_names,
        variant=variant,
    )
