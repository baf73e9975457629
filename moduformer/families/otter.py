"""Otter and OpenFlamingo (Li et al. 2023, arXiv 2305.03726; Awadalla et al. 2023, arXiv 2308.01390).

CLIP's patches, resampled to 64 vectors; between the layers of a LLaMA or an MPT, gated cross-attention to one image.
MultiModal-GPT (Gong et al. 2023, arXiv 2305.04790) is OpenFlamingo-9B with LoRA, and looks at the next image.
"""

from dataclasses import dataclass, replace
from typing import Any

from moduformer.architecture import Attention, FeedForward, GatedCrossAttention, Norm, Resampler, Stack
from moduformer.errors import CheckpointError
from moduformer.families.clip import SEEN, VISION, VISION_RULES, vision_rows
from moduformer.families.family import Family
from moduformer.families.llama import FAMILY as LLAMA
from moduformer.families.mpt import FAMILY as MPT
from moduformer.families.vision_language import compose, text_kind
from moduformer.weights.config import Config, Get, Multiple, Nested, Only, Rule, key
from moduformer.weights.plan import Row

NORM = Norm(eps=1e-5)
LOOK = Attention(8, 64, 8, bias=False, out_bias=False)
GATED = GatedCrossAttention(LOOK, FeedForward(16384, bias=False), NORM)
LATENTS = Resampler(64, 768, 6, LOOK, FeedForward(3072, bias=False), NORM, final_norm=NORM, projected=False)
BRIDGE = "vision.bridge"


@dataclass(frozen=True)
class Every:
    """One layer in so many, the last of them, has gated cross-attention before it."""

    text: Family

    def read(self, config: Config) -> dict[str, Any]:
        """The pattern of blocks."""
        every = config.get("cross_attn_every_n_layers", 4)
        if not isinstance(every, int) or isinstance(every, bool) or not 0 < every <= 1000:
            raise CheckpointError(f"config.json: cross_attn_every_n_layers is {every!r:.80}, not a number of layers")
        return {f"decoder.{name}": value for name, value in self.pattern(every).items()}

    def pattern(self, every: int) -> dict[str, Any]:
        """The field of a stack whose blocks these are."""
        assert isinstance(self.text.template.decoder, Stack)
        plain = self.text.template.decoder.pattern[0]
        return {"pattern": (*[plain] * (every - 1), replace(plain, gated_cross_attention=GATED))}

    def write(self, get: Get) -> dict[str, Any]:
        """The length of the pattern."""
        return {"cross_attn_every_n_layers": len(get("decoder.pattern"))}


def gate_rows(stack: str) -> tuple[Row, ...]:
    """The rows of a decoder's gated layers."""
    file, name = f"lang_encoder.{stack}.{{i}}.gated_cross_attn_layer", "decoder.{i}.gated_cross_attention"
    return (
        Row(f"{file}.[attn ff]_gate", f"{name}.[attention feed_forward]_gate"),
        Row(f"{file}.attn.[norm to_q to_kv to_out]", f"{name}.attention[_norm .q .kv .out]"),
        Row(f"{file}.feed_forward.[0 1 3]", f"{name}.feed_forward[_norm .up .down]"),
    )


RESAMPLER_ROWS = (
    Row("perceiver.[latents norm]", f"{BRIDGE}.[queries norm]"),
    Row("perceiver.layers.{i}.norm_[media latents]", f"{BRIDGE}.layers.{{i}}.[image query]_norm"),
    Row("perceiver.layers.{i}.to_[q kv out]", f"{BRIDGE}.layers.{{i}}.attention.[q kv out]"),
    Row("perceiver.layers.{i}.feed_forward.[0 1 3]", f"{BRIDGE}.layers.{{i}}.feed_forward[_norm .up .down]"),
)


@dataclass(frozen=True)
class Text:
    """A language model between whose layers images are looked at: its class, its layers, its width and `<image>`."""

    family: Family
    architecture: str
    stack: str
    dim: tuple[str, int]
    image_token: int


TEXTS = {
    "llama": Text(LLAMA, "LlamaForCausalLM", "model.layers", ("hidden_size", 4096), 32001),
    "mpt": Text(MPT, "MPTForCausalLM", "transformer.blocks", ("d_model", 2048), 50278),
}
"""The language models, by the `model_type` of `text_config`."""

# OpenFlamingo's own files number the parts of a layer of the resampler.
OLDER = (
    *((f"perceiver.layers.{i}.0.", f"perceiver.layers.{i}.") for i in range(LATENTS.layers)),
    *((f"perceiver.layers.{i}.1.", f"perceiver.layers.{i}.feed_forward.") for i in range(LATENTS.layers)),
    (".gated_cross_attn_layer.ff.", ".gated_cross_attn_layer.feed_forward."),
)


def _with_text(model_type: str, text: Text) -> Family:
    wide = Multiple(None, text.dim[0], ("decoder.pattern.*.gated_cross_attention.feed_forward.width",), text.dim[1])
    rules: tuple[Rule, ...] = (
        Every(text.family),
        Nested("text_config", (*text.family.rules, wide)),
        Nested(
            "vision_config",
            (
                *VISION_RULES,
                key("hidden_size", f"{BRIDGE}.dim", default=768),
                Multiple(None, "hidden_size", (f"{BRIDGE}.feed_forward.width",), 768),
            ),
        ),
        key("media_token_id", "vision.image_token", default=text.image_token),
        key("only_attend_previous", "vision.visible", default=True, table={True: "last", False: "next"}),
        Only("max_num_frames", (None,)),
    )
    rows = tuple(replace(row, file=row.file.replace("{i}.", "{i}.decoder_layer.")) for row in text.family.rows)
    plain = text.family.template
    assert plain.decoder is not None
    vision = replace(VISION, bridge=LATENTS, class_kept=False, injection="cross", image_token=text.image_token)
    gated = replace(plain, decoder=replace(plain.decoder, **Every(text.family).pattern(4)), vision=vision)
    made = compose(
        replace(text.family, template=gated, rows=rows),
        text.architecture,
        vision,
        model_type=model_type,
        name=model_type.capitalize(),
        lead="lang_encoder.",
        rules=(),
        rows=(
            *gate_rows(text.stack),
            *vision_rows("vision_encoder.vision_model.", "vision.heads.pool"),
            *RESAMPLER_ROWS,
        ),
        image_heads=(SEEN,),
        older_names=OLDER,
        variant=lambda config: _with_text(model_type, TEXTS[text_kind(config, TEXTS, "llama")]),
    )
    # Not the key above but the language model's own config says whether its tables are tied.
    return replace(made, rules=rules)


FAMILIES = {model_type: _with_text(model_type, TEXTS["llama"]) for model_type in ("otter", "flamingo")}
