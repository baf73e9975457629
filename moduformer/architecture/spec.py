"""A whole Transformer as one frozen value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from moduformer.architecture.difference import Difference, difference
from moduformer.architecture.parts import Embedding, Head, HeadKind, Infilling, Stack
from moduformer.architecture.plain_data import construct, plain
from moduformer.architecture.recurrent import Recurrent, RecurrentDecoder
from moduformer.architecture.validation import validate
from moduformer.architecture.vision import Vision


@dataclass(frozen=True)
class Spec:
    """A whole Transformer: `encoder` only, `decoder` only, or both, and perhaps `vision`.

    A model that only sees has no stack of its own beside its `vision`, and a `vocab` of 0; `heads` then read the image.

    A decoder beside an encoder reads the same `embedding`, unless it has a `target_embedding` of its own: with a
    `target_vocab` that one has its own token table too, otherwise it shares the table. `infilling` says by special
    tokens where a decoder's tokens stand, and how much of a row all of it sees.

    What a decoder beside an encoder reads of a target begins with `decoder_start_id`, or with the target's own "last"
    token (mBART, whose texts end in the code of their language)."""

    vocab: int
    dim: int
    embedding: Embedding
    encoder: Stack | Recurrent | None = None
    decoder: Stack | Recurrent | RecurrentDecoder | None = None
    heads: tuple[Head, ...] = ()
    target_embedding: Embedding | None = None
    target_vocab: int | None = None
    infilling: Infilling | None = None
    pad_id: int | None = None
    bos_id: int | None = None
    eos_id: int | tuple[int, ...] | None = None
    decoder_start_id: int | None = None
    target_start: Literal["id", "last"] = "id"
    vision: Vision | None = None

    def __post_init__(self) -> None:
        validate(self)

    def head(self, kind: HeadKind) -> Head | None:
        """The head of that kind, or None."""
        return next((head for head in self.heads if head.kind == kind), None)

    @property
    def out_dim(self) -> int:
        """The width of the states that heads read."""
        last = self.decoder or self.encoder
        return last.out_dim(self.dim) if last else self.dim

    @property
    def reads_backward(self) -> bool:
        """Whether what heads read was read from each row's end, so that a language model tells the token before."""
        last = self.decoder or self.encoder
        return isinstance(last, Recurrent) and last.direction == "backward"

    @property
    def sees_only(self) -> bool:
        """Whether there is vision and no text."""
        return self.vision is not None and self.encoder is None and self.decoder is None

    @property
    def asks_ahead(self) -> bool:
        """Whether tokens are told by a second stream, which knows their places and not their content."""
        return isinstance(self.encoder, Stack) and self.encoder.two_streams and self.decoder is None

    @property
    def has_source(self) -> bool:
        """Whether a decoder reads something else than its own text: an encoder's, or an image alone."""
        return self.decoder is not None and (self.encoder is not None or self.memory_dim("decoder") is not None)

    def memory_dim(self, stack: Literal["encoder", "decoder"]) -> int | None:
        """The width of what a stack's cross-attention reads; None where it has none to read."""
        seen = self.vision if self.vision and self.vision.injection == "cross" else None
        if stack == "decoder" and self.encoder is not None:
            return self.encoder.out_dim(self.dim)
        return None if seen is None else seen.out_dim(self.dim)

    @property
    def image_tokens(self) -> int:
        """How many vectors of an image the text takes in."""
        return self.vision.out_tokens if self.vision else 0

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON; `Spec.from_dict` reads it back."""
        return plain(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Spec:
        """A spec from `to_dict`'s data. Raises `SpecError` on an unknown or missing field."""
        return construct(cls, data, "spec")

    def num_parameters(self) -> int:
        """How many numbers training would change, ties counted once."""
        stacks = self.encoder.num_parameters(self.dim, self.memory_dim("encoder")) if self.encoder else 0
        stacks += self.decoder.num_parameters(self.dim, self.memory_dim("decoder")) if self.decoder else 0
        stacks += self.vision.num_parameters(self.dim) if self.vision else 0
        heads = sum(head.num_parameters(self.target_vocab or self.vocab, self.out_dim) for head in self.heads)
        tables = self.embedding.num_parameters(self.vocab, self.dim)
        if self.target_embedding is not None:
            tables += self.target_embedding.num_parameters(self.target_vocab or 0, self.dim)
        return tables + stacks + heads

    def diff(self, other: Spec) -> Difference:
        """Field by field, how `other` differs from this one."""
        return difference(self, other)
