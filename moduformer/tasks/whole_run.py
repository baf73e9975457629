"""A whole run of any task: from a file to a folder with a model, its metrics, its card and its page.

What differs between tasks is a `Learning`; what is the same stands here: a run that cannot begin leaves no folder
behind, one that was told to stop can be resumed, and a finished one is measured on rows it never saw.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import time
from collections.abc import Callable, Sequence, Sized
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from moduformer.atomic import write_text
from moduformer.errors import ModuformerError, TrainingError
from moduformer.report.document import Document, as_html, as_markdown
from moduformer.report.files import write_text_atomically
from moduformer.sources.resolve import resolve
from moduformer.tasks.fine_tuning import TERMINATED
from moduformer.train.callbacks import Callback, History, json_safe

LEFT_BY_A_FAILURE = {"settings.json", "log.csv", "evaluations.csv"}
"""Files of a run that failed before it saved anything; the next run may write over them."""


class Measured(Protocol):
    """Scores on some rows."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe numbers, with `rows`: how many were scored."""
        ...


Part = TypeVar("Part", bound=Sized)


class Rows(Protocol):
    """The rows of a run, those to train on and those to evaluate on apart."""

    @property
    def evaluation_from(self) -> str:
        """In words: where the evaluation rows come from."""
        ...

    @property
    def refused(self) -> Sequence[str]:
        """Rows that cannot be used, and why."""
        ...

    @property
    def notes(self) -> Sequence[str]:
        """What was guessed or noticed."""
        ...

    @property
    def sizes(self) -> tuple[int, int]:
        """How many rows there are to train on and to evaluate on."""
        ...


@dataclass
class SplitRows(Generic[Part]):
    """The rows of a run, as `Rows` wants them; `evaluation_from` says in words where the evaluation rows come from."""

    train: Part
    evaluation: Part
    evaluation_from: str
    refused: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def sizes(self) -> tuple[int, int]:
        """How many rows there are to train on and to evaluate on."""
        return len(self.train), len(self.evaluation)

    def counts(self) -> dict[str, int]:
        """What `settings.json` says of them."""
        return {"train": len(self.train), "evaluation": len(self.evaluation), "refused": len(self.refused)}


class Learning(Protocol):
    """What a whole run needs of a task.

    The methods are called in their order: `read`, `check`, `settings`, `fit`, `settings`, `measure`, `save`, `report`.
    """

    @property
    def model(self) -> str | None:
        """What training starts from, as `mf.load` takes it; None starts from nothing."""
        ...

    def read(self) -> Rows:
        """Reads the rows. Raises `DataError`; names the file and the row."""
        ...

    def check(self) -> None:
        """Raises what `fit` would raise for these rows and settings, before any model is read."""
        ...

    def settings(self) -> dict[str, Any]:
        """What `settings.json` holds: what was asked for, the recipe resolved, columns, rows."""
        ...

    def fit(self, callbacks: Sequence[Callback], folder: Path, resume: bool) -> History | None:
        """Trains; logs and checkpoints go to the folder. None where nothing was trained step by step."""
        ...

    def measure(self) -> Measured:
        """Scores of the trained model on the evaluation rows."""
        ...

    def save(self, folder: Path) -> None:
        """Writes the model, and what else belongs beside it."""
        ...

    def report(self, finished: Finished, command: str | None, say: Callable[[str], None]) -> None:
        """Writes the card and the page; a page that fails does not fail the run."""
        ...

    @property
    def remarks(self) -> Sequence[str]:
        """What the trained model's loading has to say, such as which head is new."""
        ...


@dataclass
class Finished:
    """What a run left in `folder`. `metrics` are of the evaluation rows, None for a run that can be resumed."""

    folder: Path
    learning: Learning
    metrics: Measured | None
    seconds: float
    history: History | None = None

    @property
    def scores(self) -> Measured:
        """The metrics of a run that is complete."""
        assert self.metrics is not None
        return self.metrics

    @property
    def complete(self) -> bool:
        """Whether the run went to its end."""
        return self.metrics is not None


