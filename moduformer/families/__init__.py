"""One file a family: a template, its config rules and its tensor rows; its published sizes are data beside them."""

from __future__ import annotations

import importlib
from functools import cache
from typing import Any

from moduformer.architecture import Spec
from moduformer.errors import CheckpointError, SpecError
from moduformer.families.family import Family

MODEL_TYPES = {
    "albert": "albert",
    "awd_lstm": "awd_lstm",
    "baichuan": "baichuan",
    "bart": "bart",
    "bert": "bert",
    "biogpt": "biogpt",
    "blip": "blip",
    "blip-2": "blip_2",
    "bloom": "bloom",
    "chatglm": "chatglm",
    "chatglm2": "chatglm2",
    "clip": "clip",
    "clip_text_model": "clip_text",
    "clip_vision_model": "clip_vision",
    "codegeex": "codegeex",
    "codegen": "codegen",
    "deberta-v2": "deberta_v2",
    "distilbert": "distilbert",
    "electra": "electra",
    "ernie": "ernie",
    "ernie-thu": "ernie_thu",
    "falcon": "falcon",
    "flamingo": "otter",
    "gemma": "gemma",
    "gemma2": "gemma2",
    "glm": "glm",
    "glm_130b": "glm_130b",
    "gpt2": "gpt2",
    "gpt_neo": "gpt_neo",
    "gpt_neox": "gpt_neox",
    "gpt_pangu": "gpt_pangu",
    "gptj": "gptj",
    "instructblip": "instructblip",
    "internlm": "internlm",
    "internlm2": "internlm2",
    "llama": "llama",
    "llava": "llava",
    "marian": "marian",
    "mbart": "mbart",
    "minigpt4": "minigpt4",
    "mistral": "mistral",
    "mixtral": "mixtral",
    "moduformer": "native",
    "mplug-owl": "mplug_owl",
    "mpt": "mpt",
    "mt5": "mt5",
    "openai-gpt": "openai",
    "opt": "opt",
    "otter": "otter",
    "pegasus": "pegasus",
    "plugNLG": "plug",
    "plug_nlg_original-8192": "plug",
    "qwen2": "qwen2",
    "recurrent_seq2seq": "recurrent_seq2seq",
    "roberta": "roberta",
    "switch_transformers": "switch_transformers",
    "t5": "t5",
    "transformer": "transformer",
    "vit": "vit",
    "xlm-roberta": "roberta",
    "xlnet": "xlnet",
}
"""The `model_type` of a config.json, and the module of this package that holds its family."""

_WIDESPREAD = ("bert", "roberta", "gpt2", "gptj", "llama", "t5", "bart")
"""Where several families can hold a spec, the one that most programs read is taken."""


@cache
def family(model_type: str) -> Family:
    """The family of a model type. Raises `CheckpointError` naming the known ones."""
    if model_type not in MODEL_TYPES:
        raise CheckpointError(
            f"model_type {model_type!r:.80} is not one of the families here: {', '.join(sorted(MODEL_TYPES))}"
        )
    module = importlib.import_module(f"moduformer.families.{MODEL_TYPES[model_type]}")
    return module.FAMILIES[model_type] if hasattr(module, "FAMILIES") else module.FAMILY


def families() -> list[Family]:
    """Every family that has files of its own."""
    return [family(name) for name in MODEL_TYPES]


def spec(name: str) -> Spec:
    """The architecture of a published model, such as "bert-base-uncased", without its weights.

    Raises `SpecError` with the nearest names if none is called so.
    """
    from moduformer.families.presets import config, family_names

    names, plain = family_names(), name.rpartition("/")[2].lower()
    found = name if name in names else plain
    if found not in names:
        import difflib

        near = [other for other in names if other.startswith(plain)]
        near += difflib.get_close_matches(plain, names.keys() - set(near), n=5, cutoff=0.4)
        raise SpecError(f"no published architecture is called {name!r}; near: {', '.join(near[:8] or sorted(names))}")
    given = dict(config(found))
    architecture = given.pop("architecture", None)
    return family(names[found]).of(given).read(given, architecture)


def family_of(spec: Spec) -> tuple[Family, dict[str, Any]]:
    """A family whose files can hold this spec exactly, and the config that says so; the native one as a last resort."""
    for name in (*_WIDESPREAD, *(name for name in MODEL_TYPES if name not in {*_WIDESPREAD, "moduformer"})):
        member = family(name)
        try:
            architecture = member.architecture_of(spec)
            config = member.write(spec)
            labelled = next((head.outputs for head in spec.heads if head.kind in ("classify", "tag")), None)
            given = config if labelled is None else {**config, "num_labels": labelled}
            if member.read(given, architecture) == spec:
                return member, {**config, "architectures": [architecture]}
        except (CheckpointError, SpecError):
            continue
    native = family("moduformer")
    return native, {**native.write(spec), "architectures": ["Model"]}
