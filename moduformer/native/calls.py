"""The library's functions for tensors. Ask `available` or `serves` first; shapes and types are the caller's to keep."""

from __future__ import annotations

import ctypes
from functools import cache

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn import Parameter

from moduformer.native.library import library

SIGNATURES = {
    "attend_rows": "pppp iii pppp iiii r i",
    "attend_rows_backward": "ppppppp iii pppp iiii r i",
    "attend_slots": "ppppp iiiiiii r",
    "float16_linear": "pppp iiii",
    "float32_linear": "pppp iiii",
    "gated_silu": "pp ii",
    "int4_linear": "ppppp iiii",
    "int8_linear": "pppppp iiii",
    "rms_norm": "ppp ii r",
    "rotate": "pppp iiiiii",
    "store": "ppppp iiii",
}
"""What each function takes: p the address of a tensor's first number, i an integer of 64 bits, r a float32."""

KINDS = {"p": ctypes.c_void_p, "i": ctypes.c_int64, "r": ctypes.c_float}


PLAIN = (Tensor, Parameter)
"""Tensors that hold numbers; others may stand for what has no address, as when a model is traced."""


def available() -> bool:
    """Whether the compiled functions can be called."""
    return library() is not None


@cache
def multiplies_codes() -> bool:
    """Whether there are compiled products of codes: where the processor has instructions for them."""
    built = library()
    return built is not None and bool(built.multiplies_codes())


def serves(*tensors: Tensor) -> bool:
    """Whether the compiled functions can take these: float32 on the CPU, of which no gradient is wanted, neither
    backward nor forward."""
    if library() is None or forward_ad._current_level >= 0:
        return False
    recorded = torch.is_grad_enabled()
    for tensor in tensors:
        if type(tensor) not in PLAIN or (recorded and tensor.requires_grad):
            return False
        if tensor.dtype != torch.float32 or not tensor.is_cpu:
            return False
    return True


@cache
def _functions() -> ctypes.CDLL:
    built = library()
    assert built is not None, "ask `available` first"
    for name, kinds in SIGNATURES.items():
        function = getattr(built, name)
        function.argtypes, function.restype = [KINDS[kind] for kind in kinds.replace(" ", "")], None
    return built


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
    _functions().attend_rows(
        q.data_ptr(),
        k.data_ptr(),
        v.data_ptr(),
        out.data_ptr(),
        *_rows(q, k, v, queries, keys),
        scale,
        causal,
    )
    return out


