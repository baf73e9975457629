"""Checking the answers of exercises: by computing what is right, and saying what to look at where one is not."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from moduformer.course.words import BOTH, Words
from moduformer.course.words import language as _language
from moduformer.errors import DataError

Exercise = Callable[[Any], Words | None]
"""Looks at an answer: words of praise that add something, or None. Raises `Wrong` with a hint."""

RIGHT = Words("맞았습니다.", "Right.")
OPEN = Words(
    "아직 답이 없습니다. 답을 써 넣고 이 칸을 다시 실행해 보십시오.",
    "No answer yet. Write one and run this cell again.",
)

_EXERCISES: dict[str, Exercise] = {}


class Wrong(Exception):
    """An answer that is not right, with a hint in both languages."""

    def __init__(self, ko: str, en: str) -> None:
        super().__init__(en)
        self.words = Words(ko, en)


@dataclass(frozen=True)
class Verdict:
    """What `check` found: `right` is None where there is no answer yet. True in a condition if it is right."""

    right: bool | None
    words: Words
    language: str | None = None

    def __bool__(self) -> bool:
        return bool(self.right)

    def __repr__(self) -> str:
        return self._marked(_language(self.language))

    def _marked(self, chosen: str) -> str:
        return {True: "✓ ", False: "✗ ", None: "… "}[self.right] + self.words.in_language(chosen)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        both: dict[str, Any] = {"right": self.right, "ko": self._marked("ko"), "en": self._marked("en")}
        return {"text/plain": repr(self), BOTH: both}


def exercise(name: str) -> Callable[[Exercise], Exercise]:
    """Registers a function as the check of an exercise, such as `00-weights`."""

    def register(function: Exercise) -> Exercise:
        _EXERCISES[name] = function
        return function

    return register


def exercises() -> list[str]:
    """The names of all exercises."""
    from moduformer.course import exercises as package

    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")
    return sorted(_EXERCISES)


def check(name: str, answer: Any = None, language: str | None = None) -> Verdict:
    """Whether an answer is right, and if not, what to look at.

    Arguments:
        name: of the exercise, as the notebook says, such as "00-weights".
        answer: what you found; None or `...` while you have none.
        language: "ko" or "en"; None takes the notebook's.

    Raises `DataError` for an unknown exercise. An answer of any kind, however odd, gets a verdict.
    """
    _language(language)
    known = exercises()
    if name not in known:
        near = difflib.get_close_matches(str(name), known, 1)
        hint = f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(known)}"
        raise DataError(f"there is no exercise {name!r:.60}{hint}")
    if answer is None or answer is ...:
        return Verdict(None, OPEN, language)
    try:
        praise = _EXERCISES[name](answer)
    except Wrong as wrong:
        return Verdict(False, wrong.words, language)
    except Exception as error:
        said = f"{type(error).__name__}: {error!s:.200}"
        words = Words(
            f"이 답은 살펴볼 수 없었습니다 ({said}). 답의 종류를 다시 확인해 보십시오.",
            f"This answer could not be looked at ({said}). Is it of the kind that is asked for?",
        )
        return Verdict(False, words, language)
    more = Words("", "") if praise is None else Words(f" {praise.ko}", f" {praise.en}")
    return Verdict(True, Words(RIGHT.ko + more.ko, RIGHT.en + more.en), language)


# What checks have in common ------------------------------------------------------------------------------------------


def number(answer: Any) -> float:
    """A single number, of Python, numpy or torch. Raises `Wrong`."""
    found = numbers(answer)
    if len(found) != 1:
        raise Wrong(
            f"수 하나가 필요합니다. 지금은 {len(found)}개입니다.", f"One number is wanted, and these are {len(found)}."
        )
    return found[0]


def numbers(answer: Any, count: int | None = None) -> list[float]:
    """A flat list of numbers from a number, a sequence, an array or a tensor. Raises `Wrong` for anything else."""
    found: list[Any] = [answer]
    while any(not isinstance(part, int | float) for part in found):
        found = [each for part in found for each in _opened(part)]
    if count is not None and len(found) != count:
        raise Wrong(
            f"수 {count}개가 필요합니다. 지금은 {len(found)}개입니다.",
            f"{count} numbers are wanted, and these are {len(found)}.",
        )
    return [float(part) for part in found]


def _opened(part: Any) -> list[Any]:
    if hasattr(part, "detach"):
        part = part.detach().cpu()
    if hasattr(part, "tolist"):
        part = part.tolist()
    if isinstance(part, list | tuple):
        return list(part)
    if isinstance(part, int | float):
        return [part]
    kind = type(part).__name__
    raise Wrong(f"수가 필요한데 {kind}이(가) 있습니다.", f"Numbers are wanted, and here is a {kind}.")


def close(found: Sequence[float], wanted: Sequence[float], tolerance: float = 1e-3) -> bool:
    """Whether numbers are those wanted, each within `tolerance` of the largest or of 1."""
    scale = max(1.0, *(abs(each) for each in wanted))
    return len(found) == len(wanted) and all(abs(a - b) <= tolerance * scale for a, b in zip(found, wanted))
