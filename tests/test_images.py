"""Pictures become the same pixel values as in `transformers`, and damage is refused by name."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from moduformer.errors import DataError
from moduformer.families import family
from moduformer.images import ImageProcessor
from moduformer.model import build

Image = pytest.importorskip("PIL.Image", reason="pictures need Pillow")

CONFIGS: list[dict[str, Any]] = [
    {"image_processor_type": "ViTImageProcessor"},
    {"image_processor_type": "ViTImageProcessor", "size": {"height": 30, "width": 20}, "resample": 0},
    {"image_processor_type": "CLIPImageProcessor"},
    {"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 50}, "crop_size": 64, "resample": 2},
    {
        "image_processor_type": "CLIPImageProcessor",
        "size": {"shortest_edge": 51},
        "crop_size": {"height": 40, "width": 64},
    },
    {"image_processor_type": "BlipImageProcessor", "size": {"height": 48, "width": 48}},
    {"image_processor_type": "BlipImageProcessor", "size": {"height": 48, "width": 48}, "do_normalize": False},
    {"image_processor_type": "CLIPImageProcessor", "do_resize": False, "crop_size": {"height": 33, "width": 90}},
]


def pictures() -> list[Any]:
    rng = np.random.default_rng(1)
    return [
        Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8))
        for shape in ((60, 83, 3), (83, 60, 3), (31, 31, 3), (200, 45, 3))
    ]


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_same_pixels_as_transformers(config: dict[str, Any]) -> None:
    import importlib

    name = config["image_processor_type"]
    kind = name.removesuffix("ImageProcessor").lower()
    module = importlib.import_module(f"transformers.models.{kind}.image_processing_pil_{kind}")
    theirs = getattr(module, f"{name}Pil")(**{key: v for key, v in config.items() if key != "image_processor_type"})
    ours = ImageProcessor.from_config(config)
    assert ours == ImageProcessor.from_config(json.loads(json.dumps(theirs.to_dict())))
    for picture in pictures():
        expected = np.asarray(theirs([picture], return_tensors="np")["pixel_values"])
        found = ours(picture)
        assert found.dtype == np.float32
        assert found.shape == expected.shape
        assert np.abs(found - expected).max() <= 1e-5


@pytest.mark.parametrize(
    "config",
    [
        {"image_processor_type": "Evil"},
        {"size": {"shortest_edge": 10**9}},
        {"size": {"longest_edge": 5}},
        {"size": -3},
        {"resample": 99},
        {"image_mean": 3},
        {"image_mean": ["x"]},
        {"rescale_factor": "y"},
        {"do_pad": True},
    ],
    ids=str,
)
def test_what_it_cannot_do_is_refused(config: dict[str, Any]) -> None:
    with pytest.raises(DataError):
        ImageProcessor.from_config(config)


def test_files_that_are_no_pictures_are_named(tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\n" + b"0" * 40)
    with pytest.raises(DataError, match=r"broken\.png"):
        ImageProcessor.from_config({})(broken)
    with pytest.raises(DataError, match="preprocessor_config"):
        ImageProcessor.load(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text("[" * 5000)
    with pytest.raises(DataError, match="preprocessor_config"):
        ImageProcessor.load(tmp_path)


def test_real_pictures_go_through_a_model(shared: Path) -> None:
    folder = shared / "data" / "images_captions"
    if not folder.is_dir():
        pytest.skip("no pictures under data/images_captions")
    config = {"image_size": 32, "patch_size": 8, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = build(family("vit").read({**config, "intermediate_size": 16}, "ViTForImageClassification"), seed=1)
    processor = ImageProcessor.from_config(
        {"image_processor_type": "ViTImageProcessor", "size": 32, "do_convert_rgb": True}
    )
    pixels = processor(sorted(path for path in folder.iterdir() if path.suffix in (".png", ".jpg")))
    with torch.no_grad():
        logits = model(pixel_values=torch.from_numpy(pixels)).logits
    assert logits.shape == (len(pixels), 2)
    assert bool(torch.isfinite(logits).all())
