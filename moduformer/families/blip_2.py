"""BLIP-2 (Li et al. 2023, arXiv 2301.12597): a ViT-g, a Q-Former whose queries look at its patches, and a language
model in whose text the queries stand."""

from dataclasses import replace

from moduformer.architecture import Norm, QFormer
from moduformer.families import qformer
from moduformer.families.blip import vision_rows
from moduformer.families.family import Family
from moduformer.families.image_encoder import ATTENTION, tower, tower_rules
from moduformer.families.llama import FAMILY as LLAMA
from moduformer.families.opt import FAMILY as OPT
from moduformer.families.qformer import BRIDGE
from moduformer.families.t5 import FAMILY as T5
from moduformer.families.vision_language import compose, text_kind
from moduformer.weights.config import Nested, Only, Rule, key
from moduformer.weights.plan import Row

VISION = replace(tower(Norm(eps=1e-6), 224, 14), bridge=qformer.QUERIES, injection="tokens", image_token=50265)
VISION_RULES: tuple[Rule, ...] = (
    *tower_rules(1408, 39, 16, 6144, 224, 14, 1e-6),
    key("qkv_bias", f"{ATTENTION}.bias", default=True),
)

TEXTS = {
    "opt": (OPT, "OPTForCausalLM"),
    "t5": (T5, "T5ForConditionalGeneration"),
    "llama": (LLAMA, "LlamaForCausalLM"),
}
"""The language models behind a Q-Former, by the `model_type` of `text_config`."""


def member(
    model_type: str, name: str, bridge: QFormer, rules: tuple[Rule, ...], rows: tuple[Row, ...], text: str = "opt"
) -> Family:
    """BLIP-2 or InstructBLIP before a language model; `rules` and `rows` are those of its Q-Former."""
    return compose(
        *TEXTS[text],
        replace(VISION, bridge=bridge),
        model_type=model_type,
        name=name,
        rules=(
            Nested("vision_config", VISION_RULES),
            Nested("qformer_config", rules),
            key("num_query_tokens", f"{BRIDGE}.queries", default=32),
            key("image_token_index", "vision.image_token"),
        ),
        rows=(
            *vision_rows(),
            *qformer.rows("qformer.encoder.layer.{i}", "attention"),
            *rows,
            Row("language_projection", f"{BRIDGE}.projection"),
        ),
        variant=lambda config: member(model_type, name, bridge, rules, rows, text_kind(config, TEXTS, "opt")),
    )


RULES = (*qformer.RULES, Only("use_qformer_text_input", (False,)))
FAMILY = member("blip-2", "Blip2", qformer.QUERIES, RULES, (Row("qformer.layernorm", f"{BRIDGE}.norm"),))
