"""T5 (Raffel et al. 2020, arXiv 1910.10683) and T5 1.1: an encoder-decoder with bucketed distances for positions."""

from dataclasses import dataclass
from typing import Any

from moduformer.architecture import (
    Attention,
    Block,
    Embedding,
    FeedForward,
    Head,
    Norm,
    RelativeBuckets,
    Spec,
    Stack,
    Transform,
)
from moduformer.errors import CheckpointError
from moduformer.families.family import Architecture, Family
from moduformer.weights.config import ACTIVATIONS, Config, Get, TokenIds, key
from moduformer.weights.plan import Row

BLOCKS = ("encoder.pattern.*", "decoder.pattern.*")
ATTENTIONS = (*(f"{block}.attention" for block in BLOCKS), "decoder.pattern.*.cross_attention")
LANGUAGE_MODEL = Head("language-model", tied=True, bias=False, scale=512**-0.5)
CLASSIFY = Head("classify", reads="eos", transform=Transform(512, "tanh"), outputs=2)


@dataclass(frozen=True)
class Activation:
    """`feed_forward_proj`: an activation, or "gated-" and one; "gated-gelu" means the tanh form."""

    def read(self, config: Config) -> dict[str, Any]:
        """One word to activation and gate."""
        word = config.get("feed_forward_proj", "relu")
        kind, _, name = word.rpartition("-") if isinstance(word, str) else ("?", "", "")
        name = "gelu_new" if word == "gated-gelu" else name
        if kind not in ("", "gated") or name not in ACTIVATIONS:
            raise CheckpointError(f"config.json: feed_forward_proj is {word!r:.80}, which is not supported")
        found: dict[str, Any] = {}
        for block in BLOCKS:
            found[f"{block}.feed_forward.activation"] = ACTIVATIONS[name]
            found[f"{block}.feed_forward.gated"] = kind == "gated"
        return found

    def write(self, get: Get) -> dict[str, Any]:
        """Activation and gate to one word."""
        activation, gated = (get(f"{BLOCKS[0]}.feed_forward.{part}") for part in ("activation", "gated"))
        name = next(word for word, value in ACTIVATIONS.items() if value == activation)
        if gated:
            return {"feed_forward_proj": "gated-gelu" if activation == "gelu_tanh" else f"gated-{name}"}
        return {"feed_forward_proj": "gelu_new" if activation == "gelu_tanh" else name}


@dataclass(frozen=True)
class Sizes:
    """The model's width, the decoder's own depth, and the output: tied and scaled in T5, neither in T5 1.1."""

    def read(self, config: Config) -> dict[str, Any]:
        """`d_model`, `num_decoder_layers`, `tie_word_embeddings` and `scale_decoder_outputs`."""
        dim, tied = config.get("d_model", 512), config.get("tie_word_embeddings", True)
        decoder = config.get("num_decoder_layers")
        scaled = config.get("scale_decoder_outputs", tied) and tied
        return {
            "dim": dim,
            "embedding.width": dim,
            "heads.classify.transform.width": dim,
            "decoder.layers": config.get("num_layers", 6) if decoder is None else decoder,
            "heads.language-model.tied": tied,
            "heads.language-model.scale": dim**-0.5 if scaled else 1.0,
        }

    def write(self, get: Get) -> dict[str, Any]:
        """The same keys back."""
        found = {"d_model": get("dim")}
        try:
            found["num_decoder_layers"] = get("decoder.layers")
            found["tie_word_embeddings"] = get("heads.language-model.tied")
            found["scale_decoder_outputs"] = get("heads.language-model.scale") != 1.0
        except KeyError:
            pass
        return found


def rows(stack: str) -> tuple[Row, ...]:
    """The rows of one stack; the decoder has a cross-attention between its two other layers."""
    block, last = f"{stack}.block.{{i}}.layer", 1 if stack == "encoder" else 2
    crossing = (
        Row(f"{block}.1.EncDecAttention.q", f"{stack}.{{i}}.cross_attention.q"),
        Row(f"{block}.1.EncDecAttention.k", f"{stack}.{{i}}.cross_attention.k"),
        Row(f"{block}.1.EncDecAttention.v", f"{stack}.{{i}}.cross_attention.v"),
        Row(f"{block}.1.EncDecAttention.o", f"{stack}.{{i}}.cross_attention.out"),
        Row(f"{block}.1.layer_norm", f"{stack}.{{i}}.cross_attention_norm_in"),
    )
    return (
        Row(f"{block}.0.SelfAttention.q", f"{stack}.{{i}}.attention.q"),
        Row(f"{block}.0.SelfAttention.k", f"{stack}.{{i}}.attention.k"),
        Row(f"{block}.0.SelfAttention.v", f"{stack}.{{i}}.attention.v"),
        Row(f"{block}.0.SelfAttention.o", f"{stack}.{{i}}.attention.out"),
        Row(f"{stack}.block.0.layer.0.SelfAttention.relative_attention_bias", f"{stack}.position_bias"),
        Row(f"{block}.0.layer_norm", f"{stack}.{{i}}.attention_norm_in"),
        *(crossing if stack == "decoder" else ()),
        Row(f"{block}.{last}.DenseReluDense.wi", f"{stack}.{{i}}.feed_forward.up"),
        Row(f"{block}.{last}.DenseReluDense.wi_0", f"{stack}.{{i}}.feed_forward.gate"),
        Row(f"{block}.{last}.DenseReluDense.wi_1", f"{stack}.{{i}}.feed_forward.value"),
        Row(f"{block}.{last}.DenseReluDense.wo", f"{stack}.{{i}}.feed_forward.down"),
        Row(f"{block}.{last}.layer_norm", f"{stack}.{{i}}.feed_forward_norm_in"),
        Row(f"{stack}.final_layer_norm", f"{stack}.norm"),
    )


