"""The text-classification pipeline beside that of `transformers` 4.57."""

from collections.abc import Callable
from pathlib import Path

import pytest
from calls import Call
from small_models import bert

THREE = {"num_labels": 3, "id2label": {0: "bad", 1: "fair", 2: "good"}, "label2id": {"bad": 0, "fair": 1, "good": 2}}
ONE, TWO = "The movie was very good.", "이 영화 정말 재미 없다"

CALLS = [
    Call([ONE]),
    Call([[ONE, TWO, ""]]),
    Call([[]]),
    Call([ONE], {"top_k": 2}),
    Call([ONE], {"top_k": None}),
    Call([ONE], {"top_k": 1}),
    Call([[ONE, TWO]], {"top_k": None}),
    Call([[ONE, TWO]], {"top_k": 9}),
    Call([ONE], construct={"top_k": None}),
    Call([[ONE, TWO]], construct={"top_k": 2}),
    Call([ONE], {"top_k": 1}, {"top_k": None}),
    Call([ONE], {"return_all_scores": True}),
    Call([[ONE, TWO]], construct={"return_all_scores": True}),
    Call([{"text": ONE, "text_pair": TWO}]),
    Call([[{"text": ONE, "text_pair": TWO}, {"text": TWO, "text_pair": ONE}]]),
    Call([{"text": ONE, "text_pair": TWO}], {"top_k": None}),
    Call([[[[ONE, TWO]]]]),
    Call([ONE], {"function_to_apply": "sigmoid"}),
    Call([ONE], {"function_to_apply": "none", "top_k": None}),
    Call([[ONE, TWO]], {"batch_size": 2}),
    Call([[ONE, TWO, ONE]], generator=True),
    Call([" ".join([ONE] * 60)], {"truncation": True, "max_length": 128}),
]


@pytest.mark.slow
@pytest.mark.parametrize(
    "config",
    [
        THREE,
        {"num_labels": 2},
        {"num_labels": 1},
        THREE | {"problem_type": "multi_label_classification"},
        {"num_labels": 1, "problem_type": "regression"},
    ],
)
def test_every_call_gives_the_same(config: dict, same: Callable[..., None], tmp_path: Path):
    same("text-classification", bert(tmp_path, "ForSequenceClassification", **config), CALLS)
    same("sentiment-analysis", tmp_path, CALLS[:2])
