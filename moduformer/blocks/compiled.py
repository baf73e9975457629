"""Layers whose step of one new token a row is one compiled call, such as those of Llama, Mistral and Qwen2."""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from moduformer import architecture, native
from moduformer.architecture import Rotary
from moduformer.blocks.attention import Attention, Pass, score_scale
from moduformer.blocks.feed_forward import FeedForward
from moduformer.blocks.linear import ActivatingLinear
from moduformer.blocks.norm import Norm
from moduformer.cache import Placement

if TYPE_CHECKING:
    from moduformer.blocks.block import Block

_LAYERS: WeakKeyDictionary[nn.Module, tuple[tuple[int, ...], native.Layer | None]] = WeakKeyDictionary()
"""What each block compiled to, and the places of the tensors it read then. Not kept in the block, because addresses
cannot be copied or saved."""


def step(block: Block, hidden: Tensor, run: Pass, layer: int) -> Tensor | None:
    """The layer's result `[rows, dim]` for one new token a row; None where that has no compiled way."""
    if run.caches is None or run.placements is None or run.trace is not None:
        return None
    placement = run.placements[block.settings.attention.window]
    if not _is_step(placement) or not native.serves(hidden) or torch.is_autocast_enabled("cpu"):
        return None
    compiled = _layer(block)
    layout = placement.layout
    if compiled is None or layout is None or run.position_bias is not None:
        return None
    attention = block.settings.attention
    held = run.caches[layer].held(placement, len(run.rows.lengths), hidden, (attention.kv_heads, attention.head_dim))
    turns = run.turns(attention.position, hidden.dtype) if isinstance(attention.position, Rotary) else None
    added = layout.added(run.rule(attention.window), hidden.dtype)[0]
    return compiled.step(
        hidden,
        turns,
        held,
        placement.index,
        None if added is None else added.contiguous(),
        layout.given[0].keys,
        score_scale(attention, layer),
    )


def _is_step(placement: Placement) -> bool:
    """Whether every row has one new token, and looks at a cache."""
    if placement.layout is None or placement.keep is not None:
        return False
    group = placement.layout.given[0]
    return group.queries == 1 and group.query_tokens == group.count


def _layer(block: Block) -> native.Layer | None:
    parts = list(block.modules())
    if block.training or any(part._forward_hooks or part._forward_pre_hooks for part in parts):
        return None
    places = tuple(parameter.data_ptr() for parameter in block.parameters())
    known = _LAYERS.get(block)
    if known is None or known[0] != places:
        known = _LAYERS[block] = (places, _compiled(block))
    return known[1]


def _compiled(block: Block) -> native.Layer | None:
    settings, attention, inner = block.settings, block.settings.attention, block.settings.feed_forward
    turns, norm = attention.position, settings.norm
    alike = (
        type(block.attention) is Attention
        and type(block.feed_forward) is FeedForward
        and isinstance(inner, architecture.FeedForward)
        and (inner.gated, inner.activation, inner.norm) == (True, "silu", None)
        and (settings.flow, settings.norm_at, settings.residual) == ("sequential", ("in",), "input")
        and settings.residual_scale == 1.0
        and not settings.crosses
        and settings.entities is None
        and (norm.kind, norm.weight, norm.unit_offset) == ("rms", True, False)
        and (attention.clip, attention.softcap) == (None, None)
        and (turns is None or (isinstance(turns, Rotary) and turns.axes == 1))
    )
    if not alike:
        return None
    norms = [getattr(block, f"{part}_norm_in") for part in ("attention", "feed_forward")]
    layers = (block.attention.qkv, block.attention.out, block.feed_forward.inner, block.feed_forward.down)
    linears = [layer.compiled() for layer in layers if isinstance(layer, ActivatingLinear)]
    found = [linear for linear in linears if linear is not None]
    weights = [one.weight for one in norms if isinstance(one, Norm) and one.weight is not None]
    if len(found) < 4 or len(weights) < 2 or not native.serves(*weights):
        return None
    turned = (turns.dim, turns.pairing != "halves") if isinstance(turns, Rotary) else None
    heads = (attention.heads, attention.kv_heads, attention.head_dim)
    return native.Layer(found, weights, (norm.eps, norm.eps), heads, turned)
