"""The engine under every decoding strategy: what it feeds, keeps, forgets and takes back, against whole passes."""

from dataclasses import replace

import pytest
import torch
from core_models import SPECS, randomise
from recurrent_models import RECURRENT

from moduformer.batch import Batch
from moduformer.errors import TextError
from moduformer.families import family
from moduformer.generate.decoding import Decoding
from moduformer.generate.text import _opening
from moduformer.model import Model, build

DECODERS = tuple(name for name, spec in SPECS.items() if spec.decoder and spec.head("language-model"))
PROMPTS = [[5, 9, 4], [7, 3, 8, 11, 30, 6, 12], [10], [4, 4, 20, 21]]


def model_of(name: str, window: int | None = None) -> Model:
    spec = SPECS.get(name) or RECURRENT[name]
    if window is not None:
        assert spec.decoder is not None
        pattern = tuple(replace(b, attention=replace(b.attention, window=window)) for b in spec.decoder.pattern)
        spec = replace(spec, decoder=replace(spec.decoder, pattern=pattern))
    return randomise(build(spec), 11)


def whole(model: Model, prompt: list[int], ids: list[int]) -> torch.Tensor:
    """Logits after every token, by one pass without a cache."""
    with torch.no_grad():
        target = Batch.from_lists([ids])
        if model.encoder is None:
            return model.run(target).heads["language-model"]
        return model.run(Batch.from_lists([prompt]), target).heads["language-model"]


def agrees(model: Model, decoding: Decoding) -> None:
    assert len(decoding.active) == len(decoding.rows) == len(decoding.logits)
    for place, row, logits in zip(decoding.active, decoding.rows, decoding.logits):
        expected = whole(model, PROMPTS[place], row.ids)[-1]
        assert (logits - expected).abs().max() <= 2e-5 * expected.abs().max()


@pytest.mark.parametrize("name", [*DECODERS, *RECURRENT])
def test_every_way_of_feeding_equals_one_pass(name: str) -> None:
    model = model_of(name)
    decoding = Decoding(model, PROMPTS)
    assert decoding.active == [0, 1, 2, 3]
    agrees(model, decoding)
    decoding.advance([5, 6, 7, 8])
    agrees(model, decoding)
    decoding.extend([[5], [6, 9, 10], [3, 12], [8, 8, 8, 8]])
    agrees(model, decoding)
    decoding.select([3, 1, 1])
    assert decoding.active == [3, 1, 1]
    agrees(model, decoding)
    decoding.advance(torch.tensor([4, 5, 6]))
    agrees(model, decoding)
    decoding.select([0, 2, 1])  # places changed, sources not
    decoding.advance([4, 4, 4])
    agrees(model, decoding)
    given = 1 if model.encoder else len(PROMPTS[1])
    assert decoding.rows[1].new == [6, 6, 9, 10, 6, 4]
    assert decoding.rows[1].given == given


@pytest.mark.parametrize("window", [None, 6])
@pytest.mark.parametrize("name", DECODERS)
def test_a_draft_is_scored_in_one_pass_and_taken_back(name: str, window: int | None) -> None:
    model = model_of(name, window)
    decoding = Decoding(model, PROMPTS)
    decoding.advance([5, 6, 7, 8])
    for step in range(6):
        drafts = [[5 + step, 6, 7], [9], [3, 3, 3, 3], [12, 30]]
        before = [list(row.ids) for row in decoding.rows]
        scores = decoding.score(drafts)
        for place, ids, draft, found in zip(decoding.active, before, drafts, scores):
            expected = whole(model, PROMPTS[place], ids + draft)[len(ids) :]
            assert found.shape == (len(draft), model.spec.vocab)
            assert (found - expected).abs().max() <= 2e-5 * expected.abs().max()
        agrees(model, decoding)
        decoding.rollback([len(ids) + kept for ids, kept in zip(before, (1, 0, 2, step % 2))])
        for slots in decoding.cache.slots.values():
            assert slots.positions.amax(1).tolist() == [length - 1 for length in decoding.lengths]
        with pytest.raises(TextError, match="rollback"):
            _ = decoding.logits
        decoding.advance([20, 21, 22, 23])
        agrees(model, decoding)


