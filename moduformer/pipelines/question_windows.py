"""A question and its context as rows a model can read: all of the question in each, a window of the context."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from moduformer.errors import TextError
from moduformer.model import Model
from moduformer.pipelines.windowing import longest_row
from moduformer.text.tokenizer import Encoding, FrameStep, Tokenizer
from moduformer.text.windows import Window, Windows, windows
from moduformer.train.encoded import Encoded

LONGEST = 384
"""Tokens of a window unless asked for more (Devlin et al. 2019, SQuAD)."""

STRIDE = 128
"""Tokens that neighbouring windows share unless asked otherwise."""


@dataclass(frozen=True, eq=False)
class ReadQuestion:
    """A question and a context, tokenized.

    Attributes:
        context: the text that is answered from.
        tokens: the whole context's tokens, without frame.
        windows: over those tokens; `source_tokens` says which token of the context stands where.
        question_tokens: tokens of the question; none of them is ever left out.
    """

    context: str
    tokens: Encoding
    windows: Windows
    question_tokens: int

    @cached_property
    def word_ids(self) -> list[int | None]:
        """Number of the word that each token of the context is part of."""
        return self.tokens.word_ids


@dataclass(frozen=True)
class QuestionWindower:
    """How questions are read: windows of at most `max_length` tokens, of which neighbours share `stride`.

    `context_first` puts the context before the question, as tokenizers that pad on the left are trained.
    """

    tokenizer: Tokenizer
    max_length: int
    stride: int
    segments: bool
    context_first: bool = False

    def __call__(self, questions: Sequence[str], contexts: Sequence[str]) -> list[ReadQuestion]:
        """Reads pairs; a context that several questions share is tokenized once.

        Raises:
            TextError: a question leaves no room for its context; names its number.
        """
        distinct = list(dict.fromkeys(contexts))
        known = dict(zip(distinct, self.tokenizer.encode_batch(distinct, add_special_tokens=False)))
        asked = self.tokenizer.encode_batch(list(questions), add_special_tokens=False)
        return [
            self._read(number, question, known[context], context)
            for number, (question, context) in enumerate(zip(asked, contexts))
        ]

    def encoded(self, rows: Iterable[Window]) -> Encoded:
        """Windows as the model takes them, a row a window."""
        listed = list(rows)
        types = [window.type_ids for window in listed] if self.segments else None
        return Encoded.of([window.ids for window in listed], types)

    def _read(self, number: int, question: Encoding, tokens: Encoding, context: str) -> ReadQuestion:
        template = self.tokenizer.frame(pair=True)
        if self.context_first:
            # `windows` cuts the sequence numbered 1; swapping the numbers makes it cut the first text in place.
            swap = {0: 1, 1: 0, None: None}
            template = [replace(step, sequence=swap[step.sequence]) for step in template]
        room = self.max_length - _framed(template) - len(question)
        try:
            cut = windows(tokens, self.max_length, min(self.stride, max(room - 1, 0)), template, question=question)
        except TextError:
            raise TextError(
                f"question {number} has {len(question)} tokens, which leaves no room for its context in windows of "
                f"{self.max_length}; shorten the question or allow longer windows"
            ) from None
        return ReadQuestion(context, tokens, cut, len(question))


def question_windower(model: Model, max_length: int | None = None, stride: int | None = None) -> QuestionWindower:
    """The windower of a model; `max_length` is at most what the model reads, 384 by default.

    Raises:
        TextError: the model has no tokenizer.
    """
    if model.tokenizer is None:
        raise TextError("this model's folder has no tokenizer; add its tokenizer.json, or choose another model")
    limit = longest_row(model)
    length = max_length or LONGEST
    length = length if limit is None else min(length, limit)
    left = model.tokenizer.settings.raw.get("padding_side") == "left"
    shared = min(length // 2, STRIDE) if stride is None else stride
    return QuestionWindower(model.tokenizer, length, shared, model.spec.embedding.segments > 1, left)


def _framed(template: Sequence[FrameStep]) -> int:
    return sum(step.token_id is not None for step in template)
