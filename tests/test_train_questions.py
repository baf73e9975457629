"""Questions with answers out of files: every form, every fault, and nothing lost in silence."""

import json
import unicodedata

import pandas as pd
import pytest

from moduformer.errors import DataError
from moduformer.train.gold_answers import GoldAnswer, answers_of, locate
from moduformer.train.questions import questions_from_lists, read_questions, split_questions

CONTEXT = "Kim lives in Seoul. Anna lives in Paris, and Lee lives in  Seoul too."
KOREAN = "김철수는 서울에서 살았다. 😀 그리고 부산에서 일했다."


def squad(path, *questions, context=CONTEXT, title="places"):
    rows = [{"id": f"q{i}", "question": "where?", **row} for i, row in enumerate(questions)]
    path.write_text(
        json.dumps({"version": "v2.0", "data": [{"title": title, "paragraphs": [{"context": context, "qas": rows}]}]}),
        encoding="utf-8",
    )
    return path


def answer(text, start):
    return {"answers": [{"text": text, "answer_start": start}]}


# Where answers stand -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "start", "found"),
    [
        ("Paris", 34, 34),
        ("Paris", 30, 34),
        ("Paris", None, 34),
        ("Paris", -1, 34),
        ("Paris", 10**9, 34),
        ("Seoul", 14, 13),
        ("Seoul", 61, 59),
    ],
)
def test_an_answer_is_found_at_the_one_place_it_can_mean(text, start, found):
    what = locate(CONTEXT, text, start)
    assert what.answer == GoldAnswer(text, found)
    assert CONTEXT.startswith(text, found)
    assert bool(what.repair) == (start != found)


@pytest.mark.parametrize(
    ("text", "start", "reason"),
    [
        ("Seoul", None, "stands 2 times"),
        ("Seoul", 30, "stands 2 times"),
        ("London", 0, "is not in the context"),
        (" ", 3, "empty"),
    ],
)
def test_an_answer_that_may_mean_several_places_is_refused(text, start, reason):
    what = locate(CONTEXT, text, start)
    assert what.answer is None
    assert reason in what.reason


def test_an_answer_in_other_letters_is_repaired_to_the_text_that_is_there():
    assert locate(CONTEXT, "lee LIVES in seoul", None).answer == GoldAnswer("Lee lives in  Seoul", 45)
    composed = locate(KOREAN, unicodedata.normalize("NFD", "부산"), None)
    assert composed.answer == GoldAnswer("부산", KOREAN.index("부산"))


def test_offsets_that_count_bytes_or_units_of_javascript_are_understood():
    context = KOREAN + " 서울에서."
    place = context.rindex("서울")
    for kind, start in (("bytes", len(context[:place].encode())), ("UTF-16", place + 1)):
        what = locate(context, "서울", start)
        assert what.answer == GoldAnswer("서울", place)
        assert kind in what.repair


@pytest.mark.parametrize(
    ("value", "starts", "found"),
    [
        (None, None, []),
        ("", "", []),
        ({"text": [], "answer_start": []}, None, []),
        ({"text": ["a", "b"], "answer_start": [1, 2]}, None, [("a", 1), ("b", 2)]),
        ({"text": "a", "answer_start": 1}, None, [("a", 1)]),
        ([{"text": "a", "answer_start": 1}, {"text": "b"}], None, [("a", 1), ("b", None)]),
        (["a", "b"], [1, 2], [("a", 1), ("b", 2)]),
        ("a", "7", [("a", 7)]),
        ("a", 7.0, [("a", 7)]),
        (308, None, [("308", None)]),
        ('{"text": ["a"], "answer_start": [1]}', None, [("a", 1)]),
        ("[sic", None, [("[sic", None)]),
    ],
)
def test_every_form_of_answers_is_read(value, starts, found):
    assert answers_of(value, starts) == found


@pytest.mark.parametrize(
    ("value", "starts"),
    [({"texts": []}, None), (["a"], [1, 2]), (["a"], 3), ("a", "x"), ("a", True), ([["a"]], None), (True, None),
     ("a", 10**30), ([""], None)],
)  # fmt: skip
def test_what_is_no_answer_says_why(value, starts):
    assert isinstance(answers_of(value, starts), str)


# Files ---------------------------------------------------------------------------------------------------------------


def test_the_nested_form_is_read(tmp_path):
    path = squad(tmp_path / "dev.json", answer("Paris", 34), {"answers": [], "is_impossible": True})
    found = read_questions(path)
    assert found.ids == ["q0", "q1"]
    assert found.answers == [(GoldAnswer("Paris", 34),), ()]
    assert found.groups == ["places"] * 2
    assert found.unanswerable == 1
    assert found.rows_read == 2


