"""Recordings of models that see: patches, cross-attention to them, image tokens in a text, the pictures themselves."""

import base64
import io
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from core_models import SEEING, randomise
from typer.testing import CliRunner
from view_models import byte_tokens, vision, words

import moduformer as mf
from moduformer.cli.app import app
from moduformer.errors import DataError, TextError
from moduformer.model import Model
from moduformer.view.record import record

PIXELS = torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(0))


def seeing(name: str) -> Model:
    """A model that reads texts and sees."""
    spec = SEEING[name]
    tokenizer = byte_tokens() if name in ("projected", "asked", "resampled", "gated") else words()
    spec = replace(spec, vocab=tokenizer.max_id + 1, eos_id=tokenizer.sep_id or tokenizer.eos_id, bos_id=None)
    if spec.vision.image_token is not None:
        spec = replace(spec, vision=replace(spec.vision, image_token=tokenizer.pad_id))
    model = randomise(mf.build(spec, seed=1), 2)
    model.tokenizer = tokenizer
    return model


def test_image_tokens_of_a_text_are_as_many_as_the_image_has_vectors():
    recording = record(seeing("projected"), "the city", image=PIXELS)
    assert set(recording.attentions) == {"vision.attention", "decoder.attention"}
    data = recording.data
    assert sum(token["special"] for token in data["sequences"]["source"]["tokens"]) == 4
    assert data["sequences"]["image"]["grid"] == [2, 2]
    trace = mf.Trace("*.weights")
    with torch.no_grad():
        recording.inputs.run(recording.model, trace)
    for name, attention in recording.attentions.items():
        wanted = trace[f"{attention.layers.names[1]}.weights"][0, 1]
        assert torch.allclose(recording.weights(name, 1, 1), wanted, atol=1e-6)
    off = recording.off([("vision.attention", 0, 0), ("decoder.attention", 1, 2)])
    assert off["moved"] > 0


def test_a_text_that_attends_to_an_image():
    recording = record(seeing("blip"), "the movie was good", image=PIXELS)
    attention = recording.attentions["encoder.cross_attention"]
    assert (attention.queries, attention.keys) == ("source", "image")
    assert recording.weights("encoder.cross_attention", 0, 0).shape == (len(recording.inputs.ids), 5)
    assert "rollout" not in recording.data["attentions"][-1]["can"]


def test_each_side_of_a_model_that_compares_is_looked_at_alone():
    model = seeing("clip")
    assert list(record(model, "the movie").attentions) == ["encoder.attention"]
    image = record(model, image=PIXELS)
    assert list(image.attentions) == ["vision.attention"]
    assert image.off([("vision.attention", 0, 1)])["moved"] > 0
    with pytest.raises(TextError, match="one at a time"):
        record(model, "the movie", image=PIXELS)


@pytest.mark.parametrize("name", ["resampled", "gated"])
def test_vectors_of_a_bridge_are_no_patches(name):
    model = seeing(name)
    recording = record(model, "the city", image=PIXELS)
    assert "decoder.attention" in recording.attentions
    assert all(attention.keys in ("source", "image") for attention in recording.attentions.values())
    json.dumps(recording.data, allow_nan=False)
    with pytest.raises(TextError, match="instruction"):
        record(seeing("asked"), "the city", image=PIXELS)


def test_a_wrong_picture_is_refused():
    for wrong in (torch.rand(3, 9, 8), np.zeros((2, 3, 8, 8), np.float32), torch.rand(8)):
        with pytest.raises(DataError, match="pixel values"):
            record(vision(), image=wrong)
    pytest.importorskip("PIL")
    with pytest.raises(DataError, match="cannot be read"):
        record(vision(), image="nowhere.png")


def test_a_file_is_prepared_as_the_models_folder_says_and_shown_as_it_was_seen(tmp_path):
    pillow = pytest.importorskip("PIL.Image")
    picture = tmp_path / "half.png"
    halves = np.zeros((16, 16, 3), np.uint8)
    halves[:, 8:] = (250, 100, 0)
    pillow.fromarray(halves).save(picture)
    folder = vision().save(tmp_path / "eye")
    config = {"image_processor_type": "ViTImageProcessor", "size": {"height": 8, "width": 8}}
    (folder / "preprocessor_config.json").write_text(json.dumps(config))
    found = CliRunner().invoke(app, ["view", "--image", str(picture), "--model", str(folder), "--json"])
    assert found.exit_code == 0, found.output
    image = json.loads(found.stdout)["sequences"]["image"]
    seen = pillow.open(io.BytesIO(base64.b64decode(image["picture"].partition(",")[2])))
    assert seen.size == (8, 8)
    assert seen.getpixel((7, 3)) == pytest.approx((250, 100, 0), abs=1)
    assert seen.getpixel((0, 3)) == pytest.approx((0, 0, 0), abs=1)
    assert [token["text"] for token in image["tokens"]] == ["⟨class⟩", "1,1", "1,2", "2,1", "2,2"]
