"""Otter, OpenFlamingo and MultiModal-GPT, which `transformers` does not have, against a reading of their papers."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from oracles.flamingo import Sizes, config, logits, shapes
from safetensors.torch import save_file

from moduformer.batch import Batch
from moduformer.errors import CheckpointError, TextError
from moduformer.families import spec
from moduformer.lora import Lora, LoraSettings
from moduformer.model import Model
from moduformer.weights.checkpoint import load_checkpoint
from moduformer.weights.files import open_tensors

DRAWS = (
    Sizes(),
    Sizes(previous=False),
    Sizes(kind="mpt", layers=4),
    Sizes(kind="mpt", every=1, layers=2, previous=False, heads=4),
    Sizes(image=12, eye_heads=4, every=3, heads=3, image_token=5),
)
IMAGES = (2, 1, 3)


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


def texts(sizes: Sizes) -> tuple[list[list[int]], list[list[torch.Tensor]]]:
    """Three texts of different lengths with 2, 1 and 3 images, the first of which stands behind some words."""
    generator, other = torch.Generator().manual_seed(4), 9
    rows, images = [], []
    for length, count in zip((9, 5, 8), IMAGES):
        row = [
            t if t != sizes.image_token else other
            for t in torch.randint(sizes.vocab, (length,), generator=generator).tolist()
        ]
        for place in (2, 3, 6)[:count]:
            row[place] = sizes.image_token
        rows.append(row)
        images.append(list(torch.randn(count, 3, sizes.image, sizes.image, generator=generator)))
    return rows, images


def padded(rows: list[list[int]], left: bool) -> tuple[torch.Tensor, torch.Tensor]:
    width = max(map(len, rows))
    ids = [[0] * (width - len(r)) + r if left else r + [0] * (width - len(r)) for r in rows]
    mask = [[0] * (width - len(r)) + [1] * len(r) if left else [1] * len(r) + [0] * (width - len(r)) for r in rows]
    return torch.tensor(ids), torch.tensor(mask)


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-5), (torch.float64, 1e-9)])
@pytest.mark.parametrize("sizes", DRAWS)
def test_same_numbers_and_same_files(
    sizes: Sizes, dtype: torch.dtype, bound: float, tmp_path: Path, seen: Callable[..., None]
) -> None:
    # Rotary angles of the model are made in float32.
    bound = 1e-5 if sizes.kind == "llama" else bound
    state = folder(tmp_path / "theirs", sizes, dtype)
    ours = load_checkpoint(tmp_path / "theirs", dtype=dtype)
    rows, images = texts(sizes)
    pixels = torch.stack([image for held in images for image in held]).to(dtype)
    expected = [logits(state, sizes, row, [i.to(dtype) for i in held]) for row, held in zip(rows, images)]
    for left in (False, True):
        ids, mask = padded(rows, left)
        with torch.no_grad():
            found = ours(input_ids=ids, attention_mask=mask, pixel_values=pixels).logits
        for row, wanted in enumerate(expected):
            error = float((found[row][mask[row].bool()] - wanted).abs().max() / wanted.abs().max())
            assert error <= bound
            assert ours.origin is not None
            seen(ours.origin.family.model_type, ours.origin.config["architectures"][0], error, str(dtype)[6:])
    assert ours.num_parameters() == ours.spec.num_parameters() == sum(tensor.numel() for tensor in state.values())
    again = ours.save(tmp_path / "ours")
    with open_tensors(again) as stored:
        assert sorted(stored.names()) == sorted(state)
        assert all(torch.equal(stored.read(name), tensor) for name, tensor in state.items())
    assert load_checkpoint(again).spec == ours.spec


@pytest.mark.parametrize("chunk", [1, 3])
@pytest.mark.parametrize("sizes", DRAWS)
def test_step_by_step_with_a_cache(sizes: Sizes, chunk: int, tmp_path: Path) -> None:
    folder(tmp_path / "theirs", sizes, torch.float32)
    ours = load_checkpoint(tmp_path / "theirs")
    rows, images = texts(sizes)
    row, pixels = rows[2], torch.stack(images[2])
    with torch.no_grad():
        whole = ours(input_ids=torch.tensor([row]), pixel_values=pixels).logits[0]
        source = ours.images_of(Batch.from_lists([row]), pixels)
        cache, found, encoded = ours.cache(1), [], None
        for start in range(0, len(row), chunk):
            step = Batch.following([row[start : start + chunk]], cache.seen)
            states = ours.run(source, step, cache=cache, encoded=encoded)
            encoded = states.encoder_hidden
            found.append(states.heads["language-model"])
        assert (torch.cat(found) - whole).abs().max() <= 1e-5 * whole.abs().max()
        # Cut back behind the first image, and go on.
        cache.truncate([3])
        states = ours.run(source, Batch.following([row[3:]], cache.seen), cache=cache, encoded=encoded)
        assert (states.heads["language-model"] - whole[3:]).abs().max() <= 1e-5 * whole.abs().max()


def test_greedy_texts_go_on_as_whole_texts_say(tmp_path: Path) -> None:
    for number, sizes in enumerate(DRAWS[:3]):
        folder(tmp_path / str(number), sizes, torch.float32)
        ours = load_checkpoint(tmp_path / str(number))
        rows, images = texts(sizes)
        pixels = torch.stack(images[0])
        found = ours.generate(
            torch.tensor([rows[0]]), pixel_values=pixels, max_new_tokens=5, pad_token_id=0, eos_token_id=[]
        )
        text = torch.tensor([rows[0]])
        for _ in range(5):
            text = torch.cat((text, _next(ours, text, pixels, sizes)), 1)
        assert torch.equal(found, text)


def _next(ours: Model, text: torch.Tensor, pixels: torch.Tensor, sizes: Sizes) -> torch.Tensor:
    with torch.no_grad():
        return ours(input_ids=text, pixel_values=pixels).logits[:, -1:].argmax(-1)


def test_names_of_open_flamingo(tmp_path: Path) -> None:
    sizes = DRAWS[0]
    state = folder(tmp_path / "theirs", sizes, torch.float32)
    older = {}
    for name, tensor in state.items():
        parts = name.split(".")
        if name.startswith("perceiver.layers."):
            fed = parts[3] == "feed_forward"
            name = ".".join((*parts[:3], "1" if fed else "0", *parts[4 if fed else 3 :]))
        older[name.replace("_layer.feed_forward.", "_layer.ff.")] = tensor
    assert set(older) != set(state)
    save_file(older, tmp_path / "theirs/model.safetensors")
    ours = load_checkpoint(tmp_path / "theirs")
    with open_tensors(ours.save(tmp_path / "ours")) as stored:
        assert all(torch.equal(stored.read(name), tensor) for name, tensor in state.items())


COUNTS = {"otter-9b": 8_220_463_120, "otter-image-mpt7b": 8_131_301_392, "multimodal-gpt-9b": 8_220_454_928}


@pytest.mark.parametrize("name", COUNTS)
def test_published_sizes(name: str) -> None:
    assert spec(name).num_parameters() == COUNTS[name]


def test_multimodal_gpt_is_open_flamingo_and_otter_looks_back() -> None:
    assert not spec("multimodal-gpt-9b").diff(spec("openflamingo-9b"))
    assert {change.path for change in spec("multimodal-gpt-9b").diff(spec("otter-9b"))} == {"vocab", "vision.visible"}


def test_low_rank_adapters_merged_are_a_plain_checkpoint(tmp_path: Path) -> None:
    """MultiModal-GPT's adapters: attention, cross-attention and its feed-forward layers (Gong et al. 2023, 3.2)."""
    sizes = Sizes(previous=False)
    folder(tmp_path / "theirs", sizes, torch.float32)
    ours = load_checkpoint(tmp_path / "theirs")
    rows, images = texts(sizes)
    ids, pixels = torch.tensor([rows[0]]), torch.stack(images[0])
    lora = Lora(ours, LoraSettings(rank=2, alpha=2.0, targets=("q", "k", "v", "out", "up")))
    adapted = {f"{path}.{part}" for path, part, _ in lora.parts()}
    assert any("gated_cross_attention.feed_forward" in name for name in adapted)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        before = ours(input_ids=ids, pixel_values=pixels).logits
        for parameter in lora.parameters():
            parameter.normal_(std=0.2, generator=generator)
        beside = ours(input_ids=ids, pixel_values=pixels).logits
        lora.merge()
        lora.remove()
        merged = ours(input_ids=ids, pixel_values=pixels).logits
    assert (beside - before).abs().max() > 0.01 * before.abs().max()
    assert (merged - beside).abs().max() <= 1e-5 * beside.abs().max()
    with open_tensors(ours.save(tmp_path / "ours")) as stored:
        state = {name: stored.read(name) for name in stored.names()}
    expected = logits(state, sizes, rows[0], images[0])
    assert (merged[0] - expected).abs().max() <= 1e-5 * expected.abs().max()


