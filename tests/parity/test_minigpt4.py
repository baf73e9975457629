"""MiniGPT-4 and VPGTrans, which `transformers` does not have, against a plain reading of their papers."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from oracles.minigpt4 import Sizes, config, logits, shapes
from safetensors.torch import save_file

from moduformer.families import spec
from moduformer.weights.checkpoint import load_checkpoint
from moduformer.weights.files import open_tensors

DRAWS = (
    Sizes(),
    Sizes(eye_layers=3, asking_layers=2, every=1, queries=2, text_heads=3),
    Sizes(image=12, eye_heads=4, asking_heads=3, asking_layers=4),
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
    stand_in = torch.full((2, sizes.queries), sizes.vocab)
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
        assert all(torch.equal(stored.read(name), tensor) for name, tensor in state.items())


def test_vpgtrans_is_the_same_network() -> None:
    assert not spec("vpgtrans-vl-llama-7b").diff(spec("minigpt-4-vicuna-7b"))
