"""Weights packed for running on the CPU: codes of 8 or 4 bits, which files keep to the bit, or floats in blocks."""

from moduformer.quantize.linear import CodedLinear, Int4Linear, Int8Linear
from moduformer.quantize.packed import Float16Linear, Float32Linear, PackedLinear
from moduformer.quantize.quantization import LAYERS, SCHEMES, Quantization, prepare, quantize, unpacked

__all__ = [
    "LAYERS",
    "SCHEMES",
    "CodedLinear",
    "Float16Linear",
    "Float32Linear",
    "Int4Linear",
    "Int8Linear",
    "PackedLinear",
    "Quantization",
    "prepare",
    "quantize",
    "unpacked",
]
