"""The Q-Former (Li et al. 2023, arXiv 2301.12597): learned queries through BERT's layers, which look at an image."""

from dataclasses import dataclass, replace
from typing import Any

from moduformer.architecture import Attention, Block, FeedForward, Norm, QFormer, Stack
from moduformer.errors import CheckpointError
from moduformer.families.blip import layers
from moduformer.weights.config import ACTIVATIONS, Config, Get, HeadSize, Rule, key
from moduformer.weights.plan import Row
from moduformer.weights.views import Axes

BRIDGE, NAME = "vision.bridge", "vision.bridge.stack.{i}"
BLOCK = f"{BRIDGE}.stack.pattern.*"
ATTENTIONS = f"{BLOCK}.[attention cross_attention]"
LOOKING = Block(Attention(12, 64, 12), FeedForward(3072), cross_attention=Attention(12, 64, 12))
QUERIES = QFormer(32, 768, Stack(12, (LOOKING, replace(LOOKING, cross_attention=None))), Norm())


@dataclass(frozen=True)
class Frequency:
    """One block in so many looks at the image."""

    def read(self, config: Config) -> dict[str, Any]:
        """The pattern of blocks."""
        every = config.get("cross_attention_frequency", 2)
        if not isinstance(every, int) or not 0 < every <= 1000:
            raise CheckpointError(f"config.json: cross_attention_frequency is {every!r:.80}, not a number of layers")
        return {f"{BRIDGE}.stack.pattern": (LOOKING, *[replace(LOOKING, cross_attention=None)] * (every - 1))}

    def write(self, get: Get) -> dict[str, Any]:
        """The length of the pattern."""
        return {"cross_attention_frequency": len(get(f"{BRIDGE}.stack.pattern"))}


RULES: tuple[Rule, ...] = (
    Frequency(),
    key("hidden_size", f"{BRIDGE}.[dim text.width]", default=768),
    key("num_hidden_layers", f"{BRIDGE}.stack.layers", default=12),
    key("num_attention_heads", f"{ATTENTIONS}.[heads kv_heads]", default=12),
    HeadSize("hidden_size", "num_attention_heads", (f"{ATTENTIONS}.head_dim",), (768, 12)),
    key("intermediate_size", f"{BLOCK}.feed_forward.width", default=3072),
    key("hidden_act", f"{BLOCK}.feed_forward.activation", default="gelu", table=ACTIVATIONS),
    key("layer_norm_eps", f"[{BLOCK} {BRIDGE}].norm.eps", default=1e-12),
    key("hidden_dropout_prob", f"[{BLOCK} {BRIDGE}.text].dropout", default=0.1),
    key("attention_probs_dropout_prob", f"{ATTENTIONS}.dropout", default=0.1),
)


def rows(file: str, attention: str) -> tuple[Row, ...]:
    """The queries and layers whose names begin with `file`; `attention` is what the projections are called by."""
    return (
        Row("query_tokens", f"{BRIDGE}.queries", Axes("() q d", "q d")),
        *layers(file, NAME, attention),
        Row(f"{file}.[intermediate output]_query.dense", f"{NAME}.feed_forward.[up down]"),
        Row(f"{file}.output_query.LayerNorm", f"{NAME}.feed_forward_norm_res"),
    )
