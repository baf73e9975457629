"""Tagging scores against seqeval, on random and broken tag sequences, and over spans of characters."""

import json
import warnings

import pytest
import seqeval.metrics
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval.metrics.sequence_labeling import get_entities
from seqeval.scheme import IOB2, Entities

from moduformer.errors import DataError
from moduformer.metrics.tagging import Entity, entities, span_metrics, tagging_metrics, token_accuracy

TYPES = ("PER", "LOC", "ORG-X", "기관")
# Every order of these is drawn, so I without B, changes of type inside an entity, and E without B are among them.
BIO = ["O", "B", "I", *(f"{mark}-{kind}" for mark in "BI" for kind in TYPES)]
BIOES = [*BIO, "E", "S", *(f"{mark}-{kind}" for mark in "ES" for kind in TYPES)]


@st.composite
def corpora(draw, tags):
    lengths = draw(st.lists(st.integers(1, 8), min_size=1, max_size=5))
    tag = st.sampled_from(tags)
    truth = [draw(st.lists(tag, min_size=n, max_size=n)) for n in lengths]
    # Half of the predictions repeat the truth, so that there is something right.
    guess = [[draw(st.sampled_from([t, draw(tag)])) for t in row] for row in truth]
    return truth, guess


def assert_equals_seqeval(truth, guess, strict):
    found = tagging_metrics(truth, guess, strict)
    kind = {"mode": "strict", "scheme": IOB2} if strict else {}
    several = any(entities(row, strict) for row in truth + guess)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for average in ("micro", "macro", "weighted") if several else ("micro",):
            expected = [
                getattr(seqeval.metrics, f"{name}_score")(truth, guess, average=average, zero_division=0, **kind)
                for name in ("precision", "recall", "f1")
            ]
            prefix = "" if average == "micro" else f"{average}_"
            ours = [getattr(found, f"{prefix}{name}") for name in ("precision", "recall", "f1")]
            assert ours == pytest.approx(expected, abs=1e-12), (average, truth, guess)
        if several:
            report = seqeval.metrics.classification_report(truth, guess, output_dict=True, zero_division=0, **kind)
            rows = {k: v for k, v in report.items() if not k.endswith(" avg")}
            assert {c.name: [c.precision, c.recall, c.f1, c.support] for c in found.per_type} == {
                name: pytest.approx([v["precision"], v["recall"], v["f1-score"], v["support"]])
                for name, v in rows.items()
            }
    assert found.token_accuracy == pytest.approx(seqeval.metrics.accuracy_score(truth, guess))
    low, high = found.f1_interval
    assert 0 <= low <= high <= 1


@given(corpora(BIOES))
@settings(max_examples=60, deadline=None)
def test_default_mode_equals_seqeval(corpus):
    assert_equals_seqeval(*corpus, strict=False)


@given(corpora(BIO))
@settings(max_examples=60, deadline=None)
def test_strict_mode_equals_seqeval(corpus):
    assert_equals_seqeval(*corpus, strict=True)


@given(st.lists(st.sampled_from(BIOES), max_size=12))
@settings(max_examples=200, deadline=None)
def test_entities_of_the_default_mode(tags):
    assert entities(tags) == [(kind, start, end + 1) for kind, start, end in get_entities(tags)]


@given(st.lists(st.sampled_from(BIO), max_size=12))
@settings(max_examples=200, deadline=None)
def test_entities_of_the_strict_mode(tags):
    expected = [(e.tag, e.start, e.end) for e in Entities([tags], IOB2).entities[0]]
    assert entities(tags, strict=True) == expected


@pytest.mark.parametrize(
    ("tags", "default", "strict"),
    [
        (["I-PER", "I-PER"], [("PER", 0, 2)], []),
        (["B-PER", "I-LOC"], [("PER", 0, 1), ("LOC", 1, 2)], [("PER", 0, 1)]),
        (["B-PER", "B-PER", "I-PER"], [("PER", 0, 1), ("PER", 1, 3)], [("PER", 0, 1), ("PER", 1, 3)]),
        (["B-PER", "I-LOC", "I-PER"], [("PER", 0, 1), ("LOC", 1, 2), ("PER", 2, 3)], [("PER", 0, 1)]),
        ([], [], []),
    ],
)
def test_broken_sequences_by_hand(tags, default, strict):
    assert entities(tags) == default
    assert entities(tags, strict=True) == strict


