"""Attention times its gradient: which weights made a prediction (Chefer et al. 2021, arXiv 2103.15679)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from moduformer.trace import Edit, Trace


@dataclass(frozen=True, eq=False)
class Relevance:
    """For one attention: each head's part `[layers, heads]`, and each key's for each query `[queries, keys]`."""

    heads: Tensor
    weights: Tensor


class Graded(Trace):
    """A trace that keeps the attention weights of one row, for their gradient."""

    def __init__(self, names: Sequence[str]) -> None:
        self.weights: dict[str, list[Tensor]] = {name: [] for name in names}
        super().__init__(edit={f"{name}.weights": self._hold(name) for name in names})

    def _hold(self, name: str) -> Edit:
        def hold(found: Tensor) -> Tensor:
            # Of a frozen model the first layer's weights depend on nothing that is differentiated.
            held = found if found.requires_grad else found.requires_grad_()
            # A recurrent decoder attends step by step.
            self.weights[name].append(held)
            return held

        return hold


def graded(run: Callable[[Trace], Tensor], names: Sequence[str]) -> dict[str, Tensor]:
    """Weights times the gradient of a scalar with respect to them, negative parts dropped, `[heads, queries, keys]`.

    Arguments:
        run: a pass with a trace, which returns the scalar.
        names: the attentions as in a trace, such as "encoder.0.attention".
    """
    trace = Graded(names)
    with torch.enable_grad():
        value = run(trace)
        held = [part for name in names for part in trace.weights[name]]
        gradients = iter(torch.autograd.grad(value, held, allow_unused=True))
    found = {}
    for name in names:
        parts = []
        for weights in trace.weights[name]:
            gradient = next(gradients)
            parts.append(torch.zeros_like(weights) if gradient is None else weights * gradient)
        found[name] = torch.cat(parts, 2).detach()[0].clamp(min=0)
    return found


def relevance(kept: Mapping[str, Tensor], attentions: Mapping[str, Sequence[str]], asked: str) -> Relevance:
    """The relevance of every key for every query by the rules of Chefer et al. 2021, section 3.

    Arguments:
        kept: what `graded` gave.
        attentions: the names of each attention's layers, such as "encoder.attention".
        asked: the attention whose queries and keys are wanted.
    """
    layers = [kept[name] for name in attentions[asked]]
    heads = torch.stack([layer.mean((1, 2)) for layer in layers])
    means = {name: product.mean(0) for name, product in kept.items()}
    if asked.endswith("cross_attention"):
        stack = asked.partition(".")[0]
        own, source = attentions.get(f"{stack}.attention", ()), attentions.get("encoder.attention", ())
        return Relevance(heads, _crossed(means, attentions[asked], own, source))
    return Relevance(heads, _among(means, attentions[asked]))


def _among(means: Mapping[str, Tensor], names: Sequence[str]) -> Tensor:
    """R = R + A R from the identity on, a layer at a time (eq. 5 and 6)."""
    found = _identity(means[names[0]])
    for name in names:
        found = found + means[name] @ found
    return found


def _crossed(means: Mapping[str, Tensor], cross: Sequence[str], own: Sequence[str], source: Sequence[str]) -> Tensor:
    """R_ts = R_ts + R_tt' A R_ss with the self-relevances normalised, a decoder's layer at a time (eq. 8 to 11)."""
    found = torch.zeros_like(means[cross[0]])
    among = _identity(found)
    read = _normalised(_among(means, source)) if source else _identity(found.T)
    for layer, name in enumerate(cross):
        if layer < len(own):
            mixed = means[own[layer]]
            found = found + mixed @ found
            among = among + mixed @ among
        found = found + _normalised(among).T @ means[name] @ read
    return found


def _normalised(found: Tensor) -> Tensor:
    """Rows of what was added to the identity made to sum to one, and the identity again."""
    identity = _identity(found)
    added = found - identity
    sums = added.sum(-1, keepdim=True)
    return torch.where(sums > 0, added / sums.clamp(min=torch.finfo(sums.dtype).tiny), added) + identity


def _identity(like: Tensor) -> Tensor:
    return torch.eye(len(like), dtype=like.dtype, device=like.device)
