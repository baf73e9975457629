"""How a tagger gets its weights, and what each token of a tagged text is labelled with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from moduformer.architecture import Head
from moduformer.blocks.head import IGNORED
from moduformer.errors import TrainingError
from moduformer.metrics.tagging import Entity, TaggingMetrics, TokenAccuracy, span_metrics, tagging_metrics
from moduformer.metrics.tagging import token_accuracy as accuracy_of_tags
from moduformer.model import Model
from moduformer.pipelines.token_classification import TokenClassification
from moduformer.pipelines.token_reading import TokenizedText, Words, as_encoded, tokenized
from moduformer.pipelines.windowing import Windower, best_windows, windower
from moduformer.tasks.fine_tuning import TERMINATED, adapted, attach_lora, with_new_head
from moduformer.text.tags import OUTSIDE
from moduformer.train.callbacks import Callback, History
from moduformer.train.encoded import Encoded, Ragged
from moduformer.train.loop import train
from moduformer.train.objectives import Tagging
from moduformer.train.recipes import Recipe
from moduformer.train.tagged import TaggedExamples, split_tagged

CHOICE = "choice"
"""Begins the names of numbers measured on the rows that early stopping chooses by."""


@dataclass(frozen=True)
class Misaligned:
    """A span whose edges are no edges of tokens, and the nearest one that tokens can mark.

    Attributes:
        where: the file and row.
        type, start, end, text: of the span.
        nearest_start, nearest_end, nearest_text: what was learned in its place; None where no token is left for it.
    """

    where: str
    type: str
    start: int
    end: int
    text: str
    nearest_start: int | None = None
    nearest_end: int | None = None
    nearest_text: str | None = None

    def __str__(self) -> str:
        near = "no token is left for it" if self.nearest_text is None else f"learned as {self.nearest_text!r}"
        return f"{self.where}: {self.type} {self.start}-{self.end} {self.text!r} does not align with tokens; {near}"


@dataclass
class Training:
    """One training run of a tagger; see `classifier_training.Training`."""

    source: str | Path
    recipe: Recipe
    examples: TaggedExamples
    evaluation: TaggedExamples | None = None
    class_weight: str | None = None
    max_length: int | None = None
    stride: int | None = None
    device: str | None = None
    callbacks: Sequence[Callback] = ()
    folder: Path | None = None
    resume: bool = False
    patience: int | None = None


@dataclass
class Trained:
    """A trained tagger, how its training went, what it read, and the spans that did not align with tokens."""

    model: Model
    history: History | None
    recipe: Recipe
    report: dict[str, int]
    misaligned: list[Misaligned]
    lora: Any = None


def train_tagger(job: Training) -> Trained:
    """Runs a job.

    Raises:
        TrainingError, CheckpointError, SourceError, TextError: as `load` and `train` do.
    """
    choice = None
    if job.patience is not None:
        job, choice = _with_rows_to_choose_by(job)
    model = new_tagger(job.source, job.examples, job.recipe.settings.seed, job.device)
    job = replace(job, recipe=job.recipe.for_model(model.spec))
    read = windower(model, job.max_length, job.stride)
    texts, wanted, misaligned = labelled_tokens(read, job.examples, job.examples.labels)
    encoded = as_encoded(texts, read.segments)
    report = _report(texts, encoded, read)
    adaptation = adapted(model, encoded, job)
    if adaptation is not None and adaptation.ended == TERMINATED:
        return Trained(model, adaptation, job.recipe, report, misaligned)
    lora = attach_lora(model, job)
    history = train(
        model,
        encoded,
        wanted,
        job.recipe.settings,
        objective=Tagging(_class_weights(wanted, len(job.examples.labels), job.class_weight)),
        adapters=lora,
        evaluate=_evaluator(job, choice),
        callbacks=job.callbacks,
        folder=job.folder,
        resume=job.resume,
    )
    return Trained(model, history, job.recipe, report, misaligned, lora)


def new_tagger(source: str | Path, examples: TaggedExamples, seed: int, device: str | None = None) -> Model:
    """A pretrained model with a new head for these tags.

    Its config says which scheme they follow, and whether words were tagged, so that it does not break words of texts.
    """
    model = with_new_head(source, Head("tag", outputs=len(examples.labels)), examples.labels, seed, device)
    if model.origin is not None:
        model.origin.config.pop("problem_type", None)
        model.origin.config["whole_words"] = examples.words is not None
        model.origin.config["tag_scheme"] = "bio" if examples.marked else "plain"
    return model


def labelled_tokens(
    read: Windower, examples: TaggedExamples, labels: Sequence[str]
) -> tuple[list[TokenizedText], Ragged, list[Misaligned]]:
    """Texts in windows, the number of the label of every token of every window, and the spans that do not align.

    A token is learned in one window, the one it will be read in; elsewhere, and in frames, there is no label (-100).
    """
    inputs: list[str | Words] = (
        list(examples.texts) if examples.words is None else [Words(tuple(words)) for words in examples.words]
    )
    texts = tokenized(read, inputs)
    numbers = {label: number for number, label in enumerate(labels)}
    rows: list[np.ndarray] = []
    misaligned: list[Misaligned] = []
    for i, text in enumerate(texts):
        own, odd = token_labels(text, examples.spans[i], examples.marked)
        misaligned += [replace(span, where=examples.where(i)) for span in odd]
        wanted = np.array([IGNORED if label is None else numbers.get(label, IGNORED) for label in own], np.int64)
        best = best_windows(text.windows)
        for window in text.windows:
            if not window.ids:
                continue
            row = np.full(len(window.ids), IGNORED)
            held = slice(window.start_token, window.stop_token)
            row[text.before : text.before + window.stop_token - window.start_token] = np.where(
                best[held] == window.index, wanted[held], IGNORED
            )
            rows.append(row)
    return texts, Ragged.of(rows), misaligned


def token_labels(
    text: TokenizedText, spans: Sequence[Entity], marked: bool = True
) -> tuple[list[str | None], list[Misaligned]]:
    """The label of each token, and the spans that do not align; None for tokens of nothing but white space.

    The first token of a span is labelled B and the others I, sub-words too; tokens of a word without a mark all have
    its tag. A span that ends within a token takes the whole token, unless that has a label already.
    """
    places = text.trimmed()
    written = places[:, 1] > places[:, 0]
    labels: list[str | None] = [OUTSIDE if marked and some else None for some in written.tolist()]
    odd: list[Misaligned] = []
    index = np.flatnonzero(written)
    starts, ends = places[index, 0], np.maximum.accumulate(places[index, 1])
    taken = 0
    for span in spans:
        first = max(int(np.searchsorted(ends, span.start, side="right")), taken)
        last = int(np.searchsorted(starts, span.end))
        own = index[first:last]
        for number, token in enumerate(own.tolist()):
            labels[token] = f"{'I' if number else 'B'}-{span.type}" if marked else span.type
        taken = max(taken, last)
        edges = (int(starts[first]), int(ends[last - 1])) if len(own) else None
        if text.words is None and edges != (span.start, span.end):
            near = (None, None, None) if edges is None else (*edges, text.text[edges[0] : edges[1]])
            odd.append(Misaligned("", span.type, span.start, span.end, text.text[span.start : span.end], *near))
    return labels, odd


def tag_scores(
    pipe: TokenClassification, examples: TaggedExamples
) -> tuple[TaggingMetrics | TokenAccuracy, list[list[str]] | list[list[Entity]]]:
    """Scores on tagged examples, and what was predicted: a tag for each word, or spans."""
    found: list[Any]
    if examples.words is None:
        found = [
            [Entity(span.type, span.start, span.end) for span in tagged.spans]
            for tagged in pipe.predict(examples.texts)
        ]
        return span_metrics(examples.spans, found), found
    assert examples.tags is not None
    found = [tagged.word_tags() for tagged in pipe.stream(examples.words, is_split_into_words=True)]
    if examples.marked:
        return tagging_metrics(examples.tags, found), found
    return accuracy_of_tags(examples.tags, found), found


def _evaluator(job: Training, choice: TaggedExamples | None) -> Callable[[Model], dict[str, float]] | None:
    parts = [("", job.evaluation), (f"{CHOICE}_", choice)]
    if all(examples is None for _, examples in parts):
        return None

    def evaluate(model: Model) -> dict[str, float]:
        pipe = tagging_pipeline(model, job.max_length, job.stride)
        found: dict[str, float] = {}
        for prefix, examples in parts:
            if examples is None:
                continue
            scores, _ = tag_scores(pipe, examples)
            names = ("f1", "precision", "recall") if isinstance(scores, TaggingMetrics) else ("accuracy",)
            found |= {f"{prefix}{name}": float(getattr(scores, name)) for name in names}
        return found

    return evaluate


def tagging_pipeline(model: Model, max_length: int | None, stride: int | None) -> TokenClassification:
    """A pipeline that reads windows as the tagger was trained on them."""
    read = windower(model, max_length, stride)
    return TokenClassification(model, max_length=read.max_length, stride=read.stride, aggregation_strategy="bio")


def _with_rows_to_choose_by(job: Training) -> tuple[Training, TaggedExamples]:
    """Sets a tenth of the training rows aside for early stopping: the evaluation rows must not choose the model."""
    kept, aside = split_tagged(job.examples, 0.1, job.recipe.settings.seed)
    metric = f"{CHOICE}_f1" if job.examples.marked else f"{CHOICE}_accuracy"
    settings = replace(job.recipe.settings, metric=metric, greater_is_better=True, patience=job.patience)
    return replace(job, examples=kept, recipe=replace(job.recipe, settings=settings)), aside


def _class_weights(wanted: Ragged, labels: int, asked: str | None) -> tuple[float, ...] | None:
    if asked is None:
        return None
    if asked != "balanced":
        raise TrainingError(f"class_weight is {asked!r}; for tags use 'balanced' or None")
    counts = np.bincount(wanted.flat[wanted.flat != IGNORED], minlength=labels)
    total = counts.sum() / max((counts > 0).sum(), 1)
    return tuple(np.where(counts > 0, total / np.maximum(counts, 1), 1.0).tolist())


def _report(texts: Sequence[TokenizedText], encoded: Encoded, read: Windower) -> dict[str, int]:
    counts = [len(text.windows) for text in texts]
    return {
        "texts": len(texts),
        "windows": len(encoded),
        "long_texts": sum(count > 1 for count in counts),
        "tokens": int(encoded.ids.lengths.sum()),
        "longest_window": int(encoded.ids.lengths.max(initial=0)),
        "tokens_dropped": 0,
        "max_length": read.max_length,
    }
