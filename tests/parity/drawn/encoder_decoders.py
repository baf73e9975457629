"""Encoder-decoders of the years 2019 to 2022, from BART to Switch."""

from __future__ import annotations

import random
from typing import Any

import transformers

from parity.references import VOCAB, Reference, classes


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
    return transformers.MBartConfig(**bart_like(rng), decoder_start_token_id=rng.choice((2, 4)))


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


def _mt5(rng: random.Random) -> Any:
    return transformers.MT5Config(
        vocab_size=VOCAB,
        d_model=rng.choice((12, 16)),
        d_kv=rng.choice((4, 6)),
        d_ff=rng.choice((24, 40)),
        num_layers=rng.choice((1, 2)),
        num_decoder_layers=rng.choice((1, 2, None)),
        num_heads=rng.choice((1, 3)),
        relative_attention_num_buckets=rng.choice((8, 32)),
        relative_attention_max_distance=rng.choice((10, 128)),
        feed_forward_proj=rng.choice(("relu", "gated-gelu", "gated-silu", "gelu_new")),
        layer_norm_epsilon=rng.choice((1e-6, 1e-3)),
    )


def _switch(rng: random.Random, capacities: tuple[int, ...]) -> Any:
    return transformers.SwitchTransformersConfig(
        vocab_size=VOCAB,
        d_model=rng.choice((12, 16)),
        d_kv=rng.choice((4, 6)),
        d_ff=rng.choice((24, 40)),
        num_layers=rng.choice((1, 2, 4)),
        num_sparse_encoder_layers=rng.choice((0, 1, 2)),
        num_decoder_layers=rng.choice((1, 2, 3)),
        num_sparse_decoder_layers=rng.choice((0, 1, 3)),
        num_heads=rng.choice((1, 3)),
        num_experts=rng.choice((2, 5)),
        expert_capacity=rng.choice(capacities),
        router_bias=rng.random() < 0.5,
        relative_attention_num_buckets=rng.choice((8, 32)),
        relative_attention_max_distance=rng.choice((10, 128)),
        dense_act_fn=rng.choice(("relu", "gelu_new", "silu")),
        layer_norm_epsilon=rng.choice((1e-6, 1e-3)),
        decoder_start_token_id=0,
    )


def _roomy_switch(rng: random.Random) -> Any:
    return _switch(rng, (64,))


def _full_switch(rng: random.Random) -> Any:
    return _switch(rng, (1, 3))


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
    Reference(
        "mt5",
        classes("MT5", "ForConditionalGeneration", "EncoderModel"),
        _mt5,
        positions=False,
        double=1e-5,  # the reference's norms and softmax are float32
        ends_with_eos=("MT5ForSequenceClassification",),
        no_left=("MT5ForQuestionAnswering", "MT5ForSequenceClassification"),
    ),
    Reference(
        "switch_transformers",
        ("SwitchTransformersModel", "SwitchTransformersEncoderModel", "SwitchTransformersForConditionalGeneration"),
        _roomy_switch,
        positions=False,
        double=1e-5,  # the reference's router, norms and softmax are float32
    ),
    Reference(
        "switch_transformers",
        # Not the one that writes: its experts have their places anew at every step, and share them in one pass.
        ("SwitchTransformersEncoderModel", "SwitchTransformersModel"),
        _full_switch,
        positions=False,
        double=1e-5,
        # On the left, padding takes places of the reference's experts before the text does.
        no_left=("SwitchTransformersEncoderModel", "SwitchTransformersModel"),
    ),
)
