"""Beam search against transformers in every family that writes; diverse beams against the paper; sampled beams."""

import copy
import itertools
from dataclasses import replace
from typing import Any

import numpy
import pytest
import torch
from oracles.searches import diverse_beams
from test_generate_parity import pair, writers
from test_generate_sampling import model_of, surprise

from moduformer.errors import TextError
from moduformer.generate import beams
from moduformer.generate.decoding import Decoding
from moduformer.generate.settings import GenerationSettings
from moduformer.generate.strategies import Request, run
from moduformer.model import Model

NEW = 8
CASES: list[dict[str, Any]] = [
    {"num_beams": 3, "num_return_sequences": 3, "length_penalty": 1.0, "early_stopping": False},
    {"num_beams": 4, "num_return_sequences": 2, "length_penalty": 2.0, "early_stopping": True},
    {"num_beams": 4, "num_return_sequences": 4, "length_penalty": 0.6, "early_stopping": "never"},
    {"num_beams": 2, "num_return_sequences": 1, "length_penalty": -1.0, "early_stopping": False},
]


def searched(model: Model, prompts: list[list[int]], new: int = NEW, **settings: Any) -> list[list[Any]]:
    return run(model, prompts, Request(GenerationSettings(**settings), new))


@pytest.mark.parametrize("size", [1, 63, 64, 65, 700, 1000, 4096])
def test_the_largest_of_many_numbers(size: int) -> None:
    torch.manual_seed(size)
    for count in (1, 5, 10):
        for numbers in (torch.randn(size), torch.randn(size).masked_fill(torch.rand(size) < 0.7, float("-inf"))):
            found = beams._largest(numbers, min(count, size))
            assert len(set(found.tolist())) == min(count, size)
            assert torch.equal(numbers[found], numbers.topk(min(count, size)).values)


@pytest.mark.parametrize(("reference", "name"), writers())
def test_beams_and_their_scores_equal_transformers(reference: Any, name: str, tmp_path) -> None:
    ours, theirs = pair(reference, name, 1, tmp_path)
    generator = torch.Generator().manual_seed(2)
    prompt = torch.randint(5, 61, (1, 7), generator=generator)
    # End tokens that are often among the best, or beams would never be finished before the last step.
    ends = Decoding(ours, prompt.tolist()).logits[0].topk(6).indices[2:].tolist()
    ended = 0
    for case in CASES:
        config = copy.deepcopy(theirs.generation_config)
        config.update(max_new_tokens=NEW, do_sample=False, eos_token_id=ends, use_cache=False, **case)
        config.update(pad_token_id=1, output_scores=True, return_dict_in_generate=True, no_repeat_ngram_size=2)
        expected = theirs.generate(prompt, generation_config=config)
        settings = dict(eos_token_id=ends, pad_token_id=1, no_repeat_ngram_size=2, max_new_tokens=NEW, **case)
        assert torch.equal(ours.generate(prompt, **settings), expected.sequences)
        chosen = GenerationSettings.of(ours, **settings)
        start = expected.sequences[:1, :1].tolist() if ours.spec.has_source else None
        made = run(ours, prompt.tolist(), Request(chosen, NEW, prefix=start))[0]
        scores = torch.tensor([result.score for result in made])
        assert torch.allclose(scores, expected.sequences_scores, atol=1e-4, rtol=0)
        ended += sum(result.ended_by == "eos" for result in made)
    assert ended


