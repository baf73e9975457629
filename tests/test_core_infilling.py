"""Texts with blanks: contexts that see themselves, two positions a token, and answers written through a cache."""

from __future__ import annotations

import dataclasses
import random

import oracles.chatglm as chatglm
import oracles.glm as glm
import pytest
import torch
from core_models import SPECS, randomise

from moduformer.architecture import Infilling, Spec, Stack
from moduformer.batch import Batch
from moduformer.errors import SpecError, TextError
from moduformer.families import family
from moduformer.generate.decoding import Decoding
from moduformer.model import Model, build
from moduformer.weights.plan import expand

ROWS = [[7, 31, 59, 9, 60, 12, 13, 14, 22], [5, 59, 60, 8], [21, 58, 33, 60, 9, 17]]


def small(name: str, seed: int = 1) -> Model:
    """A random ChatGLM or GLM, both with [mask] 58 or 59 and a start token 60."""
    oracle = {"chatglm": chatglm, "glm": glm}[name]
    config = oracle.config(random.Random(seed))
    return randomise(build(family(name).read(config, oracle.CLASSES[-1 if name == "chatglm" else 1])), seed)


def gpt2(**changes: object) -> Model:
    spec = SPECS["gpt2"]
    assert isinstance(spec.decoder, Stack)
    return randomise(build(dataclasses.replace(spec, decoder=dataclasses.replace(spec.decoder, **changes))), 3)


