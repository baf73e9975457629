"""A mixture of feed-forward experts, of which every token takes a few."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from moduformer import architecture
from moduformer.batch import Rows
from moduformer.blocks.feed_forward import FeedForward


class Router(nn.Linear):
    """The experts' scores, in at least float32, or close experts change places (Fedus et al. 2022, section 2.4)."""

    def forward(self, hidden: Tensor) -> Tensor:
        """`[tokens, dim]` to `[tokens, experts]`."""
        wide = torch.promote_types(hidden.dtype, torch.float32)
        bias = None if self.bias is None else self.bias.to(wide)
        return F.linear(hidden.to(wide), self.weight.to(wide), bias)


class MixtureOfExperts(nn.Module):
    """y = sum over the chosen experts of p_i(x) E_i(x) (Shazeer et al. 2017, eq. 1; Fedus et al. 2022, eq. 2)."""

    def __init__(self, settings: architecture.MixtureOfExperts, dim: int) -> None:
        super().__init__()
        self.settings = settings
        self.router = Router(dim, settings.experts, bias=settings.router_bias)
        self.experts = nn.ModuleList(FeedForward(settings.expert, dim) for _ in range(settings.experts))

    def forward(self, hidden: Tensor, rows: Rows) -> Tensor:
        """`[tokens, dim]` to the same shape."""
        weights, chosen = self.route(hidden, rows)
        out = torch.zeros_like(hidden)
        for number, expert in enumerate(self.experts):
            token, rank = (chosen == number).nonzero(as_tuple=True)
            if len(token):
                out = out.index_add(0, token, expert(hidden[token]) * weights[token, rank].unsqueeze(1))
        return out

    def route(self, hidden: Tensor, rows: Rows) -> tuple[Tensor, Tensor]:
        """The weights and the numbers of each token's experts, `[tokens, active]` both; -1 where an expert is full."""
        settings = self.settings
        weights, chosen = self.router(hidden).softmax(-1).topk(settings.active, dim=-1)
        if settings.normalised:
            weights = weights / weights.sum(-1, keepdim=True)
        if settings.capacity is not None:
            taken = F.one_hot(chosen, settings.experts).sum(1)
            so_far = taken.cumsum(0)
            before = (so_far - taken)[rows.starts][rows.row_of]
            full = (so_far - before).gather(1, chosen) > settings.capacity
            chosen = chosen.masked_fill(full, -1)
        return weights.to(hidden.dtype), chosen
