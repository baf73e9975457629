"""The attention kernels: exact attention over ragged rows, without padding where rows have equal lengths.

Rows of equal length lie next to each other (see `batch`), so each such run is a dense view that PyTorch's fused
kernel takes as it is. Rows of many different lengths are grouped into padded views only inside this file, when the
padding costs less than one kernel call a row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from moduformer import native
from moduformer.batch import Rows
from moduformer.mask import Both, Causal, Rule, Window

SHORT = 64
"""Rows of at most so many keys are attended to by plain matrix products: on a CPU the fused kernel, which saves memory
where rows are long, takes about twice as long for them, backward too."""

COMPILED = 512
"""Rows of at most so many keys are read by the compiled kernel, where there is one; above, the fused kernel's blocks
pay. See `native`."""

MAX_PADDING = 0.2
"""A padded group may hold this share of padding; beyond it, a kernel call of its own is cheaper."""


@dataclass(frozen=True)
class Group:
    """Rows that one kernel call serves: `count` rows of `queries` x `keys` tokens.

    The paddings are None when every cell of queries or keys is a real token. Keys in a cache lie on a grid already:
    `slots` are their positions `[count, keys]`, -1 where a slot is empty.
    """

    count: int
    queries: int
    keys: int
    query_tokens: int
    key_tokens: int
    query_padding: Padding | None = None
    key_padding: Padding | None = None
    slots: Tensor | None = None

    def query_grid(self, flat: Tensor) -> Tensor:
        """This group's queries `[query tokens, ...]` as `[rows, T, ...]`."""
        return spread(flat, self.query_padding, self.count)

    def key_grid(self, values: Tensor) -> Tensor:
        """This group's keys or values `[key tokens, ...]` as `[rows, S, ...]`; a cache's as they are."""
        return values if self.slots is not None else spread(values, self.key_padding, self.count)


@dataclass(eq=False)
class Layout:
    """Which query rows meet which key rows; masks and biases are made once for a rule and shared by all layers."""

    queries: Rows
    keys: Rows
    given: tuple[Group, ...] = ()
    _masks: dict[Rule, list[Tensor | None]] = field(default_factory=dict)
    _added: dict[tuple[Rule, torch.dtype], list[Tensor | None]] = field(default_factory=dict)

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """Rows that are served together, in order: those given, such as a cache's, else rows of about one length."""
        return self.given or tuple(_group(self.queries, self.keys))

    @property
    def query_splits(self) -> list[int]:
        """Query tokens of each group."""
        return [group.query_tokens for group in self.groups]

    @property
    def key_splits(self) -> list[int]:
        """Key tokens of each group, or rows of a cache: what the first dimension of keys is split into."""
        return [group.key_tokens if group.slots is None else group.count for group in self.groups]

    def positions(self) -> list[tuple[Tensor, Tensor]]:
        """For each group the positions of queries `[rows or 1, T, 1]` and keys `[rows or 1, 1, S]`."""
        found = []
        q_parts = self.queries.positions.split(self.query_splits)
        k_parts = self.keys.positions.split(self.key_splits) if self.groups[0].slots is None else self.groups
        alike = self.queries.regular and self.keys.regular
        for group, q, k in zip(self.groups, q_parts, k_parts):
            if group.slots is not None:
                q = spread(q, group.query_padding, group.count)
                found.append((q.unsqueeze(-1), group.slots.unsqueeze(-2)))
            elif alike and group.count > 1 and group.query_padding is None and group.key_padding is None:
                q, k = q[: group.queries], k[: group.keys]
                found.append((q.view(1, -1, 1), k.view(1, 1, -1)))
            else:
                q, k = spread(q, group.query_padding, group.count), spread(k, group.key_padding, group.count)
                found.append((q.unsqueeze(-1), k.unsqueeze(-2)))
        return found

    def masks(self, rule: Rule) -> list[Tensor | None]:
        """For each group the visible cells `[rows or 1, 1, T, S]`, or None where everything is visible."""
        if rule not in self._masks:
            masks: list[Tensor | None] = []
            for group, (q, k), horizons in zip(self.groups, self.positions(), self._horizons()):
                seen = rule.allows(q, k, horizons)
                padded = group.key_padding
                filled = group.slots >= 0 if group.slots is not None else None if padded is None else padded.real
                if filled is not None:
                    real = filled.unsqueeze(1)
                    seen = real if seen is None else seen & real
                if seen is not None and group.slots is not None and group.queries == 1 and bool(seen.all()):
                    seen = None
                masks.append(None if seen is None else seen.unsqueeze(1))
            self._masks[rule] = masks
        return self._masks[rule]

    def added(self, rule: Rule, dtype: torch.dtype) -> list[Tensor | None]:
        """The masks as numbers to add to scores, 0 or minus infinity: made once, not by the kernel in every layer."""
        if (rule, dtype) not in self._added:
            self._added[rule, dtype] = [
                None if mask is None else torch.zeros_like(mask, dtype=dtype).masked_fill_(~mask, float("-inf"))
                for mask in self.masks(rule)
            ]
        return self._added[rule, dtype]

    def _horizons(self) -> list[Tensor | None]:
        """For each group the last position that each query may look at, `[rows, T, 1]`; None without prefixes."""
        if self.queries.prefixes is None:
            return [None] * len(self.groups)
        parts = self.queries.horizons.split(self.query_splits)
        return [spread(part, g.query_padding, g.count).unsqueeze(-1) for g, part in zip(self.groups, parts)]


