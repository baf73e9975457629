"""The two-way table between the keys of a config.json and the paths of a spec.

A rule reads keys into spec paths and writes them back. Paths are field names joined by dots; `*` stands for every
block of a pattern, `heads.<kind>` for a head, and `[a b]` for both of two fields (see `alternatives`). A path into a
part that a model does not have is skipped.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from moduformer.architecture import Block, DynamicScaling, LinearScaling, Llama3Scaling, Rotary, Spec, YarnScaling
from moduformer.architecture.validation import MAX_LAYERS
from moduformer.errors import CheckpointError
from moduformer.weights.alternatives import spelled_out

Config = Mapping[str, Any]
Get = Callable[[str], Any]


class Rule(Protocol):
    """Relates some keys of a config to some paths of a spec."""

    def read(self, config: Config) -> dict[str, Any]:
        """Spec paths and their values."""
        ...

    def write(self, get: Get) -> dict[str, Any]:
        """Config keys and their values; `get` looks a path up and raises `KeyError` where a model has no such part."""
        ...


@dataclass(frozen=True)
class Key:
    """One key, one value, any number of paths that hold it. `default` is what the format assumes when it is absent."""

    name: str
    paths: tuple[str, ...]
    default: Any = None
    decode: Callable[[Any], Any] = lambda value: value
    encode: Callable[[Any], Any] = lambda value: value

    def read(self, config: Config) -> dict[str, Any]:
        """Spec paths and their values."""
        value = self.decode(config.get(self.name, self.default))
        return dict.fromkeys(self.paths, value)

    def write(self, get: Get) -> dict[str, Any]:
        """The key's value, from the first path the model has."""
        for path in self.paths:
            try:
                return {self.name: self.encode(get(path))}
            except KeyError:
                continue
        return {}


def key(name: str, *paths: str, default: Any = None, table: Mapping[Any, Any] | None = None) -> Key:
    """A `Key`; `table` translates values of the config into values of the spec."""
    if table is None:
        return Key(name, paths, default)
    back = {value: word for word, value in reversed(list(table.items()))}

    def decode(value: Any) -> Any:
        if not isinstance(value, str | int | bool | None) or value not in table:
            raise CheckpointError(
                f"config.json: {name} is {value!r:.80}; supported: {', '.join(repr(word) for word in table)}"
            )
        return table[value]

    return Key(name, paths, default, decode, lambda value: back[value])


ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_python": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "quick_gelu": "gelu_sigmoid",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
    "tanh": "tanh",
}
"""Hugging Face's names of activation functions."""


@dataclass(frozen=True)
class Otherwise:
    """A key that takes another key's value where it is null or absent."""

    name: str
    other: str
    paths: tuple[str, ...]
    default: Any = None

    def read(self, config: Config) -> dict[str, Any]:
        """Spec paths and their values."""
        value = config.get(self.name)
        value = config.get(self.other, self.default) if value is None else value
        return dict.fromkeys(self.paths, value)

    def write(self, get: Get) -> dict[str, Any]:
        """The key's own value."""
        return Key(self.name, self.paths).write(get)


@dataclass(frozen=True)
class Nested:
    """Rules for the keys of an object inside the config, such as `vision_config`; all defaults where it is absent."""

    name: str
    rules: tuple[Rule, ...]

    def read(self, config: Config) -> dict[str, Any]:
        """What the rules read of the object."""
        inner = config.get(self.name)
        inner = {} if inner is None else inner
        if not isinstance(inner, Mapping):
            raise CheckpointError(f"config.json: {self.name} must be an object, but is {inner!r:.80}")
        found: dict[str, Any] = {}
        for rule in self.rules:
            found.update(rule.read(inner))
        return found

    def write(self, get: Get) -> dict[str, Any]:
        """The object, with the keys that the spec has."""
        found: dict[str, Any] = {}
        for rule in self.rules:
            try:
                found.update(rule.write(get))
            except KeyError:
                continue
        return {self.name: found}


@dataclass(frozen=True)
class Multiple:
    """A width that is `factor` times another key's where it is null or absent, or always where it has no key."""

    name: str | None
    other: str
    paths: tuple[str, ...]
    default: int
    factor: int = 4

    def read(self, config: Config) -> dict[str, Any]:
        """Spec paths and the width."""
        value = config.get(self.name) if self.name else None
        value = self.factor * _whole(config, self.other, self.default) if value is None else value
        return dict.fromkeys(self.paths, value)

    def write(self, get: Get) -> dict[str, Any]:
        """The key's own value, where the format has one."""
        return Key(self.name, self.paths).write(get) if self.name else {}


