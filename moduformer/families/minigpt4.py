"""MiniGPT-4 and VPGTrans (Zhu et al. 2023, arXiv 2304.10592; Zhang et al. 2023, arXiv 2305.01278).

BLIP-2's ViT-g and Q-Former, and one linear layer into a Vicuna. The version on Llama-2 has no Q-Former: four patches
beside each other go into the linear layer. VPGTrans is a way of training the same network.
"""

from dataclasses import replace

from moduformer.architecture import Norm, Projector
from moduformer.errors import CheckpointError
from moduformer.families import qformer
from moduformer.families.blip_2 import RULES, VISION, VISION_RULES
from moduformer.families.family import Family
from moduformer.families.image_encoder import CLASS_TOKEN, POSITIONS
from moduformer.families.llama import FAMILY as LLAMA
from moduformer.families.qformer import BRIDGE
from moduformer.families.vision_language import compose
from moduformer.weights.config import Config, Nested, Only, Rule, key
from moduformer.weights.plan import Row

EYE, SEEN = "visual_encoder.blocks.{i}", "vision.stack.{i}"


# EVA's keys have no bias.
PLAIN = VISION.stack.pattern[0]
LN_VISION = Norm(eps=1e-5)
BLOCK = replace(PLAIN, attention=replace(PLAIN.attention, key_bias=False))

EYE_ROWS = (
    Row("visual_encoder.cls_token", "vision.patches.class_token", CLASS_TOKEN),
    Row("visual_encoder.pos_embed", "vision.patches.positions.weight", POSITIONS),
    Row("visual_encoder.patch_embed.proj", "vision.patches.projection"),
    Row(f"{EYE}.norm[1 2]", f"{SEEN}.[attention feed_forward]_norm_in"),
    Row(f"{EYE}.attn.[qkv.weight q_bias v_bias]", f"{SEEN}.attention.[qkv.weight q.bias v.bias]"),
    Row(f"{EYE}.attn.proj", f"{SEEN}.attention.out"),
    Row(f"{EYE}.mlp.[fc1 fc2]", f"{SEEN}.feed_forward.[up down]"),
    Row("ln_vision", "vision.stack.norm"),
)
QFORMER_ROWS = (
    *qformer.rows("Qformer.bert.encoder.layer.{i}", "self"),
    Row("Qformer.bert.embeddings.LayerNorm", f"{BRIDGE}.norm"),
    Row("llama_proj", f"{BRIDGE}.projection"),
)
JOINED = Projector(joined=4)


def family(config: Config) -> Family:
    """The variant of a config: with a Q-Former, or four neighbouring patches joined. Raises `CheckpointError`."""
    asked = config.get("has_qformer", True)
    if not isinstance(asked, bool):
        raise CheckpointError(f"config.json: has_qformer is {asked!r:.80}, not true or false")
    return FAMILY if asked else WITHOUT_QFORMER


def _variant(asked: bool) -> Family:
    vision = replace(VISION, image_token=32000, stack=replace(VISION.stack, pattern=(BLOCK,), final_norm=LN_VISION))
    qformer: tuple[Rule, ...] = (
        Nested("qformer_config", RULES),
        key("num_query_tokens", f"{BRIDGE}.queries", default=32),
    )
    return compose(
        LLAMA,
        "LlamaForCausalLM",
        vision if asked else replace(vision, bridge=JOINED, class_kept=False),
        model_type="minigpt4",
        name="MiniGPT4",
        lead="llama_model.",
        rules=(
            Nested("vision_config", VISION_RULES),
            # The norm after the image encoder is not part of it, and has the usual eps.
            key("ln_vision_eps", "vision.stack.final_norm.eps", default=1e-5),
            key("image_token_index", "vision.image_token", default=32000),
            *(qformer if asked else (Only("has_qformer", (False,), written=True),)),
        ),
        rows=EYE_ROWS + (QFORMER_ROWS if asked else (Row("llama_proj", f"{BRIDGE}.first"),)),
        variant=family,
    )


FAMILY, WITHOUT_QFORMER = _variant(True), _variant(False)
