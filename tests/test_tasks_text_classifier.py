"""`TextClassifier`: scikit-learn's conventions, labels of any type, long texts, files that transformers reads."""

import json
import random
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer
from tiny_models import WORDS, review, reviews, tiny_encoder

import moduformer as mf
from moduformer.errors import CheckpointError, DataError, TextError, TrainingError
from moduformer.pipelines.inputs import texts_and_pairs
from moduformer.pipelines.scores import merge_windows, probabilities
from moduformer.pipelines.windowing import windower
from moduformer.train.callbacks import Callback

FAST = {"epochs": 6, "learning_rate": 5e-3, "batch_size": 16}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    torch.set_num_threads(1)
    return tiny_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="module")
def fitted(encoder):
    X, y = reviews(160)
    return mf.TextClassifier(encoder, **FAST).fit(X, y)


# Learning ------------------------------------------------------------------------------------------------------------


def test_learns_and_predicts_the_labels_it_was_given(fitted):
    X, y = reviews(60, seed=1)
    assert fitted.score(X, y) > 0.95
    assert fitted.classes_.tolist() == ["neg", "pos"]
    scores = fitted.predict_proba(X)
    assert scores.shape == (60, 2)
    np.testing.assert_allclose(scores.sum(1), 1)
    assert (fitted.classes_[scores.argmax(1)] == fitted.predict(X)).all()


@pytest.mark.parametrize(
    ("values", "kind"),
    [((7, 3), np.integer), ((True, False), np.bool_), ((1.5, 0.5), np.floating), (("가", "나"), str)],
)
def test_labels_of_any_type_come_back_in_that_type(encoder, tmp_path, values, kind):
    X, y = reviews(24)
    y = [values[label == "pos"] for label in y]
    made = mf.TextClassifier(encoder, epochs=1).fit(X, pd.Series(y))
    assert all(isinstance(value, kind) for value in made.predict(X[:4]))
    assert made.classes_.tolist() == sorted(set(y))
    back = mf.TextClassifier.load(made.save(tmp_path / "saved"))
    assert back.classes_.tolist() == made.classes_.tolist()
    assert back.classes_.dtype == made.classes_.dtype
    assert made.score(X, y) == back.score(X, y)


def test_equal_seeds_give_equal_models_and_the_callers_generators_are_left_alone(encoder):
    X, y = reviews(32)
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    first = mf.TextClassifier(encoder, epochs=1, random_state=1).fit(X, y).predict_proba(X)
    assert torch.equal(torch.rand(3), wanted)
    torch.manual_seed(99)
    np.testing.assert_array_equal(
        mf.TextClassifier(encoder, epochs=1, random_state=1).fit(X, y).predict_proba(X), first
    )
    other = mf.TextClassifier(encoder, epochs=1, random_state=2).fit(X, y).predict_proba(X)
    assert np.abs(other - first).max() > 1e-4


@pytest.mark.parametrize("recipe", ["plain", "ulmfit", "lora", "features", "contrast"])
def test_every_recipe_trains_saves_and_loads(encoder, tmp_path, recipe):
    X, y = reviews(40)
    made = mf.TextClassifier(encoder, recipe=recipe, epochs=2).fit(X, y)
    back = mf.TextClassifier.load(made.save(tmp_path / recipe))
    np.testing.assert_allclose(back.predict_proba(X), made.predict_proba(X), atol=1e-7)
    assert back.get_params()["recipe"] == recipe
    model_type = json.loads((tmp_path / recipe / "config.json").read_text())["model_type"]
    assert model_type == ("moduformer" if recipe in ("features", "contrast") else "bert")


def test_features_leave_the_encoder_as_it_was_and_separate_the_classes(encoder):
    X, y = reviews(90, tuple(WORDS))
    made = mf.TextClassifier(encoder, recipe="features").fit(X, y)
    assert made.score(X, y) > 0.9
    before = mf.load(encoder).views()["encoder.0.attention.q.weight"]
    assert torch.equal(made.model_.views()["encoder.0.attention.q.weight"], before)