def attend_rows_backward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    gradient: Tensor,
    queries: tuple[Tensor, Tensor],
    keys: tuple[Tensor, Tensor],
    scale: float,
    causal: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of q, k and v, each of its own shape, from that of what `attend_rows` gave of them."""
    gradient = gradient.contiguous()
    made = torch.empty(q.shape), torch.empty(k.shape), torch.empty(v.shape)
    _functions().attend_rows_backward(
        q.data_ptr(),
        k.data_ptr(),
        v.data_ptr(),
        gradient.data_ptr(),
        *(one.data_ptr() for one in made),
        *_rows(q, k, v, queries, keys),
        scale,
        causal,
    )
    return made


def _rows(q: Tensor, k: Tensor, v: Tensor, queries: tuple[Tensor, Tensor], keys: tuple[Tensor, Tensor]) -> list[int]:
    """What tells a function of rows how these lie: strides, starts and lengths, then how many of what there are."""
    strides = [one.stride(0) for one in (q, k, v)]
    places = [one.data_ptr() for one in (*queries, *keys)]
    return [*strides, *places, len(queries[0]), q.shape[1], k.shape[1], q.shape[2]]


def attend_slots(q: Tensor, k: Tensor, v: Tensor, added: Tensor | None, scale: float) -> Tensor:
    """Attention of one token a row to a cache, `[rows, heads, width]`.

    `q` `[rows, heads, width]`, the last two dimensions dense; `k` and `v` `[rows, slots, kv_heads, width]`, the last
    three dense; `added` `[rows, slots]` or None is added to the scores.
    """
    out = torch.empty(q.shape)
    rows, heads, width = q.shape
    _functions().attend_slots(
        q.data_ptr(),
        k.data_ptr(),
        v.data_ptr(),
        None if added is None else added.data_ptr(),
        out.data_ptr(),
        q.stride(0),
        k.stride(0),
        rows,
        k.shape[1],
        heads,
        k.shape[2],
        width,
        scale,
    )
    return out


def store(k: Tensor, v: Tensor, held_k: Tensor, held_v: Tensor, index: Tensor) -> None:
    """Writes new keys and values `[tokens, kv_heads, width]`, the last two dimensions dense, to the rows `index` of
    `[rows, kv_heads, width]`."""
    tokens, heads, width = k.shape
    _functions().store(
        k.data_ptr(),
        v.data_ptr(),
        held_k.data_ptr(),
        held_v.data_ptr(),
        index.data_ptr(),
        k.stride(0),
        v.stride(0),
        tokens,
        heads * width,
    )


def float_linear(hidden: Tensor, panels: Tensor, shift: Tensor, outputs: int, gelu: bool) -> Tensor:
    """`[tokens, in]` times float32 or float16 panels `[panels, in, 16]` plus `shift` `[panels * 16]`:
    `[tokens, outputs]`, or GELU of that."""
    hidden = hidden.contiguous()
    tokens, width = hidden.shape
    out = torch.empty(tokens, outputs)
    functions = _functions()
    linear = functions.float16_linear if panels.dtype == torch.float16 else functions.float32_linear
    linear(hidden.data_ptr(), panels.data_ptr(), shift.data_ptr(), out.data_ptr(), tokens, width, outputs, gelu)
    return out


def int8_linear(
    hidden: Tensor, panels: Tensor, scale: Tensor, sums: Tensor, shift: Tensor, outputs: int, gelu: bool
) -> Tensor:
    """`[tokens, in]`, coded token by token, times uint8 panels `[panels, in / 4, 16, 4]` of codes plus 128.

    `scale`, `sums` (of an output's weights) and `shift` are `[panels * 16]`. GELU of the result where asked."""
    hidden = hidden.contiguous()
    tokens, width = hidden.shape
    out = torch.empty(tokens, outputs)
    _functions().int8_linear(
        hidden.data_ptr(),
        panels.data_ptr(),
        scale.data_ptr(),
        sums.data_ptr(),
        shift.data_ptr(),
        out.data_ptr(),
        tokens,
        width,
        outputs,
        gelu,
    )
    return out


def int4_linear(hidden: Tensor, panels: Tensor, pairs: Tensor, shift: Tensor, outputs: int, group: int) -> Tensor:
    """`[tokens, in]`, coded in groups of inputs, times uint8 panels `[panels, in / 8, 16, 4]` of two codes each.

    `pairs` int32 `[panels, in / group, 16]` are bfloat16 scales over bfloat16 offsets, `shift` `[panels * 16]`."""
    hidden = hidden.contiguous()
    tokens, width = hidden.shape
    out = torch.empty(tokens, outputs)
    _functions().int4_linear(
        hidden.data_ptr(),
        panels.data_ptr(),
        pairs.data_ptr(),
        shift.data_ptr(),
        out.data_ptr(),
        tokens,
        width,
        outputs,
        group,
    )
    return out


def rms_norm(hidden: Tensor, weight: Tensor, eps: float) -> Tensor:
    """`[..., width]` over its root mean square, times `weight` `[width]`."""
    hidden = hidden.contiguous()
    out = torch.empty_like(hidden)
    width = hidden.shape[-1]
    _functions().rms_norm(hidden.data_ptr(), weight.data_ptr(), out.data_ptr(), hidden.numel() // width, width, eps)
    return out


def gated_silu(inner: Tensor) -> Tensor:
    """silu of the first half of `[..., 2 width]` times the second."""
    inner = inner.contiguous()
    width = inner.shape[-1] // 2
    out = torch.empty(*inner.shape[:-1], width)
    _functions().gated_silu(inner.data_ptr(), out.data_ptr(), out.numel() // max(width, 1), width)
    return out


def rotate(heads: Tensor, cosines: Tensor, sines: Tensor, neighbours: bool) -> Tensor:
    """Rotary turns of the first `dim` numbers of `[tokens, heads, width]`, the last two dimensions dense.

    `cosines` and `sines` are `[tokens, 1, dim]`. A number turns with its neighbour, or with that half of `dim` away."""
    tokens, count, width = heads.shape
    dim = cosines.shape[-1]
    out = torch.empty(heads.shape)
    half = 1 if neighbours else dim // 2
    _functions().rotate(
        heads.data_ptr(),
        cosines.data_ptr(),
        sines.data_ptr(),
        out.data_ptr(),
        heads.stride(0),
        tokens,
        count,
        width,
        dim,
        half,
    )
    return out
