"""What llama.cpp's files say and how they name tensors, for every family that it writes (ggml, docs/gguf.md)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from moduformer.errors import CheckpointError
from moduformer.families.family import Dialect
from moduformer.weights.plan import Row
from moduformer.weights.views import Axes

Header = Mapping[str, Any]

SIZES = {
    "num_hidden_layers": "block_count",
    "hidden_size": "embedding_length",
    "intermediate_size": "feed_forward_length",
    "num_attention_heads": "attention.head_count",
    "max_position_embeddings": "context_length",
}
"""Keys of a config, and the fields of a header that must be there."""

LLAMA_LIKE = {**SIZES, "rms_norm_eps": "attention.layer_norm_rms_epsilon"}

PERHAPS = {
    "num_key_value_heads": "attention.head_count_kv",
    "rope_theta": "rope.freq_base",
    "head_dim": "attention.key_length",
    "sliding_window": "attention.sliding_window",
    "attn_logit_softcapping": "attn_logit_softcapping",
    "final_logit_softcapping": "final_logit_softcapping",
}
"""Those that may be there."""


def read_header(header: Header, name: str, architecture: str, keys: Mapping[str, str]) -> dict[str, Any]:
    """The config of a file whose `general.architecture` is `name`. Raises `KeyError` naming a field that is absent."""
    config: dict[str, Any] = {
        "model_type": name,
        "architectures": [architecture],
        "vocab_size": header.get(f"{name}.vocab_size") or len(header["tokenizer.ggml.tokens"]),
        "tie_word_embeddings": "output.weight" not in header["tensor_names"],
    }
    config |= {key: header[f"{name}.{field}"] for key, field in keys.items()}
    config |= {key: header[f"{name}.{field}"] for key, field in PERHAPS.items() if f"{name}.{field}" in header}
    for role, key in (("bos", "bos"), ("eos", "eos"), ("padding", "pad")):
        if (number := header.get(f"tokenizer.ggml.{role}_token_id")) is not None:
            config[f"{key}_token_id"] = number
    scaling = header.get(f"{name}.rope.scaling.type", "none")
    if scaling == "linear":
        config["rope_scaling"] = {"rope_type": "linear", "factor": header[f"{name}.rope.scaling.factor"]}
    elif scaling == "yarn":
        config["rope_scaling"] = {
            "rope_type": "yarn",
            "factor": header[f"{name}.rope.scaling.factor"],
            "original_max_position_embeddings": header[f"{name}.rope.scaling.original_context_length"],
        }
    elif scaling != "none":
        raise CheckpointError(
            f"the header's {name}.rope.scaling.type is {scaling!r:.80}: none, linear and yarn are read"
        )
    return config


def dialect(
    name: str,
    architecture: str,
    rows: tuple[Row, ...],
    keys: Mapping[str, str] = LLAMA_LIKE,
    more: Callable[[Header], dict[str, Any]] = lambda header: {},
) -> dict[str, Dialect]:
    """A family's table of dialects; `name` is llama.cpp's and ours, `more` are keys that only this header has."""
    return {"gguf": Dialect(lambda header: read_header(header, name, architecture, keys) | more(header), rows)}


def gated_rows(turned: Axes | None = None, plus: float = 0.0) -> tuple[Row, ...]:
    """LLaMA's tensors; `turned` is how q and k lie, and norms are stored with `plus` added."""
    return (
        Row("token_embd.weight", "embedding.tokens.weight", also=("output.weight",)),
        Row("blk.{i}.[attn ffn]_norm", "decoder.{i}.[attention feed_forward]_norm_in", plus=plus),
        Row("blk.{i}.attn_[q k]", "decoder.{i}.attention.[q k]", turned),
        Row("blk.{i}.attn_[v output]", "decoder.{i}.attention.[v out]"),
        Row("blk.{i}.ffn_[gate up down]", "decoder.{i}.feed_forward.[gate value down]"),
        Row("output_norm", "decoder.norm", plus=plus),
        Row("output.weight", "heads.language-model.weight"),
    )


FUSED_ROWS = (
    Row("token_embd.weight", "embedding.tokens.weight", also=("output.weight",)),
    Row("position_embd.weight", "embedding.positions.weight"),
    Row("token_embd_norm", "embedding.norm"),
    Row("blk.{i}.attn_qkv", "decoder.{i}.attention.qkv"),
    Row("blk.{i}.attn_output", "decoder.{i}.attention.out"),
    Row("blk.{i}.ffn_[up down]", "decoder.{i}.feed_forward.[up down]"),
    Row("output_norm", "decoder.norm"),
    Row("output.weight", "heads.language-model.weight"),
)
"""GPT-2's tensors and those of its descendants, without the norms of a layer."""

PRE_NORMS = (Row("blk.{i}.[attn ffn]_norm", "decoder.{i}.[attention feed_forward]_norm_in"),)