def test_nothing_is_dropped_in_silence(tmp_path):
    path = squad(
        tmp_path / "dev.json",
        answer("Paris", 34),
        answer("Paris", 35),
        answer("Seoul", 30),
        answer("London", 1),
        {"answers": [{"text": "London", "answer_start": 3}, {"text": "Paris", "answer_start": 34}]},
        {"question": "", "answers": []},
        {"answers": [{"text": "Paris", "answer_start": 34}], "is_impossible": True},
        answer("Paris", "there"),
    )
    found = read_questions(path)
    assert found.ids == ["q0", "q1", "q4"]
    assert found.rows_read == len(found) + len(found.refused) == 8
    assert [str(one).split(": ")[0] for one in found.refused] == [
        f"dev.json article 1, paragraph 1, number {n + 1}, question q{n}" for n in (2, 3, 5, 6, 7)
    ]
    assert "stands 2 times" in str(found.refused[0])
    assert [repair.split(": ")[0][-2:] for repair in found.repaired] == ["q1", "q4"]
    assert "left out of its answers" in found.repaired[1]
    scored = read_questions(path, located=False)
    assert scored.texts[2:4] == [["Seoul"], ["London"]]


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "csv", "frame"])
def test_tables_are_read(tmp_path, kind):
    rows = [
        {"id": "a", "title": "t", "question": "where?", "context": CONTEXT, "answers": {"text": ["Paris"],
         "answer_start": [34]}},
        {"id": "a", "title": "t", "question": "who?", "context": CONTEXT, "answers": {"text": [], "answer_start": []}},
    ]  # fmt: skip
    path = tmp_path / f"rows.{kind}"
    if kind == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    elif kind == "parquet":
        pd.DataFrame(rows).to_parquet(path)
    elif kind == "csv":
        pd.DataFrame([row | {"answers": json.dumps(row["answers"])} for row in rows]).to_csv(path, index=False)
    found = read_questions(pd.DataFrame(rows) if kind == "frame" else path)
    assert found.answers == [(GoldAnswer("Paris", 34),), ()]
    assert found.ids == ["a", "a#2"]
    assert found.columns["answers"] == "answers"
    assert any("ids stand for several" in note for note in found.notes)


def test_a_csv_of_plain_answers_needs_no_offsets_where_they_stand_once(tmp_path):
    path = tmp_path / "rows.csv"
    rows = [("where?", CONTEXT, "Paris"), ("where?", CONTEXT, "Seoul"), ("what?", CONTEXT, "")]
    pd.DataFrame(rows, columns=["질문", "지문", "정답"]).to_csv(path, index=False)
    found = read_questions(path)
    assert found.texts == [["Paris"], []]
    assert [str(one) for one in found.refused] == [
        "rows.csv line 3: the answer 'Seoul' has no offset, and stands 2 times in the context"
    ]
    with pytest.raises(DataError, match="no column 'anwser'"):
        read_questions(path, answer="anwser")


@pytest.mark.parametrize(
    "content",
    ['{"data": [1], "paragraphs": 1}', '{"data": [{"paragraphs": [1]}]}', '{"data": [{"paragraphs": [', "", "[]",
     '{"data": [{"paragraphs": [{"context": 3, "qas": [3]}]}]}', '{"data": [{"paragraphs": []}]}',
     '{"data": [{"paragraphs": ' + "[" * 100_000],
)  # fmt: skip
def test_damaged_files_are_refused_by_name(tmp_path, content):
    path = tmp_path / "broken.json"
    path.write_text(content)
    with pytest.raises(DataError, match=r"broken\.json"):
        read_questions(path)


def test_lists_are_read_and_a_bad_row_is_named():
    found = questions_from_lists(["where?"] * 3, [CONTEXT] * 3, ["Paris", {"text": "Anna", "answer_start": 20}, None])
    assert found.texts == [["Paris"], ["Anna"], []]
    with pytest.raises(DataError, match="row 2: the answer 'Seoul'"):
        questions_from_lists(["a", "b"], [CONTEXT] * 2, ["Paris", "Seoul"])
    with pytest.raises(DataError, match="1 questions, 2 contexts"):
        questions_from_lists(["a"], [CONTEXT] * 2, ["Paris", "Seoul"])


def test_articles_stay_whole_in_a_split(tmp_path):
    rows = [
        {"question": f"q{i}?", "context": f"The answer of {i} is {i}x.", "answer": f"{i}x", "title": f"t{i % 7}"}
        for i in range(70)
    ]
    data = read_questions(rows)
    train, held = split_questions(data, 0.2, 3)
    assert not set(train.groups) & set(held.groups)
    assert sorted(train.ids + held.ids) == sorted(data.ids)
    assert 10 <= len(held) <= 20
    assert split_questions(data, 0.2, 3)[1].ids == held.ids
    assert split_questions(data, 0.2, 4)[1].ids != held.ids
    with pytest.raises(DataError, match="have one context"):
        split_questions(data.select([0]))
    with pytest.raises(DataError, match="fraction"):
        split_questions(data, 1.0)


def test_published_sets_are_read_whole(shared):
    places = ("xquad/xquad.en.squad.json", 1190, 0), ("korquad1_dev/KorQuAD_v1.0_dev.json", 5774, 0)
    for name, size, refused in (*places, ("subjqa_electronics/test.jsonl", 718, 0)):
        found = read_questions(shared / "data" / name)
        assert (len(found), len(found.refused)) == (size, refused)
        assert all(c[a.start : a.end] == a.text for c, own in zip(found.contexts, found.answers) for a in own)
    assert found.unanswerable == 387
