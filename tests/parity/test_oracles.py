"""Families that `transformers` does not have, against a second writing of each (see `oracles`)."""

from __future__ import annotations

import contextlib
import importlib
import json
import pkgutil
import random
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import oracles
import pytest
import torch
from safetensors.torch import save_file

from moduformer.batch import Batch
from moduformer.errors import CheckpointError, SpecError
from moduformer.families import family
from moduformer.model import Model
from moduformer.weights.checkpoint import load_checkpoint

MODULES = {m.name: importlib.import_module(f"oracles.{m.name}") for m in pkgutil.iter_modules(oracles.__path__)}
ORACLES = {name: module for name, module in MODULES.items() if hasattr(module, "CLASSES")}
DRAWS = (1, 2, 3)
CASES = [
    pytest.param(family_name, name, seed, id=f"{family_name}-{name}-{seed}")
    for family_name, oracle in ORACLES.items()
    for name in oracle.CLASSES
    for seed in DRAWS
]
LENGTHS = (11, 4, 7, 4)


def checkpoint(oracle: ModuleType, name: str, seed: int, folder: Path, dtype: torch.dtype) -> tuple[dict, dict]:
    """A folder as it would be published, every parameter random; returns its config and tensors."""
    rng = random.Random(f"{oracle.__name__}-{name}-{seed}")
    config = oracle.config(rng)
    config["architectures"] = [name]
    if "Classification" in name:
        config["id2label"] = {str(i): f"LABEL_{i}" for i in range(3)}
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for key, shape in oracle.shapes(config, name).items():
        scale = 0.5 if len(shape) == 1 else 0.8 / shape[-1] ** 0.5
        tensors[key] = torch.empty(shape).normal_(std=scale, generator=generator).to(dtype)
    for copy, source in getattr(oracle, "TIED", {}).items():
        tensors[copy] = tensors[source].clone()
    folder.mkdir(exist_ok=True)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return config, tensors


def texts(oracle: ModuleType, config: dict, seed: int, lengths: tuple[int, ...] = LENGTHS) -> list[list[int]]:
    rng = random.Random(seed)
    return [oracle.text(rng, config, length) for length in lengths]


def padded(rows: list[list[int]], side: str) -> tuple[torch.Tensor, torch.Tensor]:
    width = max(map(len, rows))
    blank = [[0] * (width - len(row)) for row in rows]
    left = side == "left"
    ids = [fill + row if left else row + fill for row, fill in zip(rows, blank)]
    mask = [[0] * len(fill) + [1] * len(row) if left else [1] * len(row) + fill for row, fill in zip(rows, blank)]
    return torch.tensor(ids), torch.tensor(mask)


def relative_error(found: torch.Tensor, expected: torch.Tensor) -> float:
    assert found.shape == expected.shape
    return float((found - expected).abs().max() / expected.abs().max().clamp(min=1e-30))


def error(model: Model, oracle: ModuleType, tensors: dict, config: dict, rows: list[list[int]], side: str) -> float:
    """The largest relative error of any output of any row, at its real tokens."""
    name = config["architectures"][0]
    ids, mask = padded(rows, side)
    with torch.no_grad():
        ours = model(ids, None if side == "equal" else mask)
    worst = 0.0
    for i, row in enumerate(rows):
        for field, expected in oracle.forward(tensors, config, row, name).items():
            found = ours[field][i]
            if expected.shape[0] == len(row) and found.dim() == expected.dim():
                found = found[mask[i].bool()] if found.shape[0] == mask.shape[1] else found
            worst = max(worst, relative_error(found, expected))
    return worst


@pytest.mark.parametrize(("family_name", "name", "seed"), CASES)
def test_same_numbers_and_same_files(
    family_name: str, name: str, seed: int, tmp_path: Path, seen: Callable[..., None]
) -> None:
    oracle = ORACLES[family_name]
    config, tensors = checkpoint(oracle, name, seed, tmp_path / "theirs", torch.float32)
    model = load_checkpoint(tmp_path / "theirs")
    assert model.origin is not None
    assert model.origin.family is family(family_name)
    for side in ("equal", "right", "left"):
        lengths = (11,) * 4 if side == "equal" else LENGTHS
        found = error(model, oracle, tensors, config, texts(oracle, config, seed, lengths), side)
        seen(family_name, name, found)
        assert found <= 1e-5, side
    again = model.save(tmp_path / "ours")
    assert (again / "model.safetensors").read_bytes() == (tmp_path / "theirs" / "model.safetensors").read_bytes()
    assert json.loads((again / "config.json").read_text()) == {**config, "dtype": "float32"} | (
        {"label2id": {f"LABEL_{i}": i for i in range(3)}} if "id2label" in config else {}
    )


@pytest.mark.parametrize(("family_name", "name", "seed"), CASES)
def test_double_precision(family_name: str, name: str, seed: int, tmp_path: Path, seen: Callable[..., None]) -> None:
    oracle = ORACLES[family_name]
    config, tensors = checkpoint(oracle, name, seed, tmp_path, torch.float64)
    model = load_checkpoint(tmp_path, dtype=torch.float64)
    for side in ("equal", "right"):
        lengths = (11,) * 4 if side == "equal" else LENGTHS
        found = error(model, oracle, tensors, config, texts(oracle, config, seed, lengths), side)
        seen(family_name, name, found, "float64")
        assert found <= 1e-9, side


@pytest.mark.parametrize("family_name", ORACLES)
@pytest.mark.parametrize("seed", DRAWS)
def test_a_config_can_be_written_from_the_spec_alone(family_name: str, seed: int) -> None:
    oracle, member = ORACLES[family_name], family(family_name)
    for name in oracle.CLASSES:
        config = oracle.config(random.Random(f"{family_name}-{seed}"))
        spec = member.read(config, name)
        written = member.write(spec)
        assert family(written["model_type"]).of(written) is member
        assert member.read(written, name) == spec


