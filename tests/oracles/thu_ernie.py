"""Zhang et al. 2019 (arXiv 1905.07129), written from the paper's equations, for one text at a time and without padding.

Weights come as a dict with the tensor names of the authors' checkpoint. Where the paper leaves something open
(residuals, norms, what a token without an entity contributes) the comments say what the released code does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

Weights = Mapping[str, Tensor]
ACTIVATIONS = {
    "gelu": lambda x: x * 0.5 * (1 + torch.erf(x / math.sqrt(2))),
    "relu": lambda x: x.clamp(min=0),
    "silu": lambda x: x * torch.sigmoid(x),
}


def linear(w: Weights, name: str, x: Tensor) -> Tensor:
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def norm(w: Weights, name: str, x: Tensor) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    scaled = centred / torch.sqrt(centred.square().mean(-1, keepdim=True) + 1e-12)
    return scaled * w[f"{name}.weight"] + w[f"{name}.bias"]


def multi_head(w: Weights, name: str, x: Tensor, heads: int, seen: Tensor) -> Tensor:
    """MH-ATT of equation 3 (Vaswani et al. 2017, section 3.2.2); what is not `seen` gets 10000 less, as in the code."""
    outputs = []
    q, k, v = (linear(w, f"{name}.{part}", x) for part in ("query", "key", "value"))
    size = x.shape[-1] // heads
    for head in range(heads):
        part = slice(head * size, (head + 1) * size)
        scores = q[:, part] @ k[:, part].T / math.sqrt(size) - 10000.0 * (1.0 - seen)
        outputs.append(torch.softmax(scores, -1) @ v[:, part])
    return torch.cat(outputs, -1)


def layer(w: Weights, name: str, kind: str, x: Tensor, e: Tensor, known: Tensor, config: Mapping[str, object]) -> tuple:
    """One layer of the T-encoder ("sim", equation 1) or an aggregator of the K-encoder (equations 3 to 6)."""
    activation = ACTIVATIONS[str(config["hidden_act"])]
    everything = torch.ones(len(x), dtype=x.dtype)
    # Equation 3, first half: w~ = MH-ATT(w); the code adds the input and norms.
    attended = multi_head(w, f"{name}.attention.self", x, int(config["num_attention_heads"]), everything)
    x = norm(w, f"{name}.attention.output.LayerNorm", linear(w, f"{name}.attention.output.dense", attended) + x)
    if kind == "sim":
        inner = activation(linear(w, f"{name}.intermediate.dense", x))
        return norm(w, f"{name}.output.LayerNorm", linear(w, f"{name}.output.dense", inner) + x), e
    if kind == "norm":
        # Equation 3, second half: e~ = MH-ATT(e) over the entities that are there.
        attended = multi_head(w, f"{name}.attention.self_ent", e, int(config["num_entity_attention_heads"]), known)
        answer = linear(w, f"{name}.attention.output_ent.dense", attended)
        e = norm(w, f"{name}.attention.output_ent.LayerNorm", answer + e)
    e = e * known[:, None]
    # Equation 4: h = sigma(W~t w~ + W~e e~ + b~). In equation 5 tokens without an entity lack the middle term: e~ is 0.
    inner = activation(linear(w, f"{name}.intermediate.dense", x) + linear(w, f"{name}.intermediate.dense_ent", e))
    # Equation 4: w = sigma(Wt h + bt), e = sigma(We h + be); the code norms the sum with the input in sigma's place.
    words = norm(w, f"{name}.output.LayerNorm", linear(w, f"{name}.output.dense", inner) + x)
    entities = norm(w, f"{name}.output.LayerNorm_ent", linear(w, f"{name}.output.dense_ent", inner) + e)
    return words, entities


def encode(
    w: Weights,
    config: Mapping[str, object],
    tokens: Sequence[int],
    segments: Sequence[int],
    entities: Tensor,
    known: Tensor,
) -> Tensor:
    """Equations 1 and 2: the last states of a text's tokens; `known` is 1 where a token has an entity."""
    table = "bert.embeddings"
    words = w[f"{table}.word_embeddings.weight"][list(tokens)]
    places = w[f"{table}.position_embeddings.weight"][: len(tokens)]
    x = norm(w, f"{table}.LayerNorm", words + places + w[f"{table}.token_type_embeddings.weight"][list(segments)])
    kinds = list(config["layer_types"])  # type: ignore[call-overload]
    kinds += ["sim"] * (int(config["num_hidden_layers"]) - len(kinds))
    for number, kind in enumerate(kinds):
        x, entities = layer(w, f"bert.encoder.layer.{number}", kind, x, entities, known, config)
    return x


def pool(w: Weights, states: Tensor) -> Tensor:
    """The first token's state through a layer with tanh (Devlin et al. 2019)."""
    return torch.tanh(linear(w, "bert.pooler.dense", states[0]))


def transform(w: Weights, name: str, states: Tensor, config: Mapping[str, object]) -> Tensor:
    activation = ACTIVATIONS[str(config["hidden_act"])]
    return norm(w, f"{name}.transform.LayerNorm", activation(linear(w, f"{name}.transform.dense", states)))


def words(w: Weights, states: Tensor, config: Mapping[str, object]) -> Tensor:
    """Masked words: the embedding is the last projection (Devlin et al. 2019)."""
    inner = transform(w, "cls.predictions", states, config)
    return inner @ w["bert.embeddings.word_embeddings.weight"].T + w["cls.predictions.bias"]


def entity_scores(w: Weights, states: Tensor, candidates: Tensor, config: Mapping[str, object]) -> Tensor:
    """Section 3.4, the denoising entity auto-encoder: linear(w) . e before the softmax, for all candidates."""
    return transform(w, "cls.predictions_ent", states, config) @ candidates.T
