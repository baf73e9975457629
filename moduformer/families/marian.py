"""Marian's translators as OPUS-MT publishes them (Junczys-Dowmunt et al. 2018, arXiv 1804.00344).

A post-norm encoder-decoder with sinusoids, sines before cosines, and a trained bias on the logits."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from moduformer.architecture import Embedding, Sinusoids, Spec
from moduformer.blocks.position import sinusoids
from moduformer.errors import CheckpointError
from moduformer.families import bart
from moduformer.families.family import Architecture, Computed, Family
from moduformer.weights.config import Config, Get, TokenIds, key


def positions(spec: Spec, shape: tuple[int, ...]) -> Tensor:
    """The table of sinusoids that files hold; nothing where a table of this shape cannot be one."""
    settings = spec.embedding.positions
    if not isinstance(settings, Sinusoids) or len(shape) != 2 or shape[1] != spec.dim:
        return torch.empty(0)
    return sinusoids(settings, torch.arange(shape[0]), spec.dim, torch.float32)


POSITIONS = tuple(Computed(f"{side}.embed_positions.weight", positions) for side in ("encoder", "decoder"))


@dataclass(frozen=True)
class Vocabularies:
    """One vocabulary for both languages, or one for each with a table of its own; an untied output only then."""

    def read(self, config: Config) -> dict[str, Any]:
        """The target's vocabulary, and whether the output is tied."""
        vocab, target = config.get("vocab_size", 58101), config.get("decoder_vocab_size")
        shared, tied = (config.get(name, True) for name in ("share_encoder_decoder_embeddings", "tie_word_embeddings"))
        target = vocab if target is None else target
        if shared and (target != vocab or not tied):
            raise CheckpointError(
                f"config.json: share_encoder_decoder_embeddings with decoder_vocab_size {target!r:.80} beside "
                f"vocab_size {vocab!r:.80} and tie_word_embeddings {tied!r:.80}; "
                "a shared table has one size and is the output's"
            )
        return {"target_vocab": None if shared else target, "heads.language-model.tied": tied}

    def write(self, get: Get) -> dict[str, Any]:
        """The same keys."""
        target = get("target_vocab")
        if target is None:
            return {"share_encoder_decoder_embeddings": True}
        found = {"share_encoder_decoder_embeddings": False, "decoder_vocab_size": target}
        return found | key("tie_word_embeddings", "heads.language-model.tied").write(get)


FAMILY = Family(
    model_type="marian",
    template=bart.template(Embedding(1024, Sinusoids("halves")), ("res",), None, 58101),
    rules=bart.rules(
        58101,
        Vocabularies(),
        *bart.older(False, False, False, True),
        TokenIds(pad=58100, eos=0, decoder_start=58100),
    ),
    rows=bart.ROWS,
    architectures={
        "MarianModel": Architecture(prefix=""),
        "MarianMTModel": Architecture((bart.LANGUAGE_MODEL,)),
    },
    prefix="model.",
    unused=bart.UNUSED,
    computed=POSITIONS,
)
