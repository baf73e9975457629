"""A whole run of tagging: from a file of tagged text to a folder with a tagger, its metrics, its card and its page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from moduformer.errors import DataError
from moduformer.metrics.tagging import Entity, TaggingMetrics, TokenAccuracy
from moduformer.tasks.classification_run import DATA_SUFFIXES, HELD_OUT, files_of
from moduformer.tasks.fine_tuning import save_adapter
from moduformer.tasks.tagger_training import Trained, tag_scores
from moduformer.tasks.tagging_report import tagging_document
from moduformer.tasks.token_classifier import TokenClassifier
from moduformer.tasks.whole_run import Finished, SplitRows, trained_columns, write_document, write_lines
from moduformer.train.callbacks import Callback, History, json_safe
from moduformer.train.recipes import recipe_record
from moduformer.train.tagged import TaggedExamples, read_tagged, split_tagged

SUFFIXES = (*DATA_SUFFIXES, ".conll", ".conllu", ".bio", ".iob", ".iob2")

PREDICTIONS = "predictions.jsonl"
"""Every evaluation row with what is true and what was predicted, a line each, so that scores can be counted again."""

MISALIGNED = "misaligned.jsonl"
"""Spans of the training rows whose edges are no edges of tokens, with what was learned in their place."""


@dataclass(frozen=True)
class TaggingSettings:
    """What a person asked for. `text` and `label` name the columns; `model` and the rest are `TokenClassifier`'s."""

    data: str
    text: str | None = None
    label: str | None = None
    evaluation: str | None = None
    model: str = "minilm"
    recipe: str = "plain"
    epochs: int | None = None
    learning_rate: float | None = None
    batch_size: int | None = None
    class_weight: str | None = None
    max_length: int | None = None
    stride: int | None = None
    adapt: bool = False
    patience: int | None = None
    seed: int = 0
    device: str | None = None
    precision: str | None = None
    dropout: float | None = None
    recompute: bool = False

    def estimator(self) -> TokenClassifier:
        """The estimator these settings describe."""
        own = asdict(self)
        for name in ("data", "text", "label", "evaluation", "seed"):
            own.pop(name)
        return TokenClassifier(**own, random_state=self.seed)


