"""The zero-shot-classification pipeline beside that of `transformers` 4.57."""

from collections.abc import Callable
from pathlib import Path

import pytest
from calls import Call
from small_models import bart, bert, byte_level, roberta

ONE, TWO = "The movie was very good.", "이 영화 정말 재미 없다"
LONG = " ".join([ONE] * 60)
LABELS = ["music", "film", "a long story of the city", "good"]
ORDERS = {
    "entailment last": ["contradiction", "neutral", "entailment"],
    "entailment first": ["Entailed", "neutral", "contradiction"],
    "two labels": ["not_entailment", "entailment"],
    "no such label": ["bad", "fair", "good"],
}

CALLS = [
    Call([ONE, LABELS]),
    Call([ONE], {"candidate_labels": LABELS}),
    Call([ONE], {"candidate_labels": "music, film , ,good"}),
    Call([TWO], {"candidate_labels": ["영화", "음악"], "hypothesis_template": "이것은 {} 이다."}),
    Call([ONE], {"candidate_labels": LABELS, "multi_label": True}),
    Call([ONE], {"candidate_labels": LABELS, "multi_class": True}),
    Call([ONE], {"candidate_labels": ["film"]}),
    Call([ONE], {"candidate_labels": "film"}),
    Call([ONE], {"candidate_labels": ["film", "film", "music"]}),
    Call([[ONE, TWO, "a"]], {"candidate_labels": LABELS}),
    Call([[ONE]], {"candidate_labels": LABELS}),
    Call([[ONE, TWO]], {"candidate_labels": LABELS, "multi_label": True, "hypothesis_template": "It was {}."}),
    Call([[]], {"candidate_labels": LABELS}),
    Call([ONE], construct={"candidate_labels": LABELS, "multi_label": True}),
    Call([ONE], {"multi_label": False}, {"candidate_labels": LABELS, "multi_label": True}),
    Call([[ONE, TWO]], {"candidate_labels": LABELS, "batch_size": 2}),
    # There, a long text is always cut; here it is where that is said.
    Call([LONG], {"candidate_labels": LABELS, "truncation": True}),
    Call([[ONE, LONG]], {"candidate_labels": LABELS, "truncation": True}),
    Call([[ONE, TWO]], {"candidate_labels": LABELS}, generator=True),
]


def named(order: str) -> dict:
    names = ORDERS[order]
    numbers = {name: number for number, name in enumerate(names)}
    return {"num_labels": len(names), "id2label": dict(enumerate(names)), "label2id": numbers}


@pytest.mark.slow
@pytest.mark.parametrize("order", ORDERS)
def test_every_call_gives_the_same(order: str, same: Callable[..., None], tmp_path: Path):
    same("zero-shot-classification", bert(tmp_path, "ForSequenceClassification", **named(order)), CALLS)


@pytest.mark.slow
def test_other_frames_and_words_give_the_same(same: Callable[..., None], tmp_path: Path):
    folder = roberta(tmp_path, "ForSequenceClassification", byte_level(False), **named("two labels"))
    same("zero-shot-classification", folder, CALLS)


@pytest.mark.slow
def test_an_encoder_decoder_gives_the_same(same: Callable[..., None], tmp_path: Path):
    folder = bart(tmp_path, "ForSequenceClassification", **named("entailment last"))
    same("zero-shot-classification", folder, CALLS)
    same("text-classification", folder, [Call([[ONE, TWO]]), Call([ONE], {"top_k": None})])
