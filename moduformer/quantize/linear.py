"""Linear layers whose weights are codes of 8 or 4 bits, computed by PyTorch's own integer kernels on the CPU."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from functools import cache
from typing import Self

import torch
from torch import Tensor

from moduformer import native
from moduformer.quantize.packed import PackedLinear
from moduformer.quantize.panels import filled, from_halves, from_panels, from_quads, halves, panels, quads


class CodedLinear(PackedLinear):
    """A packed linear layer whose weight is codes, which files can hold."""

    @classmethod
    @abstractmethod
    def stored(cls, out_features: int, in_features: int, group: int) -> dict[str, tuple[torch.dtype, tuple[int, ...]]]:
        """The tensors that files hold of a layer's weight: their types and shapes."""

    @classmethod
    @abstractmethod
    def restored(cls, tensors: Mapping[str, Tensor], bias: Tensor | None) -> Self:
        """A layer from the tensors that `tensors()` gave; equal to the bit."""

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """The weight as files hold it."""


class Int8Linear(CodedLinear):
    """int8 weights with a scale for each output, and int8 activations with a scale and a middle for each token.

    W = diag(s) C and x = t q + m, so x W' = t s (q C') + m s (C 1): one product of integers, exact in int32. The middle
    m makes the codes cover a token's own range, which halves the error where that range is not symmetric. A token's
    result depends on no other token. Tokens with one huge value, which decoders have, leave few codes for the rest
    (Dettmers et al. 2022, LLM.int8(), section 3): measure, or take int4, whose activations stay floats.
    """

    scheme = "int8"
    filled_scale: Tensor
    sums: Tensor

    def __init__(self, codes: Tensor, scale: Tensor, bias: Tensor | None) -> None:
        """`codes` int8 `[out, in]`, `scale` float32 `[out]`."""
        super().__init__(codes.shape[0], codes.shape[1], bias)
        self._panels = quads(codes) if native.multiplies_codes() and self.in_features % 4 == 0 else None
        self._codes = codes if self._panels is None else None
        sums = codes.sum(1, dtype=torch.int64).float() * scale
        self.register_buffer("filled_scale", filled(scale))
        self.register_buffer("sums", filled(sums), persistent=False)
        self.register_buffer("shift", self.filled_bias(), persistent=False)

    @property
    def scale(self) -> Tensor:
        """float32 `[out]`."""
        return self.filled_scale[: self.out_features]

    @property
    def codes(self) -> Tensor:
        """int8 `[out, in]`."""
        if self._panels is not None:
            return from_quads(self._panels, self.out_features)
        assert self._codes is not None
        return self._codes

    @classmethod
    def of(cls, weight: Tensor, bias: Tensor | None, group: int = 0) -> Self:
        """Codes -127 to 127, the largest weight of each output exact."""
        weight = weight.detach().float()
        scale = weight.abs().amax(1).div_(127).clamp_min_(torch.finfo(torch.float32).tiny)
        return cls((weight / scale.unsqueeze(1)).round_().clamp_(-127, 127).to(torch.int8), scale, bias)

    @classmethod
    def stored(cls, out_features: int, in_features: int, group: int) -> dict[str, tuple[torch.dtype, tuple[int, ...]]]:
        """int8 codes and a float32 scale a row."""
        return {
            "codes": (torch.int8, (out_features, in_features)),
            "scale": (torch.float32, (out_features,)),
        }

    @classmethod
    def restored(cls, tensors: Mapping[str, Tensor], bias: Tensor | None) -> Self:
        """From `codes` and `scale`."""
        return cls(tensors["codes"], tensors["scale"], bias)

    def tensors(self) -> dict[str, Tensor]:
        """`codes` and `scale`."""
        return {"codes": self.codes, "scale": self.scale.clone()}

    @property
    def weight(self) -> Tensor:
        """Codes times scales."""
        return self.codes.float() * self.scale.unsqueeze(1)

    def product(self, hidden: Tensor) -> Tensor:
        """Quantises each token, multiplies integers, scales."""
        if self._panels is not None:
            return self._compiled(hidden, self._panels, gelu=False)
        codes, scale, middle = token_codes(hidden.float())
        multiply = torch._int_mm if integers_are_exact() else _float_product
        product = multiply(codes, self.codes.t()).float().mul_(self.scale)
        shift, sums = self.shift[: self.out_features], self.sums[: self.out_features]
        # One element at a time, so that no token's sum is ordered by how many tokens there are.
        return torch.addcmul(shift, product, scale).addr_(middle.squeeze(1), sums)

    def compiled(self) -> native.Linear | None:
        """Its panels."""
        if self._panels is None:
            return None
        shape, scales = (self.out_features, self.in_features), self.filled_scale
        return native.Linear.of(native.INT8, shape, self._panels, self.shift, scales, self.sums)

    def activated_product(self, hidden: Tensor, activation: str) -> Tensor:
        """The compiled product applies GELU to what it has in its registers."""
        if self._panels is None or activation != "gelu":
            return super().activated_product(hidden, activation)
        return self._compiled(hidden, self._panels, gelu=True)

    def _compiled(self, hidden: Tensor, weights: Tensor, gelu: bool) -> Tensor:
        return native.int8_linear(
            hidden.float(), weights, self.filled_scale, self.sums, self.shift, self.out_features, gelu
        )


