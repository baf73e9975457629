"""What the commands do for tasks other than classifying texts: which there are, and which one a folder is for."""

from __future__ import annotations

import dataclasses
import importlib
import json
import shlex
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

import typer

from moduformer.cli.output import say

if TYPE_CHECKING:
    from moduformer.tasks.whole_run import Finished, Learning

CLASSIFY = "classify"

OTHERS = {
    "tag": "moduformer.cli.tagging",
    "answer": "moduformer.cli.answering",
    "seq2seq": "moduformer.cli.seq2seq",
    "lm": "moduformer.cli.language_modeling",
}
"""Tasks beside classification, and the modules that offer what `TaskCommands` says."""

_ARCHITECTURES = {
    "ForTokenClassification": "tag",
    "ForQuestionAnswering": "answer",
    "ForConditionalGeneration": "seq2seq",
    "ForMaskedLM": "lm",
    "ForCausalLM": "lm",
}


class TaskCommands(Protocol):
    """What a task's module offers to `train`, `predict` and `evaluate`.

    Options that a task does not know are refused by name, so its `settings` is a frozen dataclass of those it knows,
    named as in `moduformer train` ("label" is one column, not a list).
    """

    def settings(self) -> type[Any]:
        """The dataclass of what a person may ask for."""
        ...

    def learning(self, settings: Any) -> Learning:
        """The run that these settings describe."""
        ...

    def look(self, settings: Any) -> dict[str, Any]:
        """What a run would do and cost, as JSON-safe facts."""
        ...

    def show_plan(self, facts: dict[str, Any]) -> None:
        """Those facts as tables."""
        ...

    def show(self, finished: Finished) -> None:
        """A finished run's scores as a table."""
        ...

    def answers(self, folder: Path, given: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """What a trained folder predicts for texts or a file: the line of JSON of each."""
        ...

    def evaluate(self, folder: Path, data: str, given: Mapping[str, Any]) -> tuple[dict[str, Any], Any]:
        """Scores of a trained folder as JSON-safe data, and what `show_scores` shows them from."""
        ...

    def show_scores(self, measured: Any, errors: int) -> None:
        """Scores as tables, and so many of the worst errors."""
        ...


def commands_of(task: str) -> TaskCommands:
    """The commands of a task. Raises `BadParameter` for one that there is not."""
    if task not in OTHERS:
        raise typer.BadParameter(f"{task!r} is not offered; use {', '.join((CLASSIFY, *OTHERS))}", param_hint="--task")
    return cast(TaskCommands, importlib.import_module(OTHERS[task]))


def trained(folder: Path) -> Path:
    """The folder that was meant: one that is there, or that of a model of the package, by its name."""
    from moduformer.sources.bundled import bundled

    return folder if folder.exists() else bundled().get(str(folder), folder)


def task_of(folder: Path) -> str:
    """The task that a folder was trained for, by its settings or by the class that its config names."""
    for name in ("settings.json", "config.json"):
        try:
            stored = json.loads((folder / name).read_bytes())
            found = stored.get("task") if name == "settings.json" else str((stored.get("architectures") or [""])[0])
        except (OSError, ValueError, AttributeError, TypeError, KeyError, RecursionError):
            continue
        if name == "settings.json" and found in OTHERS:
            return str(found)
        for ending, task in _ARCHITECTURES.items():
            if name == "config.json" and str(found).endswith(ending) and task in OTHERS:
                return task
        if name == "config.json" and (told := _by_head(stored.get("spec"))) is not None:
            return told
    return CLASSIFY


def _by_head(spec: Any) -> str | None:
    """The task of a config that holds a whole spec, as those of quantised models do."""
    try:
        kind = spec["heads"][-1]["kind"]
        written = "seq2seq" if spec["encoder"] else "lm"
    except (TypeError, LookupError):
        return None
    return {"tag": "tag", "span": "answer", "masked-lm": "lm", "language-model": written}.get(str(kind))


def settings_from(commands: TaskCommands, task: str, given: Mapping[str, Any]) -> Any:
    """A task's settings out of what was said; None means unsaid. Raises `BadParameter` for what it does not know."""
    kind = commands.settings()
    known = {field.name for field in dataclasses.fields(kind)}
    said = {name: value for name, value in given.items() if value is not None and value != []}
    if isinstance(said.get("label"), list):
        if len(said["label"]) > 1:
            raise typer.BadParameter(f"--task {task} takes one column", param_hint="--label")
        said["label"] = said["label"][0]
    for name in said:
        if name not in known:
            raise typer.BadParameter(f"has no meaning for --task {task}", param_hint="--" + name.replace("_", "-"))
    return kind(**said)


def carry_out(commands: TaskCommands, settings: Any, folder: Path, resume: bool) -> Finished:
    """Trains with a bar of progress, and says what an interruption left."""
    from moduformer.cli.progress import Progress
    from moduformer.tasks import whole_run

    progress = Progress()
    try:
        finished = whole_run.carry_out(
            commands.learning(settings), folder, command=command_line(), callbacks=[progress], resume=resume, say=say
        )
    except KeyboardInterrupt:
        progress.close()
        if (folder / "checkpoints" / "latest.json").is_file():
            say(f"stopped; what the last epoch reached is in {folder}, go on with --resume")
        else:
            say("stopped before the end of an epoch; nothing is kept")
        raise
    finally:
        progress.close()
    if not finished.complete:
        raise typer.Exit(3)
    return finished


def command_line() -> str:
    """The command with names of files but not of folders, which mean nothing on another machine."""
    words = []
    for word in sys.argv[1:]:
        name, equals, value = word.partition("=")
        shown = f"{name}={Path(value).name}" if equals and "/" in value and Path(value).exists() else word
        words.append(Path(word).name if "/" in word and Path(word).exists() else shown)
    return shlex.join(["moduformer", *words])