@dataclass(frozen=True)
class RootScale:
    """Token vectors times the square root of the width (Vaswani et al. 2017, section 3.4): always, or by a flag."""

    dim: str
    default: int
    flag: str | None = None
    flag_default: bool = True
    path: str = "embedding.scale"

    def read(self, config: Config) -> dict[str, Any]:
        """The factor at its path."""
        scaled = self.flag is None or config.get(self.flag, self.flag_default)
        return {self.path: _whole(config, self.dim, self.default) ** 0.5 if scaled else 1.0}

    def write(self, get: Get) -> dict[str, Any]:
        """The flag, where the format has one."""
        return {} if self.flag is None else {self.flag: get(self.path) != 1.0}


@dataclass(frozen=True)
class LayerWindows:
    """Layers that see a window of tokens among layers that see them all, as the pattern of a stack's blocks.

    `read_windows` gives the window of every layer of a config, None for all tokens; `write_windows` the keys that say
    so."""

    stack: str
    block: Block
    read_windows: Callable[[Config], list[int | None]]
    write_windows: Callable[[list[int | None]], dict[str, Any]]

    def read(self, config: Config) -> dict[str, Any]:
        """The shortest pattern that gives these windows when it is repeated."""
        windows = self.read_windows(config)
        period = next(n for n in range(1, len(windows) + 1) if windows[n:] == windows[:-n])
        attention = self.block.attention
        blocks = (replace(self.block, attention=replace(attention, window=window)) for window in windows[:period])
        return {f"{self.stack}.pattern": tuple(blocks)}

    def write(self, get: Get) -> dict[str, Any]:
        """The keys that give every layer its window."""
        pattern = get(f"{self.stack}.pattern")
        layers = range(get(f"{self.stack}.layers"))
        return self.write_windows([pattern[i % len(pattern)].attention.window for i in layers])


def by_layer_types(config: Config, layers: int, window: int | None, otherwise: list[bool]) -> list[int | None]:
    """The window of every layer: where `layer_types` says "sliding_attention", or `otherwise` without that key."""
    types = config.get("layer_types")
    if types is None:
        return [window if sliding else None for sliding in otherwise]
    if not isinstance(types, list) or len(types) != layers or not set(types) <= {"full_attention", "sliding_attention"}:
        raise CheckpointError(
            f"config.json: layer_types must say full_attention or sliding_attention for each of {layers} layers"
        )
    return [window if kind == "sliding_attention" else None for kind in types]


def layer_types(windows: list[int | None]) -> dict[str, Any]:
    """`layer_types` as transformers 5 writes it."""
    return {"layer_types": ["full_attention" if window is None else "sliding_attention" for window in windows]}


def layer_count(config: Config, name: str, default: int) -> int:
    """How many layers a config describes, where a rule needs to list them. Raises `CheckpointError` beyond 10,000."""
    layers = _whole(config, name, default)
    if layers > MAX_LAYERS:
        raise CheckpointError(f"config.json: {name} is {layers:,}, which is not a model anyone published")
    return layers


@dataclass(frozen=True)
class Only:
    """A key that changes what is computed in a way no spec has: only these values are read, others are refused.

    It is written only where the format, or its own code, would take its absence to mean something else."""

    name: str
    values: tuple[Any, ...]
    written: bool = False

    def read(self, config: Config) -> dict[str, Any]:
        """Nothing, or a `CheckpointError`."""
        value = config.get(self.name, self.values[0])
        if value not in self.values:
            raise CheckpointError(
                f"config.json: {self.name} is {value!r:.80}, which is not supported (supported: {self.values})"
            )
        return {}

    def write(self, get: Get) -> dict[str, Any]:
        """The first value, or nothing where absence says it."""
        return {self.name: self.values[0]} if self.written else {}


@dataclass(frozen=True)
class HeadSize:
    """The width of one head: a key of its own where the format has one, else hidden size over heads."""

    dim: str
    heads: str
    paths: tuple[str, ...]
    defaults: tuple[int, int]
    name: str | None = None

    def of(self, config: Config) -> int:
        """The width of one head."""
        size = config.get(self.name) if self.name else None
        if size is None:
            dim, heads = (_whole(config, name, value) for name, value in zip((self.dim, self.heads), self.defaults))
            if dim % heads:
                raise CheckpointError(f"config.json: {self.dim} {dim} is not a multiple of {self.heads} {heads}")
            return dim // heads
        return _whole(config, str(self.name), 0)

    def read(self, config: Config) -> dict[str, Any]:
        """The head dimension at its paths."""
        size = self.of(config)
        return dict.fromkeys(self.paths, size)

    def write(self, get: Get) -> dict[str, Any]:
        """The key, where the format has one."""
        return {self.name: get(self.paths[0])} if self.name else {}


