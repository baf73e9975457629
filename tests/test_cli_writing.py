"""`train --task seq2seq` and `--task lm`, and predict and evaluate on what they wrote."""

import json
from pathlib import Path

import pytest
import torch
from test_tasks_language_model import sentences
from test_train_scratch import reversals
from typer.testing import CliRunner

import moduformer as mf
from moduformer.cli.app import app
from moduformer.errors import TrainingError
from moduformer.quantize import quantize

RUNNER = CliRunner()


def run(*words: object) -> str:
    torch.set_num_threads(1)
    found = RUNNER.invoke(app, [str(word) for word in words])
    assert found.exit_code == 0, found.output
    return found.stdout


def last_step(folder: Path) -> int:
    return int((folder / "log.csv").read_text().splitlines()[-1].partition(",")[0])


def test_pairs_from_a_file_become_a_folder_that_writes(tmp_path: Path):
    data, out = tmp_path / "pairs.csv", tmp_path / "out"
    rows = [f"{source},{target}" for source, target in reversals(150, 0)]
    data.write_text("\n".join(["en,ko", *rows]) + "\n", encoding="utf-8")
    facts = json.loads(run("train", data, "--task", "seq2seq", "--epochs", 1, "--dry-run", "--json"))
    assert (facts["writes"], facts["data"]["source_column"]) == ("translation", "en")
    assert facts["estimate"]["seconds"] > 0
    assert not out.exists()
    assert {path.name for path in tmp_path.iterdir()} == {"pairs.csv"}
    assert "time, about" in run("train", data, "--task", "seq2seq", "--dry-run")
    found = json.loads(run("train", data, "--task", "seq2seq", "--epochs", 1, "--out", out, "--json"))
    assert facts["estimate"]["steps"] == last_step(out)
    written = [json.loads(line) for line in (out / "predictions.jsonl").read_text(encoding="utf-8").splitlines()]
    assert found["metrics"]["rows"] == len(written)
    assert found["metrics"]["headline"] == "bleu.value"
    assert json.loads((out / "settings.json").read_text())["task"] == "seq2seq"
    assert {"README.md", "report.html", "metrics.json", "model.safetensors"} <= {path.name for path in out.iterdir()}
    lines = [json.loads(line) for line in run("predict", out, "ga na", "da").splitlines()]
    assert [line["text"] for line in lines] == ["ga na", "da"]
    assert all(isinstance(line["written"], str) for line in lines)
    assert "bleu" in json.loads(run("evaluate", out, data, "--json"))


def test_sizes_are_those_of_the_model_from_scratch(tmp_path: Path):
    data, out = tmp_path / "pairs.csv", tmp_path / "out"
    data.write_text("\n".join(["en,ko", *(",".join(pair) for pair in reversals(60, 0))]) + "\n", encoding="utf-8")
    sizes = ["--size", "d_model=32", "--size", "d_ff=48", "--size", "layers=1", "--size", "dropout=0.0"]
    run("train", data, "--task", "seq2seq", "--epochs", 1, *sizes, "--precision", "bfloat16", "--out", out)
    spec = mf.load(out).spec
    assert (spec.dim, spec.encoder.layers, spec.encoder.pattern[0].feed_forward.width) == (32, 1, 48)
    # Half precision reaches the training from scratch too: its numbers differ from those of whole precision.
    whole = tmp_path / "whole"
    run("train", data, "--task", "seq2seq", "--epochs", 1, *sizes, "--out", whole)
    rough, exact = (mf.load(folder).state_dict() for folder in (out, whole))
    assert any(not torch.equal(rough[name], exact[name]) for name in exact)
    for wrong, said in (
        ("d_model", "d_model=128"),
        ("width=3", "its fields are layers"),
        ("layers=0", "size: layers is 0"),
        ("d_ff=1.5", "size: d_ff is 1.5"),
        ("heads=3", "not a multiple of heads 3"),
        ("dropout=1.0", "below 1"),
    ):
        failed = RUNNER.invoke(
            app, ["train", str(data), "--task", "seq2seq", "--size", wrong, "--out", str(tmp_path / "x")]
        )
        assert failed.exit_code
        assert said in failed.output + str(failed.exception)
    failed = RUNNER.invoke(app, ["train", str(data), "--size", "d_model=32"])
    assert failed.exit_code == 2
    assert "--task seq2seq or lm" in failed.output


