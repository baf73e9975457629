"""MiniGPT-4's network, plainly: EVA ViT-g, Q-Former, one linear layer, LLaMA; tensors named as in its checkpoints.

Not `asked`, it is the version on Llama-2, whose linear layer reads four neighbouring patches and no class token.

Written from Zhu et al. 2023 (arXiv 2304.10592, section 3), Fang et al. 2022 (EVA, arXiv 2211.07636), Li et al. 2023
(BLIP-2, arXiv 2301.12597, section 3.1) and Touvron et al. 2023 (LLaMA, arXiv 2302.13971), one image and one text at a
time, without caches, masks or shared code. Names are those of Vision-CAIR/MiniGPT-4's state dict.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

State = dict[str, Tensor]


@dataclass(frozen=True)
class Sizes:
    """Small sizes of every part."""

    image: int = 8
    patch: int = 4
    eye: int = 16
    eye_layers: int = 2
    eye_heads: int = 2
    eye_width: int = 24
    queries: int = 3
    asking: int = 12
    asking_layers: int = 3
    asking_heads: int = 2
    asking_width: int = 20
    every: int = 2
    asked: bool = True
    vocab: int = 50
    text: int = 24
    text_layers: int = 2
    text_heads: int = 2
    text_width: int = 32


def norm(state: State, name: str, x: Tensor, eps: float) -> Tensor:
    """(x - mean) / sqrt(variance + eps) * weight + bias."""
    centred = x - x.mean(-1, keepdim=True)
    scaled = centred / torch.sqrt((centred**2).mean(-1, keepdim=True) + eps)
    return scaled * state[f"{name}.weight"] + state[f"{name}.bias"]


def gelu(x: Tensor) -> Tensor:
    """x Phi(x)."""
    return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))


def linear(state: State, name: str, x: Tensor) -> Tensor:
    """x W^T + b, where there is a b."""
    y = x @ state[f"{name}.weight"].T
    return y + state[f"{name}.bias"] if f"{name}.bias" in state else y


def attend(q: Tensor, k: Tensor, v: Tensor, heads: int, causal: bool = False) -> Tensor:
    """Scaled dot-product attention, head by head, `[tokens, dim]`."""
    size = q.shape[1] // heads
    out = []
    for h in range(heads):
        part = slice(h * size, (h + 1) * size)
        scores = q[:, part] @ k[:, part].T / math.sqrt(size)
        if causal:
            later = torch.ones_like(scores).triu(1).bool()
            scores = scores.masked_fill(later, float("-inf"))
        out.append(torch.softmax(scores, -1) @ v[:, part])
    return torch.cat(out, 1)


def see(state: State, sizes: Sizes, image: Tensor) -> Tensor:
    """`[3, image, image]` to `[patches + 1, eye]`, normed by ln_vision. The keys have no bias."""
    side = sizes.image // sizes.patch
    kernel, bias = state["visual_encoder.patch_embed.proj.weight"], state["visual_encoder.patch_embed.proj.bias"]
    squares = []
    for row in range(side):
        for column in range(side):
            top, left = row * sizes.patch, column * sizes.patch
            square = image[:, top : top + sizes.patch, left : left + sizes.patch]
            squares.append((kernel * square).sum((1, 2, 3)) + bias)
    x = torch.cat((state["visual_encoder.cls_token"][0], torch.stack(squares)))
    x = x + state["visual_encoder.pos_embed"][0]
    for layer in range(sizes.eye_layers):
        name = f"visual_encoder.blocks.{layer}"
        q, k, v = (norm(state, f"{name}.norm1", x, 1e-6) @ state[f"{name}.attn.qkv.weight"].T).chunk(3, -1)
        q, v = q + state[f"{name}.attn.q_bias"], v + state[f"{name}.attn.v_bias"]
        x = x + linear(state, f"{name}.attn.proj", attend(q, k, v, sizes.eye_heads))
        inner = gelu(linear(state, f"{name}.mlp.fc1", norm(state, f"{name}.norm2", x, 1e-6)))
        x = x + linear(state, f"{name}.mlp.fc2", inner)
    return norm(state, "ln_vision", x, 1e-5)


def ask(state: State, sizes: Sizes, image: Tensor) -> Tensor:
    """The queries' answers about `[patches + 1, eye]`, in the width of the text."""
    x = norm(state, "Qformer.bert.embeddings.LayerNorm", state["query_tokens"][0], 1e-12)
    for layer in range(sizes.asking_layers):
        name = f"Qformer.bert.encoder.layer.{layer}"
        looked = [("attention", x)] + ([("crossattention", image)] if layer % sizes.every == 0 else [])
        for part, seen in looked:
            source = x if part == "attention" else seen
            q = linear(state, f"{name}.{part}.self.query", x)
            k = linear(state, f"{name}.{part}.self.key", source)
            v = linear(state, f"{name}.{part}.self.value", source)
            y = linear(state, f"{name}.{part}.output.dense", attend(q, k, v, sizes.asking_heads))
            x = norm(state, f"{name}.{part}.output.LayerNorm", x + y, 1e-12)
        y = linear(state, f"{name}.output_query.dense", gelu(linear(state, f"{name}.intermediate_query.dense", x)))
        x = norm(state, f"{name}.output_query.LayerNorm", x + y, 1e-12)
    return linear(state, "llama_proj", x)


