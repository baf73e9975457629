"""Tsinghua's ERNIE (Zhang et al. 2019, arXiv 1905.07129): BERT whose upper layers fuse tokens with known entities.

Files are those of the authors' code; their config.json needs `"model_type": "ernie-thu"` added to it.
"""

from dataclasses import dataclass, replace
from typing import Any

from moduformer.architecture import Attention, Block, EntityStream, FeedForward, Head, Norm, Transform
from moduformer.errors import CheckpointError
from moduformer.families import bert
from moduformer.families.bert import BLOCK
from moduformer.families.family import Architecture, Family
from moduformer.weights.config import Config, Get, HeadSize, Only, key
from moduformer.weights.plan import Row

CHANGED = ("attention_probs_dropout_prob", "hidden_act", "layer_norm_eps")
STREAM = f"{BLOCK}.entities"
ENTITY = Head("entity", transform=Transform(100, "gelu", Norm()), bias=False)
TYPING = replace(bert.CLASSIFY, bias=False)
PLAIN = Block(Attention(12, 64, 12), FeedForward(3072))
BLOCKS = {
    "sim": PLAIN,
    "mix": replace(PLAIN, entities=EntityStream()),
    "norm": replace(PLAIN, entities=EntityStream(attention=Attention(4, 25, 4))),
}


@dataclass(frozen=True)
class LayerTypes:
    """`layer_types`: plain layers ("sim"), layers with entities ("norm") and such without their attention ("mix").

    Layers beyond the list are plain, as in the authors' code."""

    def read(self, config: Config) -> dict[str, Any]:
        """One block a layer."""
        given, layers = config.get("layer_types") or [], config.get("num_hidden_layers", 12)
        if not isinstance(given, list) or not set(map(str, given)) <= set(BLOCKS) or len(given) > layers:
            raise CheckpointError(f"config.json: layer_types is {given!r:.80}; it lists {', '.join(BLOCKS)}")
        if not any(name != "sim" for name in given):
            return {"encoder.pattern": (PLAIN,)}
        return {"encoder.pattern": tuple(BLOCKS[name] for name in (*given, *["sim"] * (layers - len(given))))}

    def write(self, get: Get) -> dict[str, Any]:
        """The same list back."""
        kinds = [block.entities and ("norm" if block.entities.attention else "mix") for block in get("encoder.pattern")]
        return {"layer_types": [kind or "sim" for kind in kinds]}


ROWS = (
    *(
        Row(f"encoder.layer.{{i}}.attention.self_ent.{theirs}", f"encoder.{{i}}.entity_attention.{ours}")
        for theirs, ours in (("query", "q"), ("key", "k"), ("value", "v"))
    ),
    Row("encoder.layer.{i}.attention.output_ent.dense", "encoder.{i}.entity_attention.out"),
    Row("encoder.layer.{i}.attention.output_ent.LayerNorm", "encoder.{i}.entity_attention_norm_res"),
    Row("encoder.layer.{i}.intermediate.dense_ent", "encoder.{i}.entity_up"),
    Row("encoder.layer.{i}.output.dense_ent", "encoder.{i}.entity_down"),
    Row("encoder.layer.{i}.output.LayerNorm_ent", "encoder.{i}.entity_norm_res"),
    Row("cls.predictions_ent.transform.dense", "heads.entity.transform.dense", head=True),
    Row("cls.predictions_ent.transform.LayerNorm", "heads.entity.transform.norm", head=True),
    Row("typing", "heads.classify", head=True, where=lambda spec: _types(spec.heads)),
)


def _types(heads: tuple[Head, ...]) -> bool:
    return any(head.kind == "classify" and not head.bias for head in heads)


def _head_row(row: Row) -> Row:
    return replace(row, where=lambda spec: not _types(spec.heads)) if row.name == "heads.classify" else row


FAMILY = Family(
    model_type="ernie-thu",
    template=bert.TEMPLATE,
    rules=(
        LayerTypes(),
        *(rule for rule in bert.RULES if getattr(rule, "name", "") not in CHANGED),
        key("attention_probs_dropout_prob", f"{BLOCK}.attention.dropout", f"{STREAM}.attention.dropout", default=0.1),
        # The authors' code has these three as constants.
        Only("layer_norm_eps", (1e-12,)),
        key("entity_size", f"{STREAM}.width", "heads.entity.transform.width", default=100),
        key("num_entity_attention_heads", f"{STREAM}.attention.heads", f"{STREAM}.attention.kv_heads", default=4),
        HeadSize("entity_size", "num_entity_attention_heads", (f"{STREAM}.attention.head_dim",), (100, 4)),
        key(
            "hidden_act",
            f"{BLOCK}.feed_forward.activation",
            "heads.masked-lm.transform.activation",
            "heads.entity.transform.activation",
            default="gelu",
            table=bert.ACTIVATIONS,
        ),
    ),
    rows=(*bert.BODY, *ROWS, *(_head_row(row) for row in bert.HEADS)),
    architectures={
        "BertModel": Architecture((bert.POOL,), prefix=""),
        "BertForPreTraining": Architecture((bert.POOL, bert.MASKED_LM, bert.NEXT_SENTENCE, ENTITY)),
        "BertForMaskedLM": Architecture((bert.MASKED_LM,)),
        "BertForSequenceClassification": Architecture((bert.POOL, bert.CLASSIFY)),
        "BertForEntityTyping": Architecture((bert.POOL, TYPING)),
    },
    prefix="bert.",
    older_names=(
        ("LayerNorm.gamma", "LayerNorm.weight"),
        ("LayerNorm.beta", "LayerNorm.bias"),
        ("LayerNorm_ent.gamma", "LayerNorm_ent.weight"),
        ("LayerNorm_ent.beta", "LayerNorm_ent.bias"),
    ),
)
