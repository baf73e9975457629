"""The published sizes: names, families, and that every one of them is an architecture."""

import tomllib
from collections import Counter
from pathlib import Path

import pytest

import moduformer.families
from moduformer.families import MODEL_TYPES, family, spec
from moduformer.families.presets import config, family_names, published

FILES = sorted((Path(moduformer.families.__file__).parent / "published").glob("*.toml"))
GROUPS = [
    (member, group)
    for path in FILES
    for member, groups in tomllib.loads(path.read_text(encoding="utf-8")).items()
    for group in groups
]


def test_every_family_of_the_files_is_a_model_type_of_one_file() -> None:
    assert {member for member, _ in GROUPS} <= set(MODEL_TYPES)
    of_files = Counter(member for path in FILES for member in tomllib.loads(path.read_text(encoding="utf-8")))
    assert max(of_files.values()) == 1


def test_no_name_occurs_twice() -> None:
    names = Counter(name.lower() for _, group in GROUPS for name in group["sizes"])
    assert [name for name, times in names.items() if times > 1] == []


def test_a_row_has_a_number_for_every_column() -> None:
    for _, group in GROUPS:
        columns = group.get("columns", "").split()
        for name, size in group["sizes"].items():
            if isinstance(size, list):
                assert len(columns) == sum(not isinstance(value, dict) for value in size), name


@pytest.mark.parametrize("name", family_names())
def test_every_size_is_an_architecture(name: str) -> None:
    assert spec(name).num_parameters() > 0


def test_a_size_like_another() -> None:
    llama, blip = config("llama-7b"), config("instructblip-vicuna-7b")["text_config"]
    assert config("wizardlm-7b-v1.0") == config("alpaca-7b") == {**llama, "vocab_size": 32001}
    assert {
        name: value for name, value in config("alpaca-7b").items() if name != "architecture"
    }.items() <= blip.items()
    assert config("mistral-7b-v0.3")["sliding_window"] is None


def test_a_family_lists_its_own_sizes() -> None:
    assert list(family("mt5").presets) == ["mt5-small", "mt5-base", "mt5-large", "mt5-xl", "mt5-xxl"]
    assert set(family("chatglm").presets).isdisjoint(family("chatglm2").presets)
    assert published("moduformer") == {}
