"""Layers that fuse tokens with the entities they name (Zhang et al. 2019, ERNIE, arXiv 1905.07129, section 3.3)."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from moduformer import architecture
from moduformer.blocks.attention import Attention, Pass
from moduformer.blocks.block import Block
from moduformer.blocks.feed_forward import FeedForward
from moduformer.blocks.norm import Norm
from moduformer.kernels import Bias, Layout, Scores, spread

ABSENT = -10000.0
"""Added to the score of a token without an entity, as the released code does; finite, so that a text may have none."""


class EntityAttention(Attention):
    """Self-attention of the entities of a text."""

    def scores(self, q: Tensor, k: Tensor, v: Tensor, layout: Layout, run: Pass, layer: int) -> Scores:
        """Those of tokens that have an entity; the others are hardly seen."""
        found = super().scores(q, k, v, layout, run, layer)
        return replace(found, bias=run.once(("entities", layout), lambda: self._absent(layout, run, q)))

    @staticmethod
    def _absent(layout: Layout, run: Pass, q: Tensor) -> Bias:
        absent = (~entity_mask(run)).to(q.dtype) * ABSENT
        parts = zip(layout.groups, absent.split(layout.key_splits))
        return [spread(part, group.key_padding, group.count)[:, None, None, :] for group, part in parts]


class KnowledgeBlock(Block):
    """A layer of two streams, which meet in its feed-forward layer (eq. 3-5); every sub-layer is post-norm."""

    def __init__(self, settings: architecture.Block, dim: int) -> None:
        super().__init__(settings, dim)
        stream, inner = settings.entities, settings.feed_forward
        assert stream is not None
        assert isinstance(inner, architecture.FeedForward)
        self.stream = stream
        self.entity_attention = None
        if stream.attention is not None:
            self.entity_attention = EntityAttention(stream.attention, stream.width)
            self.entity_attention_norm_res = Norm(settings.norm, stream.width)
        self.entity_up = nn.Linear(stream.width, inner.width)
        self.entity_down = nn.Linear(inner.width, stream.width)
        self.entity_norm_res = Norm(settings.norm, stream.width)

    def forward(self, hidden: Tensor, run: Pass, layer: int, name: str) -> Tensor:
        """Tokens `[tokens, dim]` to the same shape; entities `[tokens, width]` go along in `run`."""
        answer = self.attention(hidden, run, layer, f"{name}.attention")
        hidden = self.normed("attention", "res", hidden + self._dropout(_see(run, f"{name}.attention.output", answer)))
        entities = run.entities
        if entities is None:
            entities = _given(run, self.stream.width, hidden)
        if self.entity_attention is not None:
            answer = self.entity_attention(entities, run, layer, f"{name}.entity_attention")
            entities = self.entity_attention_norm_res(entities + self._dropout(answer))
        entities = entities * entity_mask(run).unsqueeze(-1)
        shared = self.feed_forward
        assert isinstance(shared, FeedForward)
        inner = shared.activation(shared.inner(hidden) + self.entity_up(entities))
        inner = F.dropout(inner, shared.settings.dropout, self.training)
        fed = _see(run, f"{name}.feed_forward.output", shared.down(inner))
        run.entities = self.entity_norm_res(entities + self._dropout(self.entity_down(inner)))
        _see(run, f"{name}.entities", run.entities)
        return _see(run, f"{name}.hidden", self.normed("feed_forward", "res", hidden + self._dropout(fed)))


def entity_mask(run: Pass) -> Tensor:
    """Which tokens have an entity, `[tokens]`; none where the batch names none."""
    if run.batch is None or run.batch.entity_mask is None:
        return torch.zeros(run.rows.tokens, dtype=torch.bool, device=run.rows.positions.device)
    return run.batch.entity_mask


def _given(run: Pass, width: int, hidden: Tensor) -> Tensor:
    vectors = None if run.batch is None else run.batch.entities
    return hidden.new_zeros(hidden.shape[0], width) if vectors is None else vectors.to(hidden.dtype)


def _see(run: Pass, name: str, value: Tensor) -> Tensor:
    return value if run.trace is None else run.trace.see(name, value)
