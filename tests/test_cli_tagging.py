"""`moduformer train --task tag`, `predict` and `evaluate` from beginning to end on a tiny encoder."""

import json
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
from seqeval.metrics import classification_report, f1_score, precision_score, recall_score
from test_tasks_token_classifier import sentences
from tiny_models import tiny_encoder
from typer.testing import CliRunner

from moduformer.cli.app import app
from moduformer.errors import TrainingError
from moduformer.tasks.tagging_run import TaggingRun, TaggingSettings
from moduformer.tasks.token_classifier import TokenClassifier
from moduformer.tasks.whole_run import carry_out
from moduformer.train.callbacks import Callback

FAST = ["--epochs", "2", "--learning-rate", "0.005", "--batch-size", "16"]


def run(*words: str, status: int = 0):
    found = CliRunner().invoke(app, [str(word) for word in words])
    assert found.exit_code == status, (found.output, found.exception)
    return found


def written(path: Path, rows: int, seed: int = 0) -> Path:
    lines = [json.dumps({"tokens": X, "ner_tags": y}) for X, y in zip(*sentences(rows, seed=seed))]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    torch.set_num_threads(1)
    place = tmp_path_factory.mktemp("tagging")
    tiny_encoder(place / "encoder")
    written(place / "train.jsonl", 160)
    written(place / "test.jsonl", 40, seed=9)
    return place


@pytest.fixture(scope="module")
def trained(place: Path) -> Path:
    run("train", place / "train.jsonl", "--task", "tag", "--model", place / "encoder", "--out", place / "run", *FAST)
    return place / "run"


def rows_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_metrics_are_what_seqeval_counts_on_the_written_predictions(trained: Path):
    metrics = json.loads((trained / "metrics.json").read_text())
    rows = rows_of(trained / "predictions.jsonl")
    assert metrics["rows"] == len(rows) == 16
    true, found = [row["tags"] for row in rows], [row["predicted"] for row in rows]
    for name, score in (("f1", f1_score), ("precision", precision_score), ("recall", recall_score)):
        assert metrics[name] == pytest.approx(score(true, found))
    theirs = classification_report(true, found, output_dict=True)
    for kind in metrics["per_type"]:
        assert kind["f1"] == pytest.approx(theirs[kind["name"]]["f1-score"])
    assert metrics["f1"] > 0.5


def test_the_folder_holds_what_others_read(trained: Path):
    settings = json.loads((trained / "settings.json").read_text())
    assert settings["task"] == "tag"
    assert settings["columns"] == {"text": "tokens", "label": "ner_tags"}
    assert settings["rows"] == {"train": 144, "evaluation": 16, "refused": 0}
    card = (trained / "README.md").read_text()
    assert card.startswith("---\n")
    assert 'pipeline_tag: "token-classification"' in card
    assert "mf.TokenClassifier.load" in card
    assert str(trained.parent) not in card
    assert not (trained / "checkpoints").exists()
    config = json.loads((trained / "config.json").read_text())
    assert config["architectures"] == ["BertForTokenClassification"]
    assert TokenClassifier.load(trained).classes_.tolist() == [config["id2label"][str(i)] for i in range(5)]


def test_the_page_is_whole_and_loads_nothing(trained: Path):
    page = (trained / "report.html").read_text()
    opened: list[str] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag, attrs):
            assert tag not in ("script", "img", "link", "iframe")
            if tag not in ("meta", "br", "!doctype"):
                opened.append(tag)

        def handle_endtag(self, tag):
            assert opened.pop() == tag

    Reader().feed(page)
    assert opened == []
    assert "default-src 'none'" in page
    assert "http" not in page.replace("http-equiv", "")


