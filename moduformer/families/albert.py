"""ALBERT (Lan et al. 2020, arXiv 1909.11942): layers share their weights in groups, and the embedding is factorised."""

from typing import Any

from moduformer.architecture import (
    Attention,
    Block,
    Embedding,
    FeedForward,
    Head,
    LearnedPositions,
    Norm,
    Spec,
    Stack,
    Transform,
)
from moduformer.families.bert import TASKS
from moduformer.families.family import Architecture, Family, encoder_architectures
from moduformer.weights.config import ACTIVATIONS, Config, Get, HeadSize, TokenIds, key
from moduformer.weights.plan import Row

BLOCK, LM = "encoder.pattern.*", "heads.masked-lm.transform"
POOL = Head("pool", reads="first", transform=Transform(4096, "tanh"))
MASKED_LM = Head("masked-lm", transform=Transform(128, "gelu_tanh", Norm()), tied=True)
SENTENCE_ORDER = Head("next-sentence", reads="pool", outputs=2)
CLASSIFY = Head("classify", reads="pool", outputs=2)


class Sharing:
    """Layers, weight groups and blocks inside a group: the spec counts blocks, the config counts groups of them."""

    def read(self, config: Config) -> dict[str, Any]:
        """The three keys to layers, groups and a pattern."""
        inner = config.get("inner_group_num", 1)
        if not isinstance(inner, int) or not 0 < inner <= 64:
            raise ValueError(f"inner_group_num is {inner!r:.80}")
        layers, groups = config.get("num_hidden_layers", 12), config.get("num_hidden_groups", 1)
        if not isinstance(groups, int):
            raise ValueError(f"num_hidden_groups is {groups!r:.80}")
        return {
            "encoder.layers": layers * inner,
            "encoder.groups": groups,
            "encoder.pattern": TEMPLATE_BLOCKS * inner,
        }

    def write(self, get: Get) -> dict[str, Any]:
        """The three keys back."""
        inner = len(get("encoder.pattern"))
        return {
            "inner_group_num": inner,
            "num_hidden_layers": get("encoder.layers") // inner,
            "num_hidden_groups": get("encoder.groups"),
        }


TEMPLATE_BLOCKS = (Block(Attention(64, 64, 64), FeedForward(16384, "gelu_tanh")),)
LAYER = "encoder.albert_layer_groups.{group}.albert_layers.{inner}"

FAMILY = Family(
    model_type="albert",
    template=Spec(
        vocab=30000,
        dim=4096,
        embedding=Embedding(128, LearnedPositions(512), segments=2, norm=Norm()),
        encoder=Stack(12, TEMPLATE_BLOCKS, groups=1),
    ),
    rules=(
        Sharing(),
        key("vocab_size", "vocab", default=30000),
        key("hidden_size", "dim", "heads.pool.transform.width", default=4096),
        key("embedding_size", "embedding.width", f"{LM}.width", default=128),
        key("num_attention_heads", f"{BLOCK}.attention.[heads kv_heads]", default=64),
        key("intermediate_size", f"{BLOCK}.feed_forward.width", default=16384),
        key("hidden_act", f"[{BLOCK}.feed_forward {LM}].activation", default="gelu_new", table=ACTIVATIONS),
        key("max_position_embeddings", "embedding.positions.max", default=512),
        key("type_vocab_size", "embedding.segments", default=2),
        key("layer_norm_eps", f"[{BLOCK} embedding {LM}].norm.eps", default=1e-12),
        key("hidden_dropout_prob", f"{BLOCK}.dropout", "embedding.dropout", default=0.0),
        key("attention_probs_dropout_prob", f"{BLOCK}.attention.dropout", default=0.0),
        key("classifier_dropout_prob", "heads.[classify next-sentence].dropout", default=0.1),
        key("tie_word_embeddings", "heads.masked-lm.tied", default=True),
        HeadSize("hidden_size", "num_attention_heads", (f"{BLOCK}.attention.head_dim",), (4096, 64)),
        TokenIds(pad=0, bos=2, eos=3),
    ),
    rows=(
        Row("embeddings.word_embeddings", "embedding.tokens", also=("predictions.decoder",)),
        Row("embeddings.[position token_type]_embeddings", "embedding.[positions segments]"),
        Row("embeddings.LayerNorm", "embedding.norm"),
        Row("encoder.embedding_hidden_mapping_in", "embedding.projection"),
        Row(f"{LAYER}.attention.[query key value dense]", "encoder.{i}.attention.[q k v out]"),
        Row(f"{LAYER}.attention.LayerNorm", "encoder.{i}.attention_norm_res"),
        Row(f"{LAYER}.[ffn ffn_output]", "encoder.{i}.feed_forward.[up down]"),
        Row(f"{LAYER}.full_layer_layer_norm", "encoder.{i}.feed_forward_norm_res"),
        Row("pooler", "heads.pool.transform.dense"),
        Row("predictions.[dense LayerNorm]", "heads.masked-lm.transform.[dense norm]", head=True),
        Row("predictions.decoder.weight", "heads.masked-lm.weight", head=True),
        Row("predictions.bias", "heads.masked-lm.bias", head=True, also=("predictions.decoder.bias",)),
        Row("sop_classifier.classifier", "heads.next-sentence", head=True),
        *TASKS,
    ),
    architectures={
        **encoder_architectures("Albert", MASKED_LM, (POOL, CLASSIFY), (POOL,)),
        "AlbertForPreTraining": Architecture((POOL, MASKED_LM, SENTENCE_ORDER)),
    },
    prefix="albert.",
    unused=(r"(.*\.)?embeddings\.position_ids",),
)
