"""`moduformer run`: every task from the shell, texts of any length, one JSON line an input."""

import json
import subprocess
import sys
import time

import pytest
from pipeline_models import TEXTS, folder_of, long_text
from test_cli import ENVIRONMENT, PYTHON, invoke

import moduformer as mf
from moduformer.cli.running import readable
from moduformer.pipelines.registry import TASKS

NAMES = ("contradiction", "neutral", "entailment")


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    return folder_of(tmp_path_factory.mktemp("labelled"), "BertForSequenceClassification", NAMES)


@pytest.fixture(scope="module")
def masked(tmp_path_factory):
    return folder_of(tmp_path_factory.mktemp("masked"), "BertForMaskedLM")


def printed(run):
    assert run.exit_code == 0, run.stderr
    return [json.loads(line) for line in run.stdout.splitlines()]


def test_one_json_line_an_input(labelled, tmp_path):
    texts = [*TEXTS, long_text(5)]
    pipe = mf.pipeline("text-classification", str(labelled))
    lines = printed(invoke("run", "sentiment-analysis", *texts, "--model", labelled, "--json"))
    assert [line["row"] for line in lines] == [1, 2, 3, 4, 5, 6]
    assert [line["input"] for line in lines] == texts
    assert [line["result"]["label"] for line in lines] == [entry["label"] for entry in pipe(texts)]
    path = tmp_path / "texts.txt"
    path.write_text("\n".join(texts), encoding="utf-8")
    assert printed(invoke("run", "text-classification", "--file", path, "--model", labelled, "--json")) == lines
    given = invoke("run", "text-classification", "-", "--model", labelled, "--json", input="\n".join(texts))
    assert printed(given) == lines
    (whole,) = printed(
        invoke(
            "run", "text-classification", "--file", path, "--whole", "--model", labelled, "--json", "-o", "details=true"
        )
    )
    assert whole["input"] == path.read_text(encoding="utf-8")
    assert whole["result"]["windows"] > 3


def test_a_file_of_json_lines_and_options(labelled, tmp_path):
    path = tmp_path / "pairs.jsonl"
    pairs = [{"text": TEXTS[0], "text_pair": TEXTS[2]}, TEXTS[1]]
    path.write_text("\n".join(map(json.dumps, pairs)) + "\n\n")
    arguments = ["--file", path, "--model", labelled, "--json", "-o", "top_k=null", "-o", "function_to_apply=none"]
    lines = printed(invoke("run", "text-classification", *arguments))
    assert [line["input"] for line in lines] == pairs
    assert [len(line["result"]) for line in lines] == [3, 3]
    path.write_text("{broken\n")
    run = invoke("run", "text-classification", "--file", path, "--model", labelled)
    assert run.exit_code == 1
    assert "line 1, is no JSON" in run.stderr


def test_results_for_a_person(labelled, masked):
    run = invoke("run", "text-classification", TEXTS[0], "--model", labelled)
    score, label = run.stdout.split()
    assert label in NAMES
    assert 0 < float(score) < 1
    run = invoke("run", "zero-shot-classification", TEXTS[0], "--labels", "sports, music", "--model", labelled)
    assert sorted(line.split()[1] for line in run.stdout.splitlines()) == ["music", "sports"]
    run = invoke("run", "fill-mask", "The [MASK] was good.", "a [MASK]", "--model", masked, "-o", "top_k=2")
    lines = run.stdout.splitlines()
    assert lines[0] == "1: The [MASK] was good."
    assert lines[3] == "2: a [MASK]"
    assert len(lines) == 6
    run = invoke("run", "feature-extraction", TEXTS[0], "--model", labelled)
    assert "tokens of 32 numbers each" in run.stdout
    run = invoke("run", "feature-extraction", TEXTS[0], "--model", labelled, "-o", "pooling=mean")
    assert run.stdout.startswith("32 numbers: ")


def test_questions_about_a_text_and_entities(tmp_path):
    answering = folder_of(tmp_path / "answering", "BertForQuestionAnswering")
    arguments = ["run", "question-answering", "Is it good?", "영화?", "--context", TEXTS[0], "--model", answering]
    lines = printed(invoke(*arguments, "--json"))
    assert [line["input"]["question"] for line in lines] == ["Is it good?", "영화?"]
    for line in lines:
        assert TEXTS[0][line["result"]["start"] : line["result"]["end"]] == line["result"]["answer"]
    assert invoke(*arguments).stdout.splitlines()[1].endswith("]")
    tagging = folder_of(tmp_path / "tagging", "BertForTokenClassification", ("O", "B-PER", "I-PER"))
    (line,) = printed(invoke("run", "ner", TEXTS[0], "--model", tagging, "--json"))
    assert all("entity" in entry for entry in line["result"])
    assert invoke("run", "ner", TEXTS[0], "--model", tagging).exit_code == 0


@pytest.mark.parametrize(
    ("result", "lines"),
    [
        ({"score": 0.5, "start": 2, "end": 5, "answer": "cat"}, ["0.5000  cat  [2:5]"]),
        ([{"summary_text": "short"}], ["short"]),
        ([{"translation_text": "kurz"}], ["kurz"]),
        ([{"generated_text": [{"role": "assistant", "content": "hi"}]}], ["hi"]),
        ([], ["(nothing found)"]),
        (
            [{"entity_group": "PER", "score": 1.0, "word": "Kim", "start": 0, "end": 3}],
            ["1.0000  PER  Kim  [0:3]"],
        ),
        ([[{"score": 0.5, "token_str": "a"}], [{"score": 0.25, "token_str": "b"}]], ["0.5000  a", "", "0.2500  b"]),
    ],
)
def test_every_shape_is_readable(result, lines):
    assert list(readable(result)) == lines


def test_tasks_are_listed_with_their_defaults():
    run = invoke("run", "--list")
    for task, entry in TASKS.items():
        assert task in run.stdout
        assert entry.hub is None or entry.hub in run.stdout
    assert [line["task"] for line in printed(invoke("run", "--list", "--json"))] == list(TASKS)


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        ([], 2, "name a task"),
        (["text-classification"], 2, "give inputs"),
        (["text-clasification", "a"], 1, "did you mean 'text-classification'"),
        (["text-classification", "a", "-o", "topk=2"], 1, "did you mean 'top_k'"),
        (["text-classification", "a", "-o", "top_k"], 2, "NAME=VALUE"),
        (["fill-mask", "a"], 1, "missing 5 tensors"),
        (["text-classification", "--file", "absent.txt"], 1, "absent.txt cannot be read"),
    ],
)
def test_mistakes_are_one_paragraph(labelled, arguments, status, message):
    named = ["--model", labelled] if arguments else []
    run = invoke("run", *arguments, *named)
    assert run.exit_code == status
    assert message in " ".join(run.stderr.split())
    assert "Traceback" not in run.stderr


def test_a_stream_is_answered_before_it_ends(labelled):
    command = [PYTHON, "-c", "from moduformer.cli import main; main()", "run", "text-classification", "-"]
    command += ["--model", str(labelled), "--json", "--batch-size", "2"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT, stderr=sys.stderr
    ) as process:
        process.stdin.write(f"{TEXTS[0]}\n{TEXTS[1]}\n")
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["row"] == 1
        assert json.loads(process.stdout.readline())["input"] == TEXTS[1]
        assert process.poll() is None
        process.stdin.close()
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.1)
        assert process.returncode == 0
