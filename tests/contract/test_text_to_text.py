"""The pipelines of encoder-decoders beside those of `transformers` 4.57."""

from collections.abc import Callable
from pathlib import Path

import pytest
from calls import Call
from writing_models import bart, marian, mbart, t5

ONE, TWO, KOREAN = "The movie was very good.", "in Seoul, Kim lives and works", "이 영화 정말 재미"
FEW = {"max_new_tokens": 12}

CALLS = [
    Call([ONE], FEW),
    Call([[ONE, TWO, KOREAN]], FEW),
    Call([[ONE]], FEW),
    Call([[]], FEW),
    Call([[ONE, TWO]], FEW, generator=True),
    Call([ONE], FEW | {"num_beams": 1}),
    Call([ONE], FEW | {"num_beams": 1, "no_repeat_ngram_size": 2}),
    Call([[ONE, TWO]], FEW | {"num_return_sequences": 2}),
    Call([ONE], FEW | {"num_return_sequences": 3, "length_penalty": 2.0, "early_stopping": True}),
    Call([ONE], FEW | {"min_length": 8}),
    Call([ONE], FEW | {"min_new_tokens": 8, "num_beams": 2}),
    Call([ONE], {"max_length": 9}),
    Call([ONE], {}, {"max_length": 9}),
    Call([ONE], {"max_length": 5}, {"max_length": 9}),
    Call([ONE], {"max_length": 5, "max_new_tokens": 7}),
    Call([ONE], FEW | {"return_tensors": True}),
    Call([[ONE, TWO]], FEW | {"return_tensors": True, "num_return_sequences": 2}),
    Call([ONE], FEW | {"return_text": True}),
    Call([ONE], FEW | {"clean_up_tokenization_spaces": True}),
    Call([ONE], FEW, {"clean_up_tokenization_spaces": True}),
    Call([ONE], FEW | {"stop_sequence": "the"}),
    Call([ONE], FEW | {"repetition_penalty": 1.4}),
    Call([[ONE, TWO]], FEW | {"batch_size": 1}),
    Call([" ".join([ONE] * 40)], FEW | {"truncation": True}),
]
SETTINGS = [Call([ONE]), Call([[ONE, TWO]], FEW), Call([ONE], {"max_length": 9}), Call([ONE], {"num_beams": 2})]
PARAMS = {
    "summarization": {"max_length": 12, "min_length": 4, "num_beams": 3, "no_repeat_ngram_size": 2, "prefix": "bad "},
    "translation_en_to_de": {"max_new_tokens": 10, "prefix": "in seoul: "},
}


@pytest.mark.slow
@pytest.mark.parametrize("task", ["text2text-generation", "summarization", "translation"])
@pytest.mark.parametrize("make", [bart, t5], ids=["bart", "t5"])
def test_every_call_gives_the_same(make: Callable, task: str, same: Callable[..., None], tmp_path: Path):
    same(task, make(tmp_path), CALLS)


@pytest.mark.slow
def test_settings_in_files_count_as_they_do_there(same: Callable[..., None], tmp_path: Path):
    long = bart(tmp_path / "a", {"max_length": 14, "min_length": 5, "num_beams": 2, "length_penalty": 2.0})
    named = t5(tmp_path / "b", task_specific_params=PARAMS)
    new = bart(tmp_path / "c", {"max_new_tokens": 6})
    for task in ("summarization", "translation_en_to_de", "text2text-generation"):
        same(task, long, SETTINGS)
        same(task, named, SETTINGS)
        same(task, new, SETTINGS)


@pytest.mark.slow
def test_languages_are_told_as_mbart_tells_them(same: Callable[..., None], tmp_path: Path):
    pair = {"src_lang": "en_XX", "tgt_lang": "ko_KR"}
    calls = [
        Call([ONE], FEW, pair),
        Call([[ONE, TWO]], FEW | {"src_lang": "de_DE", "tgt_lang": "en_XX"}),
        Call([KOREAN], FEW | {"src_lang": "ko_KR"}, pair),
        Call([ONE], FEW | {"return_tensors": True}, pair),
    ]
    same("translation", mbart(tmp_path), calls)


@pytest.mark.slow
def test_marian_reads_with_one_sentencepiece_model_and_writes_with_another(same: Callable[..., None], tmp_path: Path):
    folder = marian(tmp_path)
    same("translation", folder, [*CALLS[:-1], Call([f">>kor<< {ONE}"], FEW), Call([[KOREAN, "zebra 영화 xyz"]], FEW)])
    same("translation_en_to_ko", folder, CALLS[:3])
