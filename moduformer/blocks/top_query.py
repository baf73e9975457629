"""A last layer that asks for the next token: its queries are learned, one a position, and not hidden states."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from moduformer import architecture
from moduformer.batch import Rows
from moduformer.blocks.attention import Attention
from moduformer.blocks.block import Block
from moduformer.errors import TextError


class TopQueryAttention(Attention):
    """Self-attention whose queries are projected from a table of positions (Zeng et al. 2021, PanGu-alpha, eq. 3)."""

    def __init__(self, settings: architecture.Attention, dim: int, positions: int) -> None:
        super().__init__(settings, dim)
        self.queries = nn.Embedding(positions, dim)

    def project(self, hidden: Tensor, rows: Rows) -> Tensor:
        """Queries of positions, keys and values of hidden states; raises `TextError` beyond the table's end."""
        places = rows.coordinate(0)
        if (longest := int(places.max()) + 1) > self.queries.num_embeddings:
            raise TextError(f"a text has {longest} tokens, but this model has {self.queries.num_embeddings} queries")
        split = self.settings.heads * self.settings.head_dim
        # The whole product twice, so that whatever stands in for it (an adapter, say) is used as it is.
        return torch.cat((self.qkv(self.queries(places))[:, :split], self.qkv(hidden)[:, split:]), dim=-1)


class TopQueryBlock(Block):
    """A `Block` with `TopQueryAttention`; its residual adds to the hidden states, not to the queries."""

    def __init__(self, settings: architecture.Block, dim: int, positions: int) -> None:
        super().__init__(settings, dim)
        self.attention = TopQueryAttention(settings.attention, dim, positions)
