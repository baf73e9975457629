"""Normalisation over the last dimension."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from moduformer import architecture, native


class Norm(nn.Module):
    """Layer norm (Ba et al. 2016, eq. 3) or root-mean-square norm (Zhang & Sennrich 2019, eq. 4)."""

    def __init__(self, settings: architecture.Norm, dim: int) -> None:
        super().__init__()
        self.settings, self.dim = settings, dim
        self.weight = nn.Parameter(torch.ones(dim)) if settings.weight else None
        self.bias = nn.Parameter(torch.zeros(dim)) if settings.kind == "layer" and settings.bias else None

    def forward(self, hidden: Tensor) -> Tensor:
        """`[..., dim]` to the same shape."""
        weight: Tensor | None = self.weight
        if weight is not None and self.settings.unit_offset:
            weight = weight + 1
        if self.settings.kind == "layer":
            return F.layer_norm(hidden, (self.dim,), weight, self.bias, self.settings.eps)
        if weight is not None and native.serves(hidden, weight):
            return native.rms_norm(hidden, weight, self.settings.eps)
        return F.rms_norm(hidden, (self.dim,), weight, self.settings.eps)
