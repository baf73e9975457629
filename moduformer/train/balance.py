"""What keeps the experts of a mixture equally busy while it trains."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from moduformer.architecture import HeadKind
from moduformer.blocks.experts import MixtureOfExperts
from moduformer.model import Model
from moduformer.train.encoded import Encoded
from moduformer.train.objectives import Objective, Prepared


@dataclass(frozen=True)
class Balanced:
    """Another objective plus `weight` times the mean load-balancing loss of the model's mixtures of experts.

    Of a mixture of E experts it is E sum_i f_i P_i, with f_i the share of the choices that fell on expert i and P_i its
    mean probability (Shazeer et al. 2017; Fedus et al. 2022, eq. 4-6): 1 where all are equally busy.
    """

    objective: Objective
    weight: float = 0.01

    @property
    def head(self) -> HeadKind:
        """The other objective's."""
        return self.objective.head

    def prepare(self, examples: Encoded, labels: Any, rows: np.ndarray, epoch: int, device: torch.device) -> Prepared:
        """The rows as the other objective has them."""
        return self.objective.prepare(examples, labels, rows, epoch, device)

    def loss(self, model: Model, prepared: Prepared) -> Tensor:
        """The other objective's sum, plus the balance once for each of its targets."""
        with routed(model) as choices:
            loss = self.objective.loss(model, prepared)
        if not choices:
            return loss
        balance = torch.stack([imbalance(logits, active) for logits, active in choices]).mean()
        return loss + self.weight * prepared.weight * balance


def imbalance(logits: Tensor, active: int) -> Tensor:
    """The load-balancing loss of one mixture, from its router's `[tokens, experts]`."""
    probabilities = logits.softmax(-1)
    chosen = F.one_hot(probabilities.topk(active, dim=-1).indices, logits.shape[-1]).sum(1).to(probabilities)
    return logits.shape[-1] * (chosen.mean(0) / active * probabilities.mean(0)).sum()


@contextmanager
def routed(model: Model) -> Iterator[list[tuple[Tensor, int]]]:
    """Within, every mixture that is run adds its router's scores and how many experts a token takes."""
    found: list[tuple[Tensor, int]] = []
    hooks = []
    for module in model.modules():
        if isinstance(module, MixtureOfExperts):
            active = module.settings.active

            def note(router: Any, given: Any, scores: Tensor, active: int = active) -> None:
                found.append((scores, active))

            hooks.append(module.router.register_forward_hook(note))
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()
