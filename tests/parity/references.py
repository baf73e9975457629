"""Reference models of every family, written by `transformers`: random sizes, every parameter random."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers

VOCAB = 61


@dataclass(frozen=True)
class Reference:
    """A family's classes, and a config for a random draw of its hyperparameters."""

    family: str
    classes: tuple[str, ...]
    draw: Callable[[random.Random], Any]
    positions: bool = True
    """Whether the class takes position_ids, which left padding needs to mean the same as none."""


def _bert_like(rng: random.Random) -> dict[str, Any]:
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
    return transformers.BertConfig(**_bert_like(rng))


def _roberta(rng: random.Random) -> Any:
    return transformers.RobertaConfig(**_bert_like(rng), pad_token_id=rng.choice((1, 3)))


def _xlm_roberta(rng: random.Random) -> Any:
    return transformers.XLMRobertaConfig(**_bert_like(rng))


def _ernie(rng: random.Random) -> Any:
    return transformers.ErnieConfig(**_bert_like(rng), use_task_id=rng.random() < 0.7, task_type_vocab_size=4)


def _electra(rng: random.Random) -> Any:
    base = _bert_like(rng)
    return transformers.ElectraConfig(**base, embedding_size=rng.choice((base["hidden_size"], 6, 10)))


def _distilbert(rng: random.Random) -> Any:
    base = _bert_like(rng)
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
    base = _bert_like(rng)
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


def _bert_classes(name: str) -> tuple[str, ...]:
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


def _classes(name: str, *heads: str) -> tuple[str, ...]:
    common = ("ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering")
    return tuple(f"{name}{head}" for head in ("Model", *heads, *common))


REFERENCES = (
    Reference("bert", _bert_classes("Bert"), _bert),
    Reference("distilbert", _classes("DistilBert", "ForMaskedLM"), _distilbert),
    Reference("roberta", _classes("Roberta", "ForMaskedLM"), _roberta, positions=False),
    Reference("xlm-roberta", _classes("XLMRoberta", "ForMaskedLM"), _xlm_roberta, positions=False),
    Reference("electra", _classes("Electra", "ForPreTraining", "ForMaskedLM"), _electra),
    Reference("ernie", _bert_classes("Ernie"), _ernie),
    Reference(
        "albert",
        tuple(c for c in _bert_classes("Albert") if not c.endswith("NextSentencePrediction")),
        _albert,
    ),
    Reference("gpt2", _classes("GPT2", "LMHeadModel"), _gpt2),
    Reference("gpt_neox", _classes("GPTNeoX", "ForCausalLM"), _gpt_neox),
    Reference("llama", _classes("Llama", "ForCausalLM"), _llama),
    Reference("t5", _classes("T5", "ForConditionalGeneration", "EncoderModel"), _t5, positions=False),
)
"""Every family of this library that `transformers` has, too."""


def make(reference: Reference, name: str, seed: int, dtype: torch.dtype = torch.float32) -> Any:
    """A reference model in evaluation mode with every parameter drawn at random.

    Default initialisation hides swapped norms, dropped biases and swapped projections behind zeros and ones.
    """
    config = reference.draw(random.Random(f"{reference.family}-{seed}"))
    if not name.endswith(("Model", "ForPreTraining", "MaskedLM", "CausalLM", "Generation", "Answering", "Prediction")):
        config.num_labels = 3
    config._attn_implementation = "eager"
    model = getattr(transformers, name)(config).to(dtype).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            scale = 0.5 if parameter.dim() == 1 else 0.8 / parameter.shape[-1] ** 0.5
            parameter.normal_(std=scale, generator=generator)
    return model


def save(model: Any, folder: Path) -> Path:
    """The reference model's own files."""
    model.save_pretrained(folder)
    return folder


@dataclass(frozen=True)
class Inputs:
    """Padded inputs for both sides, and which cells are real."""

    ours: dict[str, torch.Tensor]
    theirs: dict[str, torch.Tensor]
    real: torch.Tensor
    decoder_real: torch.Tensor | None


def inputs(reference: Reference, model: Any, padding: str, seed: int) -> Inputs:
    """Four texts of different lengths (or one length), padded on the right, the left or not at all."""
    generator = torch.Generator().manual_seed(seed)
    config = model.config
    rows, width = 4, 11
    pad = config.pad_token_id if config.pad_token_id is not None else 0
    ids = torch.randint(5, VOCAB, (rows, width), generator=generator)
    lengths = torch.full((rows,), width) if padding == "equal" else torch.tensor([11, 4, 7, 4])
    columns = torch.arange(width)
    real = columns < lengths[:, None] if padding != "left" else columns >= width - lengths[:, None]
    if type(model).__name__ == "T5ForSequenceClassification":
        last = (real * columns).argmax(1)
        ids[torch.arange(rows), last] = config.eos_token_id
    ids = ids.masked_fill(~real, pad)
    common: dict[str, torch.Tensor] = {"input_ids": ids}
    if padding != "equal":
        common["attention_mask"] = real.long()
    if getattr(config, "type_vocab_size", 0) and reference.family != "distilbert":
        segments = torch.randint(0, config.type_vocab_size, (rows, width), generator=generator)
        common["token_type_ids"] = segments.masked_fill(~real, 0)
    if getattr(config, "use_task_id", False):
        tasks = torch.randint(0, config.task_type_vocab_size, (rows, width), generator=generator)
        common["task_type_ids"] = tasks.masked_fill(~real, 0)
    decoder_real = None
    if type(model).__name__ in ("T5Model", "T5ForConditionalGeneration"):
        common["decoder_input_ids"] = torch.randint(5, VOCAB, (rows, 6), generator=generator)
        decoder_real = torch.ones(rows, 6, dtype=torch.bool)
    theirs = dict(common)
    if reference.positions and padding == "left":
        theirs["position_ids"] = (columns - (width - lengths[:, None])).clamp(min=0)
    return Inputs(common, theirs, real, decoder_real)