@pytest.mark.parametrize("change", [
    {"cross_attn_every_n_layers": 0},
    {"cross_attn_every_n_layers": "x"},
    {"only_attend_previous": "x"},
    {"max_num_frames": 128},
    {"text_config": {"model_type": "opt"}},
    {"text_config": 3},
    {"vision_config": [1]},
    {"media_token_id": "x"},
])  # fmt: skip
def test_damaged_configs_are_refused(change: dict[str, object], tmp_path: Path) -> None:
    folder(tmp_path / "theirs", Sizes(), torch.float32)
    (tmp_path / "theirs/config.json").write_text(json.dumps({**config(Sizes()), **change}))
    with pytest.raises(CheckpointError):
        load_checkpoint(tmp_path / "theirs")


def test_images_and_texts_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    sizes = Sizes()
    folder(tmp_path / "theirs", sizes, torch.float32)
    ours = load_checkpoint(tmp_path / "theirs")
    pixels = torch.randn(2, 3, sizes.image, sizes.image)
    with pytest.raises(TextError, match="images"):
        ours(input_ids=torch.tensor([[1, sizes.image_token, 3]]), pixel_values=pixels)
    with pytest.raises(TextError, match="no image token"):
        ours(input_ids=torch.tensor([[1, 2, 3]]), pixel_values=pixels)
