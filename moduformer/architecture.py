"""Architecture as data: a frozen `Spec` composed of small specs.

Every part that changes the numbers a Transformer computes is a field of one of these dataclasses, named in the
standard terms of the field. No field names a model family: BERT, GPT-2 and T5 are values, not types. `blocks` builds
modules from them, `families` relates them to checkpoints.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from moduformer.errors import SpecError

Activation = Literal["gelu", "gelu_tanh", "gelu_sigmoid", "relu", "silu", "tanh"]
HeadKind = Literal["pool", "masked-lm", "language-model", "replaced-token", "next-sentence", "classify", "tag", "span"]


@dataclass(frozen=True)
class Norm:
    """Layer normalisation (Ba et al. 2016) or root-mean-square normalisation (Zhang & Sennrich 2019)."""

    kind: Literal["layer", "rms"] = "layer"
    eps: float = 1e-12
    bias: bool = True


@dataclass(frozen=True)
class LinearScaling:
    """Rotary positions divided by `factor` (Chen et al. 2023, position interpolation)."""

    factor: float


@dataclass(frozen=True)
class Llama3Scaling:
    """LLaMA 3.1: low rotary frequencies divided by `factor`, high ones kept, smooth in between."""

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_context: int


@dataclass(frozen=True)
class YarnScaling:
    """YaRN (Peng et al. 2023): interpolation by wavelength, and a temperature on the attention scores."""

    factor: float
    original_context: int
    beta_fast: float = 32.0
    beta_slow: float = 1.0


@dataclass(frozen=True)
class Rotary:
    """Rotary positions (Su et al. 2021) on the first `dim` dimensions of every head.

    `pairing` says which dimensions turn together: "halves" (i, i + dim/2) or "pairs" (2i, 2i + 1).
    """

    dim: int
    base: float = 10000.0
    pairing: Literal["halves", "pairs"] = "halves"
    scaling: LinearScaling | Llama3Scaling | YarnScaling | None = None


@dataclass(frozen=True)
class RelativeBuckets:
    """Learned score biases by bucketed distance (Raffel et al. 2020, T5), one table for all layers of a stack."""

    buckets: int = 32
    max_distance: int = 128


@dataclass(frozen=True)
class LearnedPositions:
    """One learned vector a position. `offset` rows lie before position 0; tokens equal to `uncounted` take the row
    `uncounted` and no position (RoBERTa counts tokens, not places)."""

    max: int
    offset: int = 0
    uncounted: int | None = None


@dataclass(frozen=True)
class Sinusoids:
    """Fixed sine and cosine positions (Vaswani et al. 2017, section 3.5), "interleaved" as in the paper or "halves"."""

    layout: Literal["interleaved", "halves"] = "interleaved"
    base: float = 10000.0


@dataclass(frozen=True)
class Attention:
    """Multi-head attention; fewer `kv_heads` than `heads` is grouped-query attention (Ainslie et al. 2023).

    `scale` multiplies the scores (None: head_dim ** -0.5); `scale_by_depth` divides them by the layer's number;
    `window` is the number of visible keys including the query's own place (None: all).
    """

    heads: int
    head_dim: int
    kv_heads: int
    bias: bool = True
    out_bias: bool = True
    scale: float | None = None
    scale_by_depth: bool = False
    position: Rotary | None = None
    window: int | None = None
    dropout: float = 0.0


@dataclass(frozen=True)
class FeedForward:
    """Position-wise feed-forward layer; `gated` multiplies two projections (Shazeer 2020, GLU variants)."""

    width: int
    activation: Activation = "gelu"
    gated: bool = False
    bias: bool = True
    dropout: float = 0.0


@dataclass(frozen=True)
class Block:
    """One layer. `norm_at` names the slots that hold a norm around each sub-layer: "in" (before it: pre-norm), "out"
    (on its result, before the residual add), "res" (after the add: post-norm). `flow` runs attention and
    feed-forward one after the other, or side by side on the same input with two norms ("parallel") or one
    ("parallel-shared")."""

    attention: Attention
    feed_forward: FeedForward
    norm: Norm = field(default_factory=Norm)
    norm_at: tuple[Literal["in", "out", "res"], ...] = ("res",)
    flow: Literal["sequential", "parallel", "parallel-shared"] = "sequential"
    cross_attention: Attention | None = None
    dropout: float = 0.0


@dataclass(frozen=True)
class Stack:
    """`layers` blocks, repeating `pattern`; `groups` sets of weights are shared by runs of layers (ALBERT)."""

    layers: int
    pattern: tuple[Block, ...]
    causal: bool = False
    groups: int | None = None
    position_bias: RelativeBuckets | None = None
    final_norm: Norm | None = None
    final_dropout: float = 0.0

    def block(self, layer: int) -> Block:
        """The spec of layer number `layer`, counted from 0."""
        return self.pattern[layer % len(self.pattern)]

    def weights_of(self, layer: int) -> int:
        """The number of the weight set that layer number `layer` uses."""
        if self.groups is None:
            return layer
        period = len(self.pattern)
        repeats = self.layers // period
        return (layer // period) * self.groups // repeats * period + layer % period

    @property
    def weight_sets(self) -> int:
        """How many blocks have weights of their own."""
        return self.layers if self.groups is None else self.groups * len(self.pattern)


@dataclass(frozen=True)
class Embedding:
    """Token vectors plus positions, segments and task types; `width` below the model's dim is projected up to it.

    `scale` multiplies the token vectors (Vaswani et al. 2017 use sqrt(dim))."""

    width: int
    positions: LearnedPositions | Sinusoids | None = None
    segments: int = 0
    task_types: int = 0
    scale: float = 1.0
    norm: Norm | None = None
    dropout: float = 0.0


@dataclass(frozen=True)
class Transform:
    """A dense layer, an activation and perhaps a norm before a head's last projection."""

    width: int
    activation: Activation
    norm: Norm | None = None


