"""DeBERTa v2, v3 (He et al. 2021, arXiv 2006.03654 and 2111.09543): BERT with relative positions in its attention."""

from dataclasses import dataclass, replace
from typing import Any, cast

from moduformer.architecture import (
    Activation,
    Convolution,
    Disentangled,
    DistanceVectors,
    Embedding,
    Head,
    LearnedPositions,
    Norm,
    Transform,
)
from moduformer.errors import CheckpointError
from moduformer.families import bert
from moduformer.families.bert import BLOCK
from moduformer.families.family import Family, encoder_architectures
from moduformer.weights.config import ACTIVATIONS, Config, Get, HeadSize, Only, Otherwise, TokenIds, key
from moduformer.weights.plan import Row

HEAD_SIZE = HeadSize(
    "hidden_size", "num_attention_heads", (f"{BLOCK}.attention.head_dim",), (1536, 24), "attention_head_size"
)
POOL = Head("pool", reads="first", transform=Transform(1536, "gelu"))
MASKED_LM = Head("masked-lm", transform=Transform(1536, "gelu", Norm()), tied=True)
LM, OTHER = "heads.masked-lm", "lm_predictions.lm_head"
OFF = (None, "none", "")


@dataclass(frozen=True)
class Positions:
    """Absolute positions in the input, relative ones in the scores, or both; a -1 stands for "as many as positions"."""

    def read(self, config: Config) -> dict[str, Any]:
        """The table of absolute positions, that of distances, and what attention makes of it."""
        longest, given = config.get("max_position_embeddings", 512), config.get("pos_att_type") or []
        terms = [term.strip() for term in given.lower().split("|")] if isinstance(given, str) else list(given)
        relative = config.get("relative_attention", False)
        if bool(terms) is not relative or not set(terms) <= {"c2p", "p2c"}:
            raise CheckpointError(
                f"config.json: pos_att_type {given!r:.80} with relative_attention {relative!r:.80} is not supported; "
                'relative attention is of "c2p", "p2c" or both'
            )
        found: dict[str, Any] = {
            "embedding.positions": LearnedPositions(longest) if config.get("position_biased_input", True) else None
        }
        if not relative:
            return found
        buckets, reach = config.get("position_buckets", -1), config.get("max_relative_positions", -1)
        norm = config.get("norm_rel_ebd", "none")
        if norm not in (*OFF, "layer_norm"):
            raise CheckpointError(f"config.json: norm_rel_ebd is {norm!r:.80}; supported: 'none', 'layer_norm'")
        return found | {
            "encoder.distances": DistanceVectors(
                max_distance=longest if reach < 1 else reach,
                buckets=buckets if buckets > 0 else None,
                norm=None if norm in OFF else Norm(eps=config.get("layer_norm_eps", 1e-7)),
            ),
            f"{BLOCK}.attention.position": Disentangled(
                terms=tuple(term for term in ("c2p", "p2c") if term in terms),
                shared=config.get("share_att_key", False),
                dropout=config.get("hidden_dropout_prob", 0.1),
            ),
            # Section 3.1: as many kinds of scores are added as the variance is divided by.
            f"{BLOCK}.attention.scale": (HEAD_SIZE.of(config) * (1 + len(set(terms)))) ** -0.5,
        }

    def write(self, get: Get) -> dict[str, Any]:
        """The same keys back."""
        absolute, table, position = (
            get("embedding.positions"),
            get("encoder.distances"),
            get(f"{BLOCK}.attention.position"),
        )
        found = {"position_biased_input": absolute is not None, "relative_attention": table is not None}
        if absolute is not None:
            found["max_position_embeddings"] = absolute.max
        if table is None:
            return found
        return found | {
            "pos_att_type": list(position.terms),
            "share_att_key": position.shared,
            "position_buckets": table.buckets or -1,
            "max_relative_positions": table.max_distance,
            "norm_rel_ebd": "none" if table.norm is None else "layer_norm",
        }


