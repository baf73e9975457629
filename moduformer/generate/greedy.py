"""Greedy decoding: the most probable token at every step, for decoders and encoder-decoders."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from moduformer.batch import Batch
from moduformer.errors import TextError

if TYPE_CHECKING:
    from moduformer.model import Model


@torch.no_grad()
def greedy(
    model: Model, prompts: Batch | Sequence[Sequence[int]], max_new_tokens: int = 20, eos: Sequence[int] | None = None
) -> list[list[int]]:
    """The most probable continuation of every prompt, token by token.

    Arguments:
        prompts: token ids of each row (a decoder's prompt or an encoder's source), no padding needed; or a `Batch`.
        max_new_tokens: how many tokens a row gets at most.
        eos: tokens that end a row; None takes the spec's `eos_id`.

    Returns only the new tokens of every row, in the caller's order, each list ending with its end token if it reached
    one. Raises `TextError` for a model that has no language-model head or no decoder.
    """
    spec = model.spec
    if spec.head("language-model") is None or spec.decoder is None:
        raise TextError("only a model with a decoder and a language-model head can continue a text")
    if max_new_tokens < 1:
        raise TextError(f"max_new_tokens must be at least 1, but is {max_new_tokens}")
    ends = set(_ends(spec.eos_id) if eos is None else eos)
    batch = prompts if isinstance(prompts, Batch) else Batch.from_lists(prompts, device=model.device)
    # A cache wants its rows in one order for good.
    batch = batch.select([batch.order.index(i) for i in range(len(batch.order))])
    count = len(batch.order)
    cache = model.cache(count)
    if spec.encoder is not None:
        if spec.decoder_start_id is None:
            raise TextError("this model's spec has no decoder_start_id to begin a text with")
        target = Batch.following([[spec.decoder_start_id]] * count, cache.seen, model.device)
        states = model.run(batch, target, cache)
    else:
        states = model.run(batch, cache=cache)
    new: list[list[int]] = [[] for _ in range(count)]
    active = list(range(count))
    encoded = states.encoder_hidden
    for step in range(max_new_tokens):
        chosen = states.heads["language-model"][states.batch.rows.ends].argmax(-1).tolist()
        for row, token in zip(active, chosen):
            new[row].append(token)
        going = [i for i, token in enumerate(chosen) if token not in ends]
        if not going or step == max_new_tokens - 1:
            break
        if len(going) < len(active):
            cache.select(going, batch.rows if encoded is not None else None)
            if encoded is not None:
                encoded = encoded[batch.rows.places(going)]
                batch = batch.select(going)
            active, chosen = [active[i] for i in going], [chosen[i] for i in going]
        following = Batch.following([[token] for token in chosen], cache.seen, model.device)
        if encoded is None:
            states = model.run(following, cache=cache)
        else:
            states = model.run(batch, following, cache, encoded=encoded)
    return new


def generate_padded(model: Model, input_ids: Tensor, attention_mask: Tensor | None, max_new_tokens: int) -> Tensor:
    """`Model.generate`: padded prompts `[rows, tokens]` to padded results."""
    spec = model.spec
    ends = _ends(spec.eos_id)
    if attention_mask is None and spec.pad_id is not None and spec.pad_id not in ends:
        attention_mask = input_ids != spec.pad_id
    new = greedy(model, Batch.from_padded(input_ids, attention_mask), max_new_tokens)
    pad = spec.pad_id if spec.pad_id is not None else ends[0] if ends else 0
    width = max(len(row) for row in new)
    made = input_ids.new_tensor([row + [pad] * (width - len(row)) for row in new])
    if spec.encoder is None:
        return torch.cat((input_ids, made), dim=1)
    start = input_ids.new_tensor([[spec.decoder_start_id]] * len(new))
    return torch.cat((start, made), dim=1)


def _ends(eos: int | tuple[int, ...] | None) -> tuple[int, ...]:
    return eos if isinstance(eos, tuple) else () if eos is None else (eos,)
