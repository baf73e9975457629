"""Images to vectors: patches, the stack of an image encoder, and the bridge to a text."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from moduformer import architecture
from moduformer.batch import Batch
from moduformer.blocks.bridge import bridge
from moduformer.blocks.head import Head
from moduformer.blocks.norm import Norm
from moduformer.blocks.stack import Stack
from moduformer.errors import TextError
from moduformer.trace import Trace


class Patches(nn.Module):
    """Squares of an image by one linear layer, a class token before them, and a vector for every place."""

    def __init__(self, settings: architecture.Patches, dim: int) -> None:
        super().__init__()
        self.settings = settings
        size = settings.patch
        self.projection = nn.Conv2d(settings.channels, dim, size, stride=size, bias=settings.bias)
        self.class_token = nn.Parameter(torch.zeros(dim)) if settings.class_token else None
        self.positions = nn.Embedding(settings.tokens, dim)
        self.norm = Norm(settings.norm, dim) if settings.norm else None

    def forward(self, pixels: Tensor) -> Tensor:
        """`[images, channels, height, width]` to `[images, tokens, dim]`. Raises `TextError` for another size."""
        settings = self.settings
        wanted = (settings.channels, settings.image, settings.image)
        if pixels.dim() != 4 or tuple(pixels.shape[1:]) != wanted:
            raise TextError(
                f"pixel_values must be [images, {', '.join(map(str, wanted))}], but is {list(pixels.shape)}; "
                "an image processor made from preprocessor_config.json gives that size"
            )
        hidden = self.projection(pixels.to(self.projection.weight.dtype)).flatten(2).transpose(1, 2)
        if self.class_token is not None:
            hidden = torch.cat((self.class_token.expand(len(hidden), 1, -1), hidden), dim=1)
        hidden = F.dropout(hidden + self.positions.weight, settings.dropout, self.training)
        return hidden if self.norm is None else self.norm(hidden)


class Vision(nn.Module):
    """An image encoder and its bridge to a text of width `text`."""

    def __init__(self, settings: architecture.Vision, text: int) -> None:
        super().__init__()
        self.settings = settings
        self.patches = Patches(settings.patches, settings.dim)
        self.stack = Stack(settings.stack, settings.dim, "vision")
        self.heads = nn.ModuleDict({head.kind: Head(head, 0, settings.dim) for head in settings.heads})
        self.bridge = bridge(settings.bridge, settings.dim, text) if settings.bridge else None
        self.logit_scale = nn.Parameter(torch.tensor(2.6592)) if settings.temperature else None

    def forward(self, pixels: Tensor, trace: Trace | None = None) -> Tensor:
        """`[images, channels, height, width]` to the states of all patches, `[images, tokens, dim]`."""
        hidden = self.patches(pixels)
        rows = Batch.from_pixels(pixels, hidden.shape[1]).rows
        flat = self.stack(hidden.flatten(0, 1), rows, trace=trace, depth=self.settings.depth)
        return flat.view(hidden.shape)

    def vectors(self, pixels: Tensor, instruction: Batch | None = None, trace: Trace | None = None) -> Tensor:
        """What a text sees of every image, `[images, vectors, width]`.

        `instruction` `[images rows]` is the text that a Q-Former reads along with the image, where it reads one.
        """
        states = self(pixels, trace)
        if not self.settings.class_kept:
            states = states[:, 1:]
        return states if self.bridge is None else self.bridge(states, instruction, trace)

    def embeds(self, states: Tensor) -> dict[str, Tensor]:
        """What the heads make of every image, `[images, outputs]` each, by kind."""
        found: dict[str, Tensor] = {}
        for head in self.settings.heads:
            seen = found["pool"] if head.reads == "pool" else states[:, 0]
            found[head.kind] = self.heads[head.kind](seen, states)
        return found
