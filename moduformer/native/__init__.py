"""Steps that PyTorch has no single operation for on a CPU, in C: compiled where there is a compiler, else not used.

Nothing here is needed: every caller has a way through PyTorch's own operations, which the tests compare with. Inputs
are float32 tensors on the CPU that no gradient is wanted of.
"""

from moduformer.native.calls import attend_rows, available, scale_product, token_codes

__all__ = ["attend_rows", "available", "scale_product", "token_codes"]
