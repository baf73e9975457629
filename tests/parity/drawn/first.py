"""The first families: encoders and decoders that differ as much as possible."""

from __future__ import annotations

import random
from typing import Any

import transformers

from parity.references import VOCAB, Reference, classes


def bert_like(rng: random.Random) -> dict[str, Any]:
    heads = rng.choice((1, 2, 4))
    return {
        "vocab_size": VOCAB,
        "hidden_size": heads * rng.choice((4, 6, 8)),
        "num_hidden_layers": rng.choice((1, 2, 3)),
        "num_attention_heads": heads,
        "intermediate_size": rng.choice((24, 40)),
        "max_position_embeddings": 40,
        "type_vocab_size": rng.choice((1, 2, 3)),
        "hidden_act": rng.choice(("gelu", "relu", "gelu_new", "silu")),
        "layer_norm_eps": rng.choice((1e-12, 1e-5, 1e-3)),
    }


def _bert(rng: random.Random) -> Any:
    return transformers.BertConfig(**bert_like(rng))


def _roberta(rng: random.Random) -> Any:
    return transformers.RobertaConfig(**bert_like(rng), pad_token_id=rng.choice((1, 3)))


def _xlm_roberta(rng: random.Random) -> Any:
    return transformers.XLMRobertaConfig(**bert_like(rng))


def _ernie(rng: random.Random) -> Any:
    return transformers.ErnieConfig(**bert_like(rng), use_task_id=rng.random() < 0.7, task_type_vocab_size=4)


def _electra(rng: random.Random) -> Any:
    base = bert_like(rng)
    return transformers.ElectraConfig(**base, embedding_size=rng.choice((base["hidden_size"], 6, 10)))


def _distilbert(rng: random.Random) -> Any:
    base = bert_like(rng)
    return transformers.DistilBertConfig(
        vocab_size=VOCAB,
        dim=base["hidden_size"],
        n_layers=base["num_hidden_layers"],
        n_heads=base["num_attention_heads"],
        hidden_dim=base["intermediate_size"],
        activation=rng.choice(("gelu", "relu")),
        max_position_embeddings=40,
    )


def _albert(rng: random.Random) -> Any:
    base = bert_like(rng)
    groups, inner = rng.choice(((1, 1), (2, 1), (1, 2), (2, 2), (3, 1)))
    base["num_hidden_layers"] = rng.choice((groups, 2 * groups, 2 * groups + 1))
    return transformers.AlbertConfig(
        **base, embedding_size=rng.choice((6, 10)), num_hidden_groups=groups, inner_group_num=inner
    )


def _gpt2(rng: random.Random) -> Any:
    heads = rng.choice((1, 2, 3))
    return transformers.GPT2Config(
        vocab_size=VOCAB,
        n_embd=heads * 8,
        n_layer=rng.choice((1, 2, 3)),
        n_head=heads,
        n_positions=40,
        n_inner=rng.choice((None, 20)),
        activation_function=rng.choice(("gelu_new", "relu", "gelu")),
        layer_norm_epsilon=rng.choice((1e-5, 1e-3)),
        scale_attn_by_inverse_layer_idx=rng.random() < 0.5,
        scale_attn_weights=rng.random() < 0.7,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )


def _gpt_neox(rng: random.Random) -> Any:
    heads = rng.choice((1, 2, 4))
    return transformers.GPTNeoXConfig(
        vocab_size=VOCAB,
        hidden_size=heads * 16,
        num_hidden_layers=rng.choice((1, 2, 3)),
        num_attention_heads=heads,
        intermediate_size=rng.choice((24, 40)),
        use_parallel_residual=rng.random() < 0.5,
        attention_bias=rng.random() < 0.7,
        hidden_act=rng.choice(("gelu", "relu", "gelu_new")),
        rope_parameters={
            "rope_type": "default",
            "rope_theta": rng.choice((10000.0, 500.0)),
            "partial_rotary_factor": rng.choice((0.25, 0.5, 1.0)),
        },
        tie_word_embeddings=rng.random() < 0.3,
        pad_token_id=0,
    )


ROTARY_SCALINGS: tuple[dict[str, Any], ...] = (
    {"rope_type": "default"},
    {"rope_type": "linear", "factor": 4.0},
    {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 32,
    },
    {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16},
)


def _llama(rng: random.Random) -> Any:
    kv_heads = rng.choice((1, 2))
    heads = kv_heads * rng.choice((1, 2, 3))
    return transformers.LlamaConfig(
        vocab_size=VOCAB,
        hidden_size=heads * rng.choice((4, 6)),
        head_dim=rng.choice((8, 12)),
        num_hidden_layers=rng.choice((1, 2, 3)),
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        intermediate_size=rng.choice((24, 40)),
        attention_bias=rng.random() < 0.5,
        mlp_bias=rng.random() < 0.5,
        rms_norm_eps=rng.choice((1e-6, 1e-3)),
        rope_parameters={"rope_theta": rng.choice((10000.0, 500.0)), **rng.choice(ROTARY_SCALINGS)},
        tie_word_embeddings=rng.random() < 0.5,
        max_position_embeddings=64,
        pad_token_id=0,
    )


def _t5(rng: random.Random) -> Any:
    return transformers.T5Config(
        vocab_size=VOCAB,
        d_model=rng.choice((12, 16)),
        d_kv=rng.choice((4, 6)),
        d_ff=rng.choice((24, 40)),
        num_layers=rng.choice((1, 2)),
        num_decoder_layers=rng.choice((1, 2, 3)),
        num_heads=rng.choice((1, 3)),
        relative_attention_num_buckets=rng.choice((8, 32)),
        relative_attention_max_distance=rng.choice((10, 128)),
        feed_forward_proj=rng.choice(("relu", "gated-gelu", "gated-silu", "gelu_new")),
        layer_norm_epsilon=rng.choice((1e-6, 1e-3)),
        decoder_start_token_id=0,
        tie_word_embeddings=rng.random() < 0.7,
    )


def bert_classes(name: str) -> tuple[str, ...]:
    return tuple(
        f"{name}{head}"
        for head in (
            "Model",
            "ForPreTraining",
            "ForMaskedLM",
            "ForNextSentencePrediction",
            "ForSequenceClassification",
            "ForTokenClassification",
            "ForQuestionAnswering",
        )
    )


REFERENCES = (
    Reference("bert", bert_classes("Bert"), _bert),
    Reference("distilbert", classes("DistilBert", "ForMaskedLM"), _distilbert),
    Reference("roberta", classes("Roberta", "ForMaskedLM"), _roberta, positions=False),
    Reference("xlm-roberta", classes("XLMRoberta", "ForMaskedLM"), _xlm_roberta, positions=False),
    Reference("electra", classes("Electra", "ForPreTraining", "ForMaskedLM"), _electra),
    Reference("ernie", bert_classes("Ernie"), _ernie),
    Reference(
        "albert",
        tuple(c for c in bert_classes("Albert") if not c.endswith("NextSentencePrediction")),
        _albert,
    ),
    Reference("gpt2", classes("GPT2", "LMHeadModel"), _gpt2),
    Reference("gpt_neox", classes("GPTNeoX", "ForCausalLM"), _gpt_neox, double=1e-6),
    Reference("llama", classes("Llama", "ForCausalLM"), _llama, double=1e-5),
    Reference(
        "t5",
        classes("T5", "ForConditionalGeneration", "EncoderModel"),
        _t5,
        positions=False,
        double=1e-5,
        ends_with_eos=("T5ForSequenceClassification",),
        no_left=("T5ForQuestionAnswering", "T5ForSequenceClassification"),
    ),
)
