"""`moduformer show`, `diff` and `convert`: models as architectures and as files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from moduformer.catalog.row import BITS
from moduformer.cli.output import facts, grid, result, say, size

if TYPE_CHECKING:
    from moduformer.architecture import Spec


def show(
    model: Annotated[
        str,
        typer.Argument(
            help="A published name, a model of the table (bert, gpt-3:175b), an alias, a hub id, a folder or a file."
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print everything, the whole spec too, as JSON.")] = False,
) -> None:
    """A model's architecture, its size and the memory its weights take."""
    from moduformer.architecture.words import describe

    spec, note = _spec(model)
    parameters = spec.num_parameters()
    memory = {name: parameters * bits // 8 for name, bits in BITS.items()}
    if as_json:
        result({"model": model, "parameters": parameters, "weight_bytes": memory, "spec": spec.to_dict()})
        return
    if note:
        say(note)
    facts(model, [], [*describe(spec), *_sizes(spec)])


def diff(
    left: Annotated[str, typer.Argument(help="A model.", metavar="A")],
    right: Annotated[str, typer.Argument(help="Another model.", metavar="B")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the differences as JSON.")] = False,
) -> None:
    """How one architecture differs from another, line by line as `show` has them; --json field by field."""
    from moduformer.architecture.words import compare

    (a, _), (b, _) = _spec(left), _spec(right)
    found = a.diff(b)
    if as_json:
        result([{"path": change.path, left: str(change.left), right: str(change.right)} for change in found])
    elif not found:
        print("no difference")
    else:
        sizes = [(label, x, y) for (label, x), (_, y) in zip(_sizes(a), _sizes(b)) if x != y]
        facts("", ["", left, right], [*compare(a, b), *sizes])


def convert(
    source: Annotated[str, typer.Argument(help="A folder, a file, a hub id or an alias.", metavar="SRC")],
    target: Annotated[Path, typer.Argument(help="Folder to write, in Hugging Face layout.", metavar="DST")],
    dtype: Annotated[
        str | None, typer.Option(help="float32, bfloat16, float16, int8 or int4; default: as stored.")
    ] = None,
    data: Annotated[str | None, typer.Option(help="File to measure on, before and after.")] = None,
    text: Annotated[str | None, typer.Option(help="Column of texts.")] = None,
    label: Annotated[list[str] | None, typer.Option(help="Column of labels, of a classifier.")] = None,
    pair: Annotated[str | None, typer.Option(help="Column of second texts.")] = None,
    max_loss: Annotated[
        float,
        typer.Option(min=0, help="Write nothing if accuracy falls, or perplexity grows, by more than this share."),
    ] = 0.01,
    heads: Annotated[str | None, typer.Option(help="int8 or int4 for the product that makes the logits too.")] = None,
    group: Annotated[int, typer.Option(help="Inputs that share an int4 scale: 32, 64, 128 or 256.")] = 32,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Write a checkpoint of any known format as a folder, perhaps in a smaller type, measured on your data.

    int8 and int4 are written in this program's own layout, which `transformers` does not read; all others in that of
    Hugging Face.
    """
    from moduformer.errors import CheckpointError
    from moduformer.tasks import conversion

    if dtype not in (None, *conversion.DTYPES):
        raise typer.BadParameter(f"{dtype!r} is not offered; use {', '.join(conversion.DTYPES)}", param_hint="--dtype")
    if heads is not None and dtype not in conversion.SCHEMES:
        raise typer.BadParameter("goes with --dtype int8 or int4", param_hint="--heads")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise CheckpointError(f"{target} is not an empty folder; choose another one")
    rows = None if data is None else conversion.Rows(data, text, label or (), pair)
    done = conversion.convert(source, dtype, rows, heads=heads, group=group, say=say)
    for note in done.model.notes:
        say(note)
    found = done.measured
    if rows is None and dtype in conversion.SCHEMES:
        say(f"what {dtype} costs was not measured; give --data to measure it")
    elif found is not None and not as_json:
        shown = [["before", f"{found.before:.4f}"], ["after", f"{found.after:.4f}"], ["loss", f"{found.loss:.4f}"]]
        if found.agreement is not None:
            shown.append(["same answers", f"{found.agreement:.4f}"])
        grid(f"{found.metric} on {found.rows:,} rows", ["", ""], shown)
    try:
        done.check(max_loss)
    except CheckpointError:
        if as_json:
            result(done.to_dict() | {"folder": None})
        raise
    written = done.write(target)
    if as_json:
        result(done.to_dict() | {"folder": str(target), "bytes": written})
        return
    say(f"weights: {size(done.source_bytes)} before, {size(written)} after")
    print(target)


def _spec(name: str) -> tuple[Spec, str]:
    """The spec of a published name, or of files, of which only the config is read where that is enough."""
    from moduformer import catalog
    from moduformer.errors import SourceError, SpecError
    from moduformer.families import family
    from moduformer.families import spec as published
    from moduformer.sources.aliases import MODELS
    from moduformer.sources.resolve import resolve
    from moduformer.weights.checkpoint import load_checkpoint, read_config

    unpublished = None
    if name not in MODELS and not Path(name).exists():
        try:
            return published(name), ""
        except SpecError as error:
            unpublished = error
        if "/" not in name and name.partition(":")[0] in catalog:
            return catalog.architecture(name), ""
    try:
        located = resolve(name)
    except SourceError as error:
        raise SourceError(f"{error}\n{unpublished}" if unpublished else str(error)) from None
    if located.path.is_dir() and (located.path / "config.json").is_file():
        config = read_config(located.path)
        names = config.get("architectures")
        chosen = names[0] if isinstance(names, list) and names and isinstance(names[0], str) else None
        return family(str(config.get("model_type"))).read(config, chosen), located.note
    return load_checkpoint(located.path).spec, located.note


def _sizes(spec: Spec) -> list[tuple[str, str]]:
    """What the weights weigh."""
    from moduformer.architecture.words import idle_parameters

    parameters = spec.num_parameters()
    idle = idle_parameters(spec)
    taken = f", of which a token takes {parameters - idle:,}" if idle else ""
    memory = ", ".join(f"{size(parameters * bits // 8)} in {name}" for name, bits in BITS.items())
    return [("parameters", f"{parameters:,}{taken}"), ("weights", memory)]
