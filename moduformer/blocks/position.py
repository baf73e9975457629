"""Where a token stands: rotary turns, bucketed distances, sines."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from moduformer import architecture, native
from moduformer.architecture import DynamicScaling, LinearScaling, Llama3Scaling, YarnScaling
from moduformer.batch import Rows

Turns = tuple[Tensor, Tensor]
"""Cosines and signed sines of every token's angles, `[tokens, 1, dim]` each: what multiplies each dimension and the one
it turns with."""


def rotary_turns(settings: architecture.Rotary, rows: Rows, dtype: torch.dtype) -> Turns:
    """The angles of RoFormer (Su et al. 2021, eq. 14-15) for the tokens of some rows, made in float32."""
    frequencies, temperature = _frequencies(settings, rows)
    positions = torch.stack([rows.coordinate(axis) for axis in range(settings.axes)], dim=-1)
    angles = positions.float().unsqueeze(-1) * frequencies
    cos, sin = angles.cos() * temperature, angles.sin() * temperature
    axis = _pair_axis(settings)
    both = (torch.stack((cos, cos), dim=axis), torch.stack((-sin, sin), dim=axis))
    cos, sin = (part.flatten(1).to(dtype).unsqueeze(1) for part in both)
    return cos, sin


def rotate(heads: Tensor, turns: Turns, settings: architecture.Rotary) -> Tensor:
    """Turns the first `dim` dimensions of `[tokens, heads, head_dim]`."""
    cos, sin = turns
    dense = heads.stride(-1) == 1 and heads.stride(-2) == heads.shape[-1]
    if settings.axes == 1 and dense and native.serves(heads, cos):
        return native.rotate(heads, cos, sin, neighbours=settings.pairing != "halves")
    turned, rest = heads[..., : settings.dim], heads[..., settings.dim :]
    axis = _pair_axis(settings)
    pairs = (settings.axes, 2, -1) if axis == -2 else (settings.axes, -1, 2)
    partners = turned.unflatten(-1, pairs).flip(axis).flatten(-3)
    out = torch.addcmul(turned * cos, partners, sin)
    return out if rest.shape[-1] == 0 else torch.cat((out, rest), dim=-1)


def _pair_axis(settings: architecture.Rotary) -> int:
    """Where the two dimensions of a pair lie when those of an axis are written as a table."""
    return -2 if settings.pairing == "halves" else -1


def _frequencies(settings: architecture.Rotary, rows: Rows) -> tuple[Tensor, float]:
    device, dim, scaling = rows.positions.device, settings.dim // settings.axes, settings.scaling
    exponents = torch.arange(0, dim, 2, device=device).float() / dim
    if isinstance(scaling, DynamicScaling):
        longer = (rows.positions[rows.ends] + 1).double() / scaling.original_context
        growth = (scaling.factor * longer - (scaling.factor - 1)) ** (dim / max(dim - 2, 1))
        base = (settings.base * torch.where(longer > 1, growth, torch.ones_like(growth))).float()
        return (1.0 / base[rows.row_of, None, None] ** exponents), 1.0
    frequencies = 1.0 / settings.base**exponents
    if isinstance(scaling, LinearScaling):
        return frequencies / scaling.factor, 1.0
    if isinstance(scaling, Llama3Scaling):
        wavelength = 2 * math.pi / frequencies
        low, high = scaling.low_freq_factor, scaling.high_freq_factor
        smooth = ((scaling.original_context / wavelength - low) / (high - low)).clamp(0, 1)
        return frequencies * (smooth + (1 - smooth) / scaling.factor), 1.0
    if isinstance(scaling, YarnScaling):
        # Peng et al. 2023, section 3.2: the dimension at which a wave turns `beta` times within the context.
        def dimension(beta: float) -> float:
            turns = scaling.original_context / (beta * 2 * math.pi)
            return dim * math.log(turns) / (2 * math.log(settings.base))

        low = max(math.floor(dimension(scaling.beta_fast)), 0)
        high = min(math.ceil(dimension(scaling.beta_slow)), dim - 1)
        ramp = (torch.arange(dim // 2, device=device).float() - low) / max(high - low, 0.001)
        interpolated = ramp.clamp(0, 1)
        mixed = frequencies / scaling.factor * interpolated + frequencies * (1 - interpolated)
        return mixed, 1.0 if scaling.factor <= 1 else 0.1 * math.log(scaling.factor) + 1.0
    return frequencies, 1.0


def alibi_slopes(heads: int, max_bias: float) -> Tensor:
    """A slope a head (Press et al. 2022, section 3): powers of 2^(-max_bias / n), n the largest power of two within
    `heads`; further heads take the odd powers for 2 n, as the authors' code does."""
    whole = 2 ** int(math.log2(heads))
    exponents = torch.arange(1, whole + 1) / whole
    if whole < heads:
        exponents = torch.cat((exponents, torch.arange(1, 2 * (heads - whole), 2) / (2 * whole)))
    return torch.pow(2.0, -max_bias * exponents)


def alibi(settings: architecture.ALiBi, heads: int, queries: Tensor, keys: Tensor) -> Tensor:
    """Positions broadcast to `[rows, T, S]` in, additive score biases `[rows, heads, T or 1, S]` out."""
    slopes = alibi_slopes(heads, settings.max_bias).to(queries.device).view(1, -1, 1, 1)
    if settings.rounding == "bfloat16":
        return (slopes.bfloat16() * keys.unsqueeze(1).bfloat16()).float()
    return slopes * (keys - queries).unsqueeze(1)


class RelativeBias(nn.Module):
    """A learned bias a head and bucket of distance (Raffel et al. 2020, section 2.1); weight `[buckets, heads]`."""

    def __init__(self, settings: architecture.RelativeBuckets, heads: int, causal: bool) -> None:
        super().__init__()
        self.settings, self.causal = settings, causal
        self.weight = nn.Parameter(torch.empty(settings.buckets, heads).normal_(std=heads**-0.5))

    def forward(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Positions broadcast to `[rows, T, S]` in, additive score biases `[rows, heads, T, S]` out."""
        return self.weight[self._bucket(keys - queries)].permute(0, 3, 1, 2)

    def _bucket(self, distance: Tensor) -> Tensor:
        # Half of the buckets are exact distances, the others grow logarithmically up to max_distance.
        buckets = self.settings.buckets
        first = torch.zeros_like(distance)
        if self.causal:
            distance = (-distance).clamp(min=0)
        else:
            buckets //= 2
            first = (distance > 0).long() * buckets
            distance = distance.abs()
        exact = buckets // 2
        far = torch.log(distance.clamp(min=1).float() / exact) / math.log(self.settings.max_distance / exact)
        large = (exact + (far * (buckets - exact)).long()).clamp(max=buckets - 1)
        return first + torch.where(distance < exact, distance, large)


def sinusoids(settings: architecture.Sinusoids, positions: Tensor, dim: int, dtype: torch.dtype) -> Tensor:
    """Vaswani et al. 2017, section 3.5: PE(pos, 2i) = sin(pos / base^(2i/dim)), PE(pos, 2i+1) = cos of the same."""
    rates = settings.base ** (-torch.arange(0, dim, 2, device=positions.device, dtype=torch.float64) / dim)
    angles = positions.double().unsqueeze(-1) * rates
    parts = (angles.sin(), angles.cos()[..., : dim // 2])
    if settings.layout == "halves":
        table = torch.cat(parts, dim=-1)
    else:
        table = torch.empty(*positions.shape, dim, dtype=torch.float64, device=positions.device)
        table[..., 0::2], table[..., 1::2] = parts
    return table.to(dtype)