def test_contrast_draws_texts_of_one_class_together(encoder):
    X, y = reviews(40)
    alike = np.equal.outer(y, y)
    parted = []
    for recipe in ("features", "contrast"):
        settings = {} if recipe == "features" else {"epochs": 10, "learning_rate": 2e-3}
        made = mf.TextClassifier(encoder, recipe=recipe, **settings).fit(X, y)
        vectors = np.array(mf.pipeline("feature-extraction", made.model_)(X, pooling="mean", normalize=True))
        cosines = vectors @ vectors.T
        parted.append(cosines[alike].mean() - cosines[~alike].mean())
        assert made.score(X, y) > 0.9
    assert parted[1] > parted[0] + 0.2
    assert made.history_.steps
    assert made.predict_proba(X).max(1).mean() > 0.9, "every fold of a cross-validation is right: it chooses modesty"


def test_adaptation_changes_the_encoder_before_the_task_and_is_thrown_away(encoder):
    X, y = reviews(40)
    adapted = mf.TextClassifier(encoder, recipe="ulmfit", epochs=1, adapt=True).fit(X, y)
    # In the first epoch of gradual unfreezing the head alone trains, so a changed layer was changed by adaptation.
    before = mf.load(encoder).views()["encoder.1.attention.q.weight"]
    assert not torch.equal(adapted.model_.views()["encoder.1.attention.q.weight"], before)
    assert [head.kind for head in adapted.model_.spec.heads] == ["pool", "classify"]


def test_texts_without_labels_join_the_adaptation(encoder):
    X, y = reviews(20)
    more = [" ".join(reversed(text.split())) for text in reviews(60)[0]]

    def layer(**learning):
        made = mf.TextClassifier(encoder, recipe="ulmfit", epochs=1, adapt=True).fit(X, y, **learning)
        return made.model_.views()["encoder.1.attention.q.weight"]

    alone, together = layer(), layer(unlabelled=more)
    assert not torch.equal(alone, together)
    assert torch.equal(together, layer(unlabelled=more))
    with pytest.raises(DataError, match="adapt=True"):
        mf.TextClassifier(encoder, epochs=1).fit(X, y, unlabelled=more)


def test_patience_stops_early_and_keeps_the_epoch_that_was_best_on_rows_set_aside(encoder):
    X, y = reviews(120)
    shown = []

    class Watch(Callback):
        def on_evaluate(self, evaluation):
            shown.append(dict(evaluation.metrics))

    settings = {"epochs": 12, "learning_rate": 5e-3, "batch_size": 16, "patience": 2}
    made = mf.TextClassifier(encoder, **settings).fit(X, y, eval_set=(X[:20], y[:20]), callbacks=[Watch()])
    scores = [metrics["choice_accuracy"] for metrics in shown]
    assert made.history_.ended == "patience"
    assert len(scores) < 12
    assert made.history_.best_value == max(scores) >= max(scores[-2:])
    # The evaluation rows are reported beside, and do not choose.
    assert all("accuracy" in metrics for metrics in shown)
    assert made.report_["texts"] < 120


def test_balanced_classes_raise_the_recall_of_the_rare_one(encoder):
    rng = random.Random(0)
    X = [review("pos" if i % 12 == 0 else "neg", 4, rng) for i in range(144)]
    y = ["rare" if i % 12 == 0 else "common" for i in range(144)]
    settings = {"epochs": 3, "learning_rate": 1e-3, "batch_size": 16}
    plain = mf.TextClassifier(encoder, **settings).fit(X, y).predict_proba(X)[:, 1].mean()
    balanced = mf.TextClassifier(encoder, class_weight="balanced", **settings).fit(X, y).predict_proba(X)[:, 1].mean()
    named = mf.TextClassifier(encoder, class_weight={"rare": 11.0}, **settings).fit(X, y).predict_proba(X)[:, 1].mean()
    assert balanced > plain + 0.1
    assert named > plain + 0.1


def test_a_weight_of_zero_takes_a_text_out(encoder):
    X, y = reviews(32)
    wrong = [*X, *X]
    labels = [*y, *("pos" if label == "neg" else "neg" for label in y)]
    weights = [1.0] * len(X) + [0.0] * len(X)
    made = mf.TextClassifier(encoder, **FAST).fit(wrong, labels, sample_weight=weights)
    assert made.score(X, y) > 0.9


def test_an_eval_set_is_evaluated_and_not_trained_on(encoder):
    X, y = reviews(32)
    alone = mf.TextClassifier(encoder, epochs=2).fit(X, y)
    watched = mf.TextClassifier(encoder, epochs=2).fit(X, y, eval_set=reviews(10, seed=3))
    assert len(watched.history_.evaluations) == 2
    assert set(watched.history_.evaluations[0].metrics) == {"accuracy", "macro_f1", "loss"}
    np.testing.assert_array_equal(alone.predict_proba(X), watched.predict_proba(X))


