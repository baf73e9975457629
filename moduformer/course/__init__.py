"""The course: notebooks that run on an ordinary computer, with exercises that check their answers.

`mf.course.start()` begins a notebook, `mf.course.check(name, answer)` looks at an answer. The exercises of a notebook
stand in a file of `moduformer/course/exercises/`; the notebooks themselves are made in `notebooks/` of a checkout.
"""

from moduformer.course.checking import Verdict, check
from moduformer.course.words import Words, language

__all__ = ["Verdict", "Words", "check", "language", "rated", "start"]


def __getattr__(name: str) -> object:
    # What loads torch or pandas waits until a notebook asks for it.
    if name == "start":
        from moduformer.course.beginning import start

        return start
    if name == "rated":
        from moduformer.course.data import rated

        return rated
    raise AttributeError(f"module 'moduformer.course' has no attribute {name!r}")
