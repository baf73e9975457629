"""Beginnings of prompts that are read once, and results that do not change by it."""

import gc
from dataclasses import replace

import pytest
import torch
from core_models import SPECS, randomise

import moduformer as mf
from moduformer.errors import TextError
from moduformer.generate.decoding import Decoding
from moduformer.generate.prefixes import Prefixes
from moduformer.generate.settings import GenerationSettings
from moduformer.generate.strategies import Request, run

START = list(range(5, 25))


def model_of(family="llama", window=None):
    spec = SPECS[family]
    if window:
        block = spec.decoder.pattern[0]
        block = replace(block, attention=replace(block.attention, window=window))
        spec = replace(spec, decoder=replace(spec.decoder, pattern=(block,)))
    return randomise(mf.build(spec), 3).eval()


def written(model, prompts, prefixes=None, **settings):
    chosen = GenerationSettings.of(model, eos_token_id=[], **settings)
    found = run(model, prompts, Request(chosen, 6, prefixes=prefixes))
    return [[made.ids for made in results] for results in found]


@pytest.mark.parametrize("family", ["llama", "gpt2", "gpt_neox"])
@pytest.mark.parametrize("settings", [{}, {"do_sample": True, "seed": 4, "num_return_sequences": 2}, {"num_beams": 3}])
def test_texts_are_the_same(family, settings):
    model, prefixes = model_of(family), Prefixes()
    for prompts in (
        [[*START, 3]],
        [[*START, 9, 8, 7], [*START, 4]],
        [START],
        [[*START[:12], 30]],
        [[1, 2, 3]],
        [START],
    ):
        assert written(model, prompts, prefixes, **settings) == written(model, prompts, **settings)
    # After the first call: 20 and 20 of the second, all but one of the third, 12 of the fourth, and 19 again.
    assert prefixes.reused == 20 + 20 + 19 + 12 + 19
    assert prefixes.reused + prefixes.read == sum(
        map(len, [[*START, 3], [0] * 23, [0] * 21, START, [0] * 13, [1, 2, 3], START])
    )


def test_logits_and_what_is_held_are_not_disturbed():
    model, prefixes = model_of(), Prefixes()
    Decoding(model, [[*START, 3]], prefixes=prefixes)
    for end in (7, 9, 7):
        fast, slow = Decoding(model, [[*START, end]], prefixes=prefixes), Decoding(model, [[*START, end]])
        torch.testing.assert_close(fast.logits, slow.logits, atol=1e-5, rtol=1e-4)
        for token in (4, 5):
            torch.testing.assert_close(fast.advance([token]), slow.advance([token]), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("window", [4, 30])
def test_windows_that_forget(window):
    model, prefixes = model_of(window=window), Prefixes()
    prompts = [[*START, 3, 4, 5]], [[*START, 9, 8, 7]], [[*START, 3, 4, 5, 6]]
    for each in prompts:
        assert written(model, each, prefixes) == written(model, each)
    assert (prefixes.reused > 23) == (window == 30)


def test_what_was_used_longest_ago_goes_first():
    model, prefixes = model_of(), Prefixes(tokens=45)
    first, second, third = ([n] * 20 for n in (5, 6, 7))
    for prompt in (first, second):
        Decoding(model, [prompt], prefixes=prefixes)
    Decoding(model, [[*first[:19], 9]], prefixes=prefixes)
    assert prefixes.reused == 19
    Decoding(model, [third], prefixes=prefixes)
    Decoding(model, [second], prefixes=prefixes)
    assert prefixes.reused == 19
    long = Prefixes(tokens=10)
    Decoding(model, [first], prefixes=long)
    Decoding(model, [first], prefixes=long)
    assert long.reused == 0


def test_what_it_is_not_for():
    prefixes = Prefixes()
    model, other = model_of(), model_of()
    Decoding(model, [START], prefixes=prefixes)
    with pytest.raises(TextError, match="read by another model"):
        Decoding(other, [START], prefixes=prefixes)
    with pytest.raises(TextError, match="at least 1"):
        Prefixes(0)
    padded = torch.tensor([[0, 0, *START], [*START, 1, 2]])
    mask = (padded != 0).long()
    mask[1, 4] = 0  # a hole: positions are not where tokens stand
    again = Prefixes()
    same = model.generate(padded, mask, max_new_tokens=3, do_sample=False)
    assert torch.equal(model.generate(padded, mask, max_new_tokens=3, do_sample=False, prefixes=again), same)
    assert again.read == again.reused == 0
    del model
    gc.collect()
    assert prefixes._model() is None


def test_contrastive_search_looks_at_every_state_and_reads_all():
    model, prefixes = model_of(), Prefixes()
    for _ in range(2):
        assert written(model, [START], prefixes, penalty_alpha=0.4, top_k=3) == written(
            model, [START], penalty_alpha=0.4, top_k=3
        )
    assert prefixes.read == prefixes.reused == 0
