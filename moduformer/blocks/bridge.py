"""From the vectors of an image to those that a text takes in."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from moduformer import architecture
from moduformer.architecture.vision import ImageBridge
from moduformer.batch import Batch, Rows
from moduformer.blocks.activation import ACTIVATIONS
from moduformer.blocks.attention import CrossAttention, Memory, Pass
from moduformer.blocks.embedding import Embedding
from moduformer.blocks.feed_forward import FeedForward
from moduformer.blocks.norm import Norm
from moduformer.blocks.stack import Stack
from moduformer.errors import TextError
from moduformer.kernels import Layout
from moduformer.trace import Trace


class Projector(nn.Module):
    """One linear layer (LLaVA, Liu et al. 2023a) or two with an activation between them (Liu et al. 2023b)."""

    def __init__(self, settings: architecture.Projector, inputs: int, outputs: int) -> None:
        super().__init__()
        self.activation = ACTIVATIONS[settings.activation] if settings.activation else None
        self.joined = settings.joined
        self.first = nn.Linear(settings.joined * inputs, outputs, bias=settings.bias)
        self.second = nn.Linear(outputs, outputs, bias=settings.bias) if settings.activation else None

    def forward(self, states: Tensor, instruction: Batch | None = None, trace: Trace | None = None) -> Tensor:
        """`[images, vectors, inputs]` to `[images, vectors / joined, outputs]`."""
        hidden = self.first(states.unflatten(1, (-1, self.joined)).flatten(2))
        if self.activation is not None and self.second is not None:
            hidden = self.second(self.activation(hidden))
        return hidden


class QFormer(nn.Module):
    """Li et al. 2023 (BLIP-2), section 3.1; with an instruction, Dai et al. 2023 (InstructBLIP), section 2.3."""

    def __init__(self, settings: architecture.QFormer, inputs: int, outputs: int) -> None:
        super().__init__()
        self.settings = settings
        self.queries = nn.Parameter(torch.zeros(settings.queries, settings.dim))
        self.norm = Norm(settings.norm, settings.dim)
        self.stack = Stack(settings.stack, settings.dim, "bridge", memory=inputs)
        self.text = None
        if settings.text is not None:
            self.text = Embedding(settings.text, nn.Embedding(settings.vocab or 0, settings.text.width), settings.dim)
            for number in range(settings.stack.weight_sets):
                own, block = getattr(self.stack, str(number)), settings.stack.block(number)
                assert isinstance(block.feed_forward, architecture.FeedForward)
                own.text_feed_forward = FeedForward(block.feed_forward, settings.dim)
                own.text_feed_forward_norm_res = Norm(block.norm, settings.dim)
        self.projection = nn.Linear(settings.dim, outputs)

    def forward(self, states: Tensor, instruction: Batch | None = None, trace: Trace | None = None) -> Tensor:
        """`[images, vectors, inputs]` to `[images, queries, outputs]`; `instruction` has one row an image."""
        count, number = len(states), len(self.queries)
        queries = self.norm(self.queries).expand(count, -1, -1).flatten(0, 1)
        rows = _even(count, number, states.device)
        memory = Memory(
            states.flatten(0, 1), Layout(rows, _even(count, states.shape[1], states.device)), source="vision"
        )
        if self.text is None:
            hidden = self.stack(queries, rows, memory=memory, trace=trace)
        else:
            if instruction is None:
                raise TextError("this model's bridge reads the instruction: give qformer_input_ids")
            hidden = self._with_text(self.text, queries, rows, memory, instruction, trace)
        return self.projection(hidden).view(count, number, -1)

    def _with_text(
        self, text: Embedding, queries: Tensor, rows: Rows, memory: Memory, words: Batch, trace: Trace | None
    ) -> Tensor:
        """Queries and words attend to each other; only queries look at the image, and each has its own feed-forward."""
        number, count = len(self.queries), len(rows.lengths)
        lengths = tuple(number + length for length in words.rows.lengths)
        positions = torch.cat([torch.arange(length, device=queries.device) for length in lengths])
        joint = Rows(lengths, positions)
        own = positions < number
        # Rows of the words are in their own order, longest first; the images follow it and are put back at the end.
        order = torch.tensor(words.order, device=queries.device)
        layout = Layout(rows, _even(count, memory.hidden.shape[0] // count, queries.device))
        seen = memory.hidden.view(count, -1, memory.hidden.shape[1])[order].flatten(0, 1)
        run = Pass(joint, causal=False, layout=Layout(joint, joint), trace=trace)
        crossing = Pass(rows, causal=False, layout=layout, memory=Memory(seen, layout, source="vision"), trace=trace)
        hidden = queries.new_empty(len(own), self.settings.dim)
        hidden[own], hidden[~own] = queries, self.norm(text(words))
        for layer in range(self.settings.stack.layers):
            block, name = self.stack.layer(layer), f"bridge.{layer}"
            attend = partial(block.attention, run=run, layer=layer, name=f"{name}.attention")
            hidden = block.attended(hidden, attend, run, name)
            seeing = block.feed(block.cross(hidden[own], crossing, layer, name), crossing, name)
            read = hidden[~own]
            reading = block.get_submodule("text_feed_forward_norm_res")(
                read + block.get_submodule("text_feed_forward")(read)
            )
            hidden = torch.empty_like(hidden).index_put((own,), seeing).index_put((~own,), reading)
        found = hidden[own].view(count, number, -1)
        return torch.empty_like(found).index_copy(0, order, found).flatten(0, 1)


class Resampler(nn.Module):
    """Flamingo's perceiver resampler (Alayrac et al. 2022, section 2.1), and mPLUG-Owl's visual abstractor."""

    def __init__(self, settings: architecture.Resampler, inputs: int, outputs: int) -> None:
        super().__init__()
        self.settings = settings
        self.queries = nn.Parameter(torch.zeros(settings.queries, settings.dim))
        self.layers = nn.ModuleList(ResamplerLayer(settings) for _ in range(settings.layers))
        self.norm = Norm(settings.final_norm, settings.dim) if settings.final_norm else None
        self.projection = nn.Linear(settings.dim, outputs) if settings.projected else None
        self.end = nn.Parameter(torch.zeros(settings.out_dim(outputs))) if settings.end else None

    def forward(self, states: Tensor, instruction: Batch | None = None, trace: Trace | None = None) -> Tensor:
        """`[images, vectors, dim]` to `[images, queries, outputs]`, and perhaps one vector more."""
        hidden = self.queries.expand(len(states), -1, -1)
        rows = _even(len(states), len(self.queries), states.device)
        layout = Layout(rows, _even(len(states), states.shape[1] + len(self.queries), states.device))
        for layer in self.layers:
            hidden = layer(hidden, states, rows, layout)
        if self.norm is not None:
            hidden = self.norm(hidden)
        if self.projection is not None:
            hidden = self.projection(hidden)
        return hidden if self.end is None else torch.cat((hidden, self.end.expand(len(hidden), 1, -1)), dim=1)


class ResamplerLayer(nn.Module):
    """Queries attend to image and queries, and are fed forward."""

    def __init__(self, settings: architecture.Resampler) -> None:
        super().__init__()
        dim = settings.dim
        self.settings = settings
        self.image_norm, self.query_norm = Norm(settings.norm, dim), Norm(settings.norm, dim)
        self.attention = CrossAttention(settings.attention, dim, dim)
        self.feed_forward_norm = Norm(settings.norm, dim)
        self.feed_forward = FeedForward(settings.feed_forward, dim)

    def forward(self, queries: Tensor, image: Tensor, rows: Rows, layout: Layout) -> Tensor:
        """`[images, queries, dim]` to the same shape."""
        normed = self.query_norm(queries)
        seen = torch.cat((self.image_norm(image), normed), dim=1).flatten(0, 1)
        run = Pass(rows, causal=False, layout=layout, memory=Memory(seen, layout, source="vision"))
        answer = self.attention(normed.flatten(0, 1), run, 0, "bridge").view(queries.shape)
        hidden = (normed if self.settings.residual == "normed" else queries) + answer
        return hidden + self.feed_forward(self.feed_forward_norm(hidden))


def bridge(settings: ImageBridge, inputs: int, outputs: int) -> nn.Module:
    """The module of a bridge from image vectors of width `inputs` to a text of width `outputs`."""
    return _MODULES[type(settings)](settings, inputs, outputs)


_MODULES: dict[type, type[nn.Module]] = {
    architecture.Projector: Projector,
    architecture.QFormer: QFormer,
    architecture.Resampler: Resampler,
}


def _even(count: int, length: int, device: torch.device) -> Rows:
    return Rows((length,) * count, torch.arange(length, device=device).repeat(count))
