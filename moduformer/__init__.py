"""moduformer (모두 "all" + former): every Transformer in one small library."""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from moduformer import course as course
    from moduformer import view as view
    from moduformer.catalog import Table
    from moduformer.model import build as build
    from moduformer.pipelines.registry import pipeline as pipeline
    from moduformer.tasks.language_model import LanguageModel as LanguageModel
    from moduformer.tasks.question_answerer import QuestionAnswerer as QuestionAnswerer
    from moduformer.tasks.seq2seq import Seq2Seq as Seq2Seq
    from moduformer.tasks.text_classifier import TextClassifier as TextClassifier
    from moduformer.tasks.token_classifier import TokenClassifier as TokenClassifier

    catalog: Table

# Names load on first use: importing the library must not pay for torch or pandas.
_HOME = {
    "build": "moduformer.model",
    "Trace": "moduformer.trace",
    "load": "moduformer.loading",
    "spec": "moduformer.families",
    "LanguageModel": "moduformer.tasks.language_model",
    "QuestionAnswerer": "moduformer.tasks.question_answerer",
    "Seq2Seq": "moduformer.tasks.seq2seq",
    "TextClassifier": "moduformer.tasks.text_classifier",
    "TokenClassifier": "moduformer.tasks.token_classifier",
    "pipeline": "moduformer.pipelines.registry",
}

_ROOMS = ("catalog", "course", "view")
"""Modules that are used as they are: the first is the model table itself, the last a function; importing one sets its
name."""

__all__ = ["__version__", *_ROOMS, *_HOME]


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return importlib.import_module(f"moduformer.{name}")
    if name not in _HOME:
        raise AttributeError(f"module 'moduformer' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
