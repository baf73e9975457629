"""Labelled examples: columns guessed and said, labels of any type, nothing dropped, no leak between the sides."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight

from moduformer.errors import DataError
from moduformer.train.duplicates import duplicates, leaks, text_key
from moduformer.train.examples import check_trainable, class_weights, label_variants
from moduformer.train.labelled_rows import examples_from_lists, label_examples, read_examples, unlabelled_texts
from moduformer.train.labels import LabelSet
from moduformer.train.splitting import few_shot, split
from moduformer.train.tables import read_table


def examples(*pairs, **options):
    return examples_from_lists([text for text, _ in pairs], [label for _, label in pairs], **options)


# labels ----------------------------------------------------------------------------------------------------------


@given(st.lists(st.one_of(st.booleans(), st.integers(-5, 5), st.floats(-2, 2), st.text(max_size=3)), min_size=1))
@settings(max_examples=200, deadline=None)
def test_labels_of_any_type_come_back_as_they_were(values):
    classes = LabelSet.of(values)
    back = classes.decode(classes.encode(values))
    assert back == values
    assert [type(v) for v in back] == [type(v) for v in values]
    assert classes == LabelSet.of(reversed(values))
    assert len(set(classes.names)) == len(classes)
    stored = LabelSet.from_dict(json.loads(json.dumps(classes.to_dict(), allow_nan=False)))
    assert stored == classes
    assert [type(v) for v in stored.values] == [type(v) for v in classes.values]


@pytest.mark.parametrize("values", [["b", "a", "가", "A", "10", "2"], [3, 1, 10, -1], [0.5, 2.0, -1.0], [True, False]])
def test_the_order_is_that_of_scikit_learn(values):
    assert list(LabelSet.of(values).values) == np.unique(np.array(values)).tolist()


def test_numpy_labels_become_python_values():
    for array in (np.array([1, 0]), np.array([True, False]), np.array([0.5, 1.5]), np.array(["b", "a"])):
        found = examples_from_lists(["x", "y"], array)
        assert found.labels == array.tolist()
        assert [type(v) for v in found.labels] == [type(v) for v in array.tolist()]
    assert examples_from_lists(pd.Series(["x", "y"]), pd.Series([1, 2], index=[7, 9])).labels == [1, 2]


def test_labels_that_are_none_are_refused():
    for value in (float("inf"), object(), {"a": 1}, b"x"):
        with pytest.raises(DataError):
            LabelSet.of([value])
    with pytest.raises(DataError, match="twice"):
        LabelSet.from_dict({"values": ["a", "a"]})


def test_classes_meet_across_formats():
    classes = LabelSet.of([0, 1])
    assert classes.encode(["1", 0, 1.0]).tolist() == [1, 0, 1]
    with pytest.raises(DataError, match="'2' is not among"):
        classes.encode(["2"])
    # "1" and 1 as two classes: another type must not choose between them.
    assert LabelSet.of([1, "1"]).find(1.0) is None


# reading ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "text", "label"),
    [
        ({"id": ["1", "2"], "내용": ["가", "나"], "라벨": ["x", "y"]}, "내용", "라벨"),
        ({"label": [0, 1], "document": ["가", "나"], "rating": [1, 2]}, "document", "label"),
        ({"Sentence": ["a", "b"], "Category": ["x", "y"]}, "Sentence", "Category"),
        ({"label": [0, 1], "label_name": ["n", "p"], "text": ["a", "b"]}, "text", "label_name"),
        ({"q1": ["a long text here", "another long one"] * 3, "kind": ["x", "y"] * 3}, "q1", "kind"),
        ({"text": ["a", "b", "c", "d"], "label": [0, 1, 0, 1], "intent": ["x", "y"] * 2}, "text", "intent"),
    ],
)
def test_columns_are_guessed_and_said(data, text, label):
    found = read_examples(data)
    assert (found.text_column, found.label_columns) == (text, (label,))
    assert any(repr(text) in note for note in found.notes)
    assert any(repr(label) in note for note in found.notes)


def test_an_unclear_guess_is_refused():
    with pytest.raises(DataError, match="'p' and 'q' could be it"):
        read_examples({"text": list("abcd"), "p": list("0101"), "q": list("0011")})
    with pytest.raises(DataError, match="no column holds texts"):
        read_examples({"a": [1, 2], "label": [1, 2]})


def test_rows_that_cannot_be_used_are_named(tmp_path):
    path = tmp_path / "data.csv"
    path.write_text("text,label\ngood,a\n   ,b\n,b\nfine,\nragged\nlast,b\n", encoding="utf-8")
    found = read_examples(path, bad_rows="report")
    assert found.texts == ["good", "last"]
    assert found.lines == [2, 7]
    assert [(bad.line, bad.reason.split(";")[0]) for bad in found.refused] == [
        (3, "the text is empty"),
        (4, "the text is empty"),
        (5, "the label is empty"),
        (6, "1 cells where the header has 2"),
    ]
    assert found.rows_read == len(found) + len(found.refused)
    memory = examples(("a", 1), (None, 2), (5, 1), ("d", float("nan")), ("e", 2))
    assert [bad.row for bad in memory.refused] == [2, 3, 4]
    with pytest.raises(DataError, match="none of its 1 rows"):
        examples(("", "a"))


def test_pairs_are_found_and_checked():
    found = read_examples({"sentence1": ["a", "b"], "sentence2": ["c", ""], "label": [0, 1]})
    assert (found.texts, found.pairs) == (["a"], ["c"])
    assert found.refused[0].reason == "the second text is empty"


def test_label_variants_are_reported_and_can_be_united():
    data = {"text": list("abcd"), "label": ["pos", "pos ", "Pos", "neg"]}
    found = read_examples(data)
    assert label_variants(found) == [("Pos", "pos", "pos ")]
    assert any("'pos '" in note for note in found.notes)
    assert read_examples(data, strip_labels=True).classes.values == ("Pos", "neg", "pos")
    korean = examples(("a", "긍정"), ("b", "\u1100\u1173\u11bc\u110c\u1165\u11bc"))
    assert len(label_variants(korean)) == 1


def test_unseen_evaluation_labels_are_named(tmp_path):
    train = examples(("a", "x"), ("b", "y"))
    path = tmp_path / "test.csv"
    path.write_text("text,label\na,x\nb,z\nc,z\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"test\.csv, line 3: labels that training did not have: 'z' \(2 rows\)"):
        read_examples(path, classes=train.classes)
    with pytest.raises(DataError, match=r"test\.csv line 3: evaluation labels that no training example has"):
        check_trainable(train, read_examples(path))


def test_a_single_class_is_refused_before_training():
    with pytest.raises(DataError, match="every one of the 2 examples has the label 'x'"):
        check_trainable(examples(("a", "x"), ("b", "x")))
    check_trainable(examples(("a", "x"), ("b", "y")), examples(("c", "y")))


def test_multi_label_from_lists_columns_separator_and_matrix():
    lists = read_examples({"text": list("abc"), "labels": [["x", "y"], [], ["z", "z"]]})
    columns = read_examples({"text": list("abc"), "x": [1, 0, 0], "y": ["1", "0", "0"], "z": [False, 0.0, True]},
                            label=["x", "y", "z"])  # fmt: skip
    cells = read_examples({"text": list("abc"), "labels": ["x| y", "|", "z"]}, separator="|")
    frame = pd.DataFrame({"x": [1, 0, 0], "y": [1, 0, 0], "z": [0, 0, 1]})
    for found in (lists, columns, cells, examples_from_lists(list("abc"), frame)):
        assert found.multi_label
        assert found.classes.values == ("x", "y", "z")
        assert found.targets.tolist() == [[1, 1, 0], [0, 0, 0], [0, 0, 1]]
        assert found.labels == [("x", "y"), (), ("z",)]
        assert found.classes.decode_sets(found.targets) == [["x", "y"], [], ["z"]]
    assert examples_from_lists(list("abc"), frame.to_numpy()).targets.tolist() == columns.targets.tolist()
    bad = read_examples({"text": list("ab"), "x": [1, 2], "y": [0, 0]}, label=["x", "y"])
    assert "holds 2, neither 0 nor 1" in bad.refused[0].reason


def test_wrong_arguments_are_data_errors():
    for arguments in (("one text", ["a"]), (["a"], "x"), (["a", "b"], ["x"]), (["a"], np.array([[0.5]]))):
        with pytest.raises(DataError):
            examples_from_lists(*arguments)
    table = read_table({"text": ["a"], "label": ["b"]})
    with pytest.raises(DataError, match="no column 'txt'"):
        label_examples(table, "txt")
    with pytest.raises(DataError, match="different columns"):
        label_examples(table, "text", "text")
    assert unlabelled_texts(table) == ["a"]


# duplicates, leaks, splits ---------------------------------------------------------------------------------------


def test_duplicates_and_leaks_are_counted_and_listed():
    train = examples(("A  film", 1), ("b", 0), ("a film", 0), ("c", 1), ("b", 0))
    found = duplicates(train)
    assert [(d.indices, d.labels_agree) for d in found] == [((0, 2), False), ((1, 4), True)]
    evaluation = examples(("new", 1), ("a FILM ", 1), ("B", 0), ("B", 1))
    assert [(leak.train_indices, leak.evaluation_indices) for leak in leaks(train, evaluation)] == [
        ((0, 2), (1,)),
        ((1, 4), (2, 3)),
    ]


@given(
    st.lists(st.tuples(st.integers(0, 12), st.sampled_from("xyz")), min_size=4, max_size=80),
    st.floats(0.05, 0.6),
    st.integers(0, 5),
)
@settings(max_examples=150, deadline=None)
def test_splits_never_leak_and_lose_nothing(pairs, fraction, seed):
    whole = examples(*((f"text {n}", label) for n, label in pairs))
    try:
        train, held = split(whole, fraction, seed)
    except DataError:
        first = {}
        for n, label in pairs:
            first.setdefault(n, label)
        assert len(first) == len(set(first.values()))  # every class has one text only, so none can be held out
        return
    assert leaks(train, held) == []
    assert sorted(train.rows + held.rows) == whole.rows
    assert len(train)
    assert train.rows == sorted(train.rows)
    assert train.classes is whole.classes
    again = split(whole, fraction, seed)[1]
    assert again.rows == held.rows


def test_splits_keep_the_share_of_every_class():
    labels = ["a"] * 700 + ["b"] * 200 + ["c"] * 20 + ["d"] * 2 + ["e"]
    whole = examples(*((f"text {i}", label) for i, label in enumerate(labels)))
    train, held = split(whole, 0.1, seed=3)
    assert held.counts().tolist() == [70, 20, 2, 1, 0]
    assert train.counts().tolist() == [630, 180, 18, 1, 1]
    assert split(whole, 0.1, seed=4)[1].rows != held.rows
    many = examples(*[("same", "a")] * 50, *((f"t{i}", "a") for i in range(50)), ("u", "b"), ("v", "b"))
    assert split(many, 0.1)[1].counts().tolist() == [10, 1]
    for seed in range(10):
        uneven = examples(("one", "a"), ("two", "a"), ("two", "a"))
        assert 0 < len(split(uneven, 0.6, seed)[0]) < 3
    for fraction in (0, 1, -1, float("nan")):
        with pytest.raises(DataError):
            split(whole, fraction)
    with pytest.raises(DataError, match="no class has two different texts"):
        split(examples(("a", 0), ("b", 1)), 0.5)


def test_the_rarest_label_is_held_out_too_when_there_are_several():
    labels = [["common", "rare"] if i % 20 == 0 else ["common"] for i in range(200)]
    train, held = split(examples_from_lists([f"t{i}" for i in range(200)], labels), 0.2)
    assert held.counts().tolist() == [40, 2]
    assert train.counts().tolist() == [160, 8]


SPLIT_IN_ANOTHER_PROCESS = """
from moduformer.train.labelled_rows import examples_from_lists
from moduformer.train.splitting import split
found = examples_from_lists([f"t{i % 90}" for i in range(100)], ["xyz"[i % 3] for i in range(100)])
print(split(found, 0.2, 7)[1].rows)
"""


def test_splits_do_not_depend_on_the_hash_seed():
    found = {
        subprocess.run(
            [sys.executable, "-c", SPLIT_IN_ANOTHER_PROCESS],
            env={"PYTHONHASHSEED": seed, "PATH": ""},
            cwd=Path(__file__).parent.parent,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1")
    }
    assert len(found) == 1
    assert len(found.pop()) > 10


@pytest.mark.parametrize("seed", [0, 1, 9])
def test_few_shot_subsets_are_setfits(seed):
    generator = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"text": [f"t{i}" for i in range(300)], "label": generator.choice(4, 300, p=[0.4, 0.4, 0.19, 0.01])}
    )
    expected = []
    for label in frame["label"].unique():
        subset = frame[frame["label"] == label]
        expected.append(subset.sample(8, random_state=seed, replace=False) if len(subset) > 8 else subset)
    reference = pd.concat(expected)
    found = few_shot(read_examples(frame), 8, seed)
    assert found.texts == reference["text"].tolist()
    assert found.labels == reference["label"].tolist()
    with pytest.raises(DataError):
        few_shot(found, 0)


def test_class_weights_are_scikit_learns_balanced_ones():
    labels = [0] * 50 + [1] * 10 + [2] * 3
    found = class_weights(examples_from_lists([f"t{i}" for i in range(63)], labels))
    np.testing.assert_allclose(found, compute_class_weight("balanced", classes=np.arange(3), y=np.array(labels)))


def test_text_key_ignores_what_a_reader_does_not_see():
    assert text_key(" 영화  가\n") == text_key("\u110b\u1167\u11bc\u1112\u116a 가")
    assert text_key("A b") != text_key("ab")


def test_real_data_is_read_without_being_told_columns(shared):
    expected = {
        "emotion/validation.parquet": ("text", "label_name", 6),
        "trec/test.parquet": ("text", "coarse", 6),
        "klue_ynat_dev/test.csv": ("title", "label_name", 7),
        "nsmc/test.parquet": ("document", "label", 2),
        "clinc150/validation.parquet": ("text", "intent", 151),
        "go_emotions/validation.parquet": ("text", "label_names", 28),
    }
    for name, (text, label, classes) in expected.items():
        found = read_examples(shared / "data" / name)
        assert (found.text_column, found.label_columns, len(found.classes)) == (text, (label,), classes), name
        assert found.rows_read == len(found) + len(found.refused)


def test_a_header_without_rows_is_called_that(tmp_path: Path) -> None:
    path = tmp_path / "empty.csv"
    path.write_text("text,label\n")
    with pytest.raises(DataError, match=r"empty.csv has no rows, only a header \(text, label\)"):
        read_examples(path)
