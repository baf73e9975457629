"""`moduformer train --task answer`, `predict` and `evaluate` from beginning to end on a tiny encoder."""

import json
import re
import string
from collections import Counter
from pathlib import Path

import pytest
import torch
from test_tasks_question_answerer import QUESTION, lessons
from tiny_models import tiny_encoder
from typer.testing import CliRunner

import moduformer as mf
from moduformer.cli.app import app
from moduformer.tasks.answering_run import AnsweringScores, measure
from moduformer.train.questions import read_questions

FAST = ["--epochs", "3", "--learning-rate", "0.005", "--batch-size", "16"]


def run(*words: str, status: int = 0):
    found = CliRunner().invoke(app, [str(word) for word in words])
    assert found.exit_code == status, (found.output, found.exception)
    return found


def nested(path: Path, rows: int, seed: int = 0, without: float = 0.0) -> Path:
    """A file in SQuAD's form with an article for every four questions."""
    articles = []
    for i, ((question, context), answer) in enumerate(zip(*lessons(rows, seed, without=without))):
        asked = {"id": f"q{i}", "question": question, "answers": [answer] if answer else []}
        paragraph = {"context": context, "qas": [asked | {"is_impossible": answer is None}]}
        if i % 4 == 0:
            articles.append({"title": f"article {i // 4}", "paragraphs": []})
        articles[-1]["paragraphs"].append(paragraph)
    path.write_text(json.dumps({"version": "v2.0", "data": articles}), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    torch.set_num_threads(1)
    place = tmp_path_factory.mktemp("answering")
    tiny_encoder(place / "encoder")
    nested(place / "train.json", 160)
    nested(place / "dev.json", 32, seed=9)
    return place


@pytest.fixture(scope="module")
def trained(place: Path) -> Path:
    run("train", place / "train.json", "--task", "answer", "--model", place / "encoder", "--evaluation",
        place / "dev.json", "--out", place / "run", *FAST)  # fmt: skip
    return place / "run"


def as_the_script_does(data: dict, predictions: dict[str, str]) -> tuple[float, float]:
    """Exact match and F1 of SQuAD v1.1, from its paper's words (Rajpurkar et al. 2016, section 6.1)."""

    def form(text):
        text = "".join(letter for letter in text.lower() if letter not in string.punctuation)
        return re.sub(r"\b(a|an|the)\b", " ", text).split()

    def f1(guess, right):
        shared = sum((Counter(guess) & Counter(right)).values())
        return 2 * shared / (len(guess) + len(right)) if shared else 0.0

    asked = [row for article in data["data"] for paragraph in article["paragraphs"] for row in paragraph["qas"]]
    pairs = [(form(predictions[row["id"]]), [form(answer["text"]) for answer in row["answers"]]) for row in asked]
    exact = sum(guess in right for guess, right in pairs)
    return 100 * exact / len(pairs), 100 * sum(max(f1(guess, one) for one in right) for guess, right in pairs) / len(
        pairs
    )


def test_metrics_are_what_the_script_counts_on_the_written_predictions(trained: Path, place: Path):
    metrics = json.loads((trained / "metrics.json").read_text())
    predictions = json.loads((trained / "predictions.json").read_text())
    exact, f1 = as_the_script_does(json.loads((place / "dev.json").read_text()), predictions)
    assert metrics["rows"] == len(predictions) == 32
    assert metrics["exact_match"] == pytest.approx(exact)
    assert metrics["f1"] == pytest.approx(f1)
    assert metrics["metric"] == "squad"
    assert metrics["f1"] > 50
    rows = [json.loads(line) for line in (trained / "answers.jsonl").read_text().splitlines()]
    assert {row["id"]: row["predicted"] for row in rows} == predictions


def test_the_folder_holds_what_others_read(trained: Path):
    settings = json.loads((trained / "settings.json").read_text())
    assert settings["task"] == "answer"
    assert settings["rows"] == {"train": 160, "evaluation": 32, "refused": 0}
    card = (trained / "README.md").read_text()
    assert card.startswith("---\n")
    assert 'pipeline_tag: "question-answering"' in card
    assert "mf.QuestionAnswerer.load" in card
    assert str(trained.parent) not in card
    page = (trained / "report.html").read_text()
    assert "default-src 'none'" in page
    assert not (trained / "checkpoints").exists()
    assert json.loads((trained / "config.json").read_text())["architectures"] == ["BertForQuestionAnswering"]


def test_predict_and_evaluate(trained: Path, place: Path):
    context = "the film was lovely and so on ."
    lines = run("predict", trained, QUESTION, context, QUESTION, " ").stdout.splitlines()
    first, second = map(json.loads, lines)
    assert context[first["start"] : first["end"]] == first["answer"]
    assert first["answer"] == mf.QuestionAnswerer.load(trained).predict([(QUESTION, context)])[0]
    assert "error" in second
    found = [json.loads(line) for line in run("predict", trained, "--file", place / "dev.json").stdout.splitlines()]
    predictions = json.loads((trained / "predictions.json").read_text())
    assert {row["id"]: row["answer"] for row in found} == predictions
    table = place / "asked.csv"
    table.write_text(f"question,context\n{QUESTION},{context}\n", encoding="utf-8")
    row = json.loads(run("predict", trained, "--file", table).stdout)
    assert (row["answer"], row["id"]) == (first["answer"], "1")
    measured = json.loads(run("evaluate", trained, place / "dev.json", "--json").stdout)
    assert measured["f1"] == pytest.approx(json.loads((trained / "metrics.json").read_text())["f1"])
    assert f"{measured['f1']:.2f}" in run("evaluate", trained, place / "dev.json").stdout


def test_a_table_with_faults_and_questions_without_an_answer(place: Path, tmp_path: Path):
    X, y = lessons(80, seed=3, without=0.3)
    rows = [{"Q": q, "text": c, "answers": a, "title": f"t{i % 20}"} for i, ((q, c), a) in enumerate(zip(X, y))]
    rows[0]["answers"] = {"text": "nowhere", "answer_start": 3}
    (tmp_path / "d.jsonl").write_text("\n".join(map(json.dumps, rows)))
    given = ["train", tmp_path / "d.jsonl", "--task", "answer", "--pair", "Q", "--model", place / "encoder"]
    facts = json.loads(run(*given, "--out", tmp_path / "run", "--dry-run", "--json").stdout)
    assert facts["data"]["rows_refused"] == 1
    assert facts["data"]["metric"] == "squad_v2"
    assert facts["tokens"]["dropped"] == 0
    assert not (tmp_path / "run").exists()
    assert "what training would do" in run(*given, "--out", tmp_path / "run", "--dry-run").stdout
    found = run(*given, *FAST, "--recipe", "lora", "--few-shot", "60", "--out", tmp_path / "run", "--json")
    assert "'nowhere' is not in the context" in found.stderr
    metrics = json.loads(found.stdout)["metrics"]
    assert metrics["metric"] == "squad_v2"
    assert metrics["unanswerable"]["examples"] + metrics["answerable"]["examples"] == metrics["rows"]
    settings = json.loads((tmp_path / "run" / "settings.json").read_text())
    assert settings["columns"] == {"pair": "Q", "text": "text", "label": "answers"}
    assert settings["rows"]["train"] == 60
    assert (tmp_path / "run" / "adapter" / "adapter_config.json").is_file()
    line = json.loads(run("predict", tmp_path / "run", QUESTION, "the film .").stdout)
    assert 0 <= line["null_score"] <= 1
    assert json.loads(run("evaluate", tmp_path / "run", tmp_path / "d.jsonl", "--json").stdout)["rows"] == 79 + 1


def test_wrong_answers_are_shown_with_the_surest_first(trained: Path, place: Path):
    answerer = mf.QuestionAnswerer.load(trained)
    data = read_questions(place / "dev.json")
    measured = measure(answerer, data)
    swapped = AnsweringScores(data, measured.scores, [*measured.predicted[1:], measured.predicted[0]], "squad")
    wrong = swapped.wrong()
    scores = [swapped.predicted[i].best.score for i in wrong]
    assert len(wrong) > 3
    assert scores == sorted(scores, reverse=True)
    right = [set(" ".join(texts).split()) for texts in data.texts]
    for i in range(len(data)):
        assert (i in wrong) == (not set(swapped.predicted[i].best.text.split()) & right[i] - {"a", "the"})
    assert len(swapped.worst(2)) == 2
    assert "right: " in swapped.worst(1)[0]


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (["--merge", "max"], 2, "has no meaning for --task answer"),
        (["--class-weight", "balanced"], 2, "has no meaning for --task answer"),
        (["--recipe", "features"], 1, "for whole texts"),
        (["--evaluation", "nothing.json"], 1, "no such file"),
    ],
)
def test_what_cannot_be_leaves_no_folder(place: Path, tmp_path: Path, words: list[str], status: int, says: str):
    given = ["train", place / "train.json", "--task", "answer", "--model", place / "encoder"]
    found = run(*given, "--out", tmp_path / "out", *words, status=status)
    assert says in " ".join(found.stderr.replace("│", " ").split())
    assert not (tmp_path / "out").exists()


def test_a_question_needs_a_context(trained: Path):
    found = run("predict", trained, "who?", status=2)
    assert "a question and its context" in " ".join(found.stderr.replace("│", " ").split())
