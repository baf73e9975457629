"""Heads off, effects, and gradients: against what is done by hand."""

import pytest
import torch
from view_models import decoder, encoder, encoder_decoder, recurrent, vision

import moduformer as mf
from moduformer.errors import TextError
from moduformer.view.gradient import graded, relevance
from moduformer.view.record import record
from moduformer.view.switching import Layers, edits

TEXT = "The movie was very good, and the story of the old city was long."
PICTURE = torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(0))


def made(name: str):
    if name == "vision":
        return record(vision(), image=PICTURE)
    if name in ("bert", "llama", "gpt2"):
        return record(encoder() if name == "bert" else decoder(name), TEXT)
    return record(recurrent() if name == "bahdanau" else encoder_decoder(name), TEXT, "the story was long")


def without_by_hand(recording, attention: str, layer: int, head: int) -> torch.Tensor:
    """The prediction with the head's part of the output projection's input set to zero."""
    stack, kind = attention.split(".")
    owner = recording.model.vision.stack if stack == "vision" else getattr(recording.model, stack)
    module = getattr(owner.layer(layer), kind)
    width = module.settings.head_dim

    def zero(_, given):
        (mixed,) = given
        mixed = mixed.clone()
        mixed[:, head * width : (head + 1) * width] = 0
        return (mixed,)

    hook = module.out.register_forward_pre_hook(zero)
    try:
        again = record(recording.model, *arguments(recording))
    finally:
        hook.remove()
    return again.prediction.values


def arguments(recording):
    if "image" in recording.inputs.readings:
        return None, None, PICTURE
    return (TEXT, "the story was long") if "target" in recording.inputs.readings else (TEXT,)


@pytest.mark.parametrize("name", ["bert", "llama", "gpt2", "t5", "transformer", "vision"])
def test_off_is_zero_into_the_output_projection(name):
    """Values of a head's own (bert, gpt2), values that heads share (llama), cross-attention (t5)."""
    recording = made(name)
    for attention, found in recording.attentions.items():
        for layer, head in ((0, 1), (1, 0)):
            wanted = without_by_hand(recording, attention, layer, head)
            off = recording.off([(attention, layer, head)])
            listed = wanted.topk(min(10, len(wanted))).values if recording.asked.labels is None else wanted
            assert off["prediction"]["probabilities"] == pytest.approx(listed.tolist(), abs=1e-5)
            variation = float((wanted - recording.prediction.values).abs().sum() / 2)
            assert off["moved"] == pytest.approx(variation, abs=1e-5)
            assert found.layers.own_values == (name != "llama")
    assert recording.off([])["moved"] == 0


@pytest.mark.parametrize("name", ["bert", "llama", "t5", "vision", "bahdanau"])
def test_effects_in_batches_are_those_of_heads_alone(name, monkeypatch):
    monkeypatch.setattr("moduformer.view.record.BATCH", 100)
    recording = made(name)
    for attention, found in recording.attentions.items():
        effects = recording.effects(attention)
        assert effects.shape == (len(found.layers), found.layers.heads)
        for layer in range(len(found.layers)):
            for head in range(found.layers.heads):
                alone = recording.off([(attention, layer, head)])["moved"]
                assert float(effects[layer, head]) == pytest.approx(alone, abs=1e-5)


def test_several_heads_of_several_layers_off_at_once():
    recording = made("t5")
    off = [("encoder.attention", 0, 0), ("encoder.attention", 0, 1), ("decoder.cross_attention", 1, 1)]
    names = {name: each.layers for name, each in recording.attentions.items()}
    trace = mf.Trace("*.weights", edit=edits(names, [off]))
    with torch.no_grad():
        recording.inputs.run(recording.model, trace)
    found = recording.off(off)
    assert found["moved"] > 0
    assert found["written"]["probabilities"] != recording.data["written"]["probabilities"]
    assert recording.off(off) == found
    with pytest.raises(TextError, match="no head 2"):
        recording.off([("encoder.attention", 0, 2)])


def test_weights_are_edited_where_values_are_shared():
    layers = {"a": Layers(("decoder.0.attention",), 4, False), "b": Layers(("encoder.1.attention",), 4, True)}
    found = edits(layers, [[("a", 0, 1)], [("b", 0, 3), ("a", 0, 0)]])
    assert set(found) == {"decoder.0.attention.weights", "encoder.1.attention.v"}
    weights = found["decoder.0.attention.weights"](torch.ones(2, 4, 3, 3))
    assert weights.sum((2, 3)).tolist() == [[9, 0, 9, 9], [0, 9, 9, 9]]
    values = found["encoder.1.attention.v"](torch.ones(6, 4, 5))
    assert values.view(2, 3, 4, 5).sum((1, 3)).tolist() == [[15] * 4, [15, 15, 15, 0]]


