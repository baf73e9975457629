"""What people do wrong: each mistake ends with one paragraph that names it, and leaves nothing behind."""

import json
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from test_cli import ENVIRONMENT, HEARING, PYTHON, invoke, write_csv
from text_samples import CORPUS
from tiny_models import reviews, tiny_encoder

import moduformer as mf
from moduformer.errors import CheckpointError, ModuformerError, TrainingError
from moduformer.families import family
from moduformer.text.tokenizer import Tokenizer
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
        [PYTHON, "-c", f"{HEARING}; from moduformer.cli import main; main()", *map(str, arguments)],
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


# Characters ---------------------------------------------------------------------------------------------------------


def decoder(folder: Path) -> Path:
    """A folder with a random LLaMA of two small layers, a byte-level tokenizer and no chat template."""
    tokenizer = Tokenizer.train(CORPUS, "bpe", 400)
    config = {
        "vocab_size": tokenizer.max_id + 1, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
        "intermediate_size": 64, "max_position_embeddings": 256, "tie_word_embeddings": False,
    }  # fmt: skip
    model = mf.build(family("llama").read(config, "LlamaForCausalLM"), seed=0)
    model.tokenizer = tokenizer
    return model.save(folder)


@pytest.fixture(scope="module")
def writer(tmp_path_factory) -> Path:
    return decoder(tmp_path_factory.mktemp("writer"))


def test_bytes_that_are_no_text_on_standard_input_are_named(trained, writer, tmp_path):
    """In processes of their own, since the runner of tests decodes for itself."""
    for arguments in (["generate", "-", "--model", writer], ["predict", trained, "--file", "-"]):
        command = [PYTHON, "-c", "from moduformer.cli import main; main()", *map(str, arguments)]
        run = subprocess.run(command, input=b"good\n\xc7\xd1 film\n", capture_output=True, env=ENVIRONMENT, timeout=120)
        assert run.returncode == 1
        assert b"standard input" in run.stderr
        assert b"0xc7" in run.stderr
        assert b"Traceback" not in run.stderr


def test_an_output_that_cannot_hold_a_character_spells_it(trained, writer):
    ascii_only = {**ENVIRONMENT, "PYTHONIOENCODING": "ascii"}
    for arguments in (
        ["predict", trained, "좋은 영화 😀"],
        ["generate", "좋은 😀", "--model", writer, "--max-new-tokens", 2, "--json"],
        ["generate", "좋은 😀", "--model", writer, "--max-new-tokens", 2],
    ):
        command = [PYTHON, "-c", "from moduformer.cli import main; main()", *map(str, arguments)]
        run = subprocess.run(command, capture_output=True, text=True, env=ascii_only, timeout=120)
        assert run.returncode == 0, run.stderr
        assert run.stdout.isascii()
        if arguments[-1] != 2:
            answer = json.loads(run.stdout)
            assert "😀" in (answer.get("text") or answer.get("prompt"))


@pytest.mark.parametrize("arguments", ["explore {data}", "evaluate {trained} {data}", "explore {data} --json"])
def test_a_reader_who_leaves_and_a_full_disk(trained, data, arguments):
    command = f"{PYTHON} -c 'from moduformer.cli import main; main()' {arguments.format(data=data, trained=trained)}"
    left = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command} | true"], capture_output=True, env=ENVIRONMENT, timeout=120
    )
    assert (left.returncode, left.stderr) == (0, b"")
    with open("/dev/full", "w") as full:
        run = subprocess.run(
            ["bash", "-c", command], stdout=full, stderr=subprocess.PIPE, env=ENVIRONMENT, timeout=120, text=True
        )
    assert run.returncode == 1
    assert run.stderr.splitlines() == [
        "moduformer: the output cannot be written: No space left on device; free some space"
    ]


