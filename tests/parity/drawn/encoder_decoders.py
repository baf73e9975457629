"""Encoder-decoders of the years 2019 to 2022, from BART to Switch."""

from __future__ import annotations

import random
from typing import Any

import transformers

from parity.references import VOCAB, Reference


def bart_like(rng: random.Random) -> dict[str, Any]:
    """Every key that changes BART's numbers; both sides differ."""
    return {
        "vocab_size": VOCAB,
        "d_model": rng.choice((12, 24)),
        "encoder_layers": rng.choice((1, 2)),
        "decoder_layers": rng.choice((1, 2, 3)),
        "encoder_attention_heads": rng.choice((1, 2, 3)),
        "decoder_attention_heads": rng.choice((1, 2, 4)),
        "encoder_ffn_dim": rng.choice((20, 36)),
        "decoder_ffn_dim": rng.choice((16, 40)),
        "activation_function": rng.choice(("gelu", "relu", "gelu_new", "swish")),
        "scale_embedding": rng.random() < 0.5,
        "max_position_embeddings": 40,
    }


def _bart(rng: random.Random) -> Any:
    return transformers.BartConfig(**bart_like(rng), decoder_start_token_id=rng.choice((2, 4)))


def _mbart(rng: random.Random) -> Any:
    return transformers.MBartConfig(**bart_like(rng))


def _pegasus(rng: random.Random) -> Any:
    return transformers.PegasusConfig(**bart_like(rng))


def _marian(rng: random.Random) -> Any:
    shared = rng.random() < 0.5
    tables = {
        "share_encoder_decoder_embeddings": shared,
        "tie_word_embeddings": shared or rng.random() < 0.5,
        "decoder_vocab_size": VOCAB if shared else VOCAB + 6,
    }
    return transformers.MarianConfig(**bart_like(rng), **tables, pad_token_id=3, decoder_start_token_id=3)


def bart_classes(name: str) -> tuple[str, ...]:
    heads = ("Model", "ForConditionalGeneration", "ForSequenceClassification", "ForQuestionAnswering")
    return tuple(f"{name}{head}" for head in heads)


REFERENCES = (
    Reference(
        "bart",
        bart_classes("Bart"),
        _bart,
        positions=False,
        ends_with_eos=("BartForSequenceClassification",),
        no_left=bart_classes("Bart"),  # positions count padding on the left
    ),
    Reference(
        "mbart",
        bart_classes("MBart"),
        _mbart,
        positions=False,
        ends_with_eos=("MBartForSequenceClassification",),
        no_left=bart_classes("MBart"),
    ),
    Reference(
        "pegasus",
        ("PegasusModel", "PegasusForConditionalGeneration"),
        _pegasus,
        positions=False,
        double=1e-6,  # the reference's sinusoids are float32
        no_left=("PegasusModel", "PegasusForConditionalGeneration"),
    ),
    Reference(
        "marian",
        ("MarianModel", "MarianMTModel"),
        _marian,
        positions=False,
        double=1e-6,
        no_left=("MarianModel", "MarianMTModel"),
    ),
)
