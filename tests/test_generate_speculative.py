"""Speculative decoding: the greedy text, the exact distribution, what is drafted, and whose drafts are refused."""

import itertools
import json
from dataclasses import replace
from typing import Any

import numpy
import pytest
import tokenizers
import torch
from core_models import SPECS, randomise
from test_generate_parity import pair, prompts, writers
from test_generate_sampling import model_of, surprise

from moduformer.errors import TextError
from moduformer.families import family
from moduformer.generate.decoding import Decoding, Row
from moduformer.generate.greedy import greedy
from moduformer.generate.processors import apply
from moduformer.generate.settings import GenerationSettings
from moduformer.generate.speculative import PromptLookup, _judge, check_assistant
from moduformer.generate.strategies import Request, run
from moduformer.model import Model, build
from moduformer.text.tokenizer import Tokenizer

PROMPTS = [[5, 9, 4], [7, 3, 8, 11, 30, 6, 12, 3, 8], [10], [4, 4, 20, 21, 4]]


def near(model: Model, name: str, noise: float = 0.05) -> Model:
    """A draft that is often right: the model itself, a little disturbed."""
    other = build(SPECS[name]).double()
    other.load_state_dict(model.state_dict())
    generator = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype) * noise)
    return other


def written(model: Model, rows: Any, new: int = 30, assistant: Model | None = None, **settings: Any) -> list[Any]:
    request = Request(GenerationSettings(**settings), new, assistant=assistant)
    return [result for results in run(model, rows, request) for result in results]


@pytest.mark.parametrize(("reference", "name"), writers())
def test_drafts_leave_the_greedy_text_as_it_is_in_every_family(reference: Any, name: str, tmp_path) -> None:
    ours, _ = pair(reference, name, 3, tmp_path)
    rows = prompts(4)
    if ours.spec.asks_ahead:
        with pytest.raises(TextError, match="one pass"):
            written(ours, rows, 24, prompt_lookup_num_tokens=4)
        return
    expected = greedy(ours, rows, 24, eos=())
    made = written(ours, rows, 24, prompt_lookup_num_tokens=4)
    assert [one.ids for one in made] == expected
    # The model is its own draft: everything is accepted.
    own = written(ours, rows[:1], 24, ours, num_assistant_tokens=5)[0]
    assert own.ids == expected[0]
    assert own.accepted == own.drafted > 15


@pytest.mark.parametrize("name", ["llama", "gpt2", "t5"])
@pytest.mark.parametrize("tokens", [1, 3, 20])
def test_an_assistant_leaves_the_greedy_text_as_it_is(name: str, tokens: int) -> None:
    model = model_of(name).double()
    small, ends = near(model, name), (7, 21)
    made = written(model, PROMPTS, 30, small, num_assistant_tokens=tokens, eos_token_id=ends, repetition_penalty=1.3)
    plain = written(model, PROMPTS, 30, eos_token_id=ends, repetition_penalty=1.3)
    assert [(one.ids, one.ended_by) for one in made] == [(one.ids, one.ended_by) for one in plain]
    assert 0 < sum(one.accepted for one in made) < sum(one.drafted for one in made)


def test_windows_that_forget_do_not_change_the_text() -> None:
    spec = family("mistral").read({**MISTRAL, "sliding_window": 6}, "MistralForCausalLM")
    model, other = randomise(build(spec), 3).double(), randomise(build(spec), 4).double()
    expected = greedy(model, PROMPTS, 18, eos=())
    for assistant, settings in ((other, {"num_assistant_tokens": 9}), (None, {"prompt_lookup_num_tokens": 9})):
        made = written(model, PROMPTS, 18, assistant, **settings)
        assert [one.ids for one in made] == expected


MISTRAL = {
    "vocab_size": 40,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "intermediate_size": 24,
}


