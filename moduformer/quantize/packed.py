"""Linear layers whose weights lie as the CPU's fastest kernels want them: for running, not for training."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from moduformer.blocks.activation import ACTIVATIONS
from moduformer.blocks.linear import ActivatingLinear
from moduformer.errors import CheckpointError, SpecError, TrainingError


class PackedLinear(ActivatingLinear):
    """x W' + b with W `[out, in]` laid out for a kernel. It has no parameters: nothing in it can be trained or change
    its type.

    `coded_numbers` says how many of the model's numbers it stands for.
    """

    scheme: ClassVar[str]
    in_features: int
    out_features: int
    bias: Tensor | None

    def __init__(self, out_features: int, in_features: int, bias: Tensor | None) -> None:
        super().__init__()
        self.out_features, self.in_features = out_features, in_features
        self.coded_numbers = out_features * in_features + (0 if bias is None else out_features)
        self.register_buffer("bias", None if bias is None else bias.detach().float().clone())

    @classmethod
    @abstractmethod
    def of(cls, weight: Tensor, bias: Tensor | None, group: int) -> Self:
        """A layer for a float weight `[out, in]`; `group` counts the inputs that share a scale, where they do."""

    @property
    @abstractmethod
    def weight(self) -> Tensor:
        """The weight that is multiplied with, float32 `[out, in]`, made anew at every call."""

    @abstractmethod
    def product(self, hidden: Tensor) -> Tensor:
        """`[tokens, in]` of any float type to float32 `[tokens, out]`, with the bias."""

    def forward(self, hidden: Tensor) -> Tensor:
        """`[..., in]` to `[..., out]`, of the type it was given. Raises `TrainingError` where a gradient is wanted."""
        return self._around(hidden, self.product)

    def activated(self, hidden: Tensor, activation: str) -> Tensor:
        """`forward`, then the named activation: with the product where a kernel knows it (`activated_product`)."""
        return self._around(hidden, lambda tokens: self.activated_product(tokens, activation))

    def activated_product(self, hidden: Tensor, activation: str) -> Tensor:
        """The activation of `product`."""
        return ACTIVATIONS[activation](self.product(hidden))

    def _around(self, hidden: Tensor, product: Callable[[Tensor], Tensor]) -> Tensor:
        if hidden.requires_grad and torch.is_grad_enabled():
            raise TrainingError("no gradient passes through a packed layer; take the float model for gradients")
        return product(hidden.reshape(-1, self.in_features)).to(hidden.dtype).unflatten(0, hidden.shape[:-1])

    def extra_repr(self) -> str:
        """As `nn.Linear` shows itself."""
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        # What `model.to(...)` calls. Packed weights keep their type whatever type the others take.
        if fn(torch.empty(0)).device.type != "cpu":
            raise CheckpointError("packed models run on the CPU only; load the float checkpoint for another device")
        return self


def _packed_by(library: str, pack: Callable[[], Any]) -> Any:
    """What `pack` makes. Raises `SpecError` where this PyTorch was built without that library."""
    try:
        return pack()
    except (RuntimeError, AttributeError) as error:
        raise SpecError(f"this PyTorch cannot pack weights by {library}; run the float model as it is") from error


class Float32Linear(PackedLinear):
    """The same float32 weights in the blocks that oneDNN's kernels read: nothing is rounded, sums are float32."""

    scheme = "float32"

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        """`weight` `[out, in]`."""
        super().__init__(weight.shape[0], weight.shape[1], bias)
        plain = weight.detach().float().contiguous()
        self._packed = _packed_by("oneDNN", lambda: torch.ops.mkldnn._reorder_linear_weight(plain))

    @classmethod
    def of(cls, weight: Tensor, bias: Tensor | None, group: int = 0) -> Self:
        """The weight as it is."""
        return cls(weight, bias)

    @property
    def weight(self) -> Tensor:
        """The blocks put in order again."""
        weight: Tensor = self._packed.to_dense()
        return weight

    def product(self, hidden: Tensor) -> Tensor:
        """oneDNN's product."""
        return self._pointwise(hidden, "none", "")

    def activated_product(self, hidden: Tensor, activation: str) -> Tensor:
        """oneDNN applies GELU and ReLU to what it has in its registers."""
        if activation in ONEDNN:
            return self._pointwise(hidden, *ONEDNN[activation])
        return super().activated_product(hidden, activation)

    def _pointwise(self, hidden: Tensor, name: str, form: str) -> Tensor:
        found: Tensor = torch.ops.mkldnn._linear_pointwise(hidden.float(), self._packed, self.bias, name, [], form)
        return found


ONEDNN = {"gelu": ("gelu", "none"), "gelu_tanh": ("gelu", "tanh"), "relu": ("relu", "")}
"""Activations by their names in oneDNN, and their forms there."""


class Float16Linear(PackedLinear):
    """Weights stored as float16 and widened on their way to the registers: activations and sums stay float32.

    Half the bytes, which is what a decoder's step waits for. Weights that were float16 or bfloat16 when they were
    trained are the same to the bit (bfloat16: from 6e-5 up); others lose what float16 rounds away, one part in 2,048
    at most.
    """

    scheme = "float16"

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        """`weight` `[out, in]`, of numbers that float16 reaches."""
        super().__init__(weight.shape[0], weight.shape[1], bias)
        halves = weight.detach().half()
        self._packed = _packed_by("FBGEMM", lambda: torch.ops.quantized.linear_prepack_fp16(halves.float(), self.bias))

    @classmethod
    def of(cls, weight: Tensor, bias: Tensor | None, group: int = 0) -> Self:
        """Every number rounded to the nearest float16."""
        return cls(weight, bias)

    @property
    def weight(self) -> Tensor:
        """The halves as float32."""
        weight: Tensor = torch.ops.quantized.linear_unpack_fp16(self._packed)[0]
        return weight

    def product(self, hidden: Tensor) -> Tensor:
        """FBGEMM's product."""
        found: Tensor = torch.ops.quantized.linear_dynamic_fp16(hidden.float(), self._packed)
        return found
