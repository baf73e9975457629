"""LanguageModel: adaptation and from scratch, perplexity as transformers counts it, files, errors."""

import math
import random
from pathlib import Path

import pytest
import torch
import transformers
from tiny_models import FILL, tiny_encoder

import moduformer as mf
from moduformer.errors import CheckpointError, DataError, TrainingError
from moduformer.tasks.language_model import LanguageModel
from moduformer.tasks.language_model_training import learned_windows, score_texts
from moduformer.train.plain_texts import PlainTexts, read_texts, split_texts, texts_from_list

SMALL = {"layers": 1, "d_model": 32, "d_ff": 64, "heads": 2, "dropout": 0.0, "vocab": 320}


def sentences(count: int, seed: int = 0) -> list[str]:
    """Each word decides the next but one time in ten: there is something to learn."""
    torch.set_num_threads(1)
    rng, made = random.Random(seed), []
    for _ in range(count):
        place, words = rng.randrange(len(FILL)), []
        for _ in range(rng.randint(5, 15)):
            words.append(FILL[place])
            place = (place + 1) % len(FILL) if rng.random() < 0.9 else rng.randrange(len(FILL))
        made.append(" ".join(words))
    return made


@pytest.fixture(scope="module")
def gpt() -> LanguageModel:
    texts, held = sentences(400), sentences(40, 1)
    made = LanguageModel("gpt", epochs=8, size=SMALL, max_length=24, learning_rate=5e-3)
    return made.fit(texts, eval_set=held)


def test_a_decoder_learns_from_nothing_and_writes(gpt: LanguageModel):
    found = [e.metrics["perplexity"] for e in gpt.history_.evaluations]
    assert found[-1] < 6 < found[0]
    assert gpt.score(sentences(40, 1)) == pytest.approx(-found[-1])
    assert gpt.report_["tokens_dropped"] == 0
    written = gpt.generate("the a", max_new_tokens=8)[0].text
    assert len(set(written.split()) & set(FILL)) >= 2


def test_perplexity_is_that_of_transformers(gpt: LanguageModel, tmp_path: Path):
    theirs = transformers.AutoModelForCausalLM.from_pretrained(gpt.save(tmp_path)).eval()
    text = sentences(1, 9)[0]
    tokenizer = gpt.model_.tokenizer
    ids = torch.tensor([[tokenizer.eos_id, *tokenizer.encode(text).ids]])
    assert ids.shape[1] <= 24
    expected = math.exp(theirs(ids, labels=ids).loss.item())
    assert gpt.predict([text])[0] == pytest.approx(expected, rel=1e-4)
    metrics = gpt.metrics([text])
    assert metrics.tokens == ids.shape[1] - 1
    bits = math.log2(expected) * metrics.tokens / len(text.encode())
    assert metrics.bits_per_byte == pytest.approx(bits, rel=1e-4)


def test_every_token_of_a_long_text_counts_once(gpt: LanguageModel):
    text = " ".join(sentences(30, 5))
    tokens = len(gpt.model_.tokenizer.encode(text).ids)
    assert score_texts(gpt.model_, [text], 24).tokens == tokens
    encoded, report = learned_windows(gpt.model_, [text], 24)
    assert report["windows"] > 5
    # Neighbouring windows share one token, which is learned in the first and read in the second.
    assert report["tokens"] == tokens + 2 + report["windows"] - 1
    assert all(encoded.ids.row(i)[-1] == encoded.ids.row(i + 1)[0] for i in range(len(encoded) - 1))


def test_files_keep_it_and_pipelines_take_it(gpt: LanguageModel, tmp_path: Path):
    again = LanguageModel.load(gpt.save(tmp_path))
    texts = sentences(5, 3)
    assert again.predict(texts) == pytest.approx(gpt.predict(texts))
    assert again.get_params() == gpt.get_params() | {"model": "gpt"}
    pipe = mf.pipeline("text-generation", str(tmp_path), do_sample=False, max_new_tokens=5)
    whole = pipe("the a")[0]["generated_text"]
    assert whole == "the a" + gpt.generate("the a", max_new_tokens=5)[0].text
    (tmp_path / "language_model.json").write_text('{"version": 1, "parameters": {"probability": 3}}')
    with pytest.raises(CheckpointError, match="probability"):
        LanguageModel.load(tmp_path)


