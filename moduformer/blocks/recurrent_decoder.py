"""A recurrent decoder that reads an encoder's states: its bridge, its attention, its readout."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from moduformer import architecture
from moduformer.batch import Batch, Rows
from moduformer.blocks.attention import Memory
from moduformer.blocks.recurrent import WHOLE, Packing, Recurrent, State, begin
from moduformer.cache import Cache
from moduformer.errors import TextError
from moduformer.trace import Trace


class Summary(nn.Module):
    """One vector for all steps (Cho et al. 2014, appendix A.1): tanh of the encoder's last state, projected."""

    def __init__(self, settings: architecture.Summary, query: int, memory: int) -> None:
        super().__init__()
        self.dense = nn.Linear(memory, settings.width, bias=settings.bias)

    def source(self, memory: Memory, last: list[State]) -> State:
        """The vector of every row `[rows, width]`."""
        return (torch.tanh(self.dense(last[-1][0])),)

    def forward(self, query: Tensor, source: State) -> tuple[Tensor, Tensor | None]:
        """The vector for every query `[rows, steps, width]`; it has no weights."""
        return source[0].unsqueeze(1).expand(-1, query.shape[1], -1), None


class Attending(nn.Module):
    """A context vector for queries `[rows, steps, query]`: the mean of a row's encoder states, weighted by scores."""

    def keys(self, memory: Tensor) -> Tensor:
        """What scores need of the encoder's states `[tokens, memory]`, made once."""
        raise NotImplementedError

    def scores(self, query: Tensor, keys: Tensor) -> Tensor:
        """`[rows, steps, query]` and `[rows, places, ...]` to `[rows, steps, places]`."""
        raise NotImplementedError

    def source(self, memory: Memory, last: list[State]) -> State:
        """Keys and values of every row on a grid of places, and which places hold a token."""
        rows = memory.layout.keys
        real = memory.hidden.new_ones(rows.tokens, dtype=torch.bool)
        return tuple(_grid(flat, rows) for flat in (self.keys(memory.hidden), memory.hidden, real))

    def forward(self, query: Tensor, source: State) -> tuple[Tensor, Tensor | None]:
        """The context vectors `[rows, steps, memory]` and the weights `[rows, steps, places]`."""
        keys, values, real = source
        scores = self.scores(query, keys).masked_fill(~real.unsqueeze(1), float("-inf"))
        weights = scores.softmax(-1)
        return weights @ values, weights


class Additive(Attending):
    """`architecture.AdditiveAttention`; U h + b is made once for all steps."""

    def __init__(self, settings: architecture.AdditiveAttention, query: int, memory: int) -> None:
        super().__init__()
        self.q = nn.Linear(query, settings.width, bias=False)
        self.k = nn.Linear(memory, settings.width, bias=settings.bias)
        self.v = nn.Linear(settings.width, 1, bias=False)

    def keys(self, memory: Tensor) -> Tensor:
        """U h + b."""
        projected: Tensor = self.k(memory)
        return projected

    def scores(self, query: Tensor, keys: Tensor) -> Tensor:
        """v tanh(W s + U h + b)."""
        scores: Tensor = self.v(torch.tanh(self.q(query).unsqueeze(2) + keys.unsqueeze(1)))
        return scores.squeeze(-1)


class Multiplicative(Attending):
    """`architecture.MultiplicativeAttention`; W h is made once for all steps."""

    def __init__(self, settings: architecture.MultiplicativeAttention, query: int, memory: int) -> None:
        super().__init__()
        self.k = nn.Linear(memory, query, bias=False) if settings.score == "general" else None

    def keys(self, memory: Tensor) -> Tensor:
        """W h, or h itself."""
        return memory if self.k is None else self.k(memory)

    def scores(self, query: Tensor, keys: Tensor) -> Tensor:
        """s W h."""
        return query @ keys.transpose(1, 2)


CONTEXTS: dict[type, Any] = {
    architecture.Summary: Summary,
    architecture.AdditiveAttention: Additive,
    architecture.MultiplicativeAttention: Multiplicative,
}


