"""Gradient checkpointing (Chen et al. 2016): layers keep their inputs alone, and are computed again on the way back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from moduformer.blocks.attention import Pass
from moduformer.blocks.block import Block
from moduformer.blocks.feed_forward import FeedForward
from moduformer.blocks.stack import Stack
from moduformer.model import Model


@contextmanager
def recomputed(model: Model, wanted: bool) -> Iterator[None]:
    """Within, the model's layers are computed again for their gradients, to the same bits, dropout included.

    The first layer of each kind in a stack is kept: it makes what the others share, such as position biases. So is a
    mixture of experts, which is watched while it runs, and a last layer that computes a single state a row.
    """
    changed: list[Block] = []
    try:
        for stack in (part for part in model.modules() if wanted and isinstance(part, Stack)):
            kinds = len(stack.settings.pattern)
            for block in {id(block): block for block in map(stack.layer, range(kinds, stack.settings.layers))}.values():
                if type(block) is Block and isinstance(block.feed_forward, FeedForward):
                    block.forward = _again(block.forward, kinds)  # type: ignore[method-assign]
                    changed.append(block)
        yield
    finally:
        for block in changed:
            del block.forward


def _again(forward: Callable[..., Tensor], kinds: int) -> Callable[..., Tensor]:
    def run(hidden: Tensor, run: Pass, layer: int, name: str) -> Tensor:
        if layer < kinds or run.at is not None or run.trace is not None or not torch.is_grad_enabled():
            return forward(hidden, run, layer, name)
        found = checkpoint(forward, hidden, run, layer, name, use_reentrant=False)
        assert isinstance(found, Tensor)
        return found

    return run
