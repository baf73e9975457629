"""The question-answering pipeline beside that of `transformers` 4.57."""

from collections.abc import Callable
from pathlib import Path

import pytest
from calls import Call
from small_models import bert, byte_level, roberta

SHORT = "Kim lives in Seoul and works at Samsung. Anna lives in Paris, France-West, by the river."
KOREAN = "김 철수는 서울에서 살았다. 회사는 런던에 있다. 이 영화는 정말 재미있다!"
LONG = " ".join([SHORT, KOREAN, "The old city was long and the story bright."] * 6)
WHO, WHERE = "Who works at Samsung?", "김 철수는 where?"
LONG_QUESTION = "who or what or " * 8 + "where?"
PAIR = {"question": WHO, "context": SHORT}
OTHER = {"question": WHERE, "context": KOREAN}
BOTH = {"question": WHO, "context": LONG}

CALLS = [
    Call([], PAIR),
    Call([], OTHER),
    Call([], {"question": [WHO], "context": [SHORT]}),
    Call([], {"question": [WHO, WHERE], "context": SHORT}),
    Call([], {"question": [WHO, WHERE], "context": [SHORT, KOREAN]}),
    Call([PAIR]),
    Call([[PAIR]]),
    Call([[PAIR, OTHER]]),
    Call([PAIR, OTHER]),
    Call([WHO, SHORT]),
    Call([], {"data": PAIR}),
    Call([], {"data": [PAIR, OTHER]}),
    Call([], {"X": [OTHER]}),
    Call([{"question": [WHO, WHERE], "context": [SHORT, KOREAN]}]),
    Call([{"question": [WHO], "context": [SHORT]}]),
    Call([[]]),
    Call([[PAIR, OTHER, BOTH]], generator=True),
    Call([[PAIR, OTHER]], {"batch_size": 2}),
    Call([], PAIR | {"top_k": 3}),
    Call([], PAIR | {"topk": 2}),
    Call([], PAIR | {"top_k": 1, "topk": 3}),
    Call([], PAIR, {"top_k": 3}),
    Call([[PAIR, OTHER]], {"top_k": 2}),
    Call([], OTHER | {"align_to_words": False}),
    Call([], OTHER | {"align_to_words": False, "top_k": 7}),
    Call([], PAIR | {"max_answer_len": 1, "top_k": 4}),
    Call([], PAIR | {"max_answer_len": 40}),
    Call([], PAIR | {"handle_impossible_answer": True}),
    Call([], PAIR | {"handle_impossible_answer": True, "top_k": 40}),
    Call([], BOTH),
    Call([], BOTH | {"top_k": 6}),
    Call([], BOTH | {"doc_stride": 10, "max_seq_len": 40, "top_k": 6}),
    Call([], BOTH | {"doc_stride": 0, "max_seq_len": 30, "top_k": 12}),
    Call([], BOTH | {"doc_stride": 10, "max_seq_len": 40, "align_to_words": False, "top_k": 6}),
    Call([], BOTH | {"doc_stride": 20, "max_seq_len": 64, "handle_impossible_answer": True, "top_k": 500}),
    Call([], {"question": LONG_QUESTION, "context": LONG, "max_question_len": 8, "doc_stride": 8, "top_k": 3}),
    Call([], {"question": WHO, "context": "   "}),
    Call([], {"question": WHO, "context": "   ", "handle_impossible_answer": True}),
    Call([], {"question": WHO, "context": "[SEP] Kim [CLS] Anna [MASK]", "top_k": 3}),
    Call([], PAIR | {"top_k": None, "doc_stride": None}),
]


@pytest.mark.slow
def test_every_call_gives_the_same(same: Callable[..., None], tmp_path: Path):
    # Large weights, since small ones would make all answers nearly equal.
    same("question-answering", bert(tmp_path, "ForQuestionAnswering", scale=0.8), CALLS)


WHERE_IS = {"question": "where?", "context": SHORT}
IN_KOREAN = {"question": "누가?", "context": KOREAN}
LONGER = {"question": "who?", "context": " ".join([SHORT, KOREAN] * 3)}
FRAMED_OTHERWISE = [
    Call([], WHERE_IS),
    Call([], WHERE_IS | {"top_k": 5}),
    Call([], WHERE_IS | {"top_k": 5, "align_to_words": False}),
    Call([], IN_KOREAN | {"top_k": 4}),
    Call([], IN_KOREAN | {"top_k": 4, "align_to_words": False}),
    Call([], LONGER | {"top_k": 5, "doc_stride": 10}),
    Call([], LONGER | {"top_k": 5, "doc_stride": 10, "align_to_words": False, "handle_impossible_answer": True}),
    Call([], LONGER | {"top_k": 5, "doc_stride": 4, "max_seq_len": 40, "max_answer_len": 40}),
]


@pytest.mark.slow
@pytest.mark.parametrize("tokenizer", [byte_level(False), byte_level(True)], ids=["bytes", "spaced bytes"])
def test_other_tokenizers_give_the_same(tokenizer: object, same: Callable[..., None], tmp_path: Path):
    same("question-answering", roberta(tmp_path, "ForQuestionAnswering", tokenizer), FRAMED_OTHERWISE)
