"""The fill-mask pipeline: which tokens a masked language model would put in the place of a mask."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from moduformer.errors import PipelineError
from moduformer.pipelines.pipeline import Pipeline, text_of
from moduformer.pipelines.token_windows import Tokenizing, tokenizing
from moduformer.pipelines.windowing import windower
from moduformer.text.spacing import decoded
from moduformer.text.tokenizer import Tokenizer
from moduformer.train.batching import evaluation_batches
from moduformer.train.encoded import Encoded
from moduformer.train.evaluation import TOKENS, batch_of

_log = logging.getLogger("moduformer")


@dataclass(frozen=True)
class FillOptions:
    """What a call may say.

    Attributes:
        top_k: how many tokens for each mask, best first; None: 5.
        targets: the only tokens (or words, of which the first token counts) to choose from; scores stay those among the
            whole vocabulary.
        tokenizer_kwargs: `truncation`, `max_length` and `add_special_tokens`, as for Hugging Face's tokenizers.
        max_length: tokens of a window at most; None takes what the model reads, at most 512.
        details: also tell `start` and `end` of the mask in the text, `windows` and `truncated`.
    """

    top_k: int | None = None
    targets: str | Sequence[str] | None = None
    tokenizer_kwargs: Mapping[str, Any] | None = None
    max_length: int | None = None
    details: bool = False

    def __post_init__(self) -> None:
        if self.top_k is not None and self.top_k < 1:
            raise PipelineError(f"top_k is {self.top_k}; give a whole number from 1 on")

    @property
    def tokenizing(self) -> Tokenizing:
        """What is said about tokenizing."""
        return tokenizing("tokenizer_kwargs", self.tokenizer_kwargs, None, self.max_length)


@dataclass(frozen=True)
class Candidate:
    """A token for a mask: its probability, id and text, and the whole text with it."""

    score: float
    token: int
    token_str: str
    sequence: str


@dataclass(frozen=True)
class Mask:
    """A mask of a text, at characters `start` to `end - 1`, and its candidates, best first."""

    start: int
    end: int
    candidates: list[Candidate]


@dataclass(frozen=True)
class Filled:
    """The masks of a text, in order; how many windows were read; whether some of the text was not."""

    masks: list[Mask]
    windows: int
    truncated: bool


@dataclass(frozen=True, eq=False)
class MaskedText:
    """A text's tokens, special ones included, the places of its masks among them, and those of the windows around them.

    `windows` are first and last + 1 place of what each window holds of the text's own tokens, which begin at `before`
    and end `after` tokens before the end; `window` is the window of each mask.
    """

    ids: np.ndarray
    types: np.ndarray
    masks: list[int]
    spans: list[tuple[int, int]]
    before: int
    after: int
    windows: list[tuple[int, int]]
    window: list[int]
    truncated: bool

    def rows(self, values: np.ndarray) -> Iterator[Any]:
        """The values (ids, types) of each window, with those of the special tokens around."""
        if len(self.windows) == 1 and self.windows[0] == (self.before, len(values) - self.after):
            yield values
            return
        for start, end in self.windows:
            yield np.concatenate([values[: self.before], values[start:end], values[len(values) - self.after :]])

    def places(self) -> list[int]:
        """Where each mask is in its window."""
        return [self.before + mask - self.windows[window][0] for mask, window in zip(self.masks, self.window)]


class FillMask(Pipeline[MaskedText, Filled, FillOptions]):
    """Tokens for the masks of texts. In a text longer than the model reads, a mask is read with as much of the text
    around it as fits."""

    task = "fill-mask"
    head = "fill-mask"
    options_type = FillOptions

    def check(self) -> None:
        """Raises `PipelineError` if the model is no masked language model, or its tokenizer has no mask."""
        super().check()
        if self.model.spec.head("masked-lm") is None:
            raise PipelineError("this model has no head for masked tokens; take a masked language model such as BERT")
        if self._tokens.mask_id is None:
            raise PipelineError("this model's tokenizer has no mask token; take one that has, with tokenizer=...")

    @property
    def _tokens(self) -> Tokenizer:
        assert self.tokenizer is not None
        return self.tokenizer

    def read(self, value: Any, options: FillOptions) -> MaskedText:
        """A text with a mask at least."""
        wanted, text = options.tokenizing, text_of(value)
        limit = windower(self.model, wanted.max_length).max_length
        encoding = self._tokens.encode(text, add_special_tokens=wanted.framed)
        template = self._tokens.frame() if wanted.framed else []
        before = next((number for number, step in enumerate(template) if step.sequence is not None), 0)
        after = max(len(template) - before - 1, 0)
        kept = np.arange(len(encoding))
        cut = wanted.truncation and len(kept) > limit
        if cut:
            kept = np.concatenate([kept[: limit - after], kept[len(kept) - after :]])
        ids = np.asarray(encoding.ids, dtype=np.int32)[kept]
        masks = np.flatnonzero(ids == self._tokens.mask_id).tolist()
        if not masks:
            where = "in what truncation leaves of this text" if cut else "in this text"
            raise PipelineError(
                f"there is no {self._tokens.special_tokens['mask']} {where}; put one where a token is missing"
            )
        room = limit - before - after
        if room < 1:
            raise PipelineError(f"a window of {limit} tokens has no room for text; raise max_length")
        windows, window = _around(masks, before, len(ids) - after, room)
        spans = encoding.offsets
        return MaskedText(
            ids,
            np.asarray(encoding.type_ids, dtype=np.int32)[kept],
            masks,
            [spans[kept[mask]] for mask in masks],
            before,
            after,
            windows,
            window,
            cut,
        )

    def find(self, items: Sequence[MaskedText], options: FillOptions) -> Iterator[Filled]:
        """Every mask's candidates."""
        if not items:
            return
        targets = self._targets(options.targets)
        best = iter(self._best(items, targets, options.top_k or 5))
        for item in items:
            masks = [
                Mask(start, end, [self._candidate(item, place, score, token) for score, token in next(best)])
                for place, (start, end) in zip(item.masks, item.spans)
            ]
            yield Filled(masks, len(item.windows), item.truncated)

    def shape(self, found: Filled, options: FillOptions) -> Any:
        """A list of dicts, best first; a list of such lists where a text has several masks."""
        listed = [[self._shaped(found, mask, each, options) for each in mask.candidates] for mask in found.masks]
        return listed[0] if len(listed) == 1 else listed

    def __call__(self, inputs: Any, **options: Any) -> Any:
        """See `Pipeline.__call__`. A list of one text gives what the text itself gives."""
        found = super().__call__(inputs, **options)
        return found[0] if isinstance(inputs, list) and len(inputs) == 1 else found

    @staticmethod
    def _shaped(found: Filled, mask: Mask, candidate: Candidate, options: FillOptions) -> dict[str, Any]:
        shaped: dict[str, Any] = dict(vars(candidate))
        if options.details:
            shaped |= {"start": mask.start, "end": mask.end, "windows": found.windows, "truncated": found.truncated}
        return shaped

    def _best(
        self, items: Sequence[MaskedText], targets: list[int] | None, top_k: int
    ) -> list[list[tuple[float, int]]]:
        """Scores and token ids of the best candidates, for every mask of every text in turn."""
        first = np.cumsum([0, *(len(item.windows) for item in items)]).tolist()
        segments = self.model.spec.embedding.segments > 1
        encoded = Encoded.of(
            [row for item in items for row in item.rows(item.ids)],
            [row for item in items for row in item.rows(item.types)] if segments else None,
        )
        asked: list[list[tuple[int, int]]] = [[] for _ in range(first[-1])]
        masks = 0
        for start, item in zip(first, items):
            for window, place in zip(item.window, item.places()):
                asked[start + window].append((masks, place))
                masks += 1
        found: list[list[tuple[float, int]]] = [[] for _ in range(masks)]
        chosen = None if targets is None else torch.tensor(targets, device=self.model.device)
        for numbers in evaluation_batches(encoded.lengths, TOKENS):
            with torch.inference_mode():
                batch = self.model.both_ways(batch_of(self.model, encoded, numbers))
                starts = batch.rows.starts.tolist()
                wanted = [
                    (n, start + p) for start, row in zip(starts, batch.order) for n, p in asked[int(numbers[row])]
                ]
                at = torch.tensor([place for _, place in wanted], device=self.model.device)
                scores = self.model.run(batch, logits_at=at, wanted="masked-lm").heads["masked-lm"].float().softmax(-1)
                if chosen is not None:
                    scores = scores[:, chosen]
                values, tokens = scores.topk(min(top_k, scores.shape[1]))
                tokens = tokens if chosen is None else chosen[tokens]
            for (number, _), value, token in zip(wanted, values.tolist(), tokens.tolist()):
                found[number] = list(zip(value, token))
        return found

    def _candidate(self, item: MaskedText, place: int, score: float, token: int) -> Candidate:
        ids = item.ids.copy()
        ids[place] = token
        if self._tokens.pad_id is not None:
            ids = ids[ids != self._tokens.pad_id]
        # With several masks, the others must stay to be seen.
        sequence = decoded(self._tokens, ids.tolist(), skip_special_tokens=len(item.masks) == 1)
        return Candidate(score, token, decoded(self._tokens, [token], skip_special_tokens=False), sequence)

    def _targets(self, given: str | Sequence[str] | None) -> list[int] | None:
        if given is None:
            return None
        found: set[int] = set()
        for target in [given] if isinstance(given, str) else given:
            number = self._tokens.token_to_id(text_of(target))
            if number is None:
                pieces = self._tokens.encode(target, add_special_tokens=False).ids
                if not pieces:
                    _log.warning(f"the target {target!r} has no token and is left out")
                    continue
                number = pieces[0]
                _log.warning(
                    f"the target {target!r} is no single token; {self._tokens.id_to_token(number)!r} stands for it"
                )
            found.add(number)
        if not found:
            raise PipelineError("targets names no token; give a word at least, or leave it out")
        return list(found)


def _around(masks: Sequence[int], start: int, end: int, room: int) -> tuple[list[tuple[int, int]], list[int]]:
    """Windows of `room` places between `start` and `end` with each mask in the middle, as far as the ends allow; and
    the window of each mask."""
    if end - start <= room:
        return [(start, end)], [0] * len(masks)
    firsts = [min(max(mask - room // 2, start), end - room) for mask in masks]
    listed = sorted(set(firsts))
    return [(first, first + room) for first in listed], [listed.index(first) for first in firsts]
