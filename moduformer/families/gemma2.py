"""Gemma 2 (Gemma Team 2024, arXiv 2408.00118): Gemma with norms on both sides, bounded scores, and local layers."""

from dataclasses import replace
from typing import Any

from moduformer.families.family import Family, decoder
from moduformer.families.gemma import LAYER, RULES, TEMPLATE
from moduformer.families.gguf import Header, dialect, gated_rows
from moduformer.families.llama import BLOCK, architectures
from moduformer.families.llama import FAMILY as LLAMA
from moduformer.weights.config import (
    ACTIVATIONS,
    Config,
    Key,
    LayerWindows,
    RootScale,
    by_layer_types,
    key,
    layer_count,
    layer_types,
)
from moduformer.weights.plan import Row

LAYER2 = replace(LAYER, norm_at=("in", "out"))


def read_windows(config: Config) -> list[int | None]:
    """The window of every layer: by name where `layer_types` is there, else in every other layer from the first on."""
    layers = layer_count(config, "num_hidden_layers", 26)
    return by_layer_types(config, layers, config.get("sliding_window", 4096), [i % 2 == 0 for i in range(layers)])


def write_windows(windows: list[int | None]) -> dict[str, Any]:
    """The keys that say so."""
    return {**layer_types(windows), "sliding_window": max(filter(None, windows), default=None)}


def query_scalar(header: Header) -> dict[str, Any]:
    """What a GGUF header leaves out: the 27B, which has 46 layers, scales by width over heads, others by the head."""
    heads, dim = header["gemma2.attention.head_count"], header["gemma2.embedding_length"]
    own = header["gemma2.attention.key_length"]
    return {"query_pre_attn_scalar": dim // heads if header["gemma2.block_count"] == 46 else own}


NAME = "Gemma2ForCausalLM"

FAMILY = Family(
    model_type="gemma2",
    template=replace(TEMPLATE, decoder=decoder(26, LAYER2)),
    rules=(
        *RULES,
        key("hidden_activation", f"{BLOCK}.feed_forward.activation", default="gelu_pytorch_tanh", table=ACTIVATIONS),
        key("attn_logit_softcapping", f"{BLOCK}.attention.softcap", default=50.0),
        key("final_logit_softcapping", "heads.language-model.softcap", default=30.0),
        Key(
            "query_pre_attn_scalar",
            (f"{BLOCK}.attention.scale",),
            256,
            lambda scalar: scalar**-0.5,
            lambda scale: None if scale is None else round(scale**-2),
        ),
        LayerWindows("decoder", LAYER2, read_windows, write_windows),
        RootScale("hidden_size", 2304),
    ),
    rows=(
        *(row for row in LLAMA.rows if "post_attention_layernorm" not in row.file),
        Row("layers.{i}.post_attention_layernorm", "decoder.{i}.attention_norm_out"),
        Row("layers.{i}.[pre post]_feedforward_layernorm", "decoder.{i}.feed_forward_norm_[in out]"),
    ),
    architectures=architectures("Gemma2", "ForSequenceClassification", "ForTokenClassification"),
    prefix="model.",
    unused=LLAMA.unused,
    dialects=dialect(
        "gemma2",
        "Gemma2ForCausalLM",
        (
            *gated_rows(plus=1.0),
            Row("blk.{i}.post_[attention ffw]_norm", "decoder.{i}.[attention feed_forward]_norm_out", plus=1.0),
        ),
        more=query_scalar,
    ),
)
