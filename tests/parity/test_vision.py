"""Families that see, against `transformers`: same files in, same numbers out, same files back, same greedy texts."""

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from moduformer.errors import CheckpointError, TextError
from moduformer.families import spec
from moduformer.model import Model
from moduformer.weights.checkpoint import load_checkpoint

transformers.logging.set_verbosity_error()

VOCAB, IMAGE_TOKEN, BOS, SEP = 61, 60, 58, 59
Rng = random.Random


def eye(rng: Rng, **more: Any) -> dict[str, Any]:
    """A small image encoder."""
    heads = rng.choice((1, 2, 4))
    return {
        "hidden_size": heads * rng.choice((4, 6, 8)),
        "num_hidden_layers": rng.choice((2, 3)),
        "num_attention_heads": heads,
        "intermediate_size": rng.choice((20, 32)),
        "image_size": rng.choice((8, 9, 12)),
        "patch_size": rng.choice((3, 4)),
        "hidden_act": rng.choice(("gelu", "quick_gelu", "relu")),
        "layer_norm_eps": rng.choice((1e-5, 1e-3)),
        **more,
    }


def _vit(rng: Rng) -> Any:
    more = {
        "qkv_bias": rng.random() < 0.5,
        "num_channels": rng.choice((1, 3)),
        "pooler_act": rng.choice(("tanh", "relu")),
    }
    return transformers.ViTConfig(**eye(rng, **more))


def _clip_vision(rng: Rng) -> Any:
    return transformers.CLIPVisionConfig(**eye(rng, projection_dim=10, num_channels=rng.choice((1, 3))))


def _clip_text(rng: Rng) -> Any:
    heads = rng.choice((1, 2))
    return transformers.CLIPTextConfig(
        vocab_size=VOCAB,
        hidden_size=heads * 6,
        num_hidden_layers=rng.choice((1, 2)),
        num_attention_heads=heads,
        intermediate_size=20,
        projection_dim=10,
        max_position_embeddings=20,
        hidden_act=rng.choice(("gelu", "quick_gelu")),
        layer_norm_eps=rng.choice((1e-5, 1e-3)),
        eos_token_id=rng.choice((2, SEP)),
    )


def _clip(rng: Rng) -> Any:
    text, vision = _clip_text(rng).to_dict(), _clip_vision(rng).to_dict()
    return transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=rng.choice((6, 10)))


def _blip(rng: Rng, same: bool = False) -> Any:
    heads = rng.choice((1, 2))
    text = {
        "vocab_size": VOCAB,
        "hidden_size": heads * 8,
        "num_hidden_layers": rng.choice((1, 2)),
        "num_attention_heads": heads,
        "intermediate_size": 24,
        "max_position_embeddings": 40,
        "hidden_act": rng.choice(("gelu", "relu")),
        "layer_norm_eps": rng.choice((1e-12, 1e-3)),
        "bos_token_id": BOS,
        "sep_token_id": SEP,
    }
    vision = eye(rng)
    if same:
        vision |= {"hidden_size": heads * 8, "num_attention_heads": 2}
    return transformers.BlipConfig(text_config=text, vision_config=vision, image_text_hidden_size=rng.choice((6, 9)))


def _vqa(rng: Rng) -> Any:
    return _blip(rng, same=True)  # the decoder's keys are made for the image's width, but of the question's states


def _t5(rng: Rng) -> Any:
    kind = rng.choice(("relu", "gated-gelu"))
    sizes = {"d_model": 12, "d_kv": 4, "d_ff": 20, "num_layers": 2, "num_heads": 2, "vocab_size": VOCAB}
    return transformers.T5Config(
        **sizes, feed_forward_proj=kind, tie_word_embeddings=kind == "relu", decoder_start_token_id=0
    )