def _group(queries: Rows, keys: Rows) -> list[Group]:
    pairs = list(zip(queries.lengths, keys.lengths))
    device = queries.positions.device
    groups, start = [], 0
    while start < len(pairs):
        stop = start + 1
        t, s = pairs[start]
        real_q, real_k = t, s
        while stop < len(pairs):
            q, k = pairs[stop]
            wide_t, wide_s, rows = max(t, q), max(s, k), stop + 1 - start
            cells, real = rows * (wide_t + wide_s), real_q + real_k + q + k
            if cells - real > MAX_PADDING * cells:
                break
            t, s, real_q, real_k, stop = wide_t, wide_s, real_q + q, real_k + k, stop + 1
        served = pairs[start:stop]
        query_padding = padding([q for q, _ in served], t, device)
        alike = all(q == k for q, k in served)
        groups.append(
            Group(
                count=len(served),
                queries=t,
                keys=s,
                query_tokens=real_q,
                key_tokens=real_k,
                query_padding=query_padding,
                key_padding=query_padding if alike else padding([k for _, k in served], s, device),
            )
        )
        start = stop
    return groups


@dataclass(frozen=True, eq=False)
class Padding:
    """How rows of different lengths lie on a grid: `real` `[rows, width]`, and the cell of every flat token."""

    real: Tensor
    cells: Tensor


def padding(lengths: Sequence[int], width: int, device: torch.device) -> Padding | None:
    """The padding of rows on a grid of that width; None where every cell is a real token."""
    if all(length == width for length in lengths):
        return None
    real = torch.arange(width, device=device) < torch.tensor(lengths, device=device).unsqueeze(1)
    return Padding(real, real.view(-1).nonzero().squeeze(1))


def spread(flat: Tensor, padded: Padding | None, count: int) -> Tensor:
    """Flat tokens of a group as `[rows, T, ...]`: a view when there is no padding, else zeros between the rows."""
    if padded is not None:
        flat = flat.new_zeros(padded.real.numel(), *flat.shape[1:]).index_copy(0, padded.cells, flat)
    return flat.unflatten(0, (count, -1))


def gather(grid: Tensor, padded: Padding | None) -> Tensor:
    """`[rows, T, ...]` back to flat tokens."""
    flat = grid.flatten(0, 1)
    return flat if padded is None else _Pick.apply(flat, padded.cells)


class _Pick(torch.autograd.Function):
    """`index_select` of cells that are all different, so that its gradient is a copy and not a slow addition."""

    @staticmethod
    def forward(ctx: Any, flat: Tensor, cells: Tensor) -> Tensor:
        ctx.save_for_backward(cells)
        ctx.size = flat.shape[0]
        return flat.index_select(0, cells)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (cells,) = ctx.saved_tensors
        return grads[0].new_zeros(ctx.size, *grads[0].shape[1:]).index_copy_(0, cells, grads[0]), None


Bias = Sequence[Tensor]
"""For each group an additive score bias `[rows or 1, heads, T, S]`."""


