"""A whole run over pairs of texts: from a file to a folder with a model that writes, its scores, card and page."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from moduformer.atomic import write_text
from moduformer.errors import DataError, TrainingError
from moduformer.metrics.results import Scores
from moduformer.metrics.translation import TranslationMetrics
from moduformer.report.document import Code, Document, Section, Table
from moduformer.tasks.classification_run import HELD_OUT, files_of
from moduformer.tasks.fine_tuning import save_adapter
from moduformer.tasks.first_steps import cost
from moduformer.tasks.seq2seq import Seq2Seq
from moduformer.tasks.seq2seq_training import Trained, from_scratch
from moduformer.tasks.tagging_report import duration_words
from moduformer.tasks.whole_run import Finished, SplitRows, write_document
from moduformer.train.callbacks import Callback, History, json_safe
from moduformer.train.pairs import LANGUAGES, Pairs, read_pairs, read_parallel, split_pairs

PREDICTIONS = "predictions.jsonl"
"""Every evaluation row with its right texts and what was written, a line each, so that scores can be counted again."""

_SUMMARIES = ("summary", "highlights", "tldr", "abstract", "headline", "title", "요약", "요약문")
_TABLES = (".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".parquet")
_SHOWN = 8


@dataclass(frozen=True)
class Seq2SeqSettings:
    """What a person asked for: `text` and `label` name the columns of sources and targets, or `label` the file of
    targets beside a text file of sources; the rest is `Seq2Seq`'s."""

    data: str
    text: str | None = None
    label: str | None = None
    evaluation: str | None = None
    model: str = "transformer"
    recipe: str = "plain"
    epochs: int | None = None
    learning_rate: float | None = None
    batch_size: int | None = None
    max_length: int | None = None
    patience: int | None = None
    seed: int = 0
    device: str | None = None
    precision: str | None = None
    dropout: float | None = None
    recompute: bool = False
    size: dict[str, Any] | None = None


@dataclass
class PairRows(SplitRows[Pairs]):
    """The rows of a run, and what the columns' names mean."""

    task: str = "translation"
    languages: tuple[str | None, str | None] = (None, None)