def join(state: State, image: Tensor) -> Tensor:
    """The patches, four beside each other, in the width of the text."""
    return torch.stack(
        [linear(state, "llama_proj", torch.cat(list(image[i : i + 4]))) for i in range(1, len(image), 4)]
    )


def rms(state: State, name: str, x: Tensor) -> Tensor:
    """x / sqrt(mean x^2 + eps) * weight."""
    return x / torch.sqrt((x**2).mean(-1, keepdim=True) + 1e-6) * state[f"{name}.weight"]


def turn(x: Tensor, heads: int) -> Tensor:
    """Rotary positions: dimension i and i + half of every head turn by position * 10000^(-2i / size)."""
    size = x.shape[1] // heads
    half = size // 2
    y = x.clone()
    for position in range(len(x)):
        for h in range(heads):
            for i in range(half):
                angle = position * 10000.0 ** (-2 * i / size)
                a, b = x[position, h * size + i], x[position, h * size + i + half]
                y[position, h * size + i] = a * math.cos(angle) - b * math.sin(angle)
                y[position, h * size + i + half] = b * math.cos(angle) + a * math.sin(angle)
    return y


def read(state: State, sizes: Sizes, x: Tensor) -> Tensor:
    """LLaMA's logits for vectors `[tokens, text]`."""
    for layer in range(sizes.text_layers):
        name = f"llama_model.model.layers.{layer}"
        seen = rms(state, f"{name}.input_layernorm", x)
        q, k, v = (linear(state, f"{name}.self_attn.{part}_proj", seen) for part in "qkv")
        mixed = attend(turn(q, sizes.text_heads), turn(k, sizes.text_heads), v, sizes.text_heads, causal=True)
        x = x + linear(state, f"{name}.self_attn.o_proj", mixed)
        seen = rms(state, f"{name}.post_attention_layernorm", x)
        gate = linear(state, f"{name}.mlp.gate_proj", seen)
        inner = gate * torch.sigmoid(gate) * linear(state, f"{name}.mlp.up_proj", seen)
        x = x + linear(state, f"{name}.mlp.down_proj", inner)
    return linear(state, "llama_model.lm_head", rms(state, "llama_model.model.norm", x))


def logits(state: State, sizes: Sizes, before: Tensor, image: Tensor, after: Tensor) -> Tensor:
    """The prompt before the image, the image's vectors, the prompt after it: `[tokens, vocab]`."""
    table = state["llama_model.model.embed_tokens.weight"]
    seen = see(state, sizes, image)
    vectors = ask(state, sizes, seen) if sizes.asked else join(state, seen)
    return read(state, sizes, torch.cat((table[before], vectors, table[after])))


