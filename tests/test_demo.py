"""The parts of `moduformer demo`: rated tables, the lexicon, sentences, and the job itself on a few rows."""

import json

import pytest
from tiny_models import tiny_encoder

from moduformer.demo import job
from moduformer.demo.lexicon import Lexicon
from moduformer.demo.rated import LONGEST_TEXT, RatedText, clear_polarity, draw, read_rated, without, write_csv
from moduformer.errors import DataError, TrainingError
from moduformer.train.callbacks import Callback

# Rated tables ---------------------------------------------------------------------------------------------------------


def table(folder, content):
    path = folder / "rated.txt"
    path.write_bytes(content)
    return path


def test_rows_are_read_as_written(tmp_path):
    found = read_rated(table(tmp_path, "1\t2.5\tGood.\r\n1_2\t-0.25\t 나쁘다 \r\n\r\n".encode()))
    assert found.rows == (RatedText(1, 2.5, "Good."), RatedText(2, -0.25, "나쁘다"))
    assert not found.refused


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"1\t2.5", "2 fields"),
        (b"1\t2.5\ta\tb", "4 fields"),
        (b"1\tgood\ta", "not a number"),
        (b"1\tnan\ta", "not between"),
        (b"1\tinf\ta", "not between"),
        (b"1\t4.01\ta", "not between"),
        (b"1\t2\t  ", "no text"),
        (b"1\t2\t\xff\xfe", "not UTF-8"),
        (b"1\t2\t" + b"a" * (LONGEST_TEXT + 1), "characters"),
        (b"1\t" + b"9" * 5000 + b"\ta", "not between"),
    ],
)
def test_a_bad_row_is_named_and_left_out(tmp_path, line, reason):
    found = read_rated(table(tmp_path, b"1\t1\tfine\n" + line + b"\n3\t1\tfine too\n"))
    assert [row.line for row in found.rows] == [1, 3]
    assert len(found.refused) == 1
    assert found.refused[0].startswith("rated.txt line 2: ")
    assert reason in found.refused[0]
    assert len(found.refused[0]) < 200


def test_a_table_without_rows_is_an_error(tmp_path):
    with pytest.raises(DataError, match="line 1: has 1 fields"):
        read_rated(table(tmp_path, b"<html>\n"))
    with pytest.raises(DataError, match="no line of the form"):
        read_rated(table(tmp_path, b""))
    with pytest.raises(DataError, match="cannot be read"):
        read_rated(tmp_path / "absent.txt")


def test_a_huge_table_is_refused_unread(tmp_path):
    path = tmp_path / "huge.txt"
    with open(path, "wb") as file:
        file.truncate(2**40)
    with pytest.raises(DataError, match="larger than"):
        read_rated(path)


def test_polarity_keeps_what_is_clear_and_each_text_once():
    rows = [
        RatedText(1, 0.5, "a"),
        RatedText(2, -0.49, "b"),
        RatedText(3, 2, "A "),
        RatedText(4, 1, "c  d"),
        RatedText(5, -1, "C d"),
        RatedText(6, -0.5, "e"),
    ]
    found = clear_polarity(rows)
    assert [(row.line, row.label) for row in found.rows] == [(1, "positive"), (6, "negative")]
    assert (found.unclear, found.repeated, found.disputed) == (1, 1, 2)


def test_draws_are_repeatable_and_disjoint():
    rows = [RatedText(i, 1, f"text {i}") for i in range(100)]
    test = draw(rows, 20, 0)
    train = draw(without(rows, test), 60, 0)
    assert test == draw(rows, 20, 0)
    assert test != draw(rows, 20, 1)
    assert len({row.line for row in [*test, *train]}) == 80
    assert draw(rows, 1000, 0) == rows
    assert without([RatedText(200, 1, " TEXT  5")], rows) == []


def test_csv_comes_back(tmp_path):
    from moduformer.train.labelled_rows import read_examples

    rows = [RatedText(1, 1, 'say "hi", all\rof you'), RatedText(2, -1, "=1+1")]
    found = read_examples(write_csv(rows, tmp_path / "deep" / "rows.csv"), "text", "label")
    assert found.texts == [row.text for row in rows]


# The lexicon ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def lexicon():
    return Lexicon({"good": 2.0, "bad": -2.5, ":)": 2.0, "great": 3.0})


def test_one_word_has_its_normalised_valence(lexicon):
    assert lexicon.score("good") == pytest.approx(2 / (4 + 15) ** 0.5)
    assert lexicon.score("nothing known here") == 0
    assert lexicon.score("") == 0


