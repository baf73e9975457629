"""The result of one head alone: the last layer is computed of what that head reads, and nothing else changes."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from core_models import SPECS, randomise
from torch import Tensor

from moduformer.architecture import (
    Attention,
    Block,
    Convolution,
    Disentangled,
    DistanceVectors,
    Head,
    Spec,
    Stack,
    Transform,
)
from moduformer.batch import Batch
from moduformer.blocks.stack import Stack as BuiltStack
from moduformer.errors import TextError
from moduformer.families import family
from moduformer.lora import Lora
from moduformer.model import Model, build
from moduformer.trace import Trace

ROWS = [[7, 5, 3, 21, 5, 30, 8], [3, 4, 22], [39, 3, 15, 16, 3], [4, 17, 3]]
ONE_STATE = ["first", "last", "largest", "eos", "first-eos"]

BLOOM = family("bloom").read({"vocab_size": 40, "hidden_size": 16, "n_layer": 2, "n_head": 2}, "BloomModel")
LLAMA = SPECS["llama"].decoder.pattern[0]
WINDOWS = replace(LLAMA, attention=replace(LLAMA.attention, window=3))
STACKS: dict[str, Spec] = {
    "learned positions, both ways": SPECS["bert"],
    "causal": SPECS["gpt2"],
    "two branches": SPECS["gpt_neox"],
    "rotary, shared keys": SPECS["llama"],
    "ALiBi": BLOOM,
    "windows": replace(SPECS["llama"], decoder=replace(SPECS["llama"].decoder, pattern=(WINDOWS,))),
    "relative bias": replace(SPECS["t5"], decoder=None),
}


def reading(spec: Spec, reads: Any) -> Model:
    """A model of random numbers whose only head reads so."""
    head = Head("classify", reads, transform=Transform(8, "tanh"), outputs=3)
    return randomise(build(replace(spec, heads=(head,), eos_id=3)), 1).double().eval()


def seen_by(module: torch.nn.Module) -> list[int]:
    """How many tokens each call of a layer gets, from now on."""
    counted: list[int] = []
    module.register_forward_pre_hook(lambda _, inputs: counted.append(len(inputs[0])))
    return counted


def last_block(model: Model) -> Block:
    stack = model.encoder or model.decoder
    return stack.layer(stack.settings.layers - 1)


@pytest.mark.parametrize("reads", [*ONE_STATE, "mean"])
@pytest.mark.parametrize("kind", STACKS)
def test_it_is_what_the_whole_pass_gives_and_so_are_all_gradients(kind: str, reads: str) -> None:
    model = reading(STACKS[kind], reads)
    batch = Batch.from_lists(ROWS)
    chosen = torch.randn(len(ROWS), 3, dtype=torch.float64)
    found: list[tuple[Tensor, list[Tensor]]] = []
    for wanted in (None, "classify"):
        logits = model.run(batch, wanted=wanted).heads["classify"]
        gradients = torch.autograd.grad((logits * chosen).sum(), list(model.parameters()))
        found.append((logits, list(gradients)))
    (whole, expected), (alone, gradients) = found
    assert torch.allclose(alone, whole, rtol=1e-11, atol=1e-12)
    assert all(torch.allclose(one, other, rtol=1e-9, atol=1e-11) for one, other in zip(gradients, expected))


@pytest.mark.parametrize("reads", ONE_STATE)
@pytest.mark.parametrize("kind", STACKS)
def test_the_last_layer_computes_no_more_than_one_token_a_row(kind: str, reads: str) -> None:
    model = reading(STACKS[kind], reads)
    counted = seen_by(last_block(model).feed_forward)
    tokens = sum(map(len, ROWS))
    states = model.run(Batch.from_lists(ROWS), wanted="classify")
    assert counted == [len(ROWS)]
    assert states.narrow
    assert states.hidden.shape == (len(ROWS), model.spec.dim)
    model.run(Batch.from_lists(ROWS))
    assert counted == [len(ROWS), tokens]


def test_the_compiled_attention_of_one_token_a_row_is_the_same() -> None:
    model = reading(SPECS["bert"], "first").float()
    batch = Batch.from_lists(ROWS)
    with torch.inference_mode():
        whole, alone = (model.run(batch, wanted=wanted).heads["classify"] for wanted in (None, "classify"))
    assert torch.allclose(alone, whole, rtol=1e-5, atol=1e-6)


def test_a_pooled_head_reads_what_its_pool_read() -> None:
    model = randomise(build(SPECS["bert"]), 1).double().eval()
    counted = seen_by(last_block(model).feed_forward)
    batch = Batch.from_lists(ROWS)
    alone = model.run(batch, wanted="classify")
    assert set(alone.heads) == {"pool", "classify"}
    assert counted == [len(ROWS)]
    whole = model.run(batch)
    assert all(torch.allclose(alone.heads[kind], whole.heads[kind]) for kind in alone.heads)


def test_other_heads_are_not_run() -> None:
    spec = family("bert").read({"vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
                                "intermediate_size": 24}, "BertForPreTraining")  # fmt: skip
    model = randomise(build(spec), 1).eval()
    assert set(model.run(Batch.from_lists(ROWS), wanted="masked-lm").heads) == {"masked-lm"}
    assert set(model.run(Batch.from_lists(ROWS), wanted="next-sentence").heads) == {"pool", "next-sentence"}


def test_hidden_states_need_no_head() -> None:
    model = randomise(build(SPECS["bert"]), 1).double().eval()
    batch = Batch.from_lists(ROWS)
    states = model.run(batch, wanted="hidden")
    assert not states.heads
    assert torch.equal(states.hidden, model.run(batch).hidden)


def test_what_cannot_be_computed_of_some_tokens_is_computed_of_all() -> None:
    spec = SPECS["bert"]
    block = spec.encoder.pattern[0]
    distant = replace(block, attention=replace(block.attention, position=Disentangled()))
    distances = DistanceVectors(8)
    for encoder in (
        replace(spec.encoder, pattern=(distant,), distances=distances),
        replace(spec.encoder, convolution=Convolution(3)),
    ):
        model = reading(replace(spec, encoder=encoder), "first")
        batch = Batch.from_lists(ROWS)
        alone, whole = (model.run(batch, wanted=wanted) for wanted in ("classify", None))
        assert not alone.narrow
        assert torch.equal(alone.heads["classify"], whole.heads["classify"])


def test_adapters_on_the_last_layer_take_part() -> None:
    model = reading(SPECS["bert"], "first")
    batch = Batch.from_lists(ROWS)
    before = model.run(batch, wanted="classify").heads["classify"]
    lora = Lora(model)
    for up in lora.parameters():
        up.data.normal_()
    alone, whole = (model.run(batch, wanted=wanted).heads["classify"] for wanted in ("classify", None))
    assert torch.allclose(alone, whole)
    assert not torch.allclose(alone, before)


def test_a_trace_sees_all_tokens() -> None:
    model = reading(SPECS["bert"], "first")
    trace = Trace("encoder.1.hidden")
    assert not model.run(Batch.from_lists(ROWS), trace=trace, wanted="classify").narrow
    assert trace["encoder.1.hidden"].shape[:2] == (4, 7)


def test_a_head_that_is_not_there_is_named() -> None:
    with pytest.raises(TextError, match="no tag head; it has pool, classify"):
        build(SPECS["bert"]).run(Batch.from_lists(ROWS), wanted="tag")


def test_stacks_say_whether_they_narrow() -> None:
    crossing = Stack(1, (replace(SPECS["gpt2"].decoder.pattern[0], cross_attention=Attention(2, 8, 2)),), causal=True)
    assert not BuiltStack(crossing, 16, "decoder").narrows