def test_five_lines_of_python_switch_a_head_off():
    """What docs/viewer.md says."""
    model = encoder()
    ids = torch.tensor([model.tokenizer.encode(TEXT).ids])

    def without(weights: torch.Tensor) -> torch.Tensor:
        weights[:, [0]] = 0
        return weights

    with torch.no_grad():
        trace = mf.Trace(edit={"encoder.1.attention.weights": without})
        shares = model(input_ids=ids, trace=trace).logits.softmax(-1)[0]
    recording = record(model, TEXT)
    assert recording.off([("encoder.attention", 1, 0)])["prediction"]["probabilities"] == pytest.approx(
        shares.tolist(), abs=1e-5
    )


@pytest.mark.parametrize("frozen", [False, True])
def test_gradients_are_those_of_autograd_by_hand(frozen):
    """Finite differences on single weights, and the rule R = R + A R on the products."""
    recording = made("bert")
    recording.model.double().requires_grad_(not frozen)
    names = ["encoder.0.attention", "encoder.1.attention"]
    number = recording.prediction.listed[1]

    def score(trace) -> torch.Tensor:
        return recording.inputs.run(recording.model, trace).heads["classify"][0, number]

    kept = graded(score, names)
    plain = mf.Trace("*.weights")
    with torch.no_grad():
        score(plain)
    for name in names:
        weights = plain[f"{name}.weights"][0]
        for head, query, key in ((0, 0, 3), (1, 4, 2), (1, 0, 0)):

            def value(step: float, name=name, head=head, query=query, key=key) -> float:
                def move(found: torch.Tensor) -> torch.Tensor:
                    found = found.clone()
                    found[0, head, query, key] += step
                    return found

                with torch.no_grad():
                    return float(score(mf.Trace(edit={f"{name}.weights": move})))

            slope = (value(1e-4) - value(-1e-4)) / 2e-4
            wanted = max(0.0, float(weights[head, query, key]) * slope)
            assert float(kept[name][head, query, key]) == pytest.approx(wanted, rel=1e-4, abs=1e-9)
    found = relevance(kept, {"encoder.attention": names}, "encoder.attention")
    identity = torch.eye(kept[names[0]].shape[1], dtype=torch.float64)
    by_hand = (identity + kept[names[1]].mean(0)) @ (identity + kept[names[0]].mean(0))
    assert torch.allclose(found.weights, by_hand)
    assert torch.allclose(found.heads, torch.stack([kept[name].mean((1, 2)) for name in names]))


@pytest.mark.parametrize("name", ["bert", "llama", "t5", "vision", "bahdanau"])
def test_every_kind_of_model_has_gradients(name):
    recording = made(name)
    for attention, found in recording.attentions.items():
        heads, weights = recording.gradient(attention, 0)
        assert heads.shape == (len(found.layers), found.layers.heads)
        assert weights.shape == tuple(recording._lengths(found))
        assert bool((heads >= 0).all())
        assert bool((heads > 0).any())
        assert bool(torch.isfinite(weights).all())
    assert all(parameter.grad is None for parameter in recording.model.parameters())


def test_why_a_token_was_written():
    recording = made("llama")
    ids = recording.inputs.ids
    last = recording.gradient("decoder.attention", token=len(ids) - 1)[1]
    assert not torch.equal(last, recording.gradient("decoder.attention", token=2)[1])
    with pytest.raises(TextError, match="no written token 0"):
        recording.gradient("decoder.attention", token=0)
    with pytest.raises(TextError, match="no label 10"):
        recording.gradient("decoder.attention", target=10)


def test_relevance_between_sequences_by_hand():
    generator = torch.Generator().manual_seed(1)
    kept = {
        "encoder.0.attention": torch.rand(2, 4, 4, generator=generator),
        "decoder.0.attention": torch.rand(2, 3, 3, generator=generator),
        "decoder.0.cross_attention": torch.rand(2, 3, 4, generator=generator),
    }
    names = {name.replace(".0", ""): (name,) for name in kept}
    encoder_mean, decoder_mean, cross = (each.mean(0) for each in kept.values())

    def bar(added: torch.Tensor) -> torch.Tensor:
        return added / added.sum(-1, keepdim=True) + torch.eye(len(added))

    wanted = bar(decoder_mean).T @ cross @ bar(encoder_mean)
    assert torch.allclose(relevance(kept, names, "decoder.cross_attention").weights, wanted, atol=1e-6)
