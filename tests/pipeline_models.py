"""Small models for the tests of pipelines: every parameter random, a tokenizer of English and Korean words."""

from functools import cache
from pathlib import Path
from typing import Any

import torch
from core_models import randomise

import moduformer as mf
from moduformer.families import family
from moduformer.model import Model
from moduformer.text.tokenizer import Tokenizer

POSITIONS = 48
TEXTS = [
    "The movie was very good, and the story of the old city was long.",
    "It was not a bad film; we were happy at the end of it!",
    "이 영화 정말 재미 있다. 음악도 좋고 이야기도 길다.",
    "서울은 오래된 도시이고 강이 흐른다.",
    "entailment neutral contradiction sports music politics",
]
SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": POSITIONS,
}


@cache
def words() -> Tokenizer:
    """A tokenizer of the words above."""
    return Tokenizer.train(TEXTS * 4, "wordpiece", 400, lowercase=True)


def small(architecture: str, **config: Any) -> Model:
    """A BERT of two small layers, such as "BertForMaskedLM"."""
    tokenizer = words()
    config = {**SIZES, "vocab_size": tokenizer.max_id + 1, **config}
    model = randomise(mf.build(family("bert").read(config, architecture), seed=1), seed=2).eval()
    with torch.no_grad():
        # Else every text has nearly the same scores, and a test that compares them shows little.
        for name, parameter in model.named_parameters():
            parameter.mul_(5 if parameter.dim() > 1 else 0.2)
            if name.endswith("norm.weight"):
                parameter.add_(1)
    model.tokenizer = tokenizer
    return model


def folder_of(folder: Path, architecture: str, labels: tuple[str, ...] = (), **config: Any) -> Path:
    """A folder with such a model."""
    named = {"id2label": dict(enumerate(labels)), "label2id": {name: i for i, name in enumerate(labels)}}
    model = small(architecture, **(named if labels else {}), **config)
    model.labels = labels or None
    return model.save(folder)


def long_text(times: int) -> str:
    """More than the model reads at once, with no two windows alike."""
    return " ".join(f"{TEXTS[i % 4]} {'city ' * (i % 3)}" for i in range(2 * times))
