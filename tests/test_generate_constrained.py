"""Texts bound to a form: every one follows it, with every kind of tokenizer, Hangul included; errors for people."""

import json
import re
import sys
from dataclasses import replace
from typing import Any

import pytest
import tokenizers
import torch
from core_models import SPECS, randomise

from moduformer.errors import TextError
from moduformer.generate.settings import GenerationSettings
from moduformer.generate.spelling import spelling
from moduformer.generate.strategies import Request, run
from moduformer.generate.text import Generated, generate_text
from moduformer.model import Model, build
from moduformer.text.tokenizer import Tokenizer

pytest.importorskip("llguidance")
TEXTS = [
    '{"name": "민수", "age": 31}',
    "안녕하세요 반갑습니다 123",
    "The quick brown fox, 2024-05-17!",
    "[1, 2, 3]",
] * 3
SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 4},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "tags": {"type": "array", "items": {"enum": ["빨강", "blue"]}, "maxItems": 2},
    },
    "required": ["name", "age", "tags"],
    "additionalProperties": False,
}
REGEXES = [r"[가-힣]{2,4} \d{1,3}", r"(yes|no|아니요)", r" {1,2}a?", r"\d{4}-\d{2}-\d{2}", r"[^a]{3}", r"^(?i:no)\d?$"]


def byte_level() -> Tokenizer:
    return Tokenizer.train(TEXTS, "bpe", 300)


def llama() -> Tokenizer:
    """SentencePiece's BPE with bytes for what it has not seen, as Llama has it."""
    pieces = [
        "<unk>",
        "<s>",
        "</s>",
        *(f"<0x{i:02X}>" for i in range(256)),
        "▁",
        "안",
        "녕",
        "▁안",
        "1",
        "2",
        "▁1",
        "a",
    ]
    pieces += ["-", '"', "{", "}", ":", ",", "▁{", "name", "▁yes", "blue"]
    raw = tokenizers.Tokenizer(
        tokenizers.models.BPE({piece: i for i, piece in enumerate(pieces)}, [], unk_token="<unk>", byte_fallback=True)
    )
    raw.add_special_tokens(["<unk>", "<s>", "</s>"])
    raw.decoder = tokenizers.decoders.Sequence(
        [
            tokenizers.decoders.Replace("▁", " "),
            tokenizers.decoders.ByteFallback(),
            tokenizers.decoders.Fuse(),
            tokenizers.decoders.Strip(" ", 1, 0),
        ]
    )
    return Tokenizer.from_tokenizers(raw, unk="<unk>", bos="<s>", eos="</s>")


def unigram() -> Tokenizer:
    """SentencePiece's unigram model without bytes, as T5 has it: only characters it has seen can be written."""
    letters = [(letter, -4.0) for letter in [*sorted(set("".join(TEXTS)) - {" "}), *"빨강blty아니요s"]]
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0), ("▁안녕", -3.0), ("▁{", -3.0), *letters]
    raw = tokenizers.Tokenizer(tokenizers.models.Unigram(list(dict(pieces).items()), unk_id=2))
    raw.add_special_tokens(["<pad>", "</s>", "<unk>"])
    raw.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
    raw.decoder = tokenizers.decoders.Metaspace()
    return Tokenizer.from_tokenizers(raw, pad="<pad>", eos="</s>", unk="<unk>")


MAKERS = {"byte-level": byte_level, "llama": llama, "unigram": unigram}


@pytest.fixture(scope="module", params=MAKERS)
def model(request: Any) -> Model:
    return model_with(MAKERS[request.param]())


def model_with(tokenizer: Tokenizer, name: str = "llama", end: str = "eos") -> Model:
    # A few rows of the table have no token, as where a vocabulary is filled up to a round number.
    number = getattr(tokenizer, f"{end}_id")
    spec = replace(SPECS[name], vocab=tokenizer.max_id + 9, eos_id=(number,))
    made = randomise(build(spec), 3)
    with torch.no_grad():
        made.heads["language-model"].weight.mul_(0.2)
    made.tokenizer = tokenizer
    return made