class RecurrentDecoder(Recurrent):
    """Cells, and what ties them to an encoder whose states have width `memory`."""

    def __init__(self, settings: architecture.RecurrentDecoder, dim: int, name: str, memory: int) -> None:
        super().__init__(settings.cells, settings.input_dim(dim, memory), name)
        self.settings, self.dim = settings, dim
        top, bridge, context, readout = settings.cells.out_dim(dim), settings.bridge, settings.context, settings.readout
        self.bridge = nn.Linear(settings.bridge_dim(memory), settings.state_dim, bias=bridge.bias) if bridge else None
        self.context = CONTEXTS[type(context)](context, top, memory) if context else None
        self.readout = nn.Linear(*settings.readout_dims(dim, memory), bias=readout.bias) if readout else None
        # Additive scores of all steps at once would hold steps x places x width numbers.
        alike = isinstance(context, architecture.Summary | None)
        after = isinstance(context, architecture.MultiplicativeAttention) and settings.context_at == "output"
        reads_back = settings.input_feeding or (readout is not None and "previous" in readout.reads)
        self.step_by_step = reads_back or not (alike or after)

    def forward(
        self,
        hidden: Tensor,
        rows: Rows,
        memory: Memory | None = None,
        cache: Cache | None = None,
        trace: Trace | None = None,
        batch: Batch | None = None,
    ) -> Tensor:
        """The target's words `[tokens, dim]` to what heads read, `[tokens, out_dim]`."""
        packing, kept = Packing.of(rows), begin(cache, rows)
        if kept is not None and kept.states:
            states, source, fed = kept.states, kept.source, kept.fed
        else:
            if memory is None or memory.last is None:
                raise TextError("a recurrent decoder begins with its encoder's last states; leave `encoded` out")
            source = self.context.source(memory, memory.last) if self.context is not None else None
            states = self._first_states(memory.last, source)
            fed = self._nothing_fed(hidden, len(rows.lengths))
        if kept is not None:
            kept.source = source
        order, drawn = packing.order, self.draw(hidden, len(rows.lengths))
        source = None if source is None else tuple(part[order] for part in source)
        states, fed = [tuple(part[order] for part in state) for state in states], None if fed is None else fed[order]
        hidden = self.drop(hidden[packing.index], 0, self.cells.input_dropout, packing.rank, drawn)
        outputs, weights = [], []
        for tokens in packing.steps() if self.step_by_step else (WHOLE,):
            words, rank = hidden[tokens], packing.rank[tokens]
            going = len(words) if self.step_by_step else len(order)
            seen = None if source is None else tuple(part[:going] for part in source)
            time = None if self.step_by_step else packing.time
            parts = {"input": words, "previous": states[-1][0][rank]}
            if seen is not None and self.settings.context_at == "input":
                parts["context"], found = self._attend(parts["previous"], rank, time, seen, trace)
                weights += found
            inputs = [words]
            if self.settings.context_at == "input" and "context" in parts:
                inputs.append(parts["context"])
            if fed is not None:
                inputs.append(fed[rank])
            parts["state"], states = self.layers(torch.cat(inputs, 1), packing, tokens, states, drawn, trace)
            if seen is not None and self.settings.context_at == "output":
                parts["context"], found = self._attend(parts["state"], rank, time, seen, trace)
                weights += found
            outputs.append(self._read_out(parts))
            if fed is not None:
                fed = torch.cat((outputs[-1], fed[going:]))
        if kept is not None:
            back = order.argsort()
            kept.states = [tuple(part[back] for part in state) for state in states]
            kept.fed = None if fed is None else fed[back]
        if trace is not None:
            if self.step_by_step:
                for number in range(self.cells.layers):
                    trace.join(f"{self.name}.{number}.hidden", packing.back)
            if weights:
                trace.align(self._weights_name, torch.cat(weights)[packing.back], "encoder")
        hidden = self.drop(torch.cat(outputs), self.cells.layers, self.cells.final_dropout, packing.rank, drawn)
        return hidden[packing.back]

    def _first_states(self, last: list[State], source: State | None) -> list[State]:
        if self.bridge is None:
            return last
        assert self.settings.bridge is not None
        reads = last[-1][0]
        if self.settings.bridge.reads == "summary":
            assert source is not None
            reads = source[0]
        elif self.settings.bridge.reads == "backward":
            reads = reads.chunk(2, dim=1)[1]
        parts = 2 if self.cells.cell == "lstm" else 1
        widths = [self.cells.width_of(number) for number in range(self.cells.layers) for _ in range(parts)]
        found = torch.tanh(self.bridge(reads)).split(widths, dim=1)
        return [tuple(found[i : i + parts]) for i in range(0, len(found), parts)]

    def _attend(
        self, query: Tensor, rank: Tensor, time: Tensor | None, source: State, trace: Trace | None
    ) -> tuple[Tensor, list[Tensor]]:
        """Context vectors of packed tokens, and their weights `[tokens, places]` if there are any.

        `time` is each token's step, None where all are of one."""
        assert self.context is not None
        grid = query.unsqueeze(1)
        if time is not None:
            grid = query.new_zeros(len(source[0]), int(time.max()) + 1, query.shape[1]).index_put((rank, time), query)
        context, weights = self.context(grid, source)
        if trace is not None and weights is not None:
            edited = trace.weigh(self._weights_name, weights.unsqueeze(1)).squeeze(1)
            context, weights = edited @ source[1], edited
        places = (rank, torch.zeros_like(rank) if time is None else time)
        return context[places], [] if weights is None else [weights[places]]

    def _nothing_fed(self, like: Tensor, rows: int) -> Tensor | None:
        """What stands for the readout before the first step, where one is fed back."""
        return like.new_zeros(rows, self.settings.readout.width) if self.settings.input_feeding else None  # type: ignore

    def _read_out(self, parts: dict[str, Tensor]) -> Tensor:
        settings = self.settings.readout
        if settings is None or self.readout is None:
            return parts["state"]
        made: Tensor = self.readout(torch.cat([parts[name] for name in settings.reads], 1))
        return torch.tanh(made) if settings.activation == "tanh" else made.unflatten(1, (-1, 2)).amax(-1)

    @property
    def _weights_name(self) -> str:
        return f"{self.name}.{self.cells.layers - 1}.cross_attention.weights"


def _grid(flat: Tensor, rows: Rows) -> Tensor:
    """`[tokens, ...]` as `[rows, places, ...]`, zero where a row has ended."""
    place = torch.arange(rows.tokens, device=flat.device) - rows.starts[rows.row_of]
    grid = flat.new_zeros(len(rows.lengths), max(rows.lengths), *flat.shape[1:])
    return grid.index_put((rows.row_of, place), flat)
