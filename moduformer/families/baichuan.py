"""Baichuan 1 and 2 (Yang et al. 2023, arXiv 2309.10305): LLaMA with q, k and v in one matrix.

The 7B have rotary positions and the 13B ALiBi; Baichuan 2 brings the rows of its last matrix to length one.
"""

from dataclasses import dataclass
from typing import Any

from moduformer.architecture import ALiBi, Rotary
from moduformer.families.family import Family
from moduformer.families.llama import BLOCK, HEAD_SIZE, architectures, without_keys
from moduformer.families.llama import FAMILY as LLAMA
from moduformer.weights.config import Config, Get, TokenIds, key
from moduformer.weights.plan import Row

POSITION = f"{BLOCK}.attention.position"
HEAD = "heads.language-model.normalised"


@dataclass(frozen=True)
class Generations:
    """What tells the four models apart: only rotary ones have `max_position_embeddings`, only the second generation
    has `z_loss_weight` (configuration_baichuan.py of each)."""

    def read(self, config: Config) -> dict[str, Any]:
        """The kind of positions, and whether the last matrix is normalised."""
        rotary = "max_position_embeddings" in config
        return {POSITION: Rotary(HEAD_SIZE.of(config)) if rotary else ALiBi(), HEAD: "z_loss_weight" in config}

    def write(self, get: Get) -> dict[str, Any]:
        """The keys, with the values of the published files."""
        found: dict[str, Any] = {"model_max_length": 4096}
        if isinstance(get(POSITION), Rotary):
            found["max_position_embeddings"] = 4096
        try:
            return found | ({"z_loss_weight": 0} if get(HEAD) else {})
        except KeyError:
            return found


B7, B13 = (32, 4096, 32, 11008), (40, 5120, 40, 13696)
CLASSES = architectures("Baichuan")

FAMILY = Family(
    model_type="baichuan",
    template=LLAMA.template,
    rules=(
        *without_keys("num_key_value_heads", "attention_bias", "mlp_bias", "attention_dropout", "rope_theta"),
        key("num_attention_heads", f"{BLOCK}.attention.kv_heads", default=32),
        Generations(),
        TokenIds(pad=0, bos=1, eos=2),
    ),
    rows=(
        Row("layers.{i}.self_attn.W_pack", "decoder.{i}.attention.qkv"),
        *(row for row in LLAMA.rows if not row.file.endswith(("q_proj", "k_proj", "v_proj"))),
    ),
    architectures={
        **{name: CLASSES[name] for name in ("BaichuanModel", "BaichuanForCausalLM")},
        "BaiChuanForCausalLM": CLASSES["BaichuanForCausalLM"],
    },
    prefix="model.",
    unused=LLAMA.unused,
)