def sampled(model: Model, **settings: Any) -> list[Generated]:
    made = generate_text(
        model, "안녕", do_sample=True, top_k=0, seed=1, max_new_tokens=150, num_return_sequences=12, **settings
    )
    assert all(one.ended_by == "eos" for one in made)
    return made


@pytest.mark.parametrize("regex", REGEXES)
def test_every_sampled_text_matches(model: Model, regex: str) -> None:
    texts = [one.text for one in sampled(model, regex=regex)]
    assert all(re.fullmatch(regex, text) for text in texts), texts
    assert len(set(texts)) > 1
    assert not any("�" in text for text in texts)


def test_every_sampled_text_follows_the_schema(model: Model) -> None:
    texts = [one.text for one in sampled(model, json_schema=SCHEMA)]
    for text in texts:
        data = json.loads(text)
        assert list(data) == ["name", "age", "tags"]
        assert len(data["name"]) <= 4
        assert type(data["age"]) is int
        assert 0 <= data["age"] <= 120
        assert len(data["tags"]) <= 2
        assert set(data["tags"]) <= {"빨강", "blue"}
        assert text == json.dumps(data, ensure_ascii=False) or "\\" in text  # one line, no free white space
    assert len(set(texts)) > 6


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"num_beams": 3, "num_return_sequences": 3},
        {"penalty_alpha": 0.6, "top_k": 4},
        {"prompt_lookup_num_tokens": 4},
    ],
    ids=str,
)
def test_every_strategy_keeps_the_form(settings: dict[str, Any]) -> None:
    bound = model_with(byte_level())
    prompts = ["안녕", "the fox 2024-05", "[1, 2"]
    for one in generate_text(bound, prompts, regex=r"\d{4}-\d{2}", max_new_tokens=30, **settings):
        assert re.fullmatch(r"\d{4}-\d{2}", one.text)
        assert one.ended_by == "eos"
    plain = generate_text(bound, prompts, regex=r"[가-힣]{3,5}", max_new_tokens=30)
    own = generate_text(bound, prompts, regex=r"[가-힣]{3,5}", max_new_tokens=30, assistant_model=bound)
    assert [one.text for one in own] == [one.text for one in plain]


def test_an_encoder_decoder_is_bound_too() -> None:
    spec, words = SPECS["t5"], unigram()
    bound = randomise(build(replace(spec, vocab=words.max_id + 1, eos_id=(words.eos_id,))), 3)
    bound.tokenizer = words
    text = generate_text(bound, "안녕하세요", json_schema=json.dumps(SCHEMA), max_new_tokens=150)[0].text
    assert set(json.loads(text)) == {"name", "age", "tags"}


def test_the_probabilities_of_what_is_allowed_keep_their_proportions() -> None:
    from moduformer.generate.constrained import constraint
    from moduformer.generate.decoding import Decoding

    bound = model_with(byte_level())
    request = Request(GenerationSettings.of(bound, regex="[0-9]"), 5, tokenizer=bound.tokenizer)
    decoding = Decoding(bound, [[40, 41]])
    logits = constraint(bound, request)(decoding.rows, decoding.logits)
    allowed = (logits[0] > float("-inf")).nonzero().flatten().tolist()
    assert sorted(bound.tokenizer.decode([token]) for token in allowed) == [str(digit) for digit in range(10)]
    assert torch.equal(logits[0, allowed], decoding.logits[0, allowed])


