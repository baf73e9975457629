"""Which layers train, and how fast: discriminative rates, gradual unfreezing, frozen parts.

A group is a layer of the model (`Model.layer_groups`), counted from the input up; adapters, if any, are a group on top.
Freezing sets `requires_grad` to False: autograd then records nothing below the lowest trained layer, so its backward
pass is not computed and its activations are not kept, as under `torch.no_grad`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn

from moduformer.errors import TrainingError
from moduformer.model import Model

RATE_DECAY = 2.6
"""Howard & Ruder 2018, section 3.2: each layer trains at the rate of the one above divided by 2.6."""


class Policy(Protocol):
    """Which groups train in an epoch (counted from 0)."""

    def trained(self, names: Sequence[str], epoch: int) -> list[str]: ...


@dataclass(frozen=True)
class TrainAll:
    """Every group, always."""

    def trained(self, names: Sequence[str], epoch: int) -> list[str]:
        """All names."""
        return list(names)


@dataclass(frozen=True)
class GradualUnfreezing:
    """The head alone first, then one more group from the top each epoch (Howard & Ruder 2018, section 3.3)."""

    def trained(self, names: Sequence[str], epoch: int) -> list[str]:
        """The top `epoch + 1` groups."""
        return list(names[-(epoch + 1) :])


@dataclass(frozen=True)
class TopGroups:
    """The top `count` groups; 1 is the head alone."""

    count: int

    def trained(self, names: Sequence[str], epoch: int) -> list[str]:
        """The last `count` names."""
        return list(names[-self.count :]) if self.count > 0 else []


@dataclass(frozen=True)
class Only:
    """The groups with these names."""

    groups: tuple[str, ...]

    def trained(self, names: Sequence[str], epoch: int) -> list[str]:
        """The given names. Raises `TrainingError` if one is not a group."""
        if unknown := [name for name in self.groups if name not in names]:
            raise TrainingError(f"no group is called {unknown[0]!r}; this model has {', '.join(names)}")
        return [name for name in names if name in self.groups]


@dataclass(frozen=True, eq=False)
class Group:
    """A layer's parameters by name, and the share of the learning rate it takes."""

    name: str
    rate: float
    parameters: dict[str, nn.Parameter]


def layer_groups(model: Model, adapters: nn.Module | None = None, rate_decay: float = 1.0) -> list[Group]:
    """The model's groups from the input up, without empty ones.

    Args:
        model: the model to train.
        adapters: modules beside the model (see `lora`); they are one more group above the head's.
        rate_decay: each group takes the rate of the one above divided by this (1: one rate for all).
    """
    names = {parameter: name for name, parameter in model.named_parameters()}
    found = [(name, {names[p]: p for p in members}) for name, members in model.layer_groups() if members]
    if adapters is not None:
        found.append(("adapters", {f"adapters.{name}": p for name, p in adapters.named_parameters()}))
    top = len(found) - 1
    return [Group(name, rate_decay ** -(top - i), members) for i, (name, members) in enumerate(found)]


def set_trained(groups: Sequence[Group], trained: Sequence[str], frozen: Sequence[Tensor] = ()) -> None:
    """Lets exactly the groups named in `trained` train, without `frozen` parameters; forgets frozen gradients."""
    wanted = set(trained)
    never = set(map(id, frozen))
    for group in groups:
        for parameter in group.parameters.values():
            parameter.requires_grad_(group.name in wanted and id(parameter) not in never)
            if not parameter.requires_grad:
                parameter.grad = None


def decays(parameter: nn.Parameter) -> bool:
    """Whether weight decay applies: to matrices, not to biases and norms."""
    return parameter.ndim >= 2
