"""Recordings of every kind of model: what a page reads of them, and that it is what a trace says."""

import base64
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from view_models import KOREAN, byte_tokens, decoder, encoder, encoder_decoder, recurrent, vision

import moduformer as mf
from moduformer.errors import TextError
from moduformer.text.tokenizer import Tokenizer
from moduformer.view import record as recording_module
from moduformer.view.prediction import name_of
from moduformer.view.record import Recording, record
from moduformer.view.tokens import of_encoding, of_ids

TEXT = "The movie was very good, and the story of the old city was long."
PICTURE = torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(0))


def recordings() -> dict[str, Recording]:
    return {
        "encoder": record(encoder(), TEXT),
        "masked": record(encoder("BertForMaskedLM"), "the movie was [MASK] good"),
        "decoder": record(decoder(), TEXT, generate=4),
        "encoder-decoder": record(encoder_decoder(), TEXT, "the story was long"),
        "written": record(encoder_decoder("transformer"), TEXT, generate=5),
        "recurrent": record(recurrent(), TEXT, "the story was long"),
        "input feeding": record(recurrent("luong"), TEXT, "the story was long"),
        "vision": record(vision(), image=PICTURE),
    }


@pytest.fixture(scope="module")
def made() -> dict[str, Recording]:
    return recordings()


def unpacked(data: bytes, heads: int, queries: int, keys: int) -> np.ndarray:
    """What a page makes of a layer's bytes."""
    largest = np.frombuffer(data, "<f4", heads * queries).reshape(heads, queries, 1)
    levels = np.frombuffer(data, np.uint8, offset=4 * heads * queries).reshape(heads, queries, keys)
    return largest * (levels / 255)


def test_the_data_of_every_kind_of_model_is_json_and_complete(made):
    kinds = {"masked": "encoder", "written": "encoder-decoder", "input feeding": "recurrent"}
    for name, recording in made.items():
        data = json.loads(json.dumps(recording.data, allow_nan=False))
        assert data["format"] == "moduformer recording 1"
        assert data["model"]["kind"] == kinds.get(name, name)
        assert data["attentions"], name
        for attention in data["attentions"]:
            queries = data["sequences"][attention["queries"]]["tokens"]
            keys = data["sequences"][attention["keys"]]["tokens"]
            size = attention["thumbnail"]["size"]
            shown = base64.b64decode(attention["thumbnail"]["data"])
            assert len(shown) == attention["layers"] * attention["heads"] * size * size
            for values in attention["scores"].values():
                assert np.array(values, dtype=float).shape == (attention["layers"], attention["heads"])
            layer = recording.layer(attention["name"], 0)
            assert len(layer) == attention["heads"] * len(queries) * (4 + len(keys))
            rows = unpacked(layer, attention["heads"], len(queries), len(keys))
            assert np.allclose(rows.sum(-1), 1, atol=0.02 * len(keys)), name
            one = recording.layer(attention["name"], 0, 0)
            assert np.array_equal(unpacked(one, 1, len(queries), len(keys))[0], rows[0])
        for sequence in data["sequences"].values():
            for token in sequence["tokens"]:
                assert 0 <= token["start"] <= token["end"] <= len(sequence["text"])


def test_which_attentions_each_model_has(made):
    found = {name: list(recording.attentions) for name, recording in made.items()}
    both = ["encoder.attention", "decoder.attention", "decoder.cross_attention"]
    assert found["encoder"] == ["encoder.attention"]
    assert found["decoder"] == ["decoder.attention"]
    assert found["encoder-decoder"] == found["written"] == both
    assert found["recurrent"] == ["decoder.cross_attention"]
    assert found["vision"] == ["vision.attention"]


def test_weights_are_those_of_a_trace(made):
    """Also the grouped heads of llama, the position bias of T5 and the steps of a recurrent decoder."""
    for recording in made.values():
        trace = mf.Trace("*.weights")
        with torch.no_grad():
            recording.inputs.run(recording.model, trace)
        for name, attention in recording.attentions.items():
            for layer, traced in enumerate(attention.layers.names):
                for head in range(attention.layers.heads):
                    wanted = trace[f"{traced}.weights"][0, head]
                    assert torch.allclose(recording.weights(name, layer, head), wanted, atol=1e-6), (name, layer)


