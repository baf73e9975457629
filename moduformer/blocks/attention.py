"""Multi-head attention over ragged rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from moduformer import architecture, kernels
from moduformer.batch import Batch, Rows
from moduformer.blocks.linear import FusedLinear
from moduformer.blocks.position import RelativeBias, Turns, alibi, rotary_turns, rotate
from moduformer.cache import LayerCache, Placement
from moduformer.kernels import Bias, Layout, Scores
from moduformer.mask import EVERYTHING, Causal, Prefix, Rule, Window
from moduformer.trace import Trace


@dataclass(eq=False)
class Memory:
    """The last hidden states of an encoder or an image, flat, and who may look at them.

    `last` are a recurrent encoder's, a layer each; `source` is whose they are, for the trace. A `rule` narrows
    what is seen by positions; tokens that are `blind` `[tokens]` get zeros in place of what they see."""

    hidden: Tensor
    layout: Layout
    last: list[tuple[Tensor, ...]] | None = None
    source: str = "encoder"
    rule: Rule = EVERYTHING
    blind: Tensor | None = None


@dataclass(eq=False)
class Pass:
    """What all layers of one forward pass share: who attends to whom, rotary turns, biases, cache and trace.

    Where `at` `[rows]` names a token of each row, a layer's results are wanted of these alone, see `narrowed`.
    """

    rows: Rows
    causal: bool
    layout: Layout
    memory: Memory | None = None
    trace: Trace | None = None
    position_bias: RelativeBias | None = None
    distances: Callable[[Layout], Any] | None = None
    batch: Batch | None = None
    entities: Tensor | None = None
    placements: dict[int | None, Placement] | None = None
    caches: list[LayerCache] | None = None
    at: Tensor | None = None
    _turns: dict[architecture.Rotary, Turns] = field(default_factory=dict)
    _biases: dict[Any, Bias] = field(default_factory=dict)
    _made: dict[Any, Any] = field(default_factory=dict)

    def once(self, key: Any, make: Callable[[], Any]) -> Any:
        """What `make` returns, made once for all layers of this pass that ask under the same key."""
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    def narrowed(self, at: Tensor) -> Pass:
        """The same for a layer of which one token a row is wanted, at the places `at` `[rows]`."""
        return replace(self, at=at, layout=Layout(self.rows.at(at), self.rows))

    def wanted(self, values: Tensor) -> Tensor:
        """Of `[tokens, ...]` those that a layer's results are wanted of."""
        return values if self.at is None else values.index_select(0, self.at)

    def turns(self, settings: architecture.Rotary, dtype: torch.dtype) -> Turns:
        """Rotary angles of this pass, made once for all layers."""
        if settings not in self._turns:
            self._turns[settings] = rotary_turns(settings, self.rows, dtype)
        return self._turns[settings]

    def bias(self, layout: Layout, settings: architecture.Attention, scale: float) -> Bias | None:
        """Score biases of this pass, made once for all layers that see the same keys in the same way."""
        slopes = settings.position if isinstance(settings.position, architecture.ALiBi) else None
        if slopes is None and self.position_bias is None:
            return None
        factor = scale if slopes is not None and slopes.scaled else 1.0
        key = (layout, slopes, settings.heads, factor)
        if key not in self._biases:
            made = []
            for q, k in layout.positions():
                bias = None if self.position_bias is None else self.position_bias(q, k)
                if slopes is not None:
                    fall = alibi(slopes, settings.heads, q, k) * factor
                    bias = fall if bias is None else bias + fall
                assert bias is not None
                made.append(bias)
            self._biases[key] = made
        return self._biases[key]

    def rule(self, window: int | None) -> Rule:
        """Who sees whom in a layer with this window."""
        rule = EVERYTHING if not self.causal else Causal() if self.rows.prefixes is None else Prefix()
        return rule if window is None else rule & Window(window)