@dataclass(frozen=True)
class Scores:
    """One layer's attention before the softmax: everything that `attend` or `weights` need.

    `q` is `[query tokens, heads, head_dim]`, `k` and `v` are `[key tokens, kv_heads, head_dim]`, or a cache's
    `[rows, slots, kv_heads, head_dim]`.
    """

    q: Tensor
    k: Tensor
    v: Tensor
    layout: Layout
    rule: Rule
    scale: float
    bias: Bias | None = None
    softcap: float | None = None
    dropout: float = 0.0


def attend(scores: Scores) -> Tensor:
    """Scaled dot-product attention (Vaswani et al. 2017, eq. 1) for every row; `[query tokens, heads, head_dim]`."""
    if torch.is_autocast_enabled("cpu") and scores.q.is_cpu:
        # In half precision PyTorch's kernels are several times slower on a CPU, above all backward.
        narrow = scores.q.dtype in (torch.bfloat16, torch.float16)
        with torch.autocast("cpu", enabled=False):
            return attend(
                replace(scores, q=scores.q.float(), k=scores.k.float(), v=scores.v.float()) if narrow else scores
            )
    if _is_compiled(scores):
        q, k, v, layout = scores.q, scores.k, scores.v, scores.layout
        if layout.given:
            added = layout.added(scores.rule, q.dtype)[0]
            return native.attend_slots(q, k, v, None if added is None else added.contiguous(), scores.scale)
        among, against = (layout.queries.starts, layout.queries.sizes), (layout.keys.starts, layout.keys.sizes)
        return native.attend_rows(q, k, v, among, against, scores.scale, type(scores.rule) is Causal)
    if scores.softcap is not None:  # The fused kernel has no place for it.
        return attend_explicitly(scores, lambda found: found)
    out = []
    window = _window(scores)
    if window is not None:
        return _attend_in_strips(scores, window)
    # A causal mask is a number for each pair of tokens: made only where it is read.
    layout = scores.layout
    masks = layout.masks(scores.rule) if scores.bias is not None else [None] * len(layout.groups)
    for number, (group, q, k, v, mask, bias) in enumerate(_parts(scores, masks)):
        short = _is_short(group, q, k, scores.dropout)
        # Positions rise along a row, holes or not; and padded keys lie after every real query, so they are hidden too.
        causal = (
            not short
            and type(scores.rule) is Causal
            and bias is None
            and group.queries == group.keys
            and group.queries > 1
            and group.slots is None
            and scores.layout.queries is scores.layout.keys
        )
        added = None
        if not causal:
            added = (
                scores.layout.added(scores.rule, q.dtype)[number] if bias is None else _additive(mask, bias, q.dtype)
            )
        if short:
            logits = (q * scores.scale) @ k.transpose(-1, -2)
            result = (logits if added is None else logits.add_(added)).softmax(-1) @ v
        else:
            result = F.scaled_dot_product_attention(
                q,
                k,
                v,
                attn_mask=added,
                dropout_p=scores.dropout,
                is_causal=causal,
                scale=scores.scale,
                enable_gqa=q.shape[1] != k.shape[1],
            )
        out.append(gather(result.transpose(1, 2), group.query_padding))
    return out[0] if len(out) == 1 else torch.cat(out)


def _is_compiled(scores: Scores) -> bool:
    """Whether a compiled kernel is for this: rows of new tokens, or one new token a row and a cache."""
    layout, tensors = scores.layout, (scores.q, scores.k, scores.v)
    if scores.bias is not None or scores.softcap is not None or scores.dropout:
        return False
    serves = native.serves if layout.given else native.differentiates
    if not serves(*tensors) or any(part.stride()[-2:] != (part.shape[-1], 1) for part in tensors):
        return False
    if layout.given:
        group, slot = layout.given[0], scores.k.shape[-2] * scores.k.shape[-1]
        return (
            len(layout.given) == 1
            and group.slots is not None
            and group.queries == 1
            and group.query_tokens == group.count
            and scores.k.stride() == scores.v.stride()
            and scores.k.stride(1) == slot
        )
    alike = type(scores.rule) is Causal and layout.queries is layout.keys
    return (type(scores.rule) is Rule or alike) and 0 < min(layout.keys.lengths) <= max(layout.keys.lengths) <= COMPILED


def _window(scores: Scores) -> int | None:
    """How many keys a query sees at most, where that is so few of its row that strips of it are cheaper."""
    rule, layout = scores.rule, scores.layout
    both = {type(part): part for part in (rule.left, rule.right)} if isinstance(rule, Both) else {}
    window = both.get(Window)
    if not isinstance(window, Window) or Causal not in both or layout.given or layout.queries is not layout.keys:
        return None
    return window.size if scores.bias is None and max(layout.keys.lengths) > 3 * window.size else None