def shapes(sizes: Sizes) -> dict[str, tuple[int, ...]]:
    """Every tensor of a checkpoint, and its shape."""
    eye, asking, text = sizes.eye, sizes.asking, sizes.text
    found: dict[str, tuple[int, ...]] = {
        "visual_encoder.cls_token": (1, 1, eye),
        "visual_encoder.pos_embed": (1, (sizes.image // sizes.patch) ** 2 + 1, eye),
        "visual_encoder.patch_embed.proj.weight": (eye, 3, sizes.patch, sizes.patch),
        "visual_encoder.patch_embed.proj.bias": (eye,),
        "llama_model.model.embed_tokens.weight": (sizes.vocab, text),
        "llama_model.lm_head.weight": (sizes.vocab, text),
        "llama_model.model.norm.weight": (text,),
    }

    def dense(name: str, inputs: int, outputs: int) -> None:
        found[f"{name}.weight"], found[f"{name}.bias"] = (outputs, inputs), (outputs,)

    def normed(name: str, dim: int) -> None:
        found[f"{name}.weight"] = found[f"{name}.bias"] = (dim,)

    normed("ln_vision", eye)
    dense("llama_proj", asking if sizes.asked else 4 * eye, text)
    if sizes.asked:
        found["query_tokens"] = (1, sizes.queries, asking)
        normed("Qformer.bert.embeddings.LayerNorm", asking)
    for layer in range(sizes.eye_layers):
        name = f"visual_encoder.blocks.{layer}"
        normed(f"{name}.norm1", eye)
        normed(f"{name}.norm2", eye)
        found |= {
            f"{name}.attn.qkv.weight": (3 * eye, eye),
            f"{name}.attn.q_bias": (eye,),
            f"{name}.attn.v_bias": (eye,),
        }
        dense(f"{name}.attn.proj", eye, eye)
        dense(f"{name}.mlp.fc1", eye, sizes.eye_width)
        dense(f"{name}.mlp.fc2", sizes.eye_width, eye)
    for layer in range(sizes.asking_layers if sizes.asked else 0):
        name = f"Qformer.bert.encoder.layer.{layer}"
        for part, source in (("attention", asking), *((("crossattention", eye),) if layer % sizes.every == 0 else ())):
            dense(f"{name}.{part}.self.query", asking, asking)
            dense(f"{name}.{part}.self.key", source, asking)
            dense(f"{name}.{part}.self.value", source, asking)
            dense(f"{name}.{part}.output.dense", asking, asking)
            normed(f"{name}.{part}.output.LayerNorm", asking)
        dense(f"{name}.intermediate_query.dense", asking, sizes.asking_width)
        dense(f"{name}.output_query.dense", sizes.asking_width, asking)
        normed(f"{name}.output_query.LayerNorm", asking)
    for layer in range(sizes.text_layers):
        name = f"llama_model.model.layers.{layer}"
        found |= {f"{name}.self_attn.{part}_proj.weight": (text, text) for part in "qkvo"}
        found |= {f"{name}.{part}_layernorm.weight": (text,) for part in ("input", "post_attention")}
        found |= {f"{name}.mlp.{part}_proj.weight": (sizes.text_width, text) for part in ("gate", "up")}
        found[f"{name}.mlp.down_proj.weight"] = (text, sizes.text_width)
    return found


def config(sizes: Sizes) -> dict[str, object]:
    """What a config.json says of these sizes."""
    return {
        "model_type": "minigpt4",
        "architectures": ["MiniGPT4ForConditionalGeneration"],
        **({"num_query_tokens": sizes.queries} if sizes.asked else {"has_qformer": False}),
        "image_token_index": sizes.vocab,
        "vision_config": {
            "hidden_size": sizes.eye,
            "num_hidden_layers": sizes.eye_layers,
            "num_attention_heads": sizes.eye_heads,
            "intermediate_size": sizes.eye_width,
            "image_size": sizes.image,
            "patch_size": sizes.patch,
        },
        "qformer_config": {
            "hidden_size": sizes.asking,
            "num_hidden_layers": sizes.asking_layers,
            "num_attention_heads": sizes.asking_heads,
            "intermediate_size": sizes.asking_width,
            "cross_attention_frequency": sizes.every,
        },
        "text_config": {
            "vocab_size": sizes.vocab,
            "hidden_size": sizes.text,
            "num_hidden_layers": sizes.text_layers,
            "num_attention_heads": sizes.text_heads,
            "num_key_value_heads": sizes.text_heads,
            "intermediate_size": sizes.text_width,
        },
    }
