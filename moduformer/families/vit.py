"""ViT (Dosovitskiy et al. 2021, arXiv 2010.11929): a pre-norm encoder of image patches behind a class token."""

from typing import Any

from moduformer.architecture import (
    Attention,
    Block,
    Embedding,
    FeedForward,
    Head,
    Norm,
    Patches,
    Spec,
    Stack,
    Transform,
    Vision,
)
from moduformer.families.family import Architecture, Family
from moduformer.weights.config import ACTIVATIONS, HeadSize, Only, Otherwise, Rule, key
from moduformer.weights.plan import Row
from moduformer.weights.views import Axes

BLOCK = "vision.stack.pattern.*"
ATTENTION = f"{BLOCK}.attention"


def tower(norm: Norm, image: int = 224, patch: int = 16, activation: Any = "gelu") -> Vision:
    """ViT-B with another patch, norm or activation; the final norm is for those who have one."""
    block = Block(Attention(12, 64, 12), FeedForward(3072, activation), norm, norm_at=("in",))
    return Vision(768, Patches(image, patch), Stack(12, (block,), final_norm=norm))


def tower_rules(dim: int, layers: int, heads: int, width: int, image: int, patch: int, eps: float) -> tuple[Rule, ...]:
    """The keys every image encoder names alike, with its own defaults."""
    norms = (f"{BLOCK}.norm.eps", "vision.stack.final_norm.eps", "vision.patches.norm.eps")
    return (
        key("hidden_size", "vision.dim", default=dim),
        key("num_hidden_layers", "vision.stack.layers", default=layers),
        key("num_attention_heads", f"{ATTENTION}.[heads kv_heads]", default=heads),
        key("intermediate_size", f"{BLOCK}.feed_forward.width", default=width),
        key("image_size", "vision.patches.image", default=image),
        key("patch_size", "vision.patches.patch", default=patch),
        key("layer_norm_eps", *norms, "heads.pool.norm.eps", "vision.heads.pool.norm.eps", default=eps),
        HeadSize("hidden_size", "num_attention_heads", (f"{ATTENTION}.head_dim",), (dim, heads)),
    )


POOL = Head("pool", reads="first", transform=Transform(768, "tanh"))

FAMILY = Family(
    model_type="vit",
    template=Spec(vocab=0, dim=768, embedding=Embedding(768), vision=tower(Norm())),
    rules=(
        *tower_rules(768, 12, 12, 3072, 224, 16, 1e-12),
        key("hidden_size", "dim", "embedding.width", default=768),
        Otherwise("pooler_output_size", "hidden_size", ("heads.pool.transform.width",), 768),
        key("pooler_act", "heads.pool.transform.activation", default="tanh", table=ACTIVATIONS),
        key("num_channels", "vision.patches.channels", default=3),
        key("hidden_act", f"{BLOCK}.feed_forward.activation", default="gelu", table=ACTIVATIONS),
        key("qkv_bias", f"{ATTENTION}.bias", default=True),
        key("hidden_dropout_prob", f"{BLOCK}.dropout", "vision.patches.dropout", default=0.0),
        key("attention_probs_dropout_prob", f"{ATTENTION}.dropout", default=0.0),
        Only("head_dim", (None,)),
    ),
    rows=(
        Row("embeddings.cls_token", "vision.patches.class_token", Axes("() () d", "d")),
        Row("embeddings.position_embeddings", "vision.patches.positions.weight", Axes("() v d", "v d")),
        Row("embeddings.patch_embeddings.projection", "vision.patches.projection"),
        Row("encoder.layer.{i}.layernorm_before", "vision.stack.{i}.attention_norm_in"),
        Row(
            "encoder.layer.{i}.attention.[attention.query attention.key attention.value output.dense]",
            "vision.stack.{i}.attention.[q k v out]",
        ),
        Row("encoder.layer.{i}.layernorm_after", "vision.stack.{i}.feed_forward_norm_in"),
        Row("encoder.layer.{i}.[intermediate output].dense", "vision.stack.{i}.feed_forward.[up down]"),
        Row("layernorm", "vision.stack.norm"),
        Row("pooler.dense", "heads.pool.transform.dense"),
        Row("classifier", "heads.classify", head=True),
    ),
    architectures={
        "ViTModel": Architecture((POOL,), prefix=""),
        "ViTForImageClassification": Architecture((Head("classify", reads="first", outputs=2),)),
    },
    prefix="vit.",
)
