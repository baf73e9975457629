"""What published files of BART's and T5's relatives hold beside weights: tied copies, tables of sinusoids, biases."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import transformers
from parity.drawn.encoder_decoders import REFERENCES
from parity.references import Reference, make, save
from safetensors.torch import load_file, save_file
from transformers.models.mbart.modeling_mbart import shift_tokens_right

from moduformer.errors import CheckpointError
from moduformer.families import family, family_of, spec
from moduformer.model import build
from moduformer.weights.checkpoint import load_checkpoint

Tensors = dict[str, torch.Tensor]


def folder(model_type: str, name: str, where: Path, change: Callable[[Tensors], None]) -> Path:
    """A reference's files, with other tensors in them."""
    reference = next(member for member in REFERENCES if member.family == model_type)
    made = save(make(reference, name, 1), where)
    tensors = load_file(made / "model.safetensors")
    change(tensors)
    save_file(tensors, made / "model.safetensors", metadata={"format": "pt"})
    return made


@torch.no_grad()
def test_copies_of_the_table_may_be_in_the_file_and_come_back(tmp_path: Path) -> None:
    def publish(tensors: Tensors) -> None:
        for name in ("model.encoder.embed_tokens", "model.decoder.embed_tokens", "lm_head"):
            tensors[f"{name}.weight"] = tensors["model.shared.weight"].clone()

    made = folder("bart", "BartForConditionalGeneration", tmp_path / "theirs", publish)
    again = load_checkpoint(made).save(tmp_path / "ours")
    assert (again / "model.safetensors").read_bytes() == (made / "model.safetensors").read_bytes()

    def damage(tensors: Tensors) -> None:
        publish(tensors)
        tensors["model.encoder.embed_tokens.weight"][7] += 1

    with pytest.raises(CheckpointError, match="must be equal"):
        load_checkpoint(folder("bart", "BartForConditionalGeneration", tmp_path / "other", damage))


def test_versions_of_fairseq_are_no_parameters(tmp_path: Path) -> None:
    def version(tensors: Tensors) -> None:
        tensors["model.encoder.version"], tensors["model.decoder.version"] = torch.ones(1), torch.ones(1)

    load_checkpoint(folder("bart", "BartForConditionalGeneration", tmp_path, version))


@torch.no_grad()
def test_a_bias_that_the_file_does_not_have_is_zero(tmp_path: Path) -> None:
    whole = load_checkpoint(folder("bart", "BartForConditionalGeneration", tmp_path / "whole", lambda tensors: None))
    model = load_checkpoint(
        folder(
            "bart", "BartForConditionalGeneration", tmp_path / "less", lambda tensors: tensors.pop("final_logits_bias")
        )
    )
    ids, after = torch.tensor([[5, 6, 7, 2]]), torch.tensor([[2, 9, 8]])
    difference = whole(ids, decoder_input_ids=after).logits - model(ids, decoder_input_ids=after).logits
    assert torch.allclose(difference, whole.heads["language-model"].bias.expand_as(difference), atol=1e-5)
    assert float(difference.abs().max()) > 0.1


@pytest.mark.parametrize(("model_type", "name"), [("marian", "MarianModel"), ("pegasus", "PegasusModel")])
def test_a_table_of_sinusoids_is_compared(model_type: str, name: str, tmp_path: Path) -> None:
    table = "decoder.embed_positions.weight"

    def learned(tensors: Tensors) -> None:
        tensors[table][3, 2] += 0.1

    with pytest.raises(CheckpointError, match=r"decoder\.embed_positions\.weight.*holds other numbers"):
        load_checkpoint(folder(model_type, name, tmp_path / "learned", learned))

    def reshaped(tensors: Tensors) -> None:
        tensors[table] = tensors[table].reshape(1, -1)

    with pytest.raises(CheckpointError, match="holds other numbers"):
        load_checkpoint(folder(model_type, name, tmp_path / "reshaped", reshaped))

    def halved(tensors: Tensors) -> None:
        tensors[table] = tensors[table].half()

    made = folder(model_type, name, tmp_path / "halved", halved)
    stored = load_file(load_checkpoint(made).save(tmp_path / "again") / "model.safetensors")[table]
    assert torch.equal(stored, load_file(made / "model.safetensors")[table])

    load_checkpoint(folder(model_type, name, tmp_path / "none", lambda tensors: tensors.pop(table)))


