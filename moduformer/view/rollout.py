"""Attention rollout: how much of each input token is in each output, if attention were all that mixed them."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from moduformer.view.probe import Weights, chunks


def mean_weights(weights: Weights) -> Tensor:
    """One layer's weights averaged over heads, `[queries, keys]`."""
    return torch.cat([rows.mean(0) for _, rows in chunks(weights)])


def rollout(layers: Iterable[Tensor]) -> Tensor:
    """The product of all layers, half attention and half identity for the residual, rows summing to one (Abnar &
    Zuidema 2020, arXiv 2005.00928, section 3).

    Arguments:
        layers: heads' mean weights of each layer from the first on, `[tokens, tokens]` each.

    Returns `[queries, keys]` from the last layer to the input.
    """
    rolled: Tensor | None = None
    for mean in layers:
        mixed = 0.5 * mean.double() + 0.5 * torch.eye(len(mean), dtype=torch.float64, device=mean.device)
        mixed = mixed / mixed.sum(-1, keepdim=True)
        rolled = mixed if rolled is None else mixed @ rolled
    assert rolled is not None, "rollout needs a layer"
    return rolled
