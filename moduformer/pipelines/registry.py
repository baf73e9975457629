"""`mf.pipeline`: from the name of a task to a pipeline that runs."""

from __future__ import annotations

import difflib
import importlib
import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from moduformer.errors import PipelineError, SourceError
from moduformer.hosted.client import is_hosted
from moduformer.hosted.generation import HostedGeneration
from moduformer.loading import load
from moduformer.model import Model
from moduformer.pipelines.pipeline import Pipeline
from moduformer.quantize import prepare
from moduformer.text.tokenizer import Tokenizer

_log = logging.getLogger("moduformer")


@dataclass(frozen=True)
class Task:
    """A task: the module and class of its pipeline and the models to take where none is named.

    `hub` is what `transformers` 4 takes, asked for first; `here` needs no hub and is taken where that does not answer.
    `{}` in a name stand for languages.
    """

    module: str
    pipeline: str
    hub: str | None = None
    here: str | None = None


TASKS = {
    "text-classification": Task(
        "text_classification",
        "TextClassification",
        hub="distilbert/distilbert-base-uncased-finetuned-sst-2-english",
        here="sentiment-en",
    ),
    "token-classification": Task(
        "token_classification",
        "TokenClassification",
        hub="dbmdz/bert-large-cased-finetuned-conll03-english",
        here="ner-en",
    ),
    "question-answering": Task(
        "question_answering",
        "QuestionAnswering",
        hub="distilbert/distilbert-base-cased-distilled-squad",
        here="qa-en",
    ),
    "feature-extraction": Task(
        "feature_extraction", "FeatureExtraction", hub="distilbert/distilbert-base-cased", here="minilm"
    ),
    "fill-mask": Task("fill_mask", "FillMask", hub="distilbert/distilroberta-base", here="fill-mask-ko"),
    "zero-shot-classification": Task(
        "zero_shot_classification", "ZeroShotClassification", hub="facebook/bart-large-mnli", here="zero-shot"
    ),
    "text-generation": Task("text_generation", "TextGeneration", hub="openai-community/gpt2", here="smollm2"),
    "text2text-generation": Task("text_to_text", "TextToText", hub="google-t5/t5-base"),
    "summarization": Task("summarization", "Summarization", hub="sshleifer/distilbart-cnn-12-6", here="smollm2"),
    "translation": Task("translation", "Translation", hub="Helsinki-NLP/opus-mt-{}-{}", here="translation"),
}
"""Every task by the name that Hugging Face gives it."""

ALIASES = {
    "sentiment-analysis": "text-classification",
    "ner": "token-classification",
    "vqa": "visual-question-answering",
}
"""Other names of the same tasks."""


def pipeline(
    task: str | None = None,
    model: str | Path | Model | None = None,
    config: Any = None,
    tokenizer: str | Path | Tokenizer | None = None,
    *,
    revision: str | None = None,
    device: torch.device | str | int | None = None,
    dtype: torch.dtype | str | None = None,
    torch_dtype: torch.dtype | str | None = None,
    batch_size: int | None = None,
    trust_remote_code: bool | None = None,
    **options: Any,
) -> Pipeline[Any, Any, Any]:
    """A pipeline for a task: call it with texts.

    Arguments:
        task: such as "text-classification"; "sentiment-analysis", "ner" and "translation_en_to_de" are understood. None
            takes the task of the model's head.
        model: a folder, a hub id, an alias, or a loaded model; None takes the task's default and says which. What is
            loaded here is laid out for running (see `quantize.prepare`), a loaded model stays as it is. A model behind
            an interface is "openai:gpt-4" and the like, and what comes is a `HostedGeneration`.
        tokenizer: where it is not in the model's folder: a folder, a hub id, or a loaded tokenizer.
        device: "cpu", "cuda", a number of a GPU, or -1 for the CPU.
        batch_size: inputs taken from a stream together. Speed does not depend on it: batches are cut by tokens.
        options: defaults of every call; see the class of the task.

    Raises:
        PipelineError: no such task or option, or a model that cannot do it.
        SourceError, CheckpointError: a model that cannot be had or read.
    """
    if trust_remote_code:
        raise PipelineError("code from a checkpoint is never run here; take a model of a family this library knows")
    if is_hosted(model):
        return _hosted(task, str(model), tokenizer, options)
    if config is not None:
        raise PipelineError("config=... is not taken; the model's own config.json says what it is")
    for name in ("feature_extractor", "image_processor", "processor", "use_fast", "framework", "use_auth_token"):
        options.pop(name, None)
    owned = not isinstance(model, Model)
    if task is None:
        model, task = _with_its_task(model)
    name, languages = _named(task)
    entry = TASKS[name]
    kind: type[Pipeline[Any, Any, Any]] = getattr(
        importlib.import_module(f"moduformer.pipelines.{entry.module}"), entry.pipeline
    )
    place = _device(device)
    note = None
    if model is None:
        model, note = _default(name, kind.head, place, dtype or torch_dtype, languages)
    elif not isinstance(model, Model):
        model = load(model, kind.head, place, dtype or torch_dtype, revision)
    elif place is not None:
        model = model.to(place)
    if languages is not None:
        options = {"src_lang": languages[0], "tgt_lang": languages[1], **options}
    made = kind(prepare(model) if owned else model, _tokenizer(tokenizer), batch_size, **options)
    if note is not None:
        made.notes.insert(0, note)
        _log.warning(note)
    return made


