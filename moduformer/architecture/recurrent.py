"""Recurrent layers, and the decoder that reads an encoder's states through a bridge and attention."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from moduformer.errors import SpecError

GATES = {"lstm": 4, "gru": 3}


@dataclass(frozen=True)
class Recurrent:
    """Layers of recurrent cells: LSTM (Hochreiter & Schmidhuber 1997; Gers et al. 2000) or GRU (Cho et al. 2014).

    `width` are a cell's units in each direction, `last_width` those of the last layer where they differ. `direction`:
    every row is read from its beginning, from its end ("backward"), or "both" ways, whose states stand side by side.
    The GRU resets its state after the recurrent product, r * (U h + b), as the first version of its paper does.

    Dropout while training: on the first layer's input, between layers, and on the last one's output (`final_dropout`),
    drawn for every token or, if `variational`, once a row for all its tokens (Gal & Ghahramani 2016).
    `weight_dropout` drops numbers of the recurrent matrices, the same for all tokens (Merity et al. 2018, section 2).
    """

    cell: Literal["lstm", "gru"]
    layers: int
    width: int
    last_width: int | None = None
    direction: Literal["forward", "backward", "both"] = "forward"
    bias: bool = True
    input_dropout: float = 0.0
    dropout: float = 0.0
    weight_dropout: float = 0.0
    final_dropout: float = 0.0
    variational: bool = False

    @property
    def directions(self) -> int:
        """Ways in which every layer reads a row."""
        return 2 if self.direction == "both" else 1

    @property
    def weight_sets(self) -> int:
        """How many layers have weights of their own: all."""
        return self.layers

    def width_of(self, layer: int) -> int:
        """Units of a layer, counted from 0, in each direction."""
        return self.last_width or self.width if layer == self.layers - 1 else self.width

    def out_dim(self, dim: int) -> int:
        """The width of the last layer's states."""
        return self.width_of(self.layers - 1) * self.directions

    def num_parameters(self, dim: int, memory: int | None = None) -> int:
        """Numbers of all layers over inputs of width `dim`; PyTorch's cells have two bias vectors each."""
        total = 0
        for layer in range(self.layers):
            inputs = dim if layer == 0 else self.width_of(layer - 1) * self.directions
            width = self.width_of(layer)
            total += self.directions * GATES[self.cell] * width * (inputs + width + 2 * self.bias)
        return total


@dataclass(frozen=True)
class Bridge:
    """One linear layer and tanh from the encoder's last state to all first states of the decoder.

    It reads the last layer's state at its end, in both directions where there are two ("last"), in the backward one
    alone (Bahdanau et al. 2015, appendix A.2.2), or the `Summary` of the same decoder (Cho et al. 2014, appendix A.1).
    """

    reads: Literal["last", "backward", "summary"] = "last"
    bias: bool = True


@dataclass(frozen=True)
class Summary:
    """The same vector at every step: a linear layer and tanh of the encoder's last state (Cho et al. 2014)."""

    width: int
    bias: bool = True

    def num_parameters(self, query: int, memory: int) -> int:
        """Numbers of the linear layer."""
        return self.width * (memory + self.bias)

    def out_dim(self, memory: int) -> int:
        """The width of the vector."""
        return self.width


@dataclass(frozen=True)
class AdditiveAttention:
    """Scores v tanh(W s + U h + b) of encoder states h for a decoder state s (Bahdanau et al. 2015, appendix A.1.2).

    After the step it is Luong et al.'s "concat" (2015, eq. 8), whose matrix is W and U side by side."""

    width: int
    bias: bool = False

    def num_parameters(self, query: int, memory: int) -> int:
        """Numbers of W, U, v and b."""
        return self.width * (query + memory + 1 + self.bias)

    def out_dim(self, memory: int) -> int:
        """The width of the context vector."""
        return memory


@dataclass(frozen=True)
class MultiplicativeAttention:
    """Scores s h ("dot") or s W h ("general") of encoder states h for a decoder state s (Luong et al. 2015, eq. 8)."""

    score: Literal["dot", "general"] = "general"

    def num_parameters(self, query: int, memory: int) -> int:
        """Numbers of W."""
        return query * memory if self.score == "general" else 0

    def out_dim(self, memory: int) -> int:
        """The width of the context vector."""
        return memory


@dataclass(frozen=True)
class Readout:
    """One linear layer between the decoder and its heads: tanh, or the larger of each two outputs ("maxout").

    It reads, side by side, any of: the last layer's state after the step or before it ("previous"), the step's input
    word, and the context. Of state and context it is Luong et al.'s attentional vector (2015, eq. 5); of all three it
    is a deep output (Pascanu et al. 2014) as Cho et al. and Bahdanau et al. (appendix A.2.2) have it."""

    width: int
    activation: Literal["tanh", "maxout"] = "tanh"
    reads: tuple[Literal["state", "previous", "input", "context"], ...] = ("state", "context")
    bias: bool = False


