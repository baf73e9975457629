"""Tsinghua's ERNIE against its paper's equations: files with the authors' tensor names, in float64."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from oracles import thu_ernie as oracle
from safetensors.torch import save_file

from moduformer.errors import CheckpointError, TextError
from moduformer.model import Model
from moduformer.trace import Trace
from moduformer.weights.checkpoint import load_checkpoint
from parity.test_parity import relative_error

VOCAB = 37
LENGTHS = (9, 4, 7, 4)


def draw(seed: int) -> dict[str, Any]:
    rng = random.Random(seed)
    heads, entity_heads = rng.choice((1, 2, 3)), rng.choice((1, 2))
    kinds = [rng.choice(("sim", "mix", "norm")) for _ in range(rng.choice((2, 3, 4)))] + ["norm"]
    return {
        "model_type": "ernie-thu",
        "vocab_size": VOCAB,
        "hidden_size": heads * rng.choice((4, 6)),
        "num_hidden_layers": len(kinds) + rng.choice((0, 1)),
        "num_attention_heads": heads,
        "intermediate_size": rng.choice((14, 20)),
        "hidden_act": rng.choice(("gelu", "relu", "silu")),
        "max_position_embeddings": 12,
        "type_vocab_size": rng.choice((2, 3)),
        "layer_types": kinds,
        "entity_size": entity_heads * rng.choice((3, 5)),
        "num_entity_attention_heads": entity_heads,
    }


def checkpoint(config: dict[str, Any], seed: int) -> dict[str, torch.Tensor]:
    """Random tensors under the names of the authors' pretraining checkpoint, and two heads of fine-tuning."""
    generator = torch.Generator().manual_seed(seed)
    dim, width, inner = config["hidden_size"], config["entity_size"], config["intermediate_size"]
    found: dict[str, torch.Tensor] = {}

    def put(name: str, *shape: int) -> None:
        scale = 0.5 if len(shape) == 1 else 0.8 / shape[-1] ** 0.5
        found[name] = torch.randn(*shape, generator=generator, dtype=torch.float64) * scale

    def linear(name: str, inputs: int, outputs: int) -> None:
        put(f"{name}.weight", outputs, inputs)
        put(f"{name}.bias", outputs)

    def norm(name: str, size: int) -> None:
        put(f"{name}.weight", size)
        put(f"{name}.bias", size)

    for table, rows in (("word", VOCAB), ("position", 12), ("token_type", config["type_vocab_size"])):
        put(f"bert.embeddings.{table}_embeddings.weight", rows, dim)
    norm("bert.embeddings.LayerNorm", dim)
    kinds = config["layer_types"] + ["sim"] * (config["num_hidden_layers"] - len(config["layer_types"]))
    for number, kind in enumerate(kinds):
        layer = f"bert.encoder.layer.{number}"
        streams = [("", dim)] + [("_ent", width)] * (kind == "norm")
        for suffix, size in streams:
            for part in ("query", "key", "value"):
                linear(f"{layer}.attention.self{suffix}.{part}", size, size)
            linear(f"{layer}.attention.output{suffix}.dense", size, size)
            norm(f"{layer}.attention.output{suffix}.LayerNorm", size)
        for suffix, size in [("", dim)] + [("_ent", width)] * (kind != "sim"):
            linear(f"{layer}.intermediate.dense{suffix}", size, inner)
            linear(f"{layer}.output.dense{suffix}", inner, size)
            norm(f"{layer}.output.LayerNorm{suffix}", size)
    linear("bert.pooler.dense", dim, dim)
    for head, size in (("predictions", dim), ("predictions_ent", width)):
        linear(f"cls.{head}.transform.dense", dim, size)
        norm(f"cls.{head}.transform.LayerNorm", size)
    put("cls.predictions.bias", VOCAB)
    linear("cls.seq_relationship", dim, 2)
    linear("classifier", dim, 3)
    put("typing.weight", 3, dim)
    return found


HEADS = {
    "BertModel": (),
    "BertForPreTraining": ("cls.",),
    "BertForMaskedLM": ("cls.predictions.",),
    "BertForSequenceClassification": ("classifier.",),
    "BertForEntityTyping": ("typing.",),
}


def written(name: str, config: dict[str, Any], weights: dict[str, torch.Tensor], folder: Path) -> Path:
    heads = HEADS[name]
    kept = {key: value for key, value in weights.items() if key.startswith(("bert.", *heads))}
    if name == "BertForMaskedLM":
        del kept["bert.pooler.dense.weight"], kept["bert.pooler.dense.bias"]
    if name == "BertModel":
        kept = {key.removeprefix("bert."): value for key, value in kept.items()}
    folder.mkdir()
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    labels = {str(i): f"L{i}" for i in range(3)}
    (folder / "config.json").write_text(json.dumps({**config, "architectures": [name], "id2label": labels}))
    return folder


def given(config: dict[str, Any], seed: int, left: bool = False) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    rows, width = len(LENGTHS), max(LENGTHS)
    columns = torch.arange(width)
    lengths = torch.tensor(LENGTHS)[:, None]
    real = columns >= width - lengths if left else columns < lengths
    known = (torch.rand(rows, width, generator=generator) < 0.5) & real
    known[1] = False  # A text without any entity.
    vectors = torch.randn(rows, width, config["entity_size"], generator=generator, dtype=torch.float64)
    return {
        "input_ids": torch.randint(0, VOCAB, (rows, width), generator=generator),
        "attention_mask": real.long(),
        "token_type_ids": torch.randint(0, config["type_vocab_size"], (rows, width), generator=generator),
        "entity_vectors": vectors,
        "entity_mask": known.long(),
    }


