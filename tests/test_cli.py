"""The command line: what it prints where, what it writes, how it fails, and what it does not load."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tiny_models import reviews, tiny_encoder
from typer.testing import CliRunner

import moduformer as mf
from moduformer.cli.app import app

PYTHON = sys.executable
HEARING = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
"""What the shell's background jobs, which these tests may run in, do not do by themselves: hear Ctrl-C."""
ENVIRONMENT = {**os.environ, "MODUFORMER_SOURCES": "none", "OMP_NUM_THREADS": "1", "COLUMNS": "200"}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return tiny_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    for name, rows, seed in (("train", 120, 0), ("test", 30, 1)):
        write_csv(folder / f"{name}.csv", *reviews(rows, seed=seed))
    return folder


@pytest.fixture(scope="module")
def trained(encoder, data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "reviews"
    arguments = ["--epochs", "4", "--learning-rate", "5e-3", "--batch-size", "16", "--out", str(folder), "--json"]
    run = invoke("train", data, "--model", encoder, *arguments)
    assert run.exit_code == 0, run.stderr
    return folder, run


def write_csv(path: Path, texts, labels, columns=("text", "label")) -> Path:
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([columns, *zip(texts, labels)])
    return path


def invoke(*arguments, **more):
    return CliRunner(env={"COLUMNS": "200"}).invoke(app, [str(argument) for argument in arguments], **more)


def program(*arguments, **more):
    return subprocess.run(
        [PYTHON, "-c", "from moduformer.cli import main; main()", *map(str, arguments)],
        capture_output=True, text=True, env=ENVIRONMENT, timeout=120, **more,
    )  # fmt: skip


# What is loaded -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "code",
    ["import moduformer", "import moduformer.cli.app", "from moduformer.cli import main; main()"],
)
def test_import_and_help_load_nothing_heavy(code):
    heavy = (
        "torch",
        "pandas",
        "numpy",
        "sklearn",
        "pyarrow",
        "transformers",
        "huggingface_hub",
        "jinja2",
        "tokenizers",
    )
    watch = f"atexit.register(lambda: print('LOADED', [m for m in {heavy} if m in sys.modules]))"
    script = f"import atexit, sys\n{watch}\n{code}"
    for arguments in ([], ["train", "--help"]) if "main" in code else ([],):
        command = [PYTHON, "-c", script, *(arguments or ["--help"])]
        run = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=60)
        assert run.returncode == 0, run.stderr
        assert run.stdout.strip().endswith("LOADED []")


def test_every_command_has_help_and_the_version_is_printed():
    for command in ("train", "predict", "evaluate", "generate", "chat", "explore", "show", "diff", "convert"):
        run = invoke(command, "--help")
        assert run.exit_code == 0
        assert "Usage" in run.stdout
    assert invoke("--version").stdout == f"moduformer {mf.__version__}\n"


# Training -----------------------------------------------------------------------------------------------------------


def test_train_writes_a_whole_folder_and_prints_only_json(trained):
    folder, run = trained
    printed = json.loads(run.stdout)
    assert printed["folder"] == str(folder)
    assert printed["metrics"]["accuracy"] > 0.9
    assert printed["metrics"]["rows"] == 30
    names = {path.name for path in folder.iterdir()}
    assert names >= {
        "model.safetensors", "config.json", "tokenizer.json", "classifier.json", "metrics.json", "results.json",
        "README.md", "report.html", "log.csv", "settings.json",
    }  # fmt: skip
    assert "checkpoints" not in names
    assert json.loads((folder / "metrics.json").read_text()) == printed["metrics"]
    assert "epoch 4" in run.stderr


def test_the_folder_names_no_folder_of_this_machine(trained, data, encoder):
    folder, _ = trained
    for name in ("README.md", "report.html", "results.json"):
        text = (folder / name).read_text()
        assert str(data) not in text
        assert str(encoder) not in text
        assert str(folder) not in text


