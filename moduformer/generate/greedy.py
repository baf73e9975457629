"""Greedy decoding of ragged prompts: the most probable token at every step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from moduformer.batch import Batch
from moduformer.generate.sampling import generate
from moduformer.generate.settings import GenerationSettings
from moduformer.generate.strategies import Request

if TYPE_CHECKING:
    from moduformer.model import Model


def greedy(
    model: Model, prompts: Batch | Sequence[Sequence[int]], max_new_tokens: int = 20, eos: Sequence[int] | None = None
) -> list[list[int]]:
    """The most probable continuation of every prompt, without any other setting of the model's.

    Arguments:
        prompts: token ids of each row (a decoder's prompt or an encoder's source), no padding needed; or a `Batch`.
        max_new_tokens: how many tokens a row gets at most.
        eos: tokens that end a row; None takes the spec's `eos_id`.

    Returns only the new tokens of every row, in the caller's order, each list ending with its end token if it reached
    one. Raises `TextError` for a model that has no language-model head or no decoder.
    """
    own = model.spec.eos_id
    ends = eos if eos is not None else own if isinstance(own, tuple) else () if own is None else (own,)
    settings = GenerationSettings(max_new_tokens=max_new_tokens, eos_token_id=tuple(ends))
    return [results[0].ids for results in generate(model, prompts, Request(settings, max_new_tokens))]