def test_spans_by_hand():
    truth = [[("PER", 0, 5), ("LOC", 9, 12)], [("ORG", 2, 4)], []]
    guess = [[Entity("PER", 0, 5), ("LOC", 9, 13)], [("ORG", 2, 4), ("ORG", 2, 4)], [["PER", 0, 1]]]
    found = span_metrics(truth, guess)
    assert (found.sequences, found.entities, found.predicted) == (3, 3, 4)
    assert (found.precision, found.recall) == (2 / 4, 2 / 3)
    assert found.f1 == found.score == pytest.approx(2 * 2 / 7)
    assert {c.name: c.f1 for c in found.per_type} == {"LOC": 0, "ORG": 1, "PER": pytest.approx(2 / 3)}
    assert found.macro_f1 == pytest.approx((0 + 1 + 2 / 3) / 3)
    assert found.token_accuracy is None


@given(corpora(BIO))
@settings(max_examples=25, deadline=None)
def test_spans_agree_with_tags(corpus):
    truth, guess = corpus
    spans = span_metrics([entities(row) for row in truth], [entities(row) for row in guess])
    tags = tagging_metrics(truth, guess)
    assert (spans.f1, spans.macro_f1, spans.per_type) == (tags.f1, tags.macro_f1, tags.per_type)


def test_the_interval_covers_what_other_samples_show():
    truth = [["B-PER", "O"]] * 200
    guess = [["B-PER", "O"]] * 150 + [["O", "O"]] * 50
    low, high = tagging_metrics(truth, guess).f1_interval
    # F1 = 2r / (n + r) of a binomial r: its standard deviation is 2n / (n + r)^2 times that of r.
    deviation = 2 * 200 / 350**2 * (200 * 0.75 * 0.25) ** 0.5
    assert (low, high) == (
        pytest.approx(6 / 7 - 1.96 * deviation, abs=0.01),
        pytest.approx(6 / 7 + 1.96 * deviation, abs=0.01),
    )


def test_token_accuracy():
    found = token_accuracy([["N", "V"], ["N"]], [["N", "N"], ["N"]])
    assert (found.sentences, found.tokens, found.accuracy) == (2, 3, pytest.approx(2 / 3))


def test_results_are_json():
    found = tagging_metrics([["O"]], [["O"]]).to_dict()
    assert json.loads(json.dumps(found, allow_nan=False))["headline"] == "f1"
    assert (found["f1"], found["sequences"], found["per_type"]) == (0.0, 1, [])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: tagging_metrics([], []), "no sentences"),
        (lambda: tagging_metrics([["O"]], []), "0 predictions for 1 targets"),
        (lambda: tagging_metrics([["O"], ["O"]], [["O"], ["O", "O"]]), "sentence 1 has 1 true tags and 2"),
        (lambda: tagging_metrics([["O"]], [["PER"]]), "sentence 0: the tag 'PER' at position 0"),
        (lambda: tagging_metrics([["O"]], [[None]]), "None"),
        (lambda: tagging_metrics([["E-PER"]], [["O"]], strict=True), "E-PER"),
        (lambda: tagging_metrics([None], [["O"]]), "sentence 0"),
        (lambda: tagging_metrics(None, [["O"]]), "NoneType"),
        (lambda: tagging_metrics("O", "O"), "targets"),
        (lambda: span_metrics([[("PER", 3, 3)]], [[]]), "start < end"),
        (lambda: span_metrics([[("PER", 3)]], [[]]), "start < end"),
        (lambda: span_metrics([[]], [["abc"]]), "start < end"),
        (lambda: span_metrics([[]], [None]), "NoneType"),
        (lambda: span_metrics([[]], [[("PER", 0, float("inf"))]]), "start < end"),
        (lambda: token_accuracy([[]], [[]]), "no tokens"),
        (lambda: token_accuracy([["N"]], [["N", "V"]]), "sentence 0"),
    ],
)
def test_wrong_input_is_a_data_error(call, words):
    with pytest.raises(DataError, match=words.replace("(", r"\(")):
        call()


def test_published_predictions(shared):
    """CoNLL-2000 chunks; the expected report is seqeval's, whose own tests compare it with conlleval.pl."""
    folder = shared / "data" / "fixtures" / "seqeval"
    blocks = (folder / "ground_truth.txt").read_text(encoding="utf-8").split("\n\n")
    rows = [[line.split() for line in block.splitlines()] for block in blocks if block.strip()]
    found = tagging_metrics(*([[line[column] for line in row] for row in rows] for column in (-2, -1)))
    expected = json.loads((folder / "expected_ground_truth.json").read_text(encoding="utf-8"))
    assert [found.precision, found.recall, found.f1] == pytest.approx(
        [expected[k] for k in ("precision", "recall", "f1")]
    )
    for c in found.per_type:
        assert [c.precision, c.recall, c.f1, c.support] == pytest.approx(list(expected["report"][c.name].values()))