@dataclass(frozen=True)
class Head:
    """What is computed from the last hidden states.

    `reads` says from where: every token, the first, the last, the last end-of-sequence token, the mean of all, or the
    pooled vector of a "pool" head. `outputs` None means the vocabulary; `tied` takes the token embedding as the last
    projection."""

    kind: HeadKind
    reads: Literal["tokens", "first", "last", "eos", "mean", "pool"] = "tokens"
    transform: Transform | None = None
    outputs: int | None = None
    tied: bool = False
    bias: bool = True
    scale: float = 1.0
    dropout: float = 0.0


@dataclass(frozen=True)
class Spec:
    """A whole Transformer: `encoder` only, `decoder` only, or both."""

    vocab: int
    dim: int
    embedding: Embedding
    encoder: Stack | None = None
    decoder: Stack | None = None
    heads: tuple[Head, ...] = ()
    pad_id: int | None = None
    bos_id: int | None = None
    eos_id: int | tuple[int, ...] | None = None
    decoder_start_id: int | None = None

    def __post_init__(self) -> None:
        validate(self)

    def head(self, kind: HeadKind) -> Head | None:
        """The head of that kind, or None."""
        return next((head for head in self.heads if head.kind == kind), None)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON; `Spec.from_dict` reads it back."""
        return _plain(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Spec:
        """A spec from `to_dict`'s data. Raises `SpecError` on an unknown or missing field."""
        return _construct(cls, data, "spec")

    def num_parameters(self) -> int:
        """How many numbers training would change, ties counted once (built without memory)."""
        from moduformer.model import build

        return build(self, device="meta").num_parameters()

    def diff(self, other: Spec) -> Difference:
        """Field by field, how `other` differs from this one."""
        return Difference(tuple(_differences(self, other, "")))


@dataclass(frozen=True)
class Change:
    """One field that two specs do not share; `MISSING` stands for a part that one of them does not have."""

    path: str
    left: Any
    right: Any


MISSING = "(none)"


@dataclass(frozen=True)
class Difference:
    """What `Spec.diff` finds; prints as one line a field and is empty (false) when the specs are equal."""

    changes: tuple[Change, ...]

    def __bool__(self) -> bool:
        return bool(self.changes)

    def __iter__(self) -> Iterator[Change]:
        return iter(self.changes)

    def __len__(self) -> int:
        return len(self.changes)

    def __str__(self) -> str:
        if not self.changes:
            return "no difference"
        width = max(len(change.path) for change in self.changes)
        return "\n".join(f"{c.path:<{width}}  {_short(c.left)} -> {_short(c.right)}" for c in self.changes)


def _short(value: Any) -> str:
    if dataclasses.is_dataclass(value):
        inner = ", ".join(f"{f.name}={_short(getattr(value, f.name))}" for f in dataclasses.fields(value))
        return f"{type(value).__name__}({inner})"
    return str(value)