@pytest.mark.parametrize(("make", "texts"), [(maker, TEXTS[:4]) for maker in MAKERS.values()])
def test_tokens_are_spelled_as_they_are_decoded(make: Any, texts: list[str]) -> None:
    tokenizer = make()
    known = spelling(tokenizer)
    for text in texts:
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        spelled = b"".join(known.words[number] or b"" for number in ids).decode()
        assert spelled.removeprefix(" " if known.strips else "") == tokenizer.decode(ids)
    assert known.strips == (make is not byte_level)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"regex": "(a"}, "regular expression cannot be used.*unclosed group"),
        ({"regex": "a)|(b"}, "regular expression cannot be used"),
        ({"regex": "a(?=b)"}, "look-ahead"),
        ({"json_schema": '{"type": '}, "no JSON.*line 1, column"),
        ({"json_schema": "[" * 100_000}, "no JSON"),
        ({"json_schema": "3"}, "a schema is an object"),
        ({"json_schema": {"type": "objct"}}, "JSON schema cannot be used.*objct"),
        ({"json_schema": {"$ref": "http://127.0.0.1:1/schema"}}, "JSON schema cannot be used"),
        ({"json_schema": {"type": "string", "pattern": "(a"}}, "unclosed group"),
        ({"json_schema": {"enum": []}}, "JSON schema cannot be used"),
        ({"json_schema": {"type": "object", "x": {1, 2}}}, "no JSON"),
        ({"json_schema": {"x-guidance": 3}}, "x-guidance"),
        ({"regex": "[0-9]", "suppress_tokens": "all"}, "leave no token to go on with"),
        ({"json_schema": {"x-guidance": {"item_separator": 3}}}, "JSON schema cannot be used"),
    ],
    ids=str,
)
def test_what_cannot_be_followed_is_an_error_for_people(model: Model, settings: dict[str, Any], message: str) -> None:
    if "suppress_tokens" in settings:
        settings = {**settings, "suppress_tokens": list(range(model.spec.vocab - 2))}
    with pytest.raises(TextError, match=message):
        generate_text(model, "안녕", **settings)


def test_what_is_missing_is_named(model: Model, monkeypatch) -> None:
    with pytest.raises(TextError, match="token to end with"):
        generate_text(model, "안녕", regex="a", eos_token_id=[])
    with pytest.raises(TextError, match="tokenizer"):
        run(model, [[5]], Request(GenerationSettings(regex="a", eos_token_id=(1,)), 5))
    pieces = tokenizers.Tokenizer(tokenizers.models.WordPiece({"[UNK]": 0, "a": 1, "##b": 2}, unk_token="[UNK]"))
    pieces.decoder = tokenizers.decoders.WordPiece()
    with pytest.raises(TextError, match=r"byte-level BPE and SentencePiece.*WordPiece"):
        generate_text(model, "a", regex="a", tokenizer=Tokenizer.from_tokenizers(pieces))
    monkeypatch.setitem(sys.modules, "llguidance", None)
    with pytest.raises(TextError, match=r"moduformer\[constrained\]"):
        generate_text(model, "안녕", regex="a")


def test_forced_tokens_come_before_the_form() -> None:
    bound = model_with(byte_level())
    start = next(number for number, word in spelling(bound.tokenizer).words.items() if word is None)
    made = generate_text(bound, "안녕", regex=r"\d{3}", forced_bos_token_id=start, max_new_tokens=9)[0]
    assert re.fullmatch(r"\d{3}", made.text)


def test_an_end_that_is_forced_does_not_come_before_its_time() -> None:
    bound = model_with(byte_level())
    settings = {"regex": r"\d{6}", "forced_eos_token_id": bound.spec.eos_id}
    short = generate_text(bound, "안녕", max_new_tokens=4, **settings)[0]
    assert short.ended_by == "length"
    assert re.fullmatch(r"\d{1,6}", short.text)
    assert generate_text(bound, "안녕", max_new_tokens=9, **settings)[0].ended_by == "eos"


def test_letters_that_no_token_spells_are_an_error() -> None:
    with pytest.raises(TextError, match="leave no token"):
        generate_text(model_with(unigram()), "안녕", regex="(Ω|Ω)", max_new_tokens=4)
