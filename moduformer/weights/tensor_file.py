"""What every checkpoint file offers, whatever its format: named tensors which are read one at a time."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import torch

from moduformer.errors import CheckpointError
from moduformer.weights.bounded import BoundedFile

# More dimensions than any tensor has, few enough that multiplying them is always cheap.
MAX_DIMENSIONS = 64


@dataclass(frozen=True)
class TensorInfo:
    """What a file says about one tensor, known without reading it.

    Args:
        name: the tensor's name in the file.
        dtype: the type `read` returns.
        shape: the shape `read` returns.
        nbytes: the bytes `read` takes in memory.
    """

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    nbytes: int


class TensorFile(ABC):
    """A checked, open checkpoint; use it in a `with` block or call `close`.

    Attributes:
        path: the file, or the index of a sharded checkpoint.
        metadata: what the file says about itself.
    """

    path: Path
    metadata: dict[str, str]

    @abstractmethod
    def names(self) -> list[str]:
        """The tensors' names, in the file's order."""

    @abstractmethod
    def info(self, name: str) -> TensorInfo:
        """Type and shape of one tensor; raises CheckpointError if there is none of that name."""

    @abstractmethod
    def read(self, name: str) -> torch.Tensor:
        """One tensor, contiguous, in its stored type and in memory nobody else holds.

        Raises:
            CheckpointError: no tensor has that name, or the file changed after it was opened.
        """

    @abstractmethod
    def close(self) -> None:
        """Close the file; reading afterwards is a CheckpointError."""

    def absent(self, name: str) -> CheckpointError:
        """The error for a name the file does not hold."""
        return CheckpointError(f"{self.path} holds no tensor named {quoted(name)}; names() lists what it holds.")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def quoted(name: object) -> str:
    """A name out of an untrusted file, printable on any terminal and short enough for a message."""
    text = ascii(name) if isinstance(name, str) else f"<{type(name).__name__}>"
    return text if len(text) <= 120 else f"{text[:110]}...'"


def tensor_bytes(dtype: torch.dtype, shape: tuple[int, ...]) -> int:
    """Bytes of a contiguous tensor, or ValueError if no such tensor can exist.

    Strides are products of dimensions, so a dimension of 0 does not excuse the others from being reasonable.
    """
    if len(shape) > MAX_DIMENSIONS:
        raise ValueError(f"{len(shape)} dimensions, more than {MAX_DIMENSIONS}")
    if any(type(size) is not int or size < 0 for size in shape):
        raise ValueError("a dimension that is not a whole number from 0 up")
    if math.prod(max(size, 1) for size in shape) * dtype.itemsize >= 1 << 63:
        raise ValueError("more elements than a tensor can have")
    return math.prod(shape) * dtype.itemsize


def read_tensor(file: BoundedFile, offset: int, dtype: torch.dtype, shape: tuple[int, ...]) -> torch.Tensor:
    """Copy the little-endian, row-major tensor at `offset` of `file` into fresh memory.

    Args:
        file: where from.
        offset: byte where the tensor starts.
        dtype, shape: already known to fit into the file's size.

    Raises:
        CheckpointError: the file has become shorter, or memory does not suffice.
    """
    try:
        raw = torch.empty(tensor_bytes(dtype, shape), dtype=torch.uint8)
    except (RuntimeError, MemoryError) as error:
        raise CheckpointError(
            f"{file.path}: no memory for a tensor of shape {list(shape)} ({dtype}). Close other programs, "
            "or convert the checkpoint to a smaller type."
        ) from error
    file.read_into(offset, raw.numpy().data)
    if dtype == torch.bool:
        # A byte other than 0 and 1 is undefined behaviour inside a bool tensor.
        return raw.ne(0).view(shape)
    return raw.view(dtype).view(shape) if raw.numel() else torch.empty(shape, dtype=dtype)


def check_finite(tensor: torch.Tensor, name: str) -> None:
    """Refuse a tensor that holds NaN or infinity.

    Args:
        tensor: any shape and type; whole numbers always pass.
        name: what the error calls it.

    Raises:
        CheckpointError: names the tensor and counts its bad values.
    """
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor.resolve_conj())
    if not tensor.is_floating_point() or not tensor.numel():
        return
    values = tensor.float() if tensor.dtype.itemsize == 1 else tensor
    # The extremes need one pass and no memory; a mask of the whole tensor is made only to word the error.
    if all(bool(torch.isfinite(extreme)) for extreme in torch.aminmax(values)):
        return
    nans, infinities = int(values.isnan().sum()), int(values.isinf().sum())
    raise CheckpointError(
        f"tensor {quoted(name)} holds {nans} NaN and {infinities} infinite of {tensor.numel()} values; a model with "
        "it computes only NaN. Fetch the checkpoint again, or go back to one saved before training diverged."
    )
