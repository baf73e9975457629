"""Tagged text in every shape people keep it in."""

import json
from contextlib import suppress
from pathlib import Path

import pandas as pd
import pytest

from moduformer.errors import DataError
from moduformer.metrics.tagging import Entity
from moduformer.train.tagged import read_tagged, split_tagged, tagged_from_lists

CONLL = """-DOCSTART- -X- -X- O

EU NNP B-NP B-ORG
rejects VBZ B-VP O
# NN B-NP O

Peter NNP B-NP B-PER
Blackburn NNP I-NP I-PER
"""


def write(folder: Path, name: str, content: str) -> Path:
    (folder / name).write_text(content, encoding="utf-8")
    return folder / name


def test_columns(tmp_path: Path):
    found = read_tagged(write(tmp_path, "a.conll", CONLL))
    assert found.words == [["EU", "rejects", "#"], ["Peter", "Blackburn"]]
    assert found.tags == [["B-ORG", "O", "O"], ["B-PER", "I-PER"]]
    assert found.lines == [3, 7]
    assert found.labels == ("O", "B-ORG", "I-ORG", "B-PER", "I-PER")
    assert found.spans[1] == [Entity("PER", 0, 15)]
    assert found.rows_read == 2
    chunks = read_tagged(tmp_path / "a.conll", label="2")
    assert chunks.labels == ("O", "B-NP", "I-NP", "B-VP", "I-VP") or chunks.labels[0] == "O"
    assert chunks.tags[0] == ["B-NP", "B-VP", "B-NP"]
    pos = read_tagged(tmp_path / "a.conll", label="1")
    assert not pos.marked
    assert pos.labels == ("NN", "NNP", "VBZ")
    with pytest.raises(DataError, match="no column 4"):
        read_tagged(tmp_path / "a.conll", label="4")


def test_universal_dependencies(tmp_path: Path):
    rest = "\t_\t_\t_\t_\t_\t_"
    lines = ["# sent_id = 1", "# text = Don't go", f"1-2\tDon't\t_\t_{rest}", f"1\tDo\tdo\tAUX{rest}",
             f"2\tn't\tnot\tPART{rest}", f"3\tgo\tgo\tVERB{rest}", ""]  # fmt: skip
    found = read_tagged(write(tmp_path, "a.conllu", "\n".join(lines)))
    assert found.words == [["Do", "n't", "go"]]
    assert found.tags == [["AUX", "PART", "VERB"]]
    assert not found.marked


def test_characters_in_columns(tmp_path: Path):
    text = "## 0\t<조:PS> 전 사장\n조\tB-PS\n \tO\n전\tO\n\n김\tB-PS\n수\tI-PS\n \tO\n왔\tO\n"
    found = read_tagged(write(tmp_path, "klue.tsv", text))
    assert found.texts == ["조 전", "김수 왔"]
    assert found.words is None
    assert found.spans == [[Entity("PS", 0, 1)], [Entity("PS", 0, 2)]]


def test_rows_of_words_and_of_spans_and_of_memory(tmp_path: Path):
    rows = [{"tokens": ["김", "왔다"], "ner_tags": ["B-PS", "O"]}, {"tokens": ["a"], "ner_tags": ["O"]}]
    lines = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    words = read_tagged(write(tmp_path, "w.jsonl", lines))
    assert words.tags == [["B-PS", "O"], ["O"]]
    assert words.lines == [1, 2]
    pd.DataFrame(rows).to_parquet(tmp_path / "w.parquet")
    assert read_tagged(tmp_path / "w.parquet").tags == words.tags
    assert read_tagged(rows).tags == words.tags
    numbers = read_tagged([{"tokens": ["a", "b"], "ner_tags": [0, 3]}])
    assert numbers.tags == [["0", "3"]]
    for spans in (
        {"label": [[0, 2, "PS"]]},
        {"entities": [{"start": 0, "end": 2, "label": "PS"}]},
        {"entities": [{"id": 1, "start_offset": 0, "end_offset": 2, "label": "PS"}]},
        {"spans": [{"start": 0, "end": 2, "type": "PS"}]},
    ):
        found = read_tagged(
            [{"id": 1, "text": "철수 왔다", **spans}, {"id": 2, "text": "비", **{k: [] for k in spans}}]
        )
        assert found.spans == [[Entity("PS", 0, 2)], []]
        assert found.labels == ("O", "B-PS", "I-PS")
    characters = read_tagged([{"text": "철수 왔다", "chars_ner_tags": ["B-PS", "I-PS", "O", "O", "O"]}])
    assert characters.spans == [[Entity("PS", 0, 2)]]
    both = [{"text": "ab", "tokens": ["a", "b"], "upos": ["X", "Y"], "xpos": ["P", "Q"]}]
    assert read_tagged(both).label_column == "upos"
    assert read_tagged(both, "tokens", "xpos").tags == [["P", "Q"]]


