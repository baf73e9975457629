"""What is computed from the last hidden states, and the loss that trains it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from moduformer import architecture
from moduformer.batch import Rows
from moduformer.blocks.activation import ACTIVATIONS
from moduformer.blocks.norm import Norm
from moduformer.blocks.stack import Stack
from moduformer.cache import Cache
from moduformer.errors import TextError
from moduformer.trace import Trace

VECTORS = ("pool", "entity")
"""Heads that make a vector and no scores: what reads a pooled one, or who brings candidates, makes these."""


class Transform(nn.Module):
    """A dense layer, an activation and perhaps a norm."""

    def __init__(self, settings: architecture.Transform, dim: int) -> None:
        super().__init__()
        self.dense = nn.Linear(dim, settings.width)
        self.activation = ACTIVATIONS[settings.activation]
        self.norm = Norm(settings.norm, settings.width) if settings.norm else None

    def forward(self, hidden: Tensor) -> Tensor:
        """`[..., dim]` to `[..., width]`."""
        hidden = self.activation(self.dense(hidden))
        return hidden if self.norm is None else self.norm(hidden)


class TaskModule(nn.Module):
    """A `architecture.TaskModule`; `name` is what a trace calls its stack."""

    def __init__(self, settings: architecture.TaskModule, dim: int, name: str) -> None:
        super().__init__()
        self.projection = nn.Linear(dim, settings.dim, bias=settings.bias)
        self.stack = Stack(settings.stack, settings.dim, name)

    def forward(self, hidden: Tensor, rows: Rows, cache: Cache | None = None, trace: Trace | None = None) -> Tensor:
        """`[tokens, dim]` to the module's states `[tokens, out_dim]`."""
        return self.stack(self.projection(hidden), rows, cache=cache, trace=trace)


class Head(nn.Module):
    """A `architecture.Head`. A tied head has no projection of its own: the token embedding is passed to `forward`."""

    def __init__(self, settings: architecture.Head, vocab: int, dim: int) -> None:
        super().__init__()
        self.settings = settings
        self.module = TaskModule(settings.module, dim, settings.kind) if settings.module else None
        self.norm = Norm(settings.norm, settings.state_dim(dim)) if settings.norm else None
        dim = settings.in_dim(dim)
        self.transform = Transform(settings.transform, dim) if settings.transform else None
        # Takes the place of the product with weight and bias where that is not of floats (see `quantize`).
        self.product: nn.Module | None = None
        width = settings.transform.width if settings.transform else dim
        if settings.kind in VECTORS:
            return
        outputs = vocab if settings.outputs is None else settings.outputs
        if not settings.tied:
            self.weight = nn.Parameter(torch.empty(outputs, width))
        self.bias = nn.Parameter(torch.zeros(outputs)) if settings.bias else None

    def states(self, hidden: Tensor, rows: Rows, cache: Cache | None = None, trace: Trace | None = None) -> Tensor:
        """The model's last states `[tokens, dim]` as this head has them to read from: through its module, if it has
        one, which keeps what it needs in a `cache` of its own."""
        return hidden if self.module is None else self.module(hidden, rows, cache, trace)

    def forward(self, hidden: Tensor, embedding: Tensor) -> Tensor:
        """The states this head reads (see `read`) `[..., dim]` to logits `[..., outputs]`, or a pooled vector."""
        if self.norm is not None:
            hidden = self.norm(hidden)
        hidden = F.dropout(hidden, self.settings.dropout, self.training)
        if self.transform is not None:
            hidden = self.transform(hidden)
            if self.settings.kind == "classify":
                hidden = F.dropout(hidden, self.settings.dropout, self.training)
        if self.settings.kind in VECTORS:
            return hidden
        if self.settings.scale != 1.0:
            hidden = hidden * self.settings.scale
        if self.product is not None:
            logits = self.product(hidden)
        else:
            logits = F.linear(hidden, self.table(embedding), self.bias)
        cap = self.settings.softcap
        return logits if cap is None else cap * torch.tanh(logits / cap)

    def table(self, embedding: Tensor) -> Tensor:
        """The matrix `[outputs, dim]` that gives the logits; `embedding` is the token table, for a tied head."""
        weight = embedding if self.settings.tied else self.weight
        return F.normalize(weight) if self.settings.normalised else weight