@pytest.mark.parametrize("name", ["llama", "t5"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_prompt_is_searched_as_if_it_were_alone(name: str, case: dict[str, Any]) -> None:
    model, ends = model_of(name).double(), (7, 21, 33)
    prompts = [[5, 9, 4], [7, 3, 8, 11, 30, 6, 12], [10], [4, 4, 20, 21]]
    together = searched(model, prompts, 12, eos_token_id=ends, **case)
    for prompt, made in zip(prompts, together):
        alone = searched(model, [prompt], 12, eos_token_id=ends, **case)[0]
        assert [(one.ids, one.ended_by) for one in made] == [(one.ids, one.ended_by) for one in alone]
        assert len({tuple(one.ids) for one in made}) == len(made)
        assert [one.score for one in made] == sorted((one.score for one in made), reverse=True)


def test_as_many_beams_as_texts_find_the_best_text() -> None:
    """With room for every text of two tokens, the search is exhaustive."""
    model, prompt = model_of().double(), [5, 9, 4]
    made = searched(model, [prompt], 2, num_beams=40, num_return_sequences=40)[0]
    decoding = Decoding(model, [prompt])
    first = decoding.logits.log_softmax(-1)[0]
    decoding.select([0] * 40)
    second = decoding.advance(list(range(40))).log_softmax(-1)
    exact = (first[:, None] + second) / 2
    best = exact.flatten().topk(40)
    assert [result.ids for result in made] == [list(divmod(place, 40)) for place in best.indices.tolist()]
    assert torch.allclose(torch.tensor([result.score for result in made]).double(), best.values, atol=1e-9)


@pytest.mark.parametrize("name", ["llama", "gpt2"])
@pytest.mark.parametrize(("groups", "width", "penalty"), [(2, 1, 0.5), (3, 2, 1.5), (4, 1, 10.0), (2, 3, 0.0)])
def test_diverse_beams_are_those_of_the_paper(name: str, groups: int, width: int, penalty: float) -> None:
    model, prompts, ends = model_of(name).double(), [[5, 9, 4], [7, 3, 8, 11]], (7, 21, 33, 12)
    made = searched(
        model,
        prompts,
        6,
        num_beams=groups * width,
        num_beam_groups=groups,
        num_return_sequences=groups * width,
        diversity_penalty=penalty,
        length_penalty=0.0,
        early_stopping="never",
        eos_token_id=ends,
    )
    for prompt, results in zip(prompts, made):
        expected = diverse_beams(
            lambda text, prompt=prompt: Decoding(model, [prompt + text]).logits[0].log_softmax(-1),
            groups,
            width,
            penalty,
            ends,
            6,
        )
        assert sorted(result.ids for result in results) == sorted(text for _, text in expected)
        found = torch.tensor([result.score for result in results])
        assert torch.allclose(found, torch.tensor([score for score, _ in expected]), atol=1e-6)
    if penalty == 10.0:
        assert len({result.ids[0] for result in made[0]}) == groups


def test_sampled_beams_of_one_token_are_draws_without_replacement() -> None:
    model, prompt = model_of(sharpen=1.0), [5, 9, 4]
    settings = GenerationSettings(num_beams=2, do_sample=True, top_k=6, num_return_sequences=2, seed=1)
    logits = Decoding(model, [prompt]).logits[0].double()
    best = logits.topk(6)
    p = best.values.softmax(-1).numpy()
    # Both of the first two draws are results; the pair's chance is that of either order.
    pairs = list(itertools.combinations(range(6), 2))
    exact = numpy.array([p[a] * p[b] / (1 - p[a]) + p[b] * p[a] / (1 - p[b]) for a, b in pairs])
    counts = numpy.zeros(len(pairs))
    places = {token: place for place, token in enumerate(best.indices.tolist())}
    copies = 2000
    request = Request(replace(settings, seed=tuple(range(copies))), 1)
    for results in beams.generate(model, [prompt] * copies, request):
        counts[pairs.index(tuple(sorted(places[result.ids[0]] for result in results)))] += 1
    assert surprise(counts, exact) > 1e-3
    flat = numpy.full(len(pairs), 1 / len(pairs))
    assert surprise(counts, flat) < 1e-6  # the test can fail


def test_sampled_beams_repeat_with_their_seed_alone_and_in_a_batch() -> None:
    model, settings = model_of(), {"num_beams": 3, "do_sample": True, "num_return_sequences": 2, "seed": 5}
    prompts = [[5, 9, 4], [7, 3, 8, 11, 30, 6, 12]]
    found = searched(model, prompts, 6, **settings)
    assert found == searched(model, prompts, 6, **settings)
    assert [[one.ids for one in made] for made in found] == [
        [one.ids for one in searched(model, [prompt], 6, **settings)[0]] for prompt in prompts
    ]


def test_an_extreme_length_penalty_and_too_few_texts_are_no_trouble() -> None:
    model = model_of()
    for power in (-1e6, 1e6):
        made = searched(model, [[5, 9]], 5, num_beams=3, length_penalty=power, eos_token_id=(7, 21))[0]
        assert len(made[0].ids) <= 5
    keep_two = lambda rows, logits: logits.masked_fill(torch.arange(40) > 1, float("-inf"))  # noqa: E731
    settings = GenerationSettings(num_beams=4, num_return_sequences=4, eos_token_id=(0, 1))
    made = run(model, [[5, 9]], Request(settings, 5, [keep_two]))[0]
    assert len(made) == 4
    assert {tuple(one.ids) for one in made} == {(0,), (1,)}


def test_beams_without_any_text_are_an_error() -> None:
    nothing = lambda rows, logits: logits.masked_fill(logits > -1e30, float("-inf"))  # noqa: E731
    with pytest.raises(TextError, match="no token that any beam"):
        run(model_of(), [[5, 9]], Request(GenerationSettings(num_beams=2), 5, [nothing]))


def test_beams_end_at_the_last_position() -> None:
    model = model_of("gpt2")
    made = searched(model, [list(range(5, 15)) * 4 + [6] * 4], 30, num_beams=2)[0]
    assert made[0].ended_by == "context"
    assert len(made[0].ids) == 48 - 44 + 1


def test_beams_are_not_streamed() -> None:
    with pytest.raises(TextError, match="cannot be streamed"):
        run(model_of(), [[5]], Request(GenerationSettings(num_beams=2), 3, watch=lambda result, token: False))