def test_a_classifier_is_fine_tuned_again_on_other_classes(fitted, tmp_path):
    folder = fitted.save(tmp_path / "two")
    X, y = reviews(30, tuple(WORDS))
    again = mf.TextClassifier(folder, epochs=1).fit(X, y)
    assert again.predict_proba(X).shape == (30, 3)
    again.save(tmp_path / "three")
    assert json.loads((tmp_path / "three" / "config.json").read_text())["id2label"]["1"] == "odd"


def test_the_pooler_a_checkpoint_holds_is_kept(encoder):
    from moduformer.tasks.classifier_training import new_classifier
    from moduformer.train.labels import LabelSet

    made = new_classifier(encoder, LabelSet.of(["a", "b"]), seed=3)
    held = mf.load(encoder).views()["heads.pool.transform.dense.weight"]
    assert torch.equal(made.views()["heads.pool.transform.dense.weight"], held)


# Several labels, pairs -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("recipe", ["plain", "features", "contrast"])
def test_several_labels_a_text_as_collections(encoder, tmp_path, recipe):
    X, y = _tagged(120)
    made = mf.TextClassifier(encoder, recipe=recipe, **FAST | {"epochs": 10}).fit(X, y)
    assert made.multi_label_
    assert made.score(X, y) > 0.8
    assert isinstance(made.predict(X)[0], list)
    assert set(map(tuple, made.predict(X))) <= {(), ("neg",), ("pos",), ("neg", "pos")}
    back = mf.TextClassifier.load(made.save(tmp_path / "saved"))
    np.testing.assert_allclose(back.predict_proba(X), made.predict_proba(X), atol=1e-6)
    assert back.predict(X) == made.predict(X)
    if recipe == "plain":
        config = json.loads((tmp_path / "saved" / "config.json").read_text())
        assert config["problem_type"] == "multi_label_classification"


def test_several_labels_a_text_as_a_matrix(encoder):
    X, y = _tagged(120)
    matrix = np.array([["neg" in row, "pos" in row] for row in y]).astype(int)
    made = mf.TextClassifier(encoder, **FAST | {"epochs": 10}).fit(X, matrix)
    found = made.predict(X)
    assert found.shape == matrix.shape
    assert set(np.unique(found)) <= {0, 1}
    assert made.score(X, matrix) > 0.8
    as_list = mf.TextClassifier(encoder, epochs=1).fit(X, matrix.tolist())
    assert as_list.multi_label_
    frame = pd.DataFrame(matrix, columns=["sad", "glad"])
    assert mf.TextClassifier(encoder, epochs=1).fit(X, frame).classes_.tolist() == ["sad", "glad"]


def _tagged(rows):
    rng = random.Random(2)
    sets = [(), ("neg",), ("pos",), ("neg", "pos")]
    y = [sets[i % 4] for i in range(rows)]
    return [" ".join([review(label, 3, rng) for label in row] or ["the film was it"]) for row in y], y


def test_pairs_of_texts_are_read_together(encoder):
    rng = random.Random(3)
    sides = [(rng.choice(["pos", "neg"]), rng.choice(["pos", "neg"])) for _ in range(160)]
    X = [(rng.choice(WORDS[a]), rng.choice(WORDS[b])) for a, b in sides]
    y = [b for _, b in sides]
    made = mf.TextClassifier(encoder, **FAST | {"epochs": 10}).fit(X, y)
    assert made.score(X, y) > 0.95
    frame = pd.DataFrame(X, columns=["first", "second"])
    np.testing.assert_array_equal(made.predict(frame), made.predict(X))
    # The second text decides: swapped, the answer follows the other one.
    swapped = made.predict([(b, a) for a, b in X])
    assert (swapped == [a for a, _ in sides]).mean() > 0.9


# Long texts ----------------------------------------------------------------------------------------------------------


