"""Linear layers whose weights lie as the CPU's fastest kernels want them: for running, not for training."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from moduformer import native
from moduformer.blocks.activation import ACTIVATIONS
from moduformer.blocks.linear import ActivatingLinear
from moduformer.errors import CheckpointError, SpecError, TrainingError
from moduformer.quantize.panels import filled, from_panels, panels


class PackedLinear(ActivatingLinear):
    """x W' + b with W `[out, in]` laid out for a kernel. It has no parameters: nothing in it can be trained or change
    its type.

    `coded_numbers` says how many of the model's numbers it stands for.
    """

    scheme: ClassVar[str]
    in_features: int
    out_features: int
    bias: Tensor | None
    shift: Tensor

    def __init__(self, out_features: int, in_features: int, bias: Tensor | None) -> None:
        super().__init__()
        self.out_features, self.in_features = out_features, in_features
        self.coded_numbers = out_features * in_features + (0 if bias is None else out_features)
        self.register_buffer("bias", None if bias is None else bias.detach().float().clone())

    def filled_bias(self) -> Tensor:
        """The bias up to whole panels, zeros where there is none."""
        return filled(torch.zeros(self.out_features) if self.bias is None else self.bias)

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
        if hidden.dim() == 2 and hidden.dtype == torch.float32:
            return product(hidden)
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


class FloatLinear(PackedLinear):
    """Weights that are numbers, in panels for the compiled product, or as PyTorch's library for their type wants them.

    With the compiled product a token's result is the same to the bit however many come with it.
    """

    dtype: ClassVar[torch.dtype]

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        """`weight` `[out, in]`, of numbers that `dtype` reaches."""
        super().__init__(weight.shape[0], weight.shape[1], bias)
        self._panels: Tensor | None = None
        if native.available():
            self._panels = panels(weight.detach().to(self.dtype))
            self.register_buffer("shift", self.filled_bias(), persistent=False)
        else:
            self._packed = self._pack(weight.detach().to(self.dtype).float().contiguous())

    @classmethod
    def of(cls, weight: Tensor, bias: Tensor | None, group: int = 0) -> Self:
        """Every number rounded to the nearest of the type."""
        return cls(weight, bias)

    @abstractmethod
    def _pack(self, weight: Tensor) -> Any:
        """The float32 weight as the library keeps it."""

    @abstractmethod
    def _unpack(self) -> Tensor:
        """What `_pack` was given."""

    @abstractmethod
    def _multiply(self, hidden: Tensor) -> Tensor:
        """The library's product."""

    @property
    def weight(self) -> Tensor:
        """The numbers put in order again, float32."""
        return self._unpack() if self._panels is None else from_panels(self._panels, self.out_features).float()

    def product(self, hidden: Tensor) -> Tensor:
        """Sums in float32."""
        if self._panels is None:
            return self._multiply(hidden.float())
        return native.float_linear(hidden.float(), self._panels, self.shift, self.out_features, False)

    def compiled(self) -> native.Linear | None:
        """Its panels."""
        if self._panels is None:
            return None
        kind = native.FLOAT16 if self.dtype == torch.float16 else native.FLOAT32
        return native.Linear.of(kind, (self.out_features, self.in_features), self._panels, self.shift)

    def activated_product(self, hidden: Tensor, activation: str) -> Tensor:
        """The compiled product applies GELU to what it has in its registers."""
        if self._panels is None or activation != "gelu":
            return super().activated_product(hidden, activation)
        return native.float_linear(hidden.float(), self._panels, self.shift, self.out_features, True)


class Float32Linear(FloatLinear):
    """The same float32 weights, laid out: nothing is rounded. Without the compiled product, in oneDNN's blocks."""

    scheme = "float32"
    dtype = torch.float32

    def _pack(self, weight: Tensor) -> Any:
        return _packed_by("oneDNN", lambda: torch.ops.mkldnn._reorder_linear_weight(weight))

    def _unpack(self) -> Tensor:
        weight: Tensor = self._packed.to_dense()
        return weight

    def _multiply(self, hidden: Tensor) -> Tensor:
        found: Tensor = torch.ops.mkldnn._linear_pointwise(hidden, self._packed, self.bias, "none", [], "")
        return found


class Float16Linear(FloatLinear):
    """Weights stored as float16 and widened on their way to the registers: activations and sums stay float32.

    Half the bytes, which is what a decoder's step waits for. Weights that were float16 or bfloat16 when they were
    trained are the same to the bit (bfloat16: from 6e-5 up); others lose what float16 rounds away, one part in 2,048
    at most. Without the compiled product, FBGEMM's.
    """

    scheme = "float16"
    dtype = torch.float16

    def _pack(self, weight: Tensor) -> Any:
        return _packed_by("FBGEMM", lambda: torch.ops.quantized.linear_prepack_fp16(weight, self.bias))

    def _unpack(self) -> Tensor:
        weight: Tensor = torch.ops.quantized.linear_unpack_fp16(self._packed)[0]
        return weight

    def _multiply(self, hidden: Tensor) -> Tensor:
        found: Tensor = torch.ops.quantized.linear_dynamic_fp16(hidden, self._packed)
        return found
