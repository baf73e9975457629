"""Architectures as plain data and back, for JSON."""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from typing import Any

from moduformer.architecture.parts import (
    ALiBi,
    Disentangled,
    DynamicScaling,
    FeedForward,
    LearnedPositions,
    LinearScaling,
    Llama3Scaling,
    MixtureOfExperts,
    RelativeSinusoids,
    Rotary,
    Sinusoids,
    YarnScaling,
)
from moduformer.architecture.recurrent import (
    AdditiveAttention,
    MultiplicativeAttention,
    Recurrent,
    RecurrentDecoder,
    Summary,
)
from moduformer.architecture.vision import Projector, QFormer, Resampler
from moduformer.errors import SpecError


@functools.cache
def hints_of(cls: Any) -> dict[str, Any]:
    """The declared types of a dataclass's fields."""
    return typing.get_type_hints(cls)


def plain(value: Any) -> Any:
    """Dataclasses and tuples as dicts and lists; a part that has alternatives says its type."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        data = {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {"type": type(value).__name__, **data} if type(value) in _TAGGED else data
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    return value


_TAGGED = (
    LinearScaling,
    DynamicScaling,
    Llama3Scaling,
    YarnScaling,
    LearnedPositions,
    Sinusoids,
    Rotary,
    ALiBi,
    Disentangled,
    RelativeSinusoids,
    FeedForward,
    MixtureOfExperts,
    Projector,
    QFormer,
    Resampler,
    Recurrent,
    RecurrentDecoder,
    Summary,
    AdditiveAttention,
    MultiplicativeAttention,
)


def construct(kind: Any, data: Any, where: str) -> Any:
    """A value of the declared type from plain data. Raises `SpecError` naming the place of what does not fit."""
    options = typing.get_args(kind) if typing.get_origin(kind) in (types.UnionType, typing.Union) else (kind,)
    if data is None and types.NoneType in options:
        return None
    if isinstance(data, dict):
        classes: dict[str, Any] = {option.__name__: option for option in options if isinstance(option, type)}
        classes = {name: cls for name, cls in classes.items() if dataclasses.is_dataclass(cls)}
        name = data.get("type", next(iter(classes), None))
        if not isinstance(name, str) or name not in classes:
            raise SpecError(f"{where}: no part is called {name!r}; known here: {', '.join(classes) or 'none'}")
        cls = classes[name]
        hints = hints_of(cls)
        known = {f.name for f in dataclasses.fields(cls)}
        given = {key: value for key, value in data.items() if key != "type"}
        if unknown := sorted(set(given) - known):
            raise SpecError(f"{where}: unknown field {unknown[0]!r}; {name} has {', '.join(sorted(known))}")
        parts = {key: construct(hints[key], value, f"{where}.{key}") for key, value in given.items()}
        try:
            return cls(**parts)
        except TypeError as error:
            raise SpecError(f"{where}: {error}") from None
    for option in options:
        if typing.get_origin(option) is tuple and isinstance(data, list):
            return tuple(construct(typing.get_args(option)[0], item, where) for item in data)
    return data