@pytest.mark.parametrize("family_name", ORACLES)
@pytest.mark.parametrize("seed", DRAWS)
@pytest.mark.parametrize("chunk", [1, 3])
def test_step_by_step_with_a_cache(family_name: str, seed: int, chunk: int, tmp_path: Path) -> None:
    """What must be read at once is; the rest of every row comes one by one or in chunks."""
    oracle = ORACLES[family_name]
    name = next((n for n in oracle.CLASSES if n.endswith(("CausalLM", "Generation"))), oracle.CLASSES[0])
    config, tensors = checkpoint(oracle, name, seed, tmp_path, torch.float32)
    model = load_checkpoint(tmp_path)
    rows = texts(oracle, config, seed, (12, 12, 9, 12))
    cache = model.cache(len(rows))
    read = [oracle.opening(config, row) for row in rows]
    parts: list[list[torch.Tensor]] = [[] for _ in rows]

    def feed(pieces: list[list[int]]) -> None:
        batch = Batch.following(pieces, cache.seen)
        with torch.no_grad():
            logits = model.run(batch, cache=cache).heads["language-model"]
        for part, found in zip(parts, logits.split(batch.rows.lengths)):
            part.append(found)

    feed([row[:n] for row, n in zip(rows, read)])
    active = list(range(len(rows)))
    while True:
        going = [i for i, row in enumerate(active) if read[row] < len(rows[row])]
        if not going:
            break
        cache.select(going)
        active = [active[i] for i in going]
        parts, kept = [parts[i] for i in going], parts
        feed([rows[row][read[row] : read[row] + chunk] for row in active])
        for i, part in zip(going, parts):
            kept[i] = part
        for row, part in zip(active, parts):
            read[row] += chunk
            if read[row] >= len(rows[row]):
                expected = oracle.forward(tensors, config, rows[row], name)["logits"]
                assert relative_error(torch.cat(part), expected) <= 1e-5


BUFFERS = {
    "baichuan": "model.layers.0.self_attn.rotary_emb.inv_freq",
    "chatglm": "transformer.layers.0.attention.rotary_emb.inv_freq",
    "chatglm2": "transformer.rotary_pos_emb.inv_freq",
    "glm_130b": "mixins.rotary-embedding.rotary_emb.inv_freq",
    "gpt_pangu": "transformer.h.0.attn.bias",
    "internlm": "model.layers.0.self_attn.rotary_emb.inv_freq",
    "internlm2": "model.layers.0.attention.rotary_emb.inv_freq",
}


@pytest.mark.parametrize("family_name", BUFFERS)
def test_buffers_of_published_files_are_no_parameters(family_name: str, tmp_path: Path) -> None:
    oracle = ORACLES[family_name]
    name = next((n for n in oracle.CLASSES if n.endswith(("CausalLM", "Generation"))), oracle.CLASSES[0])
    config, tensors = checkpoint(oracle, name, 1, tmp_path, torch.float32)
    save_file({**tensors, BUFFERS[family_name]: torch.ones(4)}, tmp_path / "model.safetensors")
    model = load_checkpoint(tmp_path)
    assert error(model, oracle, tensors, config, texts(oracle, config, 1), "right") <= 1e-5


@pytest.mark.parametrize(
    ("family_name", "key", "value"),
    [
        ("baichuan", "hidden_act", "mish"),
        ("internlm", "rotary", {"type": "yarn"}),
        ("internlm2", "rope_scaling", {"type": "longrope", "factor": 2.0}),
        ("internlm2", "pretraining_tp", 2),
        ("chatglm", "position_encoding_2d", False),
        ("chatglm", "pre_seq_len", 128),
        ("chatglm", "quantization_bit", 4),
        ("chatglm2", "rope_ratio", 16),
        ("chatglm2", "add_bias_linear", True),
        ("chatglm2", "multi_query_attention", False),
        ("chatglm2", "apply_residual_connection_post_layernorm", True),
        ("glm", "relative_encoding", True),
        ("glm", "block_position_encoding", False),
        ("glm", "attention_scale", 8.0),
        ("gpt_pangu", "scale_attn_weights", False),
    ],
)
def test_what_no_spec_can_say_is_refused_by_name(family_name: str, key: str, value: object) -> None:
    config = ORACLES[family_name].config(random.Random(1)) | {key: value}
    with pytest.raises(CheckpointError, match=rf"{key}|rotary"):
        family(family_name).read(config)


@pytest.mark.parametrize("family_name", ORACLES)
def test_damaged_configs_end_in_an_error_for_people(family_name: str) -> None:
    oracle, member = ORACLES[family_name], family(family_name)
    for seed in DRAWS:
        config = oracle.config(random.Random(seed))
        for key in config:
            for junk in (None, "x", -1, 0, 10**30, 0.5, [], {}, {"type": "dynamic", "factor": "x"}, float("nan")):
                with contextlib.suppress(CheckpointError, SpecError):
                    member.read({**config, key: junk}, oracle.CLASSES[0])


def test_a_vocabulary_without_known_blanks_asks_for_them() -> None:
    config = ORACLES["glm"].config(random.Random(1))
    del config["sop_token_id"]
    with pytest.raises(CheckpointError, match="add sop_token_id"):
        family("glm").read(config)
    published = family("glm").read({**config, "vocab_size": 50304} | dict.fromkeys(("eos_token_id",), 50258))
    assert published.infilling is not None
    assert published.infilling.start == 50257
