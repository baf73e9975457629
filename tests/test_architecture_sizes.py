"""A spec's own arithmetic of its size, against the parameters of the module that is built from it."""

import dataclasses

import pytest

from moduformer.architecture import Block, Norm, Spec
from moduformer.families import families, spec
from moduformer.model import build

SLOW = {"switch-c-2048"}
"""Presets of more modules (here 30 x 2048 experts) than can be made in a second."""

PRESETS = [
    pytest.param(name, id=name, marks=[pytest.mark.slow] if name in SLOW else [])
    for name in sorted({name for family in families() for name in family.presets})
]


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_counts_what_is_built(name: str) -> None:
    built = build(spec(name), device="meta")
    assert spec(name).num_parameters() == built.num_parameters() == sum(p.numel() for p in built.parameters())


def variants(whole: Spec, block: Block) -> list[Block]:
    return [
        block,
        dataclasses.replace(block, norm_at=("in", "out")),
        dataclasses.replace(block, norm_at=("in",), flow="parallel"),
        dataclasses.replace(block, norm_at=("in",), flow="parallel-shared"),
        dataclasses.replace(block, norm=Norm("rms")),
        dataclasses.replace(block, norm=Norm(bias=False)),
        dataclasses.replace(block, attention=dataclasses.replace(block.attention, kv_heads=2, out_bias=False)),
        dataclasses.replace(block, feed_forward=dataclasses.replace(block.feed_forward, gated=True, bias=False)),
    ]


@pytest.mark.parametrize("number", range(8))
def test_every_shape_of_a_block_counts_what_is_built(number: int) -> None:
    whole = spec("bert-mini")
    assert whole.encoder is not None
    block = variants(whole, whole.encoder.pattern[0])[number]
    changed = dataclasses.replace(whole, encoder=dataclasses.replace(whole.encoder, pattern=(block,)))
    assert changed.num_parameters() == build(changed, device="meta").num_parameters()
