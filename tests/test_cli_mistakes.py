"""What people do wrong: each mistake ends with one paragraph that names it, and leaves nothing behind."""

import signal
import subprocess
from pathlib import Path

import pytest
from test_cli import ENVIRONMENT, PYTHON, invoke, write_csv
from tiny_models import reviews, tiny_encoder

import moduformer as mf
from moduformer.errors import CheckpointError, TrainingError
from moduformer.train.settings import Settings


@pytest.fixture(scope="module")
def encoder(tmp_path_factory) -> Path:
    return tiny_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return write_csv(tmp_path_factory.mktemp("data") / "reviews.csv", *reviews(40))


def refused(run, *says: str, status: int = 1) -> None:
    assert run.exit_code == status, (run.exit_code, run.stderr, run.exception)
    assert run.stdout == ""
    assert "Traceback" not in run.stderr
    for words in says:
        assert words in run.stderr


# Values that cannot be -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("device", ["cuda:99", "gpu", "tpu0", "meta", ""])
def test_a_device_that_is_not_there_is_named(encoder, data, tmp_path, device):
    out = tmp_path / "runs" / "out"
    run = invoke("train", data, "--model", encoder, "--device", device, "--epochs", 1, "--out", out)
    refused(run, repr(device), "cpu")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(CheckpointError, match="device"):
        mf.load(encoder, device=device)


def test_a_seed_beyond_what_generators_take_is_refused():
    for command in ("train", "generate"):
        refused(invoke(command, "x", "--seed", 10**20), "--seed", status=2)
    with pytest.raises(TrainingError, match="seed"):
        Settings(seed=2**32)


# Nothing is left by what never began ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--learning-rate", "1e30"], "Lower the learning rate"),
        (["--merge", "median"], "median"),
        (["--class-weight", "heavy"], "heavy"),
        (["--max-length", "1000"], "max_length"),
    ],
)
def test_a_run_that_fails_early_leaves_no_folder(encoder, data, tmp_path, options, says):
    refused(
        invoke("train", data, "--model", encoder, "--epochs", 1, "--out", tmp_path / "a" / "b", *options),
        says,
    )
    assert list(tmp_path.iterdir()) == []


def test_one_class_leaves_no_folder_but_an_empty_one_that_was_there_stays(encoder, tmp_path):
    texts, _ = reviews(20)
    path = write_csv(tmp_path / "one.csv", texts, ["pos"] * 20)
    out = tmp_path / "out"
    out.mkdir()
    refused(invoke("train", path, "--model", encoder, "--out", out), "'pos'", "two classes")
    assert list(out.iterdir()) == []


def test_ctrl_c_before_the_first_epoch_promises_nothing(encoder, tmp_path):
    path, out = write_csv(tmp_path / "many.csv", *reviews(4000, longest=40)), tmp_path / "out"
    arguments = ["train", path, "--model", encoder, "--batch-size", 2, "--out", out]
    run = subprocess.Popen(
        [PYTHON, "-c", "from moduformer.cli import main; main()", *map(str, arguments)],
        env=ENVIRONMENT, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    for line in run.stderr:
        if line.startswith("step 1 "):
            break
    run.send_signal(signal.SIGINT)
    _, errors = run.communicate(timeout=60)
    assert run.returncode == 130
    assert "--resume" not in errors
    assert not out.exists()


# Tables --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["train", "explore", "predict", "evaluate"])
def test_a_header_without_rows_has_no_rows(encoder, trained, tmp_path, command):
    path = tmp_path / "empty.csv"
    path.write_text("text,label\n")
    arguments = {"predict": [trained, "--file", path], "evaluate": [trained, path]}.get(command, [path])
    refused(invoke(command, *arguments), "no rows", "text, label")


def test_why_no_row_can_be_held_out_is_said(encoder, tmp_path):
    texts, _ = reviews(20)
    path = write_csv(tmp_path / "ids.csv", texts, [f"c{i}" for i in range(20)])
    refused(invoke("train", path, "--model", encoder), "20 classes", "column of labels")
    (tmp_path / "nul.csv").write_bytes(b"text,label\nab\0c,pos\ngood,neg\nfine,pos\n")
    refused(invoke("train", tmp_path / "nul.csv", "--model", encoder), "line 2", "NUL")


def test_labels_and_numbers_are_not_taken_for_texts(tmp_path):
    path = write_csv(tmp_path / "no-text.csv", range(20), ["pos", "neg"] * 10, ("id", "label"))
    refused(invoke("explore", path), "no column holds texts", "id, label")


def test_a_file_of_one_broken_object_says_what_broke(tmp_path):
    path = tmp_path / "rows.json"
    path.write_text('{"rows": [1, 2')
    refused(invoke("explore", path), "rows.json", "broken JSON")


def test_an_empty_separator_is_refused(data, encoder):
    refused(invoke("train", data, "--model", encoder, "--separator", ""), "separator")


@pytest.fixture(scope="module")
def trained(encoder, data, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    texts, labels = reviews(16)
    mf.TextClassifier(encoder, epochs=1).fit(texts, labels).save(folder)
    return folder