class Int4Linear(CodedLinear):
    """4-bit weights with a scale and an offset for each group of inputs of each output.

    w = (code - 8) scale + offset. The compiled product gives each group of a token's inputs 8-bit codes and a scale of
    their own, so that a huge activation spoils no more than its group; products are of integers, summed in float32.
    PyTorch's kernel, without it, takes bfloat16 activations.
    """

    scheme = "int4"
    group: int

    def __init__(self, codes: Tensor, scale: Tensor, offset: Tensor, bias: Tensor | None) -> None:
        """`codes` 0 to 15 `[out, in]`, `scale` and `offset` bfloat16 `[out, in / group]`."""
        super().__init__(codes.shape[0], codes.shape[1], bias)
        self.group = self.in_features // scale.shape[1]
        self._halves: Tensor | None = None
        if native.multiplies_codes():
            self._halves = halves(codes)
            self._pairs = panels(_side_by_side(scale, offset))
            self.register_buffer("shift", self.filled_bias(), persistent=False)
        else:
            self._packed = torch._convert_weight_to_int4pack_for_cpu(codes.to(torch.int32), 1)
            self._groups = torch.stack((scale.t(), offset.t()), dim=-1).contiguous()

    @staticmethod
    def fits(out_features: int, in_features: int, group: int) -> bool:
        """Whether the kernel takes a weight of this shape."""
        return group in GROUPS and out_features % 16 == 0 and in_features % group == 0

    @classmethod
    def of(cls, weight: Tensor, bias: Tensor | None, group: int) -> Self:
        """Codes with, for each group, the range that leaves the least squared error."""
        parts = [_group_codes(rows, group) for rows in weight.detach().float().split(4096)]
        codes, scale, offset = (torch.cat(column) for column in zip(*parts))
        return cls(codes, scale, offset, bias)

    @classmethod
    def stored(cls, out_features: int, in_features: int, group: int) -> dict[str, tuple[torch.dtype, tuple[int, ...]]]:
        """Two codes a byte, the first in the low half; bfloat16 scales and offsets."""
        return {
            "codes": (torch.uint8, (out_features, in_features // 2)),
            "scale": (torch.bfloat16, (out_features, in_features // group)),
            "offset": (torch.bfloat16, (out_features, in_features // group)),
        }

    @classmethod
    def restored(cls, tensors: Mapping[str, Tensor], bias: Tensor | None) -> Self:
        """From `codes`, `scale` and `offset`."""
        pairs = tensors["codes"]
        codes = torch.stack((pairs & 15, pairs >> 4), dim=-1).flatten(1)
        return cls(codes, tensors["scale"], tensors["offset"], bias)

    def tensors(self) -> dict[str, Tensor]:
        """`codes`, `scale` and `offset`."""
        codes, scale, offset = self._parts()
        return {"codes": codes[:, 0::2] | codes[:, 1::2] << 4, "scale": scale, "offset": offset}

    @property
    def weight(self) -> Tensor:
        """(code - 8) scale + offset."""
        codes, scale, offset = self._parts()
        numbers = codes.unflatten(1, (-1, self.group)).float() - 8
        return (numbers * scale.float().unsqueeze(-1) + offset.float().unsqueeze(-1)).flatten(1)

    def product(self, hidden: Tensor) -> Tensor:
        """Sums in float32; PyTorch's kernel returns bfloat16."""
        if self._halves is not None:
            return native.int4_linear(
                hidden.float(), self._halves, self._pairs, self.shift, self.out_features, self.group
            )
        product = torch._weight_int4pack_mm_for_cpu(hidden.bfloat16(), self._packed, self.group, self._groups).float()
        return product if self.bias is None else product.add_(self.bias)

    def compiled(self) -> native.Linear | None:
        """Its halves."""
        if self._halves is None:
            return None
        shape = (self.out_features, self.in_features)
        return native.Linear.of(native.INT4, shape, self._halves, self.shift, self._pairs, group=self.group)

    def _parts(self) -> tuple[Tensor, Tensor, Tensor]:
        """Codes 0 to 15 `[out, in]`, bfloat16 scales and offsets `[out, in / group]`."""
        if self._halves is not None:
            pairs = from_panels(self._pairs, self.out_features)
            scale, offset = (pairs & -0x10000).view(torch.float32), (pairs << 16).view(torch.float32)
            return from_halves(self._halves, self.out_features), scale.bfloat16(), offset.bfloat16()
        scale, offset = (part.t().contiguous() for part in self._groups.unbind(-1))
        # The kernel's own layout differs from machine to machine. Multiplied with unit vectors it gives the codes back.
        plain = torch.stack((torch.ones_like(self._groups[..., 0]), torch.zeros_like(self._groups[..., 1])), dim=-1)
        units = torch.eye(self.in_features, dtype=torch.bfloat16)
        columns = [
            torch._weight_int4pack_mm_for_cpu(part, self._packed, self.group, plain).add_(8).to(torch.uint8)
            for part in units.split(256)
        ]
        return torch.cat(columns).t().contiguous(), scale, offset


CODED: dict[str, type[CodedLinear]] = {layer.scheme: layer for layer in (Int8Linear, Int4Linear)}
"""The layer of each scheme that has codes."""

GROUPS = (32, 64, 128, 256)
"""How many inputs may share a 4-bit scale."""

MAX_INPUTS = 2**17
"""With more inputs a sum of products of int8 might not fit into int32."""


def token_codes(hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """int8 codes of float32 tokens `[tokens, in]`, and for each token its scale and middle, both `[tokens, 1]`.

    A token is scale * codes + middle, to half a scale.
    """
    high, low = hidden.amax(1, keepdim=True), hidden.amin(1, keepdim=True)
    middle = torch.lerp(low, high, 0.5)
    # From the rounded middle, so that the quotients below stay within 127 without being clamped.
    scale = torch.maximum(high - middle, middle - low).div_(127).clamp_min_(torch.finfo(torch.float32).tiny)
    return torch.sub(hidden, middle).div_(scale).round_().to(torch.int8), scale, middle


def _side_by_side(scale: Tensor, offset: Tensor) -> Tensor:
    """bfloat16 scales and offsets as the upper and lower halves of int32."""
    upper, lower = (part.bfloat16().view(torch.int16).int() for part in (scale, offset))
    return upper << 16 | lower & 0xFFFF


def _float_product(left: Tensor, right: Tensor) -> Tensor:
    return left.double() @ right.double()


@cache
def integers_are_exact() -> bool:
    """Whether this machine's int8 product is exact; kernels for old processors saturate sums of two products."""
    left = torch.full((4, 256), 127, dtype=torch.int8)
    right = torch.tensor([127, -127], dtype=torch.int8).repeat_interleave(16).unsqueeze(1).expand(32, 256)
    left[1::2] = -127
    try:
        found = torch._int_mm(left, right.contiguous().t())
    except RuntimeError:
        return False
    return torch.equal(found.long(), left.long() @ right.long().t())


def _group_codes(weight: Tensor, group: int) -> tuple[Tensor, Tensor, Tensor]:
    """Codes `[out, in]`, bfloat16 scales and offsets `[out, groups]`."""
    parts = weight.unflatten(1, (-1, group))
    high, low = parts.amax(2, keepdim=True), parts.amin(2, keepdim=True)
    best: tuple[Tensor, ...] | None = None
    for share in (1.0, 0.95, 0.9, 0.85, 0.8):
        tiny = torch.finfo(torch.bfloat16).tiny
        # Codes are chosen for the scale and offset that are kept, not for those before rounding.
        scale = ((high - low) * (share / 15)).bfloat16().clamp_min(tiny).float()
        offset = (low + (high - low) * ((1 - share) / 2) + 8 * scale).bfloat16().float()
        codes = ((parts - offset) / scale).round_().add_(8).clamp_(0, 15)
        error = (((codes - 8) * scale + offset) - parts).square_().sum(2, keepdim=True)
        if best is None:
            best = (error, codes, scale, offset)
        else:
            better = error < best[0]
            best = tuple(torch.where(better, new, old) for new, old in zip((error, codes, scale, offset), best))
    assert best is not None
    _, codes, scale, offset = best
    return codes.to(torch.uint8).flatten(1), scale.squeeze(2).bfloat16(), offset.squeeze(2).bfloat16()
