"""Results of a run as data: the round trip through JSON, foreign metrics, and files that lie."""

import json
import math
import os

import pytest
import report_samples as samples

from moduformer.errors import DataError
from moduformer.report.results import (
    Contender,
    Metrics,
    ModelFacts,
    Recipe,
    Results,
    reliability_bins,
    wilson_interval,
)


@pytest.mark.parametrize("make", [samples.ulmfit, samples.korean, samples.banking])
def test_results_come_back_from_json_as_they_were(make, tmp_path):
    results = make()
    file = results.save(tmp_path)
    assert file == tmp_path / "results.json"
    assert Results.load(tmp_path) == results
    assert Results.load(file) == results
    assert json.loads(file.read_text())["version"] == 1


def test_saving_again_writes_the_same_bytes(tmp_path):
    first = samples.emotions().save(tmp_path / "a.json").read_bytes()
    assert samples.emotions().save(tmp_path / "b.json").read_bytes() == first


def test_numpy_values_and_lone_surrogates_survive(tmp_path):
    np = pytest.importorskip("numpy")
    metrics = {"accuracy": np.float32(0.5), "rows": np.int64(4), "confusion": [], "loss": np.float64(0.25)}
    made = Metrics.from_dict(metrics)
    assert (made.accuracy, made.rows, made.loss) == (0.5, 4, 0.25)
    assert type(made.rows) is int
    contender = Contender("\ud800 odd", np.float64(0.5))
    assert json.loads(json.dumps(contender.to_dict()))["accuracy"] == 0.5
    results = samples.make_results(name="\ud800 odd")
    assert Results.load(results.save(tmp_path / "r.json")).model.name == "\ud800 odd"


def test_what_is_not_finite_is_written_as_null():
    history = {"step": 1, "epoch": 1.0, "metrics": {"loss": math.nan, "accuracy": math.inf}}
    recipe = Recipe("plain", {"rate": math.nan})
    assert recipe.to_dict()["settings"] == {"rate": None}
    with pytest.raises(DataError, match=r"loss.*finite number"):
        type(samples.emotions().history.evaluations[0]).from_dict(history)


def test_metrics_of_the_training_room_are_read_by_their_own_names():
    made = Metrics.from_dict(
        {
            "accuracy": 0.75,
            "examples": 4,
            "accuracy_interval": (0.3, 0.95),
            "macro_f1": 0.7,
            "weighted_f1": 0.71,
            "matthews": 0.5,
            "per_class": [
                {"name": "a", "precision": 1, "recall": 0.5, "f1": 0.66, "support": 2},
                {"name": "b", "precision": 0.6, "recall": 1.0, "f1": 0.8, "support": 2},
            ],
            "confusion": [[1, 1], [0, 2]],
            "calibration_error": None,
        }
    )
    assert made.rows == 4
    assert made.labels == ("a", "b")
    assert made.per_class[0].precision == 1.0
    assert made.interval() == (0.3, 0.95)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, "version 2"),
        ({"model": "bert"}, r"results\.model: an object"),
        ({"model": {}}, r"results\.model: name is missing"),
        ({"data": {"name": "a", "rows_used": 1.5, "rows_heldout": 1}}, r"rows_used: a whole number.*1\.5"),
        ({"data": {"name": "a", "rows_used": True, "rows_heldout": 1}}, "rows_used"),
        ({"data": {"name": "a", "rows_used": 10**400, "rows_heldout": 1}}, "rows_used"),
        ({"metrics": {"accuracy": 10**400, "rows": 1}}, "accuracy"),
        ({"metrics": {"accuracy": "high", "rows": 1}}, "accuracy: a finite number"),
        ({"metrics": {"accuracy": 1, "rows": 1, "labels": ["a"], "confusion": [[1, 2]]}}, "1 x 1"),
        ({"metrics": {"accuracy": 1, "rows": 1, "confusion": [[1]]}}, "0 x 0"),
        ({"metrics": {"accuracy": 1, "rows": 1, "accuracy_interval": [1]}}, "two numbers"),
        ({"recipe": {"name": "plain", "settings": {"a": {"b": 1}}}}, r"settings\.a"),
        ({"predictions": [{"text": 3}]}, r"predictions\[0\]\.text: a text"),
        ({"seeds": [1]}, "seeds: an object"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(change, message):
    data = {**samples.two_classes().to_dict(), **change}
    with pytest.raises(DataError, match=message):
        Results.from_dict(data)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\x00", b"[" * 200_000, b"[]", b"null", b'{"a": NaN}'])
def test_a_damaged_file_is_named(content, tmp_path):
    file = tmp_path / "results.json"
    file.write_bytes(content)
    with pytest.raises(DataError, match=r"results\.json"):
        Results.load(tmp_path)


def test_a_missing_file_says_what_to_do(tmp_path):
    with pytest.raises(DataError, match="train first"):
        Results.load(tmp_path / "nowhere.json")


def test_unknown_keys_of_a_later_program_are_ignored():
    data = samples.two_classes().to_dict()
    data["model"]["colour"] = "blue"
    assert Results.from_dict(data) == samples.two_classes()


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    file = samples.two_classes().save(tmp_path / "results.json")
    before = file.read_bytes()

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match="No space left"):
        samples.emotions().save(file)
    assert file.read_bytes() == before
    assert list(tmp_path.iterdir()) == [file]


def test_errors_come_most_confident_first():
    errors = samples.emotions().errors()
    assert [e.probability for e in errors] == sorted((e.probability for e in errors), reverse=True)
    assert all(e.true != e.predicted for e in errors)


def test_wilson_interval_agrees_with_published_values():
    # Newcombe 1998, table I: 81/263 gives 0.2553 to 0.3662; 0/20 gives 0 to 0.1611.
    assert wilson_interval(81 / 263, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson_interval(0.0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)


def test_reliability_bins_hold_every_prediction_once():
    bins = reliability_bins([0.0, 0.2, 0.20001, 1.0, 0.95], [True, False, True, True, False], bins=5)
    assert [b.count for b in bins] == [2, 1, 0, 0, 2]
    assert bins[0].accuracy == 0.5
    assert bins[4].confidence == pytest.approx(0.975)
    assert bins[2].accuracy is None


def test_model_facts_need_a_name():
    with pytest.raises(DataError, match="name is missing"):
        ModelFacts.from_dict({"base": "bert"})
