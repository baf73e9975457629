"""Pipelines that write: ragged batches, long documents in windows, streams, whole syllables, errors that say what."""

import itertools
import warnings
from pathlib import Path

import pytest
import torch
from core_models import randomise
from pipeline_models import TEXTS, words
from test_generate_text import Script
from text_samples import CORPUS

import moduformer as mf
from moduformer.errors import ModuformerError, PipelineError, TextError
from moduformer.families import family
from moduformer.generate.text import generate_text
from moduformer.model import Model
from moduformer.pipelines import generating
from moduformer.pipelines.summarization import INSTRUCTION
from moduformer.text.chat import encode_chat
from moduformer.text.tokenizer import Tokenizer

TEMPLATE = (
    "{% for m in messages %}<|endoftext|>{{ m.role }}: {{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|endoftext|>assistant: {% endif %}"
)
POSITIONS = 40
DOCUMENT = "\n\n".join(" ".join(TEXTS[(i + j) % 4] for j in range(3)) for i in range(4))


def made(name: str, architecture: str, tokenizer: Tokenizer, **config) -> Model:
    torch.set_num_threads(1)
    config = {"vocab_size": tokenizer.max_id + 1, **config}
    model = randomise(mf.build(family(name).read(config, architecture), seed=1), seed=2).eval()
    model.tokenizer = tokenizer
    return model


@pytest.fixture(scope="module")
def bart() -> Model:
    size = {"d_model": 24, "encoder_layers": 2, "decoder_layers": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32,
            "encoder_attention_heads": 2, "decoder_attention_heads": 2, "max_position_embeddings": POSITIONS,
            "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3, "decoder_start_token_id": 3}  # fmt: skip
    return made("bart", "BartForConditionalGeneration", words(), **size)


@pytest.fixture(scope="module")
def decoder() -> Model:
    tokenizer = Tokenizer.train(CORPUS, "bpe", 400)
    size = {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 600}
    ends = {"bos_token_id": tokenizer.eos_id, "eos_token_id": tokenizer.eos_id}
    return made("gpt2", "GPT2LMHeadModel", tokenizer, **size, **ends)


@pytest.fixture
def chat(decoder: Model, monkeypatch: pytest.MonkeyPatch) -> Model:
    from dataclasses import replace

    settings = replace(decoder.tokenizer.settings, chat_template=TEMPLATE)
    monkeypatch.setattr(decoder.tokenizer, "settings", settings)
    return decoder


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch):
    """Makes a model write given ids, whatever it reads."""

    def write(ids: list[int]) -> None:
        plain = generating.request

        def with_script(*args, **kwargs):
            asked = plain(*args, **kwargs)
            asked.processors = [*asked.processors, Script(ids)]
            return asked

        monkeypatch.setattr(generating, "request", with_script)

    return write


# Text generation ------------------------------------------------------------------------------------------------------


def test_ragged_batches_give_what_single_texts_give(decoder: Model, bart: Model):
    texts = ["the", "한국어 문장을 나누는", "a tokenizer turns text into numbers and numbers into text", "x"]
    pipe = mf.pipeline("text-generation", decoder, max_new_tokens=6)
    for settings in ({"do_sample": False}, {"do_sample": False, "num_beams": 3}, {"seed": 4}):
        assert pipe(texts, **settings) == [pipe(text, **settings) for text in texts]
    pipe = mf.pipeline("text2text-generation", bart, max_new_tokens=6)
    assert pipe(TEXTS) == [pipe(text)[0] for text in TEXTS]
    assert pipe(TEXTS, num_return_sequences=2) == [pipe(text, num_return_sequences=2) for text in TEXTS]


def test_a_stream_of_inputs_is_taken_as_results_are_asked_for(decoder: Model):
    taken = itertools.count()
    source = (f"text {next(taken)}" for _ in range(10**6))
    results = mf.pipeline("text-generation", decoder)(source, do_sample=False, max_new_tokens=1, batch_size=4)
    next(results)
    assert next(taken) == 4


def test_pieces_of_a_stream_are_the_text(decoder: Model, bart: Model):
    pipe = mf.pipeline("text-generation", decoder, max_new_tokens=12, do_sample=True)
    for seed in range(5):
        whole = pipe("the quick", seed=seed, return_full_text=False, clean_up_tokenization_spaces=False)
        assert "".join(pipe.stream_text("the quick", seed=seed)) == whole[0]["generated_text"]
    pipe = mf.pipeline("summarization", bart, max_new_tokens=8, num_beams=1)
    assert len(pipe.predict(DOCUMENT)[0].windows) > 2
    assert "".join(pipe.stream_text(DOCUMENT)) == pipe(DOCUMENT)[0]["summary_text"]
    with pytest.raises(PipelineError, match="must be 1"):
        list(pipe.stream_text("text", num_beams=2))


