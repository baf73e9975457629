"""Qwen2 and Qwen2.5 (Yang et al. 2024, arXiv 2407.10671): LLaMA with biases on q, k and v, windows in upper layers."""

from dataclasses import replace
from typing import Any

from moduformer.architecture import Attention, Block, FeedForward, Norm, Rotary
from moduformer.families.family import Family, decoder
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


FAMILY = Family(
    model_type="qwen2",
    template=replace(LLAMA.template, decoder=decoder(32, LAYER)),
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
    dialects=dialect("qwen2", "Qwen2ForCausalLM", gated_rows()),
)
