"""Decoders of the years 2018 to 2024, from GPT to Gemma 2."""

from __future__ import annotations

import random
from typing import Any

import transformers

from parity.references import VOCAB, Reference, classes


def _opt(rng: random.Random) -> Any:
    heads = rng.choice((1, 2, 4))
    dim = heads * rng.choice((4, 6))
    return transformers.OPTConfig(
        vocab_size=VOCAB,
        hidden_size=dim,
        word_embed_proj_dim=rng.choice((None, 6, dim)),
        num_hidden_layers=rng.choice((1, 2, 3)),
        num_attention_heads=heads,
        ffn_dim=rng.choice((24, 40)),
        max_position_embeddings=40,
        do_layer_norm_before=rng.random() < 0.6,
        _remove_final_layer_norm=rng.random() < 0.3,
        activation_function=rng.choice(("relu", "gelu", "gelu_new")),
        enable_bias=rng.random() < 0.6,
        layer_norm_elementwise_affine=rng.random() < 0.7,
    )


REFERENCES = (
    Reference(
        "opt",
        ("OPTModel", "OPTForCausalLM", "OPTForSequenceClassification", "OPTForQuestionAnswering"),
        _opt,
        double=1e-6,  # the reference's softmax is float32
    ),
)
