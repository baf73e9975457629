"""The models that come with the package: small enough together, described, and taken by the tasks that name them."""

import json
import re
from pathlib import Path

import pytest
import torch

import moduformer as mf
from moduformer.pipelines import registry
from moduformer.sources import bundled
from moduformer.sources.aliases import MODELS

LIMIT = 40_000_000
"""Bytes that all of them may take in the package."""

FOLDERS = sorted(path.parent for path in bundled.FOLDER.glob("*/config.json"))


@pytest.fixture
def alone(tmp_path, monkeypatch):
    """No source answers, and nothing was fetched before."""
    monkeypatch.setenv("MODUFORMER_SOURCES", "none")
    monkeypatch.setenv("MODUFORMER_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    torch.set_num_threads(1)


def test_together_they_stay_small():
    sizes = {str(path.relative_to(bundled.FOLDER)): path.stat().st_size for path in bundled.FOLDER.rglob("*.*")}
    assert sum(sizes.values()) < LIMIT, sizes


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_each_has_a_card_with_what_was_measured(folder: Path):
    card = (folder / "README.md").read_text(encoding="utf-8")
    for wanted in ("## Data", "## Held-out figures", "One seed", "## Limits", "moduformer train", "\nlicense: "):
        assert wanted in card, wanted
    measured = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    for test, found in measured.items():
        assert f"{test} ({found.pop('rows'):,} rows)" in card
        for value in found.values():
            assert f"| {value:.4f} |" in card
    pages = [Path(__file__).parents[1] / "docs" / name for name in ("defaults.md", "defaults.ko.md")]
    for page in pages:
        assert len(re.findall(rf"^\| `{folder.name}` \|", page.read_text(encoding="utf-8"), re.MULTILINE)) == 1


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_each_is_whole_or_an_adapter_on_a_model_that_needs_no_hub(folder: Path):
    if (folder / "adapter_config.json").is_file():
        base = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))["base_model_name_or_path"]
        assert base in MODELS
    else:
        assert {"model.safetensors", "tokenizer.json"} <= {path.name for path in folder.iterdir()}


def test_what_tasks_name_is_there():
    named = {task: entry.here for task, entry in registry.TASKS.items() if entry.here}
    assert set(named.values()) <= {folder.name for folder in FOLDERS} | set(MODELS)
    assert set(registry.TASKS) - set(named) == {"text2text-generation"}


def test_masked_words_are_guessed_where_nothing_answers(alone):
    pipe = mf.pipeline("fill-mask")
    assert "fill-mask-ko" in pipe.notes[0]
    found = pipe("이 영화 정말 [MASK].", top_k=20)
    assert [round(one["score"], 9) for one in found] == sorted((round(one["score"], 9) for one in found), reverse=True)
    assert {"재미없다", "좋다"} & {one["token_str"] for one in found}
    good, bad = (
        pipe(text, targets=["재미없다"])[0]["score"] for text in ("이 영화 정말 [MASK].", "오늘 점심은 [MASK].")
    )
    assert good > 10 * bad


def test_translation_comes_along(alone):
    pipe = mf.pipeline("translation_en_to_ja")
    assert "translation" in pipe.notes[0]
    written = pipe("I am a student.")[0]["translation_text"]
    assert "学生" in written
