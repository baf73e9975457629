"""Which weights of a model are packed, as codes or as they are, and the record of it."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from moduformer.blocks.head import Head
from moduformer.blocks.linear import FusedLinear
from moduformer.errors import SpecError
from moduformer.model import Model, build, materialise
from moduformer.quantize.linear import CODED, GROUPS, MAX_INPUTS, Int4Linear
from moduformer.quantize.packed import Float16Linear, Float32Linear, PackedLinear

SCHEMES = tuple(CODED)
"""int8: 8-bit weights and activations. int4: 4-bit weights alone, for decoders. Files hold their codes."""

LAYERS: dict[str, type[PackedLinear]] = CODED | {layer.scheme: layer for layer in (Float32Linear, Float16Linear)}
"""The layer of each scheme. float32 loses nothing; float16 is stored and multiplied as float32."""


@dataclass(frozen=True)
class Quantization:
    """How a model was packed: what was asked for, and the scheme each layer got, by its path."""

    scheme: str
    heads: str | None = None
    group: int = 32
    layers: dict[str, str] = field(default_factory=dict)

    def save(self, model: Model, folder: Path) -> Path:
        """Writes the model: its codes, for `moduformer.load`, or where there are none in Hugging Face layout. Returns
        the folder."""
        if self.scheme in SCHEMES:
            from moduformer.quantize.files import save

            return save(model, self, folder)
        return unpacked(model).save(folder)


def quantize(model: Model, scheme: str = "int8", *, heads: str | None = None, group: int = 32) -> Model:
    """Replaces the weights of a model's linear layers by packed ones, in place, and returns the model.

    Every linear layer of the encoder and the decoder is packed. Norms, biases and token, position and segment tables
    stay floats: a table is read, not multiplied. The result computes on the CPU, generates, is traced and saved like
    any model; it cannot be trained.

    Arguments:
        model: a float model; its weights are released as they are replaced.
        scheme: "int8", 8-bit weights with a scale for each output and activations quantised token by token; or "int4",
            4-bit weights with a scale for each group of inputs, for decoders. A layer whose shape the 4-bit kernel does
            not take (outputs that are no multiple of 16, inputs that are none of `group`) gets int8. "float16" halves
            the bytes and computes in float32; "float32" only lays the same numbers out for oneDNN.
        heads: a scheme for the products that make the logits too; the largest product of a decoder's step. A tied
            head's codes stand beside the float table. None leaves heads as they are.
        group: inputs that share a 4-bit scale: 32, 64, 128 or 256.

    Raises `SpecError` for an unknown scheme or group, a model that is quantised already, has no values, holds one that
    is not finite, or is not on the CPU.
    """
    for name in filter(None, (scheme, heads)):
        if name not in LAYERS:
            raise SpecError(f"scheme {name!r:.80} is not known; use {', '.join(LAYERS)}")
    if group not in GROUPS:
        raise SpecError(f"group is one of {', '.join(map(str, GROUPS))}, not {group!r:.80}")
    if model.quantization is not None:
        raise SpecError(f"this model is packed as {model.quantization.scheme} already; start from the float model")
    if model.device.type != "cpu":
        raise SpecError(f"this model is on {model.device}; packed models run on the CPU, so move it there first")
    found = _float_layers(model)
    for layer, paths in found:
        _check_range(paths[0], layer.weight, scheme)
    layers: dict[str, str] = {}
    with torch.no_grad():
        while found:  # Taken out one by one, so that a layer's floats are gone before the next is packed.
            layer, paths = found.pop(0)
            bias = layer.full_bias() if isinstance(layer, FusedLinear) else layer.bias
            coded: PackedLinear = _coded(scheme, layer.weight, bias, group)
            del layer
            for path in paths:
                put(model, path, coded)
                layers[path] = coded.scheme
        for kind, head in model.heads.items() if heads else ():
            assert isinstance(head, Head)
            table = table_of(model, head)
            if heads and table is not None:
                coded = _coded(heads, table, head.bias, group)
                put(model, f"heads.{kind}.product", coded)
                layers[f"heads.{kind}.product"] = coded.scheme
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    model.quantization = Quantization(scheme, heads, group, layers)
    return model.eval()


def prepare(model: Model) -> Model:
    """A model that will only run: its float32 weights laid out for this processor, in place, where it has a layout.

    Nothing is rounded. Models that are packed already, are elsewhere than on the CPU or of another type stay as they
    are. See `quantize` for what a packed model cannot do.
    """
    if model.quantization is None and model.device.type == "cpu" and model.dtype == torch.float32:
        with suppress(SpecError):
            return quantize(model, "float32", heads="float32")
    return model


def unpacked(model: Model) -> Model:
    """The float model that a packed one stands for, with the numbers that it multiplies with."""
    assert model.quantization is not None
    packed = {path: model.get_submodule(path) for path in model.quantization.layers}
    held = {name: parameter.detach() for name, parameter in model.named_parameters()}
    floats = build(model.spec, device="meta").to(model.dtype)
    materialise(floats)
    with torch.no_grad():
        for path, module in floats.named_modules():
            for name, parameter in module.named_parameters(recurse=False):
                layer = packed.get(f"{path}.product" if isinstance(module, Head) else path)
                value = held.get(f"{path}.{name}") if layer is None else getattr(layer, name)
                assert value is not None
                if isinstance(module, FusedLinear) and value.shape != parameter.shape:
                    value = torch.cat([module.part(part, value) for part in module.biased])
                parameter.copy_(value)
    floats.tokenizer, floats.labels, floats.origin = model.tokenizer, model.labels, model.origin
    floats.notes, floats.generation_config = model.notes, model.generation_config
    return floats.eval()


def _float_layers(model: Model) -> list[tuple[nn.Linear, list[str]]]:
    """Every linear layer inside the stacks, and all paths that lead to it."""
    found: dict[nn.Linear, list[str]] = {}
    for path, module in model.named_modules(remove_duplicate=False):
        inside = path.startswith(("encoder.", "decoder."))
        if inside and type(module) in (nn.Linear, FusedLinear) and module.in_features <= MAX_INPUTS:
            found.setdefault(module, []).append(path)
    return list(found.items())


def table_of(model: Model, head: Head) -> Tensor | None:
    """The matrix that makes a head's logits; None for a head that makes none."""
    return None if head.settings.kind == "pool" else head.table(model.targets.tokens.weight)


