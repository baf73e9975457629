"""Metrics against slow, independent implementations and hand-made cases."""

import json
import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from moduformer.errors import DataError
from moduformer.metrics.bootstrap import bootstrap_interval
from moduformer.metrics.calibration import brier_score, expected_calibration_error
from moduformer.metrics.classification import classification_metrics, multilabel_metrics
from moduformer.metrics.regression import regression_metrics
from moduformer.metrics.results import finite


def slow_calibration_error(probabilities, targets, bins):
    """Guo et al. 2017, equations 2 and 3, one example and one bin at a time."""
    total = 0.0
    for m in range(1, bins + 1):
        inside = []
        for row, target in zip(probabilities, targets):
            confidence = max(row)
            low, high = (m - 1) / bins, m / bins
            if low < confidence <= high or (m == 1 and confidence == 0):
                inside.append((1.0 if row.index(confidence) == target else 0.0, confidence))
        if inside:
            accuracy = sum(right for right, _ in inside) / len(inside)
            confidence = sum(c for _, c in inside) / len(inside)
            total += len(inside) / len(targets) * abs(accuracy - confidence)
    return total


@given(st.integers(1, 60), st.integers(2, 5), st.integers(0, 10_000), st.sampled_from([1, 5, 10, 15]))
@settings(max_examples=150, deadline=None)
def test_calibration_error_agrees_with_the_slow_one(count, classes, seed, bins):
    generator = np.random.default_rng(seed)
    scores = generator.dirichlet(np.full(classes, 0.5), count)
    # Values on bin edges are where implementations differ.
    edge = generator.integers(1, bins + 1) / bins
    scores[0] = [edge, *[(1 - edge) / (classes - 1)] * (classes - 1)]
    targets = generator.integers(0, classes, count)
    expected = slow_calibration_error(scores.tolist(), targets.tolist(), bins)
    assert expected_calibration_error(scores, targets, bins) == pytest.approx(expected, abs=1e-12)


def test_calibration_error_of_known_cases():
    assert expected_calibration_error([[1.0, 0.0]] * 4, [0, 0, 0, 0]) == 0
    assert expected_calibration_error([[1.0, 0.0]] * 4, [1, 1, 1, 1]) == 1
    assert expected_calibration_error([[0.75, 0.25]] * 4, [0, 0, 0, 1]) == pytest.approx(0)
    # Over- and underconfidence in different bins do not cancel.
    assert expected_calibration_error([[1.0, 0.0]] * 2 + [[0.5, 0.5]] * 2, [0, 1, 0, 0]) == pytest.approx(0.5)


def test_brier_score_is_the_sum_over_classes():
    assert brier_score([[0.7, 0.2, 0.1], [0, 1, 0]], [0, 2]) == pytest.approx((0.09 + 0.04 + 0.01 + 2) / 2)
    assert brier_score([[1.0, 0.0]], [0]) == 0


def slow_f1(truth, guess, c):
    tp = sum(t == c and g == c for t, g in zip(truth, guess))
    fp = sum(t != c and g == c for t, g in zip(truth, guess))
    fn = sum(t == c and g != c for t, g in zip(truth, guess))
    precision = tp / (tp + fp) if tp + fp else 0.0
    recall = tp / (tp + fn) if tp + fn else 0.0
    return precision, recall, 2 * tp / (2 * tp + fp + fn) if tp + fp + fn else 0.0, tp + fn


@pytest.mark.parametrize("seed", range(5))
def test_classification_metrics_agree_with_counting(seed):
    generator = np.random.default_rng(seed)
    truth = generator.integers(0, 4, 200).tolist()
    guess = [t if generator.random() < 0.6 else int(generator.integers(0, 4)) for t in truth]
    found = classification_metrics(truth, guess, names=list("abcd"))
    slow = [slow_f1(truth, guess, c) for c in range(4)]
    assert [(c.precision, c.recall, c.f1, c.support) for c in found.per_class] == [pytest.approx(s) for s in slow]
    accuracy = sum(t == g for t, g in zip(truth, guess)) / 200
    assert found.accuracy == found.micro_f1 == pytest.approx(accuracy)
    assert found.macro_f1 == pytest.approx(sum(s[2] for s in slow) / 4)
    assert found.weighted_f1 == pytest.approx(sum(s[2] * s[3] for s in slow) / 200)
    assert found.confusion == [
        [sum(t == a and g == b for t, g in zip(truth, guess)) for b in range(4)] for a in range(4)
    ]
    one_hot = np.eye(4)[truth], np.eye(4)[guess]
    covariance = sum(np.cov(one_hot[0][:, k], one_hot[1][:, k])[0, 1] for k in range(4))
    spread = [sum(np.cov(x[:, k], x[:, k])[0, 1] for k in range(4)) for x in one_hot]
    assert found.matthews == pytest.approx(covariance / math.sqrt(spread[0] * spread[1]))
    low, high = found.accuracy_interval
    assert low < accuracy < high


def test_probabilities_give_predictions_and_calibration():
    scores = [[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]]
    found = classification_metrics([0, 1, 1], probabilities=scores)
    assert found.confusion == [[1, 0], [1, 1]]
    assert found.log_loss == pytest.approx(-(math.log(0.9) + math.log(0.8) + math.log(0.4)) / 3)
    assert found.brier == pytest.approx(brier_score(scores, [0, 1, 1]))
    assert found.calibration_error == pytest.approx(expected_calibration_error(scores, [0, 1, 1]))


