"""Tsinghua's ERNIE (Zhang et al. 2019, arXiv 1905.07129): BERT whose upper layers fuse tokens with known entities.

Files are those of the authors' code; their config.json needs `"model_type": "ernie-thu"` added to it.
"""

from dataclasses import dataclass, replace
from typing import Any

from moduformer.architecture import Attention, Block, EntityStream, FeedForward, Head, Norm, Spec, Transform
from moduformer.errors import CheckpointError
from moduformer.families import bert
from moduformer.families.bert import BLOCK
from moduformer.families.family import Architecture, Family
from moduformer.weights.config import ACTIVATIONS, Config, Get, HeadSize, Only, key
from moduformer.weights.plan import Row

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
    Row("encoder.layer.{i}.attention.self_ent.[query key value]", "encoder.{i}.entity_attention.[q k v]"),
    Row("encoder.layer.{i}.attention.output_ent.dense", "encoder.{i}.entity_attention.out"),
    Row("encoder.layer.{i}.attention.output_ent.LayerNorm", "encoder.{i}.entity_attention_norm_res"),
    Row("encoder.layer.{i}.[intermediate output].dense_ent", "encoder.{i}.entity_[up down]"),
    Row("encoder.layer.{i}.output.LayerNorm_ent", "encoder.{i}.entity_norm_res"),
    Row("cls.predictions_ent.transform.[dense LayerNorm]", "heads.entity.transform.[dense norm]", head=True),
    Row("[classifier qa_outputs]", "heads.[tag span]", head=True),
    Row("typing", "heads.classify", head=True, where=lambda spec: types_entities(spec)),
    Row("classifier", "heads.classify", head=True, where=lambda spec: not types_entities(spec)),
)


def types_entities(spec: Spec) -> bool:
    """Whether the classifier is that of entity typing, which alone has no bias."""
    return any(head.kind == "classify" and not head.bias for head in spec.heads)


FAMILY = Family(
    model_type="ernie-thu",
    template=bert.TEMPLATE,
    rules=(
        LayerTypes(),
        *bert.without_keys("attention_probs_dropout_prob", "hidden_act", "layer_norm_eps"),
        key("attention_probs_dropout_prob", f"[{BLOCK} {STREAM}].attention.dropout", default=0.1),
        # The authors' code has these three as constants.
        Only("layer_norm_eps", (1e-12,)),
        key("entity_size", f"{STREAM}.width", "heads.entity.transform.width", default=100),
        key("num_entity_attention_heads", f"{STREAM}.attention.[heads kv_heads]", default=4),
        HeadSize("entity_size", "num_entity_attention_heads", (f"{STREAM}.attention.head_dim",), (100, 4)),
        key(
            "hidden_act",
            f"[{BLOCK}.feed_forward heads.masked-lm.transform heads.entity.transform].activation",
            default="gelu",
            table=ACTIVATIONS,
        ),
    ),
    rows=(*bert.BODY, *ROWS, *bert.PREDICTIONS),
    architectures={
        "BertModel": Architecture((bert.POOL,), prefix=""),
        "BertForPreTraining": Architecture((bert.POOL, bert.MASKED_LM, bert.NEXT_SENTENCE, ENTITY)),
        "BertForMaskedLM": Architecture((bert.MASKED_LM,)),
        "BertForSequenceClassification": Architecture((bert.POOL, bert.CLASSIFY)),
        "BertForEntityTyping": Architecture((bert.POOL, TYPING)),
    },
    prefix="bert.",
    older_names=(
        *bert.FAMILY.older_names,
        ("LayerNorm_ent.gamma", "LayerNorm_ent.weight"),
        ("LayerNorm_ent.beta", "LayerNorm_ent.bias"),
    ),
)
