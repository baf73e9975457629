"""The question-answering pipeline: answers that stand in a text, found by their first and last token."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from moduformer.errors import PipelineError, TextError
from moduformer.pipelines.pipeline import Pipeline, many
from moduformer.pipelines.question_windows import QuestionWindower, ReadQuestion, question_windower
from moduformer.pipelines.spans import best_spans, probabilities_of, whole_text
from moduformer.text.windows import Window
from moduformer.train.evaluation import predict_tokens

Asked = tuple[str, str]
"""A question and its context."""


@dataclass(frozen=True)
class AnsweringOptions:
    """What a call may say.

    Attributes:
        top_k: answers at most, best first; None: one. Fewer come where the context has fewer: `transformers` 4 fills up
            with spans of score 0 that end before they begin. `topk` is its older spelling.
        doc_stride: tokens of context that neighbouring windows share; None: 128, or half of a short window.
        max_answer_len: tokens of an answer at most.
        max_seq_len: tokens of a window, question included; None: 384, or fewer where the model reads fewer.
        max_question_len: taken for the sake of callers: a question is never cut here, nor in `transformers` 4 where
            tokenizers are compiled ones.
        handle_impossible_answer: whether "there is no answer" may be answered: an empty text.
        align_to_words: stretch answers to whole words, as the tokenizer splits words. Korean particles are part of
            their word, so that "서울에서" can only be cut to "서울" where this is False. `predict` and `stream`: False.
            A call: True, as in `transformers` 4.
        by_window: a call's way, as in `transformers` 4: probabilities are those within each window, and answers with
            the same text add up. `predict` and `stream` have one distribution over the whole text instead.
        details: also tell `windows`, `question_tokens` and `truncated`.
    """

    top_k: int | None = None
    topk: int | None = None
    doc_stride: int | None = None
    max_answer_len: int = 15
    max_seq_len: int | None = None
    max_question_len: int = 64
    handle_impossible_answer: bool = False
    align_to_words: bool = False
    by_window: bool = False
    details: bool = False

    def __post_init__(self) -> None:
        """Raises `PipelineError` for numbers that no call can mean."""
        for name in ("top_k", "topk", "max_answer_len", "max_seq_len", "max_question_len"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or value < 1):
                raise PipelineError(f"{name} is {value!r}; give a whole number from 1 on")
        if self.doc_stride is not None and (not isinstance(self.doc_stride, int) or self.doc_stride < 0):
            raise PipelineError(f"doc_stride is {self.doc_stride!r}; give a whole number from 0 on")

    @property
    def most(self) -> int:
        """Answers at most."""
        return self.top_k or self.topk or 1


@dataclass(frozen=True)
class Answer:
    """A stretch of the context, `context[start:end]`, and its probability. An empty text says that there is none."""

    text: str
    score: float
    start: int
    end: int


@dataclass(frozen=True)
class Answers:
    """What was found in a context.

    Attributes:
        question: as it was asked.
        answers: best first; empty where the context has no token.
        null_score: the probability that the context holds no answer.
        windows: how many windows the context was read in.
        question_tokens: tokens of the question, all of which were read.
        truncated: whether anything was not read; never so.
    """

    question: str
    answers: tuple[Answer, ...]
    null_score: float
    windows: int
    question_tokens: int
    truncated: bool = False

    @property
    def best(self) -> Answer:
        """The first answer, or an empty one where there is none."""
        return self.answers[0] if self.answers else Answer("", self.null_score, 0, 0)


class QuestionAnswering(Pipeline[Asked, Answers, AnsweringOptions]):
    """Answers to questions out of texts.

    Call it with `question=` and `context=` (strings, a list of questions on one context, or two lists), or with dicts
    `{"question": ..., "context": ...}`.
    """

    task = "question-answering"
    head = "question-answering"
    options_type = AnsweringOptions

    def check(self) -> None:
        """Raises `PipelineError` if the model does not mark first and last tokens."""
        super().check()
        if self.model.spec.head("span") is None:
            raise PipelineError(
                "this model has no question-answering head; fine-tune it first with `moduformer train --task answer`"
            )

    def configured(self, given: Mapping[str, Any]) -> AnsweringOptions:
        """The options of a call; None leaves an option unsaid."""
        return super().configured({name: value for name, value in given.items() if value is not None})

    # Inputs ------------------------------------------------------------------------------------------------------

    def is_one(self, inputs: Any) -> bool:
        """Whether this is one question with its context."""
        pair = isinstance(inputs, tuple) and len(inputs) == 2 and all(isinstance(text, str) for text in inputs)
        return pair or isinstance(inputs, Mapping) or hasattr(inputs, "question_text")

    def read(self, value: Any, options: AnsweringOptions) -> Asked:
        """A dict or object with question and context, or a pair of them."""
        if isinstance(value, Mapping):
            for key in ("question", "context"):
                if key not in value:
                    raise PipelineError(f'has no {key}; give {{"question": ..., "context": ...}}')
            pair = (value["question"], value["context"])
        elif hasattr(value, "question_text") and hasattr(value, "context_text"):
            pair = (value.question_text, value.context_text)
        elif isinstance(value, tuple | list) and len(value) == 2:
            pair = (value[0], value[1])
        else:
            raise PipelineError(f'is a {type(value).__name__}; give {{"question": ..., "context": ...}}')
        for key, text in zip(("question", "context"), pair):
            if not isinstance(text, str):
                raise PipelineError(f"the {key} is {'missing' if text is None else f'a {type(text).__name__}'}")
            if not text:
                raise PipelineError(f"the {key} is empty")
        return pair

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Answers in the shapes of Hugging Face's pipeline.

        Arguments:
            args: a dict, a list of dicts, several dicts, a generator of dicts, or a question and its context.
            kwargs: `question=` and `context=`, or `data=` or `X=` with what `args` may be; and options for this call,
                see `AnsweringOptions`.

        Returns:
            a dict with score, start, end and answer for one question, also in a list of its own; a list of dicts for
            `top_k` above 1; a list of these for many questions, an iterator for a generator.

        Raises:
            PipelineError: inputs that are none, or an unknown option.
        """
        inputs, options = _inputs(args, kwargs)
        options = {"align_to_words": True, "by_window": True} | self.given | options
        if isinstance(inputs, list) and len(inputs) == 1 and (isinstance(inputs[0], list) or self.is_one(inputs[0])):
            inputs = inputs[0]
        return super().__call__(inputs, **options)

    def predict(self, inputs: Any = None, **options: Any) -> list[Answers]:
        """Typed results, always a list: of a dict or pair, of many, or of `question=` and `context=`."""
        return list(self.stream(inputs, **options))

    def stream(self, inputs: Any = None, **options: Any) -> Iterator[Answers]:
        """Typed results one after another, as inputs are taken from their source."""
        if inputs is None:
            inputs, options = _inputs((), options)
        return super().stream(inputs, **options)

    # Answers -----------------------------------------------------------------------------------------------------

    def find(self, items: Sequence[Asked], options: AnsweringOptions) -> Iterator[Answers]:
        """The best answers to each question."""
        reader = question_windower(self.model, options.max_seq_len, options.doc_stride)
        if options.doc_stride is not None and options.doc_stride > reader.max_length:
            raise PipelineError(f"doc_stride is {options.doc_stride}, more than a window's {reader.max_length} tokens")
        try:
            read = reader([question for question, _ in items], [context for _, context in items])
        except TextError as error:
            raise PipelineError(str(error)) from None
        encoded = reader.encoded(window for row in read for window in row.windows)
        logits = iter(predict_tokens(self.model, encoded, "span"))
        for (question, _), row in zip(items, read):
            own = [next(logits).numpy() for _ in row.windows]
            answers, null = (_by_window if options.by_window else _over_text)(row, own, reader, options)
            if options.handle_impossible_answer:
                answers.append(Answer("", null, 0, 0))
            answers.sort(key=lambda answer: -answer.score)
            kept = tuple(answers[: options.most])
            yield Answers(question, kept, null, len(row.windows), row.question_tokens)

    def shape(self, found: Answers, options: AnsweringOptions) -> Any:
        """A dict, or a list of dicts unless there is exactly one."""
        more: dict[str, Any] = {}
        if options.details:
            more = {"windows": found.windows, "question_tokens": found.question_tokens, "truncated": found.truncated}
        listed = [
            {"score": answer.score, "start": answer.start, "end": answer.end, "answer": answer.text, **more}
            for answer in found.answers
        ]
        return listed[0] if len(listed) == 1 else listed


