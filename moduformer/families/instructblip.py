"""InstructBLIP (Dai et al. 2023, arXiv 2305.06500): BLIP-2 whose queries read the instruction as well."""

from dataclasses import replace

from moduformer.architecture import Embedding, LearnedPositions
from moduformer.families import qformer
from moduformer.families.blip_2 import member
from moduformer.families.qformer import BRIDGE, NAME
from moduformer.weights.config import key
from moduformer.weights.plan import Row

RULES = (
    *qformer.RULES,
    key("vocab_size", f"{BRIDGE}.vocab", default=30522),
    key("max_position_embeddings", f"{BRIDGE}.text.positions.max", default=512),
)
FILE = "qformer.encoder.layer.{i}"
ROWS = (
    Row("qformer.embeddings.[word position]_embeddings", f"{BRIDGE}.text.[tokens positions]"),
    Row("qformer.embeddings.layernorm", f"{BRIDGE}.norm"),
    Row(f"{FILE}.[intermediate output].dense", f"{NAME}.text_feed_forward.[up down]"),
    Row(f"{FILE}.output.LayerNorm", f"{NAME}.text_feed_forward_norm_res"),
)
ASKED = replace(qformer.QUERIES, text=Embedding(768, LearnedPositions(512)), vocab=30522)
FAMILY = member("instructblip", "InstructBlip", ASKED, RULES, ROWS)
