"""What image encoders have in common: ViT's layers, and the keys that configs name alike (arXiv 2010.11929)."""

from typing import Any

from moduformer.architecture import Attention, Block, FeedForward, Norm, Patches, Stack, Vision
from moduformer.weights.config import ACTIVATIONS, HeadSize, Rule, key
from moduformer.weights.views import Axes

BLOCK = "vision.stack.pattern.*"
ATTENTION = f"{BLOCK}.attention"
CLASS_TOKEN, POSITIONS = Axes("() () d", "d"), Axes("() v d", "v d")
"""How most files keep the class token and the table of positions: as a batch of one."""


def tower(norm: Norm, image: int = 224, patch: int = 16, activation: Any = "gelu") -> Vision:
    """ViT-B with another patch, norm or activation; the final norm is for those who have one."""
    block = Block(Attention(12, 64, 12), FeedForward(3072, activation), norm, norm_at=("in",))
    return Vision(768, Patches(image, patch), Stack(12, (block,), final_norm=norm))


def tower_rules(
    dim: int,
    layers: int,
    heads: int,
    width: int,
    image: int,
    patch: int,
    eps: float,
    activation: str = "gelu",
    dropout: str = "attention_dropout",
) -> tuple[Rule, ...]:
    """The keys every image encoder names alike, with its own defaults, and the name of its attention's dropout."""
    norms = "vision.[stack.pattern.*.norm stack.final_norm patches.norm].eps"
    return (
        key("hidden_size", "vision.dim", default=dim),
        key("num_hidden_layers", "vision.stack.layers", default=layers),
        key("num_attention_heads", f"{ATTENTION}.[heads kv_heads]", default=heads),
        key("intermediate_size", f"{BLOCK}.feed_forward.width", default=width),
        key("image_size", "vision.patches.image", default=image),
        key("patch_size", "vision.patches.patch", default=patch),
        key("layer_norm_eps", norms, "[heads vision.heads].pool.norm.eps", default=eps),
        key("hidden_act", f"{BLOCK}.feed_forward.activation", default=activation, table=ACTIVATIONS),
        key(dropout, f"{ATTENTION}.dropout", default=0.0),
        HeadSize("hidden_size", "num_attention_heads", (f"{ATTENTION}.head_dim",), (dim, heads)),
    )
