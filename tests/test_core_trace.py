"""Reading and editing a forward pass: numbers as transformers', nothing changed by looking, edits where they belong."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from core_models import SPECS, randomise
from parity.drawn import REFERENCES
from parity.references import inputs, make, save

from moduformer.batch import Batch
from moduformer.errors import TraceError
from moduformer.model import Model, build
from moduformer.trace import Trace
from moduformer.weights.checkpoint import load_checkpoint

IDS = torch.randint(3, 40, (3, 9), generator=torch.Generator().manual_seed(0))
MASK = torch.arange(9) < torch.tensor([9, 4, 7])[:, None]


def model_of(name: str) -> Model:
    return randomise(build(SPECS[name]), 5)


def given(model: Model) -> dict[str, torch.Tensor]:
    target = {"decoder_input_ids": IDS.flip(0)[:, :6]} if model.encoder and model.decoder else {}
    return {"input_ids": IDS, "attention_mask": MASK.long(), **target}


@pytest.mark.parametrize("name", SPECS)
@torch.no_grad()
def test_looking_changes_nothing(name: str) -> None:
    model, trace = model_of(name), Trace("*")
    plain = model(**given(model))
    seen = model(**given(model), trace=trace)
    for field in plain.keys():  # noqa: SIM118
        assert torch.equal(plain[field], seen[field]), field
    assert len(trace) > 10
    again = {key: value.clone() for key, value in trace.items()}
    for key, value in trace.items():
        assert torch.equal(value, again[key])
        assert torch.isfinite(value).all()


@pytest.mark.parametrize("padding", ["equal", "right", "left"])
@pytest.mark.parametrize("family", ["bert", "roberta", "albert", "gpt2", "gpt_neox", "llama", "t5"])
@torch.no_grad()
def test_weights_and_hidden_states_equal_transformers(family: str, padding: str, tmp_path: Path) -> None:
    reference = next(r for r in REFERENCES if r.family == family)
    theirs = make(reference, reference.classes[0], 4)
    ours, trace = load_checkpoint(save(theirs, tmp_path)), Trace("*")
    both = inputs(reference, theirs, padding, 4)
    ours(**both.ours, trace=trace)
    out = theirs(**both.theirs, output_attentions=True, output_hidden_states=True)
    real, decoder = both.real, both.decoder_real

    def same(found: torch.Tensor, expected: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor | None) -> None:
        assert found.shape == expected.shape
        if columns is None:
            found, expected = found[rows], expected[rows]
        else:
            cells = (rows[:, None, :, None] & columns[:, None, None, :]).expand_as(expected)
            assert not found[~cells].any()
            found, expected = found[cells], expected[cells]
        assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()

    if decoder is None:
        stack = "encoder" if ours.encoder else "decoder"
        same(trace["embedding"], out.hidden_states[0], real, None) if family != "albert" else None
        for i, weights in enumerate(out.attentions):
            same(trace[f"{stack}.{i}.attention.weights"], weights, real, real)
        final = ours.spec.encoder or ours.spec.decoder
        last = len(out.hidden_states) - (1 if final.final_norm else 0)
        for i, hidden in enumerate(out.hidden_states[1:last]):
            if family != "albert":  # its list holds groups of layers
                same(trace[f"{stack}.{i}.hidden"], hidden, real, None)
        return
    same(trace["embedding"], out.encoder_hidden_states[0], real, None)
    same(trace["decoder.embedding"], out.decoder_hidden_states[0], decoder, None)
    for i, weights in enumerate(out.encoder_attentions):
        same(trace[f"encoder.{i}.attention.weights"], weights, real, real)
    for i, weights in enumerate(out.decoder_attentions):
        same(trace[f"decoder.{i}.attention.weights"], weights, decoder, decoder)
    for i, weights in enumerate(out.cross_attentions):
        same(trace[f"decoder.{i}.cross_attention.weights"], weights, decoder, real)
    for i, hidden in enumerate(out.decoder_hidden_states[1:-1]):
        same(trace[f"decoder.{i}.hidden"], hidden, decoder, None)


@pytest.mark.parametrize("name", SPECS)
@torch.no_grad()
def test_an_edit_that_changes_nothing_changes_nothing(name: str) -> None:
    model = model_of(name)
    plain = model(**given(model)).logits
    for pattern in ("*.hidden", "*.weights", "*.output", "embedding", "*.q", "*.k", "*.v"):
        calls = []
        edit = {pattern: lambda value, calls=calls: calls.append(1) or value}
        edited = model(**given(model), trace=Trace(edit=edit)).logits
        assert calls
        assert (edited - plain).abs().max() <= 1e-6 * plain.abs().max(), pattern


@pytest.mark.parametrize(("name", "attention"), [(n, "attention") for n in SPECS] + [("t5", "cross_attention")])
@torch.no_grad()
def test_switching_a_head_off_is_zeroing_its_slice_of_the_output_projection(name: str, attention: str) -> None:
    model, layer, head = model_of(name), 1, 1
    stack = "decoder" if model.decoder else "encoder"

    def off(weights: torch.Tensor) -> torch.Tensor:
        weights = weights.clone()
        weights[:, head] = 0
        return weights

    where = f"{stack}.{layer}.{attention}"
    trace = Trace("*.hidden", "*.weights", edit={f"{where}.weights": off})
    plain = Trace("*.hidden")
    before = model(**given(model), trace=plain).logits
    edited = model(**given(model), trace=trace).logits
    assert (edited - before).abs().max() > 1e-3
    assert torch.equal(trace[f"{stack}.0.hidden"], plain[f"{stack}.0.hidden"])
    assert not trace[f"{where}.weights"][:, head].any()
    assert trace[f"{where}.weights"][:, 0].any()

    module = getattr(getattr(model, stack).layer(layer), attention)
    size = module.settings.head_dim
    module.out.weight[:, head * size : (head + 1) * size] = 0
    expected = model(**given(model)).logits
    assert (edited - expected).abs().max() <= 1e-5 * expected.abs().max()


@torch.no_grad()
def test_queries_and_hidden_states_can_be_edited() -> None:
    model = model_of("bert")
    for part in ("q", "k", "v"):
        scaled = model(**given(model), trace=Trace(edit={f"encoder.0.attention.{part}": lambda x: 2 * x})).logits
        other = model_of("bert")
        linear = other.encoder.layer(0).attention.qkv
        linear.part(part, linear.weight).mul_(2)
        linear.part(part, linear.bias).mul_(2)
        expected = other(**given(model)).logits
        assert (scaled - expected).abs().max() <= 1e-5 * expected.abs().max()
    # Patching: the hidden states of another text make the rest of the pass that text's.
    trace = Trace("encoder.0.hidden")
    batch = Batch.from_padded(IDS, MASK.long())
    other_text = Batch.from_padded(IDS.flip(1), MASK.long())
    expected = model.run(other_text, trace=trace).heads["classify"]
    flat = other_text.gather(trace["encoder.0.hidden"])
    patched = model.run(batch, trace=Trace(edit={"encoder.0.hidden": lambda _: flat})).heads["classify"]
    assert torch.equal(patched, expected)


@pytest.mark.parametrize("window", [None, 3])
@torch.no_grad()
def test_with_a_cache_keys_lie_at_their_positions(window: int | None) -> None:
    spec = SPECS["llama"]
    block = spec.decoder.pattern[0]
    block = replace(block, attention=replace(block.attention, window=window))
    model = randomise(build(replace(spec, decoder=replace(spec.decoder, pattern=(block,)))), 2)
    rows = [[5, 6, 7, 8, 9, 10], [11, 12, 13, 14]]
    whole = Trace("*")
    model.run(Batch.from_lists(rows, order=range(2)), trace=whole)
    cache, traces = model.cache(2), [Trace("*"), Trace("*"), Trace("*")]
    for trace, end in zip(traces, ((3, 2), (5, 3), (6, 4))):
        begin = cache.seen.tolist()
        model.run(Batch.following([r[a:b] for r, a, b in zip(rows, begin, end)], cache.seen), cache=cache, trace=trace)
    for name in ("weights", "q", "k", "v"):
        name = f"decoder.1.attention.{name}"
        expected = whole[name]
        for row, spans in enumerate((((0, 3), (3, 5), (5, 6)), ((0, 2), (2, 3), (3, 4)))):
            for trace, (a, b) in zip(traces, spans):
                if name.endswith("weights"):
                    found, wanted = trace[name][row, :, : b - a, :b], expected[row, :, a:b, :b]
                elif name.endswith("q"):
                    found, wanted = trace[name][row, : b - a], expected[row, a:b]
                else:
                    oldest = 0 if window is None else max(a - window + 1, 0)
                    found, wanted = trace[name][row, oldest:b], expected[row, oldest:b]
                assert (found - wanted).abs().max() <= 1e-5, (name, row)


def test_names_that_are_not_there() -> None:
    model = model_of("bert")
    trace = Trace("encoder.*.hidden")
    with pytest.raises(TraceError, match="pass trace= to the model first"):
        trace["encoder.0.hidden"]
    model(**given(model), trace=trace)
    assert list(trace) == trace.keys() == ["encoder.0.hidden", "encoder.1.hidden"]
    assert "encoder.0.hidden" in trace
    assert "encoder.7.hidden" not in trace
    with pytest.raises(
        KeyError, match=r"traced: encoder\.0\.hidden, encoder\.1\.hidden.*encoder\.0\.attention\.weights"
    ):
        trace["encoder.0.attention.weights"]
    with pytest.raises(TraceError, match=r"no value is called 'encoder\.0\.attn'"):
        model(**given(model), trace=Trace(edit={"encoder.0.attn": lambda x: x}))


def test_dropout_stays_where_weights_are_edited() -> None:
    spec = SPECS["bert"]
    block = spec.encoder.pattern[0]
    block = replace(block, attention=replace(block.attention, dropout=0.5), dropout=0.0)
    spec = replace(
        spec, encoder=replace(spec.encoder, pattern=(block,)), embedding=replace(spec.embedding, dropout=0.0)
    )
    model = randomise(build(replace(spec, heads=())), 3).train()
    same = Trace(edit={"*.weights": lambda x: x})
    a, b = (model(IDS, trace=same).last_hidden_state for _ in range(2))
    assert not torch.equal(a, b)


def test_gradients_flow_through_edits() -> None:
    model = model_of("bert")
    out = model(**given(model), trace=Trace("*", edit={"encoder.1.attention.weights": lambda w: w * 0.5})).logits.sum()
    out.backward()
    assert model.encoder.layer(1).attention.qkv.weight.grad.abs().max() > 0
