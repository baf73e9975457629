"""Heads that read one shared stack through a module of their own, as those of ERNIE 3.0 Titan do."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from core_models import SEEING, SPECS, randomise
from torch import Tensor

import moduformer as mf
from moduformer.architecture import (
    Attention,
    Block,
    EntityStream,
    FeedForward,
    Head,
    Spec,
    Stack,
    TaskModule,
    Transform,
)
from moduformer.architecture.words import describe
from moduformer.batch import Batch
from moduformer.catalog.published import Size, published
from moduformer.errors import SpecError, TextError
from moduformer.model import Model, build
from moduformer.trace import Trace
from moduformer.train.encoded import Encoded
from moduformer.train.objectives import MaskedLanguage, NextToken
from moduformer.train.together import Together

SPEC = published(
    "ernie-3-titan",
    Size(2, dim=16, heads=2, head_dim=8, width=24, vocab=40, context=48, module=Size(2, 8, 2, 4, 12, vocab=0)),
)
ROWS = [[7, 5, 9, 21, 5, 30, 8], [3, 4, 22], [4, 3, 15, 16, 39]]
BOTH, NEXT = "masked-lm", "language-model"


def drawn(spec: Spec) -> Model:
    """A model of random weights whose norms, six in a row, leave something of what came in."""
    model = randomise(build(spec), 1).double()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(("norm.weight", "norm_res.weight")):
                parameter += 1
    return model


@pytest.fixture(scope="module")
def model() -> Model:
    return drawn(SPEC)


def in_order(rows: list[list[int]]) -> Batch:
    return Batch.from_lists(rows, order=range(len(rows)))


# A plain slow model from the paper's description: a row at a time, a head at a time, with the masks written out.


def slow_layer(hidden: Tensor, weights: dict[str, Tensor], name: str, heads: int, seen: Tensor) -> Tensor:
    def linear(part: str, x: Tensor) -> Tensor:
        return x @ weights[f"{name}.{part}.weight"].T + weights[f"{name}.{part}.bias"]

    def norm(part: str, x: Tensor) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        scale = (centred.square().mean(-1, keepdim=True) + 1e-5).rsqrt()
        return centred * scale * weights[f"{name}.{part}.weight"] + weights[f"{name}.{part}.bias"]

    q, k, v = (linear(f"attention.{part}", hidden).chunk(heads, dim=-1) for part in "qkv")
    mixed = []
    for i in range(heads):
        scores = (q[i] @ k[i].T / math.sqrt(q[i].shape[1])).masked_fill(~seen, -math.inf)
        mixed.append(scores.softmax(-1) @ v[i])
    hidden = norm("attention_norm_res", hidden + linear("attention.out", torch.cat(mixed, -1)))
    inner = F.gelu(linear("feed_forward.up", hidden))
    return norm("feed_forward_norm_res", hidden + linear("feed_forward.down", inner))


def slow(model: Model, ids: list[int], kind: str, prefix: int) -> Tensor:
    """The logits of one head for one row, whose first `prefix` tokens all of it sees."""
    weights = {name: value.detach() for name, value in model.views().items()}
    places = torch.arange(len(ids))
    causal = (places[None, :] <= places[:, None]) | (places[None, :] < prefix)
    hidden = weights["embedding.tokens.weight"][ids] + weights["embedding.positions.weight"][: len(ids)]
    hidden = F.layer_norm(
        hidden, hidden.shape[-1:], weights["embedding.norm.weight"], weights["embedding.norm.bias"], 1e-5
    )
    for layer in range(2):
        hidden = slow_layer(hidden, weights, f"decoder.{layer}", 2, causal)
    module = f"heads.{kind}.module"
    hidden = hidden @ weights[f"{module}.projection.weight"].T + weights[f"{module}.projection.bias"]
    for layer in range(2):
        seen = torch.ones_like(causal) if kind == BOTH else causal
        hidden = slow_layer(hidden, weights, f"{module}.stack.{layer}", 2, seen)
    return hidden @ weights[f"heads.{kind}.weight"].T


@pytest.mark.parametrize("read", ["causally", "half", "both ways"])
@torch.no_grad()
def test_logits_are_those_of_a_plain_model(model: Model, read: str) -> None:
    prefixes = {"causally": [0, 0, 0], "half": [4, 1, 2], "both ways": [7, 3, 5]}[read]
    batch = in_order(ROWS).located(prefixes=torch.tensor(prefixes))
    found = model.run(batch).heads
    for kind in (BOTH, NEXT):
        expected = [slow(model, row, kind, prefix) for row, prefix in zip(ROWS, prefixes)]
        assert torch.allclose(found[kind], torch.cat(expected), rtol=0, atol=1e-9)


@torch.no_grad()
def test_both_ways_is_the_whole_row_as_prefix(model: Model) -> None:
    by_hand = in_order(ROWS).located(prefixes=torch.tensor([7, 3, 5]))
    found, expected = model.run(model.both_ways(in_order(ROWS))).heads, model.run(by_hand).heads
    assert all(torch.equal(found[kind], expected[kind]) for kind in expected)
    padded = torch.tensor([[7, 5, 9], [3, 4, 0]])
    out = model(padded, torch.tensor([[1, 1, 1], [1, 1, 0]]), prefix_lengths=torch.tensor([3, 2]))
    alone = model.run(model.both_ways(in_order([[3, 4]]))).heads
    assert torch.allclose(out.prediction_logits[1, :2], alone[BOTH], rtol=0, atol=1e-9)
    encoder = build(SPECS["bert"])
    batch = in_order(ROWS)
    assert encoder.both_ways(batch) is batch


@torch.no_grad()
def test_understanding_sees_what_follows_and_writing_does_not(model: Model) -> None:
    changed = [*ROWS[0][:-1], 11]
    both = [model.run(model.both_ways(in_order([row]))).heads[BOTH] for row in (ROWS[0], changed)]
    ahead = [model.run(in_order([row])).heads[NEXT] for row in (ROWS[0], changed)]
    assert float((both[0] - both[1]).abs().amax(-1).min()) > 1e-3
    assert torch.equal(ahead[0][:-1], ahead[1][:-1])
    assert not torch.equal(ahead[0][-1], ahead[1][-1])


@torch.no_grad()
def test_a_row_is_the_same_alone_and_in_a_batch(model: Model) -> None:
    for arranged in (model.both_ways, lambda batch: batch):
        together = model.run(arranged(in_order(ROWS))).heads
        for kind, logits in together.items():
            for row, part in zip(ROWS, logits.split([len(row) for row in ROWS])):
                assert torch.allclose(part, model.run(arranged(in_order([row]))).heads[kind], rtol=0, atol=1e-9)


@pytest.mark.parametrize("prefix", [0, 3])
@pytest.mark.parametrize("window", [None, 3])
@torch.no_grad()
def test_steps_equal_one_pass(window: int | None, prefix: int) -> None:
    model = drawn(windowed(window))
    rows = [row[:3] + row for row in ROWS]
    prefixes = torch.tensor([prefix] * 3)
    expected = model.run(in_order(rows).located(prefixes=prefixes)).heads[NEXT].split([len(row) for row in rows])
    cache = model.cache(3)
    assert set(cache.modules) == {NEXT}
    found: list[list[Tensor]] = [[], [], []]
    first = Batch.following([row[:3] for row in rows], cache.seen).located(prefixes=prefixes)
    states = model.run(first, cache=cache)
    assert set(states.heads) == {NEXT}, "what sees both ways says nothing of a text that goes on"
    for row, part in enumerate(states.heads[NEXT].split(3)):
        found[row].append(part)
    for place in range(3, 6):
        states = model.run(Batch.following([[row[place]] for row in rows], cache.seen), cache=cache)
        for row, part in enumerate(states.heads[NEXT]):
            found[row].append(part[None])
    for got, wanted in zip(found, expected):
        assert torch.allclose(torch.cat(got), wanted[:6], rtol=0, atol=1e-9)


def windowed(window: int | None) -> Spec:
    """The model with a window of its own in the module that writes."""
    head = SPEC.heads[1]
    assert head.module is not None
    block = head.module.stack.pattern[0]
    narrow = replace(block, attention=replace(block.attention, window=window))
    stack = replace(head.module.stack, pattern=(narrow,))
    return replace(SPEC, heads=(SPEC.heads[0], replace(head, module=replace(head.module, stack=stack))))


@torch.no_grad()
def test_the_cache_of_a_module_goes_where_the_cache_goes(model: Model) -> None:
    def after(cache: Any, tokens: list[list[int]]) -> Tensor:
        return model.run(Batch.following(tokens, cache.seen), cache=cache).heads[NEXT]

    cache = model.cache(3)
    after(cache, ROWS)
    cache.select([2, 0, 2])
    cache.truncate([4, 5, 2])
    found = after(cache, [[11], [12], [13]])
    expected = model.run(in_order([[*ROWS[2][:4], 11], [*ROWS[0][:5], 12], [*ROWS[2][:2], 13]]))
    assert torch.allclose(found, expected.heads[NEXT][expected.batch.rows.ends], rtol=0, atol=1e-9)
    cache.keep(2)
    kept = {window: slots.positions for window, slots in cache.slots.items()}
    assert all(torch.equal(cache.modules[NEXT].slots[window].positions, kept[window]) for window in kept)


@torch.no_grad()
def test_a_cut_that_a_module_cannot_follow_changes_nothing() -> None:
    model = randomise(build(windowed(2)), 1)
    cache = model.cache(1)
    for token in ([1, 2, 3, 4, 5, 6, 7, 8], [9]):
        model.run(Batch.following([token], cache.seen), cache=cache)
    with pytest.raises(TextError, match="window of 2"):
        cache.truncate([3])
    assert cache.seen.tolist() == cache.modules[NEXT].seen.tolist() == [9]
    assert int(cache.slots[None].positions.max()) == 8


@torch.no_grad()
def test_greedy_search_takes_the_likeliest_token(model: Model) -> None:
    ids = list(ROWS[0])
    for _ in range(5):
        ids.append(int(slow(model, ids, NEXT, 0)[-1].argmax()))
    assert model.generate(torch.tensor([ROWS[0]]), max_new_tokens=5).tolist() == [ids]


def test_parameters_are_counted_drawn_grouped_and_saved(tmp_path: Path) -> None:
    model = build(SPEC, seed=3)
    assert SPEC.num_parameters() == model.num_parameters()
    without = replace(SPEC, heads=tuple(replace(head, module=None) for head in SPEC.heads))
    small = SPEC.heads[0].module
    assert small is not None
    assert small.num_parameters(16) == sum(p.numel() for p in model.heads[BOTH].module.parameters())
    tables = 2 * 40 * (16 - 8)
    assert SPEC.num_parameters() == without.num_parameters() + 2 * small.num_parameters(16) - tables
    grouped = [id(parameter) for _, group in model.layer_groups() for parameter in group]
    assert sorted(grouped) == sorted(id(parameter) for parameter in model.parameters())
    head = dict(model.layer_groups())["head"]
    assert any(parameter is model.heads[NEXT].module.projection.weight for parameter in head)
    again = mf.load(model.save(tmp_path))
    assert again.spec == SPEC
    ids = torch.tensor([ROWS[0]])
    assert torch.equal(again(ids).logits, model(ids).logits)


def test_words_and_data_name_the_module() -> None:
    assert Spec.from_dict(SPEC.to_dict()) == SPEC
    deeper = windowed(3)
    assert "heads.language-model.module.stack.block.attention.window" in str(SPEC.diff(deeper))
    told = describe(SPEC)
    assert ("  module", "width 8, 2 layers, causal") in told
    assert told != describe(deeper)


@torch.no_grad()
def test_a_trace_names_what_a_module_does(model: Model) -> None:
    trace = Trace("*")
    model.run(in_order(ROWS), trace=trace)
    weights = trace[f"{NEXT}.1.attention.weights"]
    assert weights.shape == (3, 2, 7, 7)
    assert float(weights[0].triu(1).abs().max()) == 0.0
    assert float(trace[f"{BOTH}.1.attention.weights"][0].min()) > 0.0


def test_both_objectives_train_at_once_as_they_do_apart() -> None:
    model = build(SPEC, seed=0)
    examples, rows, cpu = Encoded.of(ROWS), torch.arange(3).numpy(), torch.device("cpu")
    parts = (NextToken(), MaskedLanguage(mask_id=0, vocab=40))
    together = Together(parts, shares=(1.0, 6.0))
    prepared = together.prepare(examples, None, rows, 0, cpu)
    apart = [part.prepare(examples, None, rows, 0, cpu) for part in parts]
    assert prepared.weight == apart[0].weight + 6 * apart[1].weight
    loss = together.loss(model, prepared)
    wanted = parts[0].loss(model, apart[0]) + 6 * parts[1].loss(model, apart[1])
    assert torch.allclose(loss, wanted)
    loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_hidden_words_are_guessed_from_both_sides(model: Model) -> None:
    objective = MaskedLanguage(mask_id=0, vocab=40)
    prepared = objective.prepare(Encoded.of(ROWS), None, torch.arange(3).numpy(), 0, torch.device("cpu"))
    logits = model.run(model.both_ways(prepared.batch)).heads[BOTH]
    wanted = F.cross_entropy(logits.float(), prepared.wanted, ignore_index=-100, reduction="sum")
    assert torch.allclose(objective.loss(model, prepared), wanted)
    one_way = F.cross_entropy(model.run(prepared.batch).heads[BOTH].float(), prepared.wanted, reduction="sum")
    assert not torch.allclose(one_way, wanted)


def small(**changes: Any) -> TaskModule:
    return TaskModule(8, Stack(1, (replace(Block(Attention(2, 4, 2), FeedForward(12)), **changes),)))


def tag(**changes: Any) -> Head:
    return Head("tag", outputs=3, module=small(**changes))


POOL = Head("pool", reads="first", transform=Transform(16, "tanh"))


@pytest.mark.parametrize(
    ("base", "heads", "message"),
    [
        ("bert", (POOL, Head("classify", reads="pool", outputs=2, module=small())), "has no effect on a head"),
        ("bert", (Head("pool", reads="first", module=small()), Head("classify", reads="pool")), "vector of width 8"),
        ("bert", (Head("masked-lm", tied=True, module=small()),), "projects another width"),
        ("bert", (replace(tag(), module=replace(small(), dim=0)),), "module.dim must be a whole number"),
        ("bert", (tag(cross_attention=Attention(2, 4, 2)),), "cannot have cross_attention"),
        ("bert", (tag(entities=EntityStream(4)),), "reads states alone"),
        ("bert", (tag(attention=Attention(3, 4, 2)),), "cannot share"),
        ("gpt2", (Head("language-model", module=small()),), "must be causal"),
    ],
)
def test_what_has_no_effect_or_cannot_be_built_is_refused(base: str, heads: tuple[Head, ...], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        replace(SPECS[base], heads=heads)


def test_a_module_of_an_image_is_refused() -> None:
    spec = SEEING["clip"]
    with pytest.raises(SpecError, match="between a text's states and a head"):
        replace(spec, vision=replace(spec.vision, heads=(Head("embed", reads="first", outputs=10, module=small()),)))


@torch.no_grad()
def test_any_head_of_any_stack_may_have_one() -> None:
    """One vector a row through a module, beside a pooled one that reads it and a head that does not."""
    heads = (
        Head("pool", reads="first", transform=Transform(16, "tanh"), module=small()),
        Head("next-sentence", reads="pool", outputs=2),
        Head("classify", reads="mean", outputs=3, norm=SPEC.embedding.norm, module=small()),
        Head("tag", outputs=3),
    )
    model = randomise(build(replace(SPECS["bert"], heads=heads)), 1)
    found = model.run(in_order(ROWS)).heads
    assert {kind: tuple(value.shape) for kind, value in found.items()} == {
        "pool": (3, 16),
        "next-sentence": (3, 2),
        "classify": (3, 3),
        "tag": (15, 3),
    }
    alone = model.run(in_order([ROWS[1]])).heads
    assert torch.allclose(alone["next-sentence"][0], found["next-sentence"][1], atol=1e-5)
