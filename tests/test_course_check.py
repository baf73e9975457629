"""Checks of exercises: whatever an answer is, there is a verdict, in the reader's language."""

import numpy as np
import pytest
import torch

import moduformer as mf
from moduformer.course.checking import exercises, numbers
from moduformer.errors import DataError

ODD = [
    "text", b"bytes", [], {}, set(), object(), [[1, "a"]], float("nan"), float("inf"), -1, 10**400, True, [None],
    np.zeros((3, 4)), np.array(["a"]), torch.zeros(0), torch.ones(2, 2, dtype=torch.bool), lambda x: x, type, [[]] * 3,
]  # fmt: skip


@pytest.mark.parametrize("name", exercises())
def test_odd_answers_get_a_verdict(name):
    for answer in ODD:
        found = mf.course.check(name, answer)
        assert found.right is not True
        assert found.words.ko != found.words.en


def test_an_open_answer_is_neither_right_nor_wrong():
    found = mf.course.check("00-weights", None, language="ko")
    assert found.right is None
    assert not found
    assert "아직" in repr(found)


def test_answers_of_any_container_are_the_same():
    scores = torch.tensor([2.0, 1, 0, -1])
    for answer in (scores.softmax(0), scores.softmax(0).numpy(), scores.softmax(0).tolist()):
        assert mf.course.check("00-weights", answer)
    assert not mf.course.check("00-weights", [0.25] * 4)


def test_numbers_are_taken_out_of_nested_lists():
    assert numbers([[1, 2.0], [np.int64(3), torch.tensor(4)]]) == [1, 2, 3, 4]


def test_an_unknown_exercise_suggests_the_nearest():
    with pytest.raises(DataError, match="00-weights"):
        mf.course.check("00-wieghts", 1)


def test_the_language_is_the_readers(monkeypatch):
    monkeypatch.setenv("MODUFORMER_LANGUAGE", "ko")
    assert "맞았습니다" in repr(mf.course.check("00-weights", [0.6439, 0.2369, 0.0871, 0.0321]))
    monkeypatch.setenv("MODUFORMER_LANGUAGE", "en")
    assert "Right" in repr(mf.course.check("00-weights", [0.6439, 0.2369, 0.0871, 0.0321]))
    with pytest.raises(DataError, match="use 'ko' or 'en'"):
        mf.course.check("00-weights", None, language="fr")
