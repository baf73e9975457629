"""Decoders of the years 2018 to 2024, from GPT to Gemma 2."""

from __future__ import annotations

import random
from typing import Any

import transformers

from parity.drawn.first import ROTARY_SCALINGS
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


def _mpt(rng: random.Random) -> Any:
    heads = rng.choice((1, 2, 3, 4, 6))
    # alibi_bias_max is 8 here, because the reference takes it for 8 whatever it is.
    attention = {"clip_qkv": rng.choice((None, 0.7)), "softmax_scale": rng.choice((None, 0.3)), "alibi_bias_max": 8}
    return transformers.MptConfig(
        vocab_size=VOCAB,
        d_model=heads * rng.choice((4, 6)),
        n_layers=rng.choice((1, 2, 3)),
        n_heads=heads,
        max_seq_len=40,
        layer_norm_epsilon=rng.choice((1e-5, 1e-3)),
        attn_config=attention,
        pad_token_id=0,
    )


def _falcon(rng: random.Random) -> Any:
    shared = rng.choice((1, 2))
    heads = shared * rng.choice((1, 2, 3))
    kind = rng.choice(
        (
            {"multi_query": True},
            {"multi_query": False},
            {"multi_query": True, "parallel_attn": False},
            {"multi_query": False, "parallel_attn": False},
            {"new_decoder_architecture": True, "num_kv_heads": shared},
            {"new_decoder_architecture": True, "num_kv_heads": shared, "num_ln_in_parallel_attn": 1},
        )
    )
    return transformers.FalconConfig(
        vocab_size=VOCAB,
        hidden_size=heads * rng.choice((4, 8)),
        num_hidden_layers=rng.choice((1, 2, 3)),
        num_attention_heads=heads,
        alibi=rng.random() < 0.5,
        bias=rng.random() < 0.5,
        activation=rng.choice(("gelu", "relu")),
        ffn_hidden_size=rng.choice((None, 20)),
        layer_norm_epsilon=rng.choice((1e-5, 1e-3)),
        rope_parameters={"rope_type": "default", "rope_theta": rng.choice((10000.0, 500.0))},
        pad_token_id=0,
        **kind,
    )


def _like_llama(rng: random.Random) -> dict[str, Any]:
    shared = rng.choice((1, 2))
    heads = shared * rng.choice((1, 2, 3))
    return {
        "vocab_size": VOCAB,
        "hidden_size": heads * rng.choice((4, 6)),
        "num_hidden_layers": rng.choice((1, 2, 3, 4)),
        "num_attention_heads": heads,
        "num_key_value_heads": shared,
        "intermediate_size": rng.choice((24, 40)),
        "rms_norm_eps": rng.choice((1e-6, 1e-3)),
        "rope_parameters": {"rope_theta": rng.choice((10000.0, 500.0)), **rng.choice(ROTARY_SCALINGS)},
        "tie_word_embeddings": rng.random() < 0.5,
        "max_position_embeddings": 64,
        "pad_token_id": 0,
    }


def _mistral(rng: random.Random) -> Any:
    sizes = {"head_dim": rng.choice((None, 8)), "sliding_window": rng.choice((None, 1, 4))}
    return transformers.MistralConfig(**_like_llama(rng), **sizes)


def _qwen2(rng: random.Random) -> Any:
    return transformers.Qwen2Config(
        **_like_llama(rng),
        use_sliding_window=rng.random() < 0.7,
        sliding_window=rng.choice((2, 4)),
        max_window_layers=rng.choice((0, 1, 2)),
    )


def _gemma(rng: random.Random) -> Any:
    return transformers.GemmaConfig(
        **_like_llama(rng),
        head_dim=rng.choice((4, 8)),
        hidden_act=rng.choice(("gelu_pytorch_tanh", "gelu", "silu")),
        attention_bias=rng.random() < 0.3,
    )


def _gemma2(rng: random.Random) -> Any:
    base = _like_llama(rng)
    kinds = ("full_attention", "sliding_attention")
    named = [rng.choice(kinds) for _ in range(base["num_hidden_layers"])]
    return transformers.Gemma2Config(
        **base,
        head_dim=rng.choice((4, 8)),
        hidden_activation=rng.choice(("gelu_pytorch_tanh", "gelu", "silu")),
        attention_bias=rng.random() < 0.3,
        sliding_window=rng.choice((2, 4)),
        layer_types=rng.choice((None, named)),
        query_pre_attn_scalar=rng.choice((4, 16, 144)),
        attn_logit_softcapping=rng.choice((None, 0.5, 50.0)),
        final_logit_softcapping=rng.choice((None, 0.5, 30.0)),
    )


def _mixtral(rng: random.Random) -> Any:
    base = _like_llama(rng)
    # The fused kernel of the reference takes widths of 16 bytes, and no float64.
    base["hidden_size"] = base["num_attention_heads"] * rng.choice((4, 8))
    config = transformers.MixtralConfig(
        **base,
        head_dim=rng.choice((4, 8)),  # the reference's scaled rotary positions need the number
        sliding_window=rng.choice((None, 4)),
        num_local_experts=rng.choice((2, 4)),
        num_experts_per_tok=rng.choice((1, 2)),
        hidden_act=rng.choice(("silu", "gelu")),
    )
    config._experts_implementation = "eager"
    return config


LABELLED = ("ForSequenceClassification", "ForTokenClassification")

REFERENCES = (
    Reference("openai-gpt", ("OpenAIGPTModel", "OpenAIGPTLMHeadModel", "OpenAIGPTForSequenceClassification"), _openai),
    # These three compute their scores, or the softmax, in float32.
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
    ),
    # Slopes are float32 numbers.
    Reference("bloom", classes("Bloom", "ForCausalLM"), _bloom, positions=False, double=1e-6),
    Reference(
        "opt",
        ("OPTModel", "OPTForCausalLM", "OPTForSequenceClassification", "OPTForQuestionAnswering"),
        _opt,
        double=1e-6,  # the reference's softmax is float32
    ),
    Reference("mpt", classes("Mpt", "ForCausalLM"), _mpt, positions=False, double=1e-6),
    # The plain implementation adds the biases of ALiBi twice: to the scores, and within the mask.
    Reference("falcon", classes("Falcon", "ForCausalLM"), _falcon, double=1e-6, attention="sdpa"),
    # Angles, softmax, RMS norms and routers are float32; a query that sees no key at all, which a window and padding
    # on the right make, then has NaN for its softmax, and spreads it.
    Reference("mistral", classes("Mistral", "ForCausalLM"), _mistral, double=1e-5, padded_double=False),
    Reference("qwen2", classes("Qwen2", "ForCausalLM"), _qwen2, double=1e-5, padded_double=False),
    Reference("gemma", ("GemmaModel", "GemmaForCausalLM", *(f"Gemma{task}" for task in LABELLED)), _gemma, double=1e-5),
    Reference(
        "gemma2",
        ("Gemma2Model", "Gemma2ForCausalLM", *(f"Gemma2{task}" for task in LABELLED)),
        _gemma2,
        double=1e-5,
        padded_double=False,
    ),
    Reference("mixtral", classes("Mixtral", "ForCausalLM"), _mixtral, double=1e-5, padded_double=False),
)
