"""The text-classification pipeline: labels and scores of texts, whatever their length."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from moduformer.errors import PipelineError
from moduformer.pipelines.pipeline import Pipeline, text_of
from moduformer.pipelines.scores import merge_windows, probabilities
from moduformer.pipelines.windowing import Windower, windower
from moduformer.train.evaluation import predict

_FUNCTIONS = ("softmax", "sigmoid", "none")
_UNSAID = -1


@dataclass(frozen=True)
class ClassificationOptions:
    """What a call may say.

    Attributes:
        top_k: how many labels, best first; None: all. Unsaid, the best label alone, in the older shape.
        function_to_apply: "softmax", "sigmoid" or "none"; None takes what the model's config means: a sigmoid for one
            label or several at once, the raw value for regression, else softmax.
        return_all_scores: older spelling of `top_k=None`, with labels in the model's order.
        max_length: tokens of a window at most; None takes what the model reads, at most 512.
        stride: tokens that two neighbouring windows share; None takes a quarter of a window.
        merge: "mean" or "max": how the scores of a long text's windows become one.
        truncation: keep only the first window of a long text.
        details: also tell `windows` and `truncated`.
    """

    top_k: int | None = _UNSAID
    function_to_apply: str | None = None
    return_all_scores: bool | None = None
    max_length: int | None = None
    stride: int | None = None
    merge: Literal["mean", "max"] = "mean"
    truncation: bool = False
    details: bool = False


@dataclass(frozen=True)
class Scored:
    """What a text was found to be.

    Attributes:
        label, score: the best label.
        scores: every label's score, in the model's order.
        windows: how many windows the text was read in.
        truncated: whether some of the text was not read.
    """

    label: str
    score: float
    scores: Mapping[str, float]
    windows: int
    truncated: bool


class TextClassification(Pipeline[tuple[str, str | None], Scored, ClassificationOptions]):
    """Labels of texts, or of pairs of texts given as `{"text": ..., "text_pair": ...}`."""

    task = "text-classification"
    head = "text-classification"
    options_type = ClassificationOptions

    def check(self) -> None:
        """Raises `PipelineError` if the model has no labels to choose from."""
        super().check()
        if self.model.spec.head("classify") is None:
            raise PipelineError("this model has no classification head; fine-tune it first with `moduformer train`")

    @property
    def labels(self) -> list[str]:
        """The model's labels; numbered where its config names none."""
        head = self.model.spec.head("classify")
        assert head is not None
        return list(self.model.labels or (f"LABEL_{number}" for number in range(head.outputs or 0)))

    def read(self, value: Any, options: ClassificationOptions) -> tuple[str, str | None]:
        """A text, a mapping of two, or the older `[[text, pair]]`."""
        if isinstance(value, Mapping):
            if "text" not in value or value.keys() - {"text", "text_pair"}:
                raise PipelineError(f"has the keys {', '.join(map(str, value))}; give text, and text_pair for pairs")
            pair = value.get("text_pair")
            return text_of(value["text"]), None if pair is None else text_of(pair)
        if isinstance(value, list) and len(value) == 1 and isinstance(value[0], list) and len(value[0]) == 2:
            return text_of(value[0][0]), text_of(value[0][1])
        return text_of(value), None

    def find(self, items: Sequence[tuple[str, str | None]], options: ClassificationOptions) -> Iterator[Scored]:
        """Scores of every label; a text of several windows gets one score out of theirs."""
        read = windower(self.model, options.max_length, options.stride)
        paired = [pair is not None for _, pair in items]
        if any(paired) and not all(paired):
            for item in items:
                yield from self.find([item], options)
            return
        names = self.labels
        function = self._function(options)
        texts, cut = _read(read, items, options.truncation)
        scores = _applied(predict(self.model, texts.encoded).numpy(), function)
        merged, _ = merge_windows(scores, texts, options.merge, multi_label=function != "softmax")
        for row, windows, short in zip(merged.tolist(), texts.counts.tolist(), cut):
            best = max(range(len(row)), key=row.__getitem__)
            yield Scored(names[best], row[best], dict(zip(names, row)), windows, short)

    def shape(self, found: Scored, options: ClassificationOptions) -> Any:
        """A dict of label and score; a list of them, best first, where `top_k` was said."""
        more = {"windows": found.windows, "truncated": found.truncated} if options.details else {}
        listed: list[dict[str, Any]] = [
            {"label": label, "score": score, **more} for label, score in found.scores.items()
        ]
        if options.top_k == _UNSAID:
            return listed if options.return_all_scores else {"label": found.label, "score": found.score, **more}
        listed.sort(key=lambda entry: -found.scores[entry["label"]])
        return listed if options.top_k is None else listed[: options.top_k]

    def __call__(self, inputs: Any, **options: Any) -> Any:
        """See `Pipeline.__call__`. A single string gives a list, unless `top_k` is said in this very call."""
        found = super().__call__(inputs, **options)
        return [found] if isinstance(inputs, str) and "top_k" not in options else found

    def _function(self, options: ClassificationOptions) -> str:
        wanted = options.function_to_apply
        if wanted is not None:
            if str(wanted).lower() not in _FUNCTIONS:
                raise PipelineError(f"function_to_apply is {wanted!r}; use one of {', '.join(_FUNCTIONS)}")
            return str(wanted).lower()
        config = {} if self.model.origin is None else self.model.origin.config
        problem = config.get("problem_type")
        if problem == "regression":
            return "none"
        return "sigmoid" if problem == "multi_label_classification" or len(self.labels) == 1 else "softmax"


def _read(read: Windower, items: Sequence[tuple[str, str | None]], truncation: bool) -> tuple[Any, list[bool]]:
    firsts = [text for text, _ in items]
    pairs = None if items[0][1] is None else [pair or "" for _, pair in items]
    texts = read(firsts, pairs)
    cut = [False] * len(items)
    if truncation and texts.counts.max(initial=1) > 1:
        cut = (texts.counts > 1).tolist()
        texts = texts.select(np.flatnonzero(np.diff(texts.owner, prepend=-1)))
    return texts, cut


def _applied(logits: np.ndarray, function: str) -> np.ndarray:
    if function == "none":
        return logits.astype(np.float64)
    return probabilities(logits, multi_label=function == "sigmoid")