def test_no_token_of_a_long_text_is_lost(encoder):
    model = mf.load(encoder)
    read = windower(model, 16, 4)
    text = " ".join(WORDS["pos"] * 20)
    texts = read([text, "good"])
    assert texts.counts.tolist() == [len(texts.owner) - 1, 1]
    own = model.tokenizer.encode(text, add_special_tokens=False).ids
    rows = [texts.encoded.ids.row(i)[1:-1] for i in range(len(texts.owner) - 1)]
    joined = rows[0] + [token for row in rows[1:] for token in row[4:]]
    assert joined == own
    assert texts.spans[0, 0] == 0
    assert texts.spans[-2, 1] == len(text)
    shared = texts.shared()
    assert shared.weights[texts.owner == 0].sum() == pytest.approx(1)
    assert shared.weights[-1] == 1


def test_both_texts_of_a_long_pair_are_read_whole(encoder):
    model = mf.load(encoder)
    long, short = " ".join(WORDS["pos"] * 10), "bad film"
    for texts, pairs, second in (([long], [short], False), ([short], [long], True)):
        found = windower(model, 24, 4)(texts, pairs)
        assert len(found.owner) > 1
        ids = model.tokenizer.encode(short, add_special_tokens=False).ids
        seen = []
        for number in range(len(found.owner)):
            row = found.encoded.ids.row(number)
            types = found.encoded.segments.row(number)
            first = row[1 : types.index(1) - 1]
            last = row[types.index(1) : -1]
            assert (first if second else last) == ids
            seen += last if second else first
        assert set(seen) == set(model.tokenizer.encode(long, add_special_tokens=False).ids)


def test_the_deciding_window_of_a_long_text_is_told(fitted):
    rng = random.Random(4)
    text = f"{review('neg', 60, rng)} {review('pos', 60, rng)}"
    by_max = clone(fitted).set_params(merge="max", max_length=32, stride=8)
    by_max._take(fitted.model_, fitted.label_set_, False)
    found = by_max.predict_windows([text, "awful"])
    assert len(found[0].windows) > 3
    winner = int(np.argmax(found[0].probabilities))
    assert found[0].label == fitted.classes_[winner]
    by_window = [window.probabilities[winner] for window in found[0].windows]
    assert found[0].deciding == int(np.argmax(by_window))
    assert max(by_window) - min(by_window) > 0.5
    assert found[0].windows[0].start == 0
    assert found[0].windows[-1].end == len(text)
    assert sum(found[0].probabilities) == pytest.approx(1)
    np.testing.assert_allclose(by_max.predict_proba([text])[0], found[0].probabilities, atol=1e-6)
    assert len(found[1].windows) == 1


def test_windows_weigh_by_their_tokens_in_the_mean(encoder):
    read = windower(mf.load(encoder), 10, 0)
    texts = read([" ".join(["good"] * 12)])
    assert texts.tokens.tolist() == [8, 4]
    merged, deciding = merge_windows(np.array([[0.9, 0.1], [0.3, 0.7]]), texts, "mean", False)
    np.testing.assert_allclose(merged, [[(8 * 0.9 + 4 * 0.3) / 12, (8 * 0.1 + 4 * 0.7) / 12]])
    assert deciding.tolist() == [0]


def test_training_counts_what_it_read(encoder):
    X, y = reviews(20)
    made = mf.TextClassifier(encoder, epochs=1, max_length=16).fit([*X, " ".join(["good"] * 100)], [*y, "pos"])
    assert made.report_["texts"] == 21
    assert made.report_["long_texts"] == 1
    assert made.report_["windows"] > 25
    assert made.report_["tokens_dropped"] == 0


# Prediction ----------------------------------------------------------------------------------------------------------


def test_order_and_batch_mates_do_not_matter(fitted):
    X, _ = reviews(50, longest=60, seed=8)
    scores = fitted.predict_proba(X)
    alone = np.concatenate([fitted.predict_proba([x]) for x in X])
    np.testing.assert_allclose(scores, alone, atol=1e-6)
    np.testing.assert_allclose(fitted.predict_proba(X[::-1])[::-1], scores, atol=1e-6)


def test_a_stream_is_read_only_as_far_as_needed(fitted, monkeypatch):
    monkeypatch.setattr("moduformer.tasks.text_classifier._CHUNK", 8)
    taken = []

    def endless():
        while True:
            taken.append(1)
            yield "good film"

    stream = fitted.stream(endless())
    labels = [next(stream)[0] for _ in range(10)]
    assert labels == ["pos"] * 10
    assert len(taken) == 16


