"""Layers that are one compiled call: encoder layers such as those of BERT, and the step of one new token a row of
decoder layers such as those of Llama, Mistral and Qwen2."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
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
from moduformer.kernels import COMPILED

if TYPE_CHECKING:
    from moduformer.blocks.block import Block


def layer(block: Block, hidden: Tensor, run: Pass, number: int) -> Tensor | None:
    """The result of layer `number` for `[tokens, dim]`; None where that has no compiled way."""
    if run.trace is not None or run.at is not None or run.position_bias is not None or block.training:
        return None
    if torch.is_grad_enabled() or torch.is_autocast_enabled("cpu") or not native.serves(hidden):
        return None
    made = _made(block)
    if isinstance(made, native.EncoderLayer):
        return _encoded(made, block, hidden, run, number)
    return None if made is None else _stepped(made, block, hidden, run, number)


def _encoded(made: native.EncoderLayer, block: Block, hidden: Tensor, run: Pass, number: int) -> Tensor | None:
    rows = run.rows
    if run.caches is not None or run.causal or max(rows.lengths) > COMPILED:
        return None
    return made.run(hidden, rows.starts, rows.sizes, score_scale(block.settings.attention, number))


def _stepped(made: native.DecoderLayer, block: Block, hidden: Tensor, run: Pass, number: int) -> Tensor | None:
    if run.caches is None or run.placements is None:
        return None
    attention = block.settings.attention
    placement = run.placements[attention.window]
    layout = placement.layout
    if layout is None or not _is_step(placement):
        return None
    held = run.caches[number].held(placement, len(run.rows.lengths), hidden, (attention.kv_heads, attention.head_dim))
    turns = run.turns(attention.position, hidden.dtype) if isinstance(attention.position, Rotary) else None
    added = layout.added(run.rule(attention.window), hidden.dtype)[0]
    return made.step(
        hidden,
        turns,
        held,
        placement.index,
        None if added is None else added.contiguous(),
        layout.given[0].keys,
        score_scale(attention, number),
    )


def _is_step(placement: Placement) -> bool:
    """Whether every row has one new token, and looks at a cache."""
    if placement.layout is None or placement.keep is not None:
        return False
    group = placement.layout.given[0]
    return group.queries == 1 and group.query_tokens == group.count


@dataclass(frozen=True, eq=False)
class _Compiled:
    """What a block compiled to, and what it was then: its modules' children, parameters and hooks.

    Asked in every layer of every step, so it holds on to the modules' own dictionaries and does not walk them again."""

    made: native.EncoderLayer | native.DecoderLayer | None
    hooks: tuple[dict[int, Any], ...]
    held: tuple[tuple[dict[str, Any], tuple[Any, ...]], ...]
    parameters: tuple[nn.Parameter, ...]
    places: tuple[int, ...]

    @classmethod
    def of(cls, block: Block) -> _Compiled:
        """The block as it is now; no gradient is wanted, so its parameters are as good as any numbers."""
        parts, parameters = list(block.modules()), tuple(block.parameters())
        tables = [table for part in parts for table in (part._modules, part._parameters, part._buffers) if table]
        return cls(
            _encoder_layer(block) or _decoder_layer(block),
            tuple(hooks for part in parts for hooks in (part._forward_hooks, part._forward_pre_hooks)),
            tuple((table, tuple(table.values())) for table in tables),
            parameters,
            tuple(parameter.data_ptr() for parameter in parameters),
        )

    def is_current(self) -> bool:
        """Whether the block is what it was, its parameters lying where they lay."""
        for table, values in self.held:
            if len(table) != len(values) or not all(map(operator.is_, table.values(), values)):
                return False
        return tuple(map(_PLACE, self.parameters)) == self.places


_PLACE = operator.methodcaller("data_ptr")

_KNOWN: WeakKeyDictionary[nn.Module, _Compiled] = WeakKeyDictionary()
"""Not kept in the blocks, because addresses cannot be copied or saved."""


def _made(block: Block) -> native.EncoderLayer | native.DecoderLayer | None:
    known = _KNOWN.get(block)
    if known is None or not known.is_current():
        known = _KNOWN[block] = _Compiled.of(block)
    return None if any(known.hooks) else known.made


def _encoder_layer(block: Block) -> native.EncoderLayer | None:
    settings, attention, inner = block.settings, block.settings.attention, block.settings.feed_forward
    alike = (
        _is_plain(block)
        and isinstance(inner, architecture.FeedForward)
        and (inner.gated, inner.activation, inner.norm) == (False, "gelu", None)
        and settings.norm_at == ("res",)
        and (settings.norm.kind, settings.norm.weight, settings.norm.bias) == ("layer", True, True)
        and not settings.norm.unit_offset
        and (attention.position, attention.window) == (None, None)
    )
    found = _linears(block) if alike else None
    norms = [getattr(block, f"{part}_norm_res") for part in ("attention", "feed_forward")] if found else []
    numbers = [part for norm in norms for part in (norm.weight, norm.bias)]
    if found is None or not native.serves(*numbers):
        return None
    heads = (attention.heads, attention.kv_heads, attention.head_dim)
    return native.EncoderLayer(found, numbers, (settings.norm.eps, settings.norm.eps), heads)


def _decoder_layer(block: Block) -> native.DecoderLayer | None:
    settings, attention, inner = block.settings, block.settings.attention, block.settings.feed_forward
    turns, norm = attention.position, settings.norm
    alike = (
        _is_plain(block)
        and isinstance(inner, architecture.FeedForward)
        and (inner.gated, inner.activation, inner.norm) == (True, "silu", None)
        and settings.norm_at == ("in",)
        and (norm.kind, norm.weight, norm.unit_offset) == ("rms", True, False)
        and (turns is None or (isinstance(turns, Rotary) and turns.axes == 1))
    )
    found = _linears(block) if alike else None
    norms = [getattr(block, f"{part}_norm_in") for part in ("attention", "feed_forward")] if found else []
    weights = [one.weight for one in norms if isinstance(one, Norm) and one.weight is not None]
    if found is None or len(weights) < 2 or not native.serves(*weights):
        return None
    turned = (turns.dim, turns.pairing != "halves") if isinstance(turns, Rotary) else None
    heads = (attention.heads, attention.kv_heads, attention.head_dim)
    return native.DecoderLayer(found, weights, (norm.eps, norm.eps), heads, turned)


def _is_plain(block: Block) -> bool:
    """Whether it is attention, then feed-forward, each added to what came in, and nothing else."""
    settings, attention = block.settings, block.settings.attention
    return (
        type(block.attention) is Attention
        and type(block.feed_forward) is FeedForward
        and (settings.flow, settings.residual, settings.residual_scale) == ("sequential", "input", 1.0)
        and not settings.crosses
        and settings.entities is None
        and (attention.clip, attention.softcap) == (None, None)
    )


def _linears(block: Block) -> list[native.Linear] | None:
    """qkv, out, inner and down, where all of them are in panels."""
    assert isinstance(block.feed_forward, FeedForward)
    layers = (block.attention.qkv, block.attention.out, block.feed_forward.inner, block.feed_forward.down)
    found = [layer.compiled() for layer in layers if isinstance(layer, ActivatingLinear)]
    linears = [linear for linear in found if linear is not None]
    return linears if len(linears) == len(layers) else None