def _hosted(task: str | None, model: str, tokenizer: Any, options: dict[str, Any]) -> Any:
    if task not in (None, "text-generation"):
        raise PipelineError(
            f"{model} is reached over its maker's interface, which generates text; {task} needs a model"
        )
    if tokenizer is not None:
        raise PipelineError(f"{model} has its own tokenizer, where it runs; leave tokenizer out")
    return HostedGeneration(model, **options)


def _named(task: str) -> tuple[str, tuple[str, str] | None]:
    languages = re.fullmatch(r"translation_(\w+?)_to_(\w+)", task)
    if languages is not None:
        return _known("translation"), (languages[1], languages[2])
    return _known(ALIASES.get(task, task)), None


def _known(task: str) -> str:
    if task not in TASKS:
        near = difflib.get_close_matches(task, [*TASKS, *ALIASES], 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise PipelineError(f"there is no task called {task!r}{hint}; there are {', '.join(TASKS)}")
    return task


def _with_its_task(model: Any) -> tuple[Model, str]:
    if model is None:
        raise PipelineError(f"name a task or a model; tasks are {', '.join(TASKS)}")
    loaded = model if isinstance(model, Model) else load(model)
    heads = {"classify": "text-classification", "tag": "token-classification", "span": "question-answering",
             "masked-lm": "fill-mask", "language-model": "text-generation"}  # fmt: skip
    for head in loaded.spec.heads:
        if head.kind == "language-model" and loaded.spec.has_source:
            return loaded, "text2text-generation"
        if head.kind in heads:
            return loaded, heads[head.kind]
    return loaded, "feature-extraction"


def _default(
    task: str, head: str | None, device: Any, dtype: Any, languages: tuple[str, str] | None
) -> tuple[Model, str]:
    entry, why = TASKS[task], ""
    for source in (entry.hub, entry.here):
        if source is None:
            continue
        if "{}" in source:
            if languages is None:
                raise PipelineError(f"{task} has a default model for every pair of languages; say {task}_en_to_de")
            source = source.format(*languages)
        try:
            loaded = load(source, head, device, dtype)
        except SourceError as error:
            why = str(error)
            continue
        if languages is not None and source == entry.here and (lacking := _lacking(loaded, languages)):
            raise PipelineError(f"{lacking}; name a model with model=... ({why})")
        return loaded, f"no model was named, so {task} uses {source}; name one with model=... to choose"
    raise PipelineError(f"no default model for {task} can be had ({why}); name one with model=...")


def _lacking(model: Model, languages: tuple[str, str]) -> str | None:
    """What there is to say of a model of some pairs of languages that does not know this one."""
    config = {} if model.origin is None else model.origin.config
    known = [name for name in config.get("task_specific_params", {}) if name.startswith("translation_")]
    wanted = "translation_{}_to_{}".format(*languages)
    return (
        None if wanted in known else f"no model at hand does {wanted}; the one that comes along does {', '.join(known)}"
    )


def _tokenizer(given: str | Path | Tokenizer | None) -> Tokenizer | None:
    if given is None or isinstance(given, Tokenizer):
        return given
    from moduformer.sources.resolve import resolve
    from moduformer.text.loading import tokenizer_for

    found = tokenizer_for(resolve(given).path)
    if found is None:
        raise PipelineError(f"{given} holds no tokenizer")
    return found


def _device(given: torch.device | str | int | None) -> torch.device | str | None:
    if isinstance(given, int):
        return "cpu" if given < 0 else f"cuda:{given}"
    return given
