"""The library's functions for tensors. Ask `available` first; shapes and types are the caller's to keep."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

import torch
from torch import Tensor

from moduformer.native.library import library

ADDRESS, NUMBER, REAL = ctypes.c_void_p, ctypes.c_int64, ctypes.c_float


@cache
def _function(name: str, *arguments: Any) -> Any:
    built = library()
    assert built is not None, "ask `available` first"
    function = getattr(built, name)
    function.argtypes, function.restype = arguments, None
    return function


def available() -> bool:
    """Whether the compiled functions can be called."""
    return library() is not None


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
    attend = _function("attend_rows", *[ADDRESS] * 4, *[NUMBER] * 3, *[ADDRESS] * 4, *[NUMBER] * 4, REAL, NUMBER)
    attend(
        q.data_ptr(),
        k.data_ptr(),
        v.data_ptr(),
        out.data_ptr(),
        q.stride(0),
        k.stride(0),
        v.stride(0),
        queries[0].data_ptr(),
        queries[1].data_ptr(),
        keys[0].data_ptr(),
        keys[1].data_ptr(),
        len(queries[0]),
        q.shape[1],
        k.shape[1],
        q.shape[2],
        scale,
        causal,
    )
    return out


def token_codes(hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """int8 codes of `[tokens, width]`, and for each token its scale and middle, both `[tokens, 1]`."""
    hidden = hidden.contiguous()
    tokens, width = hidden.shape
    codes = torch.empty(tokens, width, dtype=torch.int8)
    scales, middles = torch.empty(tokens, 1), torch.empty(tokens, 1)
    _function("token_codes", *[ADDRESS] * 4, NUMBER, NUMBER)(
        hidden.data_ptr(), codes.data_ptr(), scales.data_ptr(), middles.data_ptr(), tokens, width
    )
    return codes, scales, middles


def scale_product(
    sums: Tensor,
    token_scales: Tensor,
    middles: Tensor,
    scales: Tensor,
    code_sums: Tensor,
    shift: Tensor,
    gelu: bool = False,
) -> Tensor:
    """token_scales * sums * scales + middles * code_sums + shift, or GELU of it, in the memory of the int32 sums
    `[tokens, width]`."""
    _function("scale_product", *[ADDRESS] * 6, *[NUMBER] * 3)(
        sums.data_ptr(),
        token_scales.data_ptr(),
        middles.data_ptr(),
        scales.data_ptr(),
        code_sums.data_ptr(),
        shift.data_ptr(),
        *sums.shape,
        gelu,
    )
    return sums.view(torch.float32)
