"""Files of AWD-LSTM under fastai's names, against the papers' formulas."""

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from core_models import randomise
from oracles import recurrent as oracle
from safetensors.torch import load_file, save_file

from moduformer.architecture import Transform
from moduformer.errors import CheckpointError
from moduformer.families import family, spec
from moduformer.model import build
from moduformer.train.adaptation import Adaptation, adapt
from moduformer.train.encoded import Encoded
from moduformer.train.loop import train
from moduformer.train.objectives import Classification
from moduformer.train.recipes import recipe
from moduformer.weights.checkpoint import load_checkpoint

LAYER = ("module.weight_ih_l0", "module.bias_ih_l0", "module.bias_hh_l0")


def tensors(config: dict, seed: int, version: int = 2, body: str = "0.") -> dict[str, torch.Tensor]:
    """What fastai keeps of a language model: version 1 also the matrix that dropout has gone over."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator) * 0.5

    dim, hidden, layers = config["emb_sz"], config["n_hid"], config["n_layers"]
    table = draw(config["vocab_sz"], dim)
    found = {f"{body}encoder.weight": table, f"{body}encoder_dp.emb.weight": table.clone()}
    for i in range(layers):
        inputs, width = dim if i == 0 else hidden, dim if i == layers - 1 else hidden
        raw = draw(4 * width, width)
        found[f"{body}rnns.{i}.weight_hh_l0_raw"] = raw
        if version == 1:
            found[f"{body}rnns.{i}.module.weight_hh_l0"] = raw.clone()
        for name, shape in zip(LAYER, ((4 * width, inputs), (4 * width,), (4 * width,))):
            found[f"{body}rnns.{i}.{name}"] = draw(*shape)
    if body == "0.":
        found["1.decoder.weight"] = table.clone()
        if config.get("out_bias", True):
            found["1.decoder.bias"] = draw(config["vocab_sz"])
    return found


def files(folder: Path, config: dict, held: dict[str, torch.Tensor], name: str = "AWDLSTMLanguageModel") -> Path:
    folder.mkdir()
    ordered = dict(sorted(held.items()))
    save_file(ordered, folder / "model.safetensors", metadata={"format": "pt"})
    whole = {"model_type": "awd_lstm", "architectures": [name], **config}
    (folder / "config.json").write_text(json.dumps(whole))
    return folder


def drawn(seed: int) -> dict:
    rng = random.Random(seed)
    return {
        "vocab_sz": 31, "emb_sz": rng.randint(5, 9), "n_hid": rng.randint(6, 12), "n_layers": rng.randint(1, 4),
        "out_bias": seed != 2, "backward": seed == 3,
    }  # fmt: skip


def ours(held: dict[str, torch.Tensor], layers: int, vocab: int) -> dict[str, torch.Tensor]:
    """The same weights under the names the formulas use."""
    found = {"embedding.tokens.weight": held["0.encoder.weight"].double()}
    found["heads.language-model.bias"] = held.get("1.decoder.bias", torch.zeros(vocab)).double()
    for i in range(layers):
        found[f"decoder.{i}.weight_hh_l0"] = held[f"0.rnns.{i}.weight_hh_l0_raw"].double()
        for name in LAYER:
            found[f"decoder.{i}.{name.removeprefix('module.')}"] = held[f"0.rnns.{i}.{name}"].double()
    return found


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("seed", [1, 2, 3])
@torch.no_grad()
def test_a_published_language_model_loads_and_saves(
    seed: int, version: int, tmp_path: Path, seen: Callable[..., None]
) -> None:
    config = drawn(seed)
    held = tensors(config, seed, version)
    folder = files(tmp_path / "theirs", config, held)
    model = load_checkpoint(folder)
    assert model.spec.num_parameters() == model.num_parameters()
    layers, dim = config["n_layers"], config["emb_sz"]
    widths = [config["n_hid"]] * (layers - 1) + [dim]
    row = [5, 9, 30, 2, 2, 17]
    direction = "backward" if config["backward"] else "forward"
    _, logits = oracle.language_model(ours(held, layers, 31), "lstm", direction, widths, row)
    found = model(torch.tensor([row])).logits[0].double()
    error = float((found - logits).abs().max() / logits.abs().max())
    assert error <= 1e-5
    seen("awd_lstm", "AWD-LSTM", error)
    again = model.save(tmp_path / "ours")
    assert (again / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()
    assert load_checkpoint(again).spec == model.spec


def test_the_first_releases_names_are_read(tmp_path: Path) -> None:
    config = drawn(2)
    held = tensors(config, 2)
    old = {
        name.replace("encoder_dp.emb", "encoder_with_dropout.embed").replace(
            ".weight_hh_l0_raw", ".module.weight_hh_l0_raw"
        ): tensor
        for name, tensor in held.items()
    }
    assert "0.rnns.0.module.weight_hh_l0_raw" in old
    folder = tmp_path / "old"
    folder.mkdir()
    torch.save(old, folder / "pytorch_model.bin")
    (folder / "config.json").write_text(json.dumps({"model_type": "awd_lstm", **config}))
    first, second = load_checkpoint(folder), load_checkpoint(files(tmp_path / "new", config, held))
    for name, parameter in first.named_parameters():
        assert torch.equal(parameter, second.get_parameter(name)), name


def test_a_classifier_begins_with_a_language_model_or_an_encoder(tmp_path: Path) -> None:
    config = drawn(1)
    for body, kind in (
        ("0.", "AWDLSTMLanguageModel"),
        ("0.module.", "AWDLSTMForSequenceClassification"),
        ("", "AWDLSTMModel"),
    ):
        folder = files(tmp_path / f"theirs{body}", config, tensors(config, 1, 1, body), kind)
        model = load_checkpoint(folder, "text-classification", labels=("no", "yes"), new_head=True)
        head = model.spec.head("classify")
        assert (head.reads, head.transform) == ("concat", Transform(50, "relu"))
        assert model(torch.tensor([[3, 4, 5], [6, 7, 8]])).logits.shape == (2, 2)
        saved = model.save(tmp_path / f"ours{body}")
        names = load_file(saved / "model.safetensors")
        assert {"0.module.encoder.weight", "classifier.dense.weight", "classifier.out.bias"} <= set(names)
        twice = load_checkpoint(saved)
        for name, parameter in model.named_parameters():
            assert torch.equal(parameter, twice.get_parameter(name)), name


def test_what_differs_from_its_twin_is_an_error(tmp_path: Path) -> None:
    config = drawn(1)
    for seed, name in enumerate(("1.decoder.weight", "0.rnns.0.module.weight_hh_l0")):
        held = tensors(config, 1, 1)
        held[name][0, 0] += 1
        with pytest.raises(CheckpointError, match="must be equal"):
            load_checkpoint(files(tmp_path / str(seed), config, held))
    with pytest.raises(CheckpointError, match="bidir"):
        load_checkpoint(files(tmp_path / "both", {**config, "bidir": True}, tensors(config, 1)))
    untied = {**config, "tie_weights": False}
    held = tensors(config, 1, 1)
    held["1.decoder.weight"][0, 0] += 1
    model = load_checkpoint(files(tmp_path / "untied", untied, held))
    assert torch.equal(model.get_parameter("heads.language-model.weight"), held["1.decoder.weight"])


def test_published_sizes() -> None:
    sizes = {
        "wt103-fwd": 44_333_280,
        "wt103-bwd": 44_333_280,
        "awd-lstm-wt103": 115_596_400,
        "awd-lstm-wikitext2": 33_556_078,
        "seq2seq-lstm": 384_000_000 + 8 * 8000,  # Sutskever et al., section 3.4: 384M; biases beside
        "seq2seq-gru-bahdanau": 80_401_000,
        "seq2seq-lstm-luong": 221_032_000 + 8 * 4000,  # one bias a gate more, as PyTorch has it
    }
    assert {name: spec(name).num_parameters() for name in sizes} == sizes


def small(backward: bool = False) -> dict:
    return {"vocab_sz": 40, "emb_sz": 12, "n_hid": 16, "n_layers": 2, "backward": backward}


@pytest.mark.parametrize("backward", [False, True])
def test_ulmfit_from_language_model_to_classifier(backward: bool) -> None:
    """Howard & Ruder 2018: adapt the language model, then train a classifier from the top down."""
    rng = random.Random(1)
    rows, labels = [], []
    for _ in range(240):
        label = rng.randrange(2)
        row = [rng.randrange(10, 40) for _ in range(rng.randint(3, 6))]
        row[rng.randrange(len(row))] = 5 + label
        rows.append(row)
        labels.append(label)
    member = family("awd_lstm")
    body = randomise(build(member.read({**small(backward), "output_p": 0.0}, "AWDLSTMLanguageModel")), 1)
    examples = Encoded.of(rows)
    before = body.embedding.tokens.weight.clone()
    history = adapt(body, examples, Adaptation(epochs=2, learning_rate=5e-3), seed=1)
    assert history.total_steps > 0
    assert not torch.equal(before, body.embedding.tokens.weight)

    config = {**small(backward), "weight_p": 0.0, "input_p": 0.0, "hidden_p": 0.0, "embed_p": 0.0, "num_labels": 2}
    model = randomise(build(member.read(config, "AWDLSTMForSequenceClassification")), 2)
    model.embedding, model.decoder = body.embedding, body.decoder
    assert [name for name, _ in model.layer_groups()] == ["embedding", "decoder.0", "decoder.1", "head"]
    ulmfit = recipe("ulmfit", epochs=10, learning_rate=2e-2, batch_size=16, seed=1)
    train(model, examples, labels, ulmfit.settings, objective=Classification())
    model.eval()
    with torch.no_grad():
        found = [int(model(torch.tensor([row])).logits.argmax()) for row in rows]
    assert sum(a == b for a, b in zip(found, labels)) >= 220
