"""`moduformer show`, `diff` and `convert`: models as architectures and as files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from moduformer.cli.output import grid, result, say, size

if TYPE_CHECKING:
    from moduformer.architecture import Spec, Stack

BITS = {"fp32": 32, "bf16": 16, "int8": 8, "int4": 4}


def show(
    model: Annotated[str, typer.Argument(help="A published name, an alias, a hub id, a folder or a file.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print everything, the whole spec too, as JSON.")] = False,
) -> None:
    """A model's architecture, its size and the memory its weights take."""
    spec, note = _spec(model)
    parameters = spec.num_parameters()
    memory = {name: parameters * bits // 8 for name, bits in BITS.items()}
    if as_json:
        result({"model": model, "parameters": parameters, "weight_bytes": memory, "spec": spec.to_dict()})
        return
    if note:
        say(note)
    grid(model, ["", ""], [*_rows(spec), ["parameters", f"{parameters:,}"]])
    grid("memory of the weights", list(memory), [[size(value) for value in memory.values()]])


def diff(
    left: Annotated[str, typer.Argument(help="A model.", metavar="A")],
    right: Annotated[str, typer.Argument(help="Another model.", metavar="B")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the differences as JSON.")] = False,
) -> None:
    """How one architecture differs from another, field by field."""
    (a, _), (b, _) = _spec(left), _spec(right)
    found = a.diff(b)
    if as_json:
        result([{"path": change.path, left: str(change.left), right: str(change.right)} for change in found])
    else:
        print(found)


def convert(
    source: Annotated[str, typer.Argument(help="A folder, a file, a hub id or an alias.", metavar="SRC")],
    target: Annotated[Path, typer.Argument(help="Folder to write, in Hugging Face layout.", metavar="DST")],
    dtype: Annotated[str | None, typer.Option(help="float32, bfloat16 or float16; default: as stored.")] = None,
) -> None:
    """Read a checkpoint of any known format and write it as a folder in Hugging Face layout."""
    from moduformer.errors import CheckpointError
    from moduformer.loading import load

    if dtype not in (None, "float32", "bfloat16", "float16"):
        raise typer.BadParameter(f"{dtype!r} is not offered; use float32, bfloat16 or float16", param_hint="--dtype")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise CheckpointError(f"{target} is not an empty folder; choose another one")
    model = load(source, dtype=dtype)
    if dtype is not None and model.origin is not None:
        # Otherwise every tensor would be stored in the type it came in, which holds the new values just as well.
        model.origin.dtypes.clear()
        model.origin.config.pop("torch_dtype", None)
        model.origin.config["dtype"] = dtype
    for note in model.notes:
        say(note)
    try:
        print(model.save(target))
    except OSError as error:
        raise CheckpointError(f"{target} cannot be written: {error.strerror or error}") from None


def _spec(name: str) -> tuple[Spec, str]:
    """The spec of a published name, or of files, of which only the config is read where that is enough."""
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


def _rows(spec: Spec) -> list[list[str]]:
    rows = [["vocabulary", f"{spec.vocab:,}"], ["width", f"{spec.dim:,}"]]
    if spec.embedding.positions is not None:
        rows.append(["positions", str(spec.embedding.positions)])
    for name in ("encoder", "decoder"):
        stack = getattr(spec, name)
        if stack is not None:
            rows += _stack_rows(name, stack)
    rows.append(["heads on top", ", ".join(head.kind for head in spec.heads) or "none"])
    return rows


def _stack_rows(name: str, stack: Stack) -> list[list[str]]:
    from moduformer.architecture import MixtureOfExperts

    block = stack.block(0)
    attention, feed = block.attention, block.feed_forward
    routed = ""
    if isinstance(feed, MixtureOfExperts):
        routed, feed = f"{feed.active} of {feed.experts} experts, ", feed.expert
    heads: Any = (
        attention.heads if attention.heads == attention.kv_heads else f"{attention.heads} ({attention.kv_heads} kv)"
    )
    gate = ", gated" if feed.gated else ""
    return [
        [name, f"{stack.layers} layers" + (", causal" if stack.causal else "")],
        [f"{name} attention", f"{heads} heads of {attention.head_dim}"],
        [f"{name} feed-forward", f"{routed}{feed.width:,}, {feed.activation}{gate}"],
        [f"{name} norm", f"{block.norm.kind}, at {', '.join(block.norm_at)}"],
    ]
