"""The engine of every decoding strategy: ragged rows of a decoder, their cache, and the logits of their next tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, groupby
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from moduformer.batch import Batch
from moduformer.blocks.stack import Stack
from moduformer.errors import TextError
from moduformer.generate.two_streams import ask_ahead, unread

if TYPE_CHECKING:
    from moduformer.generate.prefixes import Prefixes
    from moduformer.model import Model, States


@dataclass
class Row:
    """The text of one row so far: `ids`, of which the first `given` were there before the model wrote anything."""

    ids: list[int]
    given: int

    @property
    def new(self) -> list[int]:
        """What the model wrote."""
        return self.ids[self.given :]

    def copy(self) -> Row:
        """The same text, to go on in another way."""
        return Row(list(self.ids), self.given)


class Decoding:
    """Texts that are being written: feed tokens in, read the logits of what comes next.

    Arguments:
        model: a decoder, or an encoder with a decoder, and a language-model head.
        prompts: token ids of each row (a decoder's prompt, an encoder's source), without padding; or a `Batch`.
        prefixes: what was read before, see `Prefixes`; for texts of plain tokens alone.
        prefix: with an encoder, how every row of the decoder begins; None takes the spec's `decoder_start_id`. One
            list for all rows, or one a row.

    Rows keep the caller's order. `active[i]` is the caller's number of row `i` here, `rows[i]` its text, and
    `prompts[active[i]]` what it began with (an encoder's source, where there is one). Nothing is
    recorded for gradients. Raises `TextError` for a model that cannot continue a text, and for ids or lengths the model
    has no room for.
    """

    def __init__(
        self,
        model: Model,
        prompts: Batch | Sequence[Sequence[int]],
        prefix: Sequence[int] | Sequence[Sequence[int]] | None = None,
        prefixes: Prefixes | None = None,
    ) -> None:
        check_writes(model)
        spec = model.spec
        self.model = model
        batch = prompts if isinstance(prompts, Batch) else Batch.from_lists(prompts, device=model.device)
        # A cache wants its rows in one order for good.
        batch = batch.select([batch.order.index(i) for i in range(len(batch.order))])
        count = len(batch.order)
        self.prompts: list[list[int]] = [ids.tolist() for ids in batch.tokens.split(batch.rows.lengths)]
        self.active = list(range(count))
        self.cache = model.cache(count)
        self._source: Batch | None = None
        self._sources: list[int] = []
        self._encoded: Tensor | None = None
        self._logits: Tensor | None = None
        if not spec.has_source:
            if prefix is not None:
                raise TextError("a prefix of the decoder is for models with an encoder; put it into the prompt")
            self.rows = [Row(list(ids), len(ids)) for ids in self.prompts]
            if prefixes is not None and _is_plain(model, batch):
                cache, shared = prefixes.begin(model, self.prompts)
                if cache is not None:
                    self.cache = cache
                    batch = self._following([ids[shared:] for ids in self.prompts])
            else:
                prefixes = None
            self._run(batch, batch.rows.ends)
            if prefixes is not None:
                prefixes.remember(self.prompts, self.cache)
        else:
            begin = _prefixes(prefix, spec.decoder_start_id, count)
            self.rows = [Row(ids, len(ids)) for ids in begin]
            self._source, self._sources = batch, list(self.active)
            target = Batch.following(begin, self.cache.seen, model.device)
            self._run(target, target.rows.ends)

    @property
    def logits(self) -> Tensor:
        """Logits of every row's next token, float32 or wider, `[rows, vocab]`; yours to change.

        Raises `TextError` after `rollback`, until the next tokens are fed.
        """
        if self._logits is None:
            raise TextError("after a rollback, feed a token before asking for the logits of the next")
        return self._logits

    @property
    def lengths(self) -> list[int]:
        """How many tokens of every row have been fed."""
        return [len(row.ids) for row in self.rows]

    def advance(self, tokens: Sequence[int] | Tensor) -> Tensor:
        """Adds one token to every row; returns the new `logits` `[rows, vocab]`."""
        chosen = tokens.tolist() if isinstance(tokens, Tensor) else list(tokens)
        return self.extend([[token] for token in chosen])

    def extend(self, tokens: Sequence[Sequence[int]]) -> Tensor:
        """Adds one or more tokens to every row in one pass; returns the new `logits` `[rows, vocab]`."""
        batch = self._following(tokens)
        return self._run(batch, batch.rows.ends, tokens)

    def score(self, tokens: Sequence[Sequence[int]]) -> list[Tensor]:
        """Adds one or more tokens to every row, as `extend`, and returns the logits after each of them.

        One `[tokens, vocab]` a row: the first line speaks of what follows the first token added. With `logits` as it
        was before, this judges a draft in one pass (Leviathan et al. 2023). Raises `TextError` for a model that
        `check_reads_forward` refuses.
        """
        check_reads_forward(self.model)
        batch = self._following(tokens)
        every = self._run(batch, None, tokens)
        self._logits = every[batch.rows.ends]
        return list(every.split(batch.rows.lengths))

    def rollback(self, lengths: Sequence[int]) -> None:
        """Cuts every row back to its first `lengths` tokens.

        Raises `TextError` where a row had fewer, or its last tokens' window is forgotten; nothing has changed then.
        """
        if len(lengths) != len(self.rows):
            raise TextError(f"{len(self.rows)} rows are being written, but {len(lengths)} lengths came")
        # A prompt with holes has positions beyond its number of tokens.
        cut = [have - keep for have, keep in zip(self.lengths, lengths)]
        self.cache.truncate(self.cache.seen - torch.tensor(cut, device=self.cache.seen.device))
        for row, length in zip(self.rows, lengths):
            del row.ids[length:]
        self._logits = None

    def select(self, rows: Sequence[int]) -> None:
        """Goes on with these rows only, in this order; a row may come more than once, as beams do."""
        if not rows:
            raise TextError("there must be at least one row to go on with")
        if list(rows) == list(range(len(self.rows))):
            return
        moved = [self.active[i] for i in rows]
        self.cache.select(rows, self._select_sources(moved))
        self.rows = [self.rows[i].copy() for i in rows]
        self.active = moved
        if self._logits is not None:
            self._logits = self._logits[torch.tensor(rows, device=self._logits.device)]

    def _select_sources(self, active: Sequence[int]) -> Tensor | None:
        """Keeps the sources of these rows; the places of their tokens among those that were there, None for all.

        Rows of one source that follow each other, such as beams, share it, unless the decoder is recurrent, whose
        state is a row's own, or looks at images.
        """
        if self._source is None:
            return None
        shared = isinstance(self.model.decoder, Stack) and self.model.encoder is not None
        runs = [len(list(run)) for _, run in groupby(active)] if shared else [1] * len(active)
        wanted = [active[start] for start in accumulate(runs[:-1], initial=0)]
        places = None
        if wanted != self._sources:
            assert self._encoded is not None
            chosen = [self._sources.index(number) for number in wanted]
            places = self._source.rows.places(chosen)
            self._encoded, self._source, self._sources = self._encoded[places], self._source.select(chosen), wanted
        self._source = replace(self._source, readers=tuple(runs) if shared else None)
        return places

    def _following(self, tokens: Sequence[Sequence[int]]) -> Batch:
        if len(tokens) != len(self.rows):
            raise TextError(f"{len(self.rows)} rows are being written, but tokens came for {len(tokens)}")
        if self.model.spec.asks_ahead:
            tokens = unread([[*row.ids, *own] for row, own in zip(self.rows, tokens)], self.cache)
        return Batch.following(tokens, self.cache.seen, self.model.device)

    @torch.no_grad()
    def _run(self, batch: Batch, logits_at: Tensor | None, added: Sequence[Sequence[int]] = ()) -> Tensor:
        if self.model.spec.asks_ahead:
            states = ask_ahead(self.model, batch, self.cache)
        elif self._source is None:
            states = self.model.run(batch, cache=self.cache, logits_at=logits_at)
        else:
            states = self.model.run(self._source, batch, self.cache, encoded=self._encoded, logits_at=logits_at)
            self._encoded = states.encoder_hidden
        self.states: States = states
        for row, ids in zip(self.rows, added):
            row.ids.extend(ids)
        logits = states.heads["language-model"]
        self._logits = logits if logits.dtype == torch.float64 else logits.float()
        return self._logits


def _is_plain(model: Model, batch: Batch) -> bool:
    """Whether token ids are all that a cache of these rows depends on."""
    beside = (
        batch.segments,
        batch.task_types,
        batch.permutation,
        batch.entities,
        batch.pixels,
        batch.given,
        batch.beside,
    )
    rows, spec = batch.rows, model.spec
    return (
        all(part is None for part in (*beside, rows.coordinates, rows.prefixes, spec.infilling, spec.vision))
        and rows.regular
        and not spec.asks_ahead
    )


def check_writes(model: Model) -> None:
    """Raises `TextError` for a model that cannot continue a text."""
    spec = model.spec
    if spec.head("language-model") is None or (spec.decoder is None and not spec.asks_ahead):
        raise TextError("only a model with a decoder and a language-model head can continue a text")
    if spec.reads_backward:
        raise TextError(
            "this model reads from a text's end and tells the token before; it scores texts, and writes none"
        )


def check_reads_forward(model: Model) -> None:
    """Raises `TextError` for a model whose states of a token change with what follows it, so that no pass over a whole
    text shows what each of its tokens was when it was the last."""
    if model.spec.asks_ahead:
        raise TextError(
            "this model's two streams see both sides of a token, so drafts and candidates cannot be judged in one "
            "pass; use greedy search, sampling or beams"
        )


def _prefixes(prefix: Sequence[int] | Sequence[Sequence[int]] | None, start: int | None, count: int) -> list[list[int]]:
    if prefix is None:
        if start is None:
            raise TextError("this model's spec has no decoder_start_id to begin a text with; give a prefix")
        return [[start] for _ in range(count)]
    rows = [list(row) for row in prefix if isinstance(row, Sequence)]
    if not rows:
        rows = [[int(token) for token in prefix if not isinstance(token, Sequence)] for _ in range(count)]
    if len(rows) != count or not all(rows):
        raise TextError(f"there are {count} rows, and each needs a prefix of at least one token; got {len(rows)}")
    return rows
