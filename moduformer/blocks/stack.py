"""A stack of layers: an encoder or a decoder."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from moduformer import architecture
from moduformer.batch import Batch, Rows
from moduformer.blocks.attention import Memory, Pass
from moduformer.blocks.block import Block
from moduformer.blocks.convolution import Convolution
from moduformer.blocks.disentangled import DistanceVectors
from moduformer.blocks.knowledge import KnowledgeBlock
from moduformer.blocks.norm import Norm
from moduformer.blocks.position import RelativeBias
from moduformer.blocks.top_query import TopQueryBlock
from moduformer.blocks.two_streams import QueryStream
from moduformer.cache import Cache
from moduformer.kernels import Layout
from moduformer.trace import Trace


class Stack(nn.Module):
    """Layers in order; layers that share weights are one module. Children are named by the number of their weights."""

    def __init__(self, settings: architecture.Stack, dim: int, name: str, memory: int | None = None) -> None:
        super().__init__()
        self.settings, self.name = settings, name
        for number in range(settings.weight_sets):
            block = settings.block(number)
            if block.entities is not None:
                self.add_module(str(number), KnowledgeBlock(block, dim))
            else:
                self.add_module(str(number), Block(block, dim, memory))
        self.position_bias = (
            RelativeBias(settings.position_bias, settings.pattern[0].attention.heads, settings.causal)
            if settings.position_bias
            else None
        )
        self.distances = DistanceVectors(settings.distances, dim) if settings.distances else None
        self.convolution = Convolution(settings.convolution, dim) if settings.convolution else None
        self.two_streams = QueryStream(dim) if settings.two_streams else None
        self.norm = Norm(settings.final_norm, dim) if settings.final_norm else None
        self.projection = nn.Linear(dim, settings.projection, bias=False) if settings.projection else None
        self.top_query = None
        if settings.top_query is not None:
            self.top_query = TopQueryBlock(settings.block(settings.layers), dim, settings.top_query)

    def layer(self, number: int) -> Block:
        """The block that computes layer `number`, counted from 0."""
        block = getattr(self, str(self.settings.weights_of(number)))
        assert isinstance(block, Block)
        return block

    @property
    def narrows(self) -> bool:
        """Whether the last layer can be computed of some tokens alone."""
        others = (self.convolution, self.two_streams, self.top_query)
        return all(part is None for part in others) and self.layer(self.settings.layers - 1).narrows

    def encode(
        self, hidden: Tensor, rows: Rows, trace: Trace | None = None, memory: Memory | None = None
    ) -> tuple[Tensor, None]:
        """What `forward` gives of an encoder's input; the other part is a recurrent encoder's."""
        return self(hidden, rows, memory=memory, trace=trace), None

    def cache(self, rows: int, device: torch.device) -> Cache:
        """An empty cache for `rows` rows."""
        return Cache.of(self.settings, rows, device)

    def layer_groups(self) -> Iterator[tuple[str, list[nn.Parameter]]]:
        """The parameters of each set of weights; what stands before the layers belongs to the first, the rest to the
        last."""
        sets = self.settings.weight_sets
        for number in range(sets):
            members = list(getattr(self, str(number)).parameters())
            if number == 0:
                for first in filter(None, (self.position_bias, self.distances, self.convolution, self.two_streams)):
                    members += first.parameters()
            if number == sets - 1:
                for last in filter(None, (self.norm, self.top_query, self.projection)):
                    members += last.parameters()
            yield f"{self.name}.{number}", members

    def forward(
        self,
        hidden: Tensor,
        rows: Rows,
        memory: Memory | None = None,
        cache: Cache | None = None,
        trace: Trace | None = None,
        depth: int | None = None,
        batch: Batch | None = None,
        at: Tensor | None = None,
    ) -> Tensor:
        """`[tokens, dim]` to the same shape, through all layers and the final norm, or the first `depth` layers.

        Of a stack that `narrows`, `at` `[rows]` are the places of one token a row: of these alone the last layer is
        computed, and `[rows, dim]` is the result.

        `batch` is what else its tokens say of themselves, for layers that ask. Where it has tokens to predict, their
        states `[predicted, dim]` are the result.
        """
        placements = None if cache is None else cache.place(rows)
        run = Pass(
            rows=rows,
            causal=self.settings.causal,
            layout=Layout(rows, rows),
            memory=memory,
            trace=trace,
            position_bias=self.position_bias,
            distances=self.distances,
            batch=batch,
            placements=placements,
            caches=None if cache is None else cache.layers,
        )
        inputs = hidden
        queries = None
        if self.two_streams is not None and batch is not None and batch.permutation is not None:
            queries = self.two_streams.begin(batch.permutation)
        for number in range(self.settings.layers if depth is None else depth):
            if queries is not None and self.two_streams is not None:
                queries = self.two_streams(queries, hidden, self.layer(number), run, number, self.name)
            if at is not None and number == self.settings.layers - 1:
                run = run.narrowed(at)
            hidden = self.layer(number)(hidden, run, number, f"{self.name}.{number}")
            if number == 0 and self.convolution is not None:
                hidden = self.convolution(inputs, hidden, rows)
        if depth is not None:
            return hidden
        hidden = hidden if queries is None else queries
        if self.norm is not None:
            hidden = self.norm(hidden)
        if self.top_query is not None:
            hidden = self.top_query(hidden, run, self.settings.layers, f"{self.name}.top_query")
        if self.projection is not None:
            hidden = self.projection(hidden)
        return F.dropout(hidden, self.settings.final_dropout, self.training)