def test_without_an_evaluation_file_a_tenth_is_held_out(encoder, data, tmp_path):
    run = invoke("train", data / "train.csv", "--model", encoder, "--epochs", 1, "--out", tmp_path / "out", "--json")
    assert json.loads(run.stdout)["metrics"]["rows"] == 12
    settings = json.loads((tmp_path / "out" / "settings.json").read_text())
    assert settings["rows"] == {"train": 108, "evaluation": 12, "refused": 0}
    assert settings["recipe"]["settings"]["epochs"] == 1
    assert settings["columns"] == {"text": "text", "pair": None, "labels": ["label"]}


def test_few_shot_trains_on_few_rows(encoder, data, tmp_path):
    options = ["--few-shot", 4, "--recipe", "features", "--evaluation", data / "test.csv"]
    run = invoke("train", data / "train.csv", "--model", encoder, *options, "--out", tmp_path / "out", "--json")
    assert run.exit_code == 0, run.stderr
    assert json.loads((tmp_path / "out" / "settings.json").read_text())["rows"]["train"] == 8


def test_few_labels_and_many_texts(encoder, data, tmp_path):
    options = ["--few-shot", 4, "--epochs", 1, "--unlabelled", data / "train.csv", "--evaluation", data / "test.csv"]
    run = invoke("train", data / "train.csv", "--model", encoder, *options, "--out", tmp_path / "out")
    assert run.exit_code == 0, run.stderr
    assert "texts without labels to adapt to" in run.stderr
    assert (tmp_path / "out" / "adaptation" / "log.csv").is_file()


def test_lora_also_writes_the_adapter(encoder, data, tmp_path):
    out = tmp_path / "out"
    run = invoke("train", data, "--model", encoder, "--recipe", "lora", "--epochs", 1, "--out", out)
    assert run.exit_code == 0, run.stderr
    assert {path.name for path in (out / "adapter").iterdir()} >= {"adapter_config.json", "adapter_model.safetensors"}
    merged = mf.TextClassifier.load(out).predict_proba(["good film"])
    peft = pytest.importorskip("peft")
    transformers = pytest.importorskip("transformers")
    base = transformers.AutoModelForSequenceClassification.from_pretrained(encoder, num_labels=2)
    model = peft.PeftModel.from_pretrained(base, out / "adapter").eval()
    inputs = transformers.AutoTokenizer.from_pretrained(out)(["good film"], return_tensors="pt")
    assert model(**inputs).logits.softmax(-1).detach().numpy() == pytest.approx(merged, abs=1e-5)


def test_bad_rows_are_counted_and_the_rest_is_used(encoder, tmp_path):
    texts, labels = reviews(40)
    texts[5], labels[8] = "", ""
    run = invoke(
        "train",
        write_csv(tmp_path / "some.csv", texts, labels),
        "--model",
        encoder,
        "--epochs",
        1,
        "--out",
        tmp_path / "o",
    )
    assert run.exit_code == 0, run.stderr
    assert "2 rows cannot be used" in run.stderr
    assert "line 7" in run.stderr


