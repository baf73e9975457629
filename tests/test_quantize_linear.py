"""Coded layers against slow references in float64, and whole quantised models against their float selves."""

import numpy as np
import pytest
import torch
from core_models import SPECS, randomise
from torch import nn

import moduformer as mf
from moduformer import native
from moduformer.batch import Batch
from moduformer.errors import CheckpointError, SpecError, TrainingError
from moduformer.lora import Lora
from moduformer.quantize import Int4Linear, Int8Linear, quantize
from moduformer.quantize import linear as room
from moduformer.quantize.linear import token_codes

TEXTS = [[5, 6, 7, 8, 9, 3, 2], [3, 4], [11, 12, 13], [7]]


def layer(out, inputs, bias=True, seed=0):
    torch.manual_seed(seed)
    weight = torch.randn(out, inputs) * torch.rand(out, 1)
    return weight, torch.randn(out) if bias else None


def tokens(rows, inputs, seed=1):
    torch.manual_seed(seed)
    # Skewed ranges with one large value, as after a norm or an activation.
    hidden = torch.randn(rows, inputs) * torch.rand(rows, 1) * 5 + torch.randn(rows, 1)
    hidden[:, 3] += 20
    return hidden


def model_of(name, seed=1):
    return randomise(mf.build(SPECS[name]), seed).eval()


def run(model, texts=TEXTS):
    batch = Batch.from_lists(texts)
    both = model.encoder is not None and model.decoder is not None
    with torch.no_grad():
        states = model.run(batch, Batch.from_lists(texts, order=batch.order) if both else None)
    return states.hidden, states.heads


# One layer ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("out", "inputs", "rows"), [(16, 16, 1), (24, 16, 5), (48, 384, 50), (10, 1536, 7)])
@pytest.mark.parametrize("bias", [True, False])
def test_int8_is_the_product_of_what_its_codes_stand_for(out, inputs, rows, bias):
    weight, shift = layer(out, inputs, bias)
    hidden = tokens(rows, inputs)
    coded = Int8Linear.of(weight, shift, 0)
    codes, scale, middle = (part.double().numpy() for part in token_codes(hidden))
    w = coded.codes.double().numpy() * coded.scale.double().numpy()[:, None]
    wanted = (codes * scale + middle) @ w.T + (0 if shift is None else shift.double().numpy())
    # Nothing but float32 rounding of a few operations on exact integers.
    assert np.abs(coded(hidden).double().numpy() - wanted).max() < 2e-6 * np.abs(wanted).max()


def test_int8_steps_are_half_a_scale_at_most():
    weight, _ = layer(32, 64)
    coded = Int8Linear.of(weight, None, 0)
    assert ((coded.weight - weight).abs() <= 0.5001 * coded.scale.unsqueeze(1)).all()
    assert torch.equal(coded.codes.abs().amax(1), torch.full((32,), 127, dtype=torch.int8))
    # The last has two neighbouring floats, between which there is no middle.
    neighbours = torch.tensor([1e6, 1e6 + 0.0625]).repeat(1, 32)
    hidden = torch.cat((tokens(50, 64), torch.full((1, 64), 3.0), torch.zeros(1, 64), neighbours))
    codes, scale, middle = token_codes(hidden)
    error = (codes.double() * scale.double() + middle.double() - hidden.double()).abs()
    assert (error <= 0.5001 * scale.double() + 1e-30).all()


