"""Text doors: streaming never splits a character, stop strings work across tokens, pieces together are the whole."""

import random
import threading
from dataclasses import replace

import pytest
import torch
from core_models import SPECS, randomise
from text_samples import CORPUS, TEXTS, sentencepiece_file

from moduformer.errors import TextError
from moduformer.generate.decoding import Row
from moduformer.generate.streaming import TextStream
from moduformer.generate.text import generate_text, pieces, stream
from moduformer.model import Model, build
from moduformer.text.tokenizer import Tokenizer

KINDS = ("bytes", "unigram", "wordpiece", "spm-bpe", "spm-unigram")


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory) -> dict[str, Tokenizer]:
    folder = tmp_path_factory.mktemp("tokenizers")
    made = {
        "bytes": Tokenizer.train(CORPUS, "bpe", 400),
        "unigram": Tokenizer.train(CORPUS, "unigram", 200),
        "wordpiece": Tokenizer.train(CORPUS, "wordpiece", 400),
    }
    for kind in ("bpe", "unigram"):
        own = folder / kind
        own.mkdir()
        sentencepiece_file(own, kind, byte_fallback=True).rename(own / "tokenizer.model")
        found = Tokenizer.load(own, "llama")
        assert found is not None
        made[f"spm-{kind}"] = found
    return made


def streamed(tokenizer: Tokenizer, ids: list[int], stops: tuple[str, ...] = ()) -> tuple[list[str], TextStream]:
    parts: list[str] = []
    own = TextStream(tokenizer, stops, parts.append)
    for token in ids:
        if own.push(token):
            break
    own.finish()
    return parts, own


@pytest.mark.parametrize("kind", KINDS)
def test_pieces_are_whole_characters_and_together_the_decoded_text(tokenizers, kind: str) -> None:
    tokenizer = tokenizers[kind]
    for text in [*TEXTS, "🤗🤗 뷁쉛 끝 👨‍👩‍👧‍👦", " ".join(CORPUS[:10])]:
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        parts, own = streamed(tokenizer, ids)
        assert "".join(parts) == own.text == tokenizer.decode(ids)
        assert all(parts)
        if "\N{REPLACEMENT CHARACTER}" not in own.text:
            assert not any("\N{REPLACEMENT CHARACTER}" in part for part in parts)


@pytest.mark.parametrize("kind", KINDS)
def test_random_tokens_stream_to_exactly_their_decoded_text(tokenizers, kind: str) -> None:
    """Mostly broken UTF-8 and special tokens in odd places: what a random model writes."""
    tokenizer, rng = tokenizers[kind], random.Random(1)
    bytes_only = [i for i in range(tokenizer.vocab_size) if len(tokenizer.id_to_token(i) or "") in (1, 6)]
    for trial in range(300):
        choices = bytes_only if trial % 2 else range(tokenizer.vocab_size)
        ids = rng.choices(choices or range(tokenizer.vocab_size), k=rng.randint(1, 40))
        for place in rng.choices(range(len(ids)), k=2):
            ids[place] = tokenizer.vocab_size + 7  # embeddings are often rounded up, so this is an id without a token
        parts, _ = streamed(tokenizer, ids)
        assert "".join(parts) == tokenizer.decode(ids)


def test_text_comes_as_early_as_it_is_certain(tokenizers) -> None:
    tokenizer = tokenizers["bytes"]
    ids = tokenizer.encode("the fox 뷁! ok", add_special_tokens=False).ids
    seen: list[str] = []
    own = TextStream(tokenizer, (), seen.append)
    for count, token in enumerate(ids, 1):
        own.push(token)
        certain = tokenizer.decode(ids[:count]).removesuffix("\N{REPLACEMENT CHARACTER}")
        assert "".join(seen) == certain


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_of_a_stop_string_is_ever_emitted(tokenizers, kind: str) -> None:
    tokenizer, rng = tokenizers[kind], random.Random(2)
    found = 0
    for text in [*TEXTS, *CORPUS[:5]]:
        ids = tokenizer.encode(text + " " + text, add_special_tokens=False).ids
        whole = tokenizer.decode(ids)
        for _ in range(12):
            if not whole:
                continue
            start = rng.randrange(len(whole))
            stops = (whole[start : start + rng.randint(1, 6)], "nowhere§", whole[start + 1 : start + 3] or "§")
            parts, own = streamed(tokenizer, ids, stops)
            ends = [(whole.find(stop) + len(stop), whole.find(stop)) for stop in stops if stop in whole]
            assert "".join(parts) == whole[: min(ends)[1]]
            assert own.stop is not None
            assert own.finished
            found += 1
    assert found > 50


def test_what_only_begins_a_stop_string_is_emitted_in_the_end(tokenizers) -> None:
    tokenizer = tokenizers["bytes"]
    ids = tokenizer.encode("one two thr", add_special_tokens=False).ids
    parts, own = streamed(tokenizer, ids, ("three",))
    assert "".join(parts) == "one two thr"
    assert own.stop is None


# Whole generations ----------------------------------------------------------------------------------------------------


class Script:
    """Makes a random model write given texts: its processor lets only the next token of a row's script through."""

    def __init__(self, *scripts: list[int]) -> None:
        self.scripts, self.steps = scripts, 0

    def __call__(self, rows: list[Row], logits: torch.Tensor) -> torch.Tensor:
        self.steps += 1
        forced = torch.full_like(logits, float("-inf"))
        for number, row in enumerate(rows):
            script = self.scripts[row.ids[0] % len(self.scripts)] if len(self.scripts) > 1 else self.scripts[0]
            forced[number, script[len(row.new)]] = 0.0
        return forced


