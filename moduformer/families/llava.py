"""LLaVA (Liu et al. 2023, arXiv 2304.08485 and 2310.03744): CLIP's patches, projected, stand in a LLaMA's text."""

from dataclasses import dataclass, replace
from typing import Any

from moduformer.architecture import Projector
from moduformer.errors import CheckpointError
from moduformer.families.clip import SEEN, VISION, VISION_RULES, vision_rows
from moduformer.families.llama import FAMILY as LLAMA
from moduformer.families.vision_language import compose
from moduformer.weights.config import ACTIVATIONS, Config, Get, Nested, key
from moduformer.weights.plan import Row


@dataclass(frozen=True)
class FeatureLayer:
    """Which states of the image encoder are read, counted from the patches (0) or from the last layer (-1)."""

    def read(self, config: Config) -> dict[str, Any]:
        """How many layers are run."""
        layer, vision = config.get("vision_feature_layer", -2), config.get("vision_config") or {}
        layers = vision.get("num_hidden_layers", 12)
        if not isinstance(layer, int) or not isinstance(layers, int) or not -layers - 1 <= layer <= layers:
            raise CheckpointError(f"config.json: vision_feature_layer is {layer!r:.80}; one of {layers!r} is supported")
        return {"vision.depth": layer if layer >= 0 else layers + 1 + layer}

    def write(self, get: Get) -> dict[str, Any]:
        """The layer, counted from the last."""
        return {"vision_feature_layer": get("vision.depth") - get("vision.stack.layers") - 1}


@dataclass(frozen=True)
class ProjectorKind:
    """One linear layer (`mm_projector_type` "linear", as the first LLaVA says) or two with an activation between."""

    def read(self, config: Config) -> dict[str, Any]:
        """The activation, or None."""
        kind, activation = config.get("mm_projector_type", "mlp2x_gelu"), config.get("projector_hidden_act", "gelu")
        if kind not in ("linear", "mlp2x_gelu") or activation not in ACTIVATIONS:
            raise CheckpointError(f"config.json: a projector {kind!r:.80} with {activation!r:.80} is not supported")
        return {"vision.bridge.activation": None if kind == "linear" else ACTIVATIONS[activation]}

    def write(self, get: Get) -> dict[str, Any]:
        """The kind, and its activation where it has one."""
        activation = get("vision.bridge.activation")
        if activation is None:
            return {"mm_projector_type": "linear"}
        return {"projector_hidden_act": next(word for word, value in ACTIVATIONS.items() if value == activation)}


FAMILY = compose(
    LLAMA,
    "LlamaForCausalLM",
    replace(VISION, bridge=Projector("gelu"), class_kept=False, injection="tokens", image_token=32000),
    model_type="llava",
    name="Llava",
    rules=(
        Nested("vision_config", VISION_RULES),
        FeatureLayer(),
        ProjectorKind(),
        key("multimodal_projector_bias", "vision.bridge.bias", default=True),
        key("image_token_index", "vision.image_token", default=32000),
        key(
            "vision_feature_select_strategy",
            "vision.class_kept",
            default="default",
            table={"default": False, "full": True},
        ),
    ),
    rows=(
        *vision_rows("vision_tower.", "vision.heads.pool"),
        Row("multi_modal_projector.linear_[1 2]", "vision.bridge.[first second]"),
    ),
    image_heads=(SEEN,),
    older_names=(("vision_tower.vision_model.", "vision_tower."),),
)
