"""BLIP-2 and InstructBLIP (Li et al. 2023, arXiv 2301.12597; Dai et al. 2023, arXiv 2305.06500).

A ViT-g, a Q-Former whose queries look at its patches, and a language model in whose text the queries stand.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from moduformer.architecture import Attention, Block, Embedding, FeedForward, LearnedPositions, Norm, QFormer, Stack
from moduformer.errors import CheckpointError
from moduformer.families.blip import layers, vision_rows
from moduformer.families.family import Family
from moduformer.families.llama import FAMILY as LLAMA
from moduformer.families.opt import FAMILY as OPT
from moduformer.families.t5 import FAMILY as T5
from moduformer.families.vision_language import compose
from moduformer.families.vit import tower, tower_rules
from moduformer.weights.config import ACTIVATIONS, Config, Get, HeadSize, Nested, Only, Rule, key
from moduformer.weights.plan import Row
from moduformer.weights.views import Axes

SEEING, BRIDGE = "vision.stack.pattern.*", "vision.bridge"
ASKING = f"{BRIDGE}.stack.pattern.*"
ATTENTIONS = (f"{ASKING}.attention", f"{ASKING}.cross_attention")
BERT = Attention(12, 64, 12)
LOOKING = Block(BERT, FeedForward(3072), cross_attention=BERT)


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


VISION_RULES: tuple[Rule, ...] = (
    *tower_rules(1408, 39, 16, 6144, 224, 14, 1e-6),
    key("hidden_act", f"{SEEING}.feed_forward.activation", default="gelu", table=ACTIVATIONS),
    key("attention_dropout", f"{SEEING}.attention.dropout", default=0.0),
    key("qkv_bias", f"{SEEING}.attention.bias", default=True),
)
QFORMER_RULES: tuple[Rule, ...] = (
    Frequency(),
    key("hidden_size", f"{BRIDGE}.dim", f"{BRIDGE}.text.width", default=768),
    key("num_hidden_layers", f"{BRIDGE}.stack.layers", default=12),
    key("num_attention_heads", *(f"{part}.{n}" for part in ATTENTIONS for n in ("heads", "kv_heads")), default=12),
    HeadSize("hidden_size", "num_attention_heads", tuple(f"{part}.head_dim" for part in ATTENTIONS), (768, 12)),
    key("intermediate_size", f"{ASKING}.feed_forward.width", default=3072),
    key("hidden_act", f"{ASKING}.feed_forward.activation", default="gelu", table=ACTIVATIONS),
    key("layer_norm_eps", f"{ASKING}.norm.eps", f"{BRIDGE}.norm.eps", default=1e-12),
    key("hidden_dropout_prob", f"{ASKING}.dropout", f"{BRIDGE}.text.dropout", default=0.1),
    key("attention_probs_dropout_prob", *(f"{part}.dropout" for part in ATTENTIONS), default=0.1),
    Only("use_qformer_text_input", (False,)),
)
INSTRUCTION_RULES: tuple[Rule, ...] = (
    *(rule for rule in QFORMER_RULES if getattr(rule, "name", "") != "use_qformer_text_input"),
    key("vocab_size", f"{BRIDGE}.vocab", default=30522),
    key("max_position_embeddings", f"{BRIDGE}.text.positions.max", default=512),
)

FILE, NAME = "qformer.encoder.layer.{i}", f"{BRIDGE}.stack.{{i}}"
ROWS = (
    *vision_rows(),
    Row("query_tokens", f"{BRIDGE}.queries", Axes("() q d", "q d")),
    *layers(FILE, NAME, "attention"),
    Row(f"{FILE}.[intermediate output]_query.dense", f"{NAME}.feed_forward.[up down]"),
    Row(f"{FILE}.output_query.LayerNorm", f"{NAME}.feed_forward_norm_res"),
    Row("language_projection", f"{BRIDGE}.projection"),
)
INSTRUCTION_ROWS = (
    Row("qformer.embeddings.word_embeddings", f"{BRIDGE}.text.tokens"),
    Row("qformer.embeddings.position_embeddings", f"{BRIDGE}.text.positions"),
    Row("qformer.embeddings.layernorm", f"{BRIDGE}.norm"),
    Row(f"{FILE}.[intermediate output].dense", f"{NAME}.text_feed_forward.[up down]"),
    Row(f"{FILE}.output.LayerNorm", f"{NAME}.text_feed_forward_norm_res"),
)

QUERIES = QFormer(32, 768, Stack(12, (LOOKING, replace(LOOKING, cross_attention=None))), Norm())
VISION = replace(tower(Norm(eps=1e-6), 224, 14), bridge=QUERIES, injection="tokens", image_token=50265)
ASKED = replace(QUERIES, text=Embedding(768, LearnedPositions(512)), vocab=30522)

TEXTS = {
    "opt": (OPT, "OPTForCausalLM"),
    "t5": (T5, "T5ForConditionalGeneration"),
    "llama": (LLAMA, "LlamaForCausalLM"),
}
"""The language models behind a Q-Former, by the `model_type` of `text_config`."""


def family(model_type: str, config: Config) -> Family:
    """The family of a config, by its language model. Raises `CheckpointError` for one that is not here."""
    given = config.get("text_config") or {}
    text = given.get("model_type", "opt") if isinstance(given, Mapping) else given
    if not isinstance(text, str) or text not in TEXTS:
        raise CheckpointError(f"config.json: text_config.model_type is {text!r:.80}; supported: {', '.join(TEXTS)}")
    return _with_text(model_type, text)


def _with_text(model_type: str, text: str) -> Family:
    asked = model_type == "instructblip"
    return compose(
        *TEXTS[text],
        replace(VISION, bridge=ASKED) if asked else VISION,
        model_type=model_type,
        name="InstructBlip" if asked else "Blip2",
        rules=(
            Nested("vision_config", VISION_RULES),
            Nested("qformer_config", INSTRUCTION_RULES if asked else QFORMER_RULES),
            key("num_query_tokens", f"{BRIDGE}.queries", default=32),
            key("image_token_index", "vision.image_token"),
        ),
        rows=ROWS + (INSTRUCTION_ROWS if asked else (Row("qformer.layernorm", f"{BRIDGE}.norm"),)),
        variant=partial(family, model_type),
    )


FAMILIES = {model_type: _with_text(model_type, "opt") for model_type in ("blip-2", "instructblip")}
