"""Layers that are one compiled call, against the same layers step by step."""

import copy
from dataclasses import replace

import pytest
import torch
from core_models import SPECS, randomise

import moduformer as mf
import moduformer.blocks.compiled
from moduformer import blocks, kernels, native
from moduformer.architecture import ALiBi, Norm, RelativeSinusoids
from moduformer.batch import Batch
from moduformer.generate.decoding import Decoding
from moduformer.model import Model
from moduformer.native.library import reason
from moduformer.quantize import quantize, unpacked
from moduformer.trace import Trace

compiled = pytest.mark.skipif(not native.available(), reason=f"no compiled kernels: {reason()}")
codes = pytest.mark.skipif(not native.multiplies_codes(), reason=f"no compiled products of codes: {reason()}")
SCHEMES = ["float32", "float16", pytest.param("int8", marks=codes), pytest.param("int4", marks=codes)]


def watch(monkeypatch, of: type, name: str) -> list[int]:
    """The compiled calls of layers from now on."""
    called: list[int] = []
    function = getattr(of, name)

    def noted(self, *arguments):
        called.append(1)
        return function(self, *arguments)

    monkeypatch.setattr(of, name, noted)
    return called


LLAMA = SPECS["llama"]
LAYER = LLAMA.decoder.pattern[0]
LOOK, INNER = LAYER.attention, LAYER.feed_forward
STEPS = {
    "llama": LAYER,
    "window": replace(LAYER, attention=replace(LOOK, window=3)),
    "biased": replace(LAYER, attention=replace(LOOK, bias=True), feed_forward=replace(INNER, bias=True)),
    "pairs": replace(LAYER, attention=replace(LOOK, position=replace(LOOK.position, pairing="pairs"))),
    "part": replace(LAYER, attention=replace(LOOK, position=replace(LOOK.position, dim=4))),
    "unturned": replace(LAYER, attention=replace(LOOK, position=None)),
    "scaled": replace(LAYER, attention=replace(LOOK, scale=0.7)),
}
OTHERS = {
    "gelu": replace(LAYER, feed_forward=replace(INNER, activation="gelu")),
    "ungated": replace(LAYER, feed_forward=replace(INNER, gated=False)),
    "capped": replace(LAYER, attention=replace(LOOK, softcap=2.0)),
    "clipped": replace(LAYER, attention=replace(LOOK, clip=0.5)),
    "sloped": replace(LAYER, attention=replace(LOOK, position=ALiBi())),
    "layer norm": replace(LAYER, norm=replace(LAYER.norm, kind="layer")),
    "unit offset": replace(LAYER, norm=replace(LAYER.norm, unit_offset=True)),
    "norms after": replace(LAYER, norm_at=("in", "out")),
    "parallel": replace(LAYER, flow="parallel"),
    "residual": replace(LAYER, residual_scale=2.0),
    "normed residual": replace(LAYER, residual="normed"),
}


@compiled
@pytest.mark.parametrize("name", [*STEPS, *OTHERS])
@pytest.mark.parametrize("scheme", ["float32", pytest.param("int8", marks=codes)])
def test_steps_of_a_cache_are_what_one_pass_gives(name, scheme, monkeypatch):
    spec = replace(LLAMA, decoder=replace(LLAMA.decoder, pattern=((STEPS | OTHERS)[name],)))
    model = quantize(randomise(mf.build(spec), 6).eval(), scheme, heads=scheme)
    layers = watch(monkeypatch, native.DecoderLayer, "step")
    decoding = Decoding(model, [[5, 6, 7, 8, 9, 10], [12, 13]])
    for a, b in ((7, 14), (8, 15)):
        decoding.advance([a, b])
    with torch.no_grad():
        whole = model.run(Batch.from_lists([[5, 6, 7, 8, 9, 10, 7, 8], [12, 13, 14, 15]])).heads["language-model"]
        floats = unpacked(model).run(Batch.from_lists([[5, 6, 7, 8, 9, 10, 7, 8]])).heads["language-model"]
    slack = {"float32": 1e-5, "int8": 0.02}[scheme]  # a code may fall either way
    torch.testing.assert_close(decoding.logits, whole[[7, 11]], atol=slack, rtol=slack)
    torch.testing.assert_close(decoding.logits[0], floats[7], atol=5 * slack, rtol=5 * slack)
    assert bool(layers) == (name in STEPS)


@compiled
def test_a_compiled_step_gives_way_to_hooks_traces_and_changed_weights(monkeypatch):
    model = quantize(randomise(mf.build(SPECS["llama"]), 6).eval(), "float32")
    layers = watch(monkeypatch, native.DecoderLayer, "step")

    def said() -> torch.Tensor:
        layers.clear()
        decoding = Decoding(model, [[5, 6]])
        return decoding.advance([7])

    first = said()
    assert layers
    seen = []
    hook = model.decoder.layer(0).feed_forward.register_forward_hook(lambda *given: seen.append(1))
    torch.testing.assert_close(said(), first, atol=1e-5, rtol=1e-4)
    assert len(seen) == 2
    hook.remove()
    copied = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in model.decoder.layer(0).attention_norm_in.parameters():
            parameter.mul_(3)
    assert not torch.allclose(said(), first, atol=1e-3)
    model = copied
    torch.testing.assert_close(said(), first)
    assert layers


