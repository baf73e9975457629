"""Which weights of a model become codes, and the record of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from moduformer.blocks.head import Head
from moduformer.blocks.linear import FusedLinear
from moduformer.errors import SpecError
from moduformer.model import Model
from moduformer.quantize.linear import GROUPS, LAYERS, MAX_INPUTS, CodedLinear, Int4Linear

SCHEMES = tuple(LAYERS)
"""int8: 8-bit weights and activations. int4: 4-bit weights alone, for decoders."""


@dataclass(frozen=True)
class Quantization:
    """How a model was quantised: what was asked for, and the scheme each coded layer got, by its path."""

    scheme: str
    heads: str | None = None
    group: int = 32
    layers: dict[str, str] = field(default_factory=dict)

    def save(self, model: Model, folder: Path) -> Path:
        """Writes the model with its codes, for `moduformer.load`. Returns the folder."""
        from moduformer.quantize.files import save

        return save(model, self, folder)


def quantize(model: Model, scheme: str = "int8", *, heads: str | None = None, group: int = 32) -> Model:
    """Replaces the weights of a model's linear layers by codes, in place, and returns the model.

    Every linear layer of the encoder and the decoder is coded. Norms, biases and token, position and segment tables
    stay floats: a table is read, not multiplied. The result computes on the CPU, generates, is traced and saved like
    any model; it cannot be trained.

    Arguments:
        model: a float model; its weights are released as they are replaced.
        scheme: "int8", 8-bit weights with a scale for each output and activations quantised token by token; or "int4",
            4-bit weights with a scale for each group of inputs, for decoders. A layer whose shape the 4-bit kernel does
            not take (outputs that are no multiple of 16, inputs that are none of `group`) gets int8.
        heads: a scheme for the products that make the logits too; the largest product of a decoder's step. A tied
            head's codes stand beside the float table. None leaves heads as they are.
        group: inputs that share a 4-bit scale: 32, 64, 128 or 256.

    Raises `SpecError` for an unknown scheme or group, a model that is quantised already, has no values, holds one that
    is not finite, or is not on the CPU.
    """
    for name in filter(None, (scheme, heads)):
        if name not in SCHEMES:
            raise SpecError(f"scheme {name!r:.80} is not known; use {' or '.join(SCHEMES)}")
    if group not in GROUPS:
        raise SpecError(f"group is one of {', '.join(map(str, GROUPS))}, not {group!r:.80}")
    if model.quantization is not None:
        raise SpecError("this model is quantised already; quantise the float model instead")
    if model.device.type != "cpu":
        raise SpecError(f"this model is on {model.device}; quantised models run on the CPU, so move it there first")
    found = dict(_float_layers(model))
    for path, layer in found.items():
        _check_finite(path, layer.weight)
    layers: dict[str, str] = {}
    made: dict[int, CodedLinear] = {}
    with torch.no_grad():
        for path, layer in found.items():
            coded = made.get(id(layer))
            if coded is None:
                bias = layer.full_bias() if isinstance(layer, FusedLinear) else layer.bias
                coded = made[id(layer)] = _coded(scheme, layer.weight, bias, group)
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


def _float_layers(model: Model) -> list[tuple[str, nn.Linear]]:
    """Every path to a linear layer inside the stacks, also where two paths lead to one layer."""
    return [
        (path, module)
        for path, module in model.named_modules(remove_duplicate=False)
        if path.startswith(("encoder.", "decoder."))
        and type(module) in (nn.Linear, FusedLinear)
        and module.in_features <= MAX_INPUTS
    ]


def table_of(model: Model, head: Head) -> Tensor | None:
    """The matrix that makes a head's logits; None for a head that makes none."""
    return None if head.settings.kind == "pool" else head.table(model.targets.tokens.weight)


def put(model: Model, path: str, layer: CodedLinear) -> None:
    """Sets a coded layer in the place of a float one; a head's own weight and bias give way to it."""
    parent, _, name = path.rpartition(".")
    owner = model.get_submodule(parent)
    setattr(owner, name, layer)
    if isinstance(owner, Head):
        owner.bias = None
        if owner.settings.tied:
            layer.coded_numbers -= layer.out_features * layer.in_features
        else:
            del owner.weight


def _coded(scheme: str, weight: Tensor, bias: Tensor | None, group: int) -> CodedLinear:
    if scheme == "int4" and not Int4Linear.fits(weight.shape[0], weight.shape[1], group):
        scheme = "int8"
    return LAYERS[scheme].of(weight, bias, group)


def _check_finite(path: str, weight: Tensor) -> None:
    if weight.is_meta:
        raise SpecError("this model has no values; build or load it on the CPU first")
    if not all(bool(torch.isfinite(extreme)) for extreme in torch.aminmax(weight)):
        raise SpecError(f"the weight of {path} holds NaN or infinity, which no code can stand for")
