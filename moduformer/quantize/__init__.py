"""Weights as codes of 8 or 4 bits: `quantize` makes them, `save` and `moduformer.load` keep them to the bit."""

from moduformer.quantize.linear import CodedLinear, Int4Linear, Int8Linear
from moduformer.quantize.quantization import SCHEMES, Quantization, quantize

__all__ = ["SCHEMES", "CodedLinear", "Int4Linear", "Int8Linear", "Quantization", "quantize"]
