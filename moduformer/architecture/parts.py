"""The parts of an architecture: every field is an axis on which published Transformers differ, in standard terms."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Activation = Literal["gelu", "gelu_tanh", "gelu_sigmoid", "relu", "silu", "tanh"]
HeadKind = Literal[
    "pool",
    "embed",
    "entity",
    "masked-lm",
    "language-model",
    "replaced-token",
    "next-sentence",
    "match",
    "classify",
    "tag",
    "span",
]


@dataclass(frozen=True)
class Norm:
    """Layer normalisation (Ba et al. 2016) or root-mean-square normalisation (Zhang & Sennrich 2019).

    With `unit_offset` the stored weight is what is added to one (Gemma)."""

    kind: Literal["layer", "rms"] = "layer"
    eps: float = 1e-12
    weight: bool = True
    bias: bool = True
    unit_offset: bool = False

    def num_parameters(self, dim: int) -> int:
        """Numbers of a norm over `dim` dimensions."""
        return dim * (self.weight + (self.kind == "layer" and self.bias))


@dataclass(frozen=True)
class LinearScaling:
    """Rotary positions divided by `factor` (Chen et al. 2023, position interpolation)."""

    factor: float


@dataclass(frozen=True)
class DynamicScaling:
    """A larger base for rows longer than `original_context`, the longer the larger (NTK-aware, bloc97 2023).

    Keys in a cache keep the turn of the pass that read them."""

    factor: float
    original_context: int


@dataclass(frozen=True)
class Llama3Scaling:
    """LLaMA 3.1: low rotary frequencies divided by `factor`, high ones kept, smooth in between."""

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_context: int


@dataclass(frozen=True)
class YarnScaling:
    """YaRN (Peng et al. 2023): interpolation by wavelength, and a temperature on the attention scores."""

    factor: float
    original_context: int
    beta_fast: float = 32.0
    beta_slow: float = 1.0


@dataclass(frozen=True)
class Rotary:
    """Rotary positions (Su et al. 2021) on the first `dim` dimensions of every head.

    `pairing` says which dimensions turn together: "halves" (i, i + dim/2) or "pairs" (2i, 2i + 1). With two `axes` the
    first half of the dimensions turns by a token's first coordinate, the second by its second (ChatGLM).
    """

    dim: int
    base: float = 10000.0
    pairing: Literal["halves", "pairs"] = "halves"
    scaling: LinearScaling | DynamicScaling | Llama3Scaling | YarnScaling | None = None
    axes: int = 1


@dataclass(frozen=True)
class ALiBi:
    """Score biases that fall linearly with distance (Press et al. 2022), at slopes from 2^(-max_bias / heads) on down.

    `scaled`: the biases are added before the scores are scaled, so the scale applies to them too. `rounding`
    "bfloat16" rounds slope times key position, as Falcon does."""

    max_bias: float = 8.0
    scaled: bool = False
    rounding: Literal["float32", "bfloat16"] = "float32"


@dataclass(frozen=True)
class RelativeBuckets:
    """Learned score biases by bucketed distance (Raffel et al. 2020, T5), one table for all layers of a stack."""

    buckets: int = 32
    max_distance: int = 128


@dataclass(frozen=True)
class Disentangled:
    """Scores of contents against positions beside those of contents (He et al. 2021, DeBERTa, eq. 4).

    `terms` are the query's content against the key's position ("c2p") and the key's content against the query's
    position ("p2c"). Positions are the stack's `distances`, projected by each layer; where `shared`, by the matrices
    that project content."""

    terms: tuple[Literal["c2p", "p2c"], ...] = ("c2p", "p2c")
    shared: bool = False
    dropout: float = 0.0

    def num_parameters(self, dim: int, inner: int) -> int:
        """Numbers of one layer's projections of positions."""
        return 0 if self.shared else len(self.terms) * inner * (dim + 1)


@dataclass(frozen=True)
class RelativeSinusoids:
    """Scores of contents against sinusoids of the distance, which each layer projects, in place of absolute positions
    (Dai et al. 2019, Transformer-XL, section 3.3).

    Distances beyond `reach` count as `reach`; with `segments`, scores also say whether two tokens are of one segment
    (Yang et al. 2019, XLNet, section 2.5)."""

    segments: bool = False
    reach: int | None = None
    base: float = 10000.0
    dropout: float = 0.0

    def num_parameters(self, dim: int, inner: int) -> int:
        """Numbers of one layer's projection of distances, and of what stands for the query's own position."""
        return inner * (dim + 2 + 3 * self.segments)


