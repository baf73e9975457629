"""The zero-shot-classification pipeline: labels named in the call, judged by a model of entailment.

Each label is put into a sentence, and the model is asked whether the text entails it (Yin et al. 2019, arXiv
1909.00161).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from moduformer.errors import PipelineError
from moduformer.pipelines.pipeline import Pipeline, text_of
from moduformer.pipelines.scores import probabilities
from moduformer.pipelines.windowing import windower
from moduformer.text.tokenizer import Encoding, FrameStep
from moduformer.text.windows import merge
from moduformer.train.encoded import Encoded
from moduformer.train.evaluation import predict

_log = logging.getLogger("moduformer")


@dataclass(frozen=True)
class ZeroShotOptions:
    """What a call may say.

    Attributes:
        candidate_labels: the labels, as a list or as one string with commas between them.
        hypothesis_template: the sentence that a label is put into, at {}.
        multi_label: judge each label by itself, against contradiction; otherwise scores sum to 1 over the labels.
        multi_class: older name of `multi_label`.
        max_length: tokens of a window at most; None takes what the model reads, at most 512.
        stride: tokens of the text that two neighbouring windows share; None takes a quarter of a window.
        merge: "mean" or "max": how the scores of a long text's windows become one.
        truncation: keep only the first window of a long text.
        details: also tell `windows` and `truncated`.
    """

    candidate_labels: str | Sequence[str] | None = None
    hypothesis_template: str = "This example is {}."
    multi_label: bool = False
    multi_class: bool | None = None
    max_length: int | None = None
    stride: int | None = None
    merge: Literal["mean", "max"] = "mean"
    truncation: bool | str = False
    details: bool = False

    @property
    def labels(self) -> list[str]:
        """The labels. Raises `PipelineError` if there are none."""
        given = self.candidate_labels
        labels = [part.strip() for part in given.split(",")] if isinstance(given, str) else list(given or ())
        labels = [label for label in labels if label]
        if not labels:
            raise PipelineError("candidate_labels names no label; give a list of them, or one string with commas")
        return labels

    def hypotheses(self, labels: Sequence[str]) -> list[str]:
        """The sentences of labels. Raises `PipelineError` if the template has no place for a label."""
        try:
            sentences = [self.hypothesis_template.format(label) for label in labels]
        except (IndexError, KeyError, ValueError, AttributeError) as error:
            raise PipelineError(
                f"hypothesis_template cannot be filled in ({error}); write one {{}} for the label"
            ) from None
        if sentences[0] == self.hypothesis_template:
            raise PipelineError(
                f"hypothesis_template {self.hypothesis_template[:60]!r} has no {{}} where the label is to stand"
            )
        return sentences


@dataclass(frozen=True)
class Judged:
    """How well each label fits a text.

    Attributes:
        sequence: the text.
        labels, scores: the labels, best first, and their scores.
        windows: how many windows the text was read in.
        truncated: whether some of the text was not read.
    """

    sequence: str
    labels: list[str]
    scores: list[float]
    windows: int
    truncated: bool

    @property
    def label(self) -> str:
        """The best label."""
        return self.labels[0]


class ZeroShotClassification(Pipeline[str, Judged, ZeroShotOptions]):
    """Labels of a caller's own for texts, from a classifier of entailment such as facebook/bart-large-mnli."""

    task = "zero-shot-classification"
    head = "text-classification"
    options_type = ZeroShotOptions

    def check(self) -> None:
        """Raises `PipelineError` if the model is no classifier."""
        super().check()
        if self.model.spec.head("classify") is None:
            raise PipelineError("this model has no classification head; take one trained on natural language inference")
        if self.entailment_id == -1:
            note = "no label of this model begins with 'entail', so its last one is taken for entailment"
            self.notes.append(note)
            _log.warning(note)

    @property
    def entailment_id(self) -> int:
        """The number of the model's label for entailment; -1 where none is named so."""
        config = {} if self.model.origin is None else self.model.origin.config
        named = config.get("label2id")
        if not isinstance(named, Mapping):
            named = {label: number for number, label in enumerate(self.model.labels or ())}
        for label, number in named.items():
            if str(label).lower().startswith("entail") and isinstance(number, int):
                return number
        return -1

    def read(self, value: Any, options: ZeroShotOptions) -> str:
        """A text that is not empty."""
        text = text_of(value)
        if not text:
            raise PipelineError("is empty; leave it out")
        return text

    def find(self, items: Sequence[str], options: ZeroShotOptions) -> Iterator[Judged]:
        """Scores of the labels, each text's windows merged; one pass over all texts, windows and labels."""
        labels = options.labels
        hypotheses = self._encoded(options.hypotheses(labels))
        if not items:
            return
        frame = self._frame()
        read = windower(self.model, options.max_length, options.stride)
        room = read.max_length - sum(step.token_id is not None for step in frame)
        cut = bool(options.truncation) and options.truncation != "do_not_truncate"
        rows: list[list[int]] = []
        types: list[list[int]] = []
        spans: list[list[tuple[int, int]]] = []
        texts = self._encoded(items)
        for text in texts:
            spans.append(_spans(len(text), room - max(map(len, hypotheses)), read.stride, cut))
            for start, stop in spans[-1]:
                for hypothesis in hypotheses:
                    # What is cut off beside a short label is less than beside a long one.
                    end = min(len(text), room - len(hypothesis)) if cut else stop
                    ids, kinds = _framed(frame, text.ids[start:end], hypothesis.ids)
                    rows.append(ids)
                    types.append(kinds)
        segments = types if self.model.spec.embedding.segments > 1 else None
        logits = predict(self.model, Encoded.of(rows, segments)).numpy()
        scores = self._scores(logits.reshape(len(rows) // len(labels), len(labels), -1), options)
        done = 0
        for given, text_spans, text in zip(items, spans, texts):
            sizes = [stop - start for start, stop in text_spans]
            merged = merge(scores[done : done + len(sizes)].tolist(), options.merge, sizes).scores
            done += len(sizes)
            if options.merge == "max" and len(sizes) > 1 and not _alone(labels, options):
                merged = [score / sum(merged) for score in merged]
            order = sorted(range(len(labels)), key=lambda i: (merged[i], i), reverse=True)
            truncated = cut and text_spans[-1][1] < len(text)
            yield Judged(given, [labels[i] for i in order], [merged[i] for i in order], len(sizes), truncated)

    def shape(self, found: Judged, options: ZeroShotOptions) -> Any:
        """A dict of the text, the labels and their scores, best first."""
        more = {"windows": found.windows, "truncated": found.truncated} if options.details else {}
        return {"sequence": found.sequence, "labels": found.labels, "scores": found.scores, **more}

    def __call__(self, inputs: Any, *labels: Any, **options: Any) -> Any:
        """See `Pipeline.__call__`; the labels may come second, without a name."""
        if len(labels) > 1 or (labels and "candidate_labels" in options):
            raise PipelineError("give the texts, then candidate_labels, then options by name")
        return super().__call__(inputs, **({"candidate_labels": labels[0]} if labels else {}), **options)

    def _encoded(self, texts: Sequence[str]) -> list[Encoding]:
        assert self.tokenizer is not None
        return self.tokenizer.encode_batch(texts, add_special_tokens=False, offsets=False)

    def _frame(self) -> list[FrameStep]:
        assert self.tokenizer is not None
        return self.tokenizer.frame(pair=True)

    def _scores(self, logits: np.ndarray, options: ZeroShotOptions) -> np.ndarray:
        """`[windows, labels, outputs]` to scores `[windows, labels]`."""
        entailment = self.entailment_id
        if _alone(range(logits.shape[1]), options):
            contradiction = -1 if entailment == 0 else 0
            both = logits[..., [contradiction, entailment]]
            return probabilities(both.reshape(-1, 2), multi_label=False)[:, 1].reshape(logits.shape[:2])
        return probabilities(logits[..., entailment], multi_label=False)


def _alone(labels: Sequence[Any], options: ZeroShotOptions) -> bool:
    """Whether each label is judged by itself; one label can only be."""
    return bool(options.multi_label if options.multi_class is None else options.multi_class) or len(labels) == 1


def _spans(total: int, room: int, stride: int, cut: bool) -> list[tuple[int, int]]:
    """First and last + 1 token of each window of a text."""
    if room < 1:
        raise PipelineError("the longest label leaves no room for the text; shorten it, or raise max_length")
    shared = min(stride, room // 2)
    spans = [(0, min(room, total))]
    while spans[-1][1] < total and not cut:
        start = spans[-1][1] - shared
        spans.append((start, min(start + room, total)))
    return spans


def _framed(frame: Sequence[FrameStep], text: list[int], hypothesis: list[int]) -> tuple[list[int], list[int]]:
    """Token ids of a text and a sentence with the model's special tokens, and their segments."""
    ids: list[int] = []
    types: list[int] = []
    for step in frame:
        more = [step.token_id] if step.token_id is not None else hypothesis if step.sequence else text
        ids += more
        types += [step.type_id] * len(more)
    return ids, types
