"""Sampling: the exact distribution, one source of chance a row, how rows end, bounded memory."""

from dataclasses import replace

import numpy
import pytest
import torch
from core_models import SPECS, randomise
from scipy.stats import chi2

from moduformer.errors import TextError
from moduformer.generate.decoding import Decoding
from moduformer.generate.processors import apply
from moduformer.generate.sampling import generate, sample, write
from moduformer.generate.settings import GenerationSettings
from moduformer.generate.strategies import Request, generator
from moduformer.model import Model, build

PROMPTS = [[5, 9, 4], [7, 3, 8, 11, 30, 6, 12], [10], [4, 4, 20, 21]]


def model_of(name: str = "llama", seed: int = 3, sharpen: float = 0.4) -> Model:
    model = randomise(build(SPECS[name]), seed)
    with torch.no_grad():
        # Random weights are too sure of themselves for chance to matter.
        head = model.heads["language-model"]
        getattr(head, "weight", model.embedding.tokens.weight).mul_(sharpen)
    return model


def surprise(counts: numpy.ndarray, probabilities: numpy.ndarray) -> float:
    """The chance of counts at least this far from the expected ones (Pearson's chi-square; rare cells are merged)."""
    total = counts.sum()
    assert counts[probabilities == 0].sum() == 0
    order = numpy.argsort(probabilities)
    order = order[probabilities[order] > 0]
    counts, expected = counts[order].astype(float), probabilities[order] * total
    rare = expected.cumsum() < 10
    first = int(rare.sum())
    if first:
        counts = numpy.concatenate(([counts[: first + 1].sum()], counts[first + 1 :]))
        expected = numpy.concatenate(([expected[: first + 1].sum()], expected[first + 1 :]))
    return float(chi2.sf(((counts - expected) ** 2 / expected).sum(), len(counts) - 1))


def test_draws_follow_the_distribution() -> None:
    logits = torch.randn(1, 40, generator=torch.Generator().manual_seed(0)) * 2
    logits[0, [3, 17, 39]] = float("-inf")
    own = generator(1)
    drawn = sample(logits.expand(40_000, -1), [own] * 40_000)
    counts = numpy.bincount(drawn, minlength=40)
    assert surprise(counts, logits[0].double().softmax(-1).numpy()) > 1e-3
    wrong = (logits[0].double() * 1.1).softmax(-1).numpy()
    assert surprise(counts, wrong) < 1e-6  # the test can fail


@pytest.mark.parametrize("drawn", [0.0, 1 - 2**-53])
def test_impossible_tokens_are_never_drawn(drawn: float, monkeypatch) -> None:
    """Not even by the first and the last number there is, which chance would not show in a lifetime."""
    logits = torch.randn(1, 40, generator=torch.Generator().manual_seed(0))
    logits[0, [0, 1, 38, 39]] = float("-inf")
    monkeypatch.setattr(torch, "rand", lambda *_, **__: torch.full((1, 1), drawn, dtype=torch.float64))
    assert sample(logits, [generator(1)]) == [2 if drawn == 0 else 37]


def test_first_draws_of_neighbouring_seeds_follow_the_distribution() -> None:
    """What users do: seeds 0, 1, 2 ...; generators whose first numbers resemble each other would show here."""
    logits = torch.zeros(20_000, 20)
    for make in (lambda i: generator(i), lambda i: generator(7, (3, 4), i), lambda i: generator(7, (i, 4))):
        counts = numpy.bincount(sample(logits, [make(i) for i in range(20_000)]), minlength=20)
        assert surprise(counts, numpy.full(20, 0.05)) > 1e-3


@pytest.mark.parametrize(
    "settings",
    [{"top_k": 0}, {"top_k": 6, "temperature": 0.7}, {"top_p": 0.8, "repetition_penalty": 1.3}, {"typical_p": 0.7}],
    ids=str,
)
def test_generated_pairs_of_tokens_have_their_exact_probabilities(settings: dict) -> None:
    model, prompt, copies = model_of(sharpen=0.25), [5, 9, 4], 6000
    chosen = GenerationSettings().override(do_sample=True, max_new_tokens=2, seed=5, num_return_sequences=copies)
    chosen = chosen.override(**settings)
    request = Request(chosen, 2)
    made = generate(model, [prompt], request)[0]
    process = [*request.all_processors(), *chosen.warpers()]
    first = Decoding(model, [prompt])
    p = apply(process, first.rows, first.logits)[0].double().softmax(-1)
    able = p.nonzero().squeeze(1).tolist()
    first.select([0] * len(able))
    first.advance(able)
    q = apply(process, first.rows, first.logits).double().softmax(-1)
    joint = torch.zeros(40, 40, dtype=torch.float64)
    joint[able] = p[able][:, None] * q
    counts = torch.zeros(40, 40, dtype=torch.long)
    for result in made:
        counts[result.ids[0], result.ids[1]] += 1
    assert surprise(counts.flatten().numpy(), joint.flatten().numpy()) > 1e-3