def _by_window(
    row: ReadQuestion, logits: list[np.ndarray], reader: QuestionWindower, options: AnsweringOptions
) -> tuple[list[Answer], float]:
    """Answers as `transformers` 4 finds them: window by window, equal texts (but for case) added up."""
    found: dict[str, Answer] = {}
    # More spans than answers, since several of them may stretch to the same words.
    most = options.most * 2 + 10 if options.align_to_words else options.most
    least_null = 1.0
    for window, values in zip(row.windows, logits):
        context = np.asarray(window.source_tokens) >= 0
        among = np.ones_like(context) if reader.context_first else context | _class_tokens(window, reader)
        # Without either kind of token there is nothing to tell apart.
        starts, ends = (probabilities_of(values[:, side], among) if among.any() else among * 0.0 for side in (0, 1))
        least_null = min(least_null, float(starts[0] * ends[0]))
        starts[0] = ends[0] = 0.0
        for first, last, score in zip(*best_spans(starts, ends, options.max_answer_len, most)):
            if not (context[first] and context[last]):
                continue
            bounds = range(window.start_token, window.stop_token)
            tokens = window.source_tokens[first], window.source_tokens[last]
            start, end = _characters(row, *tokens, bounds, options.align_to_words)
            text = row.context[start:end]
            known = found.get(text.lower())
            score = float(score)
            found[text.lower()] = (
                Answer(text, score, start, end)
                if known is None
                else Answer(known.text, known.score + score, known.start, known.end)
            )
    return list(found.values()) or [Answer("", 0.0, 0, 0)], least_null