@pytest.mark.parametrize(
    "arguments",
    [
        {"targets": [0, 0], "predictions": [0, 0], "names": ["a", "b", "c"]},
        {"targets": [0], "probabilities": [[0.0, 1.0]]},
        {"targets": [0], "probabilities": [[1.0]]},
        {"targets": np.array([1, 2], np.int8), "predictions": np.array([2, 2], np.int32)},
    ],
)
def test_odd_cases_give_numbers_that_json_takes(arguments):
    found = classification_metrics(**arguments).to_dict()
    json.dumps(found, allow_nan=False)
    assert type(found["accuracy"]) is float
    assert type(found["per_class"][0]["support"]) is int


@pytest.mark.parametrize(
    "arguments",
    [
        {"targets": [], "predictions": []},
        {"targets": [0]},
        {"targets": [0], "predictions": [0, 1]},
        {"targets": [5], "predictions": [0], "names": ["a"]},
        {"targets": [-1], "predictions": [0]},
        {"targets": ["a"], "predictions": ["a"]},
        {"targets": [0], "probabilities": [[float("nan"), 1.0]]},
        {"targets": [0], "probabilities": [[2.0, -1.0]]},
        {"targets": [0], "probabilities": [[0.2, 0.2]]},
        {"targets": [2], "probabilities": [[0.5, 0.5]]},
    ],
)
def test_wrong_input_is_a_data_error(arguments):
    with pytest.raises(DataError):
        classification_metrics(**arguments)


def test_multilabel_metrics_agree_with_counting():
    generator = np.random.default_rng(0)
    truth = generator.integers(0, 2, (100, 5))
    scores = np.clip(truth * 0.5 + generator.random((100, 5)) * 0.6, 0, 1)
    found = multilabel_metrics(truth, probabilities=scores, names=list("abcde"))
    guess = (scores >= 0.5).astype(int)
    slow = [slow_f1(truth[:, c].tolist(), guess[:, c].tolist(), 1) for c in range(5)]
    assert [(c.precision, c.recall, c.f1, c.support) for c in found.per_class] == [pytest.approx(s) for s in slow]
    assert found.micro_f1 == pytest.approx(slow_f1(truth.ravel().tolist(), guess.ravel().tolist(), 1)[2])
    assert found.macro_f1 == pytest.approx(sum(s[2] for s in slow) / 5)
    assert found.weighted_f1 == pytest.approx(sum(s[2] * s[3] for s in slow) / sum(s[3] for s in slow))
    assert found.subset_accuracy == pytest.approx(np.mean([list(t) == list(g) for t, g in zip(truth, guess)]))
    assert found.hamming_loss == pytest.approx(np.mean(truth != guess))
    rows = [slow_f1(t.tolist(), g.tolist(), 1)[2] if (t | g).any() else 1.0 for t, g in zip(truth, guess)]
    assert found.samples_f1 == pytest.approx(np.mean(rows))
    both = np.stack([1 - scores.ravel(), scores.ravel()], 1)
    assert found.calibration_error == pytest.approx(slow_calibration_error(both.tolist(), truth.ravel().tolist(), 15))
    json.dumps(found.to_dict(), allow_nan=False)
    low, high = found.micro_f1_interval
    assert found.micro_f1 - 0.1 < low < found.micro_f1 < high < found.micro_f1 + 0.1


def test_multilabel_metrics_take_one_class_and_no_labels():
    one = multilabel_metrics([[1], [0], [1]], [[1], [1], [1]], names=["spam"])
    assert (one.micro_f1, one.per_class[0].support) == (pytest.approx(0.8), 2)
    none = multilabel_metrics([[0, 0]], [[0, 0]])
    assert (none.samples_f1, none.subset_accuracy, none.micro_f1) == (1.0, 1.0, 0.0)
    for wrong in ([[2, 0]], [1, 0], []):
        with pytest.raises(DataError):
            multilabel_metrics(wrong, wrong)


def test_the_bootstrap_covers_like_the_normal_approximation():
    right = np.array([1] * 850 + [0] * 150)
    low, high = bootstrap_interval(right)
    half = 1.96 * math.sqrt(0.85 * 0.15 / 1000)
    assert (low, high) == (pytest.approx(0.85 - half, abs=0.003), pytest.approx(0.85 + half, abs=0.003))
    assert bootstrap_interval(right, seed=1) == bootstrap_interval(right, seed=1)
    assert bootstrap_interval([1, 1, 1]) == (1.0, 1.0)
    values = np.random.default_rng(0).normal(3, 2, 400)
    low, high = bootstrap_interval(values)
    half = 1.96 * values.std() / 20
    assert (low, high) == (pytest.approx(values.mean() - half, abs=0.04), pytest.approx(values.mean() + half, abs=0.04))


def test_regression_metrics_agree_with_scipy():
    generator = np.random.default_rng(0)
    truth = generator.integers(0, 6, 80).astype(float)
    guess = truth + generator.normal(0, 1, 80).round(1)
    found = regression_metrics(truth, guess)
    assert found.pearson == pytest.approx(scipy.stats.pearsonr(truth, guess).statistic)
    assert found.spearman == pytest.approx(scipy.stats.spearmanr(truth, guess).statistic)
    assert found.mse == pytest.approx(np.mean((truth - guess) ** 2))
    assert regression_metrics([1, 1], [1, 2]).to_dict()["pearson"] is None
    spread = scipy.stats.sem((truth - guess) ** 2)
    assert found.mse_interval == pytest.approx((found.mse - 1.96 * spread, found.mse + 1.96 * spread), abs=0.4 * spread)


def test_finite_is_what_json_takes():
    value = {"a": float("nan"), 1: [np.float32(0.5), np.int64(3), (float("inf"),)], "b": np.array([1.0, np.nan])}
    assert finite(value) == {"a": None, "1": [0.5, 3, [None]], "b": [1.0, None]}
