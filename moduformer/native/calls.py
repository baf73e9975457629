"""The library's functions for tensors. Ask `available` or `serves` first; shapes and types are the caller's to keep."""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import Tensor

from moduformer.native.library import library

NUMBER, REAL = ctypes.c_int64, ctypes.c_float

_functions: dict[str, Any] = {}


def available() -> bool:
    """Whether the compiled functions can be called."""
    return library() is not None


def multiplies_codes() -> bool:
    """Whether there are compiled products of codes: where the processor has instructions for them."""
    built = library()
    return built is not None and bool(built.multiplies_codes())


def serves(*tensors: Tensor) -> bool:
    """Whether the compiled functions can take these: float32 on the CPU, of which no gradient is wanted."""
    recorded = torch.is_grad_enabled()
    return available() and all(
        tensor.dtype == torch.float32 and tensor.device.type == "cpu" and not (recorded and tensor.requires_grad)
        for tensor in tensors
    )


def _call(name: str, *arguments: Tensor | float | None) -> None:
    """Tensors go as their addresses, integers as 64 bits, other numbers as float32."""
    function = _functions.get(name)
    if function is None:
        built = library()
        assert built is not None, "ask `available` first"
        function = _functions[name] = getattr(built, name)
        kinds = {float: REAL, int: NUMBER, bool: NUMBER}
        function.argtypes = [kinds.get(type(argument), ctypes.c_void_p) for argument in arguments]
        function.restype = None
    function(*[argument.data_ptr() if isinstance(argument, Tensor) else argument for argument in arguments])


def attend_rows(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    queries: tuple[Tensor, Tensor],
    keys: tuple[Tensor, Tensor],
    scale: float,
    causal: bool,
) -> Tensor:
    """Attention of rows side by side, `[query tokens, heads, width]`.

    `q` `[query tokens, heads, width]`, `k` and `v` `[key tokens, kv_heads, width]`, the last two dimensions dense.
    `queries` and `keys` are where each row starts and its length, int64 `[rows]`, none of them empty.
    """
    out = torch.empty(q.shape)
    strides, heads = (q.stride(0), k.stride(0), v.stride(0)), (q.shape[1], k.shape[1], q.shape[2])
    _call("attend_rows", q, k, v, out, *strides, *queries, *keys, len(queries[0]), *heads, scale, causal)
    return out


def attend_slots(q: Tensor, k: Tensor, v: Tensor, added: Tensor | None, scale: float) -> Tensor:
    """Attention of one token a row to a cache, `[rows, heads, width]`.

    `q` `[rows, heads, width]`, the last two dimensions dense; `k` and `v` `[rows, slots, kv_heads, width]`, the last
    three dense; `added` `[rows, slots]` or None is added to the scores.
    """
    out = torch.empty(q.shape)
    sizes = (q.stride(0), k.stride(0), len(q), k.shape[1], q.shape[1], k.shape[2], q.shape[2])
    _call("attend_slots", q, k, v, added, out, *sizes, scale)
    return out


def float_linear(hidden: Tensor, panels: Tensor, shift: Tensor, outputs: int, gelu: bool) -> Tensor:
    """`[tokens, in]` times float32 or float16 panels `[panels, in, 16]` plus `shift` `[panels * 16]`:
    `[tokens, outputs]`, or GELU of that."""
    out = torch.empty(len(hidden), outputs)
    name = "float16_linear" if panels.dtype == torch.float16 else "float32_linear"
    _call(name, hidden.contiguous(), panels, shift, out, *hidden.shape, outputs, gelu)
    return out


def int8_linear(
    hidden: Tensor, panels: Tensor, scale: Tensor, sums: Tensor, shift: Tensor, outputs: int, gelu: bool
) -> Tensor:
    """`[tokens, in]`, coded token by token, times uint8 panels `[panels, in / 4, 16, 4]` of codes plus 128.

    `scale`, `sums` (of an output's weights) and `shift` are `[panels * 16]`. GELU of the result where asked."""
    out = torch.empty(len(hidden), outputs)
    _call("int8_linear", hidden.contiguous(), panels, scale, sums, shift, out, *hidden.shape, outputs, gelu)
    return out


def int4_linear(hidden: Tensor, panels: Tensor, pairs: Tensor, shift: Tensor, outputs: int, group: int) -> Tensor:
    """`[tokens, in]`, coded in groups of inputs, times uint8 panels `[panels, in / 8, 16, 4]` of two codes each.

    `pairs` int32 `[panels, in / group, 16]` are bfloat16 scales over bfloat16 offsets, `shift` `[panels * 16]`."""
    out = torch.empty(len(hidden), outputs)
    _call("int4_linear", hidden.contiguous(), panels, pairs, shift, out, *hidden.shape, outputs, group)
    return out


def rms_norm(hidden: Tensor, weight: Tensor, eps: float) -> Tensor:
    """`[..., width]` over its root mean square, times `weight` `[width]`."""
    hidden = hidden.contiguous()
    out = torch.empty_like(hidden)
    width = hidden.shape[-1]
    _call("rms_norm", hidden, weight, out, hidden.numel() // width, width, float(eps))
    return out


def gated_silu(inner: Tensor) -> Tensor:
    """silu of the first half of `[..., 2 width]` times the second."""
    inner = inner.contiguous()
    width = inner.shape[-1] // 2
    out = torch.empty(*inner.shape[:-1], width)
    _call("gated_silu", inner, out, inner.numel() // max(2 * width, 1), width)
    return out


def rotate(heads: Tensor, cosines: Tensor, sines: Tensor, neighbours: bool) -> Tensor:
    """Rotary turns of the first `dim` numbers of `[tokens, heads, width]`, the last two dimensions dense.

    `cosines` and `sines` are `[tokens, 1, dim]`. A number turns with its neighbour, or with that half of `dim` away."""
    tokens, count, width = heads.shape
    dim = cosines.shape[-1]
    out = torch.empty(heads.shape)
    half = 1 if neighbours else dim // 2
    _call("rotate", heads, cosines, sines, out, heads.stride(0), tokens, count, width, dim, half)
    return out