class Attention(nn.Module):
    """Self-attention: q, k and v from the same hidden states, by one matrix product."""

    def __init__(self, settings: architecture.Attention, dim: int) -> None:
        super().__init__()
        self.settings = settings
        rows, shared = settings.heads * settings.head_dim, settings.kv_heads * settings.head_dim
        parts, silent = {"q": rows, "k": shared, "v": shared}, () if settings.key_bias else ("k",)
        self.qkv = FusedLinear(dim, parts, bias=settings.bias, without_bias=silent)
        self.out = nn.Linear(rows, dim, bias=settings.out_bias)

    def forward(self, hidden: Tensor, run: Pass, layer: int, name: str) -> Tensor:
        """`[tokens, dim]` to the same shape, or to the tokens that are wanted; `layer` counts from 0, `name` is for the
        trace."""
        settings = self.settings
        heads = self.project(hidden, run.rows).unflatten(-1, (-1, settings.head_dim))
        if settings.clip is not None:
            heads = heads.clamp(-settings.clip, settings.clip)
        turned, v = heads.split((settings.heads + settings.kv_heads, settings.kv_heads), dim=1)
        if isinstance(settings.position, architecture.Rotary):
            turned = rotate(turned, run.turns(settings.position, turned.dtype), settings.position)
        q, k = turned.split((settings.heads, settings.kv_heads), dim=1)
        layout = run.layout
        if run.placements is not None and run.caches is not None:
            placement = run.placements[settings.window]
            k, v = run.caches[layer].extend(k, v, placement, len(run.rows.lengths))
            layout = placement.layout or layout
        return self.mix(self.scores(run.wanted(q), k, v, layout, run, layer), run, name)

    def project(self, hidden: Tensor, rows: Rows) -> Tensor:
        """Queries, keys and values beside each other, `[tokens, (heads + 2 kv_heads) head_dim]`."""
        return self.qkv(hidden)

    def scores(self, q: Tensor, k: Tensor, v: Tensor, layout: Layout, run: Pass, layer: int) -> Scores:
        """What `kernels.attend` needs; an attention with scores of its own kind adds them here."""
        settings = self.settings
        scale = score_scale(settings, layer)
        return Scores(
            q=q,
            k=k,
            v=v,
            layout=layout,
            rule=run.rule(settings.window),
            scale=scale,
            bias=run.bias(layout, settings, scale),
            softcap=settings.softcap,
            dropout=settings.dropout if self.training else 0.0,
        )

    def mix(self, scores: Scores, run: Pass, name: str) -> Tensor:
        """Values weighted by scores, projected back to `[tokens, dim]`."""
        mixed = kernels.attend(scores) if run.trace is None else run.trace.attend(name, scores)
        return self.out(mixed.flatten(1))


class CrossAttention(nn.Module):
    """Attention from a decoder to the encoder's hidden states (Vaswani et al. 2017, section 3.2.3).

    `memory` is the width of what is looked at."""

    def __init__(self, settings: architecture.Attention, dim: int, memory: int) -> None:
        super().__init__()
        self.settings = settings
        rows, shared = settings.heads * settings.head_dim, settings.kv_heads * settings.head_dim
        self.q = nn.Linear(dim, rows, bias=settings.bias)
        silent = () if settings.key_bias else ("k",)
        self.kv = FusedLinear(memory, {"k": shared, "v": shared}, bias=settings.bias, without_bias=silent)
        self.out = nn.Linear(rows, dim, bias=settings.out_bias)

    def forward(self, hidden: Tensor, run: Pass, layer: int, name: str) -> Tensor:
        """`[tokens, dim]` of the decoder to the same shape."""
        settings, memory = self.settings, run.memory
        assert memory is not None, "a decoder that crosses needs an encoder's result"
        cache = None if run.caches is None else run.caches[layer]
        if cache is not None and cache.cross is not None:
            k, v = cache.cross
        else:
            heads = self.kv(memory.hidden).unflatten(-1, (-1, settings.head_dim))
            k, v = heads.split(settings.kv_heads, dim=1)
            if cache is not None:
                cache.cross = (k, v)
        scores = Scores(
            q=self.q(hidden).unflatten(-1, (-1, settings.head_dim)),
            k=k,
            v=v,
            layout=memory.layout,
            rule=memory.rule,
            scale=score_scale(settings, layer),
            softcap=settings.softcap,
            dropout=settings.dropout if self.training else 0.0,
        )
        mixed = kernels.attend(scores) if run.trace is None else run.trace.attend(name, scores, across=memory.source)
        if memory.blind is not None:
            mixed = mixed.masked_fill(memory.blind[:, None, None], 0.0)
        return self.out(mixed.flatten(1))


def score_scale(settings: architecture.Attention, layer: int) -> float:
    """What multiplies the scores q.k of a layer, counted from 0."""
    scale = settings.head_dim**-0.5 if settings.scale is None else settings.scale
    return scale / (layer + 1) if settings.scale_by_depth else scale