def _opt(rng: Rng) -> Any:
    sizes = {"hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 2, "ffn_dim": 20, "vocab_size": VOCAB}
    return transformers.OPTConfig(**sizes, word_embed_proj_dim=12, max_position_embeddings=50, pad_token_id=1)


def _llama(rng: Rng) -> Any:
    sizes = {"hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 20}
    return transformers.LlamaConfig(**sizes, vocab_size=VOCAB, num_key_value_heads=rng.choice((1, 2)), pad_token_id=0)


def _asking(cls: str, *texts: Callable[[Rng], Any]) -> Callable[[Rng], Any]:
    def draw(rng: Rng) -> Any:
        heads = rng.choice((1, 2))
        qformer = {
            "hidden_size": heads * 8,
            "num_hidden_layers": rng.choice((1, 2, 3)),
            "num_attention_heads": heads,
            "intermediate_size": 24,
            "vocab_size": VOCAB,
            "max_position_embeddings": 20,
            "cross_attention_frequency": rng.choice((1, 2)),
            "layer_norm_eps": rng.choice((1e-12, 1e-3)),
        }
        return getattr(transformers, cls)(
            vision_config=eye(rng, qkv_bias=rng.random() < 0.6),
            qformer_config=qformer,
            text_config=rng.choice(texts)(rng).to_dict(),
            num_query_tokens=rng.choice((2, 3)),
            image_token_index=IMAGE_TOKEN,
        )

    return draw


def _llava(rng: Rng) -> Any:
    return transformers.LlavaConfig(
        vision_config={**_clip_vision(rng).to_dict(), "num_channels": 3, "model_type": "clip_vision_model"},
        text_config=_llama(rng).to_dict(),
        image_token_index=IMAGE_TOKEN,
        vision_feature_layer=rng.choice((-2, -1, 1)),
        vision_feature_select_strategy=rng.choice(("default", "full")),
        projector_hidden_act=rng.choice(("gelu", "relu")),
        multimodal_projector_bias=rng.random() < 0.7,
    )


@dataclass(frozen=True)
class Seeing:
    """A class of a family, a draw of its config, and what it is given."""

    name: str
    draw: Callable[[Rng], Any]
    takes: tuple[str, ...]
    double: float = 1e-9


CAPTION = ("pixels", "text")
CLASSES = (
    Seeing("ViTModel", _vit, ("pixels",), 1e-6),  # its softmax is in float32, as that of CLIP
    Seeing("ViTForImageClassification", _vit, ("pixels",), 1e-6),
    Seeing("CLIPVisionModel", _clip_vision, ("pixels",), 1e-5),
    Seeing("CLIPVisionModelWithProjection", _clip_vision, ("pixels",), 1e-5),
    Seeing("CLIPTextModel", _clip_text, ("text",), 1e-5),
    Seeing("CLIPTextModelWithProjection", _clip_text, ("text",), 1e-5),
    Seeing("CLIPModel", _clip, CAPTION, 1e-5),
    Seeing("BlipForConditionalGeneration", _blip, CAPTION),
    Seeing("BlipForQuestionAnswering", _vqa, (*CAPTION, "target")),
    Seeing("BlipForImageTextRetrieval", _blip, CAPTION),
    Seeing("Blip2ForConditionalGeneration", _asking("Blip2Config", _t5, _opt), (*CAPTION, "target"), 1e-5),
    Seeing(
        "InstructBlipForConditionalGeneration",
        _asking("InstructBlipConfig", _t5, _llama),
        (*CAPTION, "target", "instruction"),
        1e-5,
    ),
    Seeing("LlavaForConditionalGeneration", _llava, CAPTION, 1e-5),
)
DRAWS = (1, 2, 3, 4)


def make(seeing: Seeing, seed: int, dtype: torch.dtype = torch.float32) -> Any:
    """A reference model with every parameter drawn at random."""
    config = seeing.draw(random.Random(f"{seeing.name}-{seed}"))
    if seeing.name == "ViTForImageClassification":
        config.num_labels = 3
    config._attn_implementation = "eager"
    model = getattr(transformers, seeing.name)(config).to(dtype).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            scale = 0.5 if parameter.dim() <= 1 else 0.8 / parameter[0].numel() ** 0.5
            parameter.normal_(std=scale, generator=generator)
    return model


def given(seeing: Seeing, model: Any, ours: Model, seed: int, padded: bool) -> dict[str, torch.Tensor]:
    """Four images and what else a class takes; texts of different lengths where `padded`."""
    generator = torch.Generator().manual_seed(seed)
    found: dict[str, torch.Tensor] = {}
    dtype = next(model.parameters()).dtype
    if "pixels" in seeing.takes:
        patches = ours.spec.vision.patches
        shape = (4, patches.channels, patches.image, patches.image)
        found["pixel_values"] = torch.randn(shape, generator=generator).to(dtype)
    if "text" in seeing.takes:
        ids = torch.randint(3, BOS, (4, 9), generator=generator)
        lengths = torch.tensor([9, 5, 9, 7] if padded else [9] * 4)
        real = torch.arange(9) < lengths[:, None]
        ids[torch.arange(4), lengths - 1] = SEP
        ids = ids.masked_fill(~real, 0)
        if ours.spec.vision is not None and ours.spec.vision.image_token is not None:
            image = torch.full((4, ours.spec.image_tokens), IMAGE_TOKEN)
            ids, real = torch.cat((ids[:, :1], image, ids[:, 1:]), 1), torch.cat((image > 0, real), 1)
        found["input_ids"] = ids
        if padded:
            found["attention_mask"] = real.long()
    if "target" in seeing.takes and ours.encoder is not None:
        found["decoder_input_ids"] = torch.randint(3, BOS, (4, 5), generator=generator)
    if "instruction" in seeing.takes:
        found["qformer_input_ids"] = torch.randint(3, BOS, (4, 6), generator=generator)
        found["qformer_attention_mask"] = (torch.arange(6) < torch.tensor([4, 6, 2, 6])[:, None]).long()
    return found


def outputs(seeing: Seeing, model: Any, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What the reference computes; the answers' logits, which a class keeps to itself, are read on their way."""
    kept: dict[str, torch.Tensor] = {}
    if seeing.name == "BlipForQuestionAnswering":
        model.text_decoder.register_forward_hook(lambda module, args, out: kept.update(logits=out.logits))
    with torch.no_grad():
        out = model(**inputs)
    found = {name: value for name, value in out.items() if isinstance(value, torch.Tensor)} | kept
    if "Blip" in seeing.name:  # there, these are the image's
        found = {name: value for name, value in found.items() if name in ("logits", "itm_score")}
    return found


def error(ours: Model, theirs: dict[str, torch.Tensor], inputs: dict[str, torch.Tensor]) -> float:
    """The largest error relative to the largest value, over all outputs both have, at real tokens."""
    with torch.no_grad():
        out = ours(**inputs)
    errors, mask = [], inputs.get("attention_mask")
    for name, expected in theirs.items():
        if name not in out.keys() or name == "image_hidden_states":  # noqa: SIM118
            continue
        found = out[name]
        if mask is not None and expected.dim() == 3 and expected.shape[:2] == mask.shape:
            found, expected = found[mask.bool()], expected[mask.bool()]
        assert found.shape == expected.shape, name
        errors.append(float((found - expected).abs().max() / expected.abs().max()))
    assert errors
    return max(errors)


@pytest.mark.parametrize("seed", DRAWS)
@pytest.mark.parametrize("seeing", [pytest.param(seeing, id=seeing.name) for seeing in CLASSES])
def test_same_numbers_and_same_files(seeing: Seeing, seed: int, tmp_path: Path, seen: Callable[..., None]) -> None:
    theirs = make(seeing, seed)
    theirs.save_pretrained(tmp_path / "theirs")
    ours = load_checkpoint(tmp_path / "theirs")
    for padded in (False, True):
        if padded and seeing.name == "BlipForQuestionAnswering":
            continue  # the reference's decoder looks at the padding of questions
        inputs = given(seeing, theirs, ours, seed, padded)
        found = error(ours, outputs(seeing, theirs, inputs), inputs)
        assert found <= 1e-5
        seen(theirs.config.model_type, type(theirs).__name__, found)
    again = ours.save(tmp_path / "ours")
    assert (again / "model.safetensors").read_bytes() == (tmp_path / "theirs/model.safetensors").read_bytes()
    assert ours.num_parameters() == ours.spec.num_parameters()
    back = type(theirs).from_pretrained(again, attn_implementation="eager").eval()
    inputs = given(seeing, theirs, ours, seed, False)
    expected, found = outputs(seeing, theirs, inputs), outputs(seeing, back, inputs)
    assert all(torch.allclose(found[name], expected[name], atol=1e-6) for name in expected)


@pytest.mark.parametrize("seeing", [pytest.param(seeing, id=seeing.name) for seeing in CLASSES])
def test_double_precision(seeing: Seeing, tmp_path: Path, seen: Callable[..., None]) -> None:
    theirs = make(seeing, 5, torch.float64)
    theirs.save_pretrained(tmp_path)
    ours = load_checkpoint(tmp_path, dtype=torch.float64)
    inputs = given(seeing, theirs, ours, 5, False)
    found = error(ours, outputs(seeing, theirs, inputs), inputs)
    assert found <= seeing.double
    seen(theirs.config.model_type, type(theirs).__name__, found, "float64")


@pytest.mark.parametrize("seed", DRAWS)
def test_retrieval_compares_embeddings_without_its_matching_head(seed: int, tmp_path: Path) -> None:
    seeing = next(seeing for seeing in CLASSES if seeing.name.endswith("Retrieval"))
    theirs = make(seeing, seed)
    theirs.save_pretrained(tmp_path)
    ours = load_checkpoint(tmp_path)
    inputs = given(seeing, theirs, ours, seed, True)
    inputs["pixel_values"] = inputs["pixel_values"][:3]
    with torch.no_grad():
        expected = theirs(**inputs, use_itm_head=False).itm_score
        found = ours(**inputs, use_itm_head=False).itm_score
    assert found.shape == (3, 4)
    assert (found - expected).abs().max() <= 1e-5


WRITERS = [seeing for seeing in CLASSES if "Generation" in seeing.name or "Answering" in seeing.name]


@pytest.mark.parametrize("seed", DRAWS)
@pytest.mark.parametrize("seeing", [pytest.param(seeing, id=seeing.name) for seeing in WRITERS])
def test_greedy_texts(seeing: Seeing, seed: int, tmp_path: Path) -> None:
    theirs = make(seeing, seed)
    theirs.save_pretrained(tmp_path)
    ours = load_checkpoint(tmp_path)
    inputs = given(seeing, theirs, ours, seed, False)
    inputs.pop("decoder_input_ids", None)
    mine = dict(inputs)
    if seeing.name == "BlipForConditionalGeneration":
        # The reference puts the start token in the place of the first, and leaves out the last.
        mine["input_ids"] = torch.cat((torch.full((4, 1), BOS), inputs["input_ids"][:, 1:-1]), 1)
    expected = theirs.generate(**inputs, max_new_tokens=12, do_sample=False)
    found = ours.generate(**mine, max_new_tokens=12)
    width = min(found.shape[1], expected.shape[1])
    assert torch.equal(found[:, -width:], expected[:, -width:])


COUNTS = {
    "vit-base-patch16-224": 86_567_656,
    "vit-large-patch16-224": 304_326_632,
    "blip-image-captioning-base": 223_971_644,
    "blip-image-captioning-large": 446_290_492,
    "blip-vqa-base": 361_230_140,
    "blip-itm-base-coco": 223_744_258,
    "llava-7b-v1.1": 7_045_818_368,
    "llava-13b-v1.1": 13_324_322_816,
    "llava-v1.5-7b": 7_062_902_784,
    "llava-v1.5-13b": 13_350_839_296,
    "clip-vit-base-patch32": 151_277_313,
    "blip2-opt-2.7b": 3_744_679_936,
}


@pytest.mark.parametrize("name", COUNTS)
def test_published_sizes(name: str) -> None:
    assert spec(name).num_parameters() == COUNTS[name]


@pytest.mark.parametrize("part", ["text_config", "vision_config", "qformer_config"])
@pytest.mark.parametrize(
    "value", [3, "x", [1], True, {"model_type": []}, {"hidden_size": "x"}, {"num_hidden_layers": -1}]
)
def test_damaged_configs_are_refused(part: str, value: Any, tmp_path: Path) -> None:
    seeing = next(seeing for seeing in CLASSES if seeing.name.startswith("Blip2"))
    make(seeing, 1).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config[part] = value
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError):
        load_checkpoint(tmp_path)


def test_images_and_texts_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    seeing = CLASSES[-1]
    theirs = make(seeing, 1)
    theirs.save_pretrained(tmp_path)
    ours = load_checkpoint(tmp_path)
    inputs = given(seeing, theirs, ours, 1, False)
    with pytest.raises(TextError, match="images"):
        ours(input_ids=inputs["input_ids"], pixel_values=inputs["pixel_values"][:3])
    with pytest.raises(TextError, match="pixel_values must be"):
        ours(input_ids=inputs["input_ids"], pixel_values=inputs["pixel_values"][..., :-1])
    with pytest.raises(TextError, match="input_ids"):
        ours(pixel_values=inputs["pixel_values"])
