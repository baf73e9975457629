"""CLIP (Radford et al. 2021, arXiv 2103.00020): an image encoder and a causal text encoder that meet in one space."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from moduformer.architecture import Attention, Block, Embedding, FeedForward, Head, LearnedPositions, Norm, Spec, Stack
from moduformer.errors import CheckpointError
from moduformer.families.family import Architecture, Family
from moduformer.families.image_encoder import tower, tower_rules
from moduformer.weights.config import ACTIVATIONS, Config, Get, HeadSize, Nested, Rule, TokenIds, key
from moduformer.weights.plan import Row

NORM = Norm(eps=1e-5)
SEEN = Head("pool", reads="first", norm=NORM)
READ = Head("pool", reads="first-eos")
EMBED = Head("embed", reads="pool", outputs=512, bias=False)
TEXT = "encoder.pattern.*"
VISION = replace(tower(NORM, 224, 32, "gelu_sigmoid"), stack=replace(tower(NORM).stack, final_norm=None))
VISION = replace(VISION, patches=replace(VISION.patches, bias=False, norm=NORM))


@dataclass(frozen=True)
class EndOfText:
    """Where a text is read: at its first end token; configs of 2021 say 2 for it and mean the largest id."""

    def read(self, config: Config) -> dict[str, Any]:
        """`eos_token_id` to what the pool reads."""
        return {"heads.pool.reads": "largest" if config.get("eos_token_id", 49407) == 2 else "first-eos"}

    def write(self, get: Get) -> dict[str, Any]:
        """Nothing: the id itself says it."""
        return {}


@dataclass(frozen=True)
class Repeated:
    """An object that may say again what another says (`text_config_dict`); where it says otherwise it is refused."""

    name: str
    other: str

    def read(self, config: Config) -> dict[str, Any]:
        """Nothing, or a `CheckpointError`."""
        again, first = config.get(self.name) or {}, config.get(self.other) or {}
        if not isinstance(again, Mapping) or not isinstance(first, Mapping):
            raise CheckpointError(f"config.json: {self.name} and {self.other} must be objects")
        for name, value in again.items():
            if name in first and first[name] != value:
                raise CheckpointError(
                    f"config.json: {self.name}.{name} is {value!r:.80}, but {self.other} says {first[name]!r:.80}"
                )
        return {}

    def write(self, get: Get) -> dict[str, Any]:
        """Nothing."""
        return {}


TEXT_RULES: tuple[Rule, ...] = (
    key("vocab_size", "vocab", default=49408),
    key("hidden_size", "dim", "embedding.width", default=512),
    key("intermediate_size", f"{TEXT}.feed_forward.width", default=2048),
    key("num_hidden_layers", "encoder.layers", default=12),
    key("num_attention_heads", f"{TEXT}.attention.[heads kv_heads]", default=8),
    key("max_position_embeddings", "embedding.positions.max", default=77),
    key("hidden_act", f"{TEXT}.feed_forward.activation", default="quick_gelu", table=ACTIVATIONS),
    key("layer_norm_eps", f"{TEXT}.norm.eps", "encoder.final_norm.eps", default=1e-5),
    key("attention_dropout", f"{TEXT}.attention.dropout", default=0.0),
    HeadSize("hidden_size", "num_attention_heads", (f"{TEXT}.attention.head_dim",), (512, 8)),
    TokenIds(pad=1, bos=49406, eos=49407),
    EndOfText(),
)
VISION_RULES: tuple[Rule, ...] = (
    *tower_rules(768, 12, 12, 3072, 224, 32, 1e-5, "quick_gelu"),
    key("num_channels", "vision.patches.channels", default=3),
)


def layers(lead: str, name: str) -> tuple[Row, ...]:
    """The rows of one of the two stacks."""
    file = f"{lead}encoder.layers.{{i}}"
    return (
        Row(f"{file}.layer_norm[1 2]", f"{name}.{{i}}.[attention feed_forward]_norm_in"),
        Row(f"{file}.self_attn.[q k v out]_proj", f"{name}.{{i}}.attention.[q k v out]"),
        Row(f"{file}.mlp.[fc1 fc2]", f"{name}.{{i}}.feed_forward.[up down]"),
    )


def vision_rows(lead: str, pool: str) -> tuple[Row, ...]:
    """The rows of the image encoder; `pool` is whose head its last norm belongs to."""
    return (
        Row(f"{lead}embeddings.class_embedding", "vision.patches.class_token"),
        Row(f"{lead}embeddings.[patch position]_embedding", "vision.patches.[projection positions]"),
        Row(f"{lead}pre_layrnorm", "vision.patches.norm"),
        *layers(lead, "vision.stack"),
        Row(f"{lead}post_layernorm", f"{pool}.norm"),
    )


def text_rows(lead: str) -> tuple[Row, ...]:
    """The rows of the text encoder."""
    return (
        Row(f"{lead}embeddings.[token position]_embedding", "embedding.[tokens positions]"),
        *layers(lead, "encoder"),
        Row(f"{lead}final_layer_norm", "encoder.norm"),
    )


TEXT_BLOCK = Block(Attention(8, 64, 8), FeedForward(2048, "gelu_sigmoid"), NORM, norm_at=("in",))
TEXT_SPEC = Spec(
    vocab=49408,
    dim=512,
    embedding=Embedding(512, LearnedPositions(77)),
    encoder=Stack(12, (TEXT_BLOCK,), causal=True, final_norm=NORM),
)
BUFFERS = (r"(.*\.)?embeddings\.position_ids",)

FAMILY = Family(
    model_type="clip",
    template=replace(TEXT_SPEC, vision=replace(VISION, temperature=True)),
    rules=(
        Nested("text_config", TEXT_RULES),
        Nested("vision_config", VISION_RULES),
        Repeated("text_config_dict", "text_config"),
        Repeated("vision_config_dict", "vision_config"),
        key("projection_dim", "[heads vision.heads].embed.outputs", default=512),
    ),
    rows=(
        *text_rows("text_model."),
        *vision_rows("vision_model.", "vision.heads.pool"),
        Row("[text visual]_projection", "[heads vision.heads].embed"),
        Row("logit_scale", "vision.logit_scale"),
    ),
    architectures={"CLIPModel": Architecture((READ, EMBED), image_heads=(SEEN, EMBED))},
    unused=BUFFERS,
)
