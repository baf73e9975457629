"""Quantised models as folders: this library's own layout, tensors under the model's own names.

`config.json` holds the whole spec and the entry `quantization_config`; each coded layer is `{path}.codes`,
`{path}.scale`, for int4 `{path}.offset`, and `{path}.bias` where it has one. No other program reads it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from moduformer.blocks.head import Head
from moduformer.errors import CheckpointError
from moduformer.families import family
from moduformer.model import Model, build, materialise
from moduformer.quantize.linear import CODED, GROUPS, CodedLinear, Int4Linear
from moduformer.quantize.quantization import SCHEMES, Quantization, put, table_of
from moduformer.weights.checkpoint import (
    TASKS,
    Origin,
    as_data,
    bound_layers,
    labels_of,
    listing,
    read_config,
    write_folder,
)
from moduformer.weights.files import open_tensors
from moduformer.weights.tensor_file import TensorFile, check_finite, quoted

METHOD = "moduformer"
ENTRY = "quantization_config"


def save(model: Model, quantization: Quantization, folder: Path) -> Path:
    """Writes codes, scales and the float rest. Returns the folder."""
    origin = model.origin
    native = family(METHOD)
    config: dict[str, Any] = native.write(model.spec) | {
        "architectures": [native.architecture_of(model.spec)],
        ENTRY: {"quant_method": METHOD, **asdict(quantization)},
    }
    if origin is not None and "problem_type" in origin.config:
        config["problem_type"] = origin.config["problem_type"]
    if model.labels is not None:
        config["id2label"] = {str(i): label for i, label in enumerate(model.labels)}
        config["label2id"] = {label: i for i, label in enumerate(model.labels)}
    tensors: dict[str, Tensor] = {}
    for path in quantization.layers:
        layer = model.get_submodule(path)
        assert isinstance(layer, CodedLinear)
        tensors |= {f"{path}.{name}": tensor for name, tensor in layer.tensors().items()}
        if layer.bias is not None:
            tensors[f"{path}.bias"] = layer.bias
    for name, parameter in model.named_parameters():
        tensors[name] = _narrow(parameter.detach(), None if origin is None else origin.dtypes.get(name))
    return write_folder(model, folder, config, tensors)


def is_quantized(path: Path) -> bool:
    """Whether a folder is one that `save` wrote, by what its config says."""
    if not (path / "config.json").is_file():
        return False
    entry = read_config(path).get(ENTRY)
    return isinstance(entry, dict) and entry.get("quant_method") == METHOD


def load(path: Path, task: str | None = None, dtype: torch.dtype = torch.float32) -> Model:
    """The model of a folder that `save` wrote, equal to the bit; `dtype` is that of the weights that are floats.

    Raises `CheckpointError` naming the tensor or key that is missing, extra, mis-shaped or not finite, for an unknown
    scheme, and for a task that the model was not quantised for.
    """
    notes: list[str] = []
    config = as_data(read_config(path), "", notes)
    quantization = _entry(config[ENTRY])
    native = family(METHOD)
    spec = native.read(config, None)
    with open_tensors(path) as tensors:
        bound_layers(spec, tensors)
        model = build(spec, device="meta").to(dtype)
        _check_task(model, task, path)
        sizes = {place: _shape(model, place) for place in quantization.layers}
        wanted = _wanted(model, quantization, sizes)
        _check(tensors, wanted)
        dtypes = {name: tensors.info(name).dtype for name in wanted if wanted[name][0] is None}
        read = _Reader(tensors)
        for place, scheme in quantization.layers.items():
            layer = CODED[scheme]
            parts = {name: read(f"{place}.{name}") for name in layer.stored(*sizes[place][:2], quantization.group)}
            bias = read(f"{place}.bias") if sizes[place][2] else None
            put(model, place, layer.restored(parts, bias))
        materialise(model)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.copy_(read(name)).requires_grad_(False)
    model.quantization, model.notes = quantization, notes
    model.origin = Origin(native, {name: value for name, value in config.items() if name != ENTRY}, dtypes)
    model.labels = labels_of(config)
    return model.eval()


def _entry(entry: Mapping[str, Any]) -> Quantization:
    scheme, heads, group, layers = (entry.get(name) for name in ("scheme", "heads", "group", "layers"))
    if not isinstance(layers, dict):
        raise CheckpointError(f"config.json: {ENTRY} must list its coded layers under 'layers'")
    for name in (scheme, *layers.values(), *([] if heads is None else [heads])):
        if not isinstance(name, str) or name not in SCHEMES:
            raise CheckpointError(
                f"config.json: {ENTRY} names the scheme {name!r:.80}; known are {', '.join(SCHEMES)}, "
                "so it was written by a newer version or is damaged"
            )
    if type(group) is not int or group not in GROUPS:
        raise CheckpointError(f"config.json: {ENTRY} has groups of {group!r:.80}; known are {GROUPS}")
    return Quantization(str(scheme), heads, group, layers)


def _check_task(model: Model, task: str | None, path: Path) -> None:
    kinds = [head.kind for head in model.spec.heads] or ["pool"]
    if task is not None and TASKS.get(task, task) not in (kinds[-1], "body" if kinds == ["pool"] else None):
        raise CheckpointError(
            f"{path} is quantised for its head {kinds[-1]!r}, not for {task!r:.80}; "
            "load the float checkpoint for the task and quantise that"
        )


def _shape(model: Model, path: str) -> tuple[int, int, bool]:
    """Outputs, inputs and whether there is a bias, of the place of a coded layer in a float model."""
    parent, _, name = path.rpartition(".")
    try:
        owner = model.get_submodule(parent)
    except AttributeError:
        owner = None
    if isinstance(owner, Head) and name == "product" and (table := table_of(model, owner)) is not None:
        return table.shape[0], table.shape[1], owner.bias is not None
    layer = owner._modules.get(name) if owner is not None else None
    if not isinstance(layer, nn.Linear) or not path.startswith(("encoder.", "decoder.")):
        raise CheckpointError(f"config.json: {ENTRY} names {quoted(path)}, which is no linear layer of this model")
    return layer.out_features, layer.in_features, layer.bias is not None


Wanted = dict[str, tuple[torch.dtype | None, tuple[int, ...]]]
"""Names of tensors with their shapes, and their types; None is any float type."""


def _wanted(model: Model, quantization: Quantization, sizes: Mapping[str, tuple[int, int, bool]]) -> Wanted:
    coded: Wanted = {}
    replaced = set()
    for path, scheme in quantization.layers.items():
        out_features, in_features, bias = sizes[path]
        if scheme == "int4" and not Int4Linear.fits(out_features, in_features, quantization.group):
            raise CheckpointError(
                f"config.json: {ENTRY} has {quoted(path)} as int4, but no int4 weight has the shape "
                f"[{out_features}, {in_features}] with groups of {quantization.group}"
            )
        parts = CODED[scheme].stored(out_features, in_features, quantization.group)
        coded |= {f"{path}.{name}": kind for name, kind in parts.items()}
        if bias:
            coded[f"{path}.bias"] = (torch.float32, (out_features,))
        owner = path.removesuffix(".product") if path.startswith("heads.") else path
        replaced |= {f"{owner}.weight", f"{owner}.bias"}
    floats: Wanted = {
        name: (None, tuple(parameter.shape)) for name, parameter in model.named_parameters() if name not in replaced
    }
    return coded | floats


def _check(tensors: TensorFile, wanted: Wanted) -> None:
    held = set(tensors.names())
    if missing := sorted(set(wanted) - held):
        raise CheckpointError(f"{tensors.path} is missing {len(missing)} tensors: {listing(missing)}")
    if extra := sorted(held - set(wanted)):
        raise CheckpointError(
            f"{tensors.path}: {len(extra)} tensors have no place in this quantised model: {listing(extra)}"
        )
    for name, (dtype, shape) in wanted.items():
        info = tensors.info(name)
        if tuple(info.shape) != shape:
            raise CheckpointError(
                f"{tensors.path}: tensor {quoted(name)} has shape {list(info.shape)}, "
                f"but the config asks for {list(shape)}"
            )
        if info.dtype != dtype if dtype is not None else not info.dtype.is_floating_point:
            asked = "a floating-point type" if dtype is None else str(dtype)
            raise CheckpointError(f"{tensors.path}: tensor {quoted(name)} holds {info.dtype}, but must hold {asked}")


class _Reader:
    """Reads tensors of a file that must be finite."""

    def __init__(self, tensors: TensorFile) -> None:
        self.tensors = tensors

    def __call__(self, name: str) -> Tensor:
        tensor = self.tensors.read(name)
        check_finite(tensor, name)
        return tensor


def _narrow(value: Tensor, dtype: torch.dtype | None) -> Tensor:
    """The value in the type it came in, if that loses nothing."""
    if dtype is None or dtype == value.dtype or not torch.equal(value.to(dtype).to(value.dtype), value):
        return value
    return value.to(dtype)
