"""A whole Transformer as one frozen value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from moduformer.architecture.difference import Difference, difference
from moduformer.architecture.parts import Embedding, Head, HeadKind, Infilling, Stack
from moduformer.architecture.plain_data import construct, plain
from moduformer.architecture.recurrent import Recurrent, RecurrentDecoder
from moduformer.architecture.validation import validate


@dataclass(frozen=True)
class Spec:
    """A whole Transformer: `encoder` only, `decoder` only, or both.

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

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON; `Spec.from_dict` reads it back."""
        return plain(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Spec:
        """A spec from `to_dict`'s data. Raises `SpecError` on an unknown or missing field."""
        return construct(cls, data, "spec")

    def num_parameters(self) -> int:
        """How many numbers training would change, ties counted once."""
        stacks = self.encoder.num_parameters(self.dim) if self.encoder else 0
        if self.decoder is not None:
            stacks += self.decoder.num_parameters(self.dim, self.encoder.out_dim(self.dim) if self.encoder else None)
        heads = sum(head.num_parameters(self.target_vocab or self.vocab, self.out_dim) for head in self.heads)
        tables = self.embedding.num_parameters(self.vocab, self.dim)
        if self.target_embedding is not None:
            tables += self.target_embedding.num_parameters(self.target_vocab or 0, self.dim)
        return tables + stacks + heads

    def diff(self, other: Spec) -> Difference:
        """Field by field, how `other` differs from this one."""
        return difference(self, other)