def put(model: Model, path: str, layer: PackedLinear) -> None:
    """Sets a packed layer in the place of a float one; a head's own weight and bias give way to it."""
    parent, _, name = path.rpartition(".")
    owner = model.get_submodule(parent)
    setattr(owner, name, layer)
    if isinstance(owner, Head):
        owner.bias = None
        if owner.settings.tied:
            layer.coded_numbers -= layer.out_features * layer.in_features
        else:
            del owner.weight


def _coded(scheme: str, weight: Tensor, bias: Tensor | None, group: int) -> PackedLinear:
    if scheme == "int4" and not Int4Linear.fits(weight.shape[0], weight.shape[1], group):
        scheme = "int8"
    return LAYERS[scheme].of(weight, bias, group)


def _check_range(path: str, weight: Tensor, scheme: str) -> None:
    if weight.is_meta:
        raise SpecError("this model has no values; build or load it on the CPU first")
    extremes = [float(extreme) for extreme in torch.aminmax(weight.detach())]
    if not all(math.isfinite(extreme) for extreme in extremes):
        raise SpecError(f"the weight of {path} holds NaN or infinity, which no code can stand for")
    largest = max(abs(extreme) for extreme in extremes)
    if scheme == "float16" and largest > torch.finfo(torch.float16).max:
        raise SpecError(f"the weight of {path} holds {largest:,.0f}, beyond float16's 65,504; use float32")
