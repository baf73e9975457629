"""What is done to the logits before a token is chosen: small callables that compose, with transformers' semantics.

A processor takes the rows so far and their next logits `[rows, vocab]` and returns new logits; forbidden tokens get
minus infinity. It never changes the tensor it was given, and a row's result never depends on the other rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from moduformer.generate.decoding import Row

Processor = Callable[[Sequence[Row], Tensor], Tensor]
"""`(rows, logits [rows, vocab]) -> logits [rows, vocab]`."""

NEVER = float("-inf")


def apply(processors: Sequence[Processor], rows: Sequence[Row], logits: Tensor) -> Tensor:
    """All processors, one after another."""
    for process in processors:
        logits = process(rows, logits)
    return logits


# Shape of the distribution -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Temperature:
    """Divides logits by `value`: below 1 sharper, above 1 flatter."""

    value: float

    def __call__(self, rows: Sequence[Row], logits: Tensor) -> Tensor:
        """See `Processor`."""
        return logits / self.value


@dataclass(frozen=True)
class TopK:
    """Keeps the `k` most probable tokens, and those as probable as the last of them (Fan et al. 2018)."""

    k: int
    keep: int = 1

    def __call__(self, rows: Sequence[Row], logits: Tensor) -> Tensor:
        """See `Processor`."""
        least = logits.topk(min(max(self.k, self.keep), logits.shape[-1])).values[:, -1:]
        return logits.masked_fill(logits < least, NEVER)


@dataclass(frozen=True)
class TopP:
    """Keeps the fewest most probable tokens whose probabilities reach `p` (Holtzman et al. 2020)."""

    p: float
    keep: int = 1

    def __call__(self, rows: Sequence[Row], logits: Tensor) -> Tensor:
        """See `Processor`."""
        ascending, order = logits.sort(dim=-1)
        remove = ascending.softmax(-1).cumsum(-1) <= 1 - self.p
        remove[:, -self.keep :] = False
        return logits.masked_fill(remove.scatter(1, order, remove), NEVER)


@dataclass(frozen=True)
class MinP:
    """Keeps tokens at least `p` times as probable as the most probable one (Nguyen et al. 2024)."""

    p: float
    keep: int = 1

    def __call__(self, rows: Sequence[Row], logits: Tensor) -> Tensor:
        """See `Processor`."""
        probabilities = logits.softmax(-1)
        remove = probabilities < self.p * probabilities.amax(-1, keepdim=True)
        best = probabilities.topk(min(self.keep, logits.shape[-1])).indices
        return logits.masked_fill(remove.scatter(1, best, False), NEVER)


@dataclass(frozen=True)
class Typical:
    """Keeps the tokens whose surprise is nearest the expected one, until they reach `mass` (Meister et al. 2023)."""

    mass: float
    keep: int = 1

    def __call__(self, rows: Sequence[Row], logits: Tensor) -> Tensor:
        """See `Processor`."""
        surprise = -logits.log_softmax(-1)
        entropy = (surprise * (-surprise).exp()).nansum(-1, keepdim=True)
        distance, order = (surprise - entropy).abs().sort(dim=-1)
        reached = logits.gather(-1, order).softmax(-1).cumsum(-1)
        last = (reached < self.mass).sum(1, keepdim=True).clamp(max=logits.shape[-1] - 1)
        remove = distance > distance.gather(1, last)
        remove[:, : self.keep] = False
        return logits.masked_fill(remove.scatter(1, order, remove), NEVER)


# Against repetition --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RepetitionPenalty:
    """Divides positive logits of tokens that came before, prompt included; multiplies negative ones (Keskar 2019)."""

    value: float

    def __call__(self, rows: Sequence[Row], logits: Tensor) -> Tensor:
        """See `Processor`."""
        came = _marked([row.ids for row in rows], logits)
        return torch.where(came, torch.where(logits < 0, logits * self.value, logits / self.value), logits)


@dataclass(frozen=True)
class PresencePenalty:
    """Subtracts `value` from tokens the model itself wrote already, as the OpenAI interface defines it."""

    value: float

    def __call__(self, rows: Sequence[Row], logits: Tensor) -> Tensor:
        """See `Processor`."""
        return logits - self.value * _marked([row.new for row in rows], logits)


@dataclass(frozen=True)
class FrequencyPenalty:
    """Subtracts `value` for each time the model itself wrote a token, as the OpenAI interface defines it."""

    value: float

    def __call__(self, rows: Sequence[Row], logits: Tensor) -> Tensor:
        """See `Processor`."""
        counts = torch.zeros_like(logits)
        row_of, ids = _places([row.new for row in rows], logits)
        counts.index_put_((row_of, ids), logits.new_ones(()), accumulate=True)
        return logits - self.value * counts


@dataclass(frozen=True)
class NoRepeatNgrams:
    """Forbids a token that would complete `size` tokens in a row that already came (Paulus et al. 2018)."""

    size: int

    def __call__(self, rows: Sequence[Row], logits: Tensor) -> Tensor:
        """See `Processor`."""
        return _forbid([self._completing(row.ids) for row in rows], logits)

    def _completing(self, ids: list[int]) -> list[int]:
        if len(ids) < self.size:
            return []
        before = ids[len(ids) + 1 - self.size :]
        ends = range(self.size - 1, len(ids))
        return [ids[end] for end in ends if ids[end + 1 - self.size : end] == before]


# What may come -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class BadWords:
    """Forbids the last token of each of these sequences where the others have just come."""

    words: tuple[tuple[int, ...], ...]

    def __call__(self, rows: Sequence[Row], logits: Tensor) -> Tensor:
        """See `Processor`."""
        return _forbid([self._completing(row.ids) for row in rows], logits)

    def _completing(self, ids: list[int]) -> list[int]:
        return [
            word[-1]
            for word in self.words
            if len(word) == 1 or (len(word) <= len(ids) + 1 and tuple(ids[len(ids) + 1 - len(word) :]) == word[:-1])
        ]


@dataclass(frozen=True)
class MinLength:
    """Forbids the end tokens until a row has `length` tokens, or `new` tokens of its own."""

    ends: tuple[int, ...]
    length: int = 0
    new: int = 0

    def __call__(self, rows: Sequence[Row], logits: Tensor) -> Tensor:
        """See `Processor`."""
        short = [len(row.ids) < self.length or len(row.ids) - row.given < self.new for row in rows]
        return _forbid([self.ends if too_short else () for too_short in short], logits)


@dataclass(frozen=True)
class Suppressed:
    """Forbids tokens; with `at_begin`, only as a row's first new one.

    `after_forced` says that a text of one token first gets a forced one (see `ForcedFirst`), and begins after that.
    """

    tokens: tuple[int, ...]
    at_begin: bool = False
    after_forced: bool = False

    def __call__(self, rows: Sequence[Row], logits: Tensor) -> Tensor:
        """See `Processor`."""
        begins = [row.given + (self.after_forced and row.given == 1) for row in rows]
        now = [not self.at_begin or len(row.ids) == begin for row, begin in zip(rows, begins)]
        return _forbid([self.tokens if yes else () for yes in now], logits)


@dataclass(frozen=True)
class ForcedFirst:
    """Lets only `token` follow the decoder's start token (mBART's language token)."""

    token: int

    def __call__(self, rows: Sequence[Row], logits: Tensor) -> Tensor:
        """See `Processor`."""
        return _force([(self.token,) if len(row.ids) == 1 else () for row in rows], logits)


@dataclass(frozen=True)
class ForcedLast:
    """Lets only end tokens be the last of `max_new_tokens`."""

    tokens: tuple[int, ...]
    max_new_tokens: int

    def __call__(self, rows: Sequence[Row], logits: Tensor) -> Tensor:
        """See `Processor`."""
        last = [len(row.ids) - row.given == self.max_new_tokens - 1 for row in rows]
        return _force([self.tokens if yes else () for yes in last], logits)


def _places(lists: Sequence[Sequence[int]], logits: Tensor) -> tuple[Tensor, Tensor]:
    """Row and token of every id; ids the head has no output for are left out."""
    vocab = logits.shape[-1]
    pairs = [(number, token) for number, ids in enumerate(lists) for token in ids if 0 <= token < vocab]
    both = torch.tensor(pairs, dtype=torch.long, device=logits.device).view(-1, 2)
    return both[:, 0], both[:, 1]


def _marked(lists: Sequence[Sequence[int]], logits: Tensor) -> Tensor:
    marks = torch.zeros_like(logits, dtype=torch.bool)
    marks[_places(lists, logits)] = True
    return marks


def _forbid(lists: Sequence[Sequence[int]], logits: Tensor) -> Tensor:
    if not any(lists):
        return logits
    return logits.masked_fill(_marked(lists, logits), NEVER)


def _force(lists: Sequence[Sequence[int]], logits: Tensor) -> Tensor:
    if not any(lists):
        return logits
    forced = torch.full_like(logits, NEVER).masked_fill(_marked(lists, logits), 0.0)
    rows = torch.tensor([bool(ids) for ids in lists], device=logits.device)
    return torch.where(rows[:, None], forced, logits)