def test_rows_that_cannot_be_used_are_listed():
    rows = [
        {"tokens": ["a", "b"], "tags": ["O"]},
        {"tokens": ["a"], "tags": ["B-X"]},
        {"tokens": None, "tags": ["O"]},
        {"tokens": [], "tags": []},
        {"tokens": ["a"], "tags": ["X"]},
        {"tokens": ["a"], "tags": ["I-X"]},
    ]
    found = read_tagged(rows)
    assert found.rows == [2, 6]
    assert [bad.row for bad in found.refused] == [1, 3, 4, 5]
    assert "2 words but 1 tags" in found.refused[0].reason
    assert "'X'" in found.refused[3].reason
    spans = read_tagged([{"text": "abc", "spans": s} for s in ([[0, 4, "X"]], [[2, 2, "X"]], [[0, True, "X"]], [])])
    assert [bad.row for bad in spans.refused] == [1, 2, 3]


def test_bad_tags_are_reported_and_mended():
    words = [
        {"tokens": list("abcd"), "tags": tags} for tags in (["B-X", "I-X", "O", "I-X"], ["B-X", "I-Y", "O", "B-Y"])
    ]
    found = read_tagged(words)
    assert found.tags == [["B-X", "I-X", "O", "B-X"], ["B-X", "B-Y", "O", "B-Y"]]
    assert found.mended == ["row 1: I-X after O (token 4)", "row 2: I-Y after B-X (token 2)"]
    assert "2 tags break their scheme" in found.notes[-1]
    old = read_tagged([{"tokens": list("abcd"), "tags": ["I-X", "B-X", "O", "I-Y"]}])
    assert old.tags == [["B-X", "B-X", "O", "B-Y"]]
    assert old.mended == []
    ends = read_tagged([{"tokens": list("abcd"), "tags": ["B-X", "E-X", "O", "S-Y"]}])
    assert ends.tags == [["B-X", "I-X", "O", "B-Y"]]


def test_overlapping_spans_are_an_error_that_names_the_row(tmp_path: Path):
    rows = [{"text": "abc", "label": []}, {"text": "abcdef", "label": [[2, 5, "Y"], [0, 3, "X"]]}]
    path = write(tmp_path, "s.jsonl", "\n".join(map(json.dumps, rows)))
    with pytest.raises(DataError, match=r"s\.jsonl, line 2: .*0-3 'X'.*2-5 'Y'.*overlap"):
        read_tagged(path)
    assert read_tagged([{"text": "abcdef", "label": [[3, 5, "Y"], [0, 3, "X"]]}]).spans == [
        [Entity("X", 0, 3), Entity("Y", 3, 5)]
    ]


@pytest.mark.parametrize(
    "content",
    ["", "\n\n\n", "one\ntwo\n", "a b\x00 c\n", "\ufeff", "#\n#\n", "a\tb\n" + "c\td\te\n" * 3],
)
@pytest.mark.parametrize("name", ["x.conll", "x.jsonl", "x.txt"])
def test_what_is_no_tagged_text_is_refused(tmp_path: Path, content: str, name: str):
    path = write(tmp_path, name, content)
    with suppress(DataError):
        found = read_tagged(path)
        assert found.rows_read == len(found) + len(found.refused)
        assert found.refused


def test_lists(tmp_path: Path):
    found = tagged_from_lists([["a", "b"]], [["B-X", "O"]])
    assert found.spans == [[Entity("X", 0, 1)]]
    assert tagged_from_lists(["ab"], [[(0, 1, "X")]]).spans == [[Entity("X", 0, 1)]]
    for X, y, word in (
        ([["a"]], [["O", "O"]], "X\\[0\\]"),
        (["a"], [], "1 texts"),
        ([], [], "no texts"),
        ("a", ["O"], "str"),
        (["a"], None, "NoneType"),
    ):
        with pytest.raises(DataError, match=word):
            tagged_from_lists(X, y)


def test_what_is_held_out_depends_on_nothing_but_the_seed():
    rows = [{"tokens": [f"w{i % 40}"], "tags": ["B-X"]} for i in range(60)]
    examples = read_tagged(rows)
    train, held = split_tagged(examples, 0.1, 3)
    assert sorted([*train.rows, *held.rows]) == list(range(1, 61))
    assert not {*train.texts} & {*held.texts}
    assert held.rows == split_tagged(read_tagged(rows), 0.1, 3)[1].rows
    assert held.rows != split_tagged(examples, 0.1, 4)[1].rows


EXPECTED = {
    "wnut17/train.jsonl": (3394, 1975, True),
    "wikigold/all.jsonl": (1696, None, True),
    "broad_twitter_ner/test.parquet": (1500, None, True),
    "klue_ner_dev/test.parquet": (1000, None, True),
    "kmou_ner/test.parquet": (2000, None, True),
    "ud_english_ewt/test.parquet": (2077, None, False),
    "ud_korean_kaist/test.parquet": (2287, None, False),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_shared_data(shared: Path, name: str):
    rows, entities, marked = EXPECTED[name]
    found = read_tagged(shared / "data" / name)
    assert len(found) + len(found.refused) == rows
    assert len(found) > rows * 0.99, found.refused[:3]
    assert found.marked is marked
    assert entities is None or sum(found.counts().values()) == entities
    for text, spans in zip(found.texts, found.spans):
        for span in spans:
            assert text[span.start : span.end].strip()
