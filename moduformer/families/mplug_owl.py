"""mPLUG-Owl (Ye et al. 2023, arXiv 2304.14178): a ViT-L/14, a visual abstractor, and a LLaMA or BLOOMZ whose text it
stands in.

The abstractor makes 64 vectors of an image, behind which stands a learned one. Texts mark images by negative ids. The
published code norms the word vectors of BLOOMZ, puts those of images among them, and BLOOMZ norms them all; tokens that
it generates one after another it norms once, where here every pass over the same tokens is the same.
"""

from dataclasses import dataclass, replace
from typing import Any

from moduformer.architecture import Attention, FeedForward, Norm, Resampler
from moduformer.errors import CheckpointError
from moduformer.families.bloom import FAMILY as BLOOM
from moduformer.families.family import Family
from moduformer.families.image_encoder import CLASS_TOKEN, POSITIONS, tower, tower_rules
from moduformer.families.llama import FAMILY as LLAMA
from moduformer.families.vision_language import compose, text_kind
from moduformer.weights.config import Config, Get, HeadSize, Nested, Only, key
from moduformer.weights.plan import Row
from moduformer.weights.views import Axes

BRIDGE = "vision.bridge"
NORM = Norm(eps=1e-6)
LATENTS = Resampler(
    64,
    1024,
    6,
    Attention(16, 64, 16),
    FeedForward(4096, "silu", gated=True, norm=NORM),
    Norm(eps=1e-5),
    residual="normed",
    end=True,
)
VISION = replace(tower(NORM, 224, 14, "gelu_sigmoid"), dim=1024)
VISION = replace(VISION, patches=replace(VISION.patches, bias=False, norm=NORM))


@dataclass(frozen=True)
class SameWidth:
    """A key that must say what another says."""

    name: str
    other: str
    default: int

    def read(self, config: Config) -> dict[str, Any]:
        """Nothing, or a `CheckpointError`."""
        given, wanted = (config.get(name, self.default) for name in (self.name, self.other))
        if given != wanted:
            raise CheckpointError(f"config.json: {self.name} is {given!r:.80}, but {self.other} is {wanted!r:.80}")
        return {}

    def write(self, get: Get) -> dict[str, Any]:
        """The width."""
        return {self.name: get(f"{BRIDGE}.dim")}


EYE, SEEN = "vision_model.encoder.layers.{i}", "vision.stack.{i}"
FILE, NAME = "abstractor.encoder.layers.{i}.crossattention", f"{BRIDGE}.layers.{{i}}"

BLOOMZ = replace(
    BLOOM, template=replace(BLOOM.template, embedding=replace(BLOOM.template.embedding, words_normed=True))
)
TEXTS = {"llama": (LLAMA, "LlamaForCausalLM"), "bloom": (BLOOMZ, "BloomForCausalLM")}


def member(text: str = "llama") -> Family:
    """mPLUG-Owl before a language model, named by the `model_type` of `text_config`."""
    return compose(
        *TEXTS[text],
        replace(VISION, bridge=LATENTS, injection="tokens", image_token=-1),
        model_type="mplug-owl",
        name="MplugOwl",
        rules=(
            Nested(
                "vision_config",
                (
                    *tower_rules(1024, 24, 16, 4096, 224, 14, 1e-6, "quick_gelu"),
                    Only("hidden_act", ("quick_gelu",)),
                    Only("num_channels", (3,)),
                ),
            ),
            Nested(
                "visual_abstractor_config",
                (
                    key("hidden_size", f"{BRIDGE}.dim", default=1024),
                    key("num_hidden_layers", f"{BRIDGE}.layers", default=6),
                    key("num_attention_heads", f"{BRIDGE}.attention.[heads kv_heads]", default=16),
                    HeadSize("hidden_size", "num_attention_heads", (f"{BRIDGE}.attention.head_dim",), (1024, 16)),
                    key("intermediate_size", f"{BRIDGE}.feed_forward.width", default=4096),
                    # The norm inside the feed-forward layer alone; the others have the usual eps.
                    key("layer_norm_eps", f"{BRIDGE}.feed_forward.norm.eps", default=1e-6),
                    key("attention_probs_dropout_prob", f"{BRIDGE}.attention.dropout", default=0.1),
                    SameWidth("encoder_hidden_size", "hidden_size", 1024),
                ),
            ),
            key("num_query_tokens", f"{BRIDGE}.queries", default=64),
            key("image_token_index", "vision.image_token", default=-1),
        ),
        rows=(
            Row("vision_model.embeddings.cls_token", "vision.patches.class_token", CLASS_TOKEN),
            Row("vision_model.embeddings.position_embedding", "vision.patches.positions.weight", POSITIONS),
            Row("vision_model.embeddings.[patch_embed pre_layernorm]", "vision.patches.[projection norm]"),
            Row(f"{EYE}.[input post_attention]_layernorm", f"{SEEN}.[attention feed_forward]_norm_in"),
            Row(f"{EYE}.self_attn.query_key_value", f"{SEEN}.attention.qkv", Axes("(h n d) in", "(n h d) in")),
            Row(f"{EYE}.self_attn.dense", f"{SEEN}.attention.out"),
            Row(f"{EYE}.mlp.[fc1 fc2]", f"{SEEN}.feed_forward.[up down]"),
            Row("vision_model.post_layernorm", "vision.stack.norm"),
            Row("query_tokens", f"{BRIDGE}.queries", Axes("() q d", "q d")),
            Row(f"{FILE}.attention.[query key value]", f"{NAME}.attention.[q k v]"),
            Row(f"{FILE}.output.[out_proj norm2]", f"{NAME}.[attention.out feed_forward_norm]"),
            Row(f"{FILE}.output.mlp.[w1 w2 w3 ffn_ln]", f"{NAME}.feed_forward.[gate down value norm]"),
            Row(f"{FILE}.[norm1 normk]", f"{NAME}.[query image]_norm"),
            Row("abstractor.visual_fc", f"{BRIDGE}.projection"),
            Row("abstractor.vit_eos", f"{BRIDGE}.end", CLASS_TOKEN),
        ),
        variant=lambda config: member(text_kind(config, TEXTS, "llama")),
    )


FAMILY = member()
