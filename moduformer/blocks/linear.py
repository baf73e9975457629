"""A linear layer whose rows are several projections of the same input, computed by one matrix product."""

from __future__ import annotations

from abc import abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from moduformer import native


class ActivatingLinear(nn.Module):
    """A linear layer that can apply an activation to its result on the way out."""

    @abstractmethod
    def activated(self, hidden: Tensor, activation: str) -> Tensor:
        """`[..., in]` to the named activation of its product `[..., out]`."""

    def compiled(self) -> native.Linear | None:
        """This layer for the compiled step of a decoder, where it has what that takes (see `blocks.compiled`)."""
        return None


class FusedLinear(nn.Linear):
    """Projections of one input laid one under another, such as q, k and v; `parts` maps their names to their rows.

    Weight `[sum of rows, in]`. Checkpoints, learning rates and adapters address each part by its name (`part`). Parts
    named in `without_bias` have none; the bias is then shorter than the result.
    """

    def __init__(
        self, in_features: int, parts: dict[str, int], bias: bool = True, without_bias: tuple[str, ...] = ()
    ) -> None:
        super().__init__(in_features, sum(parts.values()), bias=bias)
        self.parts = dict(parts)
        self.biased = {part: rows for part, rows in parts.items() if bias and part not in without_bias}
        if bias and without_bias:
            self.bias = nn.Parameter(torch.zeros(sum(self.biased.values())))

    def forward(self, hidden: Tensor) -> Tensor:
        """All projections of `[tokens, in]` beside each other."""
        return F.linear(hidden, self.weight, self.full_bias())

    def full_bias(self) -> Tensor | None:
        """The bias of every row, zero where a part has none; None where no part has one."""
        if self.bias is None or self.bias.shape[0] == self.out_features:
            return self.bias
        pieces = [
            self.part(part, self.bias) if part in self.biased else self.bias.new_zeros(rows)
            for part, rows in self.parts.items()
        ]
        return torch.cat(pieces)

    def part(self, name: str, tensor: Tensor) -> Tensor:
        """The rows of `tensor` (this layer's weight or bias) that belong to one projection, as a view.

        Raises `KeyError` for a bias that the projection does not have."""
        start = 0
        for part, rows in (self.parts if tensor.shape[0] == self.out_features else self.biased).items():
            if part == name:
                return tensor.narrow(0, start, rows)
            start += rows
        raise KeyError(name)