def _attend_in_strips(scores: Scores, window: int) -> Tensor:
    """Causal attention within a window, row by row, as many queries at a time as the window is wide: each strip needs
    the keys of its own and the one before, so that time and memory grow with a row's length and not with its square."""
    lengths, out = scores.layout.queries.lengths, []
    parts = (part.split(lengths) for part in (scores.q, scores.k, scores.v, scores.layout.queries.positions))
    for q, k, v, positions in zip(*parts):
        for start in range(0, len(q), window):
            stop, first = min(start + window, len(q)), max(start - window + 1, 0)
            seen = scores.rule.allows(positions[start:stop, None], positions[None, first:stop])
            found = F.scaled_dot_product_attention(
                q[start:stop].transpose(0, 1).unsqueeze(0),
                k[first:stop].transpose(0, 1).unsqueeze(0),
                v[first:stop].transpose(0, 1).unsqueeze(0),
                attn_mask=seen,
                dropout_p=scores.dropout,
                scale=scores.scale,
                enable_gqa=q.shape[1] != k.shape[1],
            )
            out.append(found.squeeze(0).transpose(0, 1))
    return torch.cat(out)


def _is_short(group: Group, q: Tensor, k: Tensor, dropout: float) -> bool:
    """Whether plain products are faster than the fused kernel, see `SHORT`."""
    return (
        1 < group.queries <= SHORT
        and group.keys <= SHORT
        and q.shape[1] == k.shape[1]
        and q.device.type == "cpu"
        and q.dtype in (torch.float32, torch.float64)
        and not dropout
    )


def weights(scores: Scores) -> list[Tensor]:
    """The softmax of every group's scores, `[rows, heads, T, S]` each, zero where a cell is padding."""
    found = []
    for group, q, k, _, mask, bias in _parts(scores, scores.layout.masks(scores.rule)):
        k = k.repeat_interleave(q.shape[1] // k.shape[1], dim=1)
        logits = q @ k.transpose(-1, -2) * scores.scale
        if scores.softcap is not None:
            logits = scores.softcap * torch.tanh(logits / scores.softcap)
        additive = _additive(mask, bias, q.dtype)
        if additive is not None:
            logits = logits.masked_fill(~additive, float("-inf")) if additive.dtype == torch.bool else logits + additive
        soft = logits.softmax(-1)
        if group.query_padding is not None:
            soft = soft * group.query_padding.real[:, None, :, None]
        found.append(soft)
    return found


def attend_explicitly(scores: Scores, edit: Callable[[list[Tensor]], list[Tensor]]) -> Tensor:
    """Attention through its weights, changed by `edit` on the way; for layers that are edited, see `trace`."""
    out = []
    for soft, (group, q, _, v, _, _) in zip(edit(weights(scores)), _parts(scores, [None] * len(scores.layout.groups))):
        soft = F.dropout(soft, scores.dropout)
        v = v.repeat_interleave(q.shape[1] // v.shape[1], dim=1)
        out.append(gather((soft @ v).transpose(1, 2), group.query_padding))
    return torch.cat(out)


def _additive(mask: Tensor | None, bias: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    if bias is None or mask is None:
        return mask if bias is None else bias.to(dtype)
    return bias.to(dtype).masked_fill(~mask, float("-inf"))


def _parts(
    scores: Scores, masks: Sequence[Tensor | None]
) -> Iterator[tuple[Group, Tensor, Tensor, Tensor, Tensor | None, Tensor | None]]:
    layout = scores.layout
    biases: Sequence[Tensor | None] = scores.bias or [None] * len(layout.groups)
    alone = len(layout.groups) == 1
    parts = zip(
        layout.groups,
        (scores.q,) if alone else scores.q.split(layout.query_splits),
        (scores.k,) if alone else scores.k.split(layout.key_splits),
        (scores.v,) if alone else scores.v.split(layout.key_splits),
        masks,
        biases,
    )
    for group, q, k, v, mask, bias in parts:
        yield (
            group,
            group.query_grid(q).transpose(1, 2),
            group.key_grid(k).transpose(1, 2),
            group.key_grid(v).transpose(1, 2),
            mask,
            bias,
        )
