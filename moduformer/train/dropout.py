"""Dropout while training, where it differs from the spec's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from moduformer.blocks.attention import Attention, CrossAttention
from moduformer.model import Model


@contextmanager
def attention_dropout(model: Model, rate: float) -> Iterator[None]:
    """Within, every attention of the model drops this share of its weights; afterwards what its spec says.

    On a CPU any rate above 0 sends attention from the fused kernel to one that is many times slower. The model's spec,
    which is what gets saved, is not changed.
    """
    changed = [module for module in model.modules() if isinstance(module, Attention | CrossAttention)]
    before = [module.settings for module in changed]
    try:
        for module in changed:
            module.settings = replace(module.settings, dropout=rate)
        yield
    finally:
        for module, settings in zip(changed, before):
            module.settings = settings
