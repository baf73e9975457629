"""Gated cross-attention before a layer, and which image each token of a text looks at."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from moduformer import architecture
from moduformer.batch import Batch, Rows
from moduformer.blocks.attention import CrossAttention, Memory, Pass
from moduformer.blocks.feed_forward import FeedForward
from moduformer.blocks.norm import Norm
from moduformer.cache import Cache
from moduformer.kernels import Layout
from moduformer.mask import SameNumber


class GatedCrossAttention(nn.Module):
    """x + tanh(a) CrossAttention(norm x), then x + tanh(b) FeedForward(norm x), where a and b are learned."""

    def __init__(self, settings: architecture.GatedCrossAttention, dim: int, memory: int) -> None:
        super().__init__()
        self.attention_norm = Norm(settings.norm, dim)
        self.attention = CrossAttention(settings.attention, dim, memory)
        self.attention_gate = nn.Parameter(torch.zeros(1))
        self.feed_forward_norm = Norm(settings.norm, dim)
        self.feed_forward = FeedForward(settings.feed_forward, dim)
        self.feed_forward_gate = nn.Parameter(torch.zeros(1))

    def forward(self, hidden: Tensor, run: Pass, layer: int, name: str) -> Tensor:
        """`[tokens, dim]` to the same shape; `layer` counts from 0, `name` is for the trace."""
        seen = self.attention(self.attention_norm(hidden), run, layer, f"{name}.attention")
        hidden = hidden + self.attention_gate.tanh() * seen
        return hidden + self.feed_forward_gate.tanh() * self.feed_forward(self.feed_forward_norm(hidden), run.rows)


def one_image_each(
    hidden: Tensor,
    images: Rows,
    text: Batch,
    image_token: int,
    vectors: int,
    visible: Literal["last", "next"],
    cache: Cache | None = None,
    source: str = "vision",
) -> Memory:
    """Images `[tokens of images, dim]`, each `vectors` long, as a text sees them: every token one (Alayrac et al. 2022,
    section 2.3). What comes before the text is in the `cache`."""
    rows, places = text.rows, text.tokens == image_token
    before = _images_before(cache, rows, places)
    counted = places.long().cumsum(0)
    first = (counted - places.long())[rows.starts]
    number = counted - first[rows.row_of] + before[rows.row_of]
    if visible == "next":
        number = number + (~places).long()
    given = torch.tensor(images.lengths, device=number.device) // vectors
    number = number.masked_fill(number > given[rows.row_of], 0)
    keys = Rows(images.lengths, images.positions // vectors + 1, regular=False)
    layout = Layout(Rows(rows.lengths, number, regular=False), keys)
    return Memory(hidden, layout, source=source, rule=SameNumber(), blind=number == 0)


def _images_before(cache: Cache | None, rows: Rows, places: Tensor) -> Tensor:
    """How many image tokens each row of a cache has had `[rows]`; those of this pass are remembered there."""
    if cache is None:
        return torch.zeros(len(rows.lengths), dtype=torch.long, device=places.device)
    return cache.images_before(rows.positions[places], rows.row_of[places])
