"""LLaMA 1-3 and what shares its shape (Touvron et al. 2023, arXiv 2302.13971): RMS norm, rotary, gated SiLU, GQA."""

from collections.abc import Mapping
from typing import Any

from moduformer.architecture import Attention, Block, Embedding, FeedForward, Norm, Rotary, Spec, Stack
from moduformer.families.family import Architecture, Family, decoder_architectures
from moduformer.families.gguf import dialect, gated_rows
from moduformer.weights.config import ACTIVATIONS, HeadSize, Otherwise, Rotation, Rule, TokenIds, key
from moduformer.weights.plan import Row
from moduformer.weights.views import Axes

BLOCK = "decoder.pattern.*"
RMS = Norm("rms", 1e-6)


HEAD_SIZE = HeadSize("hidden_size", "num_attention_heads", (f"{BLOCK}.attention.head_dim",), (4096, 32), "head_dim")


def size(layers: int, dim: int, heads: int, width: int, **more: Any) -> dict[str, Any]:
    """The config of a published size."""
    return {
        "architecture": "LlamaForCausalLM",
        "num_hidden_layers": layers,
        "hidden_size": dim,
        "num_attention_heads": heads,
        "intermediate_size": width,
        **more,
    }


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


SIZES = {
    "3b": (26, 3200, 32, 8640),
    "7b": (32, 4096, 32, 11008),
    "13b": (40, 5120, 40, 13824),
    "30b": (60, 6656, 52, 17920),
    "65b": (80, 8192, 64, 22016),
    "70b": (80, 8192, 64, 28672),
}

# llama.cpp stores the two halves of each rotary pair side by side.
PAIRED = Axes("(h pair half) in", "(h half pair) in")

FAMILY = Family(
    model_type="llama",
    template=Spec(
        vocab=32000,
        dim=4096,
        embedding=Embedding(4096),
        decoder=Stack(
            32,
            (
                Block(
                    Attention(32, 128, 32, bias=False, out_bias=False, position=Rotary(128)),
                    FeedForward(11008, "silu", gated=True, bias=False),
                    RMS,
                    norm_at=("in",),
                ),
            ),
            causal=True,
            final_norm=RMS,
        ),
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
        key("attention_bias", f"{BLOCK}.attention.bias", f"{BLOCK}.attention.out_bias", default=False),
        key("mlp_bias", f"{BLOCK}.feed_forward.bias", default=False),
        key("attention_dropout", f"{BLOCK}.attention.dropout", default=0.0),
        key("tie_word_embeddings", "heads.language-model.tied", default=False),
        HEAD_SIZE,
        Rotation(f"{BLOCK}.attention.position", share=None, share_default=1.0, base="rope_theta", head_size=HEAD_SIZE),
        TokenIds(bos=1, eos=2),
    ),
    rows=(
        Row("embed_tokens", "embedding.tokens", also=("lm_head",)),
        Row("layers.{i}.input_layernorm", "decoder.{i}.attention_norm_in"),
        Row("layers.{i}.self_attn.q_proj", "decoder.{i}.attention.q"),
        Row("layers.{i}.self_attn.k_proj", "decoder.{i}.attention.k"),
        Row("layers.{i}.self_attn.v_proj", "decoder.{i}.attention.v"),
        Row("layers.{i}.self_attn.o_proj", "decoder.{i}.attention.out"),
        Row("layers.{i}.post_attention_layernorm", "decoder.{i}.feed_forward_norm_in"),
        Row("layers.{i}.mlp.gate_proj", "decoder.{i}.feed_forward.gate"),
        Row("layers.{i}.mlp.up_proj", "decoder.{i}.feed_forward.value"),
        Row("layers.{i}.mlp.down_proj", "decoder.{i}.feed_forward.down"),
        Row("norm", "decoder.norm"),
        Row("lm_head.weight", "heads.language-model.weight", head=True),
        Row("score", "heads.classify", head=True),
        Row("score", "heads.tag", head=True),
        Row("qa_outputs", "heads.span", head=True),
    ),
    architectures=architectures("Llama", span_prefix="transformer."),
    prefix="model.",
    unused=(r"(model\.)?(layers\.\d+\.self_attn\.)?rotary_emb\.inv_freq",),
    presets={
        "llama-7b": size(*SIZES["7b"]),
        "llama-13b": size(*SIZES["13b"]),
        "llama-30b": size(*SIZES["30b"]),
        "llama-65b": size(*SIZES["65b"]),
        "llama-2-7b": size(*SIZES["7b"], rms_norm_eps=1e-5),
        "llama-2-13b": size(*SIZES["13b"], rms_norm_eps=1e-5),
        "llama-2-70b": size(*SIZES["70b"], num_key_value_heads=8, rms_norm_eps=1e-5),
        # The same shape, trained anew or further; some have words or marks of their own.
        **{f"open_llama_{name}": size(*SIZES[name]) for name in ("3b", "7b", "13b")},
        "alpaca-7b": size(*SIZES["7b"], vocab_size=32001),
        **{f"koala-{name}": size(*SIZES[name]) for name in ("7b", "13b")},
        **{f"baize-{name}": size(*SIZES[name]) for name in ("7b", "13b", "30b")},
        "wizardlm-7b-v1.0": size(*SIZES["7b"], vocab_size=32001),
        "wizardlm-13b-v1.0": size(*SIZES["13b"], vocab_size=32001),
        "wizardlm-13b-v1.2": size(*SIZES["13b"], rms_norm_eps=1e-5),
        "wizardlm-30b-v1.0": size(*SIZES["30b"], vocab_size=32001),
        "wizardlm-70b-v1.0": size(*SIZES["70b"], num_key_value_heads=8, rms_norm_eps=1e-5, vocab_size=32001),
        "ultralm-13b": size(*SIZES["13b"], vocab_size=32001),
        "ultralm-65b": size(*SIZES["65b"], rms_norm_eps=1e-5),
        "ultralm-13b-v2.0": size(*SIZES["13b"], rms_norm_eps=1e-5),
        "yulan-chat-1-13b-v1": size(*SIZES["13b"]),
        "yulan-chat-1-65b-v1": size(*SIZES["65b"]),
        "yulan-chat-1-65b-v2": size(*SIZES["65b"], vocab_size=51200),
        "yulan-chat-2-13b": size(*SIZES["13b"], rms_norm_eps=1e-5, vocab_size=51200),
        "yulan-base-12b": size(40, 4864, 38, 13056, vocab_size=51190),
        "ziya-llama-13b": size(*SIZES["13b"], vocab_size=39424),
        "ziya2-13b": size(*SIZES["13b"], vocab_size=39410),
        "llama-3-8b": size(
            32, 4096, 32, 14336, num_key_value_heads=8, vocab_size=128256, rope_theta=500000.0, rms_norm_eps=1e-5
        ),
        "smollm2-135m": size(
            30,
            576,
            9,
            1536,
            num_key_value_heads=3,
            vocab_size=49152,
            rope_theta=100000.0,
            rms_norm_eps=1e-5,
            tie_word_embeddings=True,
        ),
    },
    dialects=dialect("llama", "llama", "LlamaForCausalLM", gated_rows(PAIRED), more=head_size),
)