def test_a_bound_on_tokens_splits_no_syllable(decoder: Model, scripted):
    tokenizer = decoder.tokenizer
    ids = tokenizer.encode("뷁쉛 끝").ids
    scripted(ids)
    pipe = mf.pipeline("text-generation", decoder, do_sample=False, return_full_text=False)
    seen = set()
    for bound in range(1, len(ids) + 1):
        text = pipe("x", max_new_tokens=bound)[0]["generated_text"]
        assert "뷁쉛 끝".startswith(text)
        assert "".join(pipe.stream_text("x", max_new_tokens=bound)) == text
        seen.add(text)
    assert seen >= {"", "뷁", "뷁쉛", "뷁쉛 끝"}


def test_what_a_model_writes_as_broken_text_stays_where_it_is_not_cut(decoder: Model, scripted):
    tokenizer = decoder.tokenizer
    ids = [*tokenizer.encode("뷁").ids[:-1], tokenizer.eos_id]
    scripted(ids)
    pipe = mf.pipeline("text-generation", decoder, do_sample=False, return_full_text=False)
    assert "\N{REPLACEMENT CHARACTER}" in pipe("x")[0]["generated_text"]


def test_typed_results_have_one_shape(decoder: Model, bart: Model):
    pipe = mf.pipeline("text-generation", decoder, do_sample=False, max_new_tokens=3)
    for inputs in ("one", ["one", "two"]):
        for found in pipe.predict(inputs):
            assert found.sequences[0].ended_by in ("length", "eos")
            assert found.prompt in ("one", "two")
            alone = generate_text(decoder, found.prompt, max_new_tokens=3, do_sample=False)[0]
            assert found.sequences[0].tokens == alone.tokens
    details = pipe("one", details=True)
    assert list(details[0]) == ["generated_text", "ended_by"]
    found = mf.pipeline("translation", bart, max_new_tokens=3).predict("one")
    assert found[0].written[0][0].score is not None


def test_errors_name_the_input_and_say_what_to_do(decoder: Model, bart: Model):
    pipe = mf.pipeline("text-generation", decoder, max_new_tokens=3)
    with pytest.raises(PipelineError, match="input 1: is no text"):
        pipe(["a", None])
    with pytest.raises(PipelineError, match=r"input 2: has \d+ tokens, but this model has 600"):
        pipe(["a", "b", "word " * 700])
    with pytest.raises(PipelineError, match="input 0: is no conversation"):
        pipe([{"role": "user"}])
    with pytest.raises(PipelineError, match="did you mean 'return_full_text'"):
        pipe("a", return_fulltext=True)
    with pytest.raises(PipelineError, match="did you mean 'max_new_tokens'"):
        pipe("a", max_new_token=3)
    with pytest.raises(PipelineError, match="cannot both be said"):
        pipe("a", return_full_text=True, return_tensors=True)
    with pytest.raises(PipelineError, match="'hole'"):
        pipe("a", handle_long_generation="cut")
    with pytest.raises(TextError, match="num_beams"):
        pipe("a", num_beams=0)
    with pytest.raises(PipelineError, match="text-generation"):
        mf.pipeline("text2text-generation", decoder)
    with pytest.raises(PipelineError, match="answers a text"):
        mf.pipeline("text-generation", bart)
    with pytest.raises(PipelineError, match=f"reads at most {POSITIONS}"):
        mf.pipeline("text2text-generation", bart)(DOCUMENT)
    with pytest.raises(PipelineError, match="window is 100"):
        mf.pipeline("summarization", bart)(DOCUMENT, window=100)