@dataclass(frozen=True)
class DistanceVectors:
    """A learned vector for every distance between two tokens, one table for all layers of a stack (DeBERTa).

    Distances are clamped to `max_distance` on either side; with `buckets`, those beyond half of the buckets are
    counted logarithmically up to it."""

    max_distance: int
    buckets: int | None = None
    norm: Norm | None = None

    @property
    def reach(self) -> int:
        """How many rows of the table there are for either direction."""
        return self.buckets or self.max_distance

    def num_parameters(self, dim: int) -> int:
        """Numbers of the table and its norm."""
        return 2 * self.reach * dim + (self.norm.num_parameters(dim) if self.norm else 0)


@dataclass(frozen=True)
class LearnedPositions:
    """One learned vector a position. `offset` rows lie before position 0; tokens equal to `uncounted` take the row
    `uncounted` and no position (RoBERTa counts tokens, not places)."""

    max: int
    offset: int = 0
    uncounted: int | None = None


@dataclass(frozen=True)
class Sinusoids:
    """Fixed sine and cosine positions (Vaswani et al. 2017, section 3.5), "interleaved" as in the paper or "halves"."""

    layout: Literal["interleaved", "halves"] = "interleaved"
    base: float = 10000.0


@dataclass(frozen=True)
class Attention:
    """Multi-head attention; fewer `kv_heads` than `heads` is grouped-query attention (Ainslie et al. 2023).

    `scale` multiplies the scores (None: head_dim ** -0.5); `scale_by_depth` divides them by the layer's number;
    `window` is the number of visible keys including the query's own place (None: all); `softcap` c bounds the scores to
    c tanh(scores / c) (Gemma 2); `clip` bounds q, k and v themselves (MPT). Without `key_bias` the `bias` is that of q
    and v alone (BEiT): one of the keys adds the same to all scores of a query, which the softmax does not see.
    """

    heads: int
    head_dim: int
    kv_heads: int
    bias: bool = True
    out_bias: bool = True
    scale: float | None = None
    scale_by_depth: bool = False
    position: Rotary | ALiBi | Disentangled | RelativeSinusoids | None = None
    window: int | None = None
    softcap: float | None = None
    clip: float | None = None
    dropout: float = 0.0
    key_bias: bool = True

    def num_parameters(self, dim: int, memory: int | None = None) -> int:
        """Numbers of the projections of q, k, v and back; k and v are made of vectors of width `memory`."""
        inner, shared = self.heads * self.head_dim, self.kv_heads * self.head_dim
        seen = _linear(memory or dim, 2 * shared, self.bias) - (shared if self.bias and not self.key_bias else 0)
        out = _linear(inner, dim, self.out_bias)
        return _linear(dim, inner, self.bias) + seen + out + self._position_size(dim)

    def _position_size(self, dim: int) -> int:
        if not isinstance(self.position, Disentangled | RelativeSinusoids):
            return 0
        return self.position.num_parameters(dim, self.heads * self.head_dim)


@dataclass(frozen=True)
class FeedForward:
    """Position-wise feed-forward layer; `gated` multiplies two projections (Shazeer 2020, GLU variants).

    A `norm` comes before the projection down (Wang et al. 2022, Magneto, section 2.1)."""

    width: int
    activation: Activation = "gelu"
    gated: bool = False
    bias: bool = True
    dropout: float = 0.0
    norm: Norm | None = None

    def num_parameters(self, dim: int) -> int:
        """Numbers of the projections up (twice if gated) and down, and of the norm between them."""
        norm = self.norm.num_parameters(self.width) if self.norm else 0
        up = _linear(dim, self.width * (2 if self.gated else 1), self.bias)
        return up + norm + _linear(self.width, dim, self.bias)