def _differences(left: Any, right: Any, path: str) -> Iterator[Change]:
    if left == right:
        return
    if dataclasses.is_dataclass(left) and type(left) is type(right):
        for f in dataclasses.fields(left):
            yield from _differences(getattr(left, f.name), getattr(right, f.name), f"{path}.{f.name}".lstrip("."))
    elif path.endswith("pattern"):
        if len(left) != len(right):
            yield Change(path, f"{len(left)} blocks", f"{len(right)} blocks")
        period = math.lcm(len(left), len(right))
        for i in range(period):
            block = path.removesuffix("pattern") + ("block" if period == 1 else f"block.{i}")
            yield from _differences(left[i % len(left)], right[i % len(right)], block)
    elif path == "heads":
        heads = [{head.kind: head for head in side} for side in (left, right)]
        for kind in dict.fromkeys((*heads[0], *heads[1])):
            yield from _differences(heads[0].get(kind, MISSING), heads[1].get(kind, MISSING), f"heads.{kind}")
    else:
        yield Change(path, MISSING if left is None else left, MISSING if right is None else right)


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        data = {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {"type": type(value).__name__, **data} if type(value) in _TAGGED else data
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value


_TAGGED = (LinearScaling, Llama3Scaling, YarnScaling, LearnedPositions, Sinusoids)


def _construct(kind: Any, data: Any, where: str) -> Any:
    options = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    if data is None and types.NoneType in options:
        return None
    if isinstance(data, dict):
        classes: dict[str, Any] = {option.__name__: option for option in options if isinstance(option, type)}
        classes = {name: cls for name, cls in classes.items() if dataclasses.is_dataclass(cls)}
        name = data.get("type", next(iter(classes), None))
        if not isinstance(name, str) or name not in classes:
            raise SpecError(f"{where}: no part is called {name!r}; known here: {', '.join(classes) or 'none'}")
        cls = classes[name]
        hints = _hints(cls)
        known = {f.name for f in dataclasses.fields(cls)}
        given = {key: value for key, value in data.items() if key != "type"}
        if unknown := sorted(set(given) - known):
            raise SpecError(f"{where}: unknown field {unknown[0]!r}; {name} has {', '.join(sorted(known))}")
        parts = {key: _construct(hints[key], value, f"{where}.{key}") for key, value in given.items()}
        try:
            return cls(**parts)
        except TypeError as error:
            raise SpecError(f"{where}: {error}") from None
    for option in options:
        if typing.get_origin(option) is tuple and isinstance(data, list):
            return tuple(_construct(typing.get_args(option)[0], item, where) for item in data)
    return data


def validate(spec: Spec) -> None:
    """Refuses a spec that no model can be built from, or one with a field that would have no effect.

    Raises `SpecError` naming the field and its value.
    """
    _check_fields(spec, "")
    if spec.encoder is None and spec.decoder is None:
        raise SpecError("a Spec needs an encoder, a decoder or both")
    both = spec.encoder is not None and spec.decoder is not None
    if spec.encoder is not None:
        _check_stack(spec.encoder, "encoder", crossing=False)
    if spec.decoder is not None:
        _check_stack(spec.decoder, "decoder", crossing=both)
    _check_heads(spec)


MAX_SIZE = 2**24
"""No published Transformer has a dimension near this; larger numbers in a config are damage or an attack."""

MAX_LAYERS = 10_000

_RANGES: dict[str, tuple[float, float]] = {
    **dict.fromkeys(("segments", "task_types", "offset", "uncounted"), (0, MAX_SIZE)),
    **dict.fromkeys(("dropout", "final_dropout"), (0.0, 1.0)),
    **dict.fromkeys(("pad_id", "bos_id", "eos_id", "decoder_start_id"), (-MAX_SIZE, MAX_SIZE)),
}
"""What the numbers of a field may be; other whole numbers are sizes, from 1 on, and other floats are above 0."""


def _check_fields(part: Any, path: str) -> None:
    """Every value has the type its field is declared with, and lies in its range."""
    cls: Any = type(part)
    for name, kind in _hints(cls).items():
        _check_value(getattr(part, name), kind, name, f"{path}.{name}".lstrip("."))


@functools.cache
def _hints(cls: Any) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def _check_value(value: Any, kind: Any, name: str, path: str) -> None:
    options = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    if value is None and types.NoneType in options:
        return
    for option in options:
        origin = typing.get_origin(option)
        if origin is tuple and isinstance(value, tuple):
            for i, item in enumerate(value):
                _check_value(item, typing.get_args(option)[0], name, f"{path}.{i}")
            return
        if origin is Literal and isinstance(value, str):
            if value not in typing.get_args(option):
                raise SpecError(f"{path} must be one of {', '.join(typing.get_args(option))}, but is {value!r}")
            return
        if dataclasses.is_dataclass(option) and type(value) is option:
            _check_fields(value, path)
            return
        if option is bool and isinstance(value, bool):
            return
        if option in (int, float) and isinstance(value, int | float) and not isinstance(value, bool):
            _check_number(value, option, name, path)
            return
    wanted = " or ".join(getattr(option, "__name__", str(option)) for option in options)
    raise SpecError(f"{path} must be {wanted}, but is {value!r}")


def _check_number(value: float, kind: type, name: str, path: str) -> None:
    if kind is int:
        low, high = _RANGES.get(name, (1, MAX_SIZE))
        if not isinstance(value, int) or not low <= value <= high:
            raise SpecError(f"{path} must be a whole number between {low:,} and {high:,}, but is {value!r}")
    elif name in _RANGES:
        low, high = _RANGES[name]
        if not low <= value < high:
            raise SpecError(f"{path} must be at least {low} and below {high}, but is {value!r}")
    elif not (value > 0 and math.isfinite(value)):
        raise SpecError(f"{path} must be a number above 0, but is {value!r}")


def _check_stack(stack: Stack, name: str, crossing: bool) -> None:
    if stack.layers > MAX_LAYERS or len(stack.pattern) > MAX_LAYERS:
        raise SpecError(
            f"{name}.layers is {stack.layers:,}; more than {MAX_LAYERS:,} layers is not a model anyone published"
        )
    if not stack.pattern:
        raise SpecError(f"{name}.pattern is empty; it needs at least one Block")
    period = len(stack.pattern)
    if stack.groups is not None and (stack.layers % period or stack.groups * period > stack.layers):
        raise SpecError(f"{name}.groups={stack.groups} does not divide {stack.layers} layers of {period} blocks")
    if stack.position_bias is not None:
        _check_buckets(stack, stack.position_bias, f"{name}.position_bias")
    for block in stack.pattern:
        if (block.cross_attention is not None) is not crossing:
            needs = "beside an encoder needs" if crossing else "without an encoder before it cannot have"
            raise SpecError(f"{name}.pattern: a {name} {needs} cross_attention in every block")
        if block.flow != "sequential" and ("res" in block.norm_at or crossing):
            raise SpecError(f"{name}: the flow {block.flow!r} has no place for a norm at 'res' or for cross_attention")
        if crossing and block.cross_attention and (block.cross_attention.position or block.cross_attention.window):
            raise SpecError(f"{name}: cross_attention has no positions, so it takes no rotary positions and no window")
        for part in filter(None, (block.attention, block.cross_attention)):
            _check_attention(part, name)


def _check_attention(part: Attention, name: str) -> None:
    if part.heads % part.kv_heads:
        raise SpecError(f"{name}: {part.heads} heads cannot share {part.kv_heads} key-value heads evenly")
    if part.heads * part.head_dim > MAX_SIZE:
        raise SpecError(f"{name}: {part.heads:,} heads of {part.head_dim:,} are more than any published model has")
    if part.position is None:
        return
    if part.position.dim % 2 or part.position.dim > part.head_dim:
        raise SpecError(f"{name}: rotary dim {part.position.dim} must be even and at most head_dim {part.head_dim}")
    if part.position.base <= 1:
        raise SpecError(f"{name}: rotary base {part.position.base} must be above 1")
    scaling = part.position.scaling
    if isinstance(scaling, Llama3Scaling) and scaling.high_freq_factor <= scaling.low_freq_factor:
        raise SpecError(f"{name}: rotary high_freq_factor must be above low_freq_factor")


def _check_buckets(stack: Stack, bias: RelativeBuckets, path: str) -> None:
    exact = bias.buckets // (2 if stack.causal else 4)
    # Distances beyond the exact ones are counted by log(distance / exact) / log(max_distance / exact).
    if not exact or bias.max_distance == exact:
        raise SpecError(f"{path}: {bias.buckets} buckets cannot be spread up to a max_distance of {bias.max_distance}")
    if len({block.attention.heads for block in stack.pattern}) > 1:
        raise SpecError(f"{path}: blocks that share a table of biases need the same number of heads")


def _check_heads(spec: Spec) -> None:
    kinds: list[str] = []
    for head in spec.heads:
        where = f"heads.{head.kind}"
        if head.kind in kinds:
            raise SpecError(f"{where} is there twice")
        if head.reads == "pool" and "pool" not in kinds:
            raise SpecError(f"{where} reads the pooled vector, but there is no head of kind 'pool' before it")
        if (head.kind in _ONE_A_ROW) is (head.reads == "tokens"):
            raise SpecError(f"{where} cannot read {head.reads!r}")
        if head.kind in _OUTPUTS and head.outputs != _OUTPUTS[head.kind]:
            raise SpecError(f"{where} has {_OUTPUTS[head.kind]} outputs, but {head.outputs!r} are asked for")
        pool = spec.head("pool") if head.reads == "pool" else None
        width = pool.transform.width if pool and pool.transform else spec.dim
        if width != spec.dim:
            raise SpecError(f"{where} reads a pooled vector of width {width}, but heads read {spec.dim}")
        if head.tied and (head.transform.width if head.transform else spec.dim) != spec.embedding.width:
            raise SpecError(
                f"{where} is tied to an embedding of width {spec.embedding.width}, but projects another width"
            )
        if head.tied and head.outputs is not None:
            raise SpecError(f"{where} is tied to the embedding, so its outputs are the vocabulary")
        kinds.append(head.kind)


_ONE_A_ROW = ("pool", "next-sentence", "classify")
_OUTPUTS = {"span": 2, "replaced-token": 1}