def stack(causal: bool) -> Stack:
    """T5-small's encoder or decoder."""
    attention = Attention(8, 64, 8, bias=False, out_bias=False, scale=1.0)
    block = Block(
        attention,
        FeedForward(2048, "relu", bias=False),
        Norm("rms", 1e-6),
        norm_at=("in",),
        cross_attention=attention if causal else None,
    )
    return Stack(6, (block,), causal=causal, position_bias=RelativeBuckets(), final_norm=Norm("rms", 1e-6))


def size(layers: int, dim: int, heads: int, width: int, **more: Any) -> dict[str, Any]:
    """The config of a published size."""
    return {
        "architecture": "T5ForConditionalGeneration",
        "num_layers": layers,
        "d_model": dim,
        "num_heads": heads,
        "d_ff": width,
        **more,
    }


V1_1 = {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}

FAMILY = Family(
    model_type="t5",
    template=Spec(vocab=32128, dim=512, embedding=Embedding(512), encoder=stack(False), decoder=stack(True)),
    rules=(
        key("vocab_size", "vocab", default=32128),
        Sizes(),
        key("num_layers", "encoder.layers", default=6),
        key("num_heads", *(f"{part}.{n}" for part in ATTENTIONS for n in ("heads", "kv_heads")), default=8),
        key("d_kv", *(f"{part}.head_dim" for part in ATTENTIONS), default=64),
        key("d_ff", *(f"{block}.feed_forward.width" for block in BLOCKS), default=2048),
        key(
            "relative_attention_num_buckets",
            "encoder.position_bias.buckets",
            "decoder.position_bias.buckets",
            default=32,
        ),
        key(
            "relative_attention_max_distance",
            "encoder.position_bias.max_distance",
            "decoder.position_bias.max_distance",
            default=128,
        ),
        key(
            "layer_norm_epsilon",
            *(f"{block}.norm.eps" for block in BLOCKS),
            "encoder.final_norm.eps",
            "decoder.final_norm.eps",
            default=1e-6,
        ),
        key(
            "dropout_rate",
            *(f"{block}.{part}" for block in BLOCKS for part in ("dropout", "feed_forward.dropout")),
            *(f"{part}.dropout" for part in ATTENTIONS),
            "embedding.dropout",
            "encoder.final_dropout",
            "decoder.final_dropout",
            default=0.1,
        ),
        key("classifier_dropout", "heads.classify.dropout", "heads.tag.dropout", default=0.0),
        Activation(),
        TokenIds(pad=0, eos=1, decoder_start=0),
    ),
    rows=(
        Row("shared", "embedding.tokens", also=("encoder.embed_tokens", "decoder.embed_tokens", "lm_head")),
        *rows("encoder"),
        *rows("decoder"),
        Row("lm_head.weight", "heads.language-model.weight", head=True),
        Row("classification_head.dense", "heads.classify.transform.dense", head=True),
        Row("classification_head.out_proj", "heads.classify", head=True),
        Row("classifier", "heads.tag", head=True),
        Row("qa_outputs", "heads.span", head=True),
    ),
    architectures={
        "T5Model": Architecture(prefix=""),
        "T5ForConditionalGeneration": Architecture((LANGUAGE_MODEL,), prefix=""),
        "T5EncoderModel": Architecture(prefix="", without=("decoder",)),
        "T5ForSequenceClassification": Architecture((CLASSIFY,)),
        "T5ForTokenClassification": Architecture((Head("tag", outputs=2),), without=("decoder",)),
        "T5ForQuestionAnswering": Architecture((Head("span", outputs=2),), prefix=""),
    },
    prefix="transformer.",
    unused=(r"(transformer\.)?decoder\.block\.0\.layer\.1\.EncDecAttention\.relative_attention_bias\.weight",),
    presets={
        "t5-small": size(6, 512, 8, 2048),
        "t5-base": size(12, 768, 12, 3072),
        "t5-large": size(24, 1024, 16, 4096),
        "t5-3b": size(24, 1024, 32, 16384, d_kv=128),
        "t5-11b": size(24, 1024, 128, 65536, d_kv=128),
        "t5-v1_1-small": size(8, 512, 6, 1024, **V1_1),
        "t5-v1_1-base": size(12, 768, 12, 2048, **V1_1),
        "t5-v1_1-large": size(24, 1024, 16, 2816, **V1_1),
    },
)
