"""Settings: their names, ranges, where they come from, and that a checkpoint's own survive saving."""

import json
import math
import warnings

import pytest
import torch
from core_models import SPECS, randomise
from transformers import GenerationConfig

from moduformer.errors import CheckpointError, TextError
from moduformer.generate import processors as p
from moduformer.generate.settings import GenerationSettings
from moduformer.generate.strategies import Request, strategy_of
from moduformer.loading import load
from moduformer.model import Model, build


def model_of(name: str = "gpt2") -> Model:
    return randomise(build(SPECS[name]), 1)


def test_names_and_defaults_are_those_of_transformers() -> None:
    known = GenerationConfig().to_dict()
    defaults = GenerationConfig._get_default_generation_params()
    ours = GenerationSettings()
    beyond = {"presence_penalty", "frequency_penalty", "regex", "json_schema", "seed"}
    for name in ours.__dataclass_fields__:
        assert name in known or name in beyond, name
        if defaults.get(name) is not None and name != "max_length":
            assert getattr(ours, name) == defaults[name], name


@pytest.mark.parametrize(
    ("name", "near"), [("max_tokens", "max_new_tokens"), ("temprature", "temperature"), ("topk", "top_k")]
)
def test_an_unknown_name_is_answered_with_the_nearest(name: str, near: str) -> None:
    with pytest.raises(TextError, match=f"{name}.*did you mean {near}"):
        model_of().generate(torch.tensor([[4, 5]]), **{name: 1})
    with pytest.raises(TextError, match="settings are max_new_tokens"):
        GenerationSettings().override(qqqqqqqq=3)


WRONG = {
    "max_new_tokens": (0, -1, 1.5, "3", True, math.inf, 2**70),
    "max_length": (0,),
    "min_new_tokens": (-1,),
    "temperature": (-0.1, math.nan, math.inf, "hot", True),
    "top_k": (-1, 2.5),
    "top_p": (-0.1, 1.01, math.nan),
    "min_p": (-0.1, 2),
    "typical_p": (0, 1.5),
    "repetition_penalty": (0, -1, math.nan),
    "presence_penalty": (math.inf,),
    "no_repeat_ngram_size": (-2,),
    "bad_words_ids": ([[]], [3], "ab", [[-1]], [["a"]], [[1.5]]),
    "suppress_tokens": ([-4], {"a": 1}, ["x"]),
    "eos_token_id": (-1, "a", [None], 2.5, [True]),
    "num_beams": (0, 10**6),
    "num_return_sequences": (0,),
    "penalty_alpha": (-0.5, 1.5),
    "early_stopping": ("always", 3),
    "do_sample": ("yes", 1),
    "stop_strings": ("", ["a", ""], [3], 4),
    "seed": (-1, 2**64, 1.5, "x", [1, -1]),
    "regex": (3,),
    "json_schema": (3,),
    "length_penalty": (math.nan,),
}


@pytest.mark.parametrize("name", WRONG)
def test_values_out_of_range_are_errors_that_name_them(name: str) -> None:
    for value in WRONG[name]:
        with pytest.raises(TextError, match=name):
            GenerationSettings().override(**{name: value})


def test_settings_that_contradict_each_other_are_errors() -> None:
    for values, says in (
        ({"do_sample": True, "temperature": 0}, "do_sample=False"),
        ({"num_return_sequences": 3}, "num_return_sequences"),
        ({"num_beams": 4, "num_beam_groups": 3}, "divisible"),
        ({"num_beams": 4, "num_beam_groups": 2, "do_sample": True}, "diverse"),
        ({"regex": "a", "json_schema": "{}"}, "both"),
    ):
        with pytest.raises(TextError, match=says):
            GenerationSettings().override(**values)
    for values in ({"num_beams": 2, "penalty_alpha": 0.5}, {"penalty_alpha": 0.5, "do_sample": True}):
        with pytest.raises(TextError, match="cannot be combined"):
            strategy_of(Request(GenerationSettings().override(**values), 5))


