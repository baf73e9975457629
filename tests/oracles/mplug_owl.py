"""mPLUG-Owl's network, plainly: ViT-L/14, visual abstractor, LLaMA; tensors named as in its checkpoints.

Written from Ye et al. 2023 (arXiv 2304.14178, section 3) and, where the paper is silent, from what X-PLUG/mPLUG-Owl
states of its layers: the queries are normed before they are looked for, and the residual adds to them as normed; the
feed-forward layer is w2 norm(silu(w1 x) * w3 x). One image and one text at a time, without caches, masks or code of
the library.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from oracles.minigpt4 import attend, linear, norm, rms, turn

State = dict[str, Tensor]


@dataclass(frozen=True)
class Sizes:
    """Small sizes of every part; the abstractor is as wide as the image encoder."""

    image: int = 8
    patch: int = 4
    eye: int = 16
    eye_layers: int = 2
    eye_heads: int = 2
    eye_width: int = 24
    eye_eps: float = 1e-6
    queries: int = 3
    layers: int = 2
    heads: int = 4
    width: int = 20
    eps: float = 1e-6
    vocab: int = 50
    text: int = 24
    text_layers: int = 2
    text_heads: int = 2
    text_width: int = 32


def see(state: State, sizes: Sizes, image: Tensor) -> Tensor:
    """`[3, image, image]` to `[patches + 1, eye]`, normed. Every head keeps its q, k and v side by side."""
    lead, side = "vision_model.embeddings", sizes.image // sizes.patch
    squares = [state[f"{lead}.cls_token"][0, 0]]
    for row in range(side):
        for column in range(side):
            top, left = row * sizes.patch, column * sizes.patch
            square = image[:, top : top + sizes.patch, left : left + sizes.patch]
            squares.append((state[f"{lead}.patch_embed.weight"] * square).sum((1, 2, 3)))
    x = norm(
        state, f"{lead}.pre_layernorm", torch.stack(squares) + state[f"{lead}.position_embedding"][0], sizes.eye_eps
    )
    size = sizes.eye // sizes.eye_heads
    for layer in range(sizes.eye_layers):
        name = f"vision_model.encoder.layers.{layer}"
        mixed = linear(
            state, f"{name}.self_attn.query_key_value", norm(state, f"{name}.input_layernorm", x, sizes.eye_eps)
        )
        heads = []
        for h in range(sizes.eye_heads):
            q, k, v = mixed[:, 3 * h * size : 3 * (h + 1) * size].split(size, 1)
            heads.append(attend(q, k, v, 1))
        x = x + linear(state, f"{name}.self_attn.dense", torch.cat(heads, 1))
        inner = linear(state, f"{name}.mlp.fc1", norm(state, f"{name}.post_attention_layernorm", x, sizes.eye_eps))
        x = x + linear(state, f"{name}.mlp.fc2", inner * torch.sigmoid(1.702 * inner))
    return norm(state, "vision_model.post_layernorm", x, sizes.eye_eps)


def abstract(state: State, sizes: Sizes, image: Tensor) -> Tensor:
    """`[patches + 1, eye]` to `[queries + 1, text]`."""
    x = state["query_tokens"][0]
    for layer in range(sizes.layers):
        name = f"abstractor.encoder.layers.{layer}.crossattention"
        x = norm(state, f"{name}.norm1", x, 1e-5)
        seen = torch.cat((x, norm(state, f"{name}.normk", image, 1e-5)))
        q = linear(state, f"{name}.attention.query", x)
        k, v = linear(state, f"{name}.attention.key", seen), linear(state, f"{name}.attention.value", seen)
        x = x + linear(state, f"{name}.output.out_proj", attend(q, k, v, sizes.heads))
        normed = norm(state, f"{name}.output.norm2", x, 1e-5)
        gate = linear(state, f"{name}.output.mlp.w1", normed)
        inner = gate * torch.sigmoid(gate) * linear(state, f"{name}.output.mlp.w3", normed)
        x = x + linear(state, f"{name}.output.mlp.w2", norm(state, f"{name}.output.mlp.ffn_ln", inner, sizes.eps))
    return torch.cat((linear(state, "abstractor.visual_fc", x), state["abstractor.vit_eos"][0]))


def read(state: State, sizes: Sizes, x: Tensor) -> Tensor:
    """LLaMA's logits for vectors `[tokens, text]`."""
    lead = "language_model"
    for layer in range(sizes.text_layers):
        name = f"{lead}.model.layers.{layer}"
        seen = rms(state, f"{name}.input_layernorm", x)
        q, k, v = (linear(state, f"{name}.self_attn.{part}_proj", seen) for part in "qkv")
        mixed = attend(turn(q, sizes.text_heads), turn(k, sizes.text_heads), v, sizes.text_heads, causal=True)
        x = x + linear(state, f"{name}.self_attn.o_proj", mixed)
        seen = rms(state, f"{name}.post_attention_layernorm", x)
        gate = linear(state, f"{name}.mlp.gate_proj", seen)
        inner = gate * torch.sigmoid(gate) * linear(state, f"{name}.mlp.up_proj", seen)
        x = x + linear(state, f"{name}.mlp.down_proj", inner)
    return linear(state, f"{lead}.lm_head", rms(state, f"{lead}.model.norm", x))