@dataclass(frozen=True)
class Rotation:
    """Rotary positions: `rope_parameters` (transformers 5), or `rope_theta`, `rope_scaling` and a share of the head."""

    path: str
    share: str | None
    share_default: float
    base: str
    head_size: HeadSize
    base_default: float = 10000.0

    def read(self, config: Config) -> dict[str, Any]:
        """The fields of a `Rotary`."""
        given = config.get("rope_parameters") or config.get("rope_scaling") or {}
        if not isinstance(given, Mapping):
            raise CheckpointError(f"config.json: rope_parameters must be an object, but is {given!r:.80}")
        base = given.get("rope_theta", config.get(self.base, self.base_default))
        share = given.get("partial_rotary_factor", config.get(self.share, self.share_default) if self.share else 1.0)
        if not isinstance(base, int | float) or not isinstance(share, int | float) or base <= 0 or not 0 < share <= 1:
            raise CheckpointError(
                f"config.json: rotary base {base!r:.80} or share {share!r:.80} is not a number in range"
            )
        return {
            f"{self.path}.dim": int(self.head_size.of(config) * share),
            f"{self.path}.base": float(base),
            f"{self.path}.scaling": _scaling(given, config),
        }

    def write(self, get: Get) -> dict[str, Any]:
        """`rope_parameters`, as transformers 5 writes them."""
        rotary = get(self.path)
        if not isinstance(rotary, Rotary):
            raise KeyError(self.path)
        parameters: dict[str, Any] = {"rope_theta": rotary.base, "rope_type": "default"}
        if self.share:
            size = get(self.path.rpartition(".")[0]).head_dim
            # The stored share must give the same whole number back after multiplication and rounding down.
            share = next(s for s in (rotary.dim / size, (rotary.dim + 0.5) / size) if int(size * s) == rotary.dim)
            parameters["partial_rotary_factor"] = share
        scaling = rotary.scaling
        if isinstance(scaling, LinearScaling):
            parameters |= {"rope_type": "linear", "factor": scaling.factor}
        elif isinstance(scaling, DynamicScaling):
            context = scaling.original_context
            dynamic = {"factor": scaling.factor, "original_max_position_embeddings": context}
            return {"rope_parameters": parameters | {"rope_type": "dynamic"} | dynamic}
        elif isinstance(scaling, Llama3Scaling):
            parameters |= {
                "rope_type": "llama3",
                "factor": scaling.factor,
                "low_freq_factor": scaling.low_freq_factor,
                "high_freq_factor": scaling.high_freq_factor,
                "original_max_position_embeddings": scaling.original_context,
            }
        elif isinstance(scaling, YarnScaling):
            parameters |= {
                "rope_type": "yarn",
                "factor": scaling.factor,
                "beta_fast": scaling.beta_fast,
                "beta_slow": scaling.beta_slow,
                "original_max_position_embeddings": scaling.original_context,
            }
        return {"rope_parameters": parameters}


def _scaling(
    given: Mapping[str, Any], config: Config
) -> LinearScaling | DynamicScaling | Llama3Scaling | YarnScaling | None:
    kind = given.get("rope_type", given.get("type", "default"))
    try:
        if kind == "default":
            return None
        if kind == "linear":
            return LinearScaling(float(given["factor"]))
        if kind == "dynamic" and not set(given) & {"alpha"}:
            context = given.get("original_max_position_embeddings") or config["max_position_embeddings"]
            return DynamicScaling(float(given["factor"]), int(context))
        if kind == "llama3":
            return Llama3Scaling(
                float(given["factor"]),
                float(given["low_freq_factor"]),
                float(given["high_freq_factor"]),
                int(given["original_max_position_embeddings"]),
            )
        if kind == "yarn" and not set(given) & {"attention_factor", "mscale", "mscale_all_dim", "truncate"}:
            return YarnScaling(
                float(given["factor"]),
                int(given["original_max_position_embeddings"]),
                float(given.get("beta_fast") or 32),
                float(given.get("beta_slow") or 1),
            )
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"config.json: rotary scaling {kind!r:.80} is incomplete: {error}") from None
    raise CheckpointError(
        f"config.json: rotary scaling {dict(given)!r:.200} is not supported (linear, dynamic, llama3, plain yarn)"
    )