BERT = replace(SPECS["bert"], dim=32, embedding=replace(SPECS["bert"].embedding, width=32), heads=())
OWN = BERT.encoder.pattern[0]
SEEN, FED = OWN.attention, OWN.feed_forward
ENCODERS = {
    "bert": OWN,
    "unbiased": replace(
        OWN, attention=replace(SEEN, bias=False, out_bias=False), feed_forward=replace(FED, bias=False)
    ),
    "shared keys": replace(OWN, attention=replace(SEEN, kv_heads=1)),
    "scaled": replace(OWN, attention=replace(SEEN, scale=0.7)),
    "other widths": replace(OWN, attention=replace(SEEN, head_dim=6), feed_forward=replace(FED, width=40)),
}
NO_ENCODERS = {
    "relu": replace(OWN, feed_forward=replace(FED, activation="relu")),
    "gated": replace(OWN, feed_forward=replace(FED, gated=True)),
    "window": replace(OWN, attention=replace(SEEN, window=2)),
    "sloped": replace(OWN, attention=replace(SEEN, position=ALiBi())),
    "relative": replace(OWN, attention=replace(SEEN, position=RelativeSinusoids())),
    "norms before": replace(OWN, norm_at=("in",)),
    "root mean square": replace(OWN, norm=Norm("rms")),
    "norm without shift": replace(OWN, norm=Norm(bias=False)),
    "inner norm": replace(OWN, feed_forward=replace(FED, norm=Norm())),
    "residual": replace(OWN, residual_scale=2.0),
    "parallel": replace(OWN, norm_at=("in",), flow="parallel"),
}
ROWS = [[7, 5, 9, 21, 5, 30, 8], [3, 4, 22], [39], [4, 17, 3, 9, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21]]


def encoder(name: str, scheme: str) -> Model:
    spec = replace(BERT, encoder=replace(BERT.encoder, pattern=((ENCODERS | NO_ENCODERS)[name],)))
    return quantize(randomise(mf.build(spec), 6).eval(), scheme)


def read(model: Model, rows: list[list[int]]) -> torch.Tensor:
    with torch.inference_mode():
        return model.run(Batch.from_lists(rows, order=range(len(rows)))).hidden


@compiled
@pytest.mark.parametrize("name", [*ENCODERS, *NO_ENCODERS])
@pytest.mark.parametrize("scheme", ["float32", pytest.param("int8", marks=codes)])
def test_an_encoder_layer_is_what_its_parts_are(name, scheme, monkeypatch):
    model = encoder(name, scheme)
    layers = watch(monkeypatch, native.EncoderLayer, "run")
    found = read(model, ROWS)
    assert bool(layers) == (name in ENCODERS)
    slack = {"float32": 1e-5, "int8": 0.05}[scheme]  # a code may fall either way
    torch.testing.assert_close(found, read(unpacked(model), ROWS), atol=slack, rtol=slack)


@compiled
@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_row_is_the_same_to_the_bit_alone_and_among_others(scheme, monkeypatch):
    layers = watch(monkeypatch, native.EncoderLayer, "run")
    model = encoder("bert", scheme)
    together = read(model, ROWS).split([len(row) for row in ROWS])
    assert layers
    assert all(torch.equal(read(model, [row]), own) for row, own in zip(ROWS, together, strict=True))


@compiled
@pytest.mark.parametrize("scheme", SCHEMES)
def test_one_layer_of_every_scheme(scheme, monkeypatch):
    model = encoder("bert", scheme)
    layers = watch(monkeypatch, native.EncoderLayer, "run")
    whole = read(model, ROWS)
    assert len(layers) == 2
    monkeypatch.setattr(blocks.compiled, "layer", lambda *given: None)
    parts = read(model, ROWS)
    assert len(layers) == 2
    # Codes that fall the other way for a last digit make the difference.
    torch.testing.assert_close(whole, parts, atol=0.02, rtol=0.02)


@compiled
def test_layers_that_are_watched_changed_or_training_go_step_by_step(monkeypatch):
    model = encoder("bert", "float32")
    layers = watch(monkeypatch, native.EncoderLayer, "run")
    first = read(model, ROWS)
    assert len(layers) == 2

    def again(count: int) -> torch.Tensor:
        layers.clear()
        found = read(model, ROWS)
        assert len(layers) == count
        return found

    seen: list[int] = []
    hook = model.encoder.layer(1).attention.out.register_forward_hook(lambda *given: seen.append(1))
    torch.testing.assert_close(again(1), first, atol=1e-5, rtol=1e-4)
    assert seen
    hook.remove()
    torch.testing.assert_close(again(2), first, atol=0, rtol=0)

    layers.clear()
    trace = Trace("encoder.0.attention.weights")
    with torch.inference_mode():
        model.run(Batch.from_lists(ROWS), trace=trace)
    assert not layers
    model.run(Batch.from_lists(ROWS))  # with gradients
    assert not layers

    block, other = model.encoder.layer(0), encoder("bert", "float32").encoder.layer(1)
    kept = block.feed_forward.down
    block.feed_forward.down = other.feed_forward.down
    assert not torch.allclose(again(2), first, atol=1e-3)
    block.feed_forward.down = kept
    torch.testing.assert_close(again(2), first, atol=0, rtol=0)
    block.feed_forward_norm_res.weight = torch.nn.Parameter(torch.full((32,), 2.0))
    assert not torch.allclose(again(2), first, atol=1e-3)


@compiled
def test_long_rows_go_step_by_step(monkeypatch):
    spec = replace(BERT, embedding=replace(BERT.embedding, positions=replace(BERT.embedding.positions, max=600)))
    model = quantize(randomise(mf.build(spec), 6).eval(), "float32")
    layers = watch(monkeypatch, native.EncoderLayer, "run")
    read(model, [[3] * (kernels.COMPILED + 1)])
    assert not layers
    read(model, [[3] * kernels.COMPILED])
    assert layers