def test_taking_back_what_a_ring_forgot_is_refused_and_changes_nothing() -> None:
    model = model_of("llama", window=4)
    decoding = Decoding(model, PROMPTS)
    decoding.extend([[5, 6, 7, 8, 9, 10]] * 4)
    decoding.advance([11] * 4)
    before = [list(row.ids) for row in decoding.rows]
    with pytest.raises(TextError, match="window of 4 have forgotten"):
        decoding.rollback([3, 7, 1, 4])
    assert [row.ids for row in decoding.rows] == before
    agrees(model, decoding)
    with pytest.raises(TextError, match="cut back"):
        decoding.rollback([99, 99, 99, 99])
    decoding.advance([12] * 4)
    agrees(model, decoding)


def test_a_window_never_makes_wrong_logits_quietly() -> None:
    """Every rollback of every length either is refused or leaves the right logits."""
    model = model_of("llama", window=5)
    done = refused = 0
    for first in (2, 4, 9):
        for chunk in (1, 3, 8):
            for back in range(1, first + chunk):
                decoding = Decoding(model, [list(range(3, 3 + first)), [4]])
                decoding.extend([list(range(10, 10 + chunk))] * 2)
                keep = [max(1, length - back) for length in decoding.lengths]
                try:
                    decoding.rollback(keep)
                except TextError:
                    refused += 1
                    continue
                done += 1
                decoding.advance([7, 8])
                for row, logits in zip(decoding.rows, decoding.logits):
                    expected = whole(model, [], row.ids)[-1]
                    assert (logits - expected).abs().max() <= 2e-5 * expected.abs().max()
    assert done > 20
    assert refused > 5


@pytest.mark.parametrize("name", ["llama", "t5"])
def test_heads_read_only_the_tokens_they_are_told(name: str) -> None:
    model = model_of(name)
    batch = Batch.from_lists(PROMPTS)
    source = None if model.encoder is None else Batch.from_lists(PROMPTS)
    args = (batch,) if source is None else (source, batch)
    every = model.run(*args).heads["language-model"]
    last = model.run(*args, logits_at=batch.rows.ends).heads["language-model"]
    assert last.shape == (4, model.spec.vocab)
    assert torch.allclose(last, every[batch.rows.ends], rtol=1e-5, atol=1e-5)
    decoding = Decoding(model, [PROMPTS[1]])
    assert decoding.logits.shape == (1, model.spec.vocab)


def test_a_decoder_may_begin_with_a_forced_prefix() -> None:
    model = model_of("t5")
    for prefix in ([0, 7, 9], [[0, 7], [0, 7, 9], [0], [0, 4, 4, 4]]):
        decoding = Decoding(model, PROMPTS, prefix)
        agrees(model, decoding)
        decoding.advance([3, 4, 5, 6])
        agrees(model, decoding)
        assert decoding.rows[1].new == [4]
    with pytest.raises(TextError, match="prefix"):
        Decoding(model_of("gpt2"), PROMPTS, [4])
    with pytest.raises(TextError, match="4 rows"):
        Decoding(model, PROMPTS, [[0], [0]])


@pytest.mark.parametrize("name", ["t5", "transformer", *RECURRENT])
def test_rows_of_one_source_share_it(name: str) -> None:
    model = model_of(name)
    decoding = Decoding(model, PROMPTS)
    for chosen, tokens in (
        ([0, 0, 0, 1, 2, 3, 3], [5, 6, 7, 8, 9, 10, 11]),
        ([2, 0, 1, 3, 5, 6], [12, 5, 6, 7, 8, 9]),  # beams change places, and one text has ended
        ([3, 0, 1, 4], [4, 5, 6, 7]),  # another order of sources
        ([0, 1, 2, 0], [4, 5, 6, 7]),  # and one of them twice, apart
    ):
        decoding.select(chosen)
        agrees(model, decoding)
        decoding.advance(tokens)
        agrees(model, decoding)
    if name in SPECS:
        held = [layer.cross[0].shape[0] for layer in decoding.cache.layers]
        distinct = sum(len(PROMPTS[decoding.active[i]]) for i in (0, 1, 3))
        assert decoding.active[1] == decoding.active[2]
        assert held == [distinct] * len(held)