def test_a_setting_without_effect_is_said() -> None:
    with pytest.warns(UserWarning, match=r"temperature, top_p has no effect without do_sample=True"):
        GenerationSettings.of(model_of(), top_p=0.5, temperature=0.3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        GenerationSettings.of(model_of(), temperature=1.0, top_k=4)
        GenerationSettings.of(model_of(), temperature=0.3, do_sample=True)


def test_lengths() -> None:
    settings = GenerationSettings()
    assert settings.new_tokens(7) == 20
    assert settings.override(max_length=10).new_tokens(7) == 3
    assert settings.override(max_length=10, max_new_tokens=5).new_tokens(7) == 5
    assert settings.override(max_new_tokens=5).override(max_length=10).new_tokens(7) == 3
    with pytest.raises(TextError, match="max_new_tokens"):
        settings.override(max_length=7).new_tokens(7)


def test_strategies_by_settings() -> None:
    for values, name in (
        ({}, "sample"),
        ({"do_sample": True}, "sample"),
        ({"num_beams": 3}, "beam"),
        ({"penalty_alpha": 0.6, "top_k": 4}, "contrastive"),
        ({"prompt_lookup_num_tokens": 3}, "speculative"),
    ):
        assert strategy_of(Request(GenerationSettings().override(**values), 5)) == name


def test_processors_stand_in_the_order_of_transformers() -> None:
    settings = GenerationSettings().override(
        repetition_penalty=1.2, no_repeat_ngram_size=2, bad_words_ids=[[3], [2]], min_length=4, forced_bos_token_id=7,
        forced_eos_token_id=2, suppress_tokens=[5], begin_suppress_tokens=[6], eos_token_id=2, do_sample=True,
        temperature=0.5, top_p=0.9, min_p=0.1, typical_p=0.8,
    )  # fmt: skip
    assert settings.processors(9) == [
        p.RepetitionPenalty(1.2), p.NoRepeatNgrams(2), p.BadWords(((3,),)), p.MinLength((2,), 4, 0), p.ForcedFirst(7),
        p.ForcedLast((2,), 9), p.Suppressed((5,)), p.Suppressed((6,), True, True),
    ]  # fmt: skip
    assert settings.warpers() == [p.Temperature(0.5), p.TopK(50), p.TopP(0.9), p.MinP(0.1), p.Typical(0.8)]
    assert settings.override(do_sample=False).warpers() == []
    assert settings.override(num_beams=3).warpers()[1] == p.TopK(50, 2)


@pytest.fixture
def folder(tmp_path):
    return model_of().save(tmp_path / "model")


def test_a_checkpoints_own_settings_are_taken_and_kept(folder, tmp_path) -> None:
    stored = {
        "max_new_tokens": 3,
        "eos_token_id": [7, 9],
        "pad_token_id": -1,
        "top_k": 5,
        "cache_implementation": "x",
        "regex": "a+",
        "seed": 1,
    }
    (folder / "generation_config.json").write_text(json.dumps(stored))
    model = load(folder)
    assert model.generation_config == stored
    settings = GenerationSettings.of(model)
    assert (settings.max_new_tokens, settings.eos_token_id, settings.top_k) == (3, (7, 9), 5)
    assert settings.pad_token_id == model.spec.pad_id
    assert settings.regex is settings.seed is None
    assert GenerationSettings.of(model, top_k=6, eos_token_id=None).eos_token_id == ()
    assert model.generate(torch.tensor([[4, 5]]), eos_token_id=[]).shape == (1, 5)
    model.save(tmp_path / "again")
    assert json.loads((tmp_path / "again/generation_config.json").read_text()) == stored
    plain = load(model_of().save(tmp_path / "plain"))
    assert plain.generation_config is None
    assert not (plain.save(tmp_path / "plain2") / "generation_config.json").exists()


def test_settings_in_an_older_config_are_found(folder) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_beams": 4, "no_repeat_ngram_size": 3}))
    settings = GenerationSettings.of(load(folder))
    assert (settings.num_beams, settings.no_repeat_ngram_size) == (4, 3)


@pytest.mark.parametrize("content", ["[1]", "{", '{"a": NaN}', '{"a": 1e999}', '{"a": "\\ud800"}', " " * 2**21])
def test_a_damaged_file_is_refused(folder, content: str) -> None:
    (folder / "generation_config.json").write_text(content)
    with pytest.raises(CheckpointError):
        load(folder)


@pytest.mark.parametrize("content", ['{"top_p": 7}', '{"eos_token_id": "x"}', '{"max_new_tokens": {"a": 1}}'])
def test_senseless_values_load_and_are_named_when_they_are_used(folder, content: str) -> None:
    (folder / "generation_config.json").write_text(content)
    with pytest.raises(TextError, match=r"generation_config\.json.*(top_p|eos_token_id|max_new_tokens)"):
        load(folder).generate(torch.tensor([[4, 5]]))
