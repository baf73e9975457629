"""Texts that come more than once: within examples, and in training and evaluation examples alike."""

import unicodedata
from dataclasses import dataclass
from typing import Any

from moduformer.train.examples import Examples


@dataclass(frozen=True)
class Duplicate:
    """Examples with the same text (spacing, letter case and Unicode form aside).

    Attributes:
        text: the text, as the first of them has it.
        indices: their positions.
        labels_agree: whether all carry the same label.
    """

    text: str
    indices: tuple[int, ...]
    labels_agree: bool


@dataclass(frozen=True)
class Leak:
    """A text that is both in the training and in the evaluation examples."""

    text: str
    train_indices: tuple[int, ...]
    evaluation_indices: tuple[int, ...]


def text_key(text: str) -> str:
    """What two texts share when they are the same for a reader: NFC, one space between words, case folded."""
    return " ".join(unicodedata.normalize("NFC", text).split()).casefold()


def example_key(examples: Examples, index: int) -> tuple[str, str]:
    """What two examples share whose text, and second text, are the same for a reader."""
    return text_key(examples.texts[index]), "" if examples.pairs is None else text_key(examples.pairs[index])


def duplicates(examples: Examples) -> list[Duplicate]:
    """Texts that appear more than once, in order of their first appearance."""
    groups: dict[tuple[str, str], list[int]] = {}
    for i in range(len(examples)):
        groups.setdefault(example_key(examples, i), []).append(i)
    return [
        Duplicate(examples.texts[group[0]], tuple(group), len({_label_key(examples.labels[i]) for i in group}) == 1)
        for group in groups.values()
        if len(group) > 1
    ]


def _label_key(label: Any) -> Any:
    return frozenset(label) if isinstance(label, tuple) else label


def leaks(train: Examples, evaluation: Examples) -> list[Leak]:
    """Texts of the evaluation examples that training has seen, in order of the evaluation examples."""
    seen: dict[tuple[str, str], list[int]] = {}
    for i in range(len(train)):
        seen.setdefault(example_key(train, i), []).append(i)
    met: dict[tuple[str, str], list[int]] = {}
    for i in range(len(evaluation)):
        key = example_key(evaluation, i)
        if key in seen:
            met.setdefault(key, []).append(i)
    return [Leak(evaluation.texts[found[0]], tuple(seen[key]), tuple(found)) for key, found in met.items()]
