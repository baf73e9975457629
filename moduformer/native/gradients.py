"""Compiled functions that a gradient can be asked of."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.autograd.function import once_differentiable

from moduformer.native import calls

Places = tuple[Tensor, Tensor]
"""Where each row of a flat run of tokens starts, and its length, int64 `[rows]`."""


def differentiates(*tensors: Tensor) -> bool:
    """Whether the functions here take these: float32 on the CPU, and whatever asks for a gradient goes backward."""
    if not calls.available() or forward_ad._current_level >= 0 or torch._C._are_functorch_transforms_active():
        return False
    return all(type(tensor) in calls.PLAIN and tensor.dtype == torch.float32 and tensor.is_cpu for tensor in tensors)


def attend_rows(q: Tensor, k: Tensor, v: Tensor, queries: Places, keys: Places, scale: float, causal: bool) -> Tensor:
    """Attention of rows side by side, see `calls.attend_rows`."""
    if not torch.is_grad_enabled():
        return calls.attend_rows(q, k, v, queries, keys, scale, causal)
    found = _AttendRows.apply(q, k, v, queries, keys, scale, causal)
    assert isinstance(found, Tensor)
    return found


class _AttendRows(torch.autograd.Function):
    """Keeps q, k and v alone: the softmax is made again on the way back, row by row, and no square of a length is held
    (Dao et al. 2022, FlashAttention, section 3.1)."""

    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, queries: Places, keys: Places, scale: float, causal: bool
    ) -> Tensor:
        ctx.save_for_backward(q, k, v)
        ctx.rest = queries, keys, scale, causal
        return calls.attend_rows(q, k, v, queries, keys, scale, causal)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v = ctx.saved_tensors
        return (*calls.attend_rows_backward(q, k, v, grads[0], *ctx.rest), None, None, None, None)