@dataclass(frozen=True)
class InputConvolution:
    """`conv_kernel_size`, 0 where there is none, and its group count and activation."""

    def read(self, config: Config) -> dict[str, Any]:
        """The convolution beside the first layer."""
        width, word = config.get("conv_kernel_size", 0), config.get("conv_act", "tanh")
        if width <= 0:
            return {"encoder.convolution": None}
        if word not in ACTIVATIONS:
            raise CheckpointError(f"config.json: conv_act is {word!r:.80}; supported: {', '.join(ACTIVATIONS)}")
        norm, dropout = Norm(eps=config.get("layer_norm_eps", 1e-7)), config.get("hidden_dropout_prob", 0.1)
        groups, activation = config.get("conv_groups", 1), cast(Activation, ACTIVATIONS[word])
        return {"encoder.convolution": Convolution(width, groups, activation, norm, dropout)}

    def write(self, get: Get) -> dict[str, Any]:
        """The same keys back."""
        made = get("encoder.convolution")
        if made is None:
            return {"conv_kernel_size": 0}
        word = next(word for word, value in ACTIVATIONS.items() if value == made.activation)
        return {"conv_kernel_size": made.width, "conv_groups": made.groups, "conv_act": word}


ROWS = (
    *bert.EMBEDDINGS,
    Row("embeddings.embed_proj", "embedding.projection"),
    Row("encoder.[rel_embeddings LayerNorm]", "encoder.[distances distances.norm]"),
    Row("encoder.conv.[conv LayerNorm]", "encoder.convolution.[kernel norm]"),
    Row("encoder.layer.{i}.attention.self.[query key value]_proj", "encoder.{i}.attention.[q k v]"),
    Row("encoder.layer.{i}.attention.self.pos_[key query]_proj", "encoder.{i}.attention.position_[k q]"),
    *bert.LAYER,
    Row("pooler.dense", "heads.pool.transform.dense", head=True),
    # The second name is that of pretraining and of `legacy: false`.
    Row("cls.predictions.transform.dense", f"{LM}.transform.dense", head=True, also=(f"{OTHER}.dense",)),
    Row("cls.predictions.transform.LayerNorm", f"{LM}.transform.norm", head=True, also=(f"{OTHER}.LayerNorm",)),
    Row("cls.predictions.bias", f"{LM}.bias", head=True, also=("cls.predictions.decoder.bias", f"{OTHER}.bias")),
    *bert.TASKS,
)

FAMILY = Family(
    model_type="deberta-v2",
    template=replace(
        bert.TEMPLATE,
        vocab=128100,
        dim=1536,
        embedding=Embedding(1536, LearnedPositions(512), norm=Norm(), projected="sum", projection_bias=False),
    ),
    rules=(
        key("vocab_size", "vocab", default=128100),
        key("hidden_size", "dim", "heads.pool.transform.width", default=1536),
        key("num_hidden_layers", "encoder.layers", default=24),
        key("num_attention_heads", f"{BLOCK}.attention.[heads kv_heads]", default=24),
        key("intermediate_size", f"{BLOCK}.feed_forward.width", default=6144),
        key("hidden_act", f"[{BLOCK}.feed_forward {LM}.transform].activation", default="gelu", table=ACTIVATIONS),
        key("type_vocab_size", "embedding.segments", default=0),
        key("layer_norm_eps", f"[{BLOCK} embedding {LM}.transform].norm.eps", default=1e-7),
        key("hidden_dropout_prob", f"[{BLOCK} embedding heads.tag].dropout", default=0.1),
        key("attention_probs_dropout_prob", f"{BLOCK}.attention.dropout", default=0.1),
        key("pooler_dropout", "heads.pool.dropout", default=0.0),
        key("pooler_hidden_act", "heads.pool.transform.activation", default="gelu", table=ACTIVATIONS),
        Otherwise("pooler_hidden_size", "hidden_size", ("heads.pool.transform.width",), 1536),
        Otherwise("cls_dropout", "hidden_dropout_prob", ("heads.classify.dropout",), 0.1),
        Otherwise("embedding_size", "hidden_size", ("embedding.width", "heads.masked-lm.transform.width"), 1536),
        HEAD_SIZE,
        Positions(),
        InputConvolution(),
        Only("tie_word_embeddings", (True,)),
        TokenIds(pad=0),
    ),
    rows=ROWS,
    architectures=encoder_architectures("DebertaV2", MASKED_LM, (POOL, bert.CLASSIFY)),
    prefix="deberta.",
    # Absolute positions are in files of models that do not add them to the input: pretraining's decoder had used them.
    unused=(
        r"mask_predictions\..*",
        r"(deberta\.)?embeddings\.position_(ids|embeddings\.weight)",
        r"(deberta\.)?encoder\.LayerNorm\.(weight|bias)",
    ),
)
