"""A whole run of text classification: from a file to a folder with a model, its metrics, its card and its page."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from moduformer.errors import DataError
from moduformer.metrics.classification import (
    classification_metrics,
    multilabel_metrics,
)
from moduformer.tasks.classification_report import write_reports
from moduformer.tasks.fine_tuning import save_adapter
from moduformer.tasks.run_records import Metrics, Outcome, RunData, RunSettings, peak_memory
from moduformer.tasks.text_classifier import TextClassifier
from moduformer.tasks.whole_run import Finished, carry_out
from moduformer.train.callbacks import Callback, History
from moduformer.train.examples import Examples, majority_accuracy
from moduformer.train.labelled_rows import read_examples
from moduformer.train.recipes import recipe_record
from moduformer.train.splitting import few_shot, split

DATA_SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".parquet", ".txt")
HELD_OUT = 0.1
"""The share of rows held out for evaluation where no evaluation file is given."""


def read_data(settings: RunSettings) -> RunData:
    """Reads the rows to train on and those to evaluate on, which are never trained on.

    Raises:
        DataError: a file that cannot be used; names the file and the row.
    """
    source, beside = files_of(settings.data)
    label = settings.labels[0] if len(settings.labels) == 1 else settings.labels or None
    reading: dict[str, Any] = {"bad_rows": settings.bad_rows, "separator": settings.separator}
    everything = read_examples(source, settings.text, label, settings.pair, **reading)
    given = settings.evaluation or beside
    if given is None:
        train, evaluation = split(everything, HELD_OUT, settings.seed)
        origin = f"{HELD_OUT:.0%} of the rows, stratified by class, seed {settings.seed}"
        others: list[Examples] = []
    else:
        train = everything
        columns = everything.label_columns
        evaluation = read_examples(
            given,
            everything.text_column,
            columns[0] if len(columns) == 1 else columns,
            everything.pair_column,
            classes=everything.classes,
            **reading,
        )
        origin = Path(given).name
        others = [evaluation]
    if settings.few_shot is not None:
        train = few_shot(train, settings.few_shot, settings.seed)
    data = RunData(train, evaluation, origin, notes=[n for e in (everything, *others) for n in e.notes])
    for examples in (everything, *others):
        for row in examples.refused:
            data.refused.append(f"{examples.name} {row.where()}: {row.reason}")
            data.refused_reasons[row.reason] = data.refused_reasons.get(row.reason, 0) + 1
    return data


def read_unlabelled(source: str, column: str | None) -> list[str]:
    """The texts of a file: of the training file's column where there is such a one, else of a column that is guessed.

    Raises `DataError` for a file without texts.
    """
    from moduformer.train.labelled_rows import unlabelled_texts
    from moduformer.train.tables import read_table

    table = read_table(source, bad_rows="report")
    return unlabelled_texts(table, column if column in table.columns else None)


def files_of(data: str, suffixes: tuple[str, ...] = DATA_SUFFIXES) -> tuple[str, str | None]:
    """The training file, and the evaluation file that lies beside it where `data` is a folder."""
    folder = Path(data).expanduser()
    if not folder.exists() and _is_name(data, suffixes):
        from moduformer.sources import fetch_data

        folder = fetch_data(data)
    if not folder.is_dir():
        return data, None
    found = {path.stem.lower(): path for path in sorted(folder.iterdir()) if path.suffix.lower() in suffixes}
    if "train" not in found:
        raise DataError(f"{folder} has no train.csv (or .tsv, .jsonl, .json, .parquet); name the file to train on")
    beside = next((found[name] for name in ("test", "validation", "valid", "dev") if name in found), None)
    return str(found["train"]), None if beside is None else str(beside)


def _is_name(data: str, suffixes: tuple[str, ...]) -> bool:
    """Whether this can be a data set of the hub (organisation/name) or one with a short name, rather than a path."""
    from moduformer.sources import DATA_SETS

    return data in DATA_SETS or (
        data.count("/") == 1 and not data.startswith((".", "/", "~")) and not data.lower().endswith(suffixes)
    )


# Training ------------------------------------------------------------------------------------------------------------


class ClassificationRun:
    """Classification as `whole_run.carry_out` carries it out."""

    def __init__(self, settings: RunSettings) -> None:
        self.asked = settings
        self.model = settings.model
        self.classifier = settings.estimator()
        self.recipe = self.classifier.resolved_recipe()
        self.data: RunData
        self.unlabelled: list[str] = []

    def read(self) -> RunData:
        """See `read_data`."""
        self.data = read_data(self.asked)
        if self.asked.unlabelled is not None:
            self.unlabelled = read_unlabelled(self.asked.unlabelled, self.data.train.text_column)
            self.data.notes.append(f"{len(self.unlabelled):,} texts without labels to adapt to")
        return self.data

    def check(self) -> None:
        """See `TextClassifier.check`."""
        self.classifier.check(self.data.train, self.data.evaluation)

    def settings(self) -> dict[str, Any]:
        """What `settings.json` holds."""
        return _resolved(self.asked, self.recipe, self.data)

    def fit(self, callbacks: Sequence[Callback], folder: Path, resume: bool) -> History | None:
        """Trains."""
        trained = self.classifier.fit_examples(
            self.data.train,
            self.data.evaluation,
            callbacks=callbacks,
            folder=folder,
            resume=resume,
            unlabelled=self.unlabelled,
        )
        self.recipe, self.remarks = trained.recipe, tuple(trained.model.notes)
        return trained.history

    def measure(self) -> Metrics:
        """Scores on the evaluation rows."""
        return evaluate_examples(self.classifier, self.data.evaluation)

    def save(self, folder: Path) -> None:
        """Writes the classifier, and its adapter in PEFT's layout."""
        self.classifier.save(folder)
        if self.classifier.adapter_ is not None:
            save_adapter(self.classifier.model_, self.classifier.adapter_, folder / "adapter", self.model)

    def report(self, finished: Finished, command: str | None, say: Callable[[str], None]) -> None:
        """Writes `results.json`, the card and the page."""
        write_reports(self.outcome(finished), self.asked, self.data, self.recipe, command, say)

    def outcome(self, finished: Finished) -> Outcome:
        """A finished run in the words of classification."""
        assert isinstance(finished.metrics, Metrics)
        return Outcome(finished.folder, self.classifier, finished.metrics, finished.seconds, finished.history)