@pytest.mark.parametrize("name", ["gpt2", "llama", "t5"])
def test_a_seed_gives_the_same_text_alone_and_in_a_batch(name: str) -> None:
    model = model_of(name)
    settings = GenerationSettings().override(
        do_sample=True, max_new_tokens=15, seed=11, eos_token_id=list(range(5, 12))
    )
    together = generate(model, PROMPTS, Request(settings, 15))
    assert len({len(results[0].ids) for results in together}) > 1  # rows end at different times
    for prompt, results in zip(PROMPTS, together):
        assert generate(model, [prompt], Request(settings, 15))[0][0] == results[0]
    other = generate(model, PROMPTS, Request(settings.override(seed=12), 15))
    assert [r[0].ids for r in other] != [r[0].ids for r in together]
    seeds = settings.override(seed=[1, 11, 2, 11])
    chosen = generate(model, PROMPTS, Request(seeds, 15))
    assert [chosen[i][0] == together[i][0] for i in range(4)] == [False, True, False, True]
    with pytest.raises(TextError, match="4 prompts but 2 seeds"):
        generate(model, PROMPTS, Request(settings.override(seed=[1, 2]), 15))


def test_several_results_are_different_and_the_first_is_that_of_one() -> None:
    model = model_of()
    settings = GenerationSettings().override(do_sample=True, max_new_tokens=12, seed=3)
    several = generate(model, PROMPTS[:2], Request(settings.override(num_return_sequences=4), 12))
    alone = generate(model, PROMPTS[:2], Request(settings, 12))
    for row in range(2):
        assert several[row][0] == alone[row][0]
        assert len({tuple(result.ids) for result in several[row]}) == 4


def test_without_a_seed_the_global_state_decides() -> None:
    model = model_of()
    request = Request(GenerationSettings().override(do_sample=True, max_new_tokens=12), 12)
    texts = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        texts.append(generate(model, PROMPTS[:1], request))
    assert texts[0] == texts[1] != texts[2]


def test_how_rows_end() -> None:
    model = model_of("gpt2")
    greedy = generate(model, PROMPTS, Request(GenerationSettings(), 6))
    assert {results[0].ended_by for results in greedy} == {"length"}
    eos = greedy[1][0].ids[2]
    ended = generate(model, PROMPTS, Request(GenerationSettings().override(eos_token_id=eos), 6))
    for before, now in zip(greedy, ended):
        ids = before[0].ids
        cut = ids[: ids.index(eos) + 1] if eos in ids else ids
        assert now[0].ids == cut
        assert now[0].ended_by == ("eos" if eos in ids else "length")
    seen: list[tuple[int, int]] = []

    def watch(result: int, token: int) -> bool:
        seen.append((result, token))
        return result == 2

    watched = generate(model, PROMPTS, Request(GenerationSettings(), 6, watch=watch))
    assert watched[2][0].ids == greedy[2][0].ids[:1]
    assert watched[2][0].ended_by == "stop"
    assert [t for r, t in seen if r == 1] == greedy[1][0].ids
    # 48 positions: every row gets as many tokens as it has room for.
    full = generate(model, PROMPTS, Request(GenerationSettings(), 100))
    assert [len(results[0].ids) for results in full] == [49 - len(prompt) for prompt in PROMPTS]
    assert {results[0].ended_by for results in full} == {"context"}


def test_a_windowed_model_writes_on_in_bounded_memory() -> None:
    spec = SPECS["llama"]
    assert spec.decoder is not None
    pattern = tuple(replace(b, attention=replace(b.attention, window=16)) for b in spec.decoder.pattern)
    model = randomise(build(replace(spec, decoder=replace(spec.decoder, pattern=pattern))), 3)
    decoding = Decoding(model, PROMPTS[:2])
    largest = 0

    def watch(result: int, token: int) -> bool:
        nonlocal largest
        layers = [layer for layer in decoding.cache.layers if layer.k is not None]
        assert len(layers) == 2
        largest = max(largest, *(layer.k.shape[1] for layer in layers))
        return False

    made = write(decoding, Request(GenerationSettings(), 2100, watch=watch))
    assert [len(result.ids) for result in made] == [2100, 2100]
    assert largest <= 2 * 16
    # The last token chosen is what one pass over the last window's reach would choose.
    text = PROMPTS[0] + made[0].ids
    again = Decoding(model, [text[:-1]])
    assert int(again.logits.argmax()) == text[-1]
