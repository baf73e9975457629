"""The position-wise feed-forward layer."""

from __future__ import annotations

from torch import Tensor, nn

from moduformer import architecture, native
from moduformer.batch import Rows
from moduformer.blocks.activation import ACTIVATIONS
from moduformer.blocks.dropout import dropout
from moduformer.blocks.linear import ActivatingLinear, FusedLinear
from moduformer.blocks.norm import Norm


class FeedForward(nn.Module):
    """act(x W1) W2 (Vaswani et al. 2017, eq. 2), or gated: (act(x Wg) * x W1) W2 (Shazeer 2020, eq. 5)."""

    def __init__(self, settings: architecture.FeedForward, dim: int) -> None:
        super().__init__()
        self.settings = settings
        self.activation = ACTIVATIONS[settings.activation]
        parts = {"gate": settings.width, "value": settings.width} if settings.gated else {"up": settings.width}
        self.inner: FusedLinear | ActivatingLinear = FusedLinear(dim, parts, bias=settings.bias)
        self.norm = Norm(settings.norm, settings.width) if settings.norm else None
        self.down = nn.Linear(settings.width, dim, bias=settings.bias)

    def forward(self, hidden: Tensor, rows: Rows | None = None) -> Tensor:
        """`[tokens, dim]` to the same shape; every token by itself, whatever row it belongs to."""
        if self.settings.gated:
            both = self.inner(hidden)
            if self.settings.activation == "silu" and native.serves(both):
                inner = native.gated_silu(both)
            else:
                gate, value = both.chunk(2, dim=-1)
                inner = self.activation(gate) * value
        elif isinstance(self.inner, ActivatingLinear):
            inner = self.inner.activated(hidden, self.settings.activation)
        else:
            inner = self.activation(self.inner(hidden))
        if self.norm is not None:
            inner = self.norm(inner)
        return self.down(dropout(inner, self.settings.dropout, self.training))
