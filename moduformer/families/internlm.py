"""InternLM 1 (InternLM team 2023, technical report): LLaMA with biases on q, k, v and o (7B) or without (20B).

Its rotary positions grow their base with rows beyond the context, under a key of their own.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from moduformer.architecture import DynamicScaling
from moduformer.errors import CheckpointError
from moduformer.families.family import Family
from moduformer.families.llama import BLOCK, HEAD_SIZE, architectures, without_keys
from moduformer.families.llama import FAMILY as LLAMA
from moduformer.weights.config import Config, Get, TokenIds, key

ROTARY = f"{BLOCK}.attention.position"


@dataclass(frozen=True)
class Rotation:
    """The key `rotary`: a base, and whether it is the original ("origin") or grows with the row ("dynamic")."""

    def read(self, config: Config) -> dict[str, Any]:
        """The fields of a `Rotary`."""
        given = config.get("rotary", {"base": 10000, "type": "dynamic"})
        kind = given.get("type") if isinstance(given, Mapping) else None
        if kind not in ("origin", "dynamic"):
            raise CheckpointError(f"config.json: rotary must be of type origin or dynamic, but is {given!r:.80}")
        context = config.get("max_position_embeddings", 2048)
        dynamic = DynamicScaling(float(given.get("scaling_factor", 1.0)), context) if kind == "dynamic" else None
        base, dim = float(given.get("base", 10000)), HEAD_SIZE.of(config)
        return {f"{ROTARY}.dim": dim, f"{ROTARY}.base": base, f"{ROTARY}.scaling": dynamic}

    def write(self, get: Get) -> dict[str, Any]:
        """The same key, and the context that a growing base starts from."""
        rotary = {"base": get(f"{ROTARY}.base"), "type": "origin"}
        scaling = get(f"{ROTARY}.scaling")
        if not isinstance(scaling, DynamicScaling):
            return {"rotary": rotary}
        rotary |= {"type": "dynamic", "scaling_factor": scaling.factor}
        return {"rotary": rotary, "max_position_embeddings": scaling.original_context}


FAMILY = Family(
    model_type="internlm",
    template=LLAMA.template,
    rules=(
        *without_keys("num_key_value_heads", "attention_bias", "mlp_bias", "attention_dropout", "rope_theta"),
        key("num_attention_heads", f"{BLOCK}.attention.kv_heads", default=32),
        key("bias", f"{BLOCK}.attention.[bias out_bias]", default=True),
        Rotation(),
        TokenIds(pad=0, bos=1, eos=2),
    ),
    rows=LLAMA.rows,
    architectures=architectures("InternLM", "ForSequenceClassification"),
    prefix="model.",
    unused=LLAMA.unused,
)