def test_an_encoder_is_adapted_by_guessing_words(tmp_path: Path):
    texts, held = sentences(300), sentences(60, 1)
    base = tiny_encoder(tmp_path / "base")
    found = LanguageModel(base, epochs=3, learning_rate=3e-3).fit(texts, eval_set=held)
    losses = [e.metrics["loss"] for e in found.history_.evaluations]
    assert losses[-1] < losses[0]
    assert not found.causal_
    assert found.score(held) == found.score(held)
    again = LanguageModel.load(found.save(tmp_path / "adapted"))
    assert again.score(held) == pytest.approx(found.score(held))
    with pytest.raises(TrainingError, match="fill-mask"):
        found.generate("the")
    classifier = mf.TextClassifier(tmp_path / "adapted", epochs=1)
    classifier.fit(["good film", "bad film"] * 4, ["pos", "neg"] * 4)


@pytest.mark.parametrize("name", ["llama", "bert"])
def test_other_architectures_learn_from_nothing(name: str, tmp_path: Path):
    made = LanguageModel(name, epochs=4, size=SMALL, max_length=24, batch_size=8, learning_rate=5e-3)
    made.fit(sentences(60), eval_set=sentences(10, 1))
    losses = [e.metrics["loss"] for e in made.history_.evaluations]
    assert losses[-1] < losses[0]
    assert LanguageModel.load(made.save(tmp_path)).score(sentences(5, 2)) < 0


def test_adapters_leave_the_base(gpt: LanguageModel, tmp_path: Path):
    folder = gpt.save(tmp_path)
    found = LanguageModel(folder, recipe="lora", epochs=1, max_length=24).fit(sentences(30, 6))
    assert torch.equal(found.model_.embedding.tokens.weight, gpt.model_.embedding.tokens.weight)
    assert found.adapter_ is not None


@pytest.mark.parametrize(
    ("parameters", "what"),
    [
        ({"probability": 0}, "above 0"),
        ({"max_length": 2}, "at least 4"),
        ({"size": {"depth": 2}}, "fields are layers"),
        ({"model": "minilm", "size": SMALL}, "from scratch"),
        ({"recipe": "features"}, "no base to keep"),
    ],
)
def test_settings_that_cannot_be_are_named(parameters: dict, what: str):
    with pytest.raises((DataError, TrainingError), match=what):
        LanguageModel(**parameters).fit(["some text"])


def test_texts_are_read_from_files(tmp_path: Path):
    (tmp_path / "a.txt").write_text("One.\n\nTwo.\n", encoding="utf-8")
    assert read_texts(tmp_path / "a.txt").texts == ["One.\n\nTwo."]
    (tmp_path / "b.csv").write_text('id,text\n1,"a, b"\n2,\n', encoding="utf-8")
    found = read_texts(tmp_path / "b.csv")
    assert (found.texts, found.column, len(found.refused)) == (["a, b"], "text", 1)
    (tmp_path / "c.txt").write_text(" \n")
    with pytest.raises(DataError, match="holds no text"):
        read_texts(tmp_path / "c.txt")
    with pytest.raises(DataError, match="one string"):
        texts_from_list("text")
    with pytest.raises(DataError, match=r"texts\[1\] is empty"):
        texts_from_list(["a", " "])


def test_a_single_text_is_divided_at_a_line():
    whole = "\n".join(f"line {i}" for i in range(100))
    train, held = split_texts(PlainTexts([whole]), 0.1)
    assert train.texts[0] + held.texts[0] == whole
    assert held.texts[0].startswith("line 9")
    many = PlainTexts([str(i) for i in range(50)])
    train, held = split_texts(many, 0.1, 3)
    assert sorted(train.texts + held.texts) == sorted(many.texts)
    assert len(held) == 5
    with pytest.raises(DataError, match="too short"):
        split_texts(PlainTexts(["x"]))
