"""GLUE's scores against scikit-learn and scipy."""

import json

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

from moduformer.errors import DataError
from moduformer.metrics.glue import GLUE, glue_metrics

REFERENCE = {
    "accuracy": accuracy_score,
    "f1": lambda truth, guess: f1_score(truth, guess, zero_division=0),
    "matthews": lambda truth, guess: matthews_corrcoef(truth, guess) if len({*truth, *guess}) > 1 else 0.0,
}


@pytest.mark.parametrize("task", [name for name, task in GLUE.items() if task.labels])
@given(data=st.data())
@settings(max_examples=15, deadline=None)
def test_tasks_of_classes_equal_scikit_learn(task, data):
    number = st.integers(0, len(GLUE[task].labels) - 1)
    truth, guess = zip(*data.draw(st.lists(st.tuples(number, number), min_size=1, max_size=30)))
    found = glue_metrics(task, truth, guess)
    expected = {name: REFERENCE[name](truth, guess) for name in GLUE[task].scores}
    for name in ("accuracy", "f1", "matthews"):
        assert getattr(found, name) == (pytest.approx(expected[name]) if name in expected else None)
    assert found.mean == found.score == pytest.approx(np.mean(list(expected.values())))
    assert found.mean_interval[0] <= found.mean_interval[1]
    assert found.examples == len(truth)


def test_similarities_equal_scipy():
    generator = np.random.default_rng(0)
    truth = generator.integers(0, 11, 200) / 2
    guess = (truth + generator.normal(0, 1, 200)).round(1)
    found = glue_metrics("STS-B", truth, guess)
    assert found.pearson == pytest.approx(scipy.stats.pearsonr(truth, guess).statistic)
    assert found.spearman == pytest.approx(scipy.stats.spearmanr(truth, guess).statistic)
    assert found.mean == pytest.approx((found.pearson + found.spearman) / 2)
    low, high = found.mean_interval
    assert low < found.mean < high
    # Fisher's interval of Pearson's correlation is about as wide.
    z, half = np.arctanh(found.pearson), 1.96 / np.sqrt(197)
    assert high - low == pytest.approx(np.tanh(z + half) - np.tanh(z - half), rel=0.3)


def test_a_constant_side_has_no_correlation():
    found = glue_metrics("stsb", [1, 2, 3], [2, 2, 2])
    assert (found.pearson, found.spearman) == (None, None)
    as_json = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert (as_json["mean"], as_json["mean_interval"]) == (None, [None, None])


def test_the_interval_of_an_accuracy():
    low, high = glue_metrics("sst2", [1] * 1000, [1] * 850 + [0] * 150).mean_interval
    half = 1.96 * np.sqrt(0.85 * 0.15 / 1000)
    assert (low, high) == (pytest.approx(0.85 - half, abs=0.003), pytest.approx(0.85 + half, abs=0.003))


@pytest.mark.parametrize("name", ["MRPC", "mnli", "MNLI_mm", "mnli-mismatched", "STS-B", "sst-2", "WNLI"])
def test_names_as_people_write_them(name):
    values = [1.0, 2.0] if "STS" in name else [0, 1]
    assert glue_metrics(name, values, values).mean == 1


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: glue_metrics("boolq", [1], [1]), "its tasks are cola"),
        (lambda: glue_metrics(None, [1], [1]), "its tasks are cola"),
        (lambda: glue_metrics("rte", [], []), "no examples"),
        (lambda: glue_metrics("rte", [1, 0], [1]), "1 predictions for 2"),
        (lambda: glue_metrics("rte", [2], [1]), "outside the 2 classes"),
        (lambda: glue_metrics("rte", [1], [None]), "predictions are class numbers"),
        (lambda: glue_metrics("rte", ["entailment"], ["entailment"]), "class numbers"),
        (lambda: glue_metrics("stsb", [1.0], [float("nan")]), "finite"),
        (lambda: glue_metrics("stsb", [1.0], [None]), "finite"),
        (lambda: glue_metrics("stsb", ["a"], ["b"]), "numbers"),
    ],
)
def test_wrong_input_is_a_data_error(call, words):
    with pytest.raises(DataError, match=words):
        call()
