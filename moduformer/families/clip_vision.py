"""CLIP's image encoder alone (Radford et al. 2021, arXiv 2103.00020)."""

from moduformer.architecture import Embedding, Spec
from moduformer.families.clip import BUFFERS, EMBED, SEEN, VISION, VISION_RULES, vision_rows
from moduformer.families.family import Architecture, Family
from moduformer.weights.config import key
from moduformer.weights.plan import Row

FAMILY = Family(
    model_type="clip_vision_model",
    template=Spec(vocab=0, dim=768, embedding=Embedding(768), vision=VISION),
    rules=(
        *VISION_RULES,
        key("hidden_size", "dim", "embedding.width", default=768),
        key("projection_dim", "heads.embed.outputs", default=512),
    ),
    rows=(*vision_rows("", "heads.pool"), Row("visual_projection", "heads.embed", head=True)),
    architectures={
        "CLIPVisionModel": Architecture((SEEN,), prefix=""),
        "CLIPVisionModelWithProjection": Architecture((SEEN, EMBED)),
    },
    prefix="vision_model.",
    unused=BUFFERS,
)
