"""Small specs of every kind of model, and models whose every parameter is random."""

from dataclasses import replace
from typing import Any

import torch

from moduformer.architecture import (
    Attention,
    Block,
    Embedding,
    FeedForward,
    GatedCrossAttention,
    LearnedPositions,
    Norm,
    Projector,
    QFormer,
    Resampler,
    Spec,
    Stack,
)
from moduformer.families import family
from moduformer.model import Model


def _small(model_type: str, architecture: str, **config: Any) -> Spec:
    return family(model_type).read(config, architecture)


_BERT = {
    "vocab_size": 40,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 48,
}
_LLAMA = {
    "vocab_size": 40,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "intermediate_size": 24,
}
SPECS: dict[str, Spec] = {
    "bert": _small("bert", "BertForSequenceClassification", **_BERT),
    "roberta": _small("roberta", "RobertaForMaskedLM", **{**_BERT, "pad_token_id": 1}),
    "gpt2": _small("gpt2", "GPT2LMHeadModel", vocab_size=40, n_embd=16, n_layer=2, n_head=2, n_positions=48),
    "gpt_neox": _small(
        "gpt_neox",
        "GPTNeoXForCausalLM",
        vocab_size=40,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
    ),
    "llama": _small("llama", "LlamaForCausalLM", **_LLAMA),
    "t5": _small(
        "t5",
        "T5ForConditionalGeneration",
        vocab_size=40,
        d_model=16,
        d_kv=6,
        d_ff=24,
        num_layers=2,
        num_heads=2,
        relative_attention_num_buckets=8,
        relative_attention_max_distance=12,
    ),
    "transformer": _small(
        "transformer",
        "TransformerForConditionalGeneration",
        vocab_size=40,
        d_model=16,
        num_heads=2,
        d_ff=24,
        encoder_layers=2,
        decoder_layers=2,
    ),
}
SPECS = {name: replace(spec, pad_id=0 if spec.pad_id is None else spec.pad_id) for name, spec in SPECS.items()}

_EYE = {"num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24, "image_size": 8, "patch_size": 4}
_VISION = replace(
    _small("clip_vision_model", "CLIPVisionModel", hidden_size=16, **_EYE).vision, injection="tokens", image_token=38
)
_LOOK = Attention(2, 8, 2)
_QUERIES = Stack(2, (Block(_LOOK, FeedForward(24), cross_attention=_LOOK), Block(_LOOK, FeedForward(24))))
_ASKED = Embedding(12, LearnedPositions(40))
_RESAMPLED = Resampler(3, 16, 2, _LOOK, FeedForward(24), Norm(), final_norm=Norm(), projected=False)

_GATED = replace(SPECS["llama"].decoder.pattern[0], gated_cross_attention=GatedCrossAttention(_LOOK, FeedForward(20)))
SEEING: dict[str, Spec] = {
    "vit": _small("vit", "ViTForImageClassification", hidden_size=16, **_EYE),
    "clip": _small(
        "clip",
        "CLIPModel",
        text_config={**_BERT, "hidden_size": 12, "eos_token_id": 3},
        vision_config={**_EYE, "hidden_size": 16},
        projection_dim=10,
    ),
    "blip": _small("blip", "BlipForImageTextRetrieval", text_config=_BERT, vision_config={**_EYE, "hidden_size": 20}),
    "projected": replace(SPECS["llama"], vision=replace(_VISION, bridge=Projector(), class_kept=False)),
    "asked": replace(SPECS["llama"], vision=replace(_VISION, bridge=QFormer(3, 12, _QUERIES, Norm(), _ASKED, 40))),
    "resampled": replace(SPECS["llama"], vision=replace(_VISION, bridge=replace(_RESAMPLED, projected=True))),
    "gated": replace(
        SPECS["llama"],
        decoder=replace(SPECS["llama"].decoder, pattern=(_GATED,)),
        vision=replace(_VISION, bridge=_RESAMPLED, injection="cross"),
    ),
}


def randomise(model: Model, seed: int) -> Model:
    """Draws every parameter anew: zeros and ones of a new model hide swapped norms and dropped biases."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            scale = 0.5 if parameter.dim() <= 1 else 0.8 / parameter.shape[-1] ** 0.5
            parameter.normal_(std=scale, generator=generator)
    return model