def _over_text(
    row: ReadQuestion, logits: list[np.ndarray], reader: QuestionWindower, options: AnsweringOptions
) -> tuple[list[Answer], float]:
    """Answers under one distribution over the tokens of the whole text and the mark of no answer.

    The mark is read in the window that is least sure of it (Devlin et al. 2019, section on SQuAD 2.0).
    """
    tokens = whole_text(logits, row.windows)
    marks = [values[0] for values, window in zip(logits, row.windows) if _class_tokens(window, reader)[0]]
    if marks:
        tokens = np.concatenate([[min(marks, key=lambda mark: float(mark.sum()))], tokens])
    if not len(tokens):
        return [], 0.0
    everything = np.ones(len(tokens), dtype=bool)
    starts, ends = (probabilities_of(tokens[:, side], everything) for side in (0, 1))
    null = float(starts[0] * ends[0]) if marks else 0.0
    if marks:
        starts, ends = starts[1:], ends[1:]
    found: dict[tuple[int, int], float] = {}
    bounds = range(len(starts))
    for first, last, score in zip(*best_spans(starts, ends, options.max_answer_len, options.most * 2 + 10)):
        place = _characters(row, int(first), int(last), bounds, options.align_to_words)
        place = _without_space(row.context, *place)
        if place[0] < place[1]:
            found[place] = found.get(place, 0.0) + float(score)
    return [Answer(row.context[start:end], score, start, end) for (start, end), score in found.items()], null


def _class_tokens(window: Window, reader: QuestionWindower) -> np.ndarray:
    """Where the tokens stand that mark a text without an answer, bool `[tokens]`."""
    mark = reader.tokenizer.cls_id
    return np.asarray(window.ids) == (-1 if mark is None else mark)


def _characters(row: ReadQuestion, first: int, last: int, within: range, words: bool) -> tuple[int, int]:
    """Where tokens `first` to `last` stand in the context; with `words` as far as their words reach `within`."""
    offsets = row.tokens.offsets
    if words:
        of_word = row.word_ids
        if of_word[first] is not None and of_word[last] is not None:
            while first > within.start and of_word[first - 1] == of_word[first]:
                first -= 1
            while last + 1 < within.stop and of_word[last + 1] == of_word[last]:
                last += 1
    return offsets[first][0], offsets[last][1]


def _without_space(text: str, start: int, end: int) -> tuple[int, int]:
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return start, end


def _inputs(args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The questions of a call (a list or an iterator), and its options."""
    options = {name: value for name, value in kwargs.items() if name not in ("question", "context", "data", "X")}
    if len(args) == 2 and all(isinstance(text, str) for text in args):
        return [{"question": args[0], "context": args[1]}], options
    if args:
        given = args[0] if len(args) == 1 else list(args)
    elif "X" in kwargs or "data" in kwargs:
        given = kwargs["X"] if "X" in kwargs else kwargs["data"]
    elif "question" in kwargs and "context" in kwargs:
        return _paired(kwargs["question"], kwargs["context"]), options
    else:
        raise PipelineError("give question= and context=, or dicts with both")
    if isinstance(given, Mapping) or hasattr(given, "question_text"):
        return [_one_or_many(given)], options
    if isinstance(given, str):
        raise PipelineError("a text alone is no question and context; give question= and context=")
    if isinstance(given, list | tuple):
        return [_one_or_many(value) for value in given], options
    return _streamed(many(given)), options


def _streamed(values: Iterable[Any]) -> Iterator[Any]:
    yield from values


def _one_or_many(value: Any) -> Any:
    """A dict of two lists as a list of dicts, anything else as it is."""
    if isinstance(value, Mapping) and isinstance(value.get("question"), list):
        return _paired(value["question"], value.get("context"))
    return value


def _paired(questions: Any, contexts: Any) -> list[Any]:
    if isinstance(questions, list) and isinstance(contexts, str):
        contexts = [contexts] * len(questions)
    if isinstance(questions, list) and isinstance(contexts, list):
        if len(questions) != len(contexts):
            raise PipelineError(f"there are {len(questions)} questions but {len(contexts)} contexts")
        return [{"question": question, "context": context} for question, context in zip(questions, contexts)]
    if isinstance(questions, list) or isinstance(contexts, list):
        raise PipelineError("several contexts need a list of as many questions")
    return [{"question": questions, "context": contexts}]
