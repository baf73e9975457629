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


def _openai(rng: random.Random) -> Any:
    heads = rng.choice((1, 2, 3))
    return transformers.OpenAIGPTConfig(
        vocab_size=VOCAB,
        n_embd=heads * 8,
        n_layer=rng.choice((1, 2, 3)),
        n_head=heads,
        n_positions=40,
        afn=rng.choice(("gelu", "relu", "silu")),
        layer_norm_epsilon=rng.choice((1e-5, 1e-3)),
        pad_token_id=0,
    )


def _gpt_neo(rng: random.Random) -> Any:
    heads = rng.choice((1, 2, 3))
    kinds = rng.choice(
        (
            [[["global"], 1]],
            [[["local"], 2]],
            [[["global", "local"], 2]],
            [[["local", "global"], 1], [["local"], 1]],
            [[["global"], 2], [["local"], 1]],
        )
    )
    return transformers.GPTNeoConfig(
        vocab_size=VOCAB,
        hidden_size=heads * 8,
        num_layers=sum(len(names) * times for names, times in kinds),
        attention_types=kinds,
        num_heads=heads,
        window_size=rng.choice((1, 3, 5)),
        max_position_embeddings=40,
        intermediate_size=rng.choice((None, 20)),
        activation_function=rng.choice(("gelu_new", "relu", "gelu")),
        layer_norm_epsilon=rng.choice((1e-5, 1e-3)),
        pad_token_id=0,
    )


def _like_gptj(rng: random.Random, heads: int) -> dict[str, Any]:
    return {
        "vocab_size": VOCAB,
        "n_embd": heads * 8,
        "n_layer": rng.choice((1, 2, 3)),
        "n_head": heads,
        "n_positions": 40,
        "rotary_dim": rng.choice((2, 4, 8)),
        "n_inner": rng.choice((None, 20)),
        "activation_function": rng.choice(("gelu_new", "relu", "gelu")),
        "layer_norm_epsilon": rng.choice((1e-5, 1e-3)),
        "pad_token_id": 0,
    }


def _gptj(rng: random.Random) -> Any:
    return transformers.GPTJConfig(**_like_gptj(rng, rng.choice((1, 2, 3))))


def _codegen(rng: random.Random) -> Any:
    return transformers.CodeGenConfig(**_like_gptj(rng, rng.choice((4, 8))))


def _biogpt(rng: random.Random) -> Any:
    heads = rng.choice((1, 2, 4))
    return transformers.BioGptConfig(
        vocab_size=VOCAB,
        hidden_size=heads * rng.choice((4, 6)),
        num_hidden_layers=rng.choice((1, 2, 3)),
        num_attention_heads=heads,
        intermediate_size=rng.choice((24, 40)),
        max_position_embeddings=40,
        hidden_act=rng.choice(("gelu", "relu")),
        layer_norm_eps=rng.choice((1e-12, 1e-3)),
        scale_embedding=rng.random() < 0.6,
    )


def _bloom(rng: random.Random) -> Any:
    heads = rng.choice((1, 2, 3, 4, 6))
    return transformers.BloomConfig(
        vocab_size=VOCAB,
        hidden_size=heads * rng.choice((4, 6)),
        n_layer=rng.choice((1, 2, 3)),
        n_head=heads,
        layer_norm_epsilon=rng.choice((1e-5, 1e-3)),
        apply_residual_connection_post_layernorm=rng.random() < 0.4,
        pad_token_id=0,
    )


REFERENCES = (
    Reference("openai-gpt", ("OpenAIGPTModel", "OpenAIGPTLMHeadModel", "OpenAIGPTForSequenceClassification"), _openai),
    # These four compute their scores, or the softmax, in float32.
    Reference("gpt_neo", classes("GPTNeo", "ForCausalLM"), _gpt_neo, double=1e-6),
    Reference(
        "gptj",
        ("GPTJModel", "GPTJForCausalLM", "GPTJForSequenceClassification", "GPTJForQuestionAnswering"),
        _gptj,
        double=1e-6,
    ),
    Reference("codegen", ("CodeGenModel", "CodeGenForCausalLM"), _codegen, double=1e-6),
    Reference(
        "biogpt",
        ("BioGptModel", "BioGptForCausalLM", "BioGptForTokenClassification", "BioGptForSequenceClassification"),
        _biogpt,
        double=1e-6,
    ),
    # Slopes are float32 numbers.
    Reference("bloom", classes("Bloom", "ForCausalLM"), _bloom, positions=False, double=1e-6),
    Reference(
        "opt",
        ("OPTModel", "OPTForCausalLM", "OPTForSequenceClassification", "OPTForQuestionAnswering"),
        _opt,
        double=1e-6,  # the reference's softmax is float32
    ),
)