def train_run(
    settings: RunSettings,
    folder: Path,
    *,
    command: str | None = None,
    callbacks: Sequence[Callback] = (),
    resume: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> Outcome | None:
    """Trains, evaluates, and writes the folder; None for a run that was told to stop and can be resumed. `say` gets a
    line of news now and then.

    Raises:
        DataError, TrainingError, SourceError, CheckpointError: see `read_data` and `TextClassifier.fit`.
    """
    run = ClassificationRun(settings)
    finished = carry_out(run, folder, command=command, callbacks=callbacks, resume=resume, say=say)
    return run.outcome(finished) if finished.complete else None


def evaluate_examples(classifier: TextClassifier, examples: Examples) -> Metrics:
    """Scores on labelled examples that carry the classifier's classes."""
    X: Any = examples.texts if examples.pairs is None else list(zip(examples.texts, examples.pairs))
    scores = classifier.predict_proba(X)
    targets, names = examples.targets, classifier.label_set_.names
    kept = np.clip(scores, 1e-12, 1.0)
    if classifier.multi_label_:
        several = multilabel_metrics(targets, probabilities=scores, names=names, threshold=classifier.threshold)
        rest = np.clip(1.0 - scores, 1e-12, 1.0)
        loss = -(targets * np.log(kept) + (1 - targets) * np.log(rest)).mean()
        return Metrics(examples, scores, several, float(loss), None)
    found = classification_metrics(targets, scores.argmax(1), scores, names)
    loss = -np.log(kept[np.arange(len(targets)), targets]).mean()
    return Metrics(examples, scores, found, float(loss), majority_accuracy(examples))


def evaluate_run(
    folder: Path, data: str, text: str | None = None, labels: Sequence[str] = (), pair: str | None = None
) -> tuple[TextClassifier, Metrics]:
    """Scores of a saved classifier on a file; columns are those of its training unless named.

    Raises:
        DataError: the file cannot be used, or carries labels the classifier does not know.
    """
    classifier = TextClassifier.load(folder)
    return classifier, evaluate_examples(classifier, labelled_rows(classifier, folder, data, text, labels, pair))


def labelled_rows(
    classifier: TextClassifier,
    folder: Path,
    data: str,
    text: str | None = None,
    labels: Sequence[str] = (),
    pair: str | None = None,
) -> Examples:
    """The rows of a file that a classifier saved in `folder` can be measured on; see `evaluate_run`."""
    source, beside = files_of(data)
    from moduformer.train.tables import read_table

    table = read_table(beside or source, bad_rows="report")
    columns = trained_columns(folder)
    text = text or _present(columns.get("text"), table.columns)
    pair = pair or _present(columns.get("pair"), table.columns)
    label: Any = list(labels) or [c for c in columns.get("labels") or [] if c in table.columns]
    label = label[0] if len(label) == 1 else label or None
    from moduformer.train.labelled_rows import label_examples

    examples = label_examples(table, text, label, pair, classes=classifier.label_set_)
    if not len(examples):
        raise DataError(f"{data}: there are no rows to evaluate on")
    return examples


def trained_columns(folder: Path) -> dict[str, Any]:
    """The columns a run was trained on, where its folder says so."""
    try:
        stored = json.loads((folder / "settings.json").read_bytes())
        columns = stored.get("columns")
    except (OSError, ValueError, AttributeError, RecursionError):
        return {}
    return columns if isinstance(columns, dict) else {}


def _present(column: Any, columns: Sequence[str]) -> str | None:
    return column if isinstance(column, str) and column in columns else None


@dataclass(frozen=True)
class Mistake:
    """A row that was answered wrong, with the probability of the answer."""

    where: str
    text: str
    true: str
    predicted: str
    probability: float


def worst_mistakes(metrics: Metrics, names: Sequence[str], most: int = 10) -> list[Mistake]:
    """The wrong answers the classifier was most sure of (none for multi-label)."""
    examples, scores = metrics.examples, metrics.probabilities
    if examples.multi_label:
        return []
    chosen = scores.argmax(1)
    sure = scores[np.arange(len(scores)), chosen]
    wrong = np.flatnonzero(chosen != examples.targets)
    return [
        Mistake(
            examples.where(int(i)),
            examples.texts[i],
            names[examples.targets[i]],
            names[chosen[i]],
            float(sure[i]),
        )
        for i in wrong[np.argsort(-sure[wrong], kind="stable")][:most]
    ]


def _resolved(settings: RunSettings, recipe: Any, data: RunData) -> dict[str, Any]:
    return {
        "asked": asdict(settings),
        "recipe": recipe_record(recipe),
        "columns": {
            "text": data.train.text_column,
            "pair": data.train.pair_column,
            "labels": list(data.train.label_columns),
        },
        "rows": {"train": len(data.train), "evaluation": len(data.evaluation), "refused": len(data.refused)},
        "evaluation": data.evaluation_from,
    }


# Looking before training ---------------------------------------------------------------------------------------------


def dry_run(settings: RunSettings, steps: int = 4) -> dict[str, Any]:
    """What a run would do and cost, as JSON-safe facts; a few steps are timed and nothing is written.

    Raises what the run itself would.
    """
    from moduformer.pipelines.windowing import windower
    from moduformer.tasks.classifier_training import new_classifier
    from moduformer.train.batching import Plan
    from moduformer.train.duplicates import duplicates, leaks
    from moduformer.train.examples import check_trainable

    data = read_data(settings)
    check_trainable(data.train, data.evaluation)
    classifier = settings.estimator()
    recipe = classifier.resolved_recipe()
    model = new_classifier(settings.model, data.train.classes, settings.seed, settings.device)
    recipe = recipe.for_model(model.spec)
    loop = recipe.settings
    read = windower(model, settings.max_length, settings.stride)
    lengths = np.asarray(read.count(data.train.texts, data.train.pairs))
    texts = read(data.train.texts, data.train.pairs)
    plan = Plan(texts.encoded.lengths, loop.batch_size * loop.accumulate, loop.batch_tokens, loop.seed)
    total = plan.steps(loop.epochs)
    epochs = loop.epochs if recipe.trains else 1
    seconds, memory = _timed(settings, data, steps)
    counts, evaluated = data.train.counts(), data.evaluation.counts()
    return {
        "data": {
            "name": data.train.name,
            "rows_used": len(data.train),
            "rows_evaluation": len(data.evaluation),
            "evaluation_from": data.evaluation_from,
            "rows_refused": len(data.refused),
            "refused": data.refused[:20],
            "text_column": data.train.text_column,
            "pair_column": data.train.pair_column,
            "label_columns": list(data.train.label_columns),
            "multi_label": data.train.multi_label,
            "classes": {
                name: {"train": int(counts[i]), "evaluation": int(evaluated[i])}
                for i, name in enumerate(data.train.classes.names)
            },
            "duplicates": sum(len(d.indices) - 1 for d in duplicates(data.train)),
            "conflicting_duplicates": sum(not d.labels_agree for d in duplicates(data.train)),
            "duplicates_across": len(leaks(data.train, data.evaluation)),
            "notes": data.notes,
        },
        "tokens": {
            "total": int(lengths.sum()),
            "median": float(np.median(lengths)),
            "longest": int(lengths.max()),
            "max_length": read.max_length,
            "long_texts": int((lengths > read.max_length).sum()),
            "windows": len(texts.owner),
            "dropped": 0,
        },
        "model": {"name": settings.model, "parameters": model.num_parameters(), "notes": model.notes},
        "recipe": {"name": recipe.name, "settings": loop.identity()},
        "estimate": {
            "steps": total if recipe.trains else 0,
            "seconds_per_window": seconds,
            "seconds": seconds * len(texts.owner) * epochs,
            "peak_memory_bytes": memory,
        },
    }


def _timed(settings: RunSettings, data: RunData, steps: int) -> tuple[float, int | None]:
    """Seconds a window of real training (or of reading, for frozen features), and the process's peak memory."""
    from moduformer.tasks.classifier_training import Training, train_classifier
    from moduformer.train.groups import GradualUnfreezing, TrainAll

    recipe = replace(settings, epochs=1, adapt=False).estimator().resolved_recipe()
    if isinstance(recipe.settings.policy, GradualUnfreezing):
        # It begins with the head alone, which would look far cheaper than the run is.
        recipe = replace(recipe, settings=replace(recipe.settings, policy=TrainAll()))
    rows = np.random.default_rng(settings.seed).permutation(len(data.train))
    part = data.train.select(rows[: recipe.settings.batch_size * recipe.settings.accumulate * steps])
    length, stride = settings.max_length, settings.stride
    job = Training(settings.model, recipe, part, class_weight=None, max_length=length, stride=stride)
    began = time.perf_counter()
    trained = train_classifier(job)
    spent = time.perf_counter() - began if trained.history is None else trained.history.seconds
    return spent / max(len(trained.windows.owner), 1), peak_memory()


__all__ = ["Outcome", "RunSettings", "dry_run", "evaluate_run", "read_data", "train_run"]
