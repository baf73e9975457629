"""Mistral (Jiang et al. 2023, arXiv 2310.06825): LLaMA with grouped queries and a window of tokens."""

from typing import Any

from moduformer.families.family import Family
from moduformer.families.llama import BLOCK, architectures, without_keys
from moduformer.families.llama import FAMILY as LLAMA
from moduformer.weights.config import Otherwise, key

# Absent keys mean these numbers here, not LLaMA's.
RULES = (
    *without_keys("attention_bias", "mlp_bias"),
    key("intermediate_size", f"{BLOCK}.feed_forward.width", default=14336),
    Otherwise("num_key_value_heads", "num_attention_heads", (f"{BLOCK}.attention.kv_heads",), 32),
    key("sliding_window", f"{BLOCK}.attention.window", default=4096),
)


def size(layers: int, dim: int, **more: Any) -> dict[str, Any]:
    """The config of a published size."""
    config = {"num_hidden_layers": layers, "hidden_size": dim, "num_key_value_heads": 8, "rms_norm_eps": 1e-5}
    return {"architecture": "MistralForCausalLM", **config, **more}


LONG: dict[str, Any] = {"sliding_window": None, "rope_theta": 1000000.0}

FAMILY = Family(
    model_type="mistral",
    template=LLAMA.template,
    rules=RULES,
    rows=LLAMA.rows,
    architectures=architectures("Mistral"),
    prefix="model.",
    unused=LLAMA.unused,
    presets={
        "mistral-7b-v0.1": size(32, 4096),
        "mistral-7b-instruct-v0.1": size(32, 4096),
        "mistral-7b-instruct-v0.2": size(32, 4096, **LONG),
        "mistral-7b-v0.3": size(32, 4096, vocab_size=32768, **LONG),
        "mistral-7b-instruct-v0.3": size(32, 4096, vocab_size=32768, **LONG),
        "zephyr-7b-beta": size(32, 4096),
        "mistral-nemo-base-2407": size(40, 5120, vocab_size=131072, head_dim=128, **LONG),
    },
)