@pytest.mark.parametrize("group", [32, 64, 128])
@pytest.mark.parametrize("rows", [1, 5, 40])
def test_int4_is_the_product_of_what_its_codes_stand_for(group, rows):
    weight, shift = layer(48, 256)
    hidden = tokens(rows, 256).bfloat16().float()
    coded = Int4Linear.of(weight, shift, group)
    stored = coded.tensors()
    pairs = stored["codes"].numpy()
    codes = np.stack((pairs % 16, pairs // 16), axis=-1).reshape(48, 256 // group, group).astype(np.float64)
    scale, offset = (stored[name].double().numpy()[:, :, None] for name in ("scale", "offset"))
    w = ((codes - 8) * scale + offset).reshape(48, 256)
    assert np.array_equal(coded.weight.double().numpy(), w.astype(np.float32))
    if native.multiplies_codes():
        # What the codes of a token's groups stand for is multiplied exactly, and summed in float32.
        parts = hidden.view(rows, -1, group)
        step = parts.abs().amax(2, keepdim=True) / 127
        given, share = ((parts / step).round() * step).flatten(1).double().numpy(), 1e-5
    else:
        # Dequantised weights and the sum are rounded to bfloat16 (8 bits): of each term, and of the result.
        given, share = hidden.double().numpy(), 2**-8
    error = np.abs(coded(hidden).double().numpy() - given @ w.T - shift.double().numpy())
    assert (error <= share * (np.abs(given) @ np.abs(w).T)).all()
    # The steps: a group's range has 15 of them, clipped to 0.8 of it at the most.
    spread = (weight.view(48, -1, group).amax(2) - weight.view(48, -1, group).amin(2)).repeat_interleave(group, 1)
    assert ((coded.weight - weight).abs() <= spread * (0.1 + 0.5 / 15 + 0.05)).all()


def test_int4_ranges_are_chosen_for_the_least_error(monkeypatch):
    weight, _ = layer(64, 256)
    found = (Int4Linear.of(weight, None, 64).weight - weight).square().mean()
    plain = weight.view(64, -1, 64)
    low, step = plain.amin(2, keepdim=True), (plain.amax(2, keepdim=True) - plain.amin(2, keepdim=True)) / 15
    minmax = ((plain - low) / step).round() * step + low
    assert found < 0.97 * (minmax - plain).square().mean()


@pytest.mark.parametrize("kind", [Int8Linear, Int4Linear])
def test_a_token_has_the_same_result_alone_and_in_any_batch(kind):
    weight, shift = layer(48, 384)
    coded = kind.of(weight, shift, 32)
    hidden = tokens(130, 384)
    together = coded(hidden)
    for i in (0, 1, 63, 129):
        assert torch.equal(coded(hidden[i : i + 1])[0], together[i])
    assert torch.equal(coded(hidden[:33]), together[:33])
    assert torch.equal(coded(hidden.view(10, 13, 384)), together.view(10, 13, 48))
    assert coded(hidden[:0]).shape == (0, 48)


def test_activations_scaled_by_the_whole_batch_would_be_seen():
    """What the test above guards against, as `torch.ao`'s dynamic layers do it."""
    hidden = tokens(5, 384)
    step = (hidden.amax() - hidden.amin()) / 254
    alone = (hidden[:1].amax() - hidden[:1].amin()) / 254
    assert not torch.equal((hidden[:1] / step).round() * step, (hidden[:1] / alone).round() * alone)


def test_a_processor_without_exact_int8_products_gets_the_same_numbers(monkeypatch):
    weight, shift = layer(48, 384)
    coded, hidden = Int8Linear.of(weight, shift, 0), tokens(20, 384)
    fast = coded(hidden)
    monkeypatch.setattr(room, "integers_are_exact", lambda: False)
    assert torch.equal(coded(hidden), fast)


def test_values_that_are_not_numbers_stay_that():
    weight, shift = layer(16, 32)
    hidden = tokens(3, 32)
    hidden[1, 5] = float("nan")
    found = Int8Linear.of(weight, shift, 0)(hidden)
    assert found[1].isnan().all()
    assert torch.isfinite(found[[0, 2]]).all()


# Whole models -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("scheme", ["int8", "int4"])
def test_a_quantised_model_agrees_with_its_float_self(name, scheme):
    model = model_of(name)
    count, (hidden, heads) = model.num_parameters(), run(model)
    quantize(model, scheme, heads="int8")
    found, coded = run(model)
    assert torch.nn.functional.cosine_similarity(hidden, found, dim=1).min() > 0.998
    for kind, logits in heads.items():
        assert torch.nn.functional.cosine_similarity(logits.flatten(), coded[kind].flatten(), dim=0) > 0.998
    assert not torch.equal(hidden, found)
    assert model.num_parameters() == count
    assert (model.dtype, model.device.type) == (torch.float32, "cpu")
    linear = [
        m for stack in (model.encoder, model.decoder) if stack for m in stack.modules() if isinstance(m, nn.Linear)
    ]
    assert linear == []


@pytest.mark.parametrize("name", ["bert", "llama"])
def test_a_text_has_the_same_result_alone_and_in_a_batch(name):
    model = quantize(model_of(name))
    hidden, _ = run(model)
    start = 0
    # Batches hold the longest first.
    for text in sorted(TEXTS, key=len, reverse=True):
        alone, _ = run(model, [text])
        # Float sums of attention may differ by an ulp, which may move a code by one step; nothing larger.
        assert torch.allclose(alone, hidden[start : start + len(text)], atol=0.02)
        start += len(text)


def test_generation_with_a_cache_equals_one_pass():
    model = quantize(model_of("llama"), heads="int8")
    prompt = torch.tensor([[3, 4, 5]])
    made = model.generate(prompt, max_new_tokens=6, do_sample=False)
    logits = model(input_ids=made).logits[0]
    assert logits[2:-1].argmax(-1).tolist() == made[0, 3:].tolist()


def test_traces_read_a_quantised_model():
    model = quantize(model_of("bert"))
    trace = mf.Trace("encoder.*.attention.weights", "encoder.1.hidden")
    ids = torch.tensor([[3, 4, 5, 6]])
    out = model(input_ids=ids, trace=trace)
    assert torch.equal(out.last_hidden_state, model(input_ids=ids).last_hidden_state)
    assert trace["encoder.0.attention.weights"].sum(-1) == pytest.approx(1.0, abs=1e-5)


def test_shapes_the_4_bit_kernel_does_not_take_become_int8():
    model = quantize(model_of("gpt2"), "int4")
    assert model.quantization.layers["decoder.0.attention.qkv"] == "int8"
    assert set(quantize(model_of("gpt_neox"), "int4").quantization.layers.values()) == {"int4", "int8"}


# What it cannot do --------------------------------------------------------------------------------------------------


def test_training_and_adapters_are_refused_and_leave_the_model_as_it_was():
    model = quantize(model_of("bert"))
    with pytest.raises(TrainingError, match="packed as int8, which cannot be trained"):
        model.train()
    assert not any(module.training for module in model.modules())
    with pytest.raises(TrainingError, match="packed as int8"):
        Lora(model)
    hidden = torch.ones(1, 16, requires_grad=True)
    with pytest.raises(TrainingError, match="no gradient"):
        model.encoder.layer(0).attention.qkv(hidden)
    assert model(input_ids=torch.tensor([[3, 4]])).logits.requires_grad is False


def test_a_change_of_type_spares_codes_and_scales_and_another_device_is_refused():
    model = quantize(model_of("bert"))
    coded = model.encoder.layer(0).attention.qkv
    scale = coded.scale.clone()
    model.to(torch.bfloat16)
    assert torch.equal(coded.scale, scale)
    assert model(input_ids=torch.tensor([[3, 4]])).last_hidden_state.dtype == torch.bfloat16
    with pytest.raises(CheckpointError, match="CPU"):
        model.to("meta")


def test_wrong_wishes_are_refused():
    with pytest.raises(SpecError, match="int3"):
        quantize(model_of("bert"), "int3")
    with pytest.raises(SpecError, match="group"):
        quantize(model_of("bert"), "int4", group=48)
    with pytest.raises(SpecError, match="already"):
        quantize(quantize(model_of("bert")))
    with pytest.raises(SpecError, match="meta"):
        quantize(mf.build(SPECS["bert"], device="meta"))
    broken = model_of("bert")
    with torch.no_grad():
        broken.encoder.layer(1).feed_forward.down.weight[0, 0] = float("inf")
    with pytest.raises(SpecError, match=r"encoder\.1\.feed_forward\.down"):
        quantize(broken)
    assert broken.quantization is None
    assert isinstance(broken.encoder.layer(0).feed_forward.down, nn.Linear)