@dataclass(frozen=True)
class MixtureOfExperts:
    """Several feed-forward layers, of which every token takes the `active` most probable ones (Shazeer et al. 2017).

    The router is a linear layer and a softmax; `normalised` makes the chosen probabilities sum to one (Mixtral),
    otherwise they stay as they are (Switch). An expert with a `capacity` serves only so many tokens of a row, in order;
    the others pass by (Fedus et al. 2022, section 2.2)."""

    expert: FeedForward
    experts: int
    active: int
    normalised: bool = True
    router_bias: bool = False
    capacity: int | None = None

    def num_parameters(self, dim: int) -> int:
        """Numbers of all experts and the router."""
        return self.experts * self.expert.num_parameters(dim) + _linear(dim, self.experts, self.router_bias)


@dataclass(frozen=True)
class EntityStream:
    """A second stream of `width` beside a layer's tokens: vectors of the entities that they name (Zhang et al. 2019,
    ERNIE, section 3.3). They attend to each other, unless there is no `attention`, and meet the tokens in the
    feed-forward layer, which both streams leave by projections of their own."""

    width: int = 100
    attention: Attention | None = None

    def num_parameters(self, inner: int, norm: Norm) -> int:
        """Numbers of the attention, the projections to and from the feed-forward layer, and the norms."""
        attention, norms = 0, norm.num_parameters(self.width)
        if self.attention is not None:
            attention = self.attention.num_parameters(self.width) + norms
        return attention + norms + self.width * inner + inner + inner * self.width + self.width


@dataclass(frozen=True)
class GatedCrossAttention:
    """A layer before a layer: cross-attention and feed-forward, each behind a norm and times the tanh of a learned gate
    (Alayrac et al. 2022, Flamingo, section 2.2)."""

    attention: Attention
    feed_forward: FeedForward
    norm: Norm = field(default_factory=Norm)

    def num_parameters(self, dim: int, memory: int | None = None) -> int:
        """Numbers of both sub-layers, their norms and their gates."""
        inner = self.attention.num_parameters(dim, memory) + self.feed_forward.num_parameters(dim)
        return inner + 2 * self.norm.num_parameters(dim) + 2


@dataclass(frozen=True)
class Block:
    """One layer. `norm_at` names the slots that hold a norm around each sub-layer: "in" (before it: pre-norm), "out"
    (on its result, before the residual add), "res" (after the add: post-norm). `flow` runs attention and
    feed-forward one after the other, or side by side on the same input with two norms ("parallel") or one
    ("parallel-shared"). The residual adds to the sub-layer's input as it came or as normed before it, `residual_scale`
    times (Wang et al. 2022, DeepNet, eq. 1)."""

    attention: Attention
    feed_forward: FeedForward | MixtureOfExperts
    norm: Norm = field(default_factory=Norm)
    norm_at: tuple[Literal["in", "out", "res"], ...] = ("res",)
    flow: Literal["sequential", "parallel", "parallel-shared"] = "sequential"
    cross_attention: Attention | None = None
    residual: Literal["input", "normed"] = "input"
    residual_scale: float = 1.0
    entities: EntityStream | None = None
    dropout: float = 0.0
    gated_cross_attention: GatedCrossAttention | None = None

    @property
    def crosses(self) -> bool:
        """Whether it looks at anything beside its own stack."""
        return self.cross_attention is not None or self.gated_cross_attention is not None

    def num_parameters(self, dim: int, memory: int | None = None) -> int:
        """Numbers of one layer; its cross-attention reads vectors of width `memory`."""
        crossed = self.cross_attention.num_parameters(dim, memory) if self.cross_attention else 0
        crossed += self.gated_cross_attention.num_parameters(dim, memory) if self.gated_cross_attention else 0
        normed = 2 + (self.cross_attention is not None) - (self.flow == "parallel-shared")
        norms = normed * len(self.norm_at) * self.norm.num_parameters(dim) + self._entity_size()
        return norms + crossed + self.attention.num_parameters(dim) + self.feed_forward.num_parameters(dim)

    def _entity_size(self) -> int:
        if self.entities is None or not isinstance(self.feed_forward, FeedForward):
            return 0
        return self.entities.num_parameters(self.feed_forward.width, self.norm)


@dataclass(frozen=True)
class Convolution:
    """A convolution over the tokens of a row, `width` (an odd number) of them at a time, then an activation."""

    width: int = 3
    groups: int = 1
    activation: Activation = "tanh"
    norm: Norm = field(default_factory=Norm)
    dropout: float = 0.0

    def num_parameters(self, dim: int) -> int:
        """Numbers of the kernel, its bias and the norm."""
        return dim // self.groups * dim * self.width + dim + self.norm.num_parameters(dim)


