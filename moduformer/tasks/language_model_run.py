"""A whole run of language modelling: from files of text to a folder with a model, its perplexity, card and page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from moduformer.metrics.language_model import LanguageModelMetrics
from moduformer.report.document import Code, Document, Section, Table
from moduformer.tasks.classification_run import HELD_OUT, files_of
from moduformer.tasks.fine_tuning import save_adapter
from moduformer.tasks.first_steps import cost
from moduformer.tasks.language_model import LanguageModel
from moduformer.tasks.language_model_training import SCRATCH, Trained
from moduformer.tasks.tagging_report import duration_words
from moduformer.tasks.whole_run import Finished, SplitRows, write_document
from moduformer.train.callbacks import Callback, History, json_safe
from moduformer.train.plain_texts import PlainTexts, read_texts, split_texts

_SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".parquet", ".txt")


@dataclass(frozen=True)
class LanguageModelSettings:
    """What a person asked for: `text` names the column; the rest is `LanguageModel`'s."""

    data: str
    text: str | None = None
    evaluation: str | None = None
    model: str = "gpt"
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

    def estimator(self) -> LanguageModel:
        """The estimator these settings describe."""
        own = asdict(self)
        for name in ("data", "text", "evaluation", "seed"):
            own.pop(name)
        return LanguageModel(**own, random_state=self.seed)