def test_predict_and_evaluate(trained: Path, place: Path):
    found = run("predict", trained, "a good film was bad", " ")
    lines = [json.loads(line) for line in found.stdout.splitlines()]
    text = lines[0]["text"]
    assert all(text[e["start"] : e["end"]] == e["text"] for e in lines[0]["entities"])
    assert list(lines[0]["entities"][0]) == ["type", "start", "end", "text", "score"]
    assert lines[1]["error"] == "there is no text"
    tagged = [json.loads(line) for line in run("predict", trained, "--file", place / "test.jsonl").stdout.splitlines()]
    assert [row["tokens"] for row in tagged] == [row["tokens"] for row in rows_of(place / "test.jsonl")]
    measured = json.loads(run("evaluate", trained, place / "test.jsonl", "--json").stdout)
    true = [row["ner_tags"] for row in rows_of(place / "test.jsonl")]
    assert measured["f1"] == pytest.approx(f1_score(true, [row["tags"] for row in tagged]))
    shown = run("evaluate", trained, place / "test.jsonl").stdout
    assert f"{measured['f1']:.4f}" in shown
    assert "PER" in shown


def test_a_dry_run_writes_nothing(place: Path, tmp_path: Path):
    out = tmp_path / "out"
    given = ["train", place / "train.jsonl", "--task", "tag", "--model", place / "encoder", "--out", out, "--dry-run"]
    facts = json.loads(run(*given, "--json").stdout)
    assert facts["data"]["types"]["PER"]["train"] > 50
    assert facts["tokens"]["dropped"] == 0
    assert facts["estimate"]["seconds"] > 0
    assert not out.exists()
    assert "types" in run(*given).stdout


def test_texts_with_spans_that_do_not_align(place: Path, tmp_path: Path):
    rows = [{"text": f"{x} the happy film", "label": [[len(x) + 5, len(x) + 8, "PER"]]} for x in "abcdefghijkl"]
    (tmp_path / "d.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = run("train", tmp_path / "d.jsonl", "--task", "tag", "--model", place / "encoder", "--epochs", "1", "--out",
                tmp_path / "run", "--recipe", "lora", "--json")  # fmt: skip
    assert "do not align" in found.stderr
    odd = rows_of(tmp_path / "run" / "misaligned.jsonl")
    assert len(odd) == 11
    assert odd[0]["text"] == "hap"
    assert odd[0]["nearest_text"] == "happy"
    assert (tmp_path / "run" / "adapter" / "adapter_config.json").is_file()
    assert "spans" in rows_of(tmp_path / "run" / "predictions.jsonl")[0]
    assert json.loads(found.stdout)["metrics"]["rows"] == 1


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (["--task", "tga"], 2, "not offered"),
        (["--task", "tag", "--few-shot", "3"], 2, "has no meaning for --task tag"),
        (["--task", "tag", "--merge", "max"], 2, "has no meaning for --task tag"),
        (["--task", "tag", "--label", "nothing"], 1, "no column 'nothing'"),
        (["--task", "tag", "--recipe", "features"], 1, "for whole texts"),
    ],
)
def test_what_cannot_be_leaves_no_folder(place: Path, tmp_path: Path, words: list[str], status: int, says: str):
    given = ["train", place / "train.jsonl", "--model", place / "encoder", "--out", tmp_path / "out", *words]
    found = run(*given, status=status)
    assert says in " ".join(found.stderr.replace("│", " ").split())
    assert not (tmp_path / "out").exists()


def test_an_interrupted_run_goes_on_to_the_same_weights(place: Path, tmp_path: Path):
    settings = TaggingSettings(
        str(place / "train.jsonl"), model=str(place / "encoder"), epochs=3, learning_rate=5e-3, batch_size=16
    )

    class Stop(Callback):
        def on_evaluate(self, evaluation):
            self.seen = getattr(self, "seen", 0) + 1
            if self.seen == 2:
                raise KeyboardInterrupt

    carry_out(TaggingRun(settings), tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        carry_out(TaggingRun(settings), tmp_path / "cut", callbacks=[Stop()])
    assert not (tmp_path / "cut" / "metrics.json").exists()
    finished = carry_out(TaggingRun(settings), tmp_path / "cut", resume=True)
    assert finished.complete
    assert finished.history is not None
    assert finished.history.resumed_from
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "cut")]
    assert weights[0] == weights[1]
    with pytest.raises(TrainingError, match="nothing to resume"):
        carry_out(TaggingRun(settings), tmp_path / "cut", resume=True)