def logits(state: State, sizes: Sizes, tokens: Tensor, images: list[Tensor]) -> Tensor:
    """Logits `[tokens, vocab]` of a text in which -1 stands, for every image, as often as it has vectors."""
    return read(state, sizes, vectors(state, sizes, state["language_model.model.embed_tokens.weight"], tokens, images))


def vectors(state: State, sizes: Sizes, table: Tensor, tokens: Tensor, images: list[Tensor]) -> Tensor:
    """What the language model reads, `[tokens, text]`: rows of its table and, at -1, the vectors of images."""
    parts: list[Tensor] = []
    place = 0
    seen = [abstract(state, sizes, see(state, sizes, image)) for image in images]
    while place < len(tokens):
        if tokens[place] < 0:
            parts.append(seen.pop(0))
            place += sizes.queries + 1
        else:
            parts.append(table[tokens[place]][None])
            place += 1
    return torch.cat(parts)


def shapes(sizes: Sizes) -> dict[str, tuple[int, ...]]:
    """Every tensor of a checkpoint, and its shape."""
    text = sizes.text
    found = image_shapes(sizes) | {
        "language_model.model.embed_tokens.weight": (sizes.vocab, text),
        "language_model.lm_head.weight": (sizes.vocab, text),
        "language_model.model.norm.weight": (text,),
    }
    for layer in range(sizes.text_layers):
        name = f"language_model.model.layers.{layer}"
        found |= {f"{name}.self_attn.{part}_proj.weight": (text, text) for part in "qkvo"}
        found |= {f"{name}.{part}_layernorm.weight": (text,) for part in ("input", "post_attention")}
        found |= {f"{name}.mlp.{part}_proj.weight": (sizes.text_width, text) for part in ("gate", "up")}
        found[f"{name}.mlp.down_proj.weight"] = (text, sizes.text_width)
    return found


def image_shapes(sizes: Sizes) -> dict[str, tuple[int, ...]]:
    """Those of the image encoder and the abstractor."""
    eye, text = sizes.eye, sizes.text
    found: dict[str, tuple[int, ...]] = {
        "vision_model.embeddings.cls_token": (1, 1, eye),
        "vision_model.embeddings.position_embedding": (1, (sizes.image // sizes.patch) ** 2 + 1, eye),
        "vision_model.embeddings.patch_embed.weight": (eye, 3, sizes.patch, sizes.patch),
        "query_tokens": (1, sizes.queries, eye),
        "abstractor.vit_eos": (1, 1, text),
    }

    def dense(name: str, inputs: int, outputs: int) -> None:
        found[f"{name}.weight"], found[f"{name}.bias"] = (outputs, inputs), (outputs,)

    def normed(name: str, dim: int) -> None:
        found[f"{name}.weight"] = found[f"{name}.bias"] = (dim,)

    normed("vision_model.embeddings.pre_layernorm", eye)
    normed("vision_model.post_layernorm", eye)
    dense("abstractor.visual_fc", eye, text)
    for layer in range(sizes.eye_layers):
        name = f"vision_model.encoder.layers.{layer}"
        normed(f"{name}.input_layernorm", eye)
        normed(f"{name}.post_attention_layernorm", eye)
        dense(f"{name}.self_attn.query_key_value", eye, 3 * eye)
        dense(f"{name}.self_attn.dense", eye, eye)
        dense(f"{name}.mlp.fc1", eye, sizes.eye_width)
        dense(f"{name}.mlp.fc2", sizes.eye_width, eye)
    for layer in range(sizes.layers):
        name = f"abstractor.encoder.layers.{layer}.crossattention"
        for part in ("attention.query", "attention.key", "attention.value", "output.out_proj"):
            dense(f"{name}.{part}", eye, eye)
        for part in ("norm1", "normk", "output.norm2"):
            normed(f"{name}.{part}", eye)
        normed(f"{name}.output.mlp.ffn_ln", sizes.width)
        dense(f"{name}.output.mlp.w1", eye, sizes.width)
        dense(f"{name}.output.mlp.w2", sizes.width, eye)
        dense(f"{name}.output.mlp.w3", eye, sizes.width)
    return found


def config(sizes: Sizes) -> dict[str, object]:
    """What a config.json says of these sizes."""
    return {
        "model_type": "mplug-owl",
        "architectures": ["MplugOwlForConditionalGeneration"],
        "num_query_tokens": sizes.queries,
        "vision_config": {
            "hidden_size": sizes.eye,
            "num_hidden_layers": sizes.eye_layers,
            "num_attention_heads": sizes.eye_heads,
            "intermediate_size": sizes.eye_width,
            "image_size": sizes.image,
            "patch_size": sizes.patch,
            "layer_norm_eps": sizes.eye_eps,
            "hidden_act": "quick_gelu",
        },
        "visual_abstractor_config": {
            "hidden_size": sizes.eye,
            "encoder_hidden_size": sizes.eye,
            "num_hidden_layers": sizes.layers,
            "num_attention_heads": sizes.heads,
            "intermediate_size": sizes.width,
            "layer_norm_eps": sizes.eps,
        },
        "text_config": {
            "model_type": "llama",
            "vocab_size": sizes.vocab,
            "hidden_size": sizes.text,
            "num_hidden_layers": sizes.text_layers,
            "num_attention_heads": sizes.text_heads,
            "intermediate_size": sizes.text_width,
        },
    }