def padded(rows: list[list[int]], left: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    width = max(map(len, rows))
    fill = [[0] * (width - len(row)) for row in rows]
    ids = [f + row if left else row + f for row, f in zip(rows, fill)]
    mask = [[0] * len(f) + [1] * len(row) if left else [1] * len(row) + [0] * len(f) for row, f in zip(rows, fill)]
    return torch.tensor(ids), torch.tensor(mask)


def logits(model: Model, rows: list[list[int]], **given: torch.Tensor) -> list[torch.Tensor]:
    ids, mask = padded(rows)
    with torch.no_grad():
        found = model(ids, mask, **given).logits
    return [row[: len(text)] for row, text in zip(found, rows)]


def close(left: list[torch.Tensor], right: list[torch.Tensor]) -> bool:
    return all(torch.allclose(a, b, rtol=0, atol=1e-5 * float(b.abs().max())) for a, b in zip(left, right))


# A prefix ------------------------------------------------------------------------------------------------------------


def test_a_prefix_of_the_whole_row_is_no_mask_and_one_of_a_token_is_causal() -> None:
    rows = [[7, 5, 9, 21, 30], [4, 3, 15], [8, 8, 1, 2]]
    causal, open_to_all = gpt2(), gpt2(causal=False)
    whole, one = torch.tensor([5, 3, 4]), torch.tensor([1, 0, 1])
    assert close(logits(causal, rows, prefix_lengths=whole), logits(open_to_all, rows))
    assert close(logits(causal, rows, prefix_lengths=one), logits(causal, rows))
    assert not close(logits(causal, rows), logits(open_to_all, rows))


def test_prefixes_belong_to_their_rows_on_either_side_of_the_padding() -> None:
    rows, prefixes = [[7, 5, 9], [4, 3, 15, 20, 11, 2], [8, 8, 1, 2]], torch.tensor([2, 4, 3])
    model = gpt2()
    alone = [logits(model, [row], prefix_lengths=prefixes[i : i + 1])[0] for i, row in enumerate(rows)]
    assert close(logits(model, rows, prefix_lengths=prefixes), alone)
    ids, mask = padded(rows, left=True)
    with torch.no_grad():
        found = model(ids, mask, prefix_lengths=prefixes).logits
    assert close([found[i, mask[i].bool()] for i in range(3)], alone)


def test_chosen_rows_keep_their_prefixes_and_places() -> None:
    rows, prefixes = [[7, 5, 9], [4, 3, 15, 20, 11, 2], [8, 8, 1, 2]], torch.tensor([2, 4, 3])
    model = gpt2()
    places = torch.arange(6).expand(3, 6) + torch.tensor([[3], [1], [2]])
    batch = Batch.from_padded(*padded(rows)).located(places.unsqueeze(-1), prefixes)
    chosen = [batch.order.index(i) for i in (2, 0)]
    with torch.no_grad():
        whole = model.run(batch).heads["language-model"].split(batch.rows.lengths)
        some = model.run(batch.select(chosen))
    assert close(list(some.heads["language-model"].split(some.batch.rows.lengths)), [whole[i] for i in chosen])


def test_a_window_narrows_a_prefix() -> None:
    attention = dataclasses.replace(SPECS["gpt2"].decoder.pattern[0].attention, window=2)
    block = dataclasses.replace(SPECS["gpt2"].decoder.pattern[0], attention=attention)
    narrow = gpt2(pattern=(block,), layers=1)
    whole = logits(narrow, [[7, 5, 9, 21, 30]], prefix_lengths=torch.tensor([5]))
    # One layer, two visible places on either side: the first token cannot know the third.
    changed = logits(narrow, [[7, 5, 10, 21, 30]], prefix_lengths=torch.tensor([5]))
    assert close([whole[0][:1]], [changed[0][:1]])
    assert not close([whole[0][1:2]], [changed[0][1:2]])


# Positions -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["chatglm", "glm"])
def test_named_positions_and_prefixes_are_those_of_the_special_tokens(name: str) -> None:
    model = small(name)
    batch = Batch.from_padded(*padded(ROWS))
    width = batch.width
    places = torch.zeros(len(ROWS), 2, width, dtype=torch.long)
    for i, row in enumerate(ROWS):
        context = row.index(60)
        mask = next(t for t, token in enumerate(row) if token in (58, 59))
        places[i, 0, : len(row)] = torch.tensor([t if t < context else mask for t in range(len(row))])
        places[i, 1, : len(row)] = torch.tensor([max(t - context + 1, 0) for t in range(len(row))])
    prefixes = torch.tensor([row.index(60) for row in ROWS])
    plain = logits(model, ROWS)
    both = {"position_ids": places, "prefix_lengths": prefixes}
    assert close(logits(model, ROWS, **both), plain)
    apart = {"position_ids": places[:, 0], "block_position_ids": places[:, 1], "prefix_lengths": prefixes}
    assert close(logits(model, ROWS, **apart), plain)
    assert close(logits(model, ROWS, position_ids=places), plain)
    assert close(logits(model, ROWS, prefix_lengths=prefixes), plain)
    assert not close(logits(model, ROWS, position_ids=places.flip(1)), plain)
    assert not close(logits(model, ROWS, prefix_lengths=prefixes + 1), plain)


@pytest.mark.parametrize("oracle", [chatglm, glm])
def test_any_positions_will_do(oracle: object) -> None:
    """Two blanks answered one after the other, as in training: places that no special token gives."""
    name = oracle.__name__.rpartition(".")[2]
    config = oracle.config(random.Random(2))
    kind = "ChatGLMForConditionalGeneration" if name == "chatglm" else "GLMForConditionalGeneration"
    model = randomise(build(family(name).read(config, kind)), 2)
    row = [7, 58, 9, 59, 60, 12, 13, 60, 22, 23]
    places = [0, 1, 2, 3, 3, 3, 3, 1, 1, 1], [0, 0, 0, 0, 1, 2, 3, 1, 2, 3]
    found = logits(model, [row], position_ids=torch.tensor([places]), prefix_lengths=torch.tensor([4]))
    views = model.views()
    tensors = {}
    for entry in expand(family(name).rows, model, family(name).prefix):
        stored = tensors.setdefault(entry.file, torch.empty(entry.shape))
        target, source = entry.pair(stored, views[entry.name].detach())
        target.copy_(source)
    if name == "chatglm":
        tensors["lm_head.weight"] = tensors["transformer.word_embeddings.weight"]
    expected = oracle.forward(tensors, config, row, kind, places=places, context=4)["logits"]
    assert close(found, [expected])


def test_positions_need_a_place_to_go() -> None:
    bert = randomise(build(SPECS["bert"]), 1)
    ids = torch.tensor([[7, 8, 9]])
    with pytest.raises(TextError, match="for a causal decoder alone"):
        bert(ids, position_ids=torch.tensor([[0, 1, 2]]))
    model = small("glm")
    with pytest.raises(TextError, match=r"\[1, 2, 3\]"):
        model(ids, position_ids=torch.zeros(1, 3, 3, dtype=torch.long))
    with pytest.raises(TextError, match="one a row"):
        model(ids, prefix_lengths=torch.tensor([1, 2]))
    with pytest.raises(TextError, match=r"41 tokens, but this model has .* positions"):
        model(ids, position_ids=torch.tensor([[0, 1, 40]]))


# Special tokens ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["chatglm", "glm"])
def test_an_answer_needs_a_blank(name: str) -> None:
    with pytest.raises(TextError, match=r"row 1 .* no blank before it"):
        logits(small(name), [[5, 59, 60, 8], [5, 60, 59, 8]])


def test_a_text_without_an_answer_is_all_context() -> None:
    model, row = small("glm"), [7, 59, 9, 22]
    assert close(logits(model, [row]), logits(model, [row], prefix_lengths=torch.tensor([4])))
    assert not close(logits(model, [row]), logits(model, [row], prefix_lengths=torch.tensor([0])))


def test_specs_with_blanks_say_what_they_are() -> None:
    spec = SPECS["gpt2"]
    for wrong, match in (
        (Infilling(3, ()), "blanks is empty"),
        (Infilling(3, (4,), running=(5,)), "running must be some"),
        (Infilling(-1, (4,)), "start"),
    ):
        with pytest.raises(SpecError, match=match):
            dataclasses.replace(spec, infilling=wrong)
    with pytest.raises(SpecError, match="causal decoder"):
        dataclasses.replace(SPECS["bert"], infilling=Infilling(3, (4,)))
    known = dataclasses.replace(spec, infilling=Infilling(3, (4, 5), "in-text", (5,)))
    assert Spec.from_dict(known.to_dict()) == known


# Writing -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["chatglm", "glm"])
@pytest.mark.parametrize("left", [False, True])
def test_generation_is_the_most_probable_token_of_a_pass_over_all(name: str, left: bool) -> None:
    model = small(name)
    prompts = [row[: row.index(60) + 1] for row in ROWS]
    ids, mask = padded(prompts, left)
    found = model.generate(ids, mask, max_new_tokens=5, eos_token_id=[])
    for i, prompt in enumerate(prompts):
        text = list(prompt)
        for _ in range(5):
            text.append(int(logits(model, [text])[0][-1].argmax()))
        assert found[i, -5:].tolist() == text[-5:]


def test_beams_carry_their_answers_place() -> None:
    model = small("chatglm")
    prompts = [row[: row.index(60) + 1] for row in ROWS]
    decoding = Decoding(model, prompts)
    decoding.select([2, 0, 0, 1])
    decoding.advance([9, 10, 11, 12])
    found = decoding.extend([[13, 14], [15], [16, 17, 18], [19]])
    texts = [
        [*prompts[2], 9, 13, 14],
        [*prompts[0], 10, 15],
        [*prompts[0], 11, 16, 17, 18],
        [*prompts[1], 12, 19],
    ]
    assert close(list(found), [row[-1] for row in logits(model, texts)])


def test_an_answer_may_be_taken_back_but_no_context() -> None:
    model = small("chatglm")
    prompts = [row[: row.index(60) + 1] for row in ROWS]
    decoding = Decoding(model, prompts)
    first = decoding.advance([9, 9, 9]).clone()
    decoding.extend([[10, 11], [12], [13]])
    decoding.rollback([len(prompt) for prompt in prompts])
    assert close(list(decoding.advance([9, 9, 9])), list(first))
    # Up to the end of its context, which then goes on with its start token as it did.
    decoding.rollback([len(prompt) - 1 for prompt in prompts])
    decoding.advance([60, 60, 60])
    assert close(list(decoding.advance([9, 9, 9])), list(first))
    decoding.rollback([len(prompt) - 1 for prompt in prompts])
    with pytest.raises(TextError, match="without its start token 60"):
        decoding.advance([9, 9, 9])
    with pytest.raises(TextError, match="inside its context"):
        decoding.rollback([len(prompt) - 2 for prompt in prompts])


def test_a_context_is_read_in_one_pass() -> None:
    model = small("chatglm")
    cache = model.cache(1)
    model.run(Batch.following([[7, 59]], cache.seen), cache=cache)
    with pytest.raises(TextError, match="without its start token 60"):
        model.run(Batch.following([[9, 60]], cache.seen), cache=cache)
    model.run(Batch.following([[60, 9]], cache.seen), cache=cache)
    with pytest.raises(TextError, match="without its start token 60"):
        model.generate(torch.tensor([[7, 59, 9]]), max_new_tokens=3)


def test_a_cache_begun_with_named_places_goes_on_with_them() -> None:
    model = small("chatglm")
    cache = model.cache(1)
    places = torch.tensor([[[0, 0], [1, 0], [1, 1]]])
    batch = Batch.following([[7, 59, 60]], cache.seen).located(places, torch.tensor([2]))
    model.run(batch, cache=cache)
    with pytest.raises(TextError, match="named its positions"):
        model.run(Batch.following([[9]], cache.seen), cache=cache)
    batch = Batch.following([[9]], cache.seen).located(torch.tensor([[[1, 2]]]), torch.tensor([2]))
    with torch.no_grad():
        found = model.run(batch, cache=cache).heads["language-model"]
    assert close([found[-1]], [logits(model, [[7, 59, 60, 9]])[0][-1]])
