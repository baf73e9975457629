"""Mistral (Jiang et al. 2023, arXiv 2310.06825): LLaMA with grouped queries and a window of tokens."""

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


FAMILY = Family(
    model_type="mistral",
    template=LLAMA.template,
    rules=RULES,
    rows=LLAMA.rows,
    architectures=architectures("Mistral"),
    prefix="model.",
    unused=LLAMA.unused,
)
