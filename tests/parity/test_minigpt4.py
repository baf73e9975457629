"""MiniGPT-4 and VPGTrans, which `transformers` does not have, against a plain reading of their papers."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from oracles.minigpt4 import Sizes, config, logits, shapes
from safetensors.torch import save_file

from moduformer.batch import Batch
from moduformer.families import spec
from moduformer.weights.checkpoint import load_checkpoint
from moduformer.weights.files import open_tensors

DRAWS = (
    Sizes(),
    Sizes(eye_layers=3, asking_layers=2, every=1, queries=2, text_heads=3),
    Sizes(image=12, eye_heads=4, asking_heads=3, asking_layers=4),
    Sizes(asked=False),
    Sizes(asked=False, image=16, eye_heads=4, text_layers=3),
)


def folder(path: Path, sizes: Sizes, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """A checkpoint with the published names, every number of it random."""
    generator = torch.Generator().manual_seed(3)
    state = {}
    for name, shape in shapes(sizes).items():
        scale = 0.5 if len(shape) == 1 else 0.8 / torch.Size(shape[1:]).numel() ** 0.5
        state[name] = (torch.randn(shape, generator=generator) * scale).to(dtype)
    path.mkdir()
    save_file(state, path / "model.safetensors")
    (path / "config.json").write_text(json.dumps(config(sizes)))
    return state


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("sizes", DRAWS)
def test_same_numbers_and_same_files(
    sizes: Sizes, dtype: torch.dtype, tmp_path: Path, seen: Callable[..., None]
) -> None:
    state = folder(tmp_path / "theirs", sizes, dtype)
    ours = load_checkpoint(tmp_path / "theirs", dtype=dtype)
    generator = torch.Generator().manual_seed(4)
    before, after = torch.randint(sizes.vocab, (2, 3), generator=generator), torch.randint(sizes.vocab, (2, 5))
    images = torch.randn(2, 3, sizes.image, sizes.image, generator=generator).to(dtype)
    stand_in = torch.full((2, ours.spec.image_tokens), sizes.vocab)
    assert ours.spec.image_tokens == (sizes.queries if sizes.asked else (sizes.image // sizes.patch) ** 2 // 4)
    with torch.no_grad():
        found = ours(input_ids=torch.cat((before, stand_in, after), 1), pixel_values=images).logits
    for row in range(2):
        expected = logits(state, sizes, before[row], images[row], after[row])
        # Rotary angles of the model are made in float32.
        error = float((found[row] - expected).abs().max() / expected.abs().max())
        assert error <= 1e-5
        seen("minigpt4", "MiniGPT4", error, str(dtype).removeprefix("torch."))
    again = ours.save(tmp_path / "ours")
    with open_tensors(again) as stored:
        assert sorted(stored.names()) == sorted(state)
        assert all(torch.equal(stored.read(name), tensor) for name, tensor in state.items())
    assert load_checkpoint(again).spec == ours.spec


@pytest.mark.parametrize("sizes", DRAWS)
def test_step_by_step_with_a_cache(sizes: Sizes, tmp_path: Path) -> None:
    folder(tmp_path / "theirs", sizes, torch.float32)
    ours = load_checkpoint(tmp_path / "theirs")
    generator = torch.Generator().manual_seed(4)
    words, image = torch.randint(sizes.vocab, (1, 9), generator=generator), ours.spec.image_tokens
    ids = torch.cat((words[:, :3], torch.full((1, image), sizes.vocab), words[:, 3:]), 1)
    pixels = torch.randn(1, 3, sizes.image, sizes.image, generator=generator)
    with torch.no_grad():
        whole = ours(input_ids=ids, pixel_values=pixels).logits[0]
        cache, begin = ours.cache(1), 3 + image
        batch = ours.with_pixels(Batch.from_padded(ids[:, :begin]), pixels)
        found = [ours.run(batch, cache=cache).heads["language-model"]]
        for place in range(begin, ids.shape[1]):
            step = Batch.following(ids[:, place : place + 1].tolist(), cache.seen)
            found.append(ours.run(step, cache=cache).heads["language-model"])
    assert (torch.cat(found) - whole).abs().max() <= 1e-5 * whole.abs().max()


COUNTS = {
    "minigpt-4-vicuna-7b": 7_832_625_024,
    "minigpt-4-vicuna-13b": 14_110_861_184,
    "minigpt-4-llama-2-7b-chat": 7_747_385_728,
}


@pytest.mark.parametrize("name", COUNTS)
def test_published_sizes(name: str) -> None:
    assert spec(name).num_parameters() == COUNTS[name]


def test_vpgtrans_is_the_same_network() -> None:
    assert not spec("vpgtrans-vl-llama-7b").diff(spec("minigpt-4-vicuna-7b"))
