"""`moduformer train`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from moduformer.cli.output import cost_rows, duration, grid, percent, result, say
from moduformer.cli.tasks import CLASSIFY, TaskCommands, carry_out, command_line, commands_of, settings_from

if TYPE_CHECKING:
    from moduformer.tasks.classification_run import Outcome, RunSettings


def train(
    data: Annotated[
        str, typer.Argument(help="CSV, TSV, JSON Lines or Parquet file, or a folder with train and test files.")
    ],
    text: Annotated[str | None, typer.Option(help="Column of texts; guessed if not given.")] = None,
    label: Annotated[
        list[str] | None, typer.Option(help="Column of labels; repeat it for several columns of 0 and 1.")
    ] = None,
    pair: Annotated[str | None, typer.Option(help="Column of second texts, for pairs.")] = None,
    separator: Annotated[str | None, typer.Option(help="What separates several labels in a cell.")] = None,
    task: Annotated[
        str,
        typer.Option(
            help="What to learn: classify, tag (entities, parts of speech), answer (questions), seq2seq (translations, "
            "summaries) or lm (texts alone)."
        ),
    ] = "classify",
    model: Annotated[
        str | None,
        typer.Option(
            help="minilm (the default), e5-small, a hub id or a folder; from scratch for seq2seq: transformer (its "
            "default) or seq2seq-gru-bahdanau, for lm: gpt (its default), llama or bert."
        ),
    ] = None,
    recipe: Annotated[str, typer.Option(help="plain, ulmfit, lora, features or contrast.")] = "plain",
    out: Annotated[
        Path | None, typer.Option(help="Folder for the result; default: named after data and model.")
    ] = None,
    evaluation: Annotated[
        str | None, typer.Option(help="File to evaluate on; without one, a tenth of the rows is held out.")
    ] = None,
    few_shot: Annotated[int | None, typer.Option(min=1, help="Train on so many rows of each class only.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the data.")] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="Peak rate of the top layer; by default lower for larger models.")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Rows a step.")] = None,
    class_weight: Annotated[str | None, typer.Option(help="'balanced' lets rare classes count more.")] = None,
    max_length: Annotated[int | None, typer.Option(min=4, help="Tokens of a window over a long text.")] = None,
    stride: Annotated[int | None, typer.Option(min=0, help="Tokens that neighbouring windows share.")] = None,
    merge: Annotated[str, typer.Option(help="How windows become one answer: mean or max.")] = "mean",
    adapt: Annotated[bool, typer.Option("--adapt", help="Learn to guess masked words of the texts first.")] = False,
    unlabelled: Annotated[
        str | None, typer.Option(help="File of texts without labels to learn masked words of first, as --adapt does.")
    ] = None,
    patience: Annotated[
        int | None, typer.Option(min=1, help="Stop after so many epochs without a better score; keep the best.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Of everything random.")] = 0,
    device: Annotated[str | None, typer.Option(help="cpu or cuda.")] = None,
    sizes: Annotated[
        list[str] | None,
        typer.Option(
            "--size",
            help="Of a model from scratch, such as d_model=128; repeat it for layers, d_model, d_ff, heads, dropout, "
            "vocab.",
        ),
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="float32, or bfloat16: faster where the processor has it, a little coarser.")
    ] = None,
    dropout: Annotated[
        float | None, typer.Option(min=0, help="Of hidden states while training; by default the model's own.")
    ] = None,
    recompute: Annotated[
        bool, typer.Option("--recompute", help="Compute layers again for their gradients: less memory, more time.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would happen and cost; write nothing.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint in the folder.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Fine-tune a model on your own file and write a folder with the model, its metrics, its card and a report."""
    if task != CLASSIFY:
        said = {
            "data": data, "text": text, "label": label, "pair": pair, "separator": separator, "evaluation": evaluation,
            "few_shot": few_shot, "model": model, "recipe": recipe, "epochs": epochs, "learning_rate": learning_rate,
            "batch_size": batch_size, "class_weight": class_weight, "max_length": max_length, "stride": stride,
            "merge": None if merge == "mean" else merge, "adapt": adapt or None, "patience": patience, "seed": seed,
            "unlabelled": unlabelled, "device": device, "precision": precision, "dropout": dropout,
            "recompute": recompute, "size": sizes_from(sizes or ()),
        }  # fmt: skip
        commands = commands_of(task)
        _train_other(commands, settings_from(commands, task, said), out, dry_run, resume, as_json)
        return
    if sizes:
        raise typer.BadParameter("is for models from scratch: --task seq2seq or lm", param_hint="--size")
    from moduformer.tasks.classification_run import RunSettings
    from moduformer.tasks.classification_run import dry_run as look

    settings = RunSettings(
        data=data,
        text=text,
        labels=tuple(label or ()),
        pair=pair,
        separator=separator,
        evaluation=evaluation,
        few_shot=few_shot,
        unlabelled=unlabelled,
        model=model or "minilm",
        recipe=recipe,
        epochs=epochs,
        learning_rate=learning_rate,
        batch_size=batch_size,
        class_weight=class_weight,
        max_length=max_length,
        stride=stride,
        merge=merge,
        adapt=adapt,
        patience=patience,
        seed=seed,
        device=device,
        precision=precision,
        dropout=dropout,
        recompute=recompute,
    )
    if dry_run:
        facts = look(settings)
        if as_json:
            result(facts)
        else:
            _show_plan(facts)
        return
    _train(settings, out or _folder_for(settings), resume, as_json)


