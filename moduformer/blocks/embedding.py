"""Token vectors and everything that is added to them before the first layer."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from moduformer import architecture
from moduformer.architecture import LearnedPositions, Sinusoids
from moduformer.batch import Batch
from moduformer.blocks.dropout import dropout
from moduformer.blocks.norm import Norm
from moduformer.blocks.position import sinusoids
from moduformer.errors import TextError


class Embedding(nn.Module):
    """Flat tokens `[tokens]` to vectors `[tokens, dim]`."""

    def __init__(self, settings: architecture.Embedding, tokens: nn.Embedding, dim: int) -> None:
        super().__init__()
        self.settings = settings
        self.tokens = tokens
        positions, inner = settings.positions, settings.sum_dim(dim)
        if isinstance(positions, LearnedPositions):
            self.positions = nn.Embedding(positions.max + positions.offset, inner)
        if settings.segments:
            self.segments = nn.Embedding(settings.segments, inner)
        if settings.task_types:
            self.task_types = nn.Embedding(settings.task_types, inner)
        if settings.block_positions:
            self.block_positions = nn.Embedding(settings.block_positions, inner)
        normed = settings.width if settings.projected == "normed" else dim
        self.norm = Norm(settings.norm, normed) if settings.norm else None
        self.projection = None
        if settings.width != dim:
            self.projection = nn.Linear(settings.width, dim, bias=settings.projection_bias)

    def forward(self, batch: Batch) -> Tensor:
        """The sum of a batch's token, position, segment and task vectors, normed and projected.

        Raises `TextError` when a row is longer than the learned positions reach or an id is beyond the vocabulary.
        """
        settings = self.settings
        given = batch.given
        tokens = batch.tokens if given is None else batch.tokens.masked_fill(given.places, 0)
        hidden = _look_up(self.tokens, tokens, "token id")
        if self.training and settings.token_dropout:
            kept = F.dropout(hidden.new_ones(self.tokens.num_embeddings), settings.token_dropout)
            hidden = hidden * kept[tokens].unsqueeze(1)
        if settings.scale != 1.0:
            hidden = hidden * settings.scale
        if settings.words_normed and self.norm is not None:
            hidden = self.norm(hidden)
        if given is not None:
            hidden = hidden.masked_scatter(given.places.unsqueeze(1), given.vectors.to(hidden.dtype))
        if settings.projected == "tokens" and self.projection is not None:
            hidden = self.projection(hidden)
        if isinstance(settings.positions, LearnedPositions):
            hidden = hidden + self.positions(self._position_rows(settings.positions, batch))
        elif isinstance(settings.positions, Sinusoids):
            hidden = hidden + sinusoids(settings.positions, batch.rows.coordinate(0), hidden.shape[-1], hidden.dtype)
        if settings.block_positions:
            hidden = hidden + _look_up(self.block_positions, batch.rows.coordinate(1), "block position")
        if settings.segments:
            segments = torch.zeros_like(batch.tokens) if batch.segments is None else batch.segments
            hidden = hidden + _look_up(self.segments, segments, "token type id")
        if settings.task_types:
            task_types = torch.zeros_like(batch.tokens) if batch.task_types is None else batch.task_types
            hidden = hidden + _look_up(self.task_types, task_types, "task type id")
        if settings.projected == "sum" and self.projection is not None:
            hidden = self.projection(hidden)
        if self.norm is not None:
            hidden = self.norm(hidden)
        hidden = dropout(hidden, settings.dropout, self.training)
        if settings.projected == "normed" and self.projection is not None:
            hidden = self.projection(hidden)
        return hidden

    @staticmethod
    def _position_rows(positions: LearnedPositions, batch: Batch) -> Tensor:
        places = batch.rows.coordinate(0)
        if positions.uncounted is not None:
            counted = batch.tokens != positions.uncounted
            if not bool(counted.all()):
                running = counted.long().cumsum(0)
                before = (running - counted.long())[batch.rows.starts]
                places = running - 1 - before[batch.rows.row_of]
                places = places.masked_fill(~counted, positions.uncounted - positions.offset)
        longest = int(places.max()) + 1
        if longest > positions.max:
            raise TextError(
                f"a text has {longest} tokens, but this model has {positions.max} positions; "
                "split it into windows (the estimators and pipelines do) or shorten it"
            )
        return places + positions.offset


def _look_up(table: nn.Embedding, ids: Tensor, what: str) -> Tensor:
    if not ids.is_cuda and ids.device.type != "meta":
        low, high = int(ids.min()), int(ids.max())
        if low < 0 or high >= table.num_embeddings:
            wrong = low if low < 0 else high
            raise TextError(
                f"{what} {wrong} is outside the table of {table.num_embeddings}; "
                "does this tokenizer belong to this model?"
            )
    return table(ids)
