"""PLUG against a second writing of it: its files, its numbers padded and not, step by step, and back to files."""

import json
import random
from collections.abc import Callable
from pathlib import Path

import oracles.plug as oracle
import pytest
import torch
from safetensors.torch import save_file

from moduformer.batch import Batch
from moduformer.errors import CheckpointError
from moduformer.families import family, spec
from moduformer.weights.checkpoint import load_checkpoint
from parity.test_parity import relative_error

LENGTHS, TARGETS = (9, 4, 7), (3, 6, 2)


def checkpoint(name: str, seed: int, folder: Path, dtype: torch.dtype) -> tuple[dict, dict]:
    """A folder with every parameter random; returns its config and tensors."""
    config = {**oracle.config(random.Random(f"{name}-{seed}")), "architectures": [name]}
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for key, shape in oracle.shapes(config, name).items():
        scale = 0.5 if len(shape) == 1 else 0.8 / shape[-1] ** 0.5
        tensors[key] = torch.empty(shape).normal_(std=scale, generator=generator).to(dtype)
    folder.mkdir(exist_ok=True)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return config, tensors


def texts(rng: random.Random, lengths: tuple[int, ...], beyond: int = 61) -> list[list[int]]:
    return [[rng.randrange(beyond) for _ in range(length)] for length in lengths]


def padded(rows: list[list[int]], left: bool) -> tuple[torch.Tensor, torch.Tensor]:
    blank = [[0] * (max(map(len, rows)) - len(row)) for row in rows]
    ids = [fill + row if left else row + fill for row, fill in zip(rows, blank)]
    mask = [[0] * len(fill) + [1] * len(row) if left else [1] * len(row) + fill for row, fill in zip(rows, blank)]
    return torch.tensor(ids), torch.tensor(mask)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("name", oracle.HEADS)
@torch.no_grad()
def test_same_numbers_and_same_files(
    name: str, seed: int, dtype: torch.dtype, tmp_path: Path, seen: Callable[..., None]
) -> None:
    config, tensors = checkpoint(name, seed, tmp_path / "theirs", dtype)
    model = load_checkpoint(tmp_path / "theirs", dtype=dtype)
    rng, precise = random.Random(seed), dtype == torch.float64
    rows, targets = texts(rng, LENGTHS), texts(rng, TARGETS)
    kinds = [[rng.randrange(config["type_vocab_size"]) for _ in row] for row in rows]
    for left in (False, True):
        ids, mask = padded(rows, left)
        after, after_mask = padded(targets, left)
        more = {"decoder_input_ids": after, "decoder_attention_mask": after_mask} if name == "PlugModel" else {}
        ours = model(ids, mask, padded(kinds, left)[0], **more)
        for i, row in enumerate(rows):
            for field, expected in oracle.forward(tensors, config, name, row, targets[i], kinds[i]).items():
                found = ours[field][i]
                if found.dim() == 2:
                    found = found[(after_mask if more else mask)[i].bool()]
                error = relative_error(found, expected)
                assert error <= (1e-9 if precise else 1e-5), field
                seen("plugNLG", name, error, *(["float64"] if precise else []))
    again = model.save(tmp_path / "ours")
    assert (again / "model.safetensors").read_bytes() == (tmp_path / "theirs" / "model.safetensors").read_bytes()
    assert json.loads((again / "config.json").read_text())["model_type"] == config["model_type"]


@torch.no_grad()
def test_step_by_step_with_a_cache(tmp_path: Path) -> None:
    config, tensors = checkpoint("PlugModel", 4, tmp_path, torch.float32)
    model, rng = load_checkpoint(tmp_path), random.Random(4)
    rows, targets = texts(rng, LENGTHS), texts(rng, (5, 5, 5))
    source, cache, encoded, parts = Batch.from_lists(rows, order=range(3)), model.cache(3), None, []
    for t in range(5):
        states = model.run(source, Batch.following([[row[t]] for row in targets], cache.seen), cache, encoded=encoded)
        encoded = states.encoder_hidden
        parts.append(states.heads["language-model"])
    for i, row in enumerate(rows):
        expected = oracle.forward(tensors, config, "PlugModel", row, targets[i])["logits"]
        assert relative_error(torch.stack([part[i] for part in parts]), expected) <= 1e-5


def test_what_belongs_to_pretraining_is_left_out_and_named(tmp_path: Path) -> None:
    config, tensors = checkpoint("PlugModel", 1, tmp_path, torch.float32)
    words, dim = tensors["bert.embeddings.word_embeddings.weight"], config["hidden_size"]
    more = {key: torch.ones(shape) for key, shape in oracle.shapes(config, "BertForPreTraining").items()}
    whole = {
        **more,
        **tensors,
        "cls.predictions.decoder_weight": words,
        "bert.pooler.dense.weight": torch.ones(dim, dim),
    }
    save_file({key: value.clone() for key, value in whole.items()}, tmp_path / "model.safetensors")
    model = load_checkpoint(tmp_path)
    assert any("left out 7 tensors of heads" in note for note in model.notes), model.notes
    assert torch.equal(model.embedding.tokens.weight, words)


def test_published_size() -> None:
    whole, heads = spec("plug-27b"), family("plugNLG").read({}, "BertForPreTraining").heads
    pooler = whole.dim * (whole.dim + 1)
    assert whole.num_parameters() + sum(h.num_parameters(whole.vocab, whole.dim) for h in heads) + pooler == 26100601859


@pytest.mark.parametrize(("key", "value"), [("pre_ln", False), ("attn_separate", True), ("hidden_act", "selu")])
def test_what_no_spec_can_say_is_refused_by_name(key: str, value: object) -> None:
    with pytest.raises(CheckpointError, match=key):
        family("plugNLG").read({key: value})