def test_a_length_without_effect_is_told_once(decoder: Model):
    generating._said.clear()
    pipe = mf.pipeline("text-generation", decoder, do_sample=False)
    with pytest.warns(UserWarning, match="max_length=9 has no effect, since max_new_tokens=3"):
        pipe("a", max_length=9, max_new_tokens=3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pipe("a", max_length=9, max_new_tokens=3)


# Long documents -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", ["summarization", "translation"])
def test_a_long_document_is_read_in_windows_at_edges_of_sentences(task: str, bart: Model):
    pipe = mf.pipeline(task, bart, max_new_tokens=20)
    found = pipe.predict(DOCUMENT)[0]
    place = 0
    for window in found.windows:
        part = DOCUMENT[window.start : window.end]
        assert DOCUMENT[place : window.start].strip() == ""
        assert part[-1] in ".!?"
        assert len(bart.tokenizer.encode(part)) <= POSITIONS
        place = window.end
    assert place == len(DOCUMENT)
    parts = [pipe(DOCUMENT[w.start : w.end])[0][f"{pipe.returns}_text"] for w in found.windows]
    text = pipe(DOCUMENT)[0][f"{pipe.returns}_text"]
    assert text.split() == " ".join(parts).split()
    assert text.count("\n\n") <= 3
    details = pipe([DOCUMENT, "short"], details=True)
    assert [one["windows"] for one in details] == [len(found.windows), 1]
    assert all(isinstance(one["truncated"], bool) for one in details)


def test_copies_of_a_long_document_are_joined_copy_by_copy(bart: Model):
    pipe = mf.pipeline("summarization", bart, max_new_tokens=5, num_return_sequences=2)
    found = pipe.predict(DOCUMENT)[0]
    assert len(found.texts) == 2
    for copy, text in enumerate(found.texts):
        assert text.split() == " ".join(window[copy].text for window in found.written).split()


def test_only_asked_for_are_summaries_summarized(bart: Model):
    pipe = mf.pipeline("summarization", bart, max_new_tokens=4, num_beams=1)
    plain, dense = pipe(DOCUMENT)[0]["summary_text"], pipe(DOCUMENT, condense=True)[0]["summary_text"]
    assert dense == pipe(plain)[0]["summary_text"]
    assert dense != plain
    assert pipe(DOCUMENT, condense=True, details=True)[0]["windows"] == 1


def test_the_beginning_of_a_prompt_may_be_dropped_to_leave_room(decoder: Model):
    pipe = mf.pipeline("text-generation", decoder, do_sample=False, max_new_tokens=20, handle_long_generation="hole")
    long = " ".join(CORPUS * 60)
    found = pipe.predict(long)[0]
    ids = decoder.tokenizer.encode(long).ids
    assert found.prompt_tokens == ids[-580:]
    assert pipe(long)[0]["generated_text"] == long + found.sequences[0].text
    with pytest.raises(PipelineError, match="leave no room"):
        pipe(long, max_new_tokens=600)


def test_truncation_keeps_the_frame_and_says_so(bart: Model):
    pipe = mf.pipeline("summarization", bart, max_new_tokens=4)
    source = pipe.read(DOCUMENT, pipe.configured({"truncation": True}))
    ids = bart.tokenizer.encode(DOCUMENT).ids
    assert source.ids == ([*ids[: POSITIONS - 1], ids[-1]],)
    assert pipe(DOCUMENT, truncation=True, details=True)[0]["truncated"] is True


# Chat models ----------------------------------------------------------------------------------------------------------


def test_a_chat_model_summarizes_by_the_documented_instruction(chat: Model, scripted):
    pipe = mf.pipeline("summarization", chat, max_new_tokens=40)
    asked = [{"role": "user", "content": f"{INSTRUCTION}\n\nthe lazy dog <|endoftext|>"}]
    item = pipe.read("the lazy dog <|endoftext|>", pipe.configured({}))
    assert list(item.ids) == [encode_chat(chat.tokenizer, asked, add_generation_prompt=True)]
    assert item.ids[0].count(chat.tokenizer.eos_id) == 2, "a control token in the text is text"
    scripted([*chat.tokenizer.encode("a dog.").ids, chat.tokenizer.eos_id])
    long = " ".join(CORPUS * 20)
    assert pipe("the lazy dog") == [{"summary_text": "a dog."}]
    found = pipe(long, details=True, window=300)[0]
    assert found["windows"] > 3
    assert found["summary_text"] == " ".join(["a dog."] * found["windows"])


def test_a_decoder_translates_only_when_asked(chat: Model, decoder: Model):
    with pytest.raises(PipelineError, match="instruction="):
        mf.pipeline("translation_en_to_ko", chat)
    pipe = mf.pipeline("translation_en_to_ko", chat, instruction="Translate into Korean.", max_new_tokens=3)
    assert list(pipe("the dog")[0]) == ["translation_text"]


def test_a_decoder_without_a_template_is_refused(decoder: Model):
    for task in ("summarization", "translation"):
        with pytest.raises(PipelineError, match="continues texts"):
            mf.pipeline(task, decoder)


def test_conversations_go_on(chat: Model):
    pipe = mf.pipeline("text-generation", chat, do_sample=False, max_new_tokens=5)
    user = [{"role": "user", "content": "hello"}]
    answer = pipe(user)[0]["generated_text"]
    assert answer[:1] == user
    assert answer[1]["role"] == "assistant"
    assert pipe(user, return_full_text=False)[0]["generated_text"] == answer[1]["content"]
    begun = [*user, {"role": "assistant", "content": "the quick"}]
    whole = pipe(begun)[0]["generated_text"]
    assert len(whole) == 2
    assert whole[1]["content"].startswith("the quick")
    read = pipe.read(begun, pipe.configured({}))
    assert chat.tokenizer.decode(read.ids, skip_special_tokens=False).endswith("assistant: the quick")
    with pytest.raises(ModuformerError, match="no text to go on with"):
        pipe([*user, {"role": "assistant", "content": " "}])
    assert [len(found[0]["generated_text"]) for found in pipe([user, begun])] == [2, 2]


# Which model and settings ---------------------------------------------------------------------------------------------


def test_a_translation_without_model_needs_its_languages():
    with pytest.raises(PipelineError, match="translation_en_to_de"):
        mf.pipeline("translation")


def test_a_saved_pipeline_is_found_by_its_task(bart: Model, tmp_path: Path):
    mf.pipeline("text2text-generation", bart).save_pretrained(tmp_path)
    pipe = mf.pipeline(model=tmp_path)
    assert pipe.task == "text2text-generation"
    assert pipe("the movie", max_new_tokens=4) == mf.pipeline("text2text-generation", bart)(
        "the movie", max_new_tokens=4
    )