def read(
    settings: architecture.Head,
    hidden: Tensor,
    rows: Rows,
    tokens: Tensor,
    eos: tuple[int, ...],
    backward: bool = False,
) -> Tensor:
    """The states a head reads of `[tokens, dim]`: all of them, or one a row `[rows, dim]`.

    `backward` says that a row was read from its end (`Spec.reads_backward`), so its first state is the last one made.
    """
    if settings.reads == "tokens":
        return hidden
    if settings.reads == "mean":
        return mean(hidden, rows)
    if settings.reads == "concat":
        most = torch.stack([part.amax(0) for part in hidden.split(rows.lengths)])
        # A model that reads from the end has read all at a row's beginning.
        return torch.cat((hidden[rows.starts if backward else rows.ends], most, mean(hidden, rows)), 1)
    places = places_read(settings, rows, tokens, eos, backward)
    assert places is not None, f"a head that reads {settings.reads!r} gets its input from another head"
    return hidden[places]


def places_read(
    settings: architecture.Head, rows: Rows, tokens: Tensor, eos: tuple[int, ...], backward: bool = False
) -> Tensor | None:
    """Where the one state of each row is that a head reads, `[rows]`; None for a head that reads more or none."""
    if settings.reads == "first":
        return rows.starts
    if settings.reads == "last":
        return rows.starts if backward else rows.ends
    if settings.reads == "largest":
        largest = tokens.new_full((len(rows.lengths),), -1).scatter_reduce(0, rows.row_of, tokens, "amax")
        return _place(tokens == largest[rows.row_of], rows, "amin")
    if settings.reads in ("eos", "first-eos"):
        ends = torch.isin(tokens, torch.tensor(eos, device=tokens.device))
        if len(rows.row_of[ends].unique()) < len(rows.lengths):
            raise TextError(f"a row has no end-of-sequence token ({', '.join(map(str, eos))}), which this head reads")
        return _place(ends, rows, "amax" if settings.reads == "eos" else "amin")
    return None


def mean(hidden: Tensor, rows: Rows) -> Tensor:
    """The mean of every row's states, `[rows, dim]`."""
    sums = hidden.new_zeros(len(rows.lengths), hidden.shape[1]).index_add(0, rows.row_of, hidden)
    return sums / hidden.new_tensor(rows.lengths).unsqueeze(1)


def _place(chosen: Tensor, rows: Rows, which: str) -> Tensor:
    """Where in the flat run the last ("amax") or first ("amin") chosen token of every row is, `[rows]`."""
    places = chosen.nonzero().squeeze(1)
    found = places.new_zeros(len(rows.lengths))
    return found.scatter_reduce(0, rows.row_of[places], places, which, include_self=False)


IGNORED = -100
"""The label of a token that takes no part in the loss."""


def token_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy of `[tokens, classes]` against `[tokens]`, without labels equal to `IGNORED`."""
    return F.cross_entropy(logits.float(), labels, ignore_index=IGNORED)


def next_token_loss(logits: Tensor, labels: Tensor, rows: Rows, backward: bool = False) -> Tensor:
    """Mean cross-entropy of each token's logits against the next label of its row, or the one before if `backward`."""
    return token_loss(logits, shift_right(labels, rows) if backward else shift_left(labels, rows))


def shift_left(labels: Tensor, rows: Rows) -> Tensor:
    """For every token the label of the next one in its row; `IGNORED` at a row's end."""
    following = torch.cat((labels[1:], labels.new_full((1,), IGNORED)))
    return following.index_fill(0, rows.ends, IGNORED)


def shift_right(labels: Tensor, rows: Rows) -> Tensor:
    """For every token the label of the one before it in its row; `IGNORED` at a row's beginning."""
    before = torch.cat((labels.new_full((1,), IGNORED), labels[:-1]))
    return before.index_fill(0, rows.starts, IGNORED)


def classify_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Squared error for one output, binary cross-entropy for float labels of several, else cross-entropy."""
    if logits.shape[-1] == 1:
        return F.mse_loss(logits.squeeze(-1).float(), labels.float().view(-1))
    if labels.is_floating_point():
        return F.binary_cross_entropy_with_logits(logits.float(), labels.float())
    return F.cross_entropy(logits.float(), labels)


def replaced_token_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean binary cross-entropy over tokens (Clark et al. 2020, eq. 3)."""
    return F.binary_cross_entropy_with_logits(logits.float(), labels.float())