def test_layers_that_are_not_kept_are_computed_again(made, monkeypatch):
    tokens = len(made["decoder"].inputs.ids)
    kept = unpacked(made["decoder"].layer("decoder.attention", 1), 4, tokens, tokens)
    monkeypatch.setattr(recording_module.Shelf.__init__, "__defaults__", (100,))
    monkeypatch.setattr("moduformer.view.probe.CHUNK", 50)
    again = record(decoder(), TEXT, generate=4)
    assert not again._shelf._kept
    # Other sums of the same numbers: they may be rounded to the level beside.
    assert np.allclose(unpacked(again.layer("decoder.attention", 1), 4, tokens, tokens), kept, atol=0.005)
    for first, second in zip(again.data["attentions"], made["decoder"].data["attentions"]):
        shown = [np.frombuffer(base64.b64decode(e["thumbnail"]["data"]), np.uint8).astype(int) for e in (first, second)]
        assert abs(shown[0] - shown[1]).max() <= 1
        assert first["scores"].keys() == second["scores"].keys()


def test_a_prediction_is_what_the_model_says(made):
    recording = made["encoder"]
    ids = torch.tensor([recording.inputs.ids])
    logits = recording.model(ids, token_type_ids=torch.tensor([recording.inputs.types])).logits
    assert recording.data["prediction"]["of"] == "class"
    assert recording.data["prediction"]["probabilities"] == pytest.approx(logits.softmax(-1)[0].tolist(), abs=1e-5)
    masked = made["masked"].data["prediction"]
    assert (masked["of"], len(masked["labels"])) == ("masked token", 10)
    assert made["masked"].data["sequences"]["source"]["tokens"][masked["token"]]["text"] == "[MASK]"
    ids = torch.tensor([made["masked"].inputs.ids])
    logits = made["masked"].model(ids).logits.detach()[0, masked["token"]]
    assert masked["probabilities"][0] == pytest.approx(float(logits.softmax(-1).max()), abs=1e-5)
    assert made["decoder"].data["prediction"]["of"] == "next token"
    assert made["vision"].data["prediction"]["of"] == "class"


def test_a_prediction_is_not_about_what_follows_an_end():
    data = record(encoder_decoder(), TEXT, "the story").data
    tokens = data["sequences"]["target"]["tokens"]
    assert tokens[-1]["special"]
    assert data["prediction"]["token"] == len(tokens) - 2
    assert record(encoder_decoder(), TEXT, "the story", at=1).data["prediction"]["token"] == 1


def test_a_token_that_is_only_a_space_has_a_name_that_can_be_seen():
    tokenizer = SimpleNamespace(decode=lambda ids, skip_special_tokens: "", id_to_token=lambda number: "▁")
    assert name_of(SimpleNamespace(tokenizer=tokenizer), 3) == "␣"


def test_a_sentence_encoder_predicts_nothing_and_still_moves():
    recording = record(encoder("BertModel"), TEXT)
    assert recording.data["prediction"] is None
    off = recording.off([("encoder.attention", 0, 1)])
    assert off["prediction"] is None
    assert off["moved"] > 0
    assert recording.effects("encoder.attention")[0, 1] == pytest.approx(off["moved"], abs=1e-5)


def test_tags_spans_and_pairs():
    tagged = record(encoder("BertForTokenClassification"), TEXT).data["prediction"]
    assert (tagged["of"], tagged["sequence"]) == ("tag", "source")
    recording = record(encoder("BertForTokenClassification"), TEXT, at=3)
    ids = torch.tensor([recording.inputs.ids])
    wanted = recording.model(ids).logits[0, 3].softmax(-1).tolist()
    assert recording.data["prediction"]["probabilities"] == pytest.approx(wanted, abs=1e-5)
    spans = record(encoder("BertForQuestionAnswering"), "what was long?", pair=TEXT)
    assert spans.data["prediction"]["of"] == "answer start"
    assert spans.inputs.types is not None
    assert sum(spans.inputs.types) > 10
    source = spans.data["sequences"]["source"]
    assert [source["text"][t["start"] : t["end"]].lower() for t in source["tokens"] if not t["special"]][-2:] == [
        "long",
        ".",
    ]