@dataclass
class TextScores:
    """What some texts cost a model."""

    texts: PlainTexts
    scores: LanguageModelMetrics
    causal: bool

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe numbers."""
        kind = "every token" if self.causal else "hidden tokens"
        found: dict[str, Any] = json_safe({"rows": len(self.texts), "measured_on": kind} | self.scores.to_dict())
        return found

    def table(self) -> list[tuple[str, str]]:
        """The scores by name, as a person reads them."""
        scores, name = self.scores, "perplexity" if self.causal else "perplexity of hidden tokens"
        rows = [(name, f"{scores.perplexity:.2f}"), ("mean loss of a token, nats", f"{scores.loss:.4f}")]
        if scores.bits_per_byte is not None:
            rows.append(("bits a byte", f"{scores.bits_per_byte:.4f}"))
        return rows


class LanguageModelRun:
    """Language modelling as `whole_run.carry_out` carries it out."""

    def __init__(self, settings: LanguageModelSettings) -> None:
        self.asked = settings
        self.model: str | None = None if settings.model in SCRATCH else settings.model
        self.learner = settings.estimator()
        self.rows: SplitRows[PlainTexts]
        self.trained: Trained | None = None
        self.measured: TextScores

    def read(self) -> SplitRows[PlainTexts]:
        """The texts to train on and those to evaluate on, which are never trained on."""
        self.rows = read_rows(self.asked)
        return self.rows

    def check(self) -> None:
        """See `LanguageModel.check`."""
        self.learner.check(self.rows.train)

    def settings(self) -> dict[str, Any]:
        """What `settings.json` holds."""
        recipe = self.learner.resolved_recipe() if self.trained is None else self.trained.recipe
        return {
            "task": "lm",
            "asked": asdict(self.asked),
            "recipe": {"name": recipe.name, "settings": recipe.settings.identity()},
            "columns": {"text": self.rows.train.column},
            "rows": self.rows.counts(),
            "evaluation": self.rows.evaluation_from,
        }

    def fit(self, callbacks: Sequence[Callback], folder: Path, resume: bool) -> History | None:
        """Trains."""
        self.trained = self.learner.fit_texts(
            self.rows.train, self.rows.evaluation, callbacks=callbacks, folder=folder, resume=resume
        )
        return self.trained.history

    @property
    def remarks(self) -> list[str]:
        """What loading had to say."""
        assert self.trained is not None
        return list(self.trained.model.notes)

    def measure(self) -> TextScores:
        """What the evaluation texts cost."""
        self.measured = TextScores(
            self.rows.evaluation, self.learner.measure(self.rows.evaluation), self.learner.causal_
        )
        return self.measured

    def save(self, folder: Path) -> None:
        """Writes the model and its adapter."""
        assert self.trained is not None
        self.learner.save(folder)
        if self.trained.lora is not None and self.model is not None:
            save_adapter(self.learner.model_, self.trained.lora, folder / "adapter", self.model)

    def report(self, finished: Finished, command: str | None, say: Callable[[str], None]) -> None:
        """Writes the card and the page."""
        write_document(self._document(finished, command), finished.folder, say)

    def _document(self, finished: Finished, command: str | None) -> Document:
        assert self.trained is not None
        rows, name, report = self.rows, finished.folder.resolve().name, self.trained.report
        base = "nothing but these texts" if self.model is None else Path(self.model).name
        table = self.measured.table()
        kind = "text-generation" if self.learner.causal_ else "fill-mask"
        lead = (
            f"A language model, trained from {base} on {Path(rows.train.name).name}: {table[0][0]} {table[0][1]} on "
            f"held-out text ({rows.evaluation_from})."
        )
        writes = '\nmodel.generate("...")[0].text' if self.learner.causal_ else ""
        use = (
            f'import moduformer as mf\n\nmodel = mf.LanguageModel.load("{name}")\nmodel.predict(["..."])  # perplexity'
            f'{writes}\n\nmf.pipeline("{kind}", "{name}")'
        )
        training: list[str | Table | Code] = [
            f"Took {duration_words(finished.seconds)}, evaluation included. {report['tokens']:,} tokens in "
            f"{report['windows']:,} windows; nothing was left out.",
            *([Code(command, "sh")] if command else []),
        ]
        sections = [
            Section("Results", [Table(["score", "value"], [list(row) for row in table])]),
            Section("Use", [Code(use)]),
            Section("Training", training),
            Section("Limits", ["It writes what is likely in texts like its own, whether true or not."]),
        ]
        header = {"library_name": "moduformer", "pipeline_tag": kind, "tags": ["moduformer", kind]}
        return Document(name, lead, sections, header)


def read_rows(asked: LanguageModelSettings) -> SplitRows[PlainTexts]:
    """Reads the texts to train on and those to evaluate on. Raises `DataError`; names the file and the row."""
    source, beside = files_of(asked.data, _SUFFIXES)
    everything = _read(source, asked.text)
    given, parts = asked.evaluation or beside, [everything]
    if given is None:
        train, evaluation = split_texts(everything, HELD_OUT, asked.seed)
        many = len(everything) > 1
        origin = f"{HELD_OUT:.0%} of the texts, seed {asked.seed}" if many else f"the last {HELD_OUT:.0%} of the text"
    else:
        train, evaluation, origin = everything, _read(given, everything.column), Path(given).name
        parts.append(evaluation)
    refused = [f"{part.name} {bad.where()}: {bad.reason}" for part in parts for bad in part.refused]
    return SplitRows(train, evaluation, origin, refused, [note for part in parts for note in part.notes])


def _read(source: str, text: str | None) -> PlainTexts:
    return read_texts(source, text, **({"bad_rows": "report"} if Path(source).exists() else {}))


def evaluate_folder(folder: Path, data: str, text: str | None = None) -> tuple[LanguageModel, TextScores]:
    """What the texts of a file cost a saved model. Raises `DataError` for a file that cannot be used."""
    learner = LanguageModel.load(folder)
    source, beside = files_of(data, _SUFFIXES)
    texts = _read(beside or source, text)
    return learner, TextScores(texts, learner.measure(texts), learner.causal_)


def dry_run(asked: LanguageModelSettings) -> dict[str, Any]:
    """What a run would do and cost, as JSON-safe facts; its first steps are timed and nothing is written.

    Raises what the run itself would.
    """
    rows = read_rows(asked)
    learner = asked.estimator()
    learner.check(rows.train)
    return {
        "task": "lm",
        "data": {
            "name": rows.train.name,
            "rows_used": len(rows.train),
            "rows_evaluation": len(rows.evaluation),
            "evaluation_from": rows.evaluation_from,
            "rows_refused": len(rows.refused),
            "refused": rows.refused[:20],
            "text_column": rows.train.column,
            "characters": rows.train.characters,
            "notes": rows.notes,
        },
        "model": {"name": asked.model, "from_scratch": asked.model in SCRATCH},
        "recipe": {"name": asked.recipe},
        "estimate": cost(lambda callbacks: learner.fit_texts(rows.train, callbacks=callbacks)),
    }
