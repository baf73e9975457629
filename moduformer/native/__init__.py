"""Steps that PyTorch has no single operation for on a CPU, in C: compiled where there is a compiler, else not used.

Nothing here is needed: every caller has a way through PyTorch's own operations, which the tests compare with. Inputs
are float32 tensors on the CPU; no gradient is to be wanted of them, but in the functions of `gradients`.
"""

from moduformer.native.calls import (
    attend_slots,
    available,
    float_linear,
    gated_silu,
    int4_linear,
    int8_linear,
    multiplies_codes,
    rms_norm,
    rotate,
    serves,
    store,
)
from moduformer.native.gradients import attend_rows, differentiates
from moduformer.native.layer import FLOAT16, FLOAT32, INT4, INT8, DecoderLayer, EncoderLayer, Linear

__all__ = [
    "FLOAT16",
    "FLOAT32",
    "INT4",
    "INT8",
    "DecoderLayer",
    "EncoderLayer",
    "Linear",
    "attend_rows",
    "attend_slots",
    "available",
    "differentiates",
    "float_linear",
    "gated_silu",
    "int4_linear",
    "int8_linear",
    "multiplies_codes",
    "rms_norm",
    "rotate",
    "serves",
    "store",
]
