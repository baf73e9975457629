"""The feature-extraction pipeline beside that of `transformers` 4.57."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from calls import Call
from small_models import bert, meta_space, roberta

import moduformer as mf

ONE, TWO = "The movie was very good.", "이 영화 정말 재미 없다"
LONG = " ".join([ONE] * 60)

CALLS = [
    Call([ONE]),
    Call([TWO]),
    Call([""]),
    Call([[ONE, TWO, ""]]),
    Call([[ONE]]),
    Call([[]]),
    Call([LONG], {"truncation": True}),
    Call([LONG], {"tokenize_kwargs": {"truncation": True, "max_length": 16}}),
    Call([[ONE, LONG]], {"tokenize_kwargs": {"max_length": 9}}),
    Call([LONG], construct={"tokenize_kwargs": {"truncation": True, "max_length": 7}}),
    Call([ONE], {"tokenize_kwargs": {"add_special_tokens": False}}),
    Call([ONE], {"tokenize_kwargs": {"padding": True}}),
    Call([[ONE, TWO, ONE]], generator=True),
]


@pytest.mark.slow
def test_every_call_gives_the_same(same: Callable[..., None], tmp_path: Path):
    same("feature-extraction", bert(tmp_path / "body", "Model"), CALLS)
    same("feature-extraction", bert(tmp_path / "labelled", "ForSequenceClassification", num_labels=3), CALLS[:4])
    same("feature-extraction", roberta(tmp_path / "spaces", "Model", meta_space()), CALLS)


@pytest.mark.slow
def test_tensors_where_they_are_asked_for(reference: Callable, tmp_path: Path):
    folder = str(bert(tmp_path, "Model"))
    pipe = mf.pipeline("feature-extraction", model=folder)
    case = {"task": "feature-extraction", "model": folder, "kwargs": {"return_tensors": True}, "construct": {}}
    (one,) = reference([{**case, "args": [ONE], "generator": False}])
    found = pipe(ONE, return_tensors=True)
    torch.testing.assert_close(found, torch.tensor(one["result"]), rtol=1e-4, atol=1e-4)
    assert [type(entry) for entry in pipe([ONE, TWO], return_tensors=True)] == [torch.Tensor] * 2