@pytest.mark.parametrize("kind", ["assistant", "lookup"])
def test_sampled_pairs_of_tokens_have_their_exact_probabilities(kind: str) -> None:
    """The second token is the first that a draft is judged for; every result reads its prompt, so there are few."""
    # Whatever is written first has been followed by something before.
    model, prompt, copies = model_of(sharpen=0.8), [*range(1, 40), 5], 200
    small = model_of(seed=4, sharpen=0.4) if kind == "assistant" else None
    settings: dict[str, Any] = {"top_k": 3, "temperature": 1.5, "repetition_penalty": 1.2}
    chosen = GenerationSettings(do_sample=True, **settings)
    decoding = Decoding(model, [prompt])
    processors = [*chosen.processors(3), *chosen.warpers()]
    first = apply(processors, decoding.rows, decoding.logits).double().softmax(-1)[0]
    decoding.select([0] * 40)
    decoding.advance(list(range(40)))
    second = apply(processors, decoding.rows, decoding.logits).double().softmax(-1)
    exact = (first[:, None] * second).flatten().numpy()
    extra = {"num_assistant_tokens": 1} if small is not None else {"prompt_lookup_num_tokens": 1}
    made = written(model, [prompt], 3, small, do_sample=True, seed=1, num_return_sequences=copies, **settings, **extra)
    counts = numpy.zeros(1600)
    for one in made:
        counts[one.ids[0] * 40 + one.ids[1]] += 1
    assert surprise(counts, exact) > 1e-3
    assert sum(one.drafted for one in made) > sum(one.accepted for one in made)


@pytest.mark.parametrize("looked_up", [False, True])
def test_the_chance_of_every_kept_and_replaced_token_is_exact(looked_up: bool) -> None:
    """One judged token: kept or replaced, it has the model's distribution, whatever the draft's is."""
    generator = torch.Generator().manual_seed(3)
    p, q = (torch.randn(1, 12, generator=generator).double().mul(1.5) for _ in range(2))
    p[0, 3] = float("-inf")
    chances = torch.zeros_like(p).index_fill(1, torch.tensor([7]), 1.0) if looked_up else q.softmax(-1)
    counts, kept_of = numpy.zeros(12), 0
    drafts = torch.multinomial(chances[0], 8_000, replacement=True, generator=generator).tolist()
    for draft in drafts:
        kept, token = _judge(Row([1], 1), [], [draft], None if looked_up else chances, torch.cat((p, p)), [], generator)
        counts[draft if kept else token] += 1
        kept_of += kept
    exact = p.softmax(-1)[0].numpy()
    assert surprise(counts, exact) > 1e-3
    # As many are kept as the distributions have in common.
    common = numpy.minimum(exact, chances[0].numpy()).sum()
    assert abs(kept_of / 8_000 - common) < 0.02


def test_sampling_repeats_with_its_seed_alone_and_in_a_batch() -> None:
    model, small = model_of(), model_of(seed=4)
    settings = {"do_sample": True, "num_return_sequences": 2, "seed": 5, "num_assistant_tokens": 3}
    found = [one.ids for one in written(model, PROMPTS, 12, small, **settings)]
    alone = [one.ids for prompt in PROMPTS for one in written(model, [prompt], 12, small, **settings)]
    assert found == alone
    assert len({tuple(ids) for ids in found}) > 4


@pytest.mark.parametrize("draft", [{"prompt_lookup_num_tokens": 6}, {"assistant": True}])
def test_texts_end_as_they_do_without_a_draft(draft: dict[str, Any]) -> None:
    model = model_of("gpt2").double()
    small = near(model, "gpt2") if draft.get("assistant") else None
    settings = {key: value for key, value in draft.items() if key != "assistant"}
    for length, new in itertools.product((1, 40, 46, 48), (1, 2, 30)):
        prompt = ([5, 9, 4, 6] * 12)[:length]
        one, plain = written(model, [prompt], new, small, **settings)[0], written(model, [prompt], new)[0]
        assert (one.ids, one.ended_by) == (plain.ids, plain.ended_by)
    whole = written(model, PROMPTS, 20)
    stops = [one.ids[6] for one in whole]
    seen: list[list[int]] = [[] for _ in PROMPTS]

    def watch(result: int, token: int) -> bool:
        seen[result].append(token)
        return token == stops[result]

    request = Request(GenerationSettings(**settings), 20, watch=watch, assistant=small)
    made = [results[0] for results in run(model, PROMPTS, request)]
    for one, plain, stop, watched in zip(made, whole, stops, seen):
        assert one.ended_by == "stop"
        assert one.ids == plain.ids[: plain.ids.index(stop) + 1] == watched


