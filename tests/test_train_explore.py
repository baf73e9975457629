"""What is said about a data set before training."""

import io
import json

import numpy as np
import pytest
from rich.console import Console

from moduformer.errors import DataError
from moduformer.train.explore import explore, near_key, render
from moduformer.train.labelled_rows import examples_from_lists, read_examples


def words(texts):
    return [len(text.split()) + 2 for text in texts]


def looked_at(pairs, **options):
    return explore(examples_from_lists([t for t, _ in pairs], [label for _, label in pairs]), **options)


def test_balance_lengths_and_truncation():
    pairs = [(f"word {'more ' * (i % 10)}{i}", "a" if i < 90 else "b") for i in range(100)]
    found = looked_at(pairs, count_tokens=words, max_length=10)
    assert [(c.name, c.count, c.share) for c in found.classes] == [("a", 90, 0.9), ("b", 10, 0.1)]
    assert (found.imbalance, found.majority_accuracy) == (9.0, 0.9)
    tokens = sorted(words([text for text, _ in pairs]))
    assert (found.tokens.shortest, found.tokens.longest) == (tokens[0], tokens[-1])
    assert found.tokens.mean == pytest.approx(np.mean(tokens))
    assert found.tokens.median in tokens[49:51]
    assert found.truncated == sum(n > 10 for n in tokens) == 30
    assert found.truncated_share == 0.3
    assert found.characters.longest == max(len(text) for text, _ in pairs)
    said = "\n".join(found.suggestions)
    assert "class_weight='balanced'" in said
    assert "30 texts (30.0%)" in said
    balanced = looked_at([(f"text {i}", i % 2) for i in range(20)], count_tokens=words, max_length=64)
    assert not any("class_weight" in s for s in balanced.suggestions)
    assert any("smaller max_length" in s for s in balanced.suggestions)


def test_duplicates_conflicts_and_leaks_are_found_by_place(tmp_path):
    path = tmp_path / "train.csv"
    path.write_text(
        "text,label\nGreat film!,pos\nbad,neg\ngreat film,neg\nbad,neg\nonly here,pos\n재밌다!!,pos\n재밌다,neg\n",
        encoding="utf-8",
    )
    train = read_examples(path)
    evaluation = examples_from_lists(["Bad", "new", "new", "other"], ["neg", "pos", "mixed", "pos"])
    found = explore(train, evaluation)
    assert found.duplicate_rows == 1
    assert found.duplicates[0].places == ["line 3", "line 5"]
    assert found.conflict_rows == 4
    assert [c.places for c in found.conflicts] == [["line 2", "line 4"], ["line 7", "line 8"]]
    assert found.conflicts[0].labels == ["pos x1", "neg x1"]
    assert found.leaked_rows == 1
    assert found.leaks[0].places == ["evaluation row 1", "training line 3", "training line 5"]
    assert found.unseen_labels == ["mixed"]
    said = "\n".join(found.suggestions)
    for part in ("1 evaluation rows are also in training", "labels training lacks: mixed", "4 rows (57.1%)"):
        assert part in said


def test_the_same_labels_in_another_order_are_no_conflict():
    found = explore(examples_from_lists(["a film", "A film."], [["x", "y"], ["y", "x"]]))
    assert found.conflict_rows == 0
    assert found.labels_per_example == 2


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("broken \ufffd text", "replacement characters"),
        ("CafÃ© du monde", "mojibake"),
        ("영화".encode().decode("cp1252", "replace").replace("\ufffd", ""), "mojibake"),
        ("bell\x07", "control characters"),
        ("\u110b\u1167\u11bc\u1112\u116a", "decomposed Hangul"),
        ("!!! ...", "no letter or digit"),
        ("Positive", "nothing but a label"),
        ("good<br />film", "HTML tags"),
        ("https://example.com/a", "nothing but a web address"),
        ("so " + "o" * 60, "repeats one character"),
    ],
)
def test_damaged_texts_are_named(text, reason):
    clean = [("a good film", "positive"), ("영화가 3 < 4 정말 좋다 ㅋㅋㅋ", "negative"), ("naïve café Ãr", "positive")]
    assert looked_at(clean).suspicious == []
    found = looked_at([*clean, (text, "negative")])
    assert [f.places for f in found.suspicious if reason in f.reason] == [["row 4"]]
    assert any(reason in name for name in found.suspicious_counts)


def test_lists_are_cut_but_counts_are_not():
    found = looked_at([(f"text {i // 2}", i % 2) for i in range(200)])
    assert (len(found.conflicts), found.conflict_rows) == (20, 200)
    assert (len(found.duplicates), found.duplicate_rows) == (20, 100)


def test_small_classes_and_label_variants_are_named():
    found = looked_at([(f"t{i}", "pos") for i in range(30)] + [("x", "pos "), ("y", "neg")])
    assert found.label_variants == [["pos", "pos "]]
    said = "\n".join(found.suggestions)
    assert "'pos', 'pos '" in said
    assert "2 classes have fewer than 8 rows" in said


def test_near_key_keeps_words_apart_that_differ():
    assert near_key("Great, film!") == near_key("great film")
    assert near_key("ｆｉｌｍ") == near_key("film")
    assert near_key("좋다") != near_key("좋았다")
    assert near_key("!!!") != near_key("???")


def test_pairs_count_both_texts():
    found = explore(examples_from_lists(["a b", "c"], [0, 1], pairs=["d", "e f g"]), count_tokens=words)
    assert (found.tokens.shortest, found.tokens.longest) == (7, 8)


def test_a_wrong_counter_and_no_examples_are_data_errors():
    with pytest.raises(DataError, match="1 numbers for 2 texts"):
        looked_at([("a", 0), ("b", 1)], count_tokens=lambda texts: [1])
    one = examples_from_lists(["a"], [0])
    with pytest.raises(DataError):
        explore(one.select([]))


def test_reports_are_json_and_readable_text():
    found = looked_at(
        [("[red]좋은 영화[/red]", "긍정[bold]"), ("[red]좋은 영화[/red]", "부정"), ("[/nothing]", "부정")],
        count_tokens=words,
        max_length=3,
    )
    stored = json.loads(json.dumps(found.to_dict(), allow_nan=False, ensure_ascii=False))
    assert stored["classes"][0] == {"name": "부정", "count": 2, "share": 2 / 3, "mean_characters": 13.0}
    page = io.StringIO()
    render(found, Console(file=page, width=100, color_system=None))
    printed = page.getvalue()
    # Markup in data is shown, not followed, and an unmatched tag does not stop the report.
    assert "[red]좋은 영화[/red]" in printed
    assert "긍정[bold]" in printed
    assert "What to do" in printed


def test_real_data_shows_its_known_faults(shared):
    train = read_examples(shared / "data/emotion/train.parquet")
    test = read_examples(shared / "data/emotion/test.parquet", classes=train.classes)
    found = explore(train, test)
    assert found.classes[0].name == "joy"
    assert found.majority_accuracy == pytest.approx(0.335, abs=1e-3)
    assert found.duplicate_rows > 0
    assert found.leaked_rows > 0
    assert found.conflict_rows > 0
