"""Recurrent layers over ragged rows.

A flat run is laid out by time for the cells: the first token of every row, longest rows first, then every second token,
as PyTorch's packed sequences are. That is one permutation of the tokens; nothing is padded.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from moduformer import architecture
from moduformer.batch import Batch, Rows
from moduformer.blocks.attention import Memory
from moduformer.cache import Cache
from moduformer.errors import TextError
from moduformer.trace import Trace

State = tuple[Tensor, ...]
"""What a layer remembers of every row: h, and c of an LSTM, each `[rows, directions * width]`."""

WHOLE = slice(None)

CELLS: dict[str, type[nn.LSTM] | type[nn.GRU]] = {"lstm": nn.LSTM, "gru": nn.GRU}


@dataclass(frozen=True, eq=False)
class Packing:
    """A flat run laid out by time.

    Packed row `i` is row `order[i]`; packed token `n` is token `index[n]` of the flat run, which lies at `back[...]`
    there, and belongs to packed row `rank[n]` at step `time[n]`. `sizes` (on the CPU) are the rows at each step.
    """

    order: Tensor
    index: Tensor
    back: Tensor
    rank: Tensor
    time: Tensor
    sizes: Tensor

    @classmethod
    def of(cls, rows: Rows, backward: bool = False) -> Packing:
        """The packing of rows, read from their ends if `backward`."""
        lengths = torch.tensor(rows.lengths)
        order = lengths.argsort(descending=True, stable=True).to(rows.positions.device)
        rank = torch.empty_like(order)
        rank[order] = torch.arange(len(order), device=order.device)
        time = torch.arange(rows.tokens, device=order.device) - rows.starts[rows.row_of]
        if backward:
            time = rows.ends[rows.row_of] - rows.starts[rows.row_of] - time
        ranks = rank[rows.row_of]
        index = (time * len(order) + ranks).argsort()
        back = torch.empty_like(index)
        back[index] = torch.arange(len(index), device=index.device)
        sizes = torch.bincount(time.cpu())
        return cls(order, index, back, ranks[index], time[index], sizes)

    def steps(self) -> Iterator[slice]:
        """The packed tokens of each step."""
        start = 0
        for size in self.sizes.tolist():
            yield slice(start, start + size)
            start += size


@dataclass(eq=False)
class RecurrentCache(Cache):
    """What recurrent layers remember of `rows` rows: no tokens, only the last state of every layer.

    A decoder beside an encoder also keeps `source`, what it made of the encoder's states (each `[rows, ...]`), and
    `fed`, the last readout. What a backward model is given next stands before what it has read.
    """

    states: list[State] = field(default_factory=list)
    source: State | None = None
    fed: Tensor | None = None

    @classmethod
    def empty(cls, rows: int, device: torch.device | str | None = None) -> RecurrentCache:
        """A cache that has seen nothing."""
        return cls(rows, [], {}, torch.zeros(rows, dtype=torch.long, device=device))

    def select(self, chosen: Sequence[int], source: Tensor | None = None) -> None:
        """Keeps these rows, in this order; a row may come more than once. Without `source` each keeps its source."""
        super().select(chosen, source)
        index = torch.tensor(chosen, dtype=torch.long, device=self.seen.device)
        self.states = [tuple(part[index] for part in state) for state in self.states]
        self.fed = None if self.fed is None else self.fed[index]
        if self.source is not None and source is not None:
            self.source = tuple(part[index] for part in self.source)

    def truncate(self, lengths: Sequence[int] | Tensor) -> None:
        """Raises `TextError` unless nothing is to be forgotten: a state holds all that was read, and nothing apart."""
        wanted = torch.as_tensor(lengths, dtype=torch.long, device=self.seen.device)
        if not torch.equal(wanted, self.seen):
            raise TextError(
                f"rows of {self.seen.tolist()} tokens cannot be cut back to {wanted.tolist()}: a recurrent state "
                "forgets nothing it has read; read the text anew with an empty cache"
            )


@dataclass(eq=False)
class Drawn:
    """What training draws once for a whole pass: recurrent matrices with dropped numbers, and variational masks."""

    weights: list[list[Tensor]]
    masks: dict[int, Tensor]


class Recurrent(nn.Module):
    """Layers of cells in order. Children are PyTorch's own layers, named by their number."""

    def __init__(self, settings: architecture.Recurrent, dim: int, name: str, memory: int | None = None) -> None:
        super().__init__()
        self.cells, self.name = settings, name
        for number in range(settings.layers):
            inputs = dim if number == 0 else settings.width_of(number - 1) * settings.directions
            both = settings.direction == "both"
            layer = CELLS[settings.cell](inputs, settings.width_of(number), bias=settings.bias, bidirectional=both)
            self.add_module(str(number), layer)

    def forward(
        self,
        hidden: Tensor,
        rows: Rows,
        memory: Memory | None = None,
        cache: Cache | None = None,
        trace: Trace | None = None,
        batch: Batch | None = None,
    ) -> Tensor:
        """`[tokens, dim]` to `[tokens, directions * width of the last layer]`."""
        return self.encode(hidden, rows, cache, trace)[0]

    def encode(
        self, hidden: Tensor, rows: Rows, cache: Cache | None = None, trace: Trace | None = None
    ) -> tuple[Tensor, list[State]]:
        """What `forward` gives, and the last state of every layer, rows in order."""
        packing = Packing.of(rows, self.cells.direction == "backward")
        began = begin(cache, rows)
        states = began.states if began is not None and began.states else self._zeros(hidden, len(rows.lengths))
        drawn = self.draw(hidden, len(rows.lengths))
        hidden = self.drop(hidden[packing.index], 0, self.cells.input_dropout, packing.rank, drawn)
        states = [tuple(part[packing.order] for part in state) for state in states]
        hidden, states = self.layers(hidden, packing, WHOLE, states, drawn, trace)
        back = packing.order.argsort()
        states = [tuple(part[back] for part in state) for state in states]
        if began is not None:
            began.states = states
        hidden = self.drop(hidden, self.cells.layers, self.cells.final_dropout, packing.rank, drawn)
        return hidden[packing.back], states

    def layers(
        self,
        hidden: Tensor,
        packing: Packing,
        tokens: slice,
        states: list[State],
        drawn: Drawn,
        trace: Trace | None,
    ) -> tuple[Tensor, list[State]]:
        """All layers over some packed tokens: the whole pass, or one step. States are of packed rows."""
        whole = tokens == WHOLE
        sizes = packing.sizes if whole else torch.tensor([len(hidden)])
        rank, after = packing.rank[tokens], []
        for number, state in enumerate(states):
            hidden, state = self.cell(number, hidden, sizes, state, drawn.weights[number])
            after.append(state)
            if trace is not None:
                hidden = self._see(trace, number, hidden, packing if whole else None)
            if number < self.cells.layers - 1:
                hidden = self.drop(hidden, number + 1, self.cells.dropout, rank, drawn)
        return hidden, after

    def cell(
        self, number: int, hidden: Tensor, sizes: Tensor, state: State, weights: list[Tensor]
    ) -> tuple[Tensor, State]:
        """One layer over packed tokens; rows that have ended keep their state."""
        going, settings = int(sizes[0]), self.cells
        first = [part[:going].unflatten(1, (settings.directions, -1)).transpose(0, 1).contiguous() for part in state]
        options = (weights, settings.bias, 1, 0.0, self.training, settings.direction == "both")
        last: list[Tensor]
        if settings.cell == "lstm":
            hidden, *last = torch.lstm(hidden, sizes, first, *options)
        else:
            hidden, *last = torch.gru(hidden, sizes, first[0], *options)
        joined = [part.transpose(0, 1).flatten(1) for part in last]
        if going < len(state[0]):
            joined = [torch.cat((new, old[going:])) for new, old in zip(joined, state)]
        return hidden, tuple(joined)

    def draw(self, hidden: Tensor, rows: int) -> Drawn:
        """The weights of a pass and, where dropout is variational, a mask for every row."""
        settings, weights, masks = self.cells, [], {}
        for number in range(settings.layers):
            layer = getattr(self, str(number))
            found = [weight for direction in layer.all_weights for weight in direction]
            if self.training and settings.weight_dropout:
                a_direction = len(found) // settings.directions
                for place in range(1, len(found), a_direction):
                    found[place] = F.dropout(found[place], settings.weight_dropout)
            weights.append(found)
        if self.training and settings.variational:
            masks[0] = F.dropout(hidden.new_ones(rows, hidden.shape[1]), settings.input_dropout)
            for number in range(1, settings.layers + 1):
                rate = settings.final_dropout if number == settings.layers else settings.dropout
                width = self._width_after(number)
                masks[number] = F.dropout(hidden.new_ones(rows, width), rate)
        return Drawn(weights, masks)

    def drop(self, hidden: Tensor, place: int, rate: float, rank: Tensor, drawn: Drawn) -> Tensor:
        """Dropout before layer number `place` (or after the last), of packed rows `rank`."""
        if not self.training or not rate:
            return hidden
        return hidden * drawn.masks[place][rank] if place in drawn.masks else F.dropout(hidden, rate)

    def cache(self, rows: int, device: torch.device) -> Cache:
        """An empty cache. Raises `TextError` for layers that read both ways, which need a row's end to begin."""
        if self.cells.direction == "both":
            raise TextError("layers that read a text in both directions need all of it, so they have no cache")
        return RecurrentCache.empty(rows, device)

    def layer_groups(self) -> Iterator[tuple[str, list[nn.Parameter]]]:
        """The parameters of each layer; what is there beside the layers belongs to the last."""
        named = dict(self.named_parameters())
        for number in range(self.cells.layers):
            own = [name for name in named if name.startswith(f"{number}.")]
            members = [named.pop(name) for name in own]
            yield f"{self.name}.{number}", members + (list(named.values()) if number == self.cells.layers - 1 else [])

    def _see(self, trace: Trace, number: int, hidden: Tensor, packing: Packing | None) -> Tensor:
        name = f"{self.name}.{number}.hidden"
        if packing is None:
            return trace.step(name, hidden)
        # An edit expects the flat run in its own order.
        return trace.see(name, hidden[packing.back])[packing.index]

    def _width_after(self, layers: int) -> int:
        return self.cells.width_of(layers - 1) * self.cells.directions

    def _zeros(self, like: Tensor, rows: int) -> list[State]:
        parts = 2 if self.cells.cell == "lstm" else 1
        widths = [self._width_after(number) for number in range(1, self.cells.layers + 1)]
        return [tuple(like.new_zeros(rows, width) for _ in range(parts)) for width in widths]


def begin(cache: Cache | None, rows: Rows) -> RecurrentCache | None:
    """The cache of a pass, told which tokens come. Raises `TextError` for another model's, or rows it does not hold."""
    if cache is None:
        return None
    if not isinstance(cache, RecurrentCache):
        raise TextError("this cache was made for a model of another kind; take model.cache(rows)")
    cache.place(rows)
    return cache
