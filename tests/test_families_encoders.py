"""Encoders with scores of their own kind: published files, what is refused, and what can be read of them."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from parity.references import VOCAB, save
from parity.test_parity import relative_error
from safetensors.torch import load_file, save_file

from moduformer.errors import CheckpointError, SpecError
from moduformer.families import family
from moduformer.model import build
from moduformer.trace import Trace
from moduformer.weights.checkpoint import load_checkpoint

DEBERTA = {
    "vocab_size": VOCAB,
    "hidden_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 20,
    "max_position_embeddings": 40,
    "relative_attention": True,
    "position_buckets": 6,
    "pos_att_type": ["p2c", "c2p"],
    "share_att_key": True,
    "norm_rel_ebd": "layer_norm",
    "position_biased_input": False,
}
SMALL = {"vocab_size": 40, "hidden_size": 12, "num_attention_heads": 2, "intermediate_size": 20}


def deberta(**changes: Any) -> Any:
    model = transformers.DebertaV2ForMaskedLM(
        transformers.DebertaV2Config(**DEBERTA | {"legacy": False} | changes)
    ).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.4, generator=generator)
    return model


def published(folder: Path) -> Any:
    """A folder as DeBERTa v3's: no class named, pretraining's heads and unused positions beside the body."""
    theirs = deberta()
    save(theirs, folder)
    config = json.loads((folder / "config.json").read_text())
    for key in ("architectures", "legacy"):
        del config[key]
    config["pos_att_type"] = "p2c|c2p"
    (folder / "config.json").write_text(json.dumps(config))
    tensors = load_file(folder / "model.safetensors")
    tensors["deberta.embeddings.position_embeddings.weight"] = torch.randn(40, 12)
    for name, shape in (("dense.weight", (12, 12)), ("dense.bias", (12,)), ("classifier.weight", (1, 12))):
        tensors[f"mask_predictions.{name}"] = torch.randn(shape)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return theirs


@torch.no_grad()
def test_published_deberta_v3(tmp_path: Path) -> None:
    theirs = published(tmp_path)
    ids = torch.randint(5, VOCAB, (2, 11))
    body = load_checkpoint(tmp_path)
    assert relative_error(body(ids).last_hidden_state, theirs.deberta(ids).last_hidden_state) <= 1e-5
    filler = load_checkpoint(tmp_path, task="fill-mask")
    assert relative_error(filler(ids).logits, theirs(ids).logits) <= 1e-5
    classifier = load_checkpoint(tmp_path, task="text-classification", labels=("a", "b", "c"), new_head=True)
    assert classifier(ids).logits.shape == (2, 3)
    with pytest.raises(CheckpointError, match="new_head"):
        load_checkpoint(tmp_path, task="text-classification")


@pytest.mark.parametrize("terms", ["c2p", "p2c", "c2p|p2c"])
@pytest.mark.parametrize("shared", [False, True])
@torch.no_grad()
def test_every_set_of_terms(terms: str, shared: bool, tmp_path: Path) -> None:
    theirs = deberta(pos_att_type=terms, share_att_key=shared, conv_kernel_size=3)
    ours = load_checkpoint(save(theirs, tmp_path))
    ids = torch.randint(5, VOCAB, (3, 11))
    assert relative_error(ours(ids).logits, theirs(ids).logits) <= 1e-5


@torch.no_grad()
def test_long_texts_reach_the_last_buckets() -> None:
    config = DEBERTA | {"max_position_embeddings": 512, "position_buckets": 256}
    theirs = transformers.DebertaV2Model(transformers.DebertaV2Config(**config)).eval()
    ours = build(family("deberta-v2").read(config, "DebertaV2Model"))
    positions = torch.arange(700)
    expected = transformers.models.deberta_v2.modeling_deberta_v2.build_relative_position(
        torch.zeros(1, 700, 1), torch.zeros(1, 700, 1), 256, 512
    )[0]
    found = ours.encoder.distances._rows(positions[:, None] - positions[None, :])
    assert torch.equal(found, (expected + 256).clamp(0, 511))
    assert theirs.encoder.rel_embeddings.weight.shape == ours.encoder.distances.weight.shape


@torch.no_grad()
def test_reading_attention_changes_nothing(tmp_path: Path) -> None:
    theirs = deberta()
    theirs.set_attn_implementation("eager")
    ours = load_checkpoint(save(theirs, tmp_path))
    ids = torch.randint(5, VOCAB, (3, 11))
    trace = Trace("*.attention.weights")
    assert torch.equal(ours(ids, trace=trace).logits, ours(ids).logits)
    expected = theirs(ids, output_attentions=True).attentions
    for layer, weights in enumerate(expected):
        assert relative_error(trace[f"encoder.{layer}.attention.weights"], weights) <= 1e-5


def test_both_layouts_of_the_masked_lm_are_kept(tmp_path: Path) -> None:
    for legacy, name in ((True, "cls.predictions.transform.dense"), (False, "lm_predictions.lm_head.dense")):
        folder = save(deberta(legacy=legacy), tmp_path / f"{legacy}")
        again = load_checkpoint(folder).save(tmp_path / f"{legacy} again")
        assert f"{name}.weight" in load_file(again / "model.safetensors")


def test_training_reaches_every_parameter() -> None:
    config = DEBERTA | {"share_att_key": False, "conv_kernel_size": 3, "layer_norm_eps": 1e-7}
    model = build(family("deberta-v2").read(config, "DebertaV2ForMaskedLM"), seed=1).train()
    ids = torch.randint(5, VOCAB, (3, 11))
    model(ids, labels=ids).loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert float(parameter.grad.abs().sum()) > 0 or "position_k.bias" in name or ".k." in name, name
    groups = [parameter for _, members in model.layer_groups() for parameter in members]
    assert {id(p) for p in groups} == {id(p) for p in model.parameters()}
    assert len(groups) == len(list(model.parameters()))


REFUSED = [
    ("deberta-v2", "DebertaV2Model", DEBERTA | {"pos_att_type": ["c2p", "p2p"]}),
    ("deberta-v2", "DebertaV2Model", DEBERTA | {"pos_att_type": None}),
    ("deberta-v2", "DebertaV2Model", DEBERTA | {"relative_attention": False}),
    ("deberta-v2", "DebertaV2Model", DEBERTA | {"norm_rel_ebd": "batch_norm"}),
    ("deberta-v2", "DebertaV2Model", DEBERTA | {"conv_kernel_size": 2}),
    ("deberta-v2", "DebertaV2Model", DEBERTA | {"conv_kernel_size": 3, "conv_act": "mish"}),
    ("deberta-v2", "DebertaV2Model", DEBERTA | {"position_buckets": 80}),
    ("deberta-v2", "DebertaV2Model", DEBERTA | {"position_buckets": "many"}),
    ("deberta-v2", "DebertaV2ForMaskedLM", DEBERTA | {"tie_word_embeddings": False}),
    ("deberta-v2", "DebertaV2ForSequenceClassification", DEBERTA | {"pooler_hidden_size": 10}),
    ("xlnet", "XLNetModel", {"bi_data": True}),
    ("xlnet", "XLNetModel", {"same_length": True}),
    ("xlnet", "XLNetModel", {"attn_type": "both"}),
    ("xlnet", "XLNetModel", {"d_head": 0}),
    ("xlnet", "XLNetForSequenceClassification", {"summary_type": "attn"}),
    ("xlnet", "XLNetForSequenceClassification", {"summary_use_proj": False}),
    ("ernie-thu", "BertModel", SMALL | {"layer_types": "norm"}),
    ("ernie-thu", "BertModel", SMALL | {"layer_types": ["norm"] * 13}),
    ("ernie-thu", "BertModel", SMALL | {"layer_types": ["norm"], "entity_size": 7}),
    ("ernie-thu", "BertModel", SMALL | {"layer_norm_eps": 1e-5}),
]


@pytest.mark.parametrize(("model_type", "architecture", "config"), REFUSED)
def test_what_is_not_supported_is_refused(model_type: str, architecture: str, config: dict[str, Any]) -> None:
    with pytest.raises((CheckpointError, SpecError)):
        family(model_type).read(config, architecture)


PRESETS = [
    ("deberta-v2", "deberta-v3-base"),
    ("deberta-v2", "deberta-v2-xlarge"),
    ("xlnet", "xlnet-base-cased"),
    ("ernie-thu", "ernie-thu-base"),
    ("ernie", "ernie-3.0-nano-zh"),
    ("electra", "electra-base-generator"),
]


@pytest.mark.parametrize(("model_type", "preset"), PRESETS)
def test_a_config_is_written_as_it_is_read(model_type: str, preset: str) -> None:
    member = family(model_type)
    config = dict(member.presets[preset])
    name = config.pop("architecture", None)
    spec = member.read(config, name)
    assert member.read(member.write(spec), name) == spec
    assert type(spec).from_dict(json.loads(json.dumps(spec.to_dict()))) == spec