def test_columns_name_the_direction_that_is_evaluated(tmp_path: Path):
    data, out = tmp_path / "pairs.csv", tmp_path / "out"
    data.write_text("\n".join(["en,ko", *(",".join(pair) for pair in reversals(60, 0))]) + "\n", encoding="utf-8")
    run("train", data, "--task", "seq2seq", "--epochs", 1, "--out", out)
    # As a checkpoint from elsewhere, without what a run writes beside it.
    for name in ("settings.json", "seq2seq.json"):
        (out / name).unlink()
    config = json.loads((out / "config.json").read_text())
    config["task_specific_params"] = {"translation_ko_to_en": {"prefix": "ga ga ga ga ga ga "}}
    (out / "config.json").write_text(json.dumps(config))
    found, turned = (
        json.loads(run("evaluate", out, data, "--text", first, "--label", second, "--json"))
        for first, second in (("en", "ko"), ("ko", "en"))
    )
    # BLEU counts what the target's language counts.
    assert (found["tokenizer"], turned["tokenizer"]) == ("char", "13a")
    texts = [row.split(",")[1] for row in data.read_text(encoding="utf-8").splitlines()[1:]]
    plain, marked = (
        mf.Seq2Seq.load(out).pipeline,
        mf.Seq2Seq.load(out, source_language="ko", target_language="en").pipeline,
    )
    said = plain.frame_ids("ga ga ga ga ga ga " + texts[0], plain.configured({}))
    assert marked.frame_ids(texts[0], marked.configured({})) == said


def test_two_files_of_lines_are_pairs_too(tmp_path: Path):
    pairs = reversals(40, 0)
    for name, side in (("train.de", 0), ("train.en", 1), ("test.de", 0), ("test.en", 1)):
        (tmp_path / name).write_text("\n".join(pair[side] for pair in pairs) + "\n")
    words = [
        "train",
        tmp_path / "train.de",
        "--label",
        tmp_path / "train.en",
        "--task",
        "seq2seq",
        "--dry-run",
        "--json",
    ]
    facts = json.loads(run(*words, "--evaluation", tmp_path / "test.de"))
    assert (facts["writes"], facts["data"]["rows_evaluation"]) == ("translation", 40)
    failed = RUNNER.invoke(app, ["train", str(tmp_path / "train.de"), "--task", "seq2seq", "--dry-run"])
    assert failed.exit_code
    assert "--label" in failed.output + str(failed.exception)


def test_a_text_becomes_a_language_model(tmp_path: Path):
    data, out = tmp_path / "book.txt", tmp_path / "out"
    data.write_text("\n".join(sentences(300)), encoding="utf-8")
    words = ["train", data, "--task", "lm", "--epochs", 1, "--max-length", 32, "--out", out, "--json"]
    facts = json.loads(run(*words, "--dry-run"))
    assert not out.exists()
    found = json.loads(run(*words))
    assert facts["estimate"]["steps"] == last_step(out)
    assert found["metrics"]["headline"] == "perplexity"
    assert found["metrics"]["measured_on"] == "every token"
    line = json.loads(run("predict", out, "the a film").strip())
    assert line["perplexity"] > 1
    assert json.loads(run("evaluate", out, data, "--json"))["perplexity"] > 1


def test_a_quantised_language_model_is_evaluated_but_not_trained(tmp_path: Path):
    texts = sentences(60)
    size = {"layers": 1, "d_model": 32, "d_ff": 64, "heads": 2, "dropout": 0.0, "vocab": 320}
    trained = mf.LanguageModel("bert", epochs=1, size=size, max_length=24).fit(texts)
    data, whole, coded = tmp_path / "texts.txt", trained.save(tmp_path / "whole"), tmp_path / "coded"
    data.write_text("\n".join(texts), encoding="utf-8")
    model = quantize(mf.load(whole))
    model.quantization.save(model, coded)
    # No settings of a run lie beside it: its own config says what it is for.
    found, exact = (json.loads(run("evaluate", folder, data, "--json")) for folder in (coded, whole))
    assert found["loss"] == pytest.approx(exact["loss"], rel=1e-2)
    assert found["loss"] != exact["loss"]
    with pytest.raises(TrainingError, match="quantised and cannot be trained"):
        mf.LanguageModel(coded, epochs=1).fit(texts)


@pytest.mark.parametrize(("task", "option"), [("lm", "--label"), ("seq2seq", "--stride"), ("lm", "--few-shot")])
def test_options_without_meaning_are_refused(task: str, option: str, tmp_path: Path):
    (tmp_path / "a.txt").write_text("text")
    failed = RUNNER.invoke(app, ["train", str(tmp_path / "a.txt"), "--task", task, option, "3"])
    assert failed.exit_code == 2
    assert "no meaning" in failed.output
