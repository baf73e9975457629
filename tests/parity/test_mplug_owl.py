"""mPLUG-Owl, which `transformers` does not have, against a plain reading of its paper."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from oracles.minigpt4 import norm
from oracles.mplug_owl import Sizes, abstract, config, image_shapes, logits, see, shapes, vectors
from safetensors.torch import save_file
from torch import Tensor
from transformers import BloomConfig, BloomForCausalLM

from moduformer.batch import Batch
from moduformer.errors import CheckpointError
from moduformer.families import spec
from moduformer.weights.checkpoint import load_checkpoint
from moduformer.weights.files import open_tensors

DRAWS = (
    Sizes(),
    Sizes(queries=5, layers=3, heads=2, eps=1e-2, text_heads=3),
    Sizes(image=12, eye_heads=4, eye_eps=1e-2, layers=1, text_layers=3),
)


class BeforeLlama:
    """The sizes before a LLaMA, read by the oracle."""

    def __init__(self, sizes: Sizes) -> None:
        self.sizes = sizes

    def config(self) -> dict[str, object]:
        return config(self.sizes)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        return shapes(self.sizes)

    def logits(self, state: dict[str, Tensor], tokens: Tensor, images: list[Tensor]) -> Tensor:
        return logits(state, self.sizes, tokens, images)


class BeforeBloomz(BeforeLlama):
    """The same before a BLOOM, which `transformers` has: as the published code, it is given word vectors that its own
    norm has seen already, and vectors of images that it has not, and norms them all."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__(sizes)
        self.text = BloomConfig(
            vocab_size=sizes.vocab, hidden_size=sizes.text, n_layer=sizes.text_layers, n_head=sizes.text_heads,
            layer_norm_epsilon=sizes.eps,
        )  # fmt: skip

    def config(self) -> dict[str, object]:
        return config(self.sizes) | {"text_config": json.loads(self.text.to_json_string())}

    def shapes(self) -> dict[str, tuple[int, ...]]:
        named = BloomForCausalLM(self.text).named_parameters()
        return image_shapes(self.sizes) | {f"language_model.{name}": tuple(value.shape) for name, value in named}

    def logits(self, state: dict[str, Tensor], tokens: Tensor, images: list[Tensor]) -> Tensor:
        lead, words = "language_model.", "language_model.transformer.word_embeddings"
        reader: Any = BloomForCausalLM(self.text).eval()
        own = {name.removeprefix(lead): tensor for name, tensor in state.items() if name.startswith(lead)}
        reader.to(state[f"{words}.weight"].dtype).load_state_dict(own, strict=False)
        table = norm(state, f"{words}_layernorm", state[f"{words}.weight"], self.sizes.eps)
        seen = vectors(state, self.sizes, table, tokens, images)
        return reader(inputs_embeds=seen[None]).logits[0]


KINDS = [kind(sizes) for kind in (BeforeLlama, BeforeBloomz) for sizes in DRAWS]


def folder(path: Path, kind: BeforeLlama, dtype: torch.dtype) -> dict[str, Tensor]:
    """A checkpoint with the published names, every number of it random."""
    generator = torch.Generator().manual_seed(3)
    state = {}
    for name, shape in kind.shapes().items():
        scale = 0.5 if len(shape) == 1 else 0.8 / torch.Size(shape[1:]).numel() ** 0.5
        state[name] = (torch.randn(shape, generator=generator) * scale).to(dtype)
    path.mkdir()
    save_file(state, path / "model.safetensors")
    (path / "config.json").write_text(json.dumps(kind.config()))
    return state


def inputs(sizes: Sizes) -> tuple[torch.Tensor, torch.Tensor]:
    """Two texts with two images each, and the images."""
    generator = torch.Generator().manual_seed(4)
    words = torch.randint(sizes.vocab, (2, 8), generator=generator)
    image = torch.full((2, sizes.queries + 1), -1)
    ids = torch.cat((words[:, :2], image, words[:, 2:4], image, words[:, 4:]), 1)
    return ids, torch.randn(4, 3, sizes.image, sizes.image, generator=generator)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", KINDS)
