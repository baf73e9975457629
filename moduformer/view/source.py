"""What answers a page's questions: recordings by their ids, with every parameter checked before it is used."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

from moduformer.errors import ModuformerError, TextError
from moduformer.view.record import Recording, record

MOST_HEADS = 10_000
MOST_RECORDINGS = 24
"""Recordings a page may have; a reader who types more texts loses the oldest that were typed."""

MOST_CHARACTERS = 200_000
MOST_WRITTEN = 200

Answer = bytes | Any


class Source:
    """Recordings, and the answers to questions about them, one at a time.

    Arguments:
        recordings: those a page begins with; equal ids are renumbered.
    """

    def __init__(self, recordings: Sequence[Recording]) -> None:
        if not recordings:
            raise TextError("there is nothing to look at: give a recording")
        self.recordings: dict[str, Recording] = {}
        for recording in recordings:
            self._add(recording)
        self._given = len(self.recordings)
        self._lock = threading.Lock()

    def _add(self, recording: Recording) -> None:
        if recording.id in self.recordings:
            recording.id = next(str(n) for n in range(1, 10**6) if str(n) not in self.recordings)
        self.recordings[recording.id] = recording

    def ask(self, question: object, parameters: object) -> Answer:
        """The answer to a question: bytes for `layer`, plain data for JSON otherwise.

        Raises `TextError` for a question or a parameter that is not right; nothing else escapes from bad input.
        """
        answer = _ANSWERS.get(question) if isinstance(question, str) else None
        if answer is None:
            raise TextError(f"there is no such question; there are {', '.join(_ANSWERS)}")
        if not isinstance(parameters, Mapping):
            raise TextError("parameters must be one JSON object")
        with self._lock:
            try:
                return answer(self, Parameters(parameters))
            except ModuformerError as error:
                raise TextError(str(error)) from None
            except RecursionError:
                raise TextError("the parameters are nested too deeply") from None

    def recording(self, parameters: Parameters) -> Recording:
        """The recording that parameters name. Raises `TextError`."""
        found = self.recordings.get(parameters.text("recording", 100))
        if found is None:
            raise TextError("there is no recording of that id")
        return found

    def again(self, parameters: Parameters) -> Any:
        """A new recording of another text with the model of one that is there."""
        before = self.recording(parameters)
        text = parameters.text("text", MOST_CHARACTERS)
        target = parameters.text("target", MOST_CHARACTERS) if parameters.has("target") else None
        wanted = parameters.number("generate", MOST_WRITTEN) if parameters.has("generate") else 0
        made = record(before.model, text, target, generate=wanted, name=before.name)
        if len(self.recordings) >= self._given + MOST_RECORDINGS:
            typed = list(self.recordings)[self._given :]
            del self.recordings[typed[0]]
        self._add(made)
        return made.data


class Parameters:
    """A question's parameters, of which each is what it has to be or a `TextError`."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        self._given = given

    def has(self, name: str) -> bool:
        """Whether it was given, and not as null."""
        return self._given.get(name) is not None

    def text(self, name: str, most: int) -> str:
        """A text of at most so many characters."""
        value = self._given.get(name)
        if not isinstance(value, str) or len(value) > most:
            raise TextError(f"{name} must be a text of at most {most:,} characters")
        return value

    def number(self, name: str, most: int = 2**31) -> int:
        """A whole number from 0."""
        return _number(self._given.get(name), name, most)

    def heads(self) -> list[tuple[str, int, int]]:
        """A list of `[attention, layer, head]`."""
        value = self._given.get("heads")
        if not isinstance(value, list) or len(value) > MOST_HEADS:
            raise TextError(f"heads must be a list of at most {MOST_HEADS:,} [attention, layer, head]")
        found = []
        for entry in value:
            if not isinstance(entry, list) or len(entry) != 3 or not isinstance(entry[0], str):
                raise TextError("each of heads must be [attention, layer, head]")
            found.append((entry[0], _number(entry[1], "layer"), _number(entry[2], "head")))
        return found


def _number(value: Any, name: str, most: int = 2**31) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
        raise TextError(f"{name} must be a whole number from 0 to {most:,}")
    return value


def rounded(values: Tensor, digits: int = 6) -> list[Any]:
    """A matrix as lists of numbers that are short in JSON."""
    return [[round(value, digits) for value in row] for row in values.tolist()]


def _layer(source: Source, given: Parameters) -> bytes:
    head = given.number("head") if given.has("head") else None
    return source.recording(given).layer(given.text("attention", 100), given.number("layer"), head)


def _pair(source: Source, given: Parameters) -> Any:
    numbers = [given.number(name) for name in ("layer", "head", "query", "key")]
    return source.recording(given).pair(given.text("attention", 100), *numbers)


def _rollout(source: Source, given: Parameters) -> Any:
    return rounded(source.recording(given).rollout(given.text("attention", 100)))


def _gradient(source: Source, given: Parameters) -> Any:
    target, token = (given.number(name) if given.has(name) else None for name in ("target", "token"))
    heads, weights = source.recording(given).gradient(given.text("attention", 100), target, token)
    # They may be tiny, and only their proportions say something.
    return {"heads": _shares(heads), "weights": _shares(weights)}


def _shares(values: Tensor) -> list[Any]:
    return [[float(f"{value:.5g}") for value in row] for row in values.tolist()]


def _effects(source: Source, given: Parameters) -> Any:
    return rounded(source.recording(given).effects(given.text("attention", 100)))


_ANSWERS: dict[str, Callable[[Source, Parameters], Answer]] = {
    "recordings": lambda source, given: [recording.data for recording in source.recordings.values()],
    "layer": _layer,
    "pair": _pair,
    "rollout": _rollout,
    "gradient": _gradient,
    "lens": lambda source, given: source.recording(given).lens(),
    "off": lambda source, given: source.recording(given).off(given.heads()),
    "effects": _effects,
    "record": lambda source, given: source.again(given),
}
QUESTIONS = tuple(_ANSWERS)
