"""Checkpoint folder to model and back: config, plan, tensors, labels. Nothing is guessed and nothing is left random."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from moduformer.architecture import Spec
from moduformer.atomic import write_text
from moduformer.errors import CheckpointError, SpecError
from moduformer.families import family, family_of
from moduformer.families.family import Family
from moduformer.model import Model, build, initialise, materialise
from moduformer.weights.files import open_tensors
from moduformer.weights.generation_config import GENERATION_CONFIG, read_generation_config
from moduformer.weights.plan import Entry, Row, expand
from moduformer.weights.saving import save_tensors
from moduformer.weights.strict_json import parse_object
from moduformer.weights.tensor_file import TensorFile, check_finite, quoted

TASKS = {
    "feature-extraction": "body",
    "fill-mask": "masked-lm",
    "text-generation": "language-model",
    "translation": "language-model",
    "summarization": "language-model",
    "text-classification": "classify",
    "sentiment-analysis": "classify",
    "token-classification": "tag",
    "ner": "tag",
    "question-answering": "span",
    "replaced-token-detection": "replaced-token",
}
"""What `load(task=...)` takes, and the kind of head it asks for."""

MAX_CONFIG_BYTES = 16 * 2**20
MAX_CONFIG_DEPTH = 32

RUNS_CODE = re.compile(r"auto_map|trust_remote_code|custom_pipelines|_attn_implementation.*|.*_implementation_internal")
"""Keys of a config that name code elsewhere. They are never followed, and never written again."""


@dataclass
class Origin:
    """What a model remembers of the files it came from, so that saving gives the same files back."""

    family: Family
    config: dict[str, Any]
    dtypes: dict[str, torch.dtype] = field(default_factory=dict)
    doubles: dict[str, str] = field(default_factory=dict)
    heads: dict[str, str] = field(default_factory=dict)
    """Parameters of heads that the file has under another of their names."""
    computed: dict[str, Tensor] = field(default_factory=dict)
    """Tensors of the file that are no parameters, since the spec says what is in them."""


def load_checkpoint(
    path: Path,
    task: str | None = None,
    labels: tuple[str, ...] | None = None,
    new_head: bool = False,
    dtype: torch.dtype = torch.float32,
) -> Model:
    """A model from a folder in Hugging Face layout, or from one GGUF or container file.

    `task` chooses a head other than the config's; `new_head` permits one that the files do not hold, drawn anew, with
    `labels` for classification; `dtype` is that of the weights in memory. Raises `CheckpointError` naming the
    file, tensor or key that is missing, extra, mis-shaped, not finite or not supported.
    """
    with open_tensors(path) as tensors:
        dialect_name = str(tensors.metadata.get("format", "")) if path.is_file() else ""
        if "general.architecture" in tensors.metadata:
            dialect_name = "gguf"
        config = _container_config(tensors, dialect_name) if dialect_name in ("gguf", "E5S1") else read_config(path)
        notes: list[str] = []
        config = as_data(config, "", notes)
        member = _family(config, path)
        dialect = member.dialects.get(dialect_name)
        if labels is not None:
            config["id2label"] = {str(i): label for i, label in enumerate(labels)}
            config["label2id"] = {label: i for i, label in enumerate(labels)}
        architecture = _architecture(member, config, task)
        spec = member.read(config, architecture)
        bound_layers(spec, tensors)
        rows = member.rows if dialect is None else dialect.rows + _heads_besides(member.rows, dialect.rows)
        found = _names(tensors, member)
        spec = _without_absent_pool(spec, rows, found)
        model = build(spec, device="meta")
        model.to(dtype).notes = notes
        prefix = "" if dialect else _prefix(member, architecture, found, model)
        entries = _without_untied(expand(rows, model, prefix), member, config)
        origin = Origin(member, config)
        if new_head:
            found = _without_resized_heads(entries, found, tensors, model)
        origin.computed = _computed(member, spec, tensors, found, prefix)
        missing = _match(entries, found, model, member, prefix, new_head)
        _fill(model, entries, tensors, found, missing, origin)
    _check_filled(model)
    model.origin = origin
    origin.config["architectures"] = [architecture]
    model.labels = labels_of(config)
    stored = read_generation_config(path)
    model.generation_config = None if stored is None else as_data(stored, "", notes)
    return model.eval()


def _heads_besides(rows: tuple[Row, ...], given: tuple[Row, ...]) -> tuple[Row, ...]:
    """A family's rows of heads that a dialect has no row for."""
    had = {row.name.removesuffix(".weight") for row in given}
    return tuple(r for r in rows if r.name.startswith("heads.") and r.name.removesuffix(".weight") not in had)