def test_lookup_drafts_what_came_after_the_same_tokens() -> None:
    def draft(
        ids: list[int], tokens: int = 3, longest: int = 2, source: tuple[int, ...] = (), most: int = 99
    ) -> list[int]:
        return PromptLookup(tokens, longest, source).draft(Row(ids, 1), most)[0]

    assert draft([1, 2, 3, 4, 5, 1, 2]) == [3, 4, 5]
    assert draft([1, 2, 3, 4, 5, 1, 2], most=2) == [3, 4]
    assert draft([1, 2, 3, 9, 9, 1, 2, 4, 8, 7, 1, 2]) == [4, 8, 7]  # the latest place
    assert draft([9, 2, 3, 4, 7, 2]) == [3, 4, 7]  # one token, where two are nowhere
    assert draft([1, 2, 3]) == [] == draft([1]) == draft([1, 2, 3, 1], most=0)
    assert draft([0, 6], source=(5, 6, 7, 8)) == [7, 8, 0]
    assert draft([4, 4, 4, 4, 4, 4]) == [4, 4, 4]


def test_drafts_of_other_tokens_are_refused() -> None:
    model = model_of()
    wide = build(replace(SPECS["llama"], vocab=41))
    with pytest.raises(TextError, match=r"41 tokens and the model 40.*different tokenizers"):
        written(model, [[5]], 5, wide)
    with pytest.raises(TextError, match="encoder"):
        written(model, [[5]], 5, model_of("t5"))
    with pytest.raises(TextError, match="language-model head"):
        written(model, [[5]], 5, randomise(build(SPECS["bert"]), 1))

    def words(*names: str) -> Tokenizer:
        raw = tokenizers.Tokenizer(tokenizers.models.WordLevel({name: i for i, name in enumerate(names)}, names[0]))
        return Tokenizer.from_tokenizers(raw)

    small = model_of(seed=4)
    model.tokenizer, small.tokenizer = words("a", "b", "c"), words("a", "c", "b")
    with pytest.raises(TextError, match=r"another tokenizer.*'b' differs"):
        written(model, [[5]], 5, small)
    small.tokenizer = words("a", "b", "c")
    check_assistant(model, small)
    # A vocabulary that is filled up to a round number is the same vocabulary.
    wide.tokenizer = words("a", "b", "c")
    randomise(wide, 5)
    assert written(model, PROMPTS, 12, wide)[1].ids == written(model, PROMPTS, 12)[1].ids
    narrow_first = written(wide, PROMPTS, 12, small, do_sample=True, seed=1)
    assert len(narrow_first) == 4


def test_both_doors_take_an_assistant_and_tell_its_share(tmp_path, capsys) -> None:
    from moduformer.cli.app import app
    from moduformer.generate.text import generate_text

    words = Tokenizer.train(["the cat sat on the mat, the cat sat on the hat"] * 3, "bpe", 280)
    spec = replace(SPECS["llama"], vocab=words.vocab_size)
    model, small = randomise(build(spec), 3), randomise(build(spec), 4)
    model.tokenizer = small.tokenizer = words
    ids = torch.tensor([words.encode("the cat").ids])
    plain = model.generate(ids, max_new_tokens=12, eos_token_id=[])
    assert torch.equal(model.generate(ids, max_new_tokens=12, eos_token_id=[], assistant_model=small), plain)
    assert torch.equal(model.generate(ids, max_new_tokens=12, eos_token_id=[], prompt_lookup_num_tokens=3), plain)
    pieces: list[str] = []
    made = generate_text(
        model, "the cat", max_new_tokens=12, eos_token_id=[], assistant_model=model, streamer=pieces.append
    )[0]
    assert made.tokens == plain[0, ids.shape[1] :].tolist()
    assert "".join(pieces) == made.text
    assert made.acceptance == 1.0
    model.save(tmp_path / "large")
    small.save(tmp_path / "small")
    arguments = ["generate", "the cat", "--model", str(tmp_path / "large"), "--max-new-tokens", "12", "--json"]
    app([*arguments, "--draft", str(tmp_path / "large")], standalone_mode=False)
    found = json.loads(capsys.readouterr().out)["results"][0]
    assert found["drafted"] == found["accepted"] > 5
    app([*arguments, "--prompt-lookup", "3"], standalone_mode=False)
    assert json.loads(capsys.readouterr().out)["results"][0]["text"] == found["text"]
