"""Dropout while training, where it differs from the spec's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from moduformer.blocks.attention import Attention, CrossAttention
from moduformer.model import Model


@contextmanager
def dropout_rates(model: Model, attention: float, hidden: float | None) -> Iterator[None]:
    """Within, attention weights and hidden states are dropped at these rates; afterwards as the spec says.

    On a CPU any rate of `attention` above 0 sends it from the fused kernel to one that is many times slower. None for
    `hidden` keeps the spec's. The model's spec, which is what gets saved, is not changed.
    """
    having = (module for module in model.modules() if hasattr(getattr(module, "settings", None), "dropout"))
    before: list[tuple[Any, Any]] = [(module, module.settings) for module in having]
    try:
        for module, settings in before:
            rate = attention if isinstance(module, Attention | CrossAttention) else hidden
            if rate is not None:
                module.settings = replace(settings, dropout=rate)
        yield
    finally:
        for module, settings in before:
            module.settings = settings