def read_config(folder: Path) -> dict[str, Any]:
    """The config.json of a folder. Raises `CheckpointError` if it is absent, too large or not one JSON object."""
    path = folder / "config.json"
    if not path.is_file():
        raise CheckpointError(
            f"{folder} has no config.json; a checkpoint folder needs config.json and model.safetensors"
        )
    if path.stat().st_size > MAX_CONFIG_BYTES:
        raise CheckpointError(f"{path} has {path.stat().st_size:,} bytes, which no config has")
    try:
        return parse_object(path.read_bytes())
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}") from None


def _container_config(tensors: TensorFile, name: str) -> dict[str, Any]:
    model_type = {"E5S1": "bert"}.get(name) or str(tensors.metadata["general.architecture"])
    member = family(model_type)
    if name not in member.dialects:
        raise CheckpointError(f"{tensors.path}: {name} files of architecture {quoted(model_type)} are not supported")
    try:
        return member.dialects[name].config({**tensors.metadata, "tensor_names": tensors.names()})
    except KeyError as error:
        raise CheckpointError(f"{tensors.path}: the header has no {error}") from None
    except (TypeError, ValueError, ArithmeticError) as error:
        raise CheckpointError(f"{tensors.path}: the header does not describe a model: {error}") from None


def as_data(value: Any, path: str, notes: list[str]) -> Any:
    """A config without the keys that name code, at any depth, each named in `notes`; refuses what no JSON can hold."""
    if path.count(".") > MAX_CONFIG_DEPTH:
        raise CheckpointError(f"config.json is nested deeper than {MAX_CONFIG_DEPTH} objects at {quoted(path[:80])}")
    if isinstance(value, dict):
        code = [name for name in value if RUNS_CODE.fullmatch(name)]
        notes += [f"config key {f'{path}.{name}'.lstrip('.')!r:.80} names code and is ignored" for name in code]
        return {name: as_data(inner, f"{path}.{name}", notes) for name, inner in value.items() if name not in code}
    if isinstance(value, list):
        return [as_data(inner, f"{path}.", notes) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        raise CheckpointError(f"config.json: {quoted(path.lstrip('.'))} is {value!r}, which is not a number")
    if isinstance(value, str) and not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise CheckpointError(
                f"config.json: {quoted(path.lstrip('.'))} is {value!a:.80}, which is not text"
            ) from None
    return value


def _family(config: Mapping[str, Any], path: Path) -> Family:
    model_type = config.get("model_type")
    if not isinstance(model_type, str):
        raise CheckpointError(f"{path}: config.json has no model_type, so its family is unknown")
    return family(model_type).of(config)


def _architecture(member: Family, config: Mapping[str, Any], task: str | None) -> str:
    if task is not None:
        if task not in TASKS:
            raise CheckpointError(f"task {task!r:.80} is not known; tasks are {', '.join(TASKS)}")
        return member.architecture_with(TASKS[task])
    names = config.get("architectures")
    if not names:
        return next(iter(member.architectures))
    if not isinstance(names, list) or not isinstance(names[0], str):
        raise CheckpointError(f"config.json: architectures must be a list of names, but is {names!r:.80}")
    member.architecture(names[0])
    return names[0]


def bound_layers(spec: Spec, tensors: TensorFile) -> None:
    """Refuses a config that describes far more than its files hold, before any module is made."""
    seen = spec.vision.stack if spec.vision else None
    sets = sum(stack.weight_sets for stack in (spec.encoder, spec.decoder, seen) if stack is not None)
    # The barest layer is a recurrent one, which has two matrices: of its input and of its state.
    if 2 * sets > len(tensors.names()):
        raise CheckpointError(
            f"config.json describes {sets:,} layers, but {tensors.path} holds {len(tensors.names())} tensors"
        )


def _without_absent_pool(spec: Spec, rows: tuple[Row, ...], found: Mapping[str, str]) -> Spec:
    """A body whose files hold no pooler is a body without one, not a body with a random one."""
    if [head.kind for head in spec.heads] != ["pool"] or not spec.heads[0].num_parameters(spec.vocab, spec.dim):
        return spec
    poolers = {row.file for row in rows if row.name.startswith("heads.pool.")}
    held = any(
        f".{name}".endswith(f".{file}{suffix}") for file in poolers for suffix in (".weight", ".bias") for name in found
    )
    return spec if held else replace(spec, heads=())


def _names(tensors: TensorFile, member: Family) -> dict[str, str]:
    """Today's name of each tensor, and the name it has in the file."""
    found: dict[str, str] = {}
    for name in tensors.names():
        today = name
        for old, new in member.older_names:
            today = today.replace(old, new)
        if today in found:
            raise CheckpointError(f"{tensors.path}: {quoted(name)} and {quoted(found[today])} are the same tensor")
        found[today] = name
    return found


def _prefix(member: Family, architecture: str, found: Mapping[str, str], model: Model) -> str:
    """The prefix the body's tensors carry in this file: that of the class, of another class, or none."""
    prefixes = dict.fromkeys((member.prefix_of(architecture), member.prefix, ""))
    held = {
        prefix: sum(e.file in found for e in expand(member.rows, model, prefix) if not e.name.startswith("heads."))
        for prefix in prefixes
    }
    return max(prefixes, key=lambda prefix: held[prefix])


def _without_untied(entries: list[Entry], member: Family, config: Mapping[str, Any]) -> list[Entry]:
    """The entries; the token table has no other name in files whose config gives the writing head its own weights."""
    writing = ("language-model", "masked-lm")
    for name, architecture in member.architectures.items():
        if any(head.kind in writing for head in architecture.heads):
            if any(head.tied for head in member.read(dict(config), name).heads if head.kind in writing):
                return entries
            own = {row.file.removesuffix(".weight") for row in member.rows if row.name.startswith("heads.")}
            return [
                replace(entry, also=tuple(other for other in entry.also if other.removesuffix(".weight") not in own))
                for entry in entries
            ]
    return entries


def _match(
    entries: list[Entry], found: Mapping[str, str], model: Model, member: Family, prefix: str, new_head: bool
) -> set[str]:
    """Names of entries the file lacks; raises unless they belong to a new head that was asked for."""
    absent = {entry.name for entry in entries if not any(name in found for name in (entry.file, *entry.also))}
    missing = {entry.file for entry in entries if entry.name in absent and not entry.optional}
    # A head of which some tensors are there is not new but incomplete.
    held = {_head_of(entry) for entry in entries if entry.name not in absent}
    new = {entry.file for entry in entries if entry.file in missing and _head_of(entry) not in held}
    if missing - new or (new and not new_head):
        names = sorted(missing - new) or sorted(new)
        hint = (
            "; a new head has random weights until it is trained: ask for it with new_head=True, or train one"
            if not missing - new
            else "; the download is incomplete or the config belongs to another model"
        )
        raise CheckpointError(f"missing {len(names)} tensors: {listing(names)}{hint}")
    expected = {entry.file for entry in entries} | {other for entry in entries for other in entry.also}
    idle = {name for name in found if any(re.fullmatch(pattern, found[name]) for pattern in member.unused)}
    idle |= {prefix + part.file for part in member.computed}
    extra = [name for name in found if name not in expected and name not in idle]
    others = {name for name in extra if _belongs_to_a_head(name, member, prefix)}
    if others:
        kinds = "its config's architecture does not use" if not new else "this task does not use"
        model.notes.append(f"left out {len(others)} tensors of heads that {kinds}: {listing(sorted(others))}")
    unknown = sorted(set(extra) - others)
    if unknown:
        raise CheckpointError(
            f"{len(unknown)} tensors have no place in this {member.model_type} model: {listing(unknown)}; "
            "the config belongs to another model, or the file holds more than one"
        )
    return new


def _computed(
    member: Family, spec: Spec, tensors: TensorFile, found: Mapping[str, str], prefix: str
) -> dict[str, Tensor]:
    """The tensors of a file that the spec determines. Raises `CheckpointError` for one with other numbers in it."""
    held = {}
    for part in member.computed:
        if (stored_name := found.get(prefix + part.file)) is None:
            continue
        stored = tensors.read(stored_name)
        wanted = part.values(spec, tuple(stored.shape))
        near = 1e-5 if stored.dtype.itemsize >= 4 else 1e-2
        if stored.shape != wanted.shape or not torch.allclose(stored.double(), wanted.double(), rtol=0, atol=near):
            raise CheckpointError(
                f"{tensors.path}: tensor {quoted(stored_name)} {list(stored.shape)} should hold what the config "
                "determines, but holds other numbers; the model was trained with values that have no place here"
            )
        held[part.file] = stored
    return held


def _without_resized_heads(
    entries: list[Entry], found: Mapping[str, str], tensors: TensorFile, model: Model
) -> dict[str, str]:
    """The tensors of a file without those of heads for another number of classes, which a new head replaces."""
    resized = {
        _head_of(entry)
        for entry in entries
        if entry.file in found and tuple(tensors.info(found[entry.file]).shape) != entry.shape
    } - {"body"}
    replaced = {entry.file for entry in entries if _head_of(entry) in resized}
    if replaced:
        model.notes.append(f"left out the head for other classes: {listing(sorted(replaced))}")
    return {name: stored for name, stored in found.items() if name not in replaced}


def _head_of(entry: Entry) -> str:
    """The head an entry belongs to; all of the body counts as one part, which is never absent as a whole."""
    part, _, rest = entry.name.partition(".")
    return rest.partition(".")[0] if part == "heads" else "body"


def _belongs_to_a_head(name: str, member: Family, prefix: str) -> bool:
    for row in member.rows:
        if row.name.startswith("heads."):
            lead = "" if row.head else prefix
            for template in (lead + row.file, *row.also):
                if name in (template, f"{template}.weight", f"{template}.bias"):
                    return True
        elif any(name == f"{other}{suffix}" for other in row.also for suffix in ("", ".weight", ".bias")):
            return True
    return any(name.startswith(lead) for lead in FOREIGN_HEADS)


FOREIGN_HEADS = (
    "cls.",
    "lm_head.",
    "classifier.",
    "qa_outputs.",
    "score.",
    "predictions.",
    "sop_classifier.",
    "multiple_choice_head.",
)
"""Heads that published files carry beside their body, under names of their own."""


def _fill(
    model: Model,
    entries: list[Entry],
    tensors: TensorFile,
    found: Mapping[str, str],
    missing: set[str],
    origin: Origin,
) -> None:
    for entry in entries:
        names = [name for name in (entry.file, *entry.also) if name in found]
        for name in names:
            shape, dtype = tuple(tensors.info(found[name]).shape), tensors.info(found[name]).dtype
            if not dtype.is_floating_point:
                raise CheckpointError(
                    f"{tensors.path}: tensor {quoted(found[name])} holds {dtype}, but weights are floating-point; "
                    "it may be quantised in a way that is not supported"
                )
            if shape != entry.shape:
                raise CheckpointError(
                    f"{tensors.path}: tensor {quoted(found[name])} has shape {list(shape)}, "
                    f"but the config asks for {list(entry.shape)}"
                )
    materialise(model)
    views = model.views()
    for entry in entries:
        if entry.file in missing:
            continue
        names = [name for name in (entry.file, *entry.also) if name in found]
        if not names:
            initialise("bias", views[entry.name])
            continue
        name = names[0]
        stored = tensors.read(found[name])
        check_finite(stored, found[name])
        origin.dtypes[entry.name] = stored.dtype
        if name != entry.file and entry.name.startswith("heads."):
            origin.heads[entry.name] = name
        with torch.no_grad():
            source, target = entry.pair(stored, views[entry.name])
            target.copy_(source)
            if entry.plus:
                target.sub_(entry.plus)
        for other in entry.also:
            if other in found and other != name:
                _check_same(tensors, stored, found[name], found[other])
                origin.doubles[other] = entry.name
    if missing:
        for entry in entries:
            if entry.file in missing:
                initialise(entry.name, views[entry.name])
        model.notes.append(f"a new head was drawn at random: {listing(sorted(missing))}")


def _check_same(tensors: TensorFile, stored: Tensor, name: str, other: str) -> None:
    second = tensors.read(other)
    if second.shape != stored.shape or not torch.equal(second, stored):
        raise CheckpointError(
            f"{tensors.path}: {quoted(other)} and {quoted(name)} must be equal, because the config ties them, "
            'but differ; if the model was trained untied, set "tie_word_embeddings": false in config.json'
        )


def _check_filled(model: Model) -> None:
    """Nothing may remain of the memory that was reserved but not written."""
    for name, parameter in model.named_parameters():
        if parameter.is_meta:
            raise CheckpointError(f"parameter {name!r} was not filled; please report this")


def labels_of(config: Mapping[str, Any]) -> tuple[str, ...] | None:
    labels = config.get("id2label")
    if not isinstance(labels, Mapping) or not labels:
        return None
    try:
        numbers = {int(number): str(label) for number, label in labels.items()}
    except ValueError:
        raise CheckpointError(
            f"config.json: id2label must map numbers to names, but is {dict(labels)!r:.200}"
        ) from None
    if sorted(numbers) != list(range(len(labels))):
        raise CheckpointError(
            f"config.json: id2label must number its labels 0 to {len(labels) - 1}, but has {sorted(numbers)}"
        )
    return tuple(numbers[i] for i in range(len(numbers)))


def listing(names: list[str], most: int = 8) -> str:
    shown = ", ".join(quoted(name) for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


# Saving ------------------------------------------------------------------------------------------------------------


def save(model: Model, folder: Path) -> Path:
    """Writes `model.safetensors`, `config.json`, tokenizer files; every file atomically. Returns the folder.

    The format is the family the model came from, or one that can hold its spec, or this library's own. A tensor is
    stored in the type it was loaded in if that loses nothing.
    """
    origin = model.origin
    if origin is None or _rewritten(origin, model.spec) is None:
        member, config = family_of(model.spec)
        origin = Origin(member, dict(config), *(() if origin is None else (origin.dtypes,)))
    config = _rewritten(origin, model.spec) or dict(origin.config)
    prefix = origin.family.prefix_of(config["architectures"][0])
    entries = expand(origin.family.rows, model, prefix)
    views = model.views()
    tensors = {prefix + name: stored for name, stored in origin.computed.items()}
    for entry in entries:
        stored = _to_file(entry, views[entry.name].detach(), origin.dtypes.get(entry.name), tensors.get(entry.file))
        tensors[origin.heads.get(entry.name, entry.file)] = stored
        for other, name in origin.doubles.items():
            if name == entry.name:
                tensors[other] = stored
    if model.labels is not None:
        config["id2label"] = {str(i): label for i, label in enumerate(model.labels)}
        config["label2id"] = {label: i for i, label in enumerate(model.labels)}
    # Who reads `dtype` converts to it: after training in a wider type than the file's it must not stay narrow.
    dtypes = {str(tensor.dtype).removeprefix("torch."): tensor.element_size() for tensor in tensors.values()}
    if config.get("dtype", config.get("torch_dtype")) not in dtypes:
        config.pop("torch_dtype", None)
        config["dtype"] = max(dtypes, key=lambda name: dtypes[name])
    return write_folder(model, folder, config, tensors)


def write_folder(model: Model, folder: Path, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Path:
    """Writes tensors and config as they are given, and the model's generation settings and tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    # The order in which the safetensors library writes: wide types first, then by name.
    ordered = sorted(tensors.items(), key=lambda item: (-item[1].element_size(), item[0]))
    save_tensors(folder, dict(ordered))
    text = json.dumps(config, indent=2, ensure_ascii=False, sort_keys=True, allow_nan=False) + "\n"
    write_text(folder / "config.json", text)
    if model.generation_config is not None:
        text = json.dumps(model.generation_config, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        write_text(folder / GENERATION_CONFIG, text)
    if model.tokenizer is not None:
        model.tokenizer.save(folder)
    return folder


def _rewritten(origin: Origin, spec: Spec) -> dict[str, Any] | None:
    """The origin's config with the keys that the spec has changed, or None if it cannot say what the spec is."""
    config, member = dict(origin.config), origin.family
    try:
        architecture = member.architecture_of(spec)
        named = next(iter(config.get("architectures") or ()), architecture)
        if named in member.architectures and member.architectures[named] == member.architectures.get(architecture):
            architecture = named  # one of several names of the same class
        labelled = next((head.outputs for head in spec.heads if head.kind in ("classify", "tag")), None)
        if labelled is not None and len(config.get("id2label") or ()) != labelled:
            config["id2label"] = {str(i): f"LABEL_{i}" for i in range(labelled)}
            config["label2id"] = {f"LABEL_{i}": i for i in range(labelled)}
        config["architectures"] = [architecture]
        if member.read(config, architecture) != spec:
            config.update(member.write(spec))
        return config if member.read(config, architecture) == spec else None
    except (CheckpointError, SpecError):
        return None


def _to_file(entry: Entry, value: Tensor, dtype: torch.dtype | None, begun: Tensor | None) -> Tensor:
    """A file's tensor; `begun` is the one that already holds other parts of it."""
    if entry.plus:
        value = value + entry.plus
    if dtype is not None and dtype != value.dtype and torch.equal(value.to(dtype).to(value.dtype), value):
        value = value.to(dtype)
    if entry.axes is None:
        return value.contiguous()
    wide = value.dtype if begun is None else torch.promote_types(begun.dtype, value.dtype)
    stored = torch.empty(entry.shape, dtype=wide) if begun is None else begun.to(wide)
    target, source = entry.pair(stored, value)
    target.copy_(source)
    return stored