def carry_out(
    learning: Learning,
    folder: Path,
    *,
    command: str | None = None,
    callbacks: Sequence[Callback] = (),
    resume: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> Finished:
    """Trains, evaluates, and writes the folder. `say` gets a line of news now and then.

    Raises:
        DataError, TrainingError, SourceError, CheckpointError: what stands in the way, most of it before the folder is
            made.
    """
    began = time.monotonic()
    check_folder(folder, resume)
    rows = learning.read()
    for note in rows.notes:
        say(note)
    if rows.refused:
        say(f"{len(rows.refused):,} rows cannot be used, the first: {rows.refused[0]}")
    train, evaluation = rows.sizes
    say(f"{train:,} rows to train on, {evaluation:,} to evaluate on ({rows.evaluation_from})")
    # Checked, found or fetched now, so that what is wrong leaves no folder behind.
    learning.check()
    if learning.model is not None:
        resolve(learning.model)
    made = make_folder(folder)
    try:
        write_json(folder / "settings.json", {"command": command} | learning.settings())
        history = learning.fit(callbacks, folder, resume)
    except BaseException:
        leave_nothing_begun(folder, made)
        raise
    write_json(folder / "settings.json", {"command": command} | learning.settings())
    for note in learning.remarks:
        say(note)
    stopped = history is not None and history.ended == TERMINATED
    if stopped:
        say(f"stopped on request; the checkpoint is in {folder}, go on with --resume")
        return Finished(folder, learning, None, time.monotonic() - began, history)
    metrics = learning.measure()
    finished = Finished(folder, learning, metrics, 0.0, history)
    learning.save(folder)
    write_json(folder / "metrics.json", metrics.to_dict())
    finished.seconds = time.monotonic() - began
    learning.report(finished, command, say)
    drop_checkpoints(folder)
    return finished


# Files ---------------------------------------------------------------------------------------------------------------


def check_folder(folder: Path, resume: bool) -> None:
    """Raises `TrainingError` for a folder that a run must not write to."""
    if folder.exists() and not folder.is_dir():
        raise TrainingError(f"{folder} is a file; choose another folder with --out")
    if not resume and folder.is_dir() and {path.name for path in folder.iterdir()} - LEFT_BY_A_FAILURE:
        raise TrainingError(f"{folder} is not empty; go on with --resume, or choose another folder with --out")
    if resume and (folder / "metrics.json").is_file() and not (folder / "checkpoints").is_dir():
        raise TrainingError(f"{folder} holds a finished run; there is nothing to resume")


def make_folder(folder: Path) -> list[Path]:
    """Makes the folder and those above it, and returns those that were not there, the lowest first."""
    try:
        made = [place for place in (folder, *folder.parents) if not place.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, "no permission to write there")
    except OSError as error:
        raise TrainingError(f"{folder} cannot be made ({error.strerror}); choose another folder with --out") from None
    return made


def leave_nothing_begun(folder: Path, made: Sequence[Path]) -> None:
    """Takes away what a run wrote that failed before it saved anything."""
    with suppress(OSError):
        if any(place.name not in LEFT_BY_A_FAILURE for place in folder.iterdir()):
            return
        for name in LEFT_BY_A_FAILURE:
            (folder / name).unlink(missing_ok=True)
        for place in made:
            place.rmdir()


def write_json(path: Path, data: Any) -> None:
    """Writes strict JSON. Raises `TrainingError` where that cannot be."""
    try:
        write_text(path, json.dumps(json_safe(data), indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    except OSError as error:
        raise TrainingError(f"{path} cannot be written: {error.strerror or error}") from None


def drop_checkpoints(folder: Path) -> None:
    """A finished run is not resumed; its optimizer's state would be three times the size of the model."""
    for place in (folder / "checkpoints", folder / "adaptation" / "checkpoints"):
        shutil.rmtree(place, ignore_errors=True)


def write_document(document: Document, folder: Path, say: Callable[[str], None]) -> None:
    """Writes `README.md` and `report.html`; a page that fails does not fail the run, whose model is already saved."""
    for name, render in (("README.md", as_markdown), ("report.html", as_html)):
        try:
            write_text_atomically(folder / name, render(document))
        except ModuformerError as error:
            say(f"{name} was not written: {error}")


def trained_columns(folder: Path) -> dict[str, str]:
    """The columns a run was trained on, where its folder says so."""
    try:
        columns = json.loads((folder / "settings.json").read_bytes()).get("columns")
    except (OSError, ValueError, AttributeError, RecursionError):
        return {}
    if not isinstance(columns, dict):
        return {}
    return {name: column for name, column in columns.items() if isinstance(column, str)}


def write_lines(path: Path, lines: Sequence[Any]) -> None:
    """Writes a JSON line for each value. Raises `TrainingError` if that fails."""
    try:
        write_text(path, "".join(json.dumps(json_safe(line), ensure_ascii=False) + "\n" for line in lines))
    except OSError as error:
        raise TrainingError(f"{path} cannot be written: {error.strerror or error}") from None
