"""MPT (MosaicML 2023): GPT-2's order of layers with ALiBi, q, k and v that may be clipped, and no biases anywhere."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from moduformer.architecture import ALiBi, Attention, Block, Embedding, FeedForward, Norm, Spec
from moduformer.errors import CheckpointError
from moduformer.families.family import DECODER_HEADS, TIED, Architecture, Family, decoder, decoder_architectures
from moduformer.weights.config import Config, Get, HeadSize, Multiple, Only, TokenIds, key
from moduformer.weights.plan import Row

BLOCK = "decoder.pattern.*"
LAYER = Block(
    Attention(16, 128, 16, bias=False, out_bias=False, position=ALiBi()),
    FeedForward(8192, bias=False),
    Norm(eps=1e-5, bias=False),
    norm_at=("in",),
)


@dataclass(frozen=True)
class AttentionSettings:
    """The object `attn_config`. `alibi_bias_max` is read as MosaicML's code reads it; transformers ignores it."""

    def read(self, config: Config) -> dict[str, Any]:
        """The fields of an `Attention`; refuses what has no place in it."""
        given = config.get("attn_config") or {}
        if not isinstance(given, Mapping):
            raise CheckpointError(f"config.json: attn_config must be an object, but is {given!r:.80}")
        for rule in (
            Only("attn_type", ("multihead_attention",)),
            Only("prefix_lm", (False,)),
            Only("qk_ln", (False,)),
            Only("attn_uses_sequence_id", (False,)),
            Only("alibi", (True,)),
        ):
            rule.read(given)
        return {
            f"{BLOCK}.attention.position.max_bias": float(given.get("alibi_bias_max", 8)),
            f"{BLOCK}.attention.scale": given.get("softmax_scale"),
            f"{BLOCK}.attention.clip": given.get("clip_qkv") or None,
            f"{BLOCK}.attention.dropout": given.get("attn_pdrop", 0.0),
        }

    def write(self, get: Get) -> dict[str, Any]:
        """The object, with the keys that are read."""
        attention = get(f"{BLOCK}.attention")
        if not isinstance(attention.position, ALiBi):
            raise KeyError("attn_config")
        found = {
            "attn_type": "multihead_attention",
            "alibi": True,
            "alibi_bias_max": int(attention.position.max_bias),
            "softmax_scale": attention.scale,
            "clip_qkv": attention.clip,
            "attn_pdrop": attention.dropout,
        }
        return {"attn_config": found}


FAMILY = Family(
    model_type="mpt",
    template=Spec(
        vocab=50368,
        dim=2048,
        embedding=Embedding(2048),
        decoder=decoder(24, LAYER),
    ),
    rules=(
        key("vocab_size", "vocab", default=50368),
        key("d_model", "dim", "embedding.width", default=2048),
        key("n_layers", "decoder.layers", default=24),
        key("n_heads", f"{BLOCK}.attention.[heads kv_heads]", default=16),
        key("layer_norm_epsilon", f"{BLOCK}.norm.eps", "decoder.final_norm.eps", default=1e-5),
        key("resid_pdrop", f"{BLOCK}.dropout", default=0.0),
        key("emb_pdrop", "embedding.dropout", default=0.0),
        key("tie_word_embeddings", "heads.language-model.tied", default=True),
        Multiple(None, "d_model", (f"{BLOCK}.feed_forward.width",), 2048),
        HeadSize("d_model", "n_heads", (f"{BLOCK}.attention.head_dim",), (2048, 16)),
        AttentionSettings(),
        TokenIds(),
        Only("expansion_ratio", (4,)),
        Only("no_bias", (True,)),
        Only("logit_scale", (None,)),
        Only("norm_type", ("low_precision_layernorm", "layernorm")),
    ),
    rows=(
        Row("wte", "embedding.tokens", also=("lm_head",)),
        Row("blocks.{i}.norm_[1 2]", "decoder.{i}.[attention feed_forward]_norm_in"),
        Row("blocks.{i}.attn.[Wqkv out_proj]", "decoder.{i}.attention.[qkv out]"),
        Row("blocks.{i}.ffn.[up down]_proj", "decoder.{i}.feed_forward.[up down]"),
        Row("norm_f", "decoder.norm"),
        *DECODER_HEADS,
    ),
    architectures={
        **decoder_architectures("Mpt", language_model=TIED),
        "MPTForCausalLM": Architecture((TIED,)),  # as MosaicML's own files say
    },
    prefix="transformer.",
)