@dataclass(frozen=True)
class RecurrentDecoder:
    """A recurrent decoder beside a recurrent encoder.

    It begins with the encoder's last states, layer by layer, or with what a `bridge` makes of them. A `context` vector
    of the encoder's states is made before each step from the previous state and joined to the cells' input ("input",
    Bahdanau et al. 2015), or after it from the new state ("output", Luong et al. 2015), for the `readout` alone.
    `input_feeding` joins the previous step's readout to the input (Luong et al. 2015, section 3.3)."""

    cells: Recurrent
    bridge: Bridge | None = None
    context: Summary | AdditiveAttention | MultiplicativeAttention | None = None
    context_at: Literal["input", "output"] = "input"
    readout: Readout | None = None
    input_feeding: bool = False

    @property
    def layers(self) -> int:
        """How many layers of cells it has."""
        return self.cells.layers

    @property
    def weight_sets(self) -> int:
        """How many layers have weights of their own: all."""
        return self.cells.layers

    def out_dim(self, dim: int) -> int:
        """The width that heads read."""
        return self.readout.width if self.readout else self.cells.out_dim(dim)

    def context_dim(self, memory: int) -> int:
        """The width of the context vector, 0 without one, over encoder states of width `memory`."""
        return self.context.out_dim(memory) if self.context else 0

    def input_dim(self, dim: int, memory: int) -> int:
        """What the first layer reads: the word, perhaps the context, perhaps the readout that is fed back."""
        context = self.context_dim(memory) if self.context_at == "input" else 0
        return dim + context + (self.readout.width if self.readout and self.input_feeding else 0)

    def bridge_dim(self, memory: int) -> int:
        """What the bridge reads."""
        assert self.bridge is not None
        if self.bridge.reads == "summary":
            return self.context_dim(memory)
        return memory // 2 if self.bridge.reads == "backward" else memory

    @property
    def state_dim(self) -> int:
        """The width of all layers' states side by side; an LSTM's layer has two."""
        widths = sum(self.cells.width_of(layer) for layer in range(self.cells.layers))
        return widths * (2 if self.cells.cell == "lstm" else 1)

    def readout_dims(self, dim: int, memory: int) -> tuple[int, int]:
        """Inputs and outputs of the readout's linear layer."""
        assert self.readout is not None
        top = self.cells.out_dim(dim)
        widths = {"state": top, "previous": top, "input": dim, "context": self.context_dim(memory)}
        outputs = self.readout.width * (2 if self.readout.activation == "maxout" else 1)
        return sum(widths[part] for part in self.readout.reads), outputs

    def num_parameters(self, dim: int, memory: int | None = None) -> int:
        """Numbers of cells, bridge, context and readout beside an encoder whose states have width `memory`."""
        assert memory is not None
        total = self.cells.num_parameters(self.input_dim(dim, memory))
        if self.bridge is not None:
            total += self.state_dim * (self.bridge_dim(memory) + self.bridge.bias)
        if self.context is not None:
            total += self.context.num_parameters(self.cells.out_dim(dim), memory)
        if self.readout is not None:
            inputs, outputs = self.readout_dims(dim, memory)
            total += outputs * (inputs + self.readout.bias)
        return total


def check_recurrent(part: Recurrent, name: str, writes: bool) -> None:
    """Refuses layers that cannot be built, or that read ahead of what they `write`. Raises `SpecError`."""
    if part.layers > 10_000:
        raise SpecError(f"{name}.layers is {part.layers:,}, which no published recurrent model has")
    if writes and part.direction == "both":
        raise SpecError(f"{name}: what writes a text cannot read it in both directions")


def check_recurrent_decoder(part: RecurrentDecoder, encoder: Recurrent, dim: int) -> None:
    """Refuses a decoder that does not fit its encoder, or has a field without effect. Raises `SpecError`."""
    check_recurrent(part.cells, "decoder.cells", writes=True)
    cells, memory = part.cells, encoder.out_dim(dim)
    if cells.direction != "forward":
        raise SpecError("decoder.cells beside an encoder write forward")
    if part.bridge is None:
        theirs = [encoder.width_of(i) * encoder.directions for i in range(encoder.layers)]
        ours = [cells.width_of(i) for i in range(cells.layers)]
        if encoder.cell != cells.cell or theirs != ours:
            raise SpecError(
                f"decoder: states of {cells.cell} layers of {ours} cannot be the encoder's, which are "
                f"{encoder.cell} of {theirs}; give the decoder a Bridge"
            )
    elif part.bridge.reads == "backward" and encoder.direction != "both":
        raise SpecError("decoder.bridge reads the backward half, so the encoder must read in both directions")
    elif part.bridge.reads == "summary" and not isinstance(part.context, Summary):
        raise SpecError("decoder.bridge reads the summary, but the decoder's context is not a Summary")
    if part.context == MultiplicativeAttention("dot") and cells.out_dim(dim) != memory:
        raise SpecError(
            f"decoder.context: a dot product needs states of one width, but the decoder's are {cells.out_dim(dim)} "
            f"and the encoder's {memory}; use the score 'general'"
        )
    reads = part.readout.reads if part.readout else ()
    if part.readout and (not reads or len(set(reads)) < len(reads)):
        raise SpecError(f"decoder.readout reads {reads!r}; name at least one part, and none twice")
    if "context" in reads and part.context is None:
        raise SpecError("decoder.readout reads the context, but the decoder has none")
    if part.context_at == "output" and "context" not in reads:
        raise SpecError("decoder.context_at 'output' is for a readout that reads the context")
    if part.input_feeding and part.readout is None:
        raise SpecError("decoder.input_feeding feeds the readout back, but the decoder has none")
