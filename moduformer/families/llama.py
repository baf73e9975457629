"""LLaMA 1-3 and what shares its shape (Touvron et al. 2023, arXiv 2302.13971): RMS norm, rotary, gated SiLU, GQA."""

from collections.abc import Mapping
from typing import Any

from moduformer.architecture import Attention, Block, Embedding, FeedForward, Norm, Rotary, Spec
from moduformer.families.family import Architecture, Family, decoder, decoder_architectures
from moduformer.families.gguf import dialect, gated_rows
from moduformer.weights.config import ACTIVATIONS, HeadSize, Otherwise, Rotation, Rule, TokenIds, key
from moduformer.weights.plan import Row
from moduformer.weights.views import Axes

BLOCK = "decoder.pattern.*"
LAYER = Block(
    Attention(32, 128, 32, bias=False, out_bias=False, position=Rotary(128)),
    FeedForward(11008, "silu", gated=True, bias=False),
    Norm("rms", 1e-6),
    norm_at=("in",),
)
HEAD_SIZE = HeadSize("hidden_size", "num_attention_heads", (f"{BLOCK}.attention.head_dim",), (4096, 32), "head_dim")


def head_size(header: Mapping[str, Any]) -> dict[str, Any]:
    """The width of a head where a GGUF header says it only as that of rotary positions."""
    turned = header.get("llama.rope.dimension_count")
    return {"head_dim": turned} if turned and "llama.attention.key_length" not in header else {}


def without_keys(*names: str) -> tuple[Rule, ...]:
    """LLaMA's rules for a relative whose config has no such keys."""
    return tuple(rule for rule in FAMILY.rules if not {getattr(rule, "name", 0), getattr(rule, "base", 0)} & set(names))


def architectures(name: str, *tasks: str, span_prefix: str | None = None) -> dict[str, Architecture]:
    """LLaMA's classes under a relative's name."""
    return decoder_architectures(name, *tasks, prefixes={"ForQuestionAnswering": span_prefix} if span_prefix else {})


# llama.cpp stores the two halves of each rotary pair side by side.
PAIRED = Axes("(h pair half) in", "(h half pair) in")

FAMILY = Family(
    model_type="llama",
    template=Spec(
        vocab=32000,
        dim=4096,
        embedding=Embedding(4096),
        decoder=decoder(32, LAYER),
    ),
    rules=(
        key("vocab_size", "vocab", default=32000),
        key("hidden_size", "dim", "embedding.width", default=4096),
        key("num_hidden_layers", "decoder.layers", default=32),
        key("num_attention_heads", f"{BLOCK}.attention.heads", default=32),
        Otherwise("num_key_value_heads", "num_attention_heads", (f"{BLOCK}.attention.kv_heads",), 32),
        key("intermediate_size", f"{BLOCK}.feed_forward.width", default=11008),
        key("hidden_act", f"{BLOCK}.feed_forward.activation", default="silu", table=ACTIVATIONS),
        key("rms_norm_eps", f"{BLOCK}.norm.eps", "decoder.final_norm.eps", default=1e-6),
        key("attention_bias", f"{BLOCK}.attention.[bias out_bias]", default=False),
        key("mlp_bias", f"{BLOCK}.feed_forward.bias", default=False),
        key("attention_dropout", f"{BLOCK}.attention.dropout", default=0.0),
        key("tie_word_embeddings", "heads.language-model.tied", default=False),
        HEAD_SIZE,
        Rotation(f"{BLOCK}.attention.position", share=None, share_default=1.0, base="rope_theta", head_size=HEAD_SIZE),
        TokenIds(bos=1, eos=2),
    ),
    rows=(
        Row("embed_tokens", "embedding.tokens", also=("lm_head",)),
        Row("layers.{i}.[input post_attention]_layernorm", "decoder.{i}.[attention feed_forward]_norm_in"),
        Row("layers.{i}.self_attn.[q k v o]_proj", "decoder.{i}.attention.[q k v out]"),
        Row("layers.{i}.mlp.[gate up down]_proj", "decoder.{i}.feed_forward.[gate value down]"),
        Row("norm", "decoder.norm"),
        Row("[lm_head score score qa_outputs]", "heads.[language-model classify tag span]", head=True),
    ),
    architectures=architectures("Llama", span_prefix="transformer."),
    prefix="model.",
    unused=(r"(model\.)?(layers\.\d+\.self_attn\.)?rotary_emb\.inv_freq",),
    dialects=dialect("llama", "LlamaForCausalLM", gated_rows(PAIRED), more=head_size),
)