@pytest.fixture
def model(tokenizers) -> Model:
    tokenizer = tokenizers["bytes"]
    spec = replace(SPECS["llama"], vocab=tokenizer.max_id + 1, eos_id=tokenizer.eos_id, pad_id=tokenizer.pad_id)
    made = randomise(build(spec), 4)
    made.tokenizer = tokenizer
    return made


def test_texts_go_in_and_come_out(model: Model) -> None:
    results = generate_text(model, ["the quick", "오늘은", "a"], max_new_tokens=9)
    assert [r.prompt for r in results] == [0, 1, 2]
    for prompt, result in zip(["the quick", "오늘은", "a"], results):
        alone = generate_text(model, prompt, max_new_tokens=9)[0]
        assert replace(alone, prompt=result.prompt) == result
        assert result.text == model.tokenizer.decode(result.tokens)
        assert result.ended_by == "length"
    several = generate_text(model, ["the", "a"], max_new_tokens=5, do_sample=True, seed=1, num_return_sequences=3)
    assert [r.prompt for r in several] == [0, 0, 0, 1, 1, 1]


def test_streams_stop_strings_and_the_end_token(model: Model) -> None:
    tokenizer = model.tokenizer
    wanted = "가족 👨‍👩‍👧‍👦 sat.\nUser: no"
    ids = tokenizer.encode(wanted).ids
    script = Script([*ids, tokenizer.eos_id, *ids])
    common = {"max_new_tokens": 200, "processors": [script]}
    ended = generate_text(model, "x", **common)[0]
    assert (ended.text, ended.ended_by, ended.tokens) == (wanted, "eos", [*ids, tokenizer.eos_id])
    parts = list(stream(model, "x", **common))
    assert "".join(parts) == wanted
    assert len(parts) > 5
    assert not any("\N{REPLACEMENT CHARACTER}" in part for part in parts)
    script.steps = 0
    parts = list(stream(model, "x", stop_strings=["\nUser:", "Bot:"], **common))
    assert "".join(parts) == "가족 👨‍👩‍👧‍👦 sat."
    assert script.steps < len(ids)  # the model stopped, not only the text
    stopped = generate_text(model, "x", stop_strings="\nUser:", **common)[0]
    assert (stopped.text, stopped.ended_by) == ("가족 👨‍👩‍👧‍👦 sat.", "stop")


def test_the_padded_door_streams_and_stops_too(model: Model) -> None:
    tokenizer = model.tokenizer
    script = Script(tokenizer.encode("hello world, hello tokens: 1 2 3").ids * 3)
    prompt = torch.tensor([tokenizer.encode("the").ids])
    parts: list[str] = []
    ids = model.generate(prompt, max_new_tokens=40, streamer=parts.append, processors=[script], stop_strings=["tok"])
    assert "".join(parts) == "hello world, hello "
    written = tokenizer.decode(ids[0, prompt.shape[1] :].tolist())
    assert written.startswith("hello world, hello tok")  # ids as Hugging Face gives them hold the stop
    two = prompt.repeat(2, 1)
    with pytest.raises(TextError, match="2 results but 1 streamers"):
        model.generate(two, streamer=parts.append)
    both: list[list[str]] = [[], []]
    out = model.generate(two, max_new_tokens=5, streamer=[both[0].append, both[1].append])
    assert "".join(both[0]) == "".join(both[1]) == tokenizer.decode(out[0, prompt.shape[1] :].tolist())
    model.tokenizer = None
    with pytest.raises(TextError, match="tokenizer"):
        model.generate(prompt, streamer=parts.append)


def test_an_empty_prompt_begins_with_the_begin_token_or_is_refused(model: Model) -> None:
    model.spec = replace(model.spec, bos_id=None)
    with pytest.raises(TextError, match="empty"):
        generate_text(model, "")
    model.spec = replace(model.spec, bos_id=1)
    assert generate_text(model, "", max_new_tokens=3)[0].tokens
    with pytest.raises(TextError, match="no prompt"):
        generate_text(model, [])


def test_control_tokens_in_a_strangers_prompt_are_text(model: Model) -> None:
    seen: list[list[int]] = []

    def look(rows: list[Row], logits: torch.Tensor) -> torch.Tensor:
        seen.append(list(rows[0].ids))
        return logits

    for allowed in (True, False):
        generate_text(model, "a<|endoftext|>b", max_new_tokens=1, processors=[look], allow_special=allowed)
    assert model.tokenizer.eos_id in seen[0]
    assert model.tokenizer.eos_id not in seen[1]


def test_errors_come_out_of_a_stream_and_a_reader_may_leave(model: Model) -> None:
    with pytest.raises(TextError, match="top_p"):
        list(stream(model, "x", top_p=4))
    before = threading.active_count()
    reader = stream(model, "the", max_new_tokens=100_000)
    assert next(reader)
    reader.close()
    assert threading.active_count() == before
    with pytest.raises(ZeroDivisionError):
        list(pieces(lambda emit: 1 / 0))


def test_an_encoder_decoder_answers(tokenizers) -> None:
    tokenizer = tokenizers["unigram"]
    spec = replace(SPECS["t5"], vocab=tokenizer.max_id + 1, eos_id=tokenizer.eos_id)
    model = randomise(build(spec), 4)
    model.tokenizer = tokenizer
    results = generate_text(model, ["hello world", "a"], max_new_tokens=6)
    ids = tokenizer.encode("hello world").ids
    prompt = torch.tensor([ids])
    expected = model.generate(prompt, torch.ones_like(prompt), max_new_tokens=6)[0, 1:].tolist()
    assert results[0].tokens == expected[: len(results[0].tokens)]
