"""CLIP's text encoder alone (Radford et al. 2021, arXiv 2103.00020)."""

from moduformer.families.clip import BUFFERS, EMBED, READ, TEXT_RULES, TEXT_SPEC, text_rows
from moduformer.families.family import Architecture, Family
from moduformer.weights.config import key
from moduformer.weights.plan import Row

FAMILY = Family(
    model_type="clip_text_model",
    template=TEXT_SPEC,
    rules=(*TEXT_RULES, key("projection_dim", "heads.embed.outputs", default=512)),
    rows=(*text_rows(""), Row("text_projection", "heads.embed", head=True)),
    architectures={
        "CLIPTextModel": Architecture((READ,), prefix=""),
        "CLIPTextModelWithProjection": Architecture((READ, EMBED)),
    },
    prefix="text_model.",
    unused=BUFFERS,
)
