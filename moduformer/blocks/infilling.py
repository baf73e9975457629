"""Where the tokens of a text with blanks stand: one context that sees itself, then what fills a blank."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from moduformer import architecture
from moduformer.batch import Batch, Rows
from moduformer.cache import NEVER, Cache
from moduformer.errors import TextError


def arrange(settings: architecture.Infilling, batch: Batch, cache: Cache | None = None) -> Batch:
    """A batch with the coordinates and prefixes that its special tokens mean (Du et al. 2022, GLM, section 2.1).

    A row without the token `start` is all context. What the caller has set stays. A `cache` remembers where each row's
    answer began. Raises `TextError` for an answer without a blank, and for a context in several passes, of which the
    earlier ones could not see the later.
    """
    rows = batch.rows
    if rows.coordinates is not None and rows.prefixes is not None:
        return batch
    if cache is None or not bool(cache.seen.any()):
        found = _marks(settings, batch)
        prefixes = torch.minimum(found[:, 0], rows.positions[rows.ends] + 1)
    else:
        found, prefixes = _continued(settings, batch, cache), None
    if cache is not None:
        cache.marks = found
    if rows.coordinates is None:
        rows = replace(rows, coordinates=_coordinates(rows, found))
    if rows.prefixes is None:
        rows = replace(rows, prefixes=prefixes)
    return replace(batch, rows=rows)


def _marks(settings: architecture.Infilling, batch: Batch) -> Tensor:
    """For every row the position of its `start`, of the blank it fills, and whether positions run on behind that."""
    rows = batch.rows
    start = _first(batch.tokens == settings.start, rows)
    context = rows.positions < start[rows.row_of]
    blank = torch.full_like(start, NEVER)
    runs = torch.zeros_like(start)
    for token in settings.blanks:
        place = _first((batch.tokens == token) & context, rows)
        better = place < blank if settings.first == "in-text" else (blank == NEVER) & (place < NEVER)
        blank = torch.where(better, place, blank)
        runs = torch.where(better, int(token in settings.running), runs)
    _check_blanks(settings, batch, start, blank)
    return torch.stack((start, blank, runs), dim=1)


def _continued(settings: architecture.Infilling, batch: Batch, cache: Cache) -> Tensor:
    if cache.marks is None:
        raise TextError("an earlier pass named its positions and prefixes, so this one must, too")
    rows, found = batch.rows, cache.marks
    open_rows = found[:, 0] == NEVER
    begins = batch.tokens[rows.starts] == settings.start
    if bool((open_rows & ~begins).any()):
        row = batch.order[int((open_rows & ~begins).nonzero()[0])]
        raise TextError(
            f"row {row} goes on without its start token {settings.start}: a context is read in one pass, since all of "
            "it sees all of it, and only an answer can be written token by token; end the prompt with the start token"
        )
    start = torch.where(open_rows, rows.positions[rows.starts], found[:, 0])
    _check_blanks(settings, batch, start, found[:, 1])
    return torch.stack((start, found[:, 1], found[:, 2]), dim=1)


def _coordinates(rows: Rows, found: Tensor) -> Tensor:
    start, blank, runs = found[rows.row_of].unbind(1)
    answer = rows.positions >= start
    first = torch.where(answer & (runs == 0), blank, rows.positions)
    return torch.stack((first, torch.where(answer, rows.positions - start + 1, 0)), dim=1)


def _check_blanks(settings: architecture.Infilling, batch: Batch, start: Tensor, blank: Tensor) -> None:
    lost = (start < NEVER) & (blank == NEVER)
    if bool(lost.any()):
        raise TextError(
            f"row {batch.order[int(lost.nonzero()[0])]} has the start token {settings.start}, but no blank before it "
            f"({', '.join(map(str, settings.blanks))}) that it could fill"
        )


def _first(matches: Tensor, rows: Rows) -> Tensor:
    """The position of each row's first match, `[rows]`; `NEVER` without any."""
    found = torch.full((len(rows.lengths),), NEVER, dtype=torch.long, device=matches.device)
    return found.scatter_reduce(0, rows.row_of[matches], rows.positions[matches], "amin")
