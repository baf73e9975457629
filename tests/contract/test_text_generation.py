"""The text-generation pipeline beside that of `transformers` 4.57."""

from collections.abc import Callable
from pathlib import Path

import pytest
from calls import Call
from writing_models import gpt2, llama

ONE, TWO, KOREAN = "The movie was very good.", "in Seoul, Kim", "이 영화 정말 재미"
GREEDY = {"do_sample": False, "max_new_tokens": 12}
USER = [{"role": "user", "content": ONE}]
SYSTEM = [{"role": "system", "content": "old story"}, {"role": "user", "content": TWO}]
PREFILLED = [*USER, {"role": "assistant", "content": "it was the"}]
LONG = " ".join([ONE] * 30)

CALLS = [
    Call([ONE], GREEDY),
    Call([KOREAN], {"do_sample": False, "max_new_tokens": 30, "no_repeat_ngram_size": 2}),
    Call([[ONE, TWO, KOREAN]], GREEDY),
    Call([[ONE]], GREEDY),
    Call([[ONE, TWO]], GREEDY, generator=True),
    Call([ONE], {"max_new_tokens": 6}, {"do_sample": False}),
    Call([ONE], {"do_sample": False}),
    Call([ONE], {"do_sample": False, "max_length": 12}),
    Call([ONE], {}, {"do_sample": False, "max_length": 60}),
    Call([ONE], {"max_length": 45}, {"do_sample": False, "max_length": 60}),
    Call([ONE], {"do_sample": False, "max_length": 40, "max_new_tokens": 7}),
    Call([ONE], GREEDY | {"return_full_text": False}),
    Call([ONE], GREEDY, {"return_full_text": False}),
    Call([ONE], GREEDY | {"return_full_text": True}, {"return_full_text": False}),
    Call([ONE], GREEDY | {"return_text": True}),
    Call([ONE], GREEDY | {"return_tensors": True}),
    Call([[ONE, TWO]], GREEDY | {"return_tensors": True}),
    Call([ONE], GREEDY | {"num_beams": 4}),
    Call([ONE], GREEDY | {"num_beams": 4, "num_return_sequences": 3, "length_penalty": 0.5}),
    Call([[ONE, KOREAN]], GREEDY | {"num_beams": 4, "num_return_sequences": 2, "early_stopping": True}),
    Call([ONE], GREEDY | {"num_beams": 3, "num_return_sequences": 2, "return_tensors": True}),
    Call([ONE], GREEDY | {"no_repeat_ngram_size": 2, "repetition_penalty": 1.5}),
    Call([ONE], GREEDY | {"min_new_tokens": 10}),
    Call([ONE], GREEDY | {"min_length": 40}),
    Call([ONE], GREEDY | {"bad_words_ids": [[5], [9]]}),
    Call([ONE], GREEDY | {"eos_token_id": [11, 20, 31, 42]}),
    Call([ONE], GREEDY | {"stop_sequence": "the of a to"}),
    Call([ONE], GREEDY | {"prefix": TWO}),
    Call([[ONE, KOREAN]], GREEDY | {"prefix": TWO, "return_tensors": True}),
    Call([ONE], GREEDY, {"prefix": TWO}),
    Call([ONE], {"max_length": 70}, {"do_sample": False, "prefix": TWO, "max_length": 60}),
    Call([ONE], GREEDY | {"clean_up_tokenization_spaces": False}),
    Call([ONE], GREEDY | {"clean_up_tokenization_spaces": True}),
    Call([ONE], GREEDY | {"skip_special_tokens": False}),
    Call([ONE], GREEDY | {"add_special_tokens": False}),
    Call([ONE], GREEDY | {"truncation": True, "max_length": 5}),
    Call([ONE], GREEDY | {"tokenizer_encode_kwargs": {"truncation": True, "max_length": 4}}),
    Call([[ONE, TWO]], GREEDY | {"batch_size": 1}),
    Call([""], GREEDY),
]
CHATS = [
    Call([USER], GREEDY),
    Call([[USER, SYSTEM]], GREEDY),
    Call([SYSTEM], GREEDY | {"return_full_text": False}),
    Call([[USER, SYSTEM]], GREEDY, generator=True),
    Call([PREFILLED], GREEDY),
    Call([PREFILLED], GREEDY | {"continue_final_message": False}),
    Call([USER], GREEDY | {"continue_final_message": True}),
    Call([PREFILLED], GREEDY | {"return_full_text": False}),
    Call([SYSTEM], GREEDY | {"num_beams": 3, "num_return_sequences": 2}),
    Call([SYSTEM], GREEDY | {"return_tensors": True}),
]
HOLE = Call([LONG], {"do_sample": False, "max_new_tokens": 10, "handle_long_generation": "hole"})


@pytest.mark.slow
def test_every_call_gives_the_same(same: Callable[..., None], tmp_path: Path):
    same("text-generation", gpt2(tmp_path / "gpt2"), [*CALLS, HOLE])
    same("text-generation", llama(tmp_path / "llama"), [*CALLS, HOLE, *CHATS])


@pytest.mark.slow
def test_settings_in_files_count_as_they_do_there(same: Callable[..., None], tmp_path: Path):
    calls = [Call([ONE], {"do_sample": False}), Call([ONE], {"do_sample": False, "max_length": 40}),
             Call([ONE], {"do_sample": False, "max_new_tokens": 5})]  # fmt: skip
    same("text-generation", gpt2(tmp_path / "a", {"max_length": 30, "no_repeat_ngram_size": 2}), calls)
    same("text-generation", gpt2(tmp_path / "b", {"max_new_tokens": 9, "num_beams": 3}), calls)
    params = {"text-generation": {"do_sample": False, "max_new_tokens": 11, "prefix": TWO}}
    same("text-generation", gpt2(tmp_path / "c", task_specific_params=params), [*calls, Call([ONE])])
