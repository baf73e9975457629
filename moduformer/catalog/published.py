"""Architectures that were published without weights, built from the sizes of their papers' tables.

Each function says what the paper says; where it is silent, the docstring names what is assumed. Catalogue rows hold the
sizes, so nothing here repeats them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from moduformer.architecture import (
    Attention,
    Block,
    Embedding,
    FeedForward,
    Head,
    LearnedPositions,
    MixtureOfExperts,
    Norm,
    RelativeBuckets,
    RelativeSinusoids,
    Rotary,
    Spec,
    Stack,
    TaskModule,
)
from moduformer.errors import SpecError

TIED = Head("language-model", tied=True, bias=False)
LAYER = Norm(eps=1e-5)
RMS = Norm("rms", eps=1e-6)


@dataclass(frozen=True)
class Size:
    """A line of a paper's table.

    `dim` is the width of the states, `width` that of the feed-forward layers, `context` the longest text; `layers` are
    those of the encoder where there are `decoder_layers` too. `experts` 0 means none. `module` are the sizes of the
    stack between the shared one and a head, where each head has one.
    """

    layers: int
    dim: int
    heads: int
    head_dim: int
    width: int
    vocab: int
    context: int = 2048
    kv_heads: int | None = None
    decoder_layers: int = 0
    experts: int = 0
    module: Size | None = None


def gpt_3(size: Size) -> Spec:
    """GPT-3 (Brown et al. 2020, section 2.1): GPT-2 whose layers are dense and locally banded in turn.

    The width of the band is not published; 128 places are assumed, as in the Sparse Transformer (Child et al. 2019).
    """
    dense = _block(size, LAYER, _attention(size))
    banded = _block(size, LAYER, _attention(size, window=min(_BAND, size.context)))
    return _decoder(size, LAYER, (dense, banded), positions=LearnedPositions(size.context))


_BAND = 128


def megatron(size: Size) -> Spec:
    """MT-NLG (Smith et al. 2022, section 2) and Yuan 1.0 (Wu et al. 2021, section 2): GPT-2's layers, all dense."""
    return _decoder(size, LAYER, (_block(size, LAYER, _attention(size)),), positions=LearnedPositions(size.context))


def gopher(size: Size) -> Spec:
    """Gopher (Rae et al. 2021, section 3.1) and Chinchilla: GPT-2 with RMS norm and Transformer-XL's distances.

    Biases of linear layers are not mentioned; GPT-2's are assumed. They do not show in the published counts.
    """
    attention = _attention(size, position=RelativeSinusoids(reach=size.context))
    return _decoder(size, RMS, (_block(size, RMS, attention),))


def lamda(size: Size) -> Spec:
    """LaMDA (Thoppilan et al. 2022, section 3): T5's biases by distance and gated GELU feed-forward layers.

    The kind of norm, biases and a tied output are not mentioned; those of T5 (RMS norm, no biases) are assumed.
    """
    block = _block(size, RMS, _attention(size, bias=False), gated=True, bias=False)
    return _decoder(size, RMS, (block,), position_bias=RelativeBuckets())


def palm(size: Size) -> Spec:
    """PaLM (Chowdhery et al. 2022, section 2): attention beside a SwiGLU layer after one norm, one head of keys and
    values, rotary positions, no biases; embeddings of unit variance, so logits are divided by sqrt(dim)."""
    norm = Norm(eps=1e-6, bias=False)
    attention = Attention(
        size.heads, size.head_dim, 1, bias=False, out_bias=False, position=Rotary(size.head_dim, pairing="pairs")
    )
    block = Block(
        attention,
        FeedForward(size.width, "silu", gated=True, bias=False),
        norm,
        norm_at=("in",),
        flow="parallel-shared",
    )
    head = Head("language-model", tied=True, bias=False, scale=size.dim**-0.5)
    return _decoder(size, norm, (block,), head=head)


def glam(size: Size) -> Spec:
    """GLaM (Du et al. 2022, section 4): experts in every other layer, two to a token, between gated dense layers.

    One table of distance biases serves all layers here, where each of the paper's layers has its own.
    """
    attention = _attention(size, bias=False)
    dense = _block(size, RMS, attention, gated=True, bias=False)
    pattern: tuple[Block, ...] = (dense,)
    if size.experts:
        experts = MixtureOfExperts(FeedForward(size.width, bias=False), size.experts, active=2)
        pattern = (Block(attention, experts, RMS, norm_at=("in",)), dense)
    return _decoder(size, RMS, pattern, position_bias=RelativeBuckets())