def test_rows_are_joined_as_they_are_counted() -> None:
    rows = Batch.from_lists([[1, 2, 3], [4, 5], [6]]).rows
    assert rows.joined([1, 2]).lengths == (3, 3)
    for counts in ([3, 1], [2], [3, 0]):
        with pytest.raises(TextError, match="3 rows cannot be joined"):
            rows.joined(counts)


def test_holes_in_a_prompt_do_not_disturb_a_rollback() -> None:
    model = model_of("llama")
    ids = torch.tensor([[4, 5, 6, 7, 8], [9, 10, 11, 12, 13]])
    mask = torch.tensor([[1, 0, 1, 1, 1], [1, 1, 1, 1, 1]])
    decoding = Decoding(model, Batch.from_padded(ids, mask))
    expected = decoding.advance([3, 4]).clone()
    decoding.extend([[5, 6], [7]])
    decoding.rollback([4, 5])
    assert torch.allclose(decoding.advance([3, 4]), expected, atol=1e-5)


def test_what_cannot_be_fed_is_refused_and_changes_nothing() -> None:
    model = model_of("gpt2")
    decoding = Decoding(model, PROMPTS)
    for wrong in ([5], [5, 6, 7, 8, 9]):
        with pytest.raises(TextError, match="4 rows"):
            decoding.advance(wrong)
    with pytest.raises(TextError, match="positions"):
        decoding.extend([[5] * 60] * 4)
    with pytest.raises(TextError, match="outside the table"):
        decoding.advance([5, 6, 7, 4000])
    with pytest.raises(TextError, match="at least one"):
        decoding.select([])
    agrees(model, decoding)
    with pytest.raises(TextError, match="language-model head"):
        Decoding(randomise(build(SPECS["bert"]), 1), PROMPTS)


def test_a_state_that_forgets_nothing_is_not_rolled_back() -> None:
    model = model_of("awd_lstm")
    decoding = Decoding(model, PROMPTS)
    decoding.score([[5, 6], [7], [8], [9]])
    agrees(model, decoding)
    with pytest.raises(TextError, match="recurrent"):
        decoding.rollback([4, 8, 2, 5])
    agrees(model, decoding)


def test_a_text_with_blanks_is_answered() -> None:
    """ChatGLM: a context that sees itself, then an answer whose tokens stand at the blank's position."""
    config = {"vocab_size": 61, "hidden_size": 16, "inner_hidden_size": 20, "num_layers": 2, "num_attention_heads": 2}
    config |= {"bos_token_id": 58, "eos_token_id": 57, "gmask_token_id": 59, "mask_token_id": 60, "pad_token_id": 3}
    model = randomise(build(family("chatglm").read(config, "ChatGLMForConditionalGeneration")), 5)
    prompts = [[5, 9, 4, 59, 58], [7, 60, 8, 11, 30, 6, 12, 58], [10, 59, 58]]
    decoding = Decoding(model, prompts)
    for step in range(6):
        for row, logits in zip(decoding.rows, decoding.logits):
            expected = whole(model, [], row.ids)[-1]
            assert (logits - expected).abs().max() <= 2e-5 * expected.abs().max()
        decoding.advance([20 + step, 30, 40 - step])
        if step == 2:
            decoding.select([2, 0, 0])
    decoding.rollback([length - 2 for length in decoding.lengths])
    decoding.advance([7, 8, 9])
    for row, logits in zip(decoding.rows, decoding.logits):
        expected = whole(model, [], row.ids)[-1]
        assert (logits - expected).abs().max() <= 2e-5 * expected.abs().max()
    with pytest.raises(TextError, match="context"):
        decoding.rollback([2, 2, 2])
    assert _opening(model, [5, 6]) == [59, 58]
    assert _opening(model, [5, 60, 6]) == [58]
    assert _opening(model, [5, 59, 58]) == []
