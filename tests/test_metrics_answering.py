"""Scores of answers: cases by hand, a second writing of the published definitions, and real systems' predictions."""

import json
import re
import string
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moduformer.errors import DataError
from moduformer.metrics.answering import (
    korquad_metrics,
    normalised_answer,
    normalised_korean_answer,
    squad_metrics,
    squad_v2_metrics,
)

WORDS = ["the", "a", "An", "Cat", "cat", "cats", "dog", "(dog)", "U.S.", "it's", "  ", "-", "2,000", "서울", "theatre"]


def form(text):
    """Rajpurkar et al. 2016, section 6.1: punctuation and articles are ignored."""
    text = "".join(c for c in text.lower() if c not in string.punctuation)
    return " ".join(word for word in re.sub(r"\b(a|an|the)\b", " ", text).split())


def f1(guess, target, split=str.split):
    guess, target = split(form(guess)), split(form(target))
    shared = sum((Counter(guess) & Counter(target)).values())
    if not shared:
        return 0.0
    precision, recall = shared / len(guess), shared / len(target)
    return 2 * precision * recall / (precision + recall)


texts = st.lists(st.sampled_from(WORDS), max_size=4).map(" ".join)
questions = st.lists(st.tuples(texts, st.lists(texts, min_size=1, max_size=3)), min_size=1, max_size=8)
maybe_answered = st.lists(
    st.tuples(texts, st.lists(texts, max_size=3), st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])), min_size=1, max_size=8
)


@given(questions)
@settings(max_examples=60, deadline=None)
def test_version_1_agrees_with_the_definition(rows):
    predictions, answers = zip(*rows)
    found = squad_metrics(predictions, answers)
    exact = [max(form(p) == form(a) for a in right) for p, right in rows]
    overlap = [max(f1(p, a) for a in right) for p, right in rows]
    assert found.exact_match == pytest.approx(100 * sum(exact) / len(rows))
    assert found.f1 == found.score == pytest.approx(100 * sum(overlap) / len(rows))


@given(maybe_answered, st.sampled_from([0.3, 1.0]))
@settings(max_examples=60, deadline=None)
def test_version_2_agrees_with_the_definition(rows, threshold):
    def of(prediction, right):
        targets = [a for a in right if form(a)] or [""]
        exact = max(float(form(prediction) == form(a)) for a in targets)
        both_empty = float(not form(prediction) and targets == [""])
        return exact, max(both_empty, *(f1(prediction, a) for a in targets))

    predictions, answers, scores = zip(*rows)
    given_up = [of("" if s > threshold else p, a) if not a or s <= threshold else (0.0, 0.0) for p, a, s in rows]
    found = squad_v2_metrics(predictions, answers, scores, threshold)
    assert found.exact_match == pytest.approx(100 * sum(e for e, _ in given_up) / len(rows))
    assert found.f1 == pytest.approx(100 * sum(f for _, f in given_up) / len(rows))
    for part, kind in ((found.answerable, True), (found.unanswerable, False)):
        inside = [values for values, a in zip(given_up, answers) if bool(a) is kind]
        assert (part is None) == (not inside)
        if part:
            assert part.examples == len(inside)
            assert part.f1 == pytest.approx(100 * sum(f for _, f in inside) / len(inside))


@given(st.lists(st.tuples(texts, st.lists(texts, max_size=2)), min_size=1, max_size=7))
@settings(max_examples=30, deadline=None)
def test_the_best_threshold_is_the_best_of_all(rows):
    predictions, answers = zip(*rows)
    scores = [(i * 7 % 11) / 11 for i in range(len(rows))]
    best = squad_v2_metrics(predictions, answers, scores).best
    # An answer that is no more than an article is "given" for the script; those are left to the test by hand.
    if any(p and not form(p) for p in predictions):
        return
    each = [squad_v2_metrics(predictions, answers, scores, t) for t in (-1, *scores)]
    assert best.exact_match == pytest.approx(max(found.exact_match for found in each))
    assert best.f1 == pytest.approx(max(found.f1 for found in each))
    at = squad_v2_metrics(predictions, answers, scores, best.f1_threshold)
    assert best.f1_threshold == 0 or at.f1 == pytest.approx(best.f1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The  Cat.", "cat"),
        ("an apple, a day", "apple day"),
        ("Athens", "athens"),
        ("U.S.", "us"),
        ("the", ""),
        ("“quoted”", "“quoted”"),
    ],
)
def test_normalisation_by_hand(text, expected):
    assert normalised_answer(text) == expected


def test_version_1_by_hand():
    found = squad_metrics(
        ["the Denver Broncos", "in 1066", "x"], [["Denver Broncos"], ["1066", "the year 1066"], ["y"]]
    )
    # "in 1066": half of the words are right, all of the first answer is found: F1 2/3.
    assert found.exact_match == pytest.approx(100 / 3)
    assert found.f1 == pytest.approx(100 * (1 + 2 / 3 + 0) / 3)
    assert found.answerable is None
    # Version 1 counts no overlap of nothing with nothing, version 2 does.
    assert (squad_metrics([""], [["the"]]).exact_match, squad_metrics([""], [["the"]]).f1) == (100, 0)
    assert squad_v2_metrics([""], [["the"]]).f1 == 100