def alphacode(size: Size) -> Spec:
    """AlphaCode (Li et al. 2022, section 4.1): a shallow encoder, a deep decoder, several queries to a key and value.

    Norms, biases and positions are not mentioned; pre-norm without biases and learned positions fit the counts.
    """
    norm = Norm(eps=1e-6, bias=False)
    block = _block(size, norm, _attention(size, bias=False), bias=False)
    crossed = _block(size, norm, _attention(size, bias=False), bias=False, cross=_attention(size, bias=False))
    return Spec(
        vocab=size.vocab,
        dim=size.dim,
        embedding=Embedding(size.dim, positions=LearnedPositions(size.context)),
        encoder=Stack(size.layers, (block,), final_norm=norm),
        decoder=Stack(size.decoder_layers, (crossed,), causal=True, final_norm=norm),
        target_embedding=Embedding(size.dim, positions=LearnedPositions(size.context // 2)),
        heads=(Head("language-model", bias=False),),
        decoder_start_id=0,
    )


def ernie_3_titan(size: Size) -> Spec:
    """ERNIE 3.0 Titan (Wang et al. 2021, section 3.1): one wide stack that all tasks share, and two small ones that
    read it, for understanding (every token sees all) and for writing (each sees those before it).

    Masks choose how a text is read: the shared stack is causal, and sees both ways in a row that is all prefix. Not
    published are the vocabulary, the positions, the place of the norms and the output layers. Learned positions and
    norms after each addition, as in ERNIE's line since BERT, are assumed, and a table of the module's width a head.
    Transformer-XL's distances, projected by each layer, would add 7.2 billion to the published count.
    """
    if size.module is None:
        raise SpecError("ERNIE 3.0 Titan has a module for each task, so its size needs one")

    def block(part: Size) -> Block:
        return Block(_attention(part), FeedForward(part.width), LAYER, norm_at=("res",))

    small = Stack(size.module.layers, (block(size.module),))
    understanding, writing = (TaskModule(size.module.dim, replace(small, causal=causal)) for causal in (False, True))
    return Spec(
        vocab=size.vocab,
        dim=size.dim,
        embedding=Embedding(size.dim, positions=LearnedPositions(size.context), norm=LAYER),
        decoder=Stack(size.layers, (block(size),), causal=True),
        heads=(
            Head("masked-lm", bias=False, module=understanding),
            Head("language-model", bias=False, module=writing),
        ),
    )


ARCHITECTURES: dict[str, Callable[[Size], Spec]] = {
    "gpt-3": gpt_3,
    "mt-nlg": megatron,
    "yuan-1.0": megatron,
    "gopher": gopher,
    "chinchilla": gopher,
    "lamda": lamda,
    "palm": palm,
    "glam": glam,
    "alphacode": alphacode,
    "ernie-3-titan": ernie_3_titan,
}
"""What builds each row of the catalogue that is an architecture alone; the Transformer and seq2seq are families."""


def published(row: str, size: Size) -> Spec:
    """The spec of a row of the catalogue at one of its sizes. Raises `SpecError` for a row with weights or no size."""
    if row not in ARCHITECTURES:
        raise SpecError(f"{row!r} is no published architecture; there are {', '.join(ARCHITECTURES)}")
    return ARCHITECTURES[row](size)


def _attention(
    size: Size, *, bias: bool = True, position: RelativeSinusoids | None = None, window: int | None = None
) -> Attention:
    return Attention(
        size.heads,
        size.head_dim,
        size.kv_heads or size.heads,
        bias=bias,
        out_bias=bias,
        position=position,
        window=window,
    )


def _block(
    size: Size,
    norm: Norm,
    attention: Attention,
    *,
    gated: bool = False,
    bias: bool = True,
    cross: Attention | None = None,
) -> Block:
    inner = FeedForward(size.width, "gelu_tanh", gated=gated, bias=bias)
    return Block(attention, inner, norm, norm_at=("in",), cross_attention=cross)


def _decoder(
    size: Size,
    norm: Norm,
    pattern: tuple[Block, ...],
    *,
    positions: LearnedPositions | None = None,
    position_bias: RelativeBuckets | None = None,
    head: Head = TIED,
) -> Spec:
    return Spec(
        vocab=size.vocab,
        dim=size.dim,
        embedding=Embedding(size.dim, positions=positions),
        decoder=Stack(size.layers, pattern, causal=True, position_bias=position_bias, final_norm=norm),
        heads=(head,),
    )
