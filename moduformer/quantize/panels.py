"""Weights in panels of 16 outputs, which the compiled products read (see `native`), and back. Lossless.

A weight `[out, in]` becomes `[panels, ..., 16, ...]`; rows that are missing in the last panel are zeros.
"""

from __future__ import annotations

import torch
from torch import Tensor

LANES = 16
"""Outputs a panel: float32 numbers of the widest register."""


def filled(rows: Tensor) -> Tensor:
    """`[out, ...]` with zeros up to whole panels."""
    missing = -len(rows) % LANES
    return torch.cat((rows, rows.new_zeros(missing, *rows.shape[1:]))) if missing else rows.contiguous()


def panels(weight: Tensor) -> Tensor:
    """`[out, in]` to `[panels, in, 16]`."""
    return filled(weight).unflatten(0, (-1, LANES)).transpose(1, 2).contiguous()


def from_panels(packed: Tensor, outputs: int) -> Tensor:
    """`[panels, in, 16]` to `[out, in]`."""
    return packed.transpose(1, 2).flatten(0, 1)[:outputs].contiguous()


def quads(codes: Tensor) -> Tensor:
    """int8 codes `[out, in]`, `in` a multiple of 4, to uint8 `[panels, in / 4, 16, 4]`, 128 added."""
    unsigned = (codes.to(torch.int16) + 128).to(torch.uint8)
    return filled(unsigned).unflatten(0, (-1, LANES)).unflatten(2, (-1, 4)).transpose(1, 2).contiguous()


def from_quads(packed: Tensor, outputs: int) -> Tensor:
    """uint8 `[panels, in / 4, 16, 4]` to int8 codes `[out, in]`."""
    unsigned = packed.transpose(1, 2).flatten(2).flatten(0, 1)[:outputs]
    return (unsigned.to(torch.int16) - 128).to(torch.int8)


def halves(codes: Tensor) -> Tensor:
    """Codes 0 to 15 `[out, in]`, `in` a multiple of 8, to uint8 `[panels, in / 8, 16, 4]`: inputs 0 to 3 of eight in
    the low halves, 4 to 7 in the high ones."""
    eights = filled(codes.to(torch.uint8)).unflatten(0, (-1, LANES)).unflatten(2, (-1, 2, 4)).transpose(1, 2)
    return (eights[..., 0, :] | eights[..., 1, :] << 4).contiguous()


def from_halves(packed: Tensor, outputs: int) -> Tensor:
    """uint8 `[panels, in / 8, 16, 4]` to codes 0 to 15 `[out, in]`."""
    eights = torch.stack((packed & 15, packed >> 4), dim=-2)
    return eights.transpose(1, 2).flatten(2).flatten(0, 1)[:outputs].contiguous()
