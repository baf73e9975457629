"""Whole layers in one call."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import torch
from torch import Tensor

from moduformer.native.library import library

FLOAT32, FLOAT16, INT8, INT4 = range(4)
"""The kinds of panels, as `layer.h` counts them."""


class Linear(ctypes.Structure):
    """A weight in panels; see `layer.h`."""

    _fields_ = (
        *[(name, ctypes.c_int64) for name in ("kind", "inputs", "outputs", "group")],
        *[(name, ctypes.c_void_p) for name in ("panels", "scales", "sums", "shift")],
    )

    @classmethod
    def of(
        cls,
        kind: int,
        shape: tuple[int, int],
        panels: Tensor,
        shift: Tensor,
        scales: Tensor | None = None,
        sums: Tensor | None = None,
        group: int = 0,
    ) -> Linear:
        """`shape` is `[out, in]`; the tensors are as the function of that kind takes them, and must outlive it."""
        places = [None if part is None else part.data_ptr() for part in (panels, scales, sums, shift)]
        return cls(kind, shape[1], shape[0], group, *places)


_LINEARS = [(name, Linear) for name in ("qkv", "out", "inner", "down")]
_EPS = [(name, ctypes.c_float) for name in ("attention_eps", "feed_forward_eps")]


class _DecoderLayer(ctypes.Structure):
    _fields_ = (
        *_LINEARS,
        *[(name, ctypes.c_void_p) for name in ("attention_norm", "feed_forward_norm")],
        *[(name, ctypes.c_int64) for name in ("heads", "kv_heads", "width", "turned", "half")],
        *_EPS,
    )


class _EncoderLayer(ctypes.Structure):
    _fields_ = (
        *_LINEARS,
        *[
            (name, ctypes.c_void_p)
            for name in ("attention_norm", "attention_shift", "feed_forward_norm", "feed_forward_shift")
        ],
        *[(name, ctypes.c_int64) for name in ("heads", "kv_heads", "width")],
        *_EPS,
    )


class EncoderLayer:
    """Attention of each row to itself and a feed-forward layer with GELU, with layer norms of each and what came in.

    Arguments:
        linears: qkv, out, inner and down.
        norms: weight and shift of the norm after attention, then of that after feed-forward, `[dim]` each; they must
            outlive the layer.
        eps: of the norms.
        heads: heads, shared key-value heads, and numbers a head.
    """

    def __init__(
        self, linears: Sequence[Linear], norms: Sequence[Tensor], eps: Sequence[float], heads: tuple[int, int, int]
    ) -> None:
        self._parts = _EncoderLayer(*linears, *[norm.data_ptr() for norm in norms], *heads, *eps)
        self._address = ctypes.addressof(self._parts)
        built = library()
        assert built is not None, "ask `available` first"
        self._function = built.encoder_layer
        pointers, numbers = [ctypes.c_void_p] * 5, [ctypes.c_int64] * 2
        self._function.argtypes, self._function.restype = [*pointers, *numbers, ctypes.c_float], None

    def run(self, hidden: Tensor, starts: Tensor, lengths: Tensor, scale: float) -> Tensor:
        """`[tokens, dim]` to the same shape; `starts` and `lengths` of the rows are int64 `[rows]`."""
        hidden = hidden.contiguous()
        out = torch.empty_like(hidden)
        self._function(
            self._address,
            hidden.data_ptr(),
            out.data_ptr(),
            starts.data_ptr(),
            lengths.data_ptr(),
            len(starts),
            len(hidden),
            scale,
        )
        return out


class DecoderLayer:
    """Root-mean-square norms, attention to a cache and a gated feed-forward layer, each added to what came in.

    Arguments:
        linears: qkv, out, inner (the gate first) and down.
        norms: the weights before attention and before feed-forward, `[dim]`; they must outlive the layer.
        eps: of the norms.
        heads: heads, shared key-value heads, and numbers a head.
        turned: how many numbers of a head turn, and whether each with its neighbour; None where none does.
    """

    def __init__(
        self,
        linears: Sequence[Linear],
        norms: Sequence[Tensor],
        eps: Sequence[float],
        heads: tuple[int, int, int],
        turned: tuple[int, bool] | None,
    ) -> None:
        dim, neighbours = turned or (0, False)
        half = 1 if neighbours else dim // 2
        self._parts = _DecoderLayer(*linears, *[norm.data_ptr() for norm in norms], *heads, dim, half, *eps)
        self._address = ctypes.addressof(self._parts)
        built = library()
        assert built is not None, "ask `available` first"
        self._function = built.decoder_layer
        pointers, numbers = [ctypes.c_void_p] * 9, [ctypes.c_int64] * 3
        self._function.argtypes, self._function.restype = [*pointers, *numbers, ctypes.c_float], None

    def step(
        self,
        hidden: Tensor,
        turns: tuple[Tensor, Tensor] | None,
        held: tuple[Tensor, Tensor],
        places: Tensor,
        added: Tensor | None,
        keys: int,
        scale: float,
    ) -> Tensor:
        """`[rows, dim]` to the same shape.

        `turns` are cosines and signed sines `[rows, 1, dim]`, `held` the cache's keys and values
        `[rows, slots, kv_heads, width]`, into whose flat `places` `[rows]` the new ones go; the first `keys` slots are
        looked at, with `added` `[rows, keys]` added to their scores."""
        hidden = hidden.contiguous()
        out = torch.empty_like(hidden)
        k, v = held
        self._function(
            self._address,
            hidden.data_ptr(),
            out.data_ptr(),
            None if turns is None else turns[0].data_ptr(),
            None if turns is None else turns[1].data_ptr(),
            k.data_ptr(),
            v.data_ptr(),
            places.data_ptr(),
            None if added is None else added.data_ptr(),
            k.stride(0),
            len(hidden),
            keys,
            scale,
        )
        return out
