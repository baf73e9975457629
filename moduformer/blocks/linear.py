"""A linear layer whose rows are several projections of the same input, computed by one matrix product."""

from __future__ import annotations

from torch import Tensor, nn


class FusedLinear(nn.Linear):
    """Projections of one input laid one under another, such as q, k and v; `parts` maps their names to their rows.

    Weight `[sum of rows, in]`. Checkpoints, learning rates and adapters address each part by its name (`part`).
    """

    def __init__(self, in_features: int, parts: dict[str, int], bias: bool = True) -> None:
        super().__init__(in_features, sum(parts.values()), bias=bias)
        self.parts = dict(parts)

    def part(self, name: str, tensor: Tensor) -> Tensor:
        """The rows of `tensor` (this layer's weight or bias) that belong to one projection, as a view."""
        start = 0
        for part, rows in self.parts.items():
            if part == name:
                return tensor.narrow(0, start, rows)
            start += rows
        raise KeyError(name)