@dataclass
class WritingScores:
    """Scores of what was written for some pairs."""

    pairs: Pairs
    scores: Scores
    predicted: list[str]

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe numbers."""
        found: dict[str, Any] = json_safe({"rows": len(self.pairs)} | self.scores.to_dict())
        return found

    def lines(self) -> list[dict[str, Any]]:
        """Every pair with what was written."""
        rows = zip(self.pairs.sources, self.pairs.targets, self.predicted)
        return [{"source": source, "targets": list(targets), "predicted": found} for source, targets, found in rows]

    def table(self) -> list[tuple[str, str]]:
        """The scores by name, as a person reads them."""
        return score_table(self.scores)


def score_table(scores: Scores) -> list[tuple[str, str]]:
    """Scores by name, with their intervals."""
    if isinstance(scores, TranslationMetrics):
        named = (("BLEU", scores.bleu), ("chrF", scores.chrf), ("chrF++", scores.chrf_plus_plus))
        return [
            (name, f"{s.value:.2f} ({s.interval[0]:.2f} to {s.interval[1]:.2f})") for name, s in named if s is not None
        ]
    kinds = ("rouge1", "rouge2", "rougeL", "rougeLsum")
    found = [(kind, getattr(scores, kind)) for kind in kinds]
    return [(kind.replace("rouge", "ROUGE-") + " F1", f"{rouge.f1:.4f}") for kind, rouge in found]


class Seq2SeqRun:
    """Learning from pairs as `whole_run.carry_out` carries it out."""

    def __init__(self, settings: Seq2SeqSettings) -> None:
        self.asked = settings
        self.model: str | None = None if from_scratch(settings.model) else settings.model
        self.rows: PairRows
        self.writer: Seq2Seq
        self.trained: Trained | None = None
        self.measured: WritingScores

    def read(self) -> PairRows:
        """The pairs to train on and those to evaluate on, which are never trained on."""
        self.rows = read_rows(self.asked)
        self.writer = estimator(self.asked, self.rows)
        return self.rows

    def check(self) -> None:
        """See `Seq2Seq.check`."""
        self.writer.check(self.rows.train)

    def settings(self) -> dict[str, Any]:
        """What `settings.json` holds."""
        recipe = self.writer.resolved_recipe() if self.trained is None else self.trained.recipe
        return {
            "task": "seq2seq",
            "writes": self.rows.task,
            "asked": asdict(self.asked),
            "recipe": {
                "name": "from scratch" if recipe is None else recipe.name,
                "settings": None if recipe is None else recipe.settings.identity(),
            },
            "columns": {"text": self.rows.train.source_column, "label": self.rows.train.target_column},
            "rows": self.rows.counts(),
            "evaluation": self.rows.evaluation_from,
        }

    def fit(self, callbacks: Sequence[Callback], folder: Path, resume: bool) -> History | None:
        """Trains; the loss on at most 500 evaluation pairs is measured on the way."""
        part = self.rows.evaluation.select(range(min(500, len(self.rows.evaluation))))
        self.trained = self.writer.fit_pairs(self.rows.train, part, callbacks=callbacks, folder=folder, resume=resume)
        return self.trained.history

    @property
    def remarks(self) -> list[str]:
        """What loading had to say, and what did not fit."""
        assert self.trained is not None
        report = self.trained.report
        cut = report["sources_cut"] + report["targets_cut"]
        more = (f"{cut:,} texts are longer than the model takes; {report['tokens_dropped']:,} tokens were not learned",)
        return [*self.trained.model.notes, *(more if cut else ())]

    def measure(self) -> WritingScores:
        """Scores on the evaluation pairs."""
        self.measured = measure(self.writer, self.rows.evaluation)
        return self.measured

    def save(self, folder: Path) -> None:
        """Writes the model, its adapter and its predictions."""
        assert self.trained is not None
        self.writer.save(folder)
        if self.trained.lora is not None and self.model is not None:
            save_adapter(self.writer.model_, self.trained.lora, folder / "adapter", self.model)
        write_lines(folder / PREDICTIONS, self.measured.lines())

    def report(self, finished: Finished, command: str | None, say: Callable[[str], None]) -> None:
        """Writes the card and the page."""
        write_document(self._document(finished, command), finished.folder, say)

    def _document(self, finished: Finished, command: str | None) -> Document:
        assert self.trained is not None
        rows, measured, name = self.rows, self.measured, finished.folder.resolve().name
        data = Path(rows.train.name).name
        base = "nothing but these pairs" if self.model is None else Path(self.model).name
        table = measured.table()
        report = self.trained.report
        lead = (
            f"A model for {rows.task}, trained from {base} on {data}: {table[0][0]} {table[0][1]} on "
            f"{len(measured.pairs):,} held-out pairs ({rows.evaluation_from})."
        )
        examples = [[line["source"], line["targets"][0], line["predicted"]] for line in measured.lines()[:_SHOWN]]
        signature = getattr(getattr(measured.scores, "bleu", None), "signature", None)
        said = f"sacreBLEU {signature}" if signature else "ROUGE over words, the best of several right texts"
        use = (
            f'import moduformer as mf\n\nmodel = mf.Seq2Seq.load("{name}")\nmodel.predict(["..."])\n\n'
            f'mf.pipeline("{rows.task}", "{name}")("...")'
        )
        training: list[str | Table | Code] = [
            f"Took {duration_words(finished.seconds)}, evaluation included. {report['pairs']:,} pairs of "
            f"{report['source_tokens']:,} and {report['target_tokens']:,} tokens; {report['tokens_dropped']:,} tokens "
            "did not fit and were not learned.",
            *([Code(command, "sh")] if command else []),
        ]
        sections = [
            Section("Results", [Table(["score", "value (95 % interval)"], [list(row) for row in table], said)]),
            Section("Use", [Code(use)]),
            Section("Training", training),
            Section("Examples", [Table(["source", "right", "written"], examples, "The first held-out pairs")]),
            Section("Limits", ["Measured on texts like those it was trained on; on other texts it will be worse."]),
        ]
        header = {"library_name": "moduformer", "pipeline_tag": rows.task, "tags": ["moduformer", rows.task]}
        return Document(name, lead, sections, header)


def estimator(asked: Seq2SeqSettings, rows: PairRows) -> Seq2Seq:
    """The estimator these settings describe, for what the columns mean."""
    return Seq2Seq(
        asked.model,
        asked.recipe,
        rows.task,
        asked.epochs,
        asked.seed,
        asked.learning_rate,
        asked.batch_size,
        source_language=rows.languages[0],
        target_language=rows.languages[1],
        max_source=asked.max_length,
        patience=asked.patience,
        device=asked.device,
        precision=asked.precision,
        dropout=asked.dropout,
        recompute=asked.recompute,
        size=asked.size,
    )


def read_rows(asked: Seq2SeqSettings) -> PairRows:
    """Reads the pairs to train on and those to evaluate on.

    Raises:
        DataError: a file that cannot be used; names the file and the row.
    """
    source, beside = files_of(asked.data, _TABLES) if not _is_text(asked.data) else (asked.data, None)
    everything = read_any(source, asked.text, asked.label)
    given = asked.evaluation or beside
    parts = [everything]
    if given is None:
        train, evaluation = split_pairs(everything, HELD_OUT, asked.seed)
        origin = f"{HELD_OUT:.0%} of the rows, seed {asked.seed}"
    else:
        train, origin = everything, Path(given).name
        if _is_text(given):
            evaluation = read_parallel(given, _beside(given, asked.label))
        else:
            evaluation = read_pairs(given, everything.source_column, everything.target_column, **_reading(given))
        parts.append(evaluation)
    task, languages = meaning(everything)
    notes = [note for part in parts for note in part.notes]
    notes.append(f"taken for {task}" + (f" from {languages[0]} to {languages[1]}" if languages[1] else ""))
    refused = [f"{part.name} {bad.where()}: {bad.reason}" for part in parts for bad in part.refused]
    return PairRows(train, evaluation, origin, refused, notes, task, languages)


def read_any(source: str, text: str | None, label: str | None) -> Pairs:
    """Pairs of a table, or of two text files, of which `label` is the second."""
    if _is_text(source):
        if label is None:
            raise DataError(f"{source} is a text file of sources; name the file of targets with --label")
        return read_parallel(source, label)
    return read_pairs(source, text, label, **_reading(source))


def meaning(pairs: Pairs) -> tuple[str, tuple[str | None, str | None]]:
    """What the names of columns (or the ends of files' names) say: the task, and the languages of a translation."""
    ends = [Path(name).suffix.removeprefix(".") or name for name in (pairs.source_column, pairs.target_column)]
    first, second = (name.strip().casefold() for name in ends)
    if first in LANGUAGES and second in LANGUAGES:
        return "translation", (first, second)
    if second in _SUMMARIES or pairs.target_column.strip().casefold() in _SUMMARIES:
        return "summarization", (None, None)
    if any(len(targets) > 1 for targets in pairs.targets) or _much_shorter(pairs):
        return "summarization", (None, None)
    return "translation", (None, None)


def _much_shorter(pairs: Pairs) -> bool:
    sample = range(min(1000, len(pairs)))
    return sum(len(pairs.targets[i][0]) for i in sample) * 3 < sum(len(pairs.sources[i]) for i in sample)


def _is_text(path: str) -> bool:
    return Path(path).is_file() and Path(path).suffix.lower() not in _TABLES


def _beside(source: str, label: str | None) -> Path:
    """The file of targets that belongs to another file of sources: the same name with the targets' ending."""
    found = Path(source).with_suffix(Path(label).suffix) if label else Path(source)
    if found == Path(source) or not found.is_file():
        raise DataError(f"{source} has no file of targets beside it called {found.name}")
    return found


def _reading(source: str) -> dict[str, Any]:
    return {"bad_rows": "report"} if Path(source).exists() else {}


def measure(writer: Seq2Seq, pairs: Pairs) -> WritingScores:
    """Scores of what is written for pairs."""
    predicted = writer.predict(pairs.sources)
    return WritingScores(pairs, writer.measure(predicted, pairs), predicted)


def evaluate_folder(
    folder: Path, data: str, text: str | None = None, label: str | None = None
) -> tuple[Seq2Seq, WritingScores]:
    """Scores of a saved model on a file, between the languages that its columns name, where they do.

    Raises `DataError` for a file that cannot be used.
    """
    source, beside = files_of(data, _TABLES) if not _is_text(data) else (data, None)
    stored = trained_columns(folder)
    if text is None and label is None and not _is_text(data):
        try:
            pairs = read_any(beside or source, stored.get("text"), stored.get("label"))
        except DataError:
            pairs = read_any(beside or source, None, None)
    else:
        pairs = read_any(beside or source, text, label)
    source_language, target_language = meaning(pairs)[1]
    named = {"source_language": source_language, "target_language": target_language} if target_language else {}
    writer = Seq2Seq.load(folder, **named)
    return writer, measure(writer, pairs)


def trained_columns(folder: Path) -> dict[str, str]:
    """The columns of the run in a folder, where it says them."""
    try:
        columns = json.loads((folder / "settings.json").read_bytes()).get("columns")
    except (OSError, ValueError, AttributeError, RecursionError):
        return {}
    return {k: v for k, v in columns.items() if isinstance(v, str)} if isinstance(columns, dict) else {}


def write_lines(path: Path, lines: Sequence[Any]) -> None:
    """Writes JSON lines. Raises `TrainingError` where that cannot be."""
    try:
        write_text(path, "".join(json.dumps(json_safe(line), ensure_ascii=False) + "\n" for line in lines))
    except OSError as error:
        raise TrainingError(f"{path} cannot be written: {error.strerror or error}") from None


def dry_run(asked: Seq2SeqSettings) -> dict[str, Any]:
    """What a run would do and cost, as JSON-safe facts; its first steps are timed and nothing is written.

    Raises what the run itself would.
    """
    rows = read_rows(asked)
    writer = estimator(asked, rows)
    writer.check(rows.train)
    sources = sum(map(len, rows.train.sources))
    return {
        "task": "seq2seq",
        "writes": rows.task,
        "data": {
            "name": rows.train.name,
            "rows_used": len(rows.train),
            "rows_evaluation": len(rows.evaluation),
            "evaluation_from": rows.evaluation_from,
            "rows_refused": len(rows.refused),
            "refused": rows.refused[:20],
            "source_column": rows.train.source_column,
            "target_column": rows.train.target_column,
            "source_characters": sources,
            "target_characters": sum(len(targets[0]) for targets in rows.train.targets),
            "notes": rows.notes,
        },
        "model": {"name": asked.model, "from_scratch": from_scratch(asked.model)},
        "recipe": {"name": "from scratch" if from_scratch(asked.model) else asked.recipe},
        "estimate": cost(lambda callbacks: writer.fit_pairs(rows.train, callbacks=callbacks)),
    }