def test_nothing_is_a_prediction_for_nothing_and_empty_texts_are_texts(fitted):
    assert fitted.predict([]).shape == (0,)
    assert fitted.predict_proba([]).shape == (0, 2)
    assert fitted.predict(["", " "]).shape == (2,)


# scikit-learn --------------------------------------------------------------------------------------------------------


def test_no_work_before_fit_and_clone_gives_an_unfitted_equal():
    made = mf.TextClassifier("no such model", epochs=7, class_weight={"a": 2})
    twin = clone(made)
    assert twin.get_params() == made.get_params()
    assert twin.set_params(epochs=2).epochs == 2
    from sklearn.exceptions import NotFittedError

    with pytest.raises(NotFittedError):
        made.predict(["x"])


def test_grid_search_cross_validation_and_pipelines(encoder):
    X, y = reviews(48)
    search = GridSearchCV(mf.TextClassifier(encoder, batch_size=16, epochs=4), {"learning_rate": [1e-6, 5e-3]}, cv=2)
    search.fit(X, y)
    assert search.best_params_ == {"learning_rate": 5e-3}
    pipe = Pipeline(
        [("lower", FunctionTransformer(lambda X: [x.lower() for x in X])), ("clf", clone(search.best_estimator_))]
    )
    assert pipe.fit(X, y).score([x.upper() for x in X], y) > 0.9
    assert cross_val_score(mf.TextClassifier(encoder, recipe="features"), np.array(X), np.array(y), cv=2).mean() > 0.5


# Refusals ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("X", "y", "says"),
    [
        ("one text", ["a"], "one string"),
        (["a", "b"], ["x"], "2 texts"),
        (["a", None], ["x", "y"], r"X\[1\]"),
        (["a", ("b", "c")], ["x", "y"], r"X\[1\]"),
        (["a", "b"], ["x", "x"], "class"),
        (["a", "b"], ["x", None], "label"),
        ([], [], "no"),
        (["a", "b"], ["x", float("nan")], "label"),
        (5, ["x"], "int"),
    ],
)
def test_data_that_cannot_be_used_is_refused_by_row(encoder, X, y, says):
    with pytest.raises(DataError, match=says):
        mf.TextClassifier(encoder, epochs=1).fit(X, y)


@pytest.mark.parametrize(
    ("parameters", "error"),
    [
        ({"recipe": "magic"}, TrainingError),
        ({"merge": "median"}, DataError),
        ({"threshold": 1.5}, DataError),
        ({"class_weight": "heavy"}, DataError),
        ({"class_weight": {"unknown": 2.0}}, DataError),
        ({"class_weight": {"pos": -1.0}}, DataError),
        ({"max_length": 1000}, TextError),
        ({"max_length": 2}, DataError),
        ({"epochs": 0}, DataError),
        ({"learning_rate": -1.0}, DataError),
        ({"recipe": "features", "adapt": True}, DataError),
        ({"recipe": "features", "precision": "bfloat16"}, DataError),
        ({"recipe": "contrast", "adapt": True}, DataError),
        ({"recipe": "contrast", "patience": 2}, DataError),
    ],
)
def test_parameters_that_cannot_be_are_refused(encoder, parameters, error):
    X, y = reviews(8)
    with pytest.raises(error):
        mf.TextClassifier(encoder, **{"epochs": 1} | parameters).fit(X, y)


def test_weights_that_do_not_fit_are_refused(encoder):
    X, y = reviews(8)
    for weights in ([1.0] * 7, [-1.0] * 8, [float("nan")] * 8):
        with pytest.raises(DataError):
            mf.TextClassifier(encoder, epochs=1).fit(X, y, sample_weight=weights)


def test_prediction_names_the_row_that_is_no_text(fitted):
    with pytest.raises(DataError, match=r"X\[2\]"):
        fitted.predict(["a", "b", 3])
    with pytest.raises(DataError):
        fitted.predict("text")


def test_folders_that_hold_no_classifier_are_refused(encoder, fitted, tmp_path):
    with pytest.raises(CheckpointError):
        mf.TextClassifier.load(encoder)
    folder = fitted.save(tmp_path / "saved")
    settings = json.loads((folder / "classifier.json").read_text())
    for damage in (b"{", b"[]", b'{"version": 2}', json.dumps(settings | {"classes": {"values": ["a"]}}).encode()):
        (folder / "classifier.json").write_bytes(damage)
        with pytest.raises((CheckpointError, DataError)):
            mf.TextClassifier.load(folder)


