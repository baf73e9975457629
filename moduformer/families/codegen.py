"""CodeGen (Nijkamp et al. 2022, arXiv 2203.13474): GPT-J whose files keep q, v and k in four parts."""

from dataclasses import dataclass
from typing import Any

from moduformer.errors import CheckpointError
from moduformer.families.family import Family, decoder_architectures
from moduformer.families.gptj import LANGUAGE_MODEL, ROWS, RULES, TEMPLATE
from moduformer.weights.config import Config, Get
from moduformer.weights.plan import Row
from moduformer.weights.views import Axes, Slice


@dataclass(frozen=True)
class FourParts:
    """The heads must divide into the four parts."""

    def read(self, config: Config) -> dict[str, Any]:
        """Nothing, or a `CheckpointError`."""
        if (heads := config.get("n_head", 16)) % 4:
            raise CheckpointError(f"config.json: n_head is {heads}, but files keep q, k and v in four equal parts")
        return {}

    def write(self, get: Get) -> dict[str, Any]:
        """Nothing: the heads are written by another rule."""
        return {}


def part(name: str, place: int) -> Row:
    """One of q, v and k inside each of the four parts."""
    axes = Axes("(4 n h d) in", "(4 n h d) in", Slice("n", (1, 1, 1), place))
    return Row("h.{i}.attn.qkv_proj", f"decoder.{{i}}.attention.{name}", axes)


FAMILY = Family(
    model_type="codegen",
    template=TEMPLATE,
    rules=(*RULES, FourParts()),
    rows=(*ROWS, part("q", 0), part("v", 1), part("k", 2)),
    architectures=decoder_architectures("CodeGen", language_model=LANGUAGE_MODEL),
    prefix="transformer.",
    unused=(r"(transformer\.)?h\.\d+\.attn\.(causal_mask|embed_positions|bias|masked_bias)",),
)
