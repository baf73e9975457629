"""Packed float layers: the same numbers, faster; whole models, their files, and what they refuse."""

from dataclasses import replace

import pytest
import torch
from core_models import SPECS, randomise
from test_quantize_files import run
from torch import nn

import moduformer as mf
from moduformer.errors import CheckpointError, SpecError, TrainingError
from moduformer.quantize import Float16Linear, Float32Linear, packed, quantize, unpacked


def model_of(name):
    return randomise(mf.build(SPECS[name]), 4).eval()


@pytest.mark.parametrize(("out", "inputs", "rows"), [(16, 16, 1), (10, 1536, 7), (48, 384, 50), (576, 64, 300)])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("layer", [Float32Linear, Float16Linear])
def test_products_and_sums_are_float32(layer, out, inputs, rows, bias):
    torch.manual_seed(0)
    weight = torch.randn(out, inputs)
    if layer is Float16Linear:
        weight = weight.half().float()
    shift = torch.randn(out) if bias else None
    # No activation here is a float16 number, and sums of float16 would be off by a thousandth.
    hidden = torch.randn(rows, inputs) * 1000 + 0.123
    wanted = nn.functional.linear(hidden.double(), weight.double(), None if shift is None else shift.double())
    made = layer.of(weight, shift)
    assert (made(hidden) - wanted).abs().max() <= 3e-6 * inputs**0.5 * 1000
    assert torch.equal(made.weight, weight)


@pytest.mark.parametrize("name", SPECS)
def test_a_packed_model_computes_what_the_float_one_does(name):
    model = model_of(name)
    wanted, count = run(model), model.num_parameters()
    quantize(model, "float32", heads="float32")
    for a, b in zip(wanted, run(model), strict=True):
        assert (a - b).abs().max() <= 1e-5 * a.abs().max()
    assert model.num_parameters() == count
    assert not [m for stack in (model.encoder, model.decoder) if stack for m in stack.modules() if type(m) is nn.Linear]
    halves = quantize(model_of(name), "float16", heads="float16")
    for a, b in zip(wanted, run(halves), strict=True):
        assert 0 < (a - b).abs().max() <= 1e-2 * a.abs().max()


@pytest.mark.parametrize("name", SPECS)
def test_unpacking_gives_the_same_bits(name):
    wanted = dict(model_of(name).named_parameters())
    floats = unpacked(quantize(model_of(name), "float32", heads="float32"))
    found = dict(floats.named_parameters())
    assert found.keys() == wanted.keys()
    for key, parameter in wanted.items():
        assert torch.equal(found[key], parameter), key
    floats.train()


def test_a_part_without_a_bias_gets_none_back():
    spec = SPECS["bert"]
    block = spec.encoder.pattern[0]
    without = replace(block, attention=replace(block.attention, key_bias=False))
    spec = replace(spec, encoder=replace(spec.encoder, pattern=(without,)))
    model = randomise(mf.build(spec), 4).eval()
    wanted = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    for name, parameter in unpacked(quantize(model, "float32")).named_parameters():
        assert torch.equal(parameter, wanted[name]), name


def test_saving_writes_a_checkpoint_that_every_program_reads(tmp_path):
    from transformers import AutoModelForCausalLM, LlamaConfig

    config = LlamaConfig(
        vocab_size=99, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4
    )
    theirs = AutoModelForCausalLM.from_config(config).eval()
    theirs.save_pretrained(tmp_path / "a")
    mf.load(tmp_path / "a", quantization="float32").save(tmp_path / "b")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "b").eval()
    for a, b in zip(theirs.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)


def test_weights_of_half_precision_lose_nothing():
    model = model_of("llama").bfloat16().float()
    wanted = run(model)
    for a, b in zip(wanted, run(quantize(model, "float16", heads="float16")), strict=True):
        assert (a - b).abs().max() <= 1e-5 * a.abs().max()


@pytest.mark.parametrize("scheme", ["float32", "float16"])
def test_generation_continues_as_one_pass_would(scheme):
    model = quantize(model_of("llama"), scheme, heads=scheme)
    made = model.generate(torch.tensor([[3, 4, 5]]), max_new_tokens=6, do_sample=False)
    logits = model(input_ids=made).logits[0]
    assert logits[2:-1].argmax(-1).tolist() == made[0, 3:].tolist()


def test_what_cannot_be_is_refused(monkeypatch):
    model = model_of("bert")
    with torch.no_grad():
        model.encoder.layer(1).feed_forward.down.weight[0, 0] = 1e5
    with pytest.raises(SpecError, match=r"encoder\.1\.feed_forward\.down holds 100,000, beyond float16's 65,504"):
        quantize(model, "float16")
    assert type(model.encoder.layer(0).attention.out) is nn.Linear
    made = quantize(model_of("bert"), "float32")
    with pytest.raises(TrainingError, match="packed as float32"):
        made.train()
    with pytest.raises(TrainingError, match="no gradient"):
        made.encoder.layer(0).attention.qkv(torch.ones(1, 16, requires_grad=True))
    with pytest.raises(CheckpointError, match="CPU"):
        made.to("meta")

    def absent():
        raise RuntimeError("Didn't find engine")

    with pytest.raises(SpecError, match=r"cannot pack weights by FBGEMM"):
        packed._packed_by("FBGEMM", absent)