def test_inputs_are_read_from_the_containers_people_use():
    for X in (
        ["a", "b"],
        ("a", "b"),
        np.array(["a", "b"]),
        pd.Series(["a", "b"]),
        iter(["a", "b"]),
        np.array([["a"], ["b"]]),
    ):
        assert texts_and_pairs(X) == (["a", "b"], None)
    for X in ([("a", "b")], [["a", "b"]], np.array([["a", "b"]]), pd.DataFrame({"x": ["a"], "y": ["b"]})):
        assert texts_and_pairs(X) == (["a"], ["b"])


# Other programs ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("recipe", ["plain", "lora"])
def test_transformers_gives_the_same_probabilities(encoder, tmp_path, recipe):
    transformers = pytest.importorskip("transformers")
    X, y = reviews(40)
    made = mf.TextClassifier(encoder, recipe=recipe, epochs=1).fit(X, y)
    folder = made.save(tmp_path / "saved")
    model, info = transformers.AutoModelForSequenceClassification.from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert model.config.id2label == {0: "neg", 1: "pos"}
    inputs = transformers.AutoTokenizer.from_pretrained(folder)(X, padding=True, return_tensors="pt")
    with torch.no_grad():
        wanted = model.eval()(**inputs).logits.softmax(-1).numpy()
    np.testing.assert_allclose(made.predict_proba(X), wanted, atol=1e-5)


def test_a_classifier_that_transformers_saved_is_read(tmp_path):
    transformers = pytest.importorskip("transformers")
    tokenizer_folder = tiny_encoder(tmp_path / "encoder")
    size = json.loads((tokenizer_folder / "config.json").read_text())["vocab_size"]
    config = transformers.BertConfig(
        vocab_size=size, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64,
        id2label={0: "yes", 1: "no", 2: "perhaps"}, label2id={"yes": 0, "no": 1, "perhaps": 2},
    )  # fmt: skip
    model = transformers.BertForSequenceClassification(config).eval()
    folder = tmp_path / "theirs"
    model.save_pretrained(folder)
    transformers.AutoTokenizer.from_pretrained(tokenizer_folder).save_pretrained(folder)
    ours = mf.TextClassifier.load(folder)
    assert ours.classes_.tolist() == ["yes", "no", "perhaps"]
    inputs = transformers.AutoTokenizer.from_pretrained(folder)(["good film"], return_tensors="pt")
    with torch.no_grad():
        wanted = model(**inputs).logits.softmax(-1).numpy()
    np.testing.assert_allclose(ours.predict_proba(["good film"]), wanted, atol=1e-5)


def test_probabilities_do_not_overflow():
    found = probabilities(np.array([[1e4, 0.0], [-1e4, 0.0]], dtype=np.float32), False)
    np.testing.assert_allclose(found, [[1, 0], [0, 1]])
    found = probabilities(np.array([[1e4, -1e4]], dtype=np.float32), True)
    np.testing.assert_allclose(found, [[1, 0]], atol=1e-12)


def test_minilm_learns_a_few_words(monkeypatch):
    monkeypatch.setenv("MODUFORMER_SOURCES", "none")
    from moduformer.errors import SourceError
    from moduformer.sources.resolve import resolve

    try:
        resolve("minilm")
    except SourceError as error:
        pytest.skip(f"minilm is not cached: {error}")
    X, y = reviews(24)
    made = mf.TextClassifier("minilm", recipe="features").fit(X, y)
    assert made.score(*reviews(24, seed=9)) > 0.8


def test_predicting_loads_neither_scikit_learn_nor_pandas(fitted, tmp_path):
    folder = fitted.save(tmp_path / "saved")
    code = (
        f"import sys; import moduformer as mf; mf.TextClassifier.load({str(folder)!r}).predict(['good'])\n"
        "print([name for name in ('sklearn', 'scipy', 'pandas', 'pyarrow') if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert run.stdout.strip() == "[]", run.stderr


def test_unknown_parameters_are_refused_as_scikit_learn_expects(encoder):
    with pytest.raises(ValueError, match="epoch"):
        mf.TextClassifier(encoder).set_params(epoch=3)
    assert repr(mf.TextClassifier(epochs=3)) == "TextClassifier(epochs=3)"