def test_a_folder_with_something_in_it_is_not_written_over(encoder, data, trained, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    run = invoke("train", data, "--model", encoder, "--out", tmp_path)
    assert run.exit_code == 1
    assert "not empty" in run.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    again = invoke("train", data, "--model", encoder, "--out", trained[0], "--resume")
    assert again.exit_code == 1
    assert "finished" in again.stderr


def test_a_dry_run_tells_the_plan_and_writes_nothing(encoder, data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = invoke("train", data, "--model", encoder, "--dry-run", "--json", "--epochs", 2)
    assert run.exit_code == 0, run.stderr
    facts = json.loads(run.stdout)
    assert facts["data"]["rows_used"] == 120
    assert facts["data"]["classes"] == {"neg": {"train": 60, "evaluation": 15}, "pos": {"train": 60, "evaluation": 15}}
    assert facts["tokens"]["windows"] == 120
    assert facts["estimate"]["steps"] == 8
    assert facts["estimate"]["seconds"] > 0
    assert list(tmp_path.iterdir()) == []
    plain = invoke("train", data, "--model", encoder, "--dry-run")
    assert plain.exit_code == 0
    assert "rows to train on" in plain.stdout


def test_a_terminated_run_goes_on_to_the_same_weights(encoder, data, tmp_path):
    options = ["--model", encoder, "--epochs", 12, "--learning-rate", "1e-3", "--batch-size", 16]
    whole = program("train", data, *options, "--out", tmp_path / "whole")
    assert whole.returncode == 0, whole.stderr
    out = tmp_path / "cut"
    arguments = [PYTHON, "-c", "from moduformer.cli import main; main()", "train", data, *options, "--out", out]
    cut = subprocess.Popen(list(map(str, arguments)), env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 240
    while not (out / "checkpoints" / "latest.json").exists():
        assert time.monotonic() < deadline
        assert cut.poll() is None, cut.stderr.read()
        time.sleep(0.02)
    cut.send_signal(signal.SIGTERM)
    _, errors = cut.communicate(timeout=60)
    assert cut.returncode == 3, errors
    assert "--resume" in errors
    assert not (out / "model.safetensors").exists()
    resumed = program("train", data, *options, "--out", out, "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert (out / "model.safetensors").read_bytes() == (tmp_path / "whole" / "model.safetensors").read_bytes()


def test_ctrl_c_ends_without_a_traceback(encoder, data, tmp_path):
    options = ["--model", encoder, "--epochs", 2000, "--batch-size", 8, "--out", tmp_path / "out"]
    arguments = [PYTHON, "-c", f"{HEARING}; from moduformer.cli import main; main()", "train", data, *options]
    run = subprocess.Popen(list(map(str, arguments)), env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)
    for line in run.stderr:
        # What the first epoch reached is saved by then.
        if line.startswith("epoch 2:"):
            break
    run.send_signal(signal.SIGINT)
    _, errors = run.communicate(timeout=60)
    assert run.returncode == 130
    assert "Traceback" not in errors
    assert "--resume" in errors


# Predicting, evaluating ---------------------------------------------------------------------------------------------


def test_predict_prints_one_json_line_a_text(trained):
    run = invoke("predict", trained[0], "good lovely film", "awful \u2028 dull")
    lines = [json.loads(line) for line in run.stdout.strip().split("\n")]
    assert [line["label"] for line in lines] == ["pos", "neg"]
    assert lines[0]["text"] == "good lovely film"
    assert lines[0]["score"] == max(lines[0]["scores"].values()) > 0.5
    assert set(lines[0]["scores"]) == {"neg", "pos"}


def test_predict_reads_tables_lines_and_standard_input(trained, tmp_path):
    texts, labels = reviews(6)
    texts[3] = ""
    table = invoke("predict", trained[0], "--file", write_csv(tmp_path / "a.csv", texts, labels))
    lines = [json.loads(line) for line in table.stdout.strip().split("\n")]
    assert [line["row"] for line in lines] == [1, 2, 3, 4, 5, 6]
    assert lines[3]["label"] is None
    assert "1 rows have no text" in table.stderr
    (tmp_path / "a.txt").write_text("good film\nbad film\n", encoding="utf-8")
    lines = invoke("predict", trained[0], "--file", tmp_path / "a.txt").stdout.strip().split("\n")
    assert len(lines) == 2
    piped = invoke("predict", trained[0], "--file", "-", input="good film\nbad film\nlovely\n")
    assert [json.loads(line)["label"] for line in piped.stdout.strip().split("\n")] == ["pos", "neg", "pos"]


def test_predict_shows_the_windows_of_a_long_text(trained):
    run = invoke("predict", trained[0], " ".join(["good"] * 200), "--windows")
    answer = json.loads(run.stdout)
    assert len(answer["windows"]) > 2
    assert answer["windows"][0]["start"] == 0


def test_evaluate_shows_metrics_confusion_and_errors(trained, data, tmp_path):
    texts, labels = reviews(20, seed=4)
    labels[3] = "pos" if labels[3] == "neg" else "neg"
    path = write_csv(tmp_path / "test.csv", texts, labels)
    numbers = json.loads(invoke("evaluate", trained[0], path, "--json").stdout)
    assert numbers["rows"] == 20
    assert numbers["worst_errors"][0]["where"].endswith("line 5")
    assert numbers["confusion"][0][0] + numbers["confusion"][0][1] == labels.count("neg")
    shown = invoke("evaluate", trained[0], path)
    assert "confusion" in shown.stdout
    assert texts[3] in shown.stdout
    again = json.loads(invoke("evaluate", trained[0], data, "--json").stdout)
    assert again["accuracy"] == json.loads((trained[0] / "metrics.json").read_text())["accuracy"]


# Looking ------------------------------------------------------------------------------------------------------------


def test_explore_counts_and_finds_leaks(data, encoder):
    found = json.loads(invoke("explore", data, "--model", encoder, "--json").stdout)
    assert found["examples"] == 120
    assert found["tokens"]["longest"] > 5
    assert invoke("explore", data / "train.csv").exit_code == 0


def test_show_and_diff_need_no_weights(encoder, trained, tmp_path):
    published = json.loads(invoke("show", "bert-base-uncased", "--json").stdout)
    assert published["parameters"] == 109_482_240
    assert published["weight_bytes"]["int4"] * 8 == published["weight_bytes"]["fp32"]
    (tmp_path / "config.json").write_text((encoder / "config.json").read_text())
    assert "2 layers" in invoke("show", tmp_path).stdout
    assert re.search(r"width +768 +32", invoke("diff", "bert-base-uncased", encoder).stdout)
    assert invoke("diff", encoder, encoder).stdout.strip() == "no difference"


def test_convert_writes_a_folder_that_loads(encoder, tmp_path):
    run = invoke("convert", encoder, tmp_path / "copy", "--dtype", "bfloat16")
    assert run.exit_code == 0, run.stderr
    assert json.loads((tmp_path / "copy" / "config.json").read_text())["dtype"] == "bfloat16"
    assert mf.load(tmp_path / "copy").spec == mf.load(encoder).spec
    assert invoke("convert", encoder, tmp_path / "copy").exit_code == 1


# Failing ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["train", "absent.csv"], "absent.csv"),
        (["train", "{data}", "--model", "absent/folder/x"], "absent"),
        (["train", "{data}", "--text", "txt"], "txt"),
        (["train", "{data}", "--model", "{encoder}", "--recipe", "magic", "--out", "{out}"], "magic"),
        (["train", "{data}", "--model", "{encoder}", "--class-weight", "heavy", "--out", "{out}"], "heavy"),
        (["predict", "absent", "text"], "absent"),
        (["predict", "{encoder}", "text"], "classif"),
        (["evaluate", "{encoder}", "{data}"], "classif"),
        (["show", "absent/folder/x"], "absent"),
        (["diff", "bert-base-uncased", "./absent"], "absent"),
        (["explore", "{encoder}"], "train"),
    ],
)
def test_errors_are_one_paragraph_and_a_status(arguments, says, data, encoder, tmp_path, monkeypatch):
    places = {"data": data, "encoder": encoder, "out": tmp_path / "out"}
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MODUFORMER_SOURCES", "none")
    run = invoke(*(argument.format(**places) for argument in arguments))
    assert run.exit_code == 1
    assert run.stdout == ""
    assert "Traceback" not in run.stderr
    assert says in run.stderr
    assert "moduformer: " in run.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    "arguments",
    [["train"], ["nonsense"], ["train", "x.csv", "--seed", "-1"], ["predict", "x"], ["train", "x", "--task", "paint"]],
)
def test_wrong_use_says_how_it_is_used(arguments):
    run = invoke(*arguments)
    assert run.exit_code == 2
    assert "Usage" in run.stderr
    assert run.stdout == ""


def test_the_program_itself_shows_no_traceback():
    run = program("train", "absent.csv")
    assert run.returncode == 1
    assert run.stdout == ""
    assert run.stderr == "moduformer: absent.csv: no such file\n"


def test_a_reader_that_stops_reading_is_no_error(trained, tmp_path):
    (tmp_path / "many.txt").write_text("good film\n" * 8000)
    start = f"{PYTHON} -c 'from moduformer.cli import main; main()'"
    command = f"{start} predict {trained[0]} --file {tmp_path}/many.txt | head -1"
    run = subprocess.run(command, shell=True, capture_output=True, text=True, env=ENVIRONMENT, timeout=120)
    assert json.loads(run.stdout)["row"] == 1
    assert run.stderr == ""