def test_written_probabilities_are_those_of_the_next_token(made):
    for name in ("decoder", "written", "recurrent"):
        recording = made[name]
        found = recording.data["written"]
        inputs = {"input_ids": torch.tensor([recording.inputs.ids])}
        if recording.inputs.target is not None:
            inputs["decoder_input_ids"] = torch.tensor([recording.inputs.target])
        with torch.no_grad():
            shares = recording.model(**inputs).logits[0].softmax(-1)
        ids = recording.data["sequences"] and recording.inputs.readings[found["sequence"]].ids
        assert found["probabilities"][0] is None
        wanted = [float(shares[i, token]) for i, token in enumerate(ids[1:])]
        assert found["probabilities"][1:] == pytest.approx(wanted, abs=1e-5)
        assert len(found["likeliest"]) == len(ids)
    made_by_model = made["decoder"].data["written"]
    assert made_by_model["from"] == len(made_by_model["probabilities"]) - 4
    # Greedy: what the model wrote is what it found likeliest.
    for place in range(made_by_model["from"], len(made_by_model["probabilities"])):
        best = made_by_model["likeliest"][place][0][1]
        assert made_by_model["probabilities"][place] == pytest.approx(best, abs=1e-4)


def test_korean_tokens_of_bytes_are_whole_characters():
    tokenizer = byte_tokens()
    reading = of_encoding(tokenizer, tokenizer.encode(KOREAN), KOREAN)
    assert any("�" in tokenizer.decode([number]) for number in reading.ids), "the vocabulary splits no character"
    assert all("�" not in token.text and token.text for token in reading.tokens)
    seen: dict[tuple[int, int], list] = {}
    for token in reading.tokens:
        assert token.text == KOREAN[token.start : token.end].strip() or token.text in "␣"
        seen.setdefault((token.start, token.end), []).append(token)
    assert "".join(KOREAN[start:end] for start, end in sorted(seen)).replace(" ", "") == KOREAN.replace(" ", "")
    split = [group for group in seen.values() if len(group) > 1]
    assert split
    for group in split:
        assert [token.part for token in group] == [(k + 1, len(group)) for k in range(len(group))]
    smile = next(group for (start, end), group in seen.items() if KOREAN[start:end] == "😀")
    assert {token.text for token in smile} == {"😀"}


def test_korean_that_a_model_writes_is_whole_characters_too():
    tokenizer = byte_tokens()
    before = of_encoding(tokenizer, tokenizer.encode("영화"), "영화")
    ids = tokenizer.encode(" 참 좋다 😀!").ids
    reading = of_ids(tokenizer, ids, before)
    assert reading.text == "영화 참 좋다 😀!"
    assert all("�" not in token.text for token in reading.tokens)
    assert reading.tokens[-1].text == "!"
    assert [token.text for token in reading.tokens if token.part is None or token.part[0] == 1][-2:] == ["😀", "!"]
    exclamation = tokenizer.encode("!").ids
    broken = of_ids(tokenizer, [ids[-2], *exclamation, *tokenizer.encode("\u2028").ids])
    assert broken.tokens[0].text == "⟨80⟩"  # the last byte of the emoji is no character
    assert broken.tokens[1].text == "!"
    assert {token.text for token in broken.tokens[2:]} == {"␣"}
    assert len(of_ids(tokenizer, ids[:-2]).tokens) == len(ids) - 2


