"""What was read once and is not read again: caches of prompts, for later prompts that begin alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING
from weakref import ref

from moduformer.cache import Cache
from moduformer.errors import TextError

if TYPE_CHECKING:
    from moduformer.model import Model

SHORTEST = 8
"""Fewer tokens in common are read faster than copied."""


class Prefixes:
    """Remembers what a decoder has read. Give the same one to every call: `generate_text(..., prefixes=prefixes)`.

    Arguments:
        tokens: how many tokens are remembered at most; what was used longest ago goes first.

    The beginning that a call's prompts share is remembered, and read anew only from where it differs from all that is
    remembered. `read` and `reused` count tokens of prompts so far. Results are those of reading all, to rounding.
    """

    def __init__(self, tokens: int = 16_384) -> None:
        if tokens < 1:
            raise TextError(f"tokens is how many tokens are remembered, at least 1; got {tokens}")
        self.tokens = tokens
        self.read = self.reused = 0
        self._held: dict[tuple[int, ...], Cache] = {}
        self._model: ref[Model] | None = None

    def begin(self, model: Model, prompts: Sequence[Sequence[int]]) -> tuple[Cache | None, int]:
        """A cache of the longest remembered beginning of all prompts, a row each, and its tokens; None without one.

        At least one token of every prompt is left to read. Raises `TextError` for another model than before."""
        if self._model is None:
            self._model = ref(model)
        elif self._model() is not model:
            raise TextError("these prefixes were read by another model; make Prefixes() for each")
        total = sum(map(len, prompts))
        longest, shared = 0, tuple[int, ...]()
        for held in self._held:
            here = min(min(common(held, ids), len(ids) - 1) for ids in prompts)
            if here > longest:
                longest, shared = here, held
        cache = None
        if longest >= SHORTEST:
            try:
                cache = self._held[shared].copy([0] * len(prompts))
                cache.truncate([longest] * len(prompts))
            except TextError:  # A window has forgotten what the prompt needs.
                cache = None
        if cache is None:
            self.read += total
            return None, 0
        self._held[shared] = self._held.pop(shared)
        self.reused += longest * len(prompts)
        self.read += total - longest * len(prompts)
        return cache, longest

    def remember(self, prompts: Sequence[Sequence[int]], cache: Cache) -> None:
        """Keeps what all prompts have in common of a cache that has read them and nothing else."""
        first = list(prompts[0])
        shared = min(common(first, ids) for ids in prompts)
        ids = tuple(first[:shared])
        if not SHORTEST <= shared <= self.tokens or ids in self._held:
            return
        kept = cache.copy([0])
        try:
            kept.truncate([shared])
        except TextError:
            return
        for held in [held for held in self._held if ids[: len(held)] == held]:
            del self._held[held]  # The longer one serves whoever asks for its beginning.
        self._held[ids] = kept
        while sum(map(len, self._held)) > self.tokens:
            del self._held[next(iter(self._held))]


def common(left: Sequence[int], right: Sequence[int]) -> int:
    """How many first items are equal."""
    for place, (a, b) in enumerate(zip(left, right)):
        if a != b:
            return place
    return min(len(left), len(right))