def expected(weights: dict[str, torch.Tensor], config: dict[str, Any], given: dict[str, torch.Tensor], row: int) -> Any:
    real = given["attention_mask"][row].bool()
    return oracle.encode(
        weights,
        config,
        given["input_ids"][row][real].tolist(),
        given["token_type_ids"][row][real].tolist(),
        given["entity_vectors"][row][real],
        given["entity_mask"][row][real].double(),
    )


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("seed", [1, 2, 3, 4])
@torch.no_grad()
def test_equals_the_papers_equations(name: str, seed: int, tmp_path: Path, seen: Callable[..., None]) -> None:
    config = draw(seed)
    weights = checkpoint(config, seed)
    folder = written(name, config, weights, tmp_path / "theirs")
    ours = load_checkpoint(folder, dtype=torch.float64)
    candidates = torch.randn(5, config["entity_size"], dtype=torch.float64)
    for left in (False, True):
        inputs = given(config, seed, left)
        extra = {"entity_candidates": candidates} if name == "BertForPreTraining" else {}
        found = ours(**inputs, **extra)
        for row in range(len(LENGTHS)):
            real = inputs["attention_mask"][row].bool()
            states = expected(weights, config, inputs, row)
            pairs = [(found.last_hidden_state[row][real], states)]
            if name == "BertModel":
                pairs.append((found.pooler_output[row], oracle.pool(weights, states)))
            elif name == "BertForMaskedLM":
                pairs.append((found.logits[row][real], oracle.words(weights, states, config)))
            elif name == "BertForPreTraining":
                follows = oracle.linear(weights, "cls.seq_relationship", oracle.pool(weights, states))
                scores = oracle.entity_scores(weights, states, candidates, config)
                pairs.append((found.prediction_logits[row][real], oracle.words(weights, states, config)))
                pairs.append((found.entity_logits[row][real], scores))
                pairs.append((found.seq_relationship_logits[row], follows))
            elif name == "BertForSequenceClassification":
                pairs.append((found.logits[row], oracle.linear(weights, "classifier", oracle.pool(weights, states))))
            else:
                pairs.append((found.logits[row], weights["typing.weight"] @ oracle.pool(weights, states)))
            for mine, theirs in pairs:
                error = relative_error(mine, theirs)
                assert error <= 1e-9
                seen("ernie-thu", name, error, "float64")
    again = ours.save(tmp_path / "ours")
    assert (again / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()
    assert json.loads((again / "config.json").read_text())["architectures"] == [name]
    assert load_checkpoint(again, dtype=torch.float64).spec == ours.spec


def model(folder: Path, seed: int = 1) -> tuple[Model, dict[str, Any]]:
    config = draw(seed)
    return load_checkpoint(written("BertModel", config, checkpoint(config, seed), folder)), config


@torch.no_grad()
def test_entities_matter_where_they_are_and_nowhere_else(tmp_path: Path) -> None:
    ours, config = model(tmp_path / "theirs")
    inputs = {name: value.float() if value.is_floating_point() else value for name, value in given(config, 5).items()}
    found = ours(**inputs).last_hidden_state
    unseen = inputs | {"entity_vectors": inputs["entity_vectors"] + ~inputs["entity_mask"].bool().unsqueeze(-1) * 3.0}
    assert relative_error(ours(**unseen).last_hidden_state, found) <= 1e-5
    seen = inputs | {"entity_vectors": inputs["entity_vectors"] + 3.0}
    assert relative_error(ours(**seen).last_hidden_state, found) > 1e-3
    none = {name: value for name, value in inputs.items() if "entity" not in name}
    assert relative_error(ours(**none).last_hidden_state[1], found[1]) <= 1e-5


@torch.no_grad()
def test_reading_changes_nothing(tmp_path: Path) -> None:
    ours, config = model(tmp_path / "theirs")
    inputs = {name: value.float() if value.is_floating_point() else value for name, value in given(config, 5).items()}
    trace = Trace("*.entity_attention.weights", "*.entities", "*.hidden")
    assert torch.equal(ours(**inputs, trace=trace).last_hidden_state, ours(**inputs).last_hidden_state)
    last = len(config["layer_types"]) - 1
    weights = trace[f"encoder.{last}.entity_attention.weights"]
    known = inputs["entity_mask"].bool()
    assert float(weights[0].masked_select(~known[0]).abs().max()) == 0.0
    assert trace[f"encoder.{last}.entities"].shape == (*known.shape, config["entity_size"])


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    ours, config = model(tmp_path / "theirs")
    inputs = given(config, 5)
    for wrong in (
        {"entity_vectors": inputs["entity_vectors"][..., :1]},
        {"entity_vectors": inputs["entity_vectors"][:, :2]},
        {"entity_mask": None},
        {"entity_candidates": torch.zeros(2, config["entity_size"])},
    ):
        with pytest.raises(TextError):
            ours(**inputs | wrong)
    folder = written("BertModel", config | {"layer_types": ["sum"]}, checkpoint(config, 1), tmp_path / "wrong")
    with pytest.raises(CheckpointError):
        load_checkpoint(folder)
