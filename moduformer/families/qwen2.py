"""Qwen2 and Qwen2.5 (Yang et al. 2024, arXiv 2407.10671): LLaMA with biases on q, k and v, windows in upper layers."""

from dataclasses import replace
from typing import Any

from moduformer.architecture import Attention, Block, FeedForward, Norm, Rotary, Stack
from moduformer.families.family import Family
from moduformer.families.gguf import dialect, gated_rows
from moduformer.families.llama import BLOCK, architectures, without_keys
from moduformer.families.llama import FAMILY as LLAMA
from moduformer.weights.config import Config, LayerWindows, TokenIds, by_layer_types, key, layer_count, layer_types

NORM = Norm("rms", 1e-6)
LAYER = Block(
    Attention(32, 128, 32, out_bias=False, position=Rotary(128)),
    FeedForward(22016, "silu", gated=True, bias=False),
    NORM,
    norm_at=("in",),
)


def read_windows(config: Config) -> list[int | None]:
    """The window of every layer: by name where `layer_types` is there, else from `max_window_layers` on."""
    layers = layer_count(config, "num_hidden_layers", 32)
    window = config.get("sliding_window", 4096) if config.get("use_sliding_window", False) else None
    first = config.get("max_window_layers", 28)
    return by_layer_types(config, layers, window, [i >= first for i in range(layers)])


def write_windows(windows: list[int | None]) -> dict[str, Any]:
    """The keys that say so."""
    window = max(filter(None, windows), default=None)
    return {**layer_types(windows), "use_sliding_window": window is not None, "sliding_window": window}


def size(layers: int, dim: int, heads: int, shared: int, width: int, **more: Any) -> dict[str, Any]:
    """The config of a published size."""
    config = {
        "num_hidden_layers": layers,
        "hidden_size": dim,
        "num_attention_heads": heads,
        "num_key_value_heads": shared,
        "intermediate_size": width,
        "rope_theta": 1000000.0,
        "vocab_size": 152064,
    }
    return {"architecture": "Qwen2ForCausalLM", **config, **more}


SMALL: dict[str, Any] = {"vocab_size": 151936, "tie_word_embeddings": True}
SIZES = {
    "qwen2-0.5b": size(24, 896, 14, 2, 4864, **SMALL),
    "qwen2-1.5b": size(28, 1536, 12, 2, 8960, **SMALL),
    "qwen2-7b": size(28, 3584, 28, 4, 18944),
    "qwen2-72b": size(80, 8192, 64, 8, 29568, rms_norm_eps=1e-5),
    "qwen2.5-3b": size(36, 2048, 16, 2, 11008, **SMALL),
    "qwen2.5-14b": size(48, 5120, 40, 8, 13824, rms_norm_eps=1e-5),
    "qwen2.5-32b": size(64, 5120, 40, 8, 27648, rms_norm_eps=1e-5),
}
SIZES |= {f"qwen2.5-{name}": SIZES[f"qwen2-{name}"] for name in ("0.5b", "1.5b", "7b", "72b")}

FAMILY = Family(
    model_type="qwen2",
    template=replace(LLAMA.template, decoder=Stack(32, (LAYER,), causal=True, final_norm=NORM)),
    rules=(
        *without_keys("attention_bias", "mlp_bias"),
        key("vocab_size", "vocab", default=151936),
        key("intermediate_size", f"{BLOCK}.feed_forward.width", default=22016),
        LayerWindows("decoder", LAYER, read_windows, write_windows),
        TokenIds(),
    ),
    rows=LLAMA.rows,
    architectures=architectures("Qwen2", span_prefix="transformer."),
    prefix="model.",
    unused=LLAMA.unused,
    dialects=dialect("qwen2", "qwen2", "Qwen2ForCausalLM", gated_rows()),
    presets={f"{name}{kind}": config for name, config in SIZES.items() for kind in ("", "-instruct")},
)