def test_ctrl_c_while_writing_ends_with_one_word(writer):
    program = f"{HEARING}; from moduformer.cli import main; main()"
    command = [PYTHON, "-c", program, "generate", "the fox", "--model", str(writer)]
    run = subprocess.Popen(
        [*command, "--max-new-tokens", "1000000"], env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert run.stdout.read(8)
    run.send_signal(signal.SIGINT)
    _, errors = run.communicate(timeout=60)
    assert run.returncode == 130
    assert errors.strip().endswith(b"moduformer: interrupted")
    assert b"Traceback" not in errors


# Options that contradict each other ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--num-beams", 2, "--results", 5], "--results"),
        (["--draft", "x", "--prompt-lookup", 3], "choose one"),
        (["--regex", "a", "--json-schema", "x.json"], "choose one"),
        (["--stop", ""], "--stop"),
    ],
)
def test_options_that_contradict_each_other_are_named_as_they_are_typed(options, says):
    refused(invoke("generate", "x", "--model", "absent", *options), says, status=2)


def test_a_setting_without_effect_is_said(writer):
    run = invoke("generate", "x", "--model", writer, "--max-new-tokens", 1, "--temperature", 0, "--top-p", 0.5)
    assert run.exit_code == 0, run.stderr
    assert "--top-p has no effect" in run.stderr


def test_an_unknown_quantization_is_named_and_known_ones_write(writer):
    refused(invoke("generate", "x", "--model", writer, "--quantization", "int3"), "int3", "float32")
    wanted = invoke("generate", "x", "--model", writer, "--max-new-tokens", 3, "--temperature", 0)
    for scheme in ("float32", "float16"):
        run = invoke(
            "generate", "x", "--model", writer, "--max-new-tokens", 3, "--temperature", 0, "--quantization", scheme
        )
        assert (run.exit_code, run.stdout) == (0, wanted.stdout)


@pytest.mark.parametrize("content", [b"", b'{"type":', b"\xff\xfe{}", None])
def test_a_schema_that_cannot_be_read_is_named(writer, tmp_path, content):
    path = tmp_path / "schema.json"
    if content is not None:
        path.write_bytes(content)
    refused(invoke("generate", "x", "--model", writer, "--json-schema", path), "schema.json")


def test_a_typing_error_in_the_name_of_a_default_model_is_noticed_without_network(monkeypatch):
    monkeypatch.setenv("MODUFORMER_SOURCES", "none")
    refused(invoke("generate", "x", "--model", "smolm2"), "Did you mean smollm2?")


# Tables --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["train", "explore", "predict", "evaluate"])
def test_a_header_without_rows_has_no_rows(encoder, trained, tmp_path, command):
    path = tmp_path / "empty.csv"
    path.write_text("text,label\n")
    arguments = {"predict": [trained, "--file", path], "evaluate": [trained, path]}.get(command, [path])
    refused(invoke(command, *arguments), "no rows", "text, label")


def test_a_text_of_spaces_gets_no_label_wherever_it_comes_from(trained, tmp_path):
    (tmp_path / "texts.txt").write_text("good\n  \n")
    piped = invoke("predict", trained, "--file", "-", input="good\n\n")
    for run in (
        invoke("predict", trained, "good", " "),
        piped,
        invoke("predict", trained, "--file", tmp_path / "texts.txt"),
    ):
        assert [json.loads(answer)["label"] is None for answer in run.stdout.splitlines()] == [False, True]
        assert "1 rows have no text" in run.stderr


def test_why_no_row_can_be_held_out_is_said(encoder, tmp_path):
    texts, _ = reviews(20)
    path = write_csv(tmp_path / "ids.csv", texts, [f"c{i}" for i in range(20)])
    refused(invoke("train", path, "--model", encoder), "20 classes", "column of labels")
    (tmp_path / "nul.csv").write_bytes(b"text,label\nab\0c,pos\ngood,neg\nfine,pos\n")
    refused(invoke("train", tmp_path / "nul.csv", "--model", encoder), "line 2", "NUL")


def test_labels_and_numbers_are_not_taken_for_texts(tmp_path):
    path = write_csv(tmp_path / "no-text.csv", range(20), ["pos", "neg"] * 10, ("id", "label"))
    refused(invoke("explore", path), "no column holds texts", "id, label")


