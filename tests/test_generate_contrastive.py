"""Contrastive search against the paper's equation, one text at a time; forbidden tokens, ends and positions."""

import pytest
import torch
from oracles.searches import contrastive
from test_generate_sampling import model_of

from moduformer.errors import TextError
from moduformer.generate.decoding import Decoding
from moduformer.generate.greedy import greedy
from moduformer.generate.settings import GenerationSettings
from moduformer.generate.strategies import Request, run

PROMPTS = [[5, 9, 4], [7, 3, 8, 11, 30, 6, 12], [10, 4]]


@pytest.mark.parametrize("name", ["llama", "gpt2", "t5"])
@pytest.mark.parametrize(("alpha", "k"), [(0.6, 4), (0.9, 6), (0.1, 2)])
def test_the_text_is_that_of_the_paper(name: str, alpha: float, k: int) -> None:
    model, ends = model_of(name).double(), (7, 21)
    settings = GenerationSettings(penalty_alpha=alpha, top_k=k, eos_token_id=ends)
    made = run(model, PROMPTS, Request(settings, 10))
    for prompt, results in zip(PROMPTS, made):
        beside = model.spec.has_source
        begin = [model.spec.decoder_start_id] if beside else prompt

        def read(text: list[int], beside: bool = beside, prompt: list[int] = prompt) -> Decoding:
            return Decoding(model, [prompt], [text]) if beside else Decoding(model, [text])

        expected = contrastive(
            lambda text, read=read: read(text).logits[0].log_softmax(-1),
            lambda text, read=read: read(text).states.hidden,
            begin,
            k,
            alpha,
            ends,
            10,
        )
        assert results[0].ids == expected
        assert results[0].ended_by == ("eos" if expected[-1] in ends else "length")


def test_it_does_not_repeat_itself_as_greedy_text_does() -> None:
    model = model_of().double()
    plain = greedy(model, PROMPTS, 30, eos=())
    made = run(model, PROMPTS, Request(GenerationSettings(penalty_alpha=0.9, top_k=8), 30))
    assert all(len(set(one[0].ids)) > len(set(other)) for one, other in zip(made, plain))


def test_forbidden_tokens_are_no_candidates() -> None:
    model, allowed = model_of(), [3, 8, 20]
    keep = torch.full((40,), float("-inf")).index_fill(0, torch.tensor(allowed), 0.0)
    settings = GenerationSettings(penalty_alpha=1.0, top_k=10)
    made = run(model, PROMPTS, Request(settings, 12, [lambda rows, logits: logits + keep]))
    assert {token for results in made for token in results[0].ids} <= set(allowed)


def test_it_ends_at_stop_texts_and_at_the_last_position() -> None:
    model = model_of("gpt2")
    settings = GenerationSettings(penalty_alpha=0.6, top_k=4)
    whole = run(model, PROMPTS, Request(settings, 8))
    cut = run(model, PROMPTS, Request(settings, 8, watch=lambda result, token: token == whole[result][0].ids[3]))
    for one, other in zip(whole, cut):
        last = one[0].ids.index(one[0].ids[3])
        assert other[0].ids == one[0].ids[: last + 1]
        assert other[0].ended_by == "stop"
    long = [[5, 9, 4, 6] * 11, [7] * 48]
    made = run(model, long, Request(settings, 20))
    assert [(len(one[0].ids), one[0].ended_by) for one in made] == [(5, "context"), (1, "context")]


def test_it_is_not_combined_with_chance() -> None:
    with pytest.raises(TextError, match="penalty_alpha"):
        run(model_of(), [[5]], Request(GenerationSettings(penalty_alpha=0.6, do_sample=True), 3))