@pytest.mark.parametrize("kind", ["wordpiece", "unigram", "bpe"])
def test_words_and_specials(kind):
    text = "Good movies, 좋은영화 don't end."
    tokenizer = Tokenizer.train(
        [text] * 30 + ["the film was good and it was long", "영화 정말 좋다"] * 20,
        kind,
        60 if kind == "unigram" else 290,
    )
    reading = of_encoding(tokenizer, tokenizer.encode(text), text)
    words: dict[int, str] = {}
    for token in reading.tokens:
        if not token.special and token.part is None:
            words[token.word] = words.get(token.word, "") + text[token.start : token.end]
    assert [word.strip() for word in words.values() if word.strip()][:2] == ["Good", "movies"]
    assert "," in words.values()
    numbers = [token.word for token in reading.tokens]
    assert numbers == sorted(numbers)
    assert set(numbers) == set(range(max(numbers) + 1))
    for token, after in zip(reading.tokens, reading.tokens[1:]):
        # The lone sign of a space in a vocabulary of pieces begins the word after it.
        assert token.text != "␣" or token.word == after.word
    for token in reading.tokens:
        assert token.text.strip()
        assert token.special == (token.text in tokenizer.control_tokens)


def test_rollout_is_the_product_of_its_layers(made):
    for name, attention in (
        ("encoder", "encoder.attention"),
        ("decoder", "decoder.attention"),
        ("vision", "vision.attention"),
    ):
        recording = made[name]
        count = len(recording.attentions[attention].layers)
        heads = recording.attentions[attention].layers.heads
        product = None
        for layer in range(count):
            mean = sum(recording.weights(attention, layer, head) for head in range(heads)).double() / heads
            mixed = (mean + torch.eye(len(mean))) / 2
            product = mixed if product is None else mixed @ product
        assert torch.allclose(recording.rollout(attention), product, atol=1e-6)
        assert torch.allclose(product.sum(-1), torch.ones(len(product), dtype=torch.float64), atol=1e-5)


def test_the_pair_adds_up_to_the_weight(made):
    for name, attention in (
        ("encoder", "encoder.attention"),
        ("decoder", "decoder.attention"),
        ("encoder-decoder", "decoder.attention"),
    ):
        recording = made[name]
        query = len(recording.inputs.readings[recording.attentions[attention].queries]) - 1
        pairs = [recording.pair(attention, 1, 1, query, key) for key in range(query + 1)]
        for found in pairs:
            assert found["products"] == pytest.approx(
                [a * b for a, b in zip(found["query"], found["key"])], rel=1e-3, abs=1e-5
            )
        logits = torch.tensor([found["score"] + found["added"] for found in pairs])
        assert logits.softmax(-1).tolist() == pytest.approx([found["weight"] for found in pairs], abs=1e-4)
        weights = recording.weights(attention, 1, 1)[query]
        assert [found["weight"] for found in pairs] == pytest.approx(weights[: query + 1].tolist(), abs=1e-5)


def test_the_lens_ends_with_the_prediction(made):
    for name in ("decoder", "written", "masked"):
        recording = made[name]
        found = recording.lens()
        assert len(found) == 2
        prediction = recording.data["prediction"]
        best = found[-1][prediction["token"]][0]
        assert best[0] == prediction["labels"][0]
        assert best[1] == pytest.approx(prediction["probabilities"][0], abs=1e-3)
        assert found[0] != found[-1]
    assert "lens" not in made["encoder"].can


def test_what_cannot_be_recorded_is_refused_by_name():
    with pytest.raises(TextError, match="no text"):
        record(encoder())
    with pytest.raises(TextError, match="takes no image"):
        record(encoder(), TEXT, image=PICTURE)
    with pytest.raises(TextError, match="target is for"):
        record(encoder(), TEXT, "more")
    with pytest.raises(TextError, match="positions"):
        record(encoder(), "city " * 100)
    with pytest.raises(TextError, match="no token 99"):
        record(decoder(), "the city", at=99)
    with pytest.raises(TextError, match="surrogate"):
        record(encoder(), "a\ud800")
    with pytest.raises(TextError, match="image"):
        record(vision(), TEXT)
    recording = record(encoder(), TEXT)
    for wrong in ((9, 0), (0, 9), (-1, 0)):
        with pytest.raises(TextError, match="there is no"):
            recording.layer("encoder.attention", *wrong)
    with pytest.raises(TextError, match="no attention of that name"):
        recording.layer("decoder.attention", 0)


def test_a_model_in_training_is_left_in_training():
    model = encoder().train()
    first, second = record(model, TEXT), record(model, TEXT)
    assert model.training
    assert first.data["prediction"] == second.data["prediction"]