def test_columns_that_cannot_be_guessed_are_named_by_options_that_there_are(tmp_path):
    tagged = tmp_path / "tags.jsonl"
    tagged.write_text('{"tokens": ["Kim", "lives"], "ner_tags": ["B-PER", "O"]}\n' * 9)
    plain = tmp_path / "plain.csv"
    plain.write_text("en,ko\n" + "How are you?,fine\n" * 5)
    dry = ("train", "--dry-run", "--task")
    refused(invoke("train", "--dry-run", tagged), "'tokens' holds lists", "--task tag")
    refused(invoke(*dry, "answer", tagged), "the question", "--pair")
    refused(invoke(*dry, "answer", tagged, "--pair", "tokens"), "the context", "--text")
    refused(invoke(*dry, "seq2seq", tagged), "--text and --label")
    refused(invoke(*dry, "tag", plain), "lines of a word and its tag")


def test_a_model_of_the_package_is_evaluated_by_its_name(tmp_path):
    data = tmp_path / "texts.txt"
    data.write_text("이 영화 정말 좋다.\n오늘 점심은 맛있었다.\n", encoding="utf-8")
    found = json.loads(invoke("evaluate", "fill-mask-ko", data, "--json").stdout)
    assert found["measured_on"] == "hidden tokens"
    refused(invoke("evaluate", "fill-mask-kor", data), "fill-mask-kor")


def test_a_file_of_one_broken_object_says_what_broke(tmp_path):
    path = tmp_path / "rows.json"
    path.write_text('{"rows": [1, 2')
    refused(invoke("explore", path), "rows.json", "broken JSON")


def test_an_empty_separator_is_refused(data, encoder):
    refused(invoke("train", data, "--model", encoder, "--separator", ""), "separator")


# Damaged folders -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"", b'{"model_type":', b"\xff\xfe\0", b"[]"])
def test_tokens_are_not_counted_with_a_folder_whose_config_is_broken(encoder, data, tmp_path, content):
    folder = shutil.copytree(encoder, tmp_path / "model")
    (folder / "config.json").write_bytes(content)
    run = invoke("explore", data, "--model", folder)
    if content != b"[]":
        refused(run, "config.json")
    with pytest.raises(CheckpointError, match=r"config\.json"):
        mf.load(folder)


@pytest.mark.parametrize(
    "change",
    [
        {"parameters": {"max_length": "long"}},
        {"parameters": {"threshold": "x"}},
        {"parameters": {"merge": "median"}},
        {"parameters": {"class_weight": [1, 2]}},
        {"parameters": None},
        {"classes": {"x": 1}},
        {"version": 99},
    ],
)
def test_damaged_settings_of_a_classifier_name_their_file(trained, tmp_path, change):
    folder = shutil.copytree(trained, tmp_path / "run")
    path = folder / "classifier.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    refused(invoke("predict", folder, "good film"), "classifier.json")


def test_a_place_that_is_no_folder_is_refused_by_save(encoder, data):
    for place in (data, data / "below", "/proc/nowhere"):
        with pytest.raises(CheckpointError, match=re.escape(str(place))):
            mf.load(encoder).save(place)


# Estimators ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        {"learning_rate": "x"},
        {"class_weight": [1, 2]},
        {"class_weight": {"neg": "much"}},
        {"random_state": "x"},
        {"max_length": "x"},
        {"max_length": 1},
        {"stride": -1},
        {"max_length": 32, "stride": 32},
        {"threshold": None},
        {"dropout": "x"},
        {"adapt": "yes"},
        {"epochs": 1.5},
        {"batch_size": "8"},
    ],
)
def test_values_an_estimator_cannot_take_are_named_before_a_model_is_read(wrong):
    texts, labels = reviews(8)
    with pytest.raises(ModuformerError, match=next(reversed(wrong)).replace("_", "[ _]")):
        mf.TextClassifier("absent/model/folder", **wrong).fit(texts, labels)


@pytest.fixture(scope="module")
def trained(encoder, data, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    texts, labels = reviews(16)
    mf.TextClassifier(encoder, epochs=1).fit(texts, labels).save(folder)
    (folder / "settings.json").write_text('{"columns": {"text": "text", "pair": null, "labels": ["label"]}}')
    return folder