@dataclass(frozen=True)
class TokenIds:
    """The special token ids every format names alike."""

    pad: int | None = None
    bos: int | None = None
    eos: int | None = None
    decoder_start: int | None = None

    def read(self, config: Config) -> dict[str, Any]:
        """The four ids; a list of end tokens becomes a tuple."""
        eos = config.get("eos_token_id", self.eos)
        return {
            "pad_id": config.get("pad_token_id", self.pad),
            "bos_id": config.get("bos_token_id", self.bos),
            "eos_id": tuple(eos) if isinstance(eos, list) else eos,
            "decoder_start_id": config.get("decoder_start_token_id", self.decoder_start),
        }

    def write(self, get: Get) -> dict[str, Any]:
        """The ids that are set."""
        eos = get("eos_id")
        found = {
            "pad_token_id": get("pad_id"),
            "bos_token_id": get("bos_id"),
            "eos_token_id": list(eos) if isinstance(eos, tuple) else eos,
        }
        if (start := get("decoder_start_id")) is not None:
            found["decoder_start_token_id"] = start
        return found


def read(template: Spec, rules: tuple[Rule, ...], config: Config, without: tuple[str, ...] = ()) -> Spec:
    """The spec a config describes, but for the parts it is `without`.

    Raises `CheckpointError` for values that are missing, impossible or unsupported."""
    values: dict[str, Any] = {}
    try:
        for rule in rules:
            values.update({path: v for paths, v in rule.read(config).items() for path in spelled_out(paths)})
        return _assign(template, {path: v for path, v in values.items() if path.partition(".")[0] not in without})
    except (TypeError, ValueError, OverflowError, ZeroDivisionError) as error:
        raise CheckpointError(f"config.json does not describe a model that can be built: {error}") from None


def write(spec: Spec, rules: tuple[Rule, ...]) -> dict[str, Any]:
    """The config keys that describe a spec."""
    found: dict[str, Any] = {}
    for rule in rules:
        try:
            found.update(rule.write(lambda path: _first(spec, path)))
        except (KeyError, AttributeError, TypeError):
            # A family is asked about any spec, of parts its rules do not know; what it writes is read back to compare.
            continue
    return found


def _first(spec: Any, paths: str) -> Any:
    """The value at the first of the paths that a spec has. Raises `KeyError`."""
    for path in spelled_out(paths):
        try:
            return look_up(spec, path)
        except KeyError:
            continue
    raise KeyError(paths)


def look_up(spec: Any, path: str) -> Any:
    """The value at a path; for `*` of the first block that has it. Raises `KeyError` where there is no such part."""
    name, _, rest = path.partition(".")
    if isinstance(spec, tuple):
        for item in spec:
            if name in ("*", getattr(item, "kind", None)):
                try:
                    return look_up(item, rest) if rest else item
                except KeyError:
                    continue
        raise KeyError(path)
    if spec is None or not hasattr(spec, name):
        raise KeyError(path)
    return look_up(getattr(spec, name), rest) if rest else getattr(spec, name)


def _assign(part: Any, values: Mapping[str, Any]) -> Any:
    """A copy of a dataclass (or a tuple of them) with new values at these paths; absent parts are skipped."""
    if isinstance(part, tuple):
        changed = []
        for item in part:
            name = getattr(item, "kind", "*") if "*" not in {path.split(".")[0] for path in values} else "*"
            inner = {path.partition(".")[2]: v for path, v in values.items() if path.split(".")[0] == name}
            changed.append(_assign(item, inner) if inner else item)
        return tuple(changed)
    nested: dict[str, dict[str, Any]] = {}
    flat: dict[str, Any] = {}
    known = {f.name for f in dataclasses.fields(part)}
    for path, value in values.items():
        name, _, rest = path.partition(".")
        if name not in known:
            continue
        if not rest:
            flat[name] = value
        elif getattr(part, name) is not None:
            nested.setdefault(name, {})[rest] = value
    for name, inner in nested.items():
        if (before := flat.get(name, getattr(part, name))) is not None:
            flat[name] = _assign(before, inner)
    return dataclasses.replace(part, **flat)


def _whole(config: Config, name: str, default: int) -> int:
    value = config.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
        raise CheckpointError(f"config.json: {name} must be a positive whole number, but is {value!r:.80}")
    return value