def test_version_2_by_hand():
    predictions = ["cat", "", "dog", ""]
    answers = [["cat"], ["bird"], [], []]
    found = squad_v2_metrics(predictions, answers)
    assert (found.exact_match, found.f1, found.best) == (50, 50, None)
    assert (found.answerable.examples, found.answerable.f1, found.unanswerable.exact_match) == (2, 50, 50)
    scored = squad_v2_metrics(predictions, answers, [0.1, 0.2, 0.6, 0.9])
    # Nothing answered: 2 of 4. "cat" answered: 3. Those of score 0.2 and 0.9 change nothing; "dog" loses one.
    assert (scored.best.exact_match, scored.best.exact_match_threshold) == (75, 0.1)
    assert squad_v2_metrics(predictions, answers, [0.1, 0.2, 0.6, 0.9], threshold=0.1).exact_match == 75


def test_korquad_by_hand():
    assert normalised_korean_answer("《춘향전》(소설)") == "춘향전 소설"
    assert normalised_korean_answer("The U.S.") == "the us"
    # A particle too many: 3 of 4 characters are right, all 3 are found.
    particle = korquad_metrics(["서울시는"], [["서울시"]])
    assert (particle.exact_match, particle.f1) == (0, pytest.approx(100 * 6 / 7))
    assert squad_metrics(["서울시는"], [["서울시"]]).f1 == 0
    assert korquad_metrics(["서울 특별시"], [["서울특별시"]]).f1 == 100
    assert korquad_metrics(["서울 특별시"], [["서울특별시"]]).exact_match == 0
    assert korquad_metrics(["‘서울’"], [["부산", "서울"]]).exact_match == 100


def test_the_interval_is_in_percent():
    found = squad_metrics(["cat"] * 80 + ["dog"] * 20, [["cat"]] * 100)
    low, high = found.f1_interval
    assert 65 < low < 80 < high < 92
    assert found.exact_match_interval == pytest.approx(found.f1_interval, abs=2)
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["examples"] == 100


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: squad_metrics([], []), "no questions"),
        (lambda: squad_metrics(["a"], []), "1 predictions for 0"),
        (lambda: squad_metrics(["a"], [[]]), "question 0 has no right answer"),
        (lambda: squad_metrics([None], [["a"]]), "prediction 0 is NoneType"),
        (lambda: squad_metrics(["a"], [[None]]), "question 0 is NoneType"),
        (lambda: squad_metrics(["a"], ["a"]), "question 0 are str"),
        (lambda: squad_metrics(None, [["a"]]), "NoneType"),
        (lambda: squad_v2_metrics(["a"], [[]], [0.1, 0.2]), "no-answer scores"),
        (lambda: squad_v2_metrics(["a"], [[]], [float("nan")]), "no-answer scores"),
        (lambda: squad_v2_metrics(["a"], [[]], ["much"]), "no-answer scores"),
    ],
)
def test_wrong_input_is_a_data_error(call, words):
    with pytest.raises(DataError, match=words):
        call()


def test_real_systems_score_what_the_official_script_says(shared):
    folder = shared / "data" / "fixtures" / "squad_predictions"
    data = json.loads((shared / "data" / "xquad" / "xquad.en.squad.json").read_text(encoding="utf-8"))
    asked = [q for article in data["data"] for paragraph in article["paragraphs"] for q in paragraph["qas"]]
    answers = [[answer["text"] for answer in q["answers"]] for q in asked]
    for system, expected in json.loads((folder / "expected.json").read_text(encoding="utf-8")).items():
        given_answers = json.loads((folder / f"{system}.json").read_text(encoding="utf-8"))
        found = squad_v2_metrics([given_answers[q["id"]] for q in asked], answers)
        assert [found.exact_match, found.f1] == pytest.approx([expected["exact"], expected["f1"]], abs=1e-9)
        assert found.examples == found.answerable.examples == expected["total"] == 1190
        assert squad_metrics([given_answers[q["id"]] for q in asked], answers).f1 == pytest.approx(found.f1, abs=0.1)


def test_korquad_scores_its_own_answers_full(shared):
    data = json.loads((shared / "data" / "korquad1_dev" / "KorQuAD_v1.0_dev.json").read_text(encoding="utf-8"))
    asked = [q for article in data["data"][:20] for paragraph in article["paragraphs"] for q in paragraph["qas"]]
    answers = [[answer["text"] for answer in q["answers"]] for q in asked]
    found = korquad_metrics([right[0] for right in answers], answers)
    assert (found.exact_match, found.f1) == (100, 100)