def test_the_five_rules(lexicon):
    plain = lexicon.score("it is good")
    assert lexicon.score("it is good!") > plain
    assert lexicon.score("it is good!!!!") == lexicon.score("it is good!!!!!!!!")
    assert lexicon.score("it is GOOD") > plain
    assert lexicon.score("IT IS GOOD") == plain
    assert lexicon.score("it is very good") > plain
    assert lexicon.score("it is slightly good") < plain
    assert lexicon.score("it is not good") < 0 < plain
    assert lexicon.score("it isn't at all good") < 0
    assert lexicon.score("not a thing I could call good") > 0
    assert lexicon.score("bad but great") > 0 > lexicon.score("great but bad")
    assert lexicon.score("hello :)") > 0
    assert lexicon.score("(good)") == plain


def test_a_lexicon_file(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("good\t2.0\t0.5\t[1]\nbroken\nbad\tx\nnan\tnan\n", encoding="utf-8")
    assert Lexicon.read(path).valences == {"good": 2.0}
    path.write_text("nothing", encoding="utf-8")
    with pytest.raises(DataError, match="no line of the form"):
        Lexicon.read(path)
    with pytest.raises(DataError, match="cannot be read"):
        Lexicon.read(tmp_path / "absent")


# Sentences and the folder ---------------------------------------------------------------------------------------------


def test_sentences_are_written_once_and_then_read(tmp_path):
    path = tmp_path / "sentences.txt"
    assert len(job.read_sentences(path)) == 6
    path.write_bytes("\ufeff# note\r\n\r\n  mine  \r\n".encode())
    assert job.read_sentences(path) == ["mine"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"\xff\xfe", "not UTF-8"), (b"a\n" * 201, "201 sentences"), (b"a" * (2**18 + 1), "larger than")],
)
def test_sentences_that_cannot_be_used(tmp_path, content, reason):
    path = tmp_path / "sentences.txt"
    path.write_bytes(content)
    with pytest.raises(DataError, match=reason):
        job.read_sentences(path)


def test_a_folder_of_others_is_not_touched(tmp_path):
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(TrainingError, match="not a demo"):
        job.run(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_demo_with_other_settings_is_not_mixed(tmp_path):
    job._claim(tmp_path, job.Plan())
    job._claim(tmp_path, job.Plan())
    with pytest.raises(TrainingError, match="other settings"):
        job._claim(tmp_path, job.FAST)


# The job --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_world(tmp_path, monkeypatch):
    """Four tables, a lexicon, and a model small enough to train in a second, in place of what would be fetched."""
    data = tmp_path / "data-set"
    data.mkdir()
    for name in job.DOMAINS.values():
        rows = []
        for i in range(90):
            word, rating = ("good", 1.5) if i % 3 else ("bad", -1.5)
            rows.append(f"{i}\t{rating}\ta {word} {word} thing number {i} {name[:5]}")
        (data / name).write_text("\r\n".join([*rows, "broken"]) + "\r\n", encoding="utf-8")
    (data / "vader_lexicon.txt").write_text("good\t2\nbad\t-2\n", encoding="utf-8")
    monkeypatch.setattr(job, "fetch", lambda say: data)
    monkeypatch.setattr(job, "MODEL", str(tiny_encoder(tmp_path / "model")))
    return tmp_path


PLAN = job.Plan(train_rows=40, test_rows=20, epochs={"features": None, "plain": 1, "ulmfit": 2})


def test_the_job_from_beginning_to_end_and_again(small_world):
    out, said = small_world / "a folder", []
    found = job.run(out, say=said.append, plan=PLAN)
    assert set(found.accuracy) == {"lexicon", "features", "plain", "ulmfit"}
    assert all(set(scores) == set(job.DOMAINS) for scores in found.accuracy.values())
    assert found.accuracy["lexicon"]["tweets"] == 1.0
    assert len(found.answers) == 6
    assert json.loads((out / "demo.json").read_bytes())["accuracy"] == found.accuracy
    results = job.Results.load(out / "results.json")
    assert [c.name for c in results.comparison if c.chosen] == ["plain"]
    assert "broken" not in (out / "data" / "train.csv").read_text(encoding="utf-8")
    assert any("line 91" in line for line in said)
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "editorials" in page
    assert str(small_world) not in page

    weights = (out / "plain" / "model.safetensors").stat().st_mtime_ns
    (out / job.SENTENCES_FILE).write_text("just this one\n", encoding="utf-8")
    again = job.run(out, say=said.append, plan=PLAN)
    assert [answer.text for answer in again.answers] == ["just this one"]
    assert again.accuracy == found.accuracy
    assert (out / "plain" / "model.safetensors").stat().st_mtime_ns == weights


def test_an_interrupted_job_goes_on(small_world):
    class Interrupt(Callback):
        def on_step(self, step):
            raise KeyboardInterrupt

    out = small_world / "out"
    with pytest.raises(KeyboardInterrupt):
        job.run(out, say=lambda line: None, plan=PLAN, watchers=lambda: [Interrupt()])
    assert job.run(out, say=lambda line: None, plan=PLAN).accuracy["ulmfit"]
