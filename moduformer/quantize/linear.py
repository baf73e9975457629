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
    codes: Tensor
    scale: Tensor
    sums: Tensor
    shift: Tensor

    def __init__(self, codes: Tensor, scale: Tensor, bias: Tensor | None) -> None:
        """`codes` int8 `[out, in]`, `scale` float32 `[out]`."""
        super().__init__(codes.shape[0], codes.shape[1], bias)
        self.register_buffer("codes", codes)
        self.register_buffer("scale", scale)
        self.register_buffer("sums", codes.sum(1, dtype=torch.int64).float() * scale, persistent=False)
        self.register_buffer("shift", torch.zeros_like(scale) if self.bias is None else self.bias, persistent=False)

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
        return {"codes": self.codes, "scale": self.scale}

    @property
    def weight(self) -> Tensor:
        """Codes times scales."""
        return self.codes.float() * self.scale.unsqueeze(1)

    def product(self, hidden: Tensor) -> Tensor:
        """Quantises each token, multiplies integers, scales."""
        return self._scaled(hidden, gelu=False)

    def activated_product(self, hidden: Tensor, activation: str) -> Tensor:
        """The compiled kernel scales and applies GELU in one step."""
        if activation == "gelu" and native.available():
            return self._scaled(hidden, gelu=True)
        return super().activated_product(hidden, activation)

    def _scaled(self, hidden: Tensor, gelu: bool) -> Tensor:
        multiply = torch._int_mm if integers_are_exact() else _float_product
        if native.available():
            codes, scale, middle = native.token_codes(hidden.float())
            sums = multiply(codes, self.codes.t())
            return native.scale_product(sums, scale, middle, self.scale, self.sums, self.shift, gelu)
        codes, scale, middle = token_codes(hidden.float())
        product = multiply(codes, self.codes.t()).float().mul_(self.scale)
        # One element at a time, so that no token's sum is ordered by how many tokens there are.
        return torch.addcmul(self.shift, product, scale).addr_(middle.squeeze(1), self.sums)


class Int4Linear(CodedLinear):
    """4-bit weights with a scale and an offset for each group of inputs of each output; activations stay floats.

    w = (code - 8) scale + offset. The kernel takes bfloat16 activations, because its float32 path is not vectorised.
    """

    scheme = "int4"
    packed: Tensor
    groups: Tensor
    group: int

    def __init__(self, codes: Tensor, scale: Tensor, offset: Tensor, bias: Tensor | None) -> None:
        """`codes` 0 to 15 `[out, in]`, `scale` and `offset` bfloat16 `[out, in / group]`."""
        super().__init__(codes.shape[0], codes.shape[1], bias)
        self.group = self.in_features // scale.shape[1]
        self.register_buffer("packed", torch._convert_weight_to_int4pack_for_cpu(codes.to(torch.int32), 1))
        self.register_buffer("groups", torch.stack((scale.t(), offset.t()), dim=-1).contiguous())

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
        codes = self._codes()
        scale, offset = (part.t().contiguous() for part in self.groups.unbind(-1))
        return {"codes": codes[:, 0::2] | codes[:, 1::2] << 4, "scale": scale, "offset": offset}

    @property
    def weight(self) -> Tensor:
        """(code - 8) scale + offset."""
        scale, offset = (part.t().float().unsqueeze(-1) for part in self.groups.unbind(-1))
        codes = self._codes().unflatten(1, (-1, self.group)).float()
        return ((codes - 8) * scale + offset).flatten(1)

    def product(self, hidden: Tensor) -> Tensor:
        """The kernel's product, which sums in float32 and returns bfloat16."""
        product = torch._weight_int4pack_mm_for_cpu(hidden.bfloat16(), self.packed, self.group, self.groups).float()
        return product if self.bias is None else product.add_(self.bias)

    def _codes(self) -> Tensor:
        # The kernel's own layout differs from machine to machine. Multiplied with unit vectors it gives the codes back.
        plain = torch.stack((torch.ones_like(self.groups[..., 0]), torch.zeros_like(self.groups[..., 1])), dim=-1)
        units = torch.eye(self.in_features, dtype=torch.bfloat16)
        columns = [
            torch._weight_int4pack_mm_for_cpu(part, self.packed, self.group, plain).add_(8).to(torch.uint8)
            for part in units.split(256)
        ]
        return torch.cat(columns).t().contiguous()


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


def _float_product(left: Tensor, right: Tensor) -> Tensor:
    return (left.double() @ right.double()).to(torch.int32)


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
