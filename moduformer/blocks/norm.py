"""Normalisation over the last dimension."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from moduformer import architecture


class Norm(nn.Module):
    """Layer norm (Ba et al. 2016, eq. 3) or root-mean-square norm (Zhang & Sennrich 2019, eq. 4)."""

    def __init__(self, settings: architecture.Norm, dim: int) -> None:
        super().__init__()
        self.kind, self.eps = settings.kind, settings.eps
        self.weight = nn.Parameter(torch.ones(dim))
        self.bias = nn.Parameter(torch.zeros(dim)) if settings.kind == "layer" and settings.bias else None

    def forward(self, hidden: Tensor) -> Tensor:
        """`[..., dim]` to the same shape."""
        if self.kind == "layer":
            return F.layer_norm(hidden, self.weight.shape, self.weight, self.bias, self.eps)
        # The statistics need at least float32, or half-precision squares overflow.
        wide = hidden if hidden.dtype == torch.float64 else hidden.float()
        normed = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps)
        return self.weight * normed.to(hidden.dtype)