@dataclass
class TaggingScores:
    """Scores of a tagger on some rows, and what it predicted for each: tags of words, or spans."""

    examples: TaggedExamples
    scores: TaggingMetrics | TokenAccuracy
    predicted: list[Any]

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe numbers."""
        found: dict[str, Any] = json_safe({"rows": len(self.examples)} | self.scores.to_dict())
        return found

    def lines(self) -> list[dict[str, Any]]:
        """Every row with what is true and what was predicted."""
        made: list[dict[str, Any]] = []
        for i, found in enumerate(self.predicted):
            if self.examples.words is not None and self.examples.tags is not None:
                made.append({"tokens": self.examples.words[i], "tags": self.examples.tags[i], "predicted": found})
            else:
                true, guess = ([[s.start, s.end, s.type] for s in spans] for spans in (self.examples.spans[i], found))
                made.append({"text": self.examples.texts[i], "spans": true, "predicted": guess})
        return made

    def worst(self, most: int) -> list[str]:
        """The rows with most errors, a line each."""
        found = []
        for i in range(len(self.examples)):
            text, true, guess = self.examples.texts[i], set(self.examples.spans[i]), set(self.spans(i))
            if true != guess:
                missed, wrong = (
                    ", ".join(f"{text[s.start : s.end]} ({s.type})" for s in sorted(part, key=lambda s: s.start))
                    for part in (true - guess, guess - true)
                )
                shown = text if len(text) <= 160 else text[:157] + "..."
                line = (
                    f"{self.examples.where(i)}: missed {missed or 'nothing'}; found {wrong or 'nothing else'}: {shown}"
                )
                found.append((-len(true ^ guess), i, line))
        return [line for _, _, line in sorted(found)[:most]]

    def spans(self, index: int) -> list[Entity]:
        """The predicted entities of one row, as spans of its text."""
        found: list[Any] = self.predicted[index]
        if self.examples.words is None:
            return found
        from moduformer.train.tagged import tagged_from_lists

        return tagged_from_lists([self.examples.words[index]], [found]).spans[0]


class TaggingRun:
    """Tagging as `whole_run.carry_out` carries it out."""

    def __init__(self, settings: TaggingSettings) -> None:
        self.asked = settings
        self.model = settings.model
        self.tagger = settings.estimator()
        self.rows: SplitRows[TaggedExamples]
        self.trained: Trained | None = None
        self.measured: TaggingScores

    def read(self) -> SplitRows[TaggedExamples]:
        """The rows to train on and those to evaluate on, which are never trained on."""
        self.rows = read_rows(self.asked)
        return self.rows

    def check(self) -> None:
        """See `TokenClassifier.check`."""
        self.tagger.check(self.rows.train, self.rows.evaluation)

    def settings(self) -> dict[str, Any]:
        """What `settings.json` holds."""
        recipe = self.tagger.resolved_recipe() if self.trained is None else self.trained.recipe
        return {
            "task": "tag",
            "asked": asdict(self.asked),
            "recipe": recipe_record(recipe),
            "columns": {"text": self.rows.train.text_column, "label": self.rows.train.label_column},
            "rows": self.rows.counts(),
            "evaluation": self.rows.evaluation_from,
        }

    def fit(self, callbacks: Sequence[Callback], folder: Path, resume: bool) -> History | None:
        """Trains."""
        self.trained = self.tagger.fit_examples(
            self.rows.train, self.rows.evaluation, callbacks=callbacks, folder=folder, resume=resume
        )
        return self.trained.history

    @property
    def remarks(self) -> list[str]:
        """What loading had to say, and the spans that do not align."""
        assert self.trained is not None
        odd = self.trained.misaligned
        notes = list(self.trained.model.notes)
        if odd:
            notes.append(f"spans that do not align with tokens: {len(odd):,} (in {MISALIGNED}), the first: {odd[0]}")
        return notes

    def measure(self) -> TaggingScores:
        """Scores on the evaluation rows."""
        self.measured = measure(self.tagger, self.rows.evaluation)
        return self.measured

    def save(self, folder: Path) -> None:
        """Writes the tagger, its adapter, its predictions and the spans that do not align."""
        assert self.trained is not None
        self.tagger.save(folder)
        if self.trained.lora is not None:
            save_adapter(self.tagger.model_, self.trained.lora, folder / "adapter", self.model)
        write_lines(folder / PREDICTIONS, self.measured.lines())
        if self.trained.misaligned:
            write_lines(folder / MISALIGNED, [vars(span) for span in self.trained.misaligned])

    def report(self, finished: Finished, command: str | None, say: Callable[[str], None]) -> None:
        """Writes the card and the page."""
        document = tagging_document(self, finished, command)
        write_document(document, finished.folder, say)


def read_rows(settings: TaggingSettings) -> SplitRows[TaggedExamples]:
    """Reads the rows to train on and those to evaluate on.

    Raises:
        DataError: a file that cannot be used; names the file and the row.
    """
    source, beside = files_of(settings.data, SUFFIXES)
    everything = read_tagged(source, settings.text, settings.label, **_reading(source))
    given = settings.evaluation or beside
    others: list[TaggedExamples] = []
    if given is None:
        train, evaluation = split_tagged(everything, HELD_OUT, settings.seed)
        origin = f"{HELD_OUT:.0%} of the rows, seed {settings.seed}"
    else:
        train, origin = everything, Path(given).name
        evaluation = read_tagged(given, everything.text_column, everything.label_column, **_reading(given))
        others = [evaluation]
    rows = SplitRows[TaggedExamples](
        train, evaluation, origin, notes=[n for e in (everything, *others) for n in e.notes]
    )
    rows.refused = [f"{e.name} {bad.where()}: {bad.reason}" for e in (everything, *others) for bad in e.refused]
    unknown = sorted(set(evaluation.counts()) - set(train.counts()))
    if unknown:
        rows.notes.append(f"types that are evaluated but never trained on count as missed: {', '.join(unknown[:10])}")
    return rows


def _reading(source: str) -> dict[str, Any]:
    return {"bad_rows": "report"} if Path(source).exists() else {}


def measure(tagger: TokenClassifier, examples: TaggedExamples) -> TaggingScores:
    """Scores of a tagger on tagged rows."""
    return TaggingScores(examples, *tag_scores(tagger.pipeline, examples))


def evaluate_folder(
    folder: Path, data: str, text: str | None = None, label: str | None = None
) -> tuple[TokenClassifier, TaggingScores]:
    """Scores of a saved tagger on a file; columns are those of its training where the file has them.

    Raises:
        DataError: the file cannot be used.
    """
    tagger = TokenClassifier.load(folder)
    source, beside = files_of(data, SUFFIXES)
    examples = read_evaluation(folder, beside or source, text, label)
    if examples.marked != tagger.marked_:
        raise DataError(f"{data} has tags of another kind than the tagger in {folder}")
    return tagger, measure(tagger, examples)


def read_evaluation(folder: Path, source: str, text: str | None, label: str | None) -> TaggedExamples:
    """The tagged rows of a file, by the columns of the run in `folder` where none are named and the file has them."""
    stored = trained_columns(folder)
    if text is None and label is None and stored:
        try:
            return read_tagged(source, stored.get("text"), stored.get("label"), **_reading(source))
        except DataError:
            pass
    return read_tagged(source, text, label, **_reading(source))


# Looking before training ---------------------------------------------------------------------------------------------


def dry_run(settings: TaggingSettings, steps: int = 4) -> dict[str, Any]:
    """What a run would do and cost, as JSON-safe facts; a few steps are timed and nothing is written.

    Raises what the run itself would.
    """
    from dataclasses import replace

    import numpy as np

    from moduformer.pipelines.windowing import windower
    from moduformer.tasks.run_records import peak_memory
    from moduformer.tasks.tagger_training import labelled_tokens, new_tagger
    from moduformer.train.batching import Plan

    rows = read_rows(settings)
    tagger = settings.estimator()
    tagger.check(rows.train, rows.evaluation)
    model = new_tagger(settings.model, rows.train, settings.seed, settings.device)
    recipe = tagger.resolved_recipe().for_model(model.spec)
    read = windower(model, settings.max_length, settings.stride)
    texts, _, odd = labelled_tokens(read, rows.train, rows.train.labels)
    lengths = np.array([len(text.ids) for text in texts])
    windows = np.array([len(window.ids) for text in texts for window in text.windows])
    loop = recipe.settings
    plan = Plan(windows, loop.batch_size * loop.accumulate, loop.batch_tokens, loop.seed)
    chosen = np.random.default_rng(settings.seed).permutation(len(rows.train))
    part = rows.train.select(chosen[: loop.batch_size * loop.accumulate * steps])
    if not any(part.spans):
        part = rows.train
    timed = replace(settings, epochs=1, adapt=False, patience=None, recipe="plain").estimator().fit_examples(part)
    seconds = (timed.history.seconds if timed.history else 0.0) / max(timed.report["windows"], 1)
    counts, evaluated = rows.train.counts(), rows.evaluation.counts()
    return {
        "task": "tag",
        "data": {
            "name": rows.train.name,
            "rows_used": len(rows.train),
            "rows_evaluation": len(rows.evaluation),
            "evaluation_from": rows.evaluation_from,
            "rows_refused": len(rows.refused),
            "refused": rows.refused[:20],
            "text_column": rows.train.text_column,
            "label_column": rows.train.label_column,
            "types": {name: {"train": n, "evaluation": evaluated.get(name, 0)} for name, n in counts.items()},
            "misaligned": len(odd),
            "misaligned_first": [str(span) for span in odd[:20]],
            "notes": rows.notes,
        },
        "tokens": {
            "total": int(lengths.sum()),
            "median": float(np.median(lengths)),
            "longest": int(lengths.max()),
            "max_length": read.max_length,
            "long_texts": sum(len(text.windows) > 1 for text in texts),
            "windows": len(windows),
            "dropped": 0,
        },
        "model": {"name": settings.model, "parameters": model.num_parameters(), "notes": model.notes},
        "recipe": {"name": recipe.name, "settings": loop.identity()},
        "estimate": {
            "steps": plan.steps(loop.epochs),
            "seconds_per_window": seconds,
            "seconds": seconds * len(windows) * loop.epochs,
            "peak_memory_bytes": peak_memory(),
        },
    }
