"""The number formats of ggml files and how a run of their blocks becomes ordinary floats.

A quantised row is cut into blocks of 32 or 256 weights. Each block carries one or two float16 scales, small
integers for its weights and, in the K formats, 4- or 6-bit scales of its sub-blocks.
Source: the block structures of ggml (`ggml-common.h`) and llama.cpp pull request 1684 (K-quants).
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Decode = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class BlockFormat:
    """One ggml type.

    Args:
        name: its name in ggml, for example `Q4_K`.
        elements: weights in a block.
        bytes: bytes of a block.
        dtype: what `decode` gives.
        decode: blocks [n, bytes] of uint8 to weights [n, elements] of `dtype`.
    """

    name: str
    elements: int
    bytes: int
    dtype: torch.dtype
    decode: Decode


def _half(blocks: Tensor, start: int) -> Tensor:
    """The float16 scale at byte `start` of every block, as float32 [n, 1]."""
    return blocks[:, start : start + 2].contiguous().view(torch.float16).float()


def _fields(packed: Tensor, width: int, run: int) -> Tensor:
    """Unsigned fields of `width` bits: of each run of bytes first all lowest fields, then the next ones.

    Args:
        packed: uint8 [n, bytes], `bytes` a multiple of `run`.
        width: bits of a field: 1, 2 or 4.
        run: bytes that share one shift.

    Returns:
        uint8 [n, bytes * 8 / width].
    """
    runs = packed.reshape(len(packed), -1, run)
    # One shift by a number at a time is several times faster than one by a broadcast tensor of shifts.
    fields = [(runs >> shift) & ((1 << width) - 1) for shift in range(0, 8, width)]
    return torch.stack(fields, dim=2).reshape(len(packed), -1)


def _fifth_bits(packed: Tensor) -> Tensor:
    """The 32 high bits of a Q5 block, uint8 [n, 4] to [n, 32], already in the place of bit 4."""
    return torch.stack([((packed >> shift) & 1) << 4 for shift in range(8)], dim=2).reshape(len(packed), 32)


def _decode_q8_0(blocks: Tensor) -> Tensor:
    return _half(blocks, 0) * blocks[:, 2:].view(torch.int8).float()


def _decode_q4_0(blocks: Tensor) -> Tensor:
    return _half(blocks, 0) * (_fields(blocks[:, 2:], 4, 16).float() - 8)


def _decode_q4_1(blocks: Tensor) -> Tensor:
    return _half(blocks, 0) * _fields(blocks[:, 4:], 4, 16).float() + _half(blocks, 2)


def _decode_q5_0(blocks: Tensor) -> Tensor:
    quants = _fields(blocks[:, 6:], 4, 16) | _fifth_bits(blocks[:, 2:6])
    return _half(blocks, 0) * (quants.float() - 16)


def _decode_q5_1(blocks: Tensor) -> Tensor:
    quants = _fields(blocks[:, 8:], 4, 16) | _fifth_bits(blocks[:, 4:8])
    return _half(blocks, 0) * quants.float() + _half(blocks, 2)


def _decode_q2_k(blocks: Tensor) -> Tensor:
    """16 scales and minima of 4 bits, 256 weights of 2 bits, then the two float16 super-scales."""
    scales = _half(blocks, 80) * (blocks[:, :16] & 15).float()
    minima = _half(blocks, 82) * (blocks[:, :16] >> 4).float()
    quants = _fields(blocks[:, 16:80], 2, 32).float().view(-1, 16, 16)
    return (scales[..., None] * quants - minima[..., None]).flatten(1)


def _decode_q3_k(blocks: Tensor) -> Tensor:
    """256 high bits (a cleared one subtracts 4), 256 low pairs of bits, 16 6-bit scales, the super-scale."""
    low, high = _fields(blocks[:, 96:104], 4, 8), _fields(blocks[:, 104:108], 2, 4)
    scales = _half(blocks, 108) * ((low | (high << 4)).float() - 32)
    quants = _fields(blocks[:, 32:96], 2, 32) | (_fields(blocks[:, :32], 1, 32) << 2)
    return (scales[..., None] * (quants.float() - 4).view(-1, 16, 16)).flatten(1)


def _scales_and_minima(packed: Tensor) -> tuple[Tensor, Tensor]:
    """Eight 6-bit scales and eight 6-bit minima of Q4_K and Q5_K, uint8 [n, 12] to two float32 [n, 8].

    The last four of each keep their low four bits in the third word, their high two in bits the others spare.
    """
    first, second, third = packed[:, :4], packed[:, 4:8], packed[:, 8:]
    scales = torch.cat([first & 63, (third & 15) | ((first >> 6) << 4)], dim=1)
    minima = torch.cat([second & 63, (third >> 4) | ((second >> 6) << 4)], dim=1)
    return scales.float(), minima.float()


def _scale_eighths(blocks: Tensor, quants: Tensor) -> Tensor:
    """Apply the header shared by Q4_K and Q5_K (bytes 0 to 15) to quants [n, 256]."""
    scales, minima = _scales_and_minima(blocks[:, 4:16])
    scales, minima = _half(blocks, 0) * scales, _half(blocks, 2) * minima
    return (scales[..., None] * quants.float().view(-1, 8, 32) - minima[..., None]).flatten(1)


def _decode_q4_k(blocks: Tensor) -> Tensor:
    return _scale_eighths(blocks, _fields(blocks[:, 16:], 4, 32))


def _decode_q5_k(blocks: Tensor) -> Tensor:
    return _scale_eighths(blocks, _fields(blocks[:, 48:], 4, 32) | (_fields(blocks[:, 16:48], 1, 32) << 4))


def _decode_q6_k(blocks: Tensor) -> Tensor:
    """256 low nibbles, 256 high pairs of bits, 16 signed 8-bit scales, the super-scale."""
    quants = _fields(blocks[:, :128], 4, 64) | (_fields(blocks[:, 128:192], 2, 32) << 4)
    scales = _half(blocks, 208) * blocks[:, 192:208].contiguous().view(torch.int8).float()
    return (scales[..., None] * (quants.float() - 32).view(-1, 16, 16)).flatten(1)


def _plain(name: str, dtype: torch.dtype) -> BlockFormat:
    return BlockFormat(name, 1, dtype.itemsize, dtype, lambda blocks: blocks.contiguous().view(dtype))


def _quantised(name: str, elements: int, size: int, decode: Decode) -> BlockFormat:
    return BlockFormat(name, elements, size, torch.float32, decode)


FORMATS: dict[int, BlockFormat] = {
    0: _plain("F32", torch.float32),
    1: _plain("F16", torch.float16),
    2: _quantised("Q4_0", 32, 18, _decode_q4_0),
    3: _quantised("Q4_1", 32, 20, _decode_q4_1),
    6: _quantised("Q5_0", 32, 22, _decode_q5_0),
    7: _quantised("Q5_1", 32, 24, _decode_q5_1),
    8: _quantised("Q8_0", 32, 34, _decode_q8_0),
    10: _quantised("Q2_K", 256, 84, _decode_q2_k),
    11: _quantised("Q3_K", 256, 110, _decode_q3_k),
    12: _quantised("Q4_K", 256, 144, _decode_q4_k),
    13: _quantised("Q5_K", 256, 176, _decode_q5_k),
    14: _quantised("Q6_K", 256, 210, _decode_q6_k),
    24: _plain("I8", torch.int8),
    25: _plain("I16", torch.int16),
    26: _plain("I32", torch.int32),
    27: _plain("I64", torch.int64),
    28: _plain("F64", torch.float64),
    30: _plain("BF16", torch.bfloat16),
}
"""ggml type number to format. Numbers are those of `enum ggml_type`."""

BY_NAME: dict[str, BlockFormat] = {block.name: block for block in FORMATS.values()}


def dequantize(blocks: Tensor, block: BlockFormat) -> Tensor:
    """Blocks as stored to their weights.

    Args:
        blocks: uint8 [n * block.bytes], contiguous.
        block: the format.

    Returns:
        [n * block.elements] in `block.dtype`; quantised formats give float32 as ggml's reference does.
    """
    return block.decode(blocks.view(-1, block.bytes)).reshape(-1)