@torch.no_grad()
def test_a_target_begins_with_the_code_of_its_language(tmp_path: Path) -> None:
    reference = next(member for member in REFERENCES if member.family == "mbart")
    theirs = make(reference, "MBartForConditionalGeneration", 2)
    ours = load_checkpoint(save(theirs, tmp_path))
    labels = torch.tensor([[9, 8, 7, 2, 30], [11, 12, 2, 31, -100], [13, 2, 32, -100, -100]])
    assert torch.equal(ours.shift_right(labels), shift_tokens_right(labels, theirs.config.pad_token_id))
    ids = torch.tensor([[5, 6, 7, 2, 30]] * 3)
    found, expected = ours(ids, labels=labels).loss, theirs(input_ids=ids, labels=labels).loss
    assert abs(float(found - expected)) < 1e-5


@pytest.mark.parametrize(
    ("model_type", "config", "named"),
    [
        ("bart", {"normalize_before": True}, "normalize_before"),
        ("bart", {"static_position_embeddings": True}, "static_position_embeddings"),
        ("bart", {"tie_word_embeddings": False}, "tie_word_embeddings"),
        ("mbart", {"add_final_layer_norm": False}, "add_final_layer_norm"),
        ("pegasus", {"normalize_embedding": True}, "normalize_embedding"),
        ("marian", {"decoder_vocab_size": 100}, "decoder_vocab_size"),
        ("marian", {"tie_word_embeddings": False}, "share_encoder_decoder_embeddings"),
        ("switch_transformers", {"router_dtype": "bfloat16"}, "router_dtype"),
        ("switch_transformers", {"encoder_sparse_step": -2}, "sparse"),
        ("switch_transformers", {"num_sparse_decoder_layers": 2.5}, "sparse"),
    ],
)
def test_what_no_spec_can_say_is_refused_by_name(model_type: str, config: dict[str, object], named: str) -> None:
    with pytest.raises(CheckpointError, match=named):
        family(model_type).read(config)


def test_settings_of_generation_stay_in_the_config(tmp_path: Path) -> None:
    kept = {"forced_bos_token_id": 0, "forced_eos_token_id": 2, "num_beams": 4, "no_repeat_ngram_size": 3}
    made = folder("bart", "BartForConditionalGeneration", tmp_path / "theirs", lambda tensors: None)
    config = json.loads((made / "config.json").read_text()) | kept
    (made / "config.json").write_text(json.dumps(config))
    again = json.loads((load_checkpoint(made).save(tmp_path / "ours") / "config.json").read_text())
    assert {name: again[name] for name in kept} == kept


@pytest.mark.parametrize("name", ["t5-small", "flan-t5-small", "switch-base-8", "bart-base", "opus-mt-en-de"])
def test_a_new_model_is_saved_as_its_own_family(name: str) -> None:
    own = next(
        member for member in map(family, ("t5", "switch_transformers", "bart", "marian")) if name in member.presets
    )
    assert family_of(spec(name))[0] is own


@pytest.mark.parametrize("reference", [pytest.param(r, id=r.family) for r in REFERENCES])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_config_can_be_written_from_the_spec_alone(reference: Reference, seed: int) -> None:
    member = family(reference.family)
    config = reference.draw(random.Random(f"{reference.family}-{seed}")).to_dict()
    for name in reference.classes:
        wanted = member.read({**config, "num_labels": 3, "id2label": None}, name)
        assert member.read({**member.write(wanted), "num_labels": 3}, name) == wanted


@torch.no_grad()
def test_gated_experts_count_and_run() -> None:
    """Switch-XXL's layers are gated, which `transformers` cannot build."""
    small = {"d_model": 12, "d_ff": 20, "num_heads": 2, "d_kv": 4, "num_layers": 2, "num_decoder_layers": 2}
    read = family("switch_transformers").read
    config = {**small, "vocab_size": 30, "dense_act_fn": "gated-gelu", "num_sparse_encoder_layers": 1}
    model = build(read(config, "SwitchTransformersForConditionalGeneration"), seed=1)
    assert model.num_parameters() == model.spec.num_parameters()
    assert bool(model(torch.tensor([[3, 4, 5]]), decoder_input_ids=torch.tensor([[0, 3]])).logits.isfinite().all())


transformers.logging.set_verbosity_error()