def test_same_numbers_and_same_files(
    kind: BeforeLlama, dtype: torch.dtype, tmp_path: Path, seen: Callable[..., None]
) -> None:
    sizes = kind.sizes
    state = folder(tmp_path / "theirs", kind, dtype)
    ours = load_checkpoint(tmp_path / "theirs", dtype=dtype)
    ids, pixels = inputs(sizes)
    pixels = pixels.to(dtype)
    with torch.no_grad():
        out = ours(input_ids=ids, pixel_values=pixels)
    for row in range(2):
        expected = kind.logits(state, ids[row], list(pixels[2 * row : 2 * row + 2]))
        # Rotary angles of the model are made in float32.
        error = float((out.logits[row] - expected.detach()).abs().max() / expected.abs().max())
        assert error <= 1e-5
        seen("mplug-owl", "MplugOwl", error, str(dtype)[6:])
    images = torch.stack([abstract(state, sizes, see(state, sizes, image)) for image in pixels])
    bound = 1e-5 if dtype == torch.float32 else 1e-9
    assert (out.image_hidden_states - images).abs().max() <= bound * images.abs().max()
    assert ours.num_parameters() == ours.spec.num_parameters() == sum(tensor.numel() for tensor in state.values())
    again = ours.save(tmp_path / "ours")
    with open_tensors(again) as stored:
        assert sorted(stored.names()) == sorted(state)
        assert all(torch.equal(stored.read(name), tensor) for name, tensor in state.items())
    assert load_checkpoint(again).spec == ours.spec


@pytest.mark.parametrize("kind", KINDS)
def test_step_by_step_with_a_cache(kind: BeforeLlama, tmp_path: Path) -> None:
    sizes = kind.sizes
    folder(tmp_path / "theirs", kind, torch.float32)
    ours = load_checkpoint(tmp_path / "theirs")
    ids, pixels = inputs(sizes)
    with torch.no_grad():
        whole = ours(input_ids=ids, pixel_values=pixels).logits
        begin = ids.shape[1] - 4
        cache = ours.cache(2)
        batch = ours.with_pixels(Batch.from_padded(ids[:, :begin]), pixels)
        found = [batch.pad(ours.run(batch, cache=cache).heads["language-model"])]
        for place in range(begin, ids.shape[1]):
            step = Batch.following(ids[:, place : place + 1].tolist(), cache.seen)
            found.append(step.pad(ours.run(step, cache=cache).heads["language-model"]))
    assert (torch.cat(found, 1) - whole).abs().max() <= 1e-5 * whole.abs().max()


def test_published_sizes() -> None:
    assert spec("mplug-owl-llama-7b").num_parameters() == 7_146_692_608
    assert spec("mplug-owl-bloomz-7b").num_parameters() == 7_477_293_056


@pytest.mark.parametrize(("part", "change"), [
    ("visual_abstractor_config", {"encoder_hidden_size": 20}),
    ("visual_abstractor_config", {"num_hidden_layers": 10**9}),
    ("visual_abstractor_config", {"hidden_size": 20, "encoder_hidden_size": 20}),
    ("vision_config", {"hidden_act": "gelu"}),
    ("text_config", {"model_type": "opt"}),
])  # fmt: skip
def test_damaged_configs_are_refused(part: str, change: dict[str, object], tmp_path: Path) -> None:
    folder(tmp_path / "theirs", BeforeLlama(Sizes()), torch.float32)
    damaged = config(Sizes())
    damaged[part] = {**damaged[part], **change}  # type: ignore[dict-item]
    (tmp_path / "theirs/config.json").write_text(json.dumps(damaged))
    with pytest.raises(CheckpointError):
        load_checkpoint(tmp_path / "theirs")
