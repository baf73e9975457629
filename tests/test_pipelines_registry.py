"""`mf.pipeline` and what every pipeline does: which model is taken, what inputs it reads, how mistakes are told."""

import io
import logging
import os
import socket
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from pipeline_models import TEXTS, folder_of, long_text, small
from sources_servers import FakeHub, serving

import moduformer as mf
from moduformer.errors import CheckpointError, PipelineError, SourceError
from moduformer.pipelines import registry
from moduformer.pipelines.pipeline import CHUNK
from moduformer.pipelines.registry import ALIASES, TASKS
from moduformer.pipelines.text_classification import TextClassification
from moduformer.sources import hub

NAMES = ("NEGATIVE", "POSITIVE")
SST = "distilbert/distilbert-base-uncased-finetuned-sst-2-english"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    torch.set_num_threads(1)
    return folder_of(tmp_path_factory.mktemp("labels"), "BertForSequenceClassification", NAMES)


@pytest.fixture(scope="module")
def pipe(folder):
    return mf.pipeline("text-classification", str(folder))


@pytest.fixture
def alone(tmp_path, monkeypatch):
    """No cache, login or network of the machine that runs the tests."""
    for name in list(os.environ):
        if name.startswith(("PIP_", "HF_", "MODUFORMER_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("MODUFORMER_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("MODUFORMER_SOURCES", "hub")
    monkeypatch.setattr(hub, "_silent", {})
    return tmp_path


# Tasks and models ---------------------------------------------------------------------------------------------------


def test_unknown_tasks_and_options_name_the_nearest(folder):
    with pytest.raises(PipelineError, match="did you mean 'text-classification'"):
        mf.pipeline("text-clasification", str(folder))
    with pytest.raises(PipelineError, match=r"there are .*fill-mask"):
        mf.pipeline("juggling", str(folder))
    with pytest.raises(PipelineError, match="no option called 'topk'; did you mean 'top_k'"):
        mf.pipeline("text-classification", str(folder), topk=2)
    with pytest.raises(PipelineError, match=r"no option called 'zzz'; there are .*top_k"):
        mf.pipeline("text-classification", str(folder))("a", zzz=1)
    with pytest.raises(PipelineError, match="batch_size is 0"):
        mf.pipeline("text-classification", str(folder), batch_size=0)


def test_every_task_names_a_pipeline_with_that_task():
    import importlib

    for name, entry in TASKS.items():
        kind = getattr(importlib.import_module(f"moduformer.pipelines.{entry.module}"), entry.pipeline)
        assert kind.task == name
        assert kind.__doc__
    assert set(ALIASES) & set(TASKS) == set()


def test_other_names_and_needless_arguments_of_hugging_face_are_taken(folder, pipe):
    same = mf.pipeline("sentiment-analysis", str(folder), framework="pt", use_fast=True, num_workers=4)
    assert same(TEXTS[0], padding=True, num_workers=2) == pipe(TEXTS[0])
    assert mf.pipeline("sentiment-analysis", folder, torch_dtype="float64").model.dtype == torch.float64


def test_code_of_a_checkpoint_is_refused(folder):
    with pytest.raises(PipelineError, match="never run"):
        mf.pipeline("text-classification", str(folder), trust_remote_code=True)
    assert mf.pipeline("text-classification", str(folder), trust_remote_code=False)
    with pytest.raises(PipelineError, match=r"config=\.\.\. is not taken"):
        mf.pipeline("text-classification", str(folder), {"num_labels": 2})


def test_without_a_task_the_models_head_decides(folder):
    assert mf.pipeline(model=str(folder)).task == "text-classification"
    for architecture, task in (
        ("BertForTokenClassification", "token-classification"),
        ("BertForMaskedLM", "fill-mask"),
        ("BertModel", "feature-extraction"),
    ):
        if task in TASKS:
            assert mf.pipeline(model=small(architecture)).task == task
    with pytest.raises(PipelineError, match="name a task or a model"):
        mf.pipeline()


def test_devices(folder, pipe):
    for device in (-1, "cpu", torch.device("cpu")):
        assert mf.pipeline("text-classification", str(folder), device=device).device.type == "cpu"
    assert mf.pipeline("text-classification", pipe.model, device=-1)(TEXTS[0]) == pipe(TEXTS[0])
    if not torch.cuda.is_available():
        with pytest.raises(CheckpointError, match="cuda:0"):
            mf.pipeline("text-classification", str(folder), device=0)


def test_a_tokenizer_from_elsewhere(folder, tmp_path, pipe):
    bare = small("BertForSequenceClassification")
    bare.tokenizer = None
    with pytest.raises(PipelineError, match="no tokenizer"):
        TextClassification(bare)
    assert mf.pipeline("text-classification", bare, tokenizer=str(folder))(TEXTS[0])
    (tmp_path / "empty").mkdir()
    with pytest.raises(PipelineError, match="holds no tokenizer"):
        mf.pipeline("text-classification", bare, tokenizer=tmp_path / "empty")


def test_what_was_loaded_can_be_saved_and_loaded_again(pipe, tmp_path):
    again = mf.pipeline("text-classification", str(pipe.save_pretrained(tmp_path / "saved")))
    assert again(TEXTS) == pipe(TEXTS)
    assert "TextClassification" in repr(again)


# Default models -----------------------------------------------------------------------------------------------------


def test_the_hubs_default_is_taken_where_the_hub_answers_and_is_said(alone, folder, monkeypatch, caplog):
    files = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    with serving(FakeHub(SST, files, {"model.safetensors"})) as server, caplog.at_level(logging.WARNING):
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        made = mf.pipeline("sentiment-analysis")
        assert server.requests
    assert made(TEXTS[0])[0]["label"] in NAMES
    assert SST in caplog.text
    assert SST in made.notes[0]
    assert "model=..." in made.notes[0]
    assert any("aaaaaaaaaaaa of the hub" in note for note in made.notes), "and which commit it was"


def test_the_default_that_needs_no_hub_is_taken_where_it_is_silent_and_is_said(alone, folder, monkeypatch, caplog):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{closed.getsockname()[1]}")
    here = registry.Task("text_classification", "TextClassification", hub=SST, here=str(folder))
    monkeypatch.setitem(TASKS, "text-classification", here)
    with caplog.at_level(logging.WARNING):
        made = mf.pipeline("text-classification")
    assert str(folder) in made.notes[0]
    assert str(folder) in caplog.text
    assert made(TEXTS[0])[0]["label"] in NAMES
    monkeypatch.setitem(TASKS, "text-classification", registry.Task(here.module, here.pipeline, hub=SST))
    with pytest.raises(PipelineError, match=r"(?s)no default model for text-classification can be had .*name one with"):
        mf.pipeline("text-classification")


def test_a_pair_of_languages_that_the_model_at_hand_does_not_know_is_refused(alone, monkeypatch):
    known = {"task_specific_params": {"translation_en_to_ja": {"prefix": ">>ja<< "}}}
    assert registry._lacking(SimpleNamespace(origin=SimpleNamespace(config=known)), ("en", "ja")) is None
    said = registry._lacking(SimpleNamespace(origin=SimpleNamespace(config=known)), ("ja", "en"))
    assert "translation_ja_to_en" in said
    assert "does translation_en_to_ja" in said


def test_a_model_that_was_named_is_not_replaced_by_a_default(alone):
    with pytest.raises(SourceError):
        mf.pipeline("text-classification", str(alone / "absent"))


# Inputs -------------------------------------------------------------------------------------------------------------


def test_inputs_of_every_kind(pipe, tmp_path):
    wanted = pipe(TEXTS)
    assert pipe(tuple(TEXTS)) == wanted
    assert pipe(pd.Series(TEXTS)) == wanted
    assert pipe(pd.Series(TEXTS, index=[7, 3, 1, 0, 9])) == wanted
    assert pipe(np.array(TEXTS)) == wanted
    assert pipe(np.array(TEXTS, dtype=object)) == wanted
    path = tmp_path / "texts.txt"
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(TEXTS).encode())
    for source in (path, io.StringIO("\n".join(TEXTS)), iter(TEXTS), dict.fromkeys(TEXTS, 1).keys()):
        found = pipe(source)
        assert not isinstance(found, list)
        assert list(found) == wanted
    with path.open(encoding="utf-8-sig") as file:
        assert list(pipe(file)) == wanted

    class Rows:
        def __len__(self):
            return len(TEXTS)

        def __getitem__(self, number):
            return TEXTS[number]

    assert list(pipe(Rows())) == wanted
    assert [found.label for found in pipe.predict(TEXTS)] == [entry["label"] for entry in wanted]
    assert len(pipe.predict(TEXTS[0])) == 1


@pytest.mark.parametrize(("size", "taken"), [(None, CHUNK), (3, 3), (1, 1)])
def test_a_source_is_read_only_as_results_are_asked_for(pipe, size, taken):
    read = []

    def source():
        for number in range(10_000):
            read.append(number)
            yield TEXTS[number % len(TEXTS)]

    results = pipe(source(), batch_size=size)
    assert read == []
    next(results)
    assert len(read) == taken
    for _ in range(taken):
        next(results)
    assert len(read) == 2 * taken
    assert next(pipe.stream(source(), batch_size=2)).label in NAMES


def test_batch_size_changes_no_result(folder, pipe):
    texts = [*TEXTS, long_text(4), "a"] * 3
    wanted = [entry["score"] for entry in pipe(texts)]
    for size in (1, 4, 1000):
        assert [entry["score"] for entry in pipe(texts, batch_size=size)] == pytest.approx(wanted, abs=1e-5)
        made = mf.pipeline("text-classification", str(folder), batch_size=size)
        assert [entry["score"] for entry in made(iter(texts))] == pytest.approx(wanted, abs=1e-5)


def test_an_input_that_is_none_is_named_by_its_number(pipe, tmp_path):
    with pytest.raises(PipelineError, match="input 2: is no text"):
        pipe(["a", "b", None, "d"])
    with pytest.raises(PipelineError, match=r"input 1: .*not a text"):
        pipe(pd.Series(["a", float("nan")]))
    with pytest.raises(PipelineError, match="input 5"):
        list(pipe((text for text in [*TEXTS, None]), batch_size=2))
    results = pipe(iter([*TEXTS, None]), batch_size=2)
    assert [next(results)["label"] for _ in range(4)], "what comes before it is given"
    with pytest.raises(PipelineError, match="give one text"):
        pipe(5)
    with pytest.raises(PipelineError, match="give one text"):
        pipe(b"bytes")
    with pytest.raises(PipelineError, match=r"absent\.txt cannot be read"):
        list(pipe(tmp_path / "absent.txt"))
    (tmp_path / "cp949.txt").write_bytes("한국어".encode("cp949"))
    with pytest.raises(PipelineError, match="not UTF-8"):
        list(pipe(tmp_path / "cp949.txt"))


def test_options_of_a_call_hold_for_that_call_alone(folder):
    made = mf.pipeline("text-classification", str(folder), details=True)
    assert list(made(TEXTS[0])[0]) == ["label", "score", "windows", "truncated"]
    assert list(made(TEXTS[0], details=False)[0]) == ["label", "score"]
    assert list(made(TEXTS[0])[0]) == ["label", "score", "windows", "truncated"]
