"""The course: notebooks that run on an ordinary computer, with exercises that check their answers.

`mf.course.start()` begins a notebook, `mf.course.check(name, answer)` looks at an answer. The exercises of a notebook
stand in a file of `moduformer/course/exercises/`; the notebooks themselves are made in `notebooks/` of a checkout.
"""

import importlib
from typing import Any

from moduformer.course.checking import Verdict, check
from moduformer.course.words import Words, language

_HOME = {
    "start": "moduformer.course.beginning",
    "rated": "moduformer.course.data",
    "word_order_pairs": "moduformer.course.toy",
    "toy_reviews": "moduformer.course.toy",
    "word_tokenizer": "moduformer.course.toy",
}
"""What loads torch or pandas waits until a notebook asks for it."""

__all__ = ["Verdict", "Words", "check", "language", *_HOME]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'moduformer.course' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)
