"""A convolution over the tokens of each row."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from moduformer import architecture
from moduformer.batch import Rows
from moduformer.blocks.activation import ACTIVATIONS
from moduformer.blocks.norm import Norm


class Convolution(nn.Module):
    """A convolution whose activated result is added to other states and normed with them (DeBERTa v2)."""

    def __init__(self, settings: architecture.Convolution, dim: int) -> None:
        super().__init__()
        self.settings = settings
        self.kernel = nn.Conv1d(dim, dim, settings.width, padding=settings.width // 2, groups=settings.groups)
        self.activation = ACTIVATIONS[settings.activation]
        self.norm = Norm(settings.norm, dim)

    def forward(self, inputs: Tensor, states: Tensor, rows: Rows) -> Tensor:
        """Inputs and states `[tokens, dim]` in, states out. Beyond a row, and in its holes, there are zeros."""
        width = int(rows.positions.max()) + 1
        cells = rows.row_of * width + rows.positions
        grid = inputs.new_zeros(len(rows.lengths) * width, inputs.shape[1]).index_copy(0, cells, inputs)
        made = self.kernel(grid.unflatten(0, (-1, width)).transpose(1, 2)).transpose(1, 2).flatten(0, 1)[cells]
        made = self.activation(F.dropout(made, self.settings.dropout, self.training))
        return self.norm(states + made)