def sizes_from(said: Sequence[str]) -> dict[str, int | float] | None:
    """Sizes such as "layers=2" as numbers by name. Raises `BadParameter` for what says no number."""
    found: dict[str, int | float] = {}
    for word in said:
        name, _, value = word.partition("=")
        try:
            found[name] = float(value) if "." in value else int(value)
        except ValueError:
            raise typer.BadParameter(f"{word!r} is not like d_model=128", param_hint="--size") from None
    return found or None


def _train_other(
    commands: TaskCommands, settings: Any, out: Path | None, dry_run: bool, resume: bool, as_json: bool
) -> None:
    if dry_run:
        facts = commands.look(settings)
        if as_json:
            result(facts)
        else:
            commands.show_plan(facts)
        return
    finished = carry_out(commands, settings, out or _folder_for(settings), resume)
    if as_json:
        metrics = finished.scores.to_dict()
        result({"folder": str(finished.folder), "seconds": finished.seconds, "metrics": metrics})
    else:
        commands.show(finished)


def _train(settings: RunSettings, folder: Path, resume: bool, as_json: bool) -> None:
    from moduformer.cli.progress import Progress
    from moduformer.tasks.classification_run import train_run

    progress = Progress()
    try:
        outcome = train_run(settings, folder, command=command_line(), callbacks=[progress], resume=resume, say=say)
    except KeyboardInterrupt:
        progress.close()
        if (folder / "checkpoints" / "latest.json").is_file():
            say(f"stopped; what the last epoch reached is in {folder}, go on with --resume")
        else:
            say("stopped before the end of an epoch; nothing is kept")
        raise
    finally:
        progress.close()
    if outcome is None:
        raise typer.Exit(3)
    if as_json:
        metrics = outcome.metrics.to_dict()
        result({"folder": str(outcome.folder), "seconds": outcome.seconds, "metrics": metrics})
    else:
        _show(outcome)


def _show(outcome: Outcome) -> None:
    metrics = outcome.metrics.to_dict()
    shown = ("accuracy", "subset_accuracy", "micro_f1", "macro_f1", "weighted_f1", "matthews", "calibration_error")
    rows = [[name, f"{metrics[name]:.4f}"] for name in shown if metrics.get(name) is not None]
    if metrics.get("majority_accuracy") is not None:
        rows.append(["accuracy of always saying the most frequent class", f"{metrics['majority_accuracy']:.4f}"])
    grid(f"on {metrics['rows']:,} held-out rows", ["metric", "value"], rows)
    print(f"{outcome.folder}: model, metrics.json, README.md, report.html ({duration(outcome.seconds)})")


def _show_plan(facts: dict[str, Any]) -> None:
    data, tokens, estimate = facts["data"], facts["tokens"], facts["estimate"]
    rows = [
        ["rows to train on", f"{data['rows_used']:,}"],
        ["rows to evaluate on", f"{data['rows_evaluation']:,} ({data['evaluation_from']})"],
        ["rows refused", f"{data['rows_refused']:,}"],
        ["text column", data["text_column"] + (f" and {data['pair_column']}" if data["pair_column"] else "")],
        ["label column", ", ".join(data["label_columns"])],
        ["duplicate rows", f"{data['duplicates']:,} ({data['conflicting_duplicates']:,} with differing labels)"],
        ["texts in both parts", f"{data['duplicates_across']:,}"],
        ["tokens", f"{tokens['total']:,}, median {tokens['median']:.0f}, longest {tokens['longest']:,}"],
        [f"texts over {tokens['max_length']} tokens", f"{tokens['long_texts']:,}, read as windows, nothing cut off"],
        ["windows", f"{tokens['windows']:,}"],
        ["model", f"{facts['model']['name']}, {facts['model']['parameters']:,} parameters"],
        ["recipe", facts["recipe"]["name"]],
        *cost_rows(estimate),
    ]
    grid("what training would do", ["", ""], rows)
    total = sum(c["train"] for c in data["classes"].values()) or 1
    counts = [
        [name, f"{c['train']:,}", percent(c["train"] / total), f"{c['evaluation']:,}"]
        for name, c in data["classes"].items()
    ]
    grid("classes", ["class", "train", "share", "evaluation"], counts)
    for line in data["refused"]:
        say(f"refused: {line}")
    for line in data["notes"]:
        say(line)


def _folder_for(settings: Any) -> Path:
    data = Path(settings.data)
    stem = data.parent.name if data.stem.lower() == "train" and data.parent.name else data.stem
    return Path("runs") / f"{stem}-{Path(settings.model).name}-{settings.recipe}"
