"""The finite plan that relates a checkpoint's tensors to a model's parameters, checked before a tensor is read.

A family writes rows as templates; the spec says how often each one repeats. Every parameter is covered exactly once,
by itself or through its parts, or the plan is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

from moduformer.architecture import Block, MixtureOfExperts, Recurrent, RecurrentDecoder, Resampler, Spec, Stack
from moduformer.errors import CheckpointError
from moduformer.model import Model
from moduformer.weights.views import Axes, parse


@dataclass(frozen=True)
class Row:
    """One line of a family's table: a file's tensor (or its ".weight" and ".bias") and the model's part.

    `{i}` in both counts the sets of weights of the stack that `name` leads to; `{group}` and `{inner}` split that
    count by the stack's pattern; `{expert}` counts the experts of a layer that has them, and `{layers}` in a file's
    name is their number in the stack. "sources." and "targets." are the embeddings of what encoder and decoder read. A
    row marked `head` never carries the family's prefix. `also` are other names, without prefix, under which files hold
    the same numbers because they are tied. Several rows may read one tensor, a slice each (see `views.Slice`). A row
    with a `where` is only for specs of which that is true. Where an `optional` tensor is absent, the part is zero.
    Files hold the part's numbers with `plus` added.
    """

    file: str
    name: str
    axes: Axes | None = None
    also: tuple[str, ...] = ()
    head: bool = False
    where: Callable[[Spec], bool] | None = None
    optional: bool = False
    plus: float = 0.0


NATIVE_ROWS = (Row("", ""),)
"""The table of files that hold tensors under the model's own names."""


@dataclass(frozen=True)
class Entry:
    """One tensor of a file and the view of the model it fills."""

    file: str
    name: str
    shape: tuple[int, ...]
    axes: Axes | None = None
    known: Mapping[str, int] = field(default_factory=dict)
    also: tuple[str, ...] = ()
    optional: bool = False
    plus: float = 0.0

    def pair(self, file: Tensor, model: Tensor) -> tuple[Tensor, Tensor]:
        """Both sides as views of equal shape."""
        return (file, model) if self.axes is None else self.axes.align(file, model, self.known)


def expand(rows: Iterable[Row], model: Model, prefix: str) -> list[Entry]:
    """All rows of a model, in the family's order. Raises `CheckpointError` if a parameter is not covered once."""
    views = model.views()
    rows = tuple(rows)
    if rows == NATIVE_ROWS:
        return [Entry(name, name, tuple(tensor.shape)) for name, tensor in model.named_parameters()]
    entries: list[Entry] = []
    for row in rows:
        lead = "" if row.head else prefix
        template = _embedding_of(row.name, model.spec)
        for numbers in [] if template is None else _repeats(replace(row, name=template), model.spec):
            assert template is not None
            name = template.format(**numbers)
            for suffix in ("", ".weight", ".bias"):
                if name + suffix in views:
                    shape = tuple(views[name + suffix].shape)
                    axes, known = row.axes, _known(model.spec, name)
                    if axes is not None and len(shape) < len(parse(axes.model)):
                        axes = axes.of_bias()
                    entries.append(
                        Entry(
                            file=lead + row.file.format(**numbers) + suffix,
                            name=name + suffix,
                            shape=shape if axes is None else axes.file_shape(shape, known),
                            axes=axes,
                            known=known,
                            also=tuple(other.format(**numbers) + suffix for other in row.also),
                            optional=row.optional,
                            plus=row.plus,
                        )
                    )
    _check_cover(entries, model, views)
    named = {entry.file for entry in entries}
    return [replace(entry, also=tuple(other for other in entry.also if other not in named)) for entry in entries]


def _check_cover(entries: list[Entry], model: Model, views: Mapping[str, Tensor]) -> None:
    covered: dict[str, int] = {}
    for entry in entries:
        covered[entry.name] = covered.get(entry.name, 0) + 1
    owner = _owners(model)
    filled = {name: 0 for name, _ in model.named_parameters()}
    for name, times in covered.items():
        if times > 1:
            raise CheckpointError(
                f"the family's table fills {name!r} {times} times; please report this fault of the table"
            )
        filled[owner.get(name, name)] += views[name].numel()
    for name, parameter in model.named_parameters():
        if filled[name] != parameter.numel():
            raise CheckpointError(
                f"the family's table covers {filled[name]} of {parameter.numel()} numbers of parameter {name!r}; "
                "this is a fault of the table, please report it"
            )


def _owners(model: Model) -> dict[str, str]:
    """The fused parameter that each named part belongs to."""
    from moduformer.blocks.linear import FusedLinear

    owners = {}
    for path, module in model.named_modules():
        if isinstance(module, FusedLinear):
            for name, _ in module.named_parameters():
                for part in module.parts:
                    owners[f"{path.rpartition('.')[0]}.{part}.{name}"] = f"{path}.{name}"
    return owners


def _embedding_of(name: str, spec: Spec) -> str | None:
    """A row's name with "sources." and "targets." resolved; None for a stack that the spec does not have."""
    first, _, rest = name.partition(".")
    if first == "sources":
        return None if spec.encoder is None else f"embedding.{rest}"
    if first == "targets":
        own = "embedding" if spec.target_embedding is None else "target_embedding"
        return None if spec.decoder is None else f"{own}.{rest}"
    return name


def stack_of(spec: Spec, name: str) -> Stack | Recurrent | RecurrentDecoder | Resampler | None:
    """The stack that a parameter's name leads to, such as "encoder.0" or "vision.bridge.stack.{i}"; None if none."""
    part: Any = spec
    for step in name.split("."):
        if isinstance(part, Stack | Recurrent | RecurrentDecoder | Resampler):
            return part
        part = getattr(part, step, None)
    return None


def _repeats(row: Row, spec: Spec) -> list[dict[str, int]]:
    if row.where is not None and not row.where(spec):
        return []
    stack = stack_of(spec, row.name)
    if "{" not in row.name:
        return [{"layers": stack.layers} if isinstance(stack, Stack) else {}]
    if stack is None:
        return []
    if not isinstance(stack, Stack):
        return [{"i": i} for i in range(stack.weight_sets)]
    period = len(stack.pattern)
    layers = [{"i": i, "group": i // period, "inner": i % period} for i in range(stack.weight_sets)]
    if "{expert}" not in row.name:
        return layers
    return [numbers | {"expert": e} for numbers in layers for e in range(_experts(stack.block(numbers["i"])))]


def _experts(block: Block) -> int:
    return block.feed_forward.experts if isinstance(block.feed_forward, MixtureOfExperts) else 0


def _known(spec: Spec, name: str) -> dict[str, int]:
    """Sizes of axes inside a dimension: head_dim `d`, key-value heads `g` and the queries `r` that share one,
    projections `n` of a fused q, k, v, and halves `half`."""
    stack = stack_of(spec, name)
    number = next((part for part in name.split(".") if part.isdigit()), None)
    if not isinstance(stack, Stack) or number is None:
        return {}
    attention = stack.block(int(number)).attention
    shared = attention.heads // attention.kv_heads
    sizes = {"d": attention.head_dim, "n": 3, "half": 2, "pair": attention.head_dim // 2}
    return sizes | {"g": attention.kv_heads, "r": shared}
