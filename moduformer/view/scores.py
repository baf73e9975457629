"""What a head does, as numbers: how sharp it is, how far it looks, how much of its weight lies on certain tokens."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from moduformer.view.probe import Weights, chunks


@dataclass(frozen=True, eq=False)
class Places:
    """What the scores need to know of queries and keys.

    Attributes:
        same: queries and keys are the tokens of one sequence.
        causal: a query sees only itself and what comes before.
        separators: which keys separate parts of a text, `[keys]`; None where none does.
        ids: token ids, for copies of a token; None where there are none.
        grid: rows and columns of a picture's patches, and how many tokens stand before them.
    """

    same: bool
    causal: bool = False
    separators: Tensor | None = None
    ids: Tensor | None = None
    grid: tuple[int, int, int] | None = None


def measure(rows: Tensor, start: int, places: Places) -> dict[str, Tensor]:
    """The scores of every query, `[heads, queries]` each; NaN where a query says nothing about a score.

    Arguments:
        rows: attention weights of queries from number `start` on, `[heads, queries, keys]`.
        places: what queries and keys are.

    `entropy` is in bits. `distance` is the mean distance to what is looked at, in tokens (patches for pictures).
    `previous`, `next`, `self`, `first` and `separator` are weights on these tokens (Clark et al. 2019, arXiv
    1906.04341, section 3). `induction` is the weight on tokens that follow an earlier copy of the query's own (prefix
    matching, Olsson et al. 2022, arXiv 2209.11895).
    """
    queries = torch.arange(start, start + rows.shape[1], device=rows.device)
    keys = torch.arange(rows.shape[2], device=rows.device)
    found = {"entropy": torch.special.entr(rows).sum(-1) / math.log(2)}
    if places.same:
        found["self"] = _at(rows, queries)
        distance = _distance(queries, keys, places.grid)
        counted = distance >= 0
        weighed = (rows * distance.clamp(min=0)).sum(-1)
        found["distance"] = weighed.masked_fill(~counted.any(-1), math.nan)
    if places.same and places.grid is None:
        found["previous"] = _at(rows, queries - 1)
        if not places.causal:
            found["next"] = _at(rows, queries + 1)
    if places.grid is None or places.grid[2]:
        found["first"] = rows[..., 0].clone()  # a view would keep all of the rows
    if places.separators is not None and bool(places.separators.any()):
        found["separator"] = rows[..., places.separators].sum(-1)
    if places.causal and places.same and places.ids is not None:
        after = F.pad(places.ids[:-1], (1, 0), value=-1)
        copies = (after[None] == places.ids[queries][:, None]) & (keys[None] <= queries[:, None])
        some = copies.any(-1)
        found["induction"] = (rows * copies).sum(-1).masked_fill(~some, math.nan)
    return found


def _at(rows: Tensor, keys: Tensor) -> Tensor:
    """Each query's weight on one key; NaN where there is no such key."""
    inside = (keys >= 0) & (keys < rows.shape[2])
    index = keys.clamp(0, rows.shape[2] - 1).expand(rows.shape[0], -1).unsqueeze(-1)
    return rows.gather(-1, index).squeeze(-1).masked_fill(~inside, math.nan)


def _distance(queries: Tensor, keys: Tensor, grid: tuple[int, int, int] | None) -> Tensor:
    """Distances `[queries, keys]` in tokens, or between the middles of patches; -1 to a token that has no place."""
    if grid is None:
        return (queries[:, None] - keys[None]).abs().float()
    _, columns, before = grid

    def place(numbers: Tensor) -> Tensor:
        return torch.stack(((numbers - before) // columns, (numbers - before) % columns), -1).float()

    far = torch.cdist(place(queries), place(keys))
    known = (queries >= before)[:, None] & (keys >= before)[None]
    return far.masked_fill(~known, -1.0)


def average(found: dict[str, Tensor]) -> dict[str, list[float | None]]:
    """The mean over queries `[heads, queries]` of each score, one number a head; scores that say nothing are left
    out."""
    means = {}
    for name, values in found.items():
        mean = values.double().nanmean(-1).tolist()
        if any(math.isfinite(value) for value in mean):
            means[name] = [round(value, 5) if math.isfinite(value) else None for value in mean]
    return means


def thumbnail(pooled: Tensor) -> Tensor:
    """The largest weight of each patch times 255 `[heads, size, size]`, of keys `[heads, queries, size]` pooled by
    `narrow`."""
    patches = F.adaptive_max_pool1d(pooled.transpose(1, 2), pooled.shape[2]).transpose(1, 2)
    return (patches * 255).round().clamp(0, 255).to(torch.uint8).contiguous()


def narrow(rows: Tensor, size: int) -> Tensor:
    """The largest weight of each of `size` patches of keys, `[heads, queries, size]`."""
    return F.adaptive_max_pool1d(rows, size)


def survey(weights: Weights, places: Places, size: int) -> tuple[dict[str, list[float | None]], bytes]:
    """One layer's scores, a number a head, and its thumbnails `[heads, size, size]` as bytes, a few queries at once."""
    heads, queries, _ = weights.shape
    found: dict[str, Tensor] = {}
    pooled = torch.empty(heads, queries, size)
    for start, rows in chunks(weights):
        stop = start + rows.shape[1]
        for name, values in measure(rows, start, places).items():
            # Written into one place: small results between large ones would keep the memory of all of them in pieces.
            found.setdefault(name, torch.empty(heads, queries))[:, start:stop] = values
        pooled[:, start:stop] = narrow(rows, size)
    return average(found), thumbnail(pooled).numpy().tobytes()


def pack(weights: Weights, head: int | None = None) -> bytes:
    """One layer as bytes: float32 `[heads, queries]`, each row's largest weight, then uint8 `[heads, queries, keys]`,
    the weight divided by it times 255. `head` is the only one to pack."""
    heads, queries, keys = weights.shape
    heads = heads if head is None else 1
    largest, levels = torch.empty(heads, queries), torch.empty(heads, queries, keys, dtype=torch.uint8)
    for start, rows in chunks(weights):
        some, stop = rows if head is None else rows[head : head + 1], start + rows.shape[1]
        most = some.amax(-1)
        shares = some / most.clamp(min=torch.finfo(some.dtype).tiny).unsqueeze(-1)
        largest[:, start:stop] = most
        levels[:, start:stop] = (shares * 255).round().to(torch.uint8)
    return largest.numpy().astype("<f4").tobytes() + levels.numpy().tobytes()