@dataclass(frozen=True)
class Stack:
    """`layers` blocks, repeating `pattern`; `groups` sets of weights are shared by runs of layers (ALBERT).

    `projection` is the width of a last linear layer without bias. With `top_query` one more layer follows the final
    norm, whose queries are that many learned vectors, one a position, in place of hidden states (Zeng et al. 2021,
    PanGu-alpha, section 2.2). A `convolution` of the stack's input is added to the
    first layer's output and normed (DeBERTa v2). With `two_streams` tokens can be predicted from others in any order:
    a second stream of states, all beginning with one learned vector, attends to the first (XLNet)."""

    layers: int
    pattern: tuple[Block, ...]
    causal: bool = False
    groups: int | None = None
    position_bias: RelativeBuckets | None = None
    distances: DistanceVectors | None = None
    convolution: Convolution | None = None
    two_streams: bool = False
    final_norm: Norm | None = None
    projection: int | None = None
    top_query: int | None = None
    final_dropout: float = 0.0

    def block(self, layer: int) -> Block:
        """The spec of layer number `layer`, counted from 0."""
        return self.pattern[layer % len(self.pattern)]

    def weights_of(self, layer: int) -> int:
        """The number of the weight set that layer number `layer` uses."""
        if self.groups is None:
            return layer
        period = len(self.pattern)
        repeats = self.layers // period
        return (layer // period) * self.groups // repeats * period + layer % period

    @property
    def weight_sets(self) -> int:
        """How many blocks have weights of their own."""
        return self.layers if self.groups is None else self.groups * len(self.pattern)

    def out_dim(self, dim: int) -> int:
        """The width of the last states."""
        return self.projection or dim

    def num_parameters(self, dim: int, memory: int | None = None) -> int:
        """Numbers of all layers that have weights of their own, the table of biases and the final norm.

        `memory` is the width of what cross-attention reads; None is the stack's own."""
        bias = self.position_bias.buckets * self.pattern[0].attention.heads if self.position_bias else 0
        norm = self.final_norm.num_parameters(dim) if self.final_norm else 0
        norm += dim * (self.projection or 0) + dim * self.two_streams
        norm += sum(part.num_parameters(dim) for part in (self.distances, self.convolution) if part is not None)
        if self.top_query is not None:
            norm += self.block(self.layers).num_parameters(dim) + self.top_query * dim
        return bias + norm + sum(self.block(i).num_parameters(dim, memory) for i in range(self.weight_sets))


@dataclass(frozen=True)
class Embedding:
    """Token vectors plus positions, segments and task types; `width` below the model's dim is projected up to it.

    `block_positions` are the rows of a table for tokens' second coordinates (Du et al. 2022, GLM, section 2.1).
    `scale` multiplies the token vectors (Vaswani et al. 2017 use sqrt(dim)). What is `projected` are the
    "tokens" alone, to which vectors of the model's dim are added then (OPT), or the "sum" of all, before the norm
    (DeBERTa), or the "normed" sum (ALBERT). Where `words_normed`, the norm is applied to token vectors alone, and then
    to all once more, images' vectors among them (mPLUG-Owl before BLOOMZ). While training, `token_dropout` makes a
    share of the vocabulary zero vectors, wherever they stand in a batch (Gal & Ghahramani 2016, section 4.2)."""

    width: int
    positions: LearnedPositions | Sinusoids | None = None
    segments: int = 0
    task_types: int = 0
    block_positions: int = 0
    scale: float = 1.0
    norm: Norm | None = None
    projected: Literal["tokens", "sum", "normed"] = "normed"
    projection_bias: bool = True
    words_normed: bool = False
    dropout: float = 0.0
    token_dropout: float = 0.0

    def sum_dim(self, dim: int) -> int:
        """The width at which token, position, segment and task vectors are added, in a model of `dim` dimensions."""
        return dim if self.projected == "tokens" else self.width

    def num_parameters(self, vocab: int, dim: int) -> int:
        """Numbers of all tables, the norm and the projection."""
        rows = self.segments + self.task_types + self.block_positions
        if isinstance(self.positions, LearnedPositions):
            rows += self.positions.max + self.positions.offset
        norm = self.norm.num_parameters(self.width if self.projected == "normed" else dim) if self.norm else 0
        projection = _linear(self.width, dim, self.projection_bias) if self.width != dim else 0
        return vocab * self.width + rows * self.sum_dim(dim) + norm + projection


@dataclass(frozen=True)
class Transform:
    """A dense layer, an activation and perhaps a norm before a head's last projection."""

    width: int
    activation: Activation
    norm: Norm | None = None

    def num_parameters(self, dim: int) -> int:
        """Numbers of the dense layer and the norm."""
        return _linear(dim, self.width, True) + (self.norm.num_parameters(self.width) if self.norm else 0)


@dataclass(frozen=True)
class TaskModule:
    """A stack of its own between the last hidden states and one head, `dim` wide (Wang et al. 2021, ERNIE 3.0 Titan:
    heads share one universal stack, and each reads it through a small module).

    A linear layer, with a `bias` or without, projects the states into it. It places tokens, and hides them from each
    other, as its `stack` says."""

    dim: int
    stack: Stack
    bias: bool = True

    @property
    def out_dim(self) -> int:
        """The width of its last states."""
        return self.stack.out_dim(self.dim)

    def num_parameters(self, dim: int) -> int:
        """Numbers of the projection of states of width `dim`, and of the stack."""
        return _linear(dim, self.dim, self.bias) + self.stack.num_parameters(self.dim)


@dataclass(frozen=True)
class Head:
    """What is computed from the last hidden states, or from what a `module` of its own makes of them.

    `reads` says from where: every token, the first, the last, the last or first end-of-sequence token, the token of
    the largest id, the mean of all, the pooled vector of a "pool" head, or the last, the maximum and the mean side by
    side ("concat", Howard & Ruder 2018, section 3.3); `norm` comes before anything else. `outputs` None means the
    vocabulary; `tied` takes the token embedding as the last projection, `normalised` its rows at length one
    (Baichuan 2); `softcap` c bounds logits to c tanh(logits / c)."""

    kind: HeadKind
    reads: Literal["tokens", "first", "last", "eos", "first-eos", "largest", "mean", "pool", "concat"] = "tokens"
    norm: Norm | None = None
    transform: Transform | None = None
    outputs: int | None = None
    tied: bool = False
    bias: bool = True
    scale: float = 1.0
    normalised: bool = False
    softcap: float | None = None
    dropout: float = 0.0
    module: TaskModule | None = None

    def state_dim(self, dim: int) -> int:
        """The width of the states it reads from, where the model's last are of width `dim`."""
        return dim if self.module is None else self.module.out_dim

    def in_dim(self, dim: int) -> int:
        """The width of what it reads where the model's last states are of width `dim`."""
        return self.state_dim(dim) * (3 if self.reads == "concat" else 1)

    def num_parameters(self, vocab: int, dim: int) -> int:
        """Numbers of the module, the transform and the last projection; a tie counts with the embedding."""
        inner = self.module.num_parameters(dim) if self.module else 0
        dim = self.in_dim(dim)
        inner += self.transform.num_parameters(dim) if self.transform else 0
        inner += self.norm.num_parameters(dim) if self.norm else 0
        if self.kind in ("pool", "entity"):
            return inner
        outputs, width = self.outputs or vocab, self.transform.width if self.transform else dim
        return inner + (0 if self.tied else outputs * width) + (outputs if self.bias else 0)


def _linear(inputs: int, outputs: int, bias: bool) -> int:
    return inputs * outputs + (outputs if bias else 0)


@dataclass(frozen=True)
class Infilling:
    """Autoregressive blank infilling (Du et al. 2022, GLM, section 2.1): a context with blanks, then what fills one.

    The token `start` ends a row's context, of which all tokens see each other; from it on, tokens see the context and
    what came before. Their first coordinate is the blank's position, the second counts from 1; in the context the first
    is the position, the second 0. `blanks` are the tokens that mark a blank; filled is the one that comes `first`, in
    their list or in the text. Behind a blank of `running` kind the first coordinate counts on (GLM-130B's [gMASK]).
    """

    start: int
    blanks: tuple[int, ...]
    first: Literal["listed", "in-text"] = "listed"
    running: tuple[int, ...] = ()
