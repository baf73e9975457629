"""Encoders beyond BERT: other kinds of scores."""

from __future__ import annotations

import random
from typing import Any

import transformers

from parity.drawn.first import bert_like
from parity.references import VOCAB, Reference, classes

DISTANCES = ((-1, -1), (-1, 5), (4, -1), (5, 9), (6, 16), (8, -1))


def _deberta_v2(rng: random.Random) -> Any:
    base = bert_like(rng)
    relative, legacy = rng.random() < 0.8, rng.random() < 0.5
    return transformers.DebertaV2Config(
        **base | {"type_vocab_size": rng.choice((0, 2)), "max_position_embeddings": rng.choice((12, 40))},
        relative_attention=relative,
        pos_att_type=rng.choice((["c2p"], "p2c", "p2c|c2p", ["c2p", "p2c"])) if relative else None,
        share_att_key=rng.random() < 0.5,
        # Eleven tokens reach the logarithmic buckets and, with few distances, the clamp.
        **dict(zip(("position_buckets", "max_relative_positions"), rng.choice(DISTANCES))),
        norm_rel_ebd=rng.choice(("none", "layer_norm")) if relative else "none",
        position_biased_input=not relative or rng.random() < 0.3,
        conv_kernel_size=rng.choice((0, 1, 3, 5)),
        conv_groups=rng.choice((1, 2)),
        conv_act=rng.choice(("tanh", "gelu", "relu")),
        pooler_hidden_act=rng.choice(("gelu", "tanh")),
        legacy=legacy,
        **({"embedding_size": rng.choice((6, 10))} if legacy and rng.random() < 0.5 else {}),
    )


def _xlnet(rng: random.Random) -> Any:
    heads = rng.choice((1, 2, 4))
    config = transformers.XLNetConfig(
        vocab_size=VOCAB,
        d_model=heads * rng.choice((4, 6, 8)),
        n_layer=rng.choice((1, 2, 3)),
        n_head=heads,
        d_inner=rng.choice((24, 40)),
        ff_activation=rng.choice(("gelu", "relu", "silu")),
        attn_type=rng.choice(("bi", "bi", "uni")),
        layer_norm_eps=rng.choice((1e-12, 1e-5, 1e-3)),
        clamp_len=rng.choice((-1, 3, 20)),
        mem_len=rng.choice((None, 512)),
        summary_type=rng.choice(("last", "cls_index", "first")),
        summary_activation=rng.choice(("tanh", "gelu")),
        tie_word_embeddings=rng.random() < 0.7,
    )
    # Not a key of XLNet, which compares segments however many there are: it tells the tests to draw some.
    config.type_vocab_size = 3
    return config


REFERENCES = (
    # The scale of the scores, sqrt(terms * head size), is a float32 in the reference (scaled_size_sqrt).
    Reference("deberta-v2", classes("DebertaV2", "ForMaskedLM"), _deberta_v2, double=1e-6),
    # Sinusoids are float32 in the reference (relative_positional_encoding); its summary reads the last column.
    Reference(
        "xlnet",
        tuple(
            f"XLNet{head}"
            for head in (
                "Model",
                "ForSequenceClassification",
                "ForTokenClassification",
                "ForQuestionAnsweringSimple",
                "LMHeadModel",
            )
        ),
        _xlnet,
        positions=False,
        double=1e-6,
        no_right=("XLNetForSequenceClassification",),
    ),
)
