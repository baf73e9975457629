"""Flamingo's network, plainly: CLIP, perceiver resampler, LLaMA or MPT with gated cross-attention between their layers.

Written from Alayrac et al. 2022 (Flamingo, arXiv 2204.14198, sections 2.1 to 2.3 and figures 4 and 5), Awadalla et al.
2023 (OpenFlamingo, arXiv 2308.01390), Radford et al. 2021 (CLIP, arXiv 2103.00020), Touvron et al. 2023 (LLaMA) and
Press et al. 2022 (ALiBi), one text at a time, token by token, without caches, masks or shared code. Tensors have the
names of Otter's checkpoints (Li et al. 2023, arXiv 2305.03726). Heads of 8 x 64, 64 latents and 6 layers are fixed.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

State = dict[str, Tensor]
HEADS, SIZE, LATENTS, DEPTH = 8, 64, 64, 6


@dataclass(frozen=True)
class Sizes:
    """Small sizes of every part."""

    image: int = 8
    patch: int = 4
    eye: int = 16
    eye_layers: int = 2
    eye_heads: int = 2
    eye_width: int = 24
    vocab: int = 50
    image_token: int = 47
    kind: str = "llama"
    text: int = 24
    layers: int = 3
    heads: int = 2
    width: int = 32
    every: int = 2
    previous: bool = True


def norm(state: State, name: str, x: Tensor) -> Tensor:
    """(x - mean) / sqrt(variance + 1e-5) * weight, and + bias where there is one."""
    centred = x - x.mean(-1, keepdim=True)
    scaled = centred / torch.sqrt((centred**2).mean(-1, keepdim=True) + 1e-5) * state[f"{name}.weight"]
    return scaled + state[f"{name}.bias"] if f"{name}.bias" in state else scaled


def gelu(x: Tensor) -> Tensor:
    """x Phi(x)."""
    return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))


def linear(state: State, name: str, x: Tensor) -> Tensor:
    """x W^T + b, where there is a b."""
    y = x @ state[f"{name}.weight"].T
    return y + state[f"{name}.bias"] if f"{name}.bias" in state else y


def look(q: Tensor, k: Tensor, v: Tensor, heads: int, slopes: list[float] | None = None) -> Tensor:
    """What one query `[dim]` finds among keys and values `[keys, dim]`; keys further back cost `slopes`."""
    size, out = len(q) // heads, []
    for h in range(heads):
        part = slice(h * size, (h + 1) * size)
        scores = k[:, part] @ q[part] / math.sqrt(size)
        if slopes is not None:
            scores = scores - slopes[h] * torch.arange(len(k) - 1, -1, -1).to(scores.dtype)
        out.append(torch.softmax(scores, 0) @ v[:, part])
    return torch.cat(out)


def see(state: State, sizes: Sizes, image: Tensor) -> Tensor:
    """CLIP's patches `[patches, eye]` without the class token and without the last norm."""
    lead, side = "vision_encoder.vision_model", sizes.image // sizes.patch
    kernel, squares = state[f"{lead}.embeddings.patch_embedding.weight"], []
    for row in range(side):
        for column in range(side):
            top, left = row * sizes.patch, column * sizes.patch
            square = image[:, top : top + sizes.patch, left : left + sizes.patch]
            squares.append((kernel * square).sum((1, 2, 3)))
    x = torch.stack([state[f"{lead}.embeddings.class_embedding"], *squares])
    x = norm(state, f"{lead}.pre_layrnorm", x + state[f"{lead}.embeddings.position_embedding.weight"])
    for layer in range(sizes.eye_layers):
        name = f"{lead}.encoder.layers.{layer}"
        normed = norm(state, f"{name}.layer_norm1", x)
        q, k, v = (linear(state, f"{name}.self_attn.{part}_proj", normed) for part in "qkv")
        mixed = torch.stack([look(one, k, v, sizes.eye_heads) for one in q])
        x = x + linear(state, f"{name}.self_attn.out_proj", mixed)
        inner = linear(state, f"{name}.mlp.fc1", norm(state, f"{name}.layer_norm2", x))
        x = x + linear(state, f"{name}.mlp.fc2", inner * torch.sigmoid(1.702 * inner))
    return x[1:]


def fed(state: State, name: str, x: Tensor) -> Tensor:
    """Norm, linear, GELU, linear."""
    return linear(state, f"{name}.3", gelu(linear(state, f"{name}.1", norm(state, f"{name}.0", x))))


def resample(state: State, image: Tensor) -> Tensor:
    """64 vectors of an image, `[64, eye]` (Flamingo, figure 5)."""
    x = state["perceiver.latents"]
    for layer in range(DEPTH):
        name = f"perceiver.layers.{layer}"
        latents = norm(state, f"{name}.norm_latents", x)
        seen = torch.cat((norm(state, f"{name}.norm_media", image), latents))
        q = linear(state, f"{name}.to_q", latents)
        k, v = linear(state, f"{name}.to_kv", seen).chunk(2, -1)
        x = x + linear(state, f"{name}.to_out", torch.stack([look(one, k, v, HEADS) for one in q]))
        x = x + fed(state, f"{name}.feed_forward", x)
    return norm(state, "perceiver.norm", x)


def seen_image(sizes: Sizes, tokens: list[int], place: int) -> int | None:
    """Which image the token at a place looks at: of the last image token up to it, or else, of the next one from it."""
    before = sum(token == sizes.image_token for token in tokens[: place + 1])
    if sizes.previous or tokens[place] == sizes.image_token:
        return before - 1 if before else None
    return before if before < sum(token == sizes.image_token for token in tokens) else None


def gated(state: State, sizes: Sizes, name: str, x: Tensor, images: list[Tensor], tokens: list[int]) -> Tensor:
    """Gated cross-attention and feed-forward (Flamingo, figure 4)."""
    q = linear(state, f"{name}.attn.to_q", norm(state, f"{name}.attn.norm", x))
    found = []
    for place in range(len(x)):
        which = seen_image(sizes, tokens, place)
        if which is None:
            found.append(torch.zeros(HEADS * SIZE, dtype=x.dtype))
        else:
            k, v = linear(state, f"{name}.attn.to_kv", images[which]).chunk(2, -1)
            found.append(look(q[place], k, v, HEADS))
    x = x + torch.tanh(state[f"{name}.attn_gate"]) * linear(state, f"{name}.attn.to_out", torch.stack(found))
    return x + torch.tanh(state[f"{name}.ff_gate"]) * fed(state, f"{name}.feed_forward", x)


def rms(state: State, name: str, x: Tensor) -> Tensor:
    """x / sqrt(mean x^2 + 1e-6) * weight."""
    return x / torch.sqrt((x**2).mean(-1, keepdim=True) + 1e-6) * state[f"{name}.weight"]


def turn(x: Tensor, heads: int) -> Tensor:
    """Rotary positions: dimension i and i + half of every head turn by position * 10000^(-2i / size)."""
    size = x.shape[1] // heads
    half, y = size // 2, x.clone()
    for position in range(len(x)):
        for i in range(x.shape[1]):
            h, j = divmod(i, size)
            angle = position * 10000.0 ** (-2 * (j % half) / size)
            other = x[position, h * size + (j + half) % size]
            y[position, i] = x[position, i] * math.cos(angle) + (other if j >= half else -other) * math.sin(angle)
    return y


def llama_layer(state: State, sizes: Sizes, name: str, x: Tensor) -> Tensor:
    """One layer of LLaMA."""
    normed = rms(state, f"{name}.input_layernorm", x)
    q, k, v = (linear(state, f"{name}.self_attn.{part}_proj", normed) for part in "qkv")
    q, k = turn(q, sizes.heads), turn(k, sizes.heads)
    mixed = torch.stack([look(q[i], k[: i + 1], v[: i + 1], sizes.heads) for i in range(len(x))])
    x = x + linear(state, f"{name}.self_attn.o_proj", mixed)
    normed = rms(state, f"{name}.post_attention_layernorm", x)
    gate = linear(state, f"{name}.mlp.gate_proj", normed)
    inner = gate * torch.sigmoid(gate) * linear(state, f"{name}.mlp.up_proj", normed)
    return x + linear(state, f"{name}.mlp.down_proj", inner)


def mpt_layer(state: State, sizes: Sizes, name: str, x: Tensor) -> Tensor:
    """One layer of MPT, whose number of heads is a power of two here."""
    slopes = [2.0 ** (-8 * (h + 1) / sizes.heads) for h in range(sizes.heads)]
    q, k, v = linear(state, f"{name}.attn.Wqkv", norm(state, f"{name}.norm_1", x)).chunk(3, -1)
    mixed = torch.stack([look(q[i], k[: i + 1], v[: i + 1], sizes.heads, slopes) for i in range(len(x))])
    x = x + linear(state, f"{name}.attn.out_proj", mixed)
    inner = gelu(linear(state, f"{name}.ffn.up_proj", norm(state, f"{name}.norm_2", x)))
    return x + linear(state, f"{name}.ffn.down_proj", inner)


def logits(state: State, sizes: Sizes, tokens: list[int], images: list[Tensor]) -> Tensor:
    """Logits of every token of one text with its images, `[tokens, vocab]`."""
    seen = [resample(state, see(state, sizes, image)) for image in images]
    llama = sizes.kind == "llama"
    table = state[f"lang_encoder.{'model.embed_tokens' if llama else 'transformer.wte'}.weight"]
    x = table[tokens]
    for layer in range(sizes.layers):
        name = f"lang_encoder.{'model.layers' if llama else 'transformer.blocks'}.{layer}"
        if (layer + 1) % sizes.every == 0:
            x = gated(state, sizes, f"{name}.gated_cross_attn_layer", x, seen, tokens)
        x = (llama_layer if llama else mpt_layer)(state, sizes, f"{name}.decoder_layer", x)
    if llama:
        return linear(state, "lang_encoder.lm_head", rms(state, "lang_encoder.model.norm", x))
    return norm(state, "lang_encoder.transformer.norm_f", x) @ table.T


def shapes(sizes: Sizes) -> dict[str, tuple[int, ...]]:
    """Every tensor of a checkpoint, and its shape."""
    eye, text, inner, lead = sizes.eye, sizes.text, HEADS * SIZE, "vision_encoder.vision_model"
    found: dict[str, tuple[int, ...]] = {
        f"{lead}.embeddings.class_embedding": (eye,),
        f"{lead}.embeddings.patch_embedding.weight": (eye, 3, sizes.patch, sizes.patch),
        f"{lead}.embeddings.position_embedding.weight": ((sizes.image // sizes.patch) ** 2 + 1, eye),
        "perceiver.latents": (LATENTS, eye),
    }

    def matrix(name: str, inputs: int, outputs: int, bias: bool = False) -> None:
        found[f"{name}.weight"] = (outputs, inputs)
        if bias:
            found[f"{name}.bias"] = (outputs,)

    def normed(name: str, dim: int) -> None:
        found[f"{name}.weight"] = found[f"{name}.bias"] = (dim,)

    def fed(name: str, dim: int) -> None:
        normed(f"{name}.0", dim)
        matrix(f"{name}.1", dim, 4 * dim)
        matrix(f"{name}.3", 4 * dim, dim)

    normed(f"{lead}.pre_layrnorm", eye)
    normed(f"{lead}.post_layernorm", eye)
    normed("perceiver.norm", eye)
    for layer in range(sizes.eye_layers):
        name = f"{lead}.encoder.layers.{layer}"
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            matrix(f"{name}.self_attn.{part}", eye, eye, bias=True)
        normed(f"{name}.layer_norm1", eye)
        normed(f"{name}.layer_norm2", eye)
        matrix(f"{name}.mlp.fc1", eye, sizes.eye_width, bias=True)
        matrix(f"{name}.mlp.fc2", sizes.eye_width, eye, bias=True)
    for layer in range(DEPTH):
        name = f"perceiver.layers.{layer}"
        normed(f"{name}.norm_media", eye)
        normed(f"{name}.norm_latents", eye)
        matrix(f"{name}.to_q", eye, inner)
        matrix(f"{name}.to_kv", eye, 2 * inner)
        matrix(f"{name}.to_out", inner, eye)
        fed(f"{name}.feed_forward", eye)
    llama = sizes.kind == "llama"
    for layer in range(sizes.layers):
        name = f"lang_encoder.{'model.layers' if llama else 'transformer.blocks'}.{layer}"
        if (layer + 1) % sizes.every == 0:
            gate = f"{name}.gated_cross_attn_layer"
            found[f"{gate}.attn_gate"] = found[f"{gate}.ff_gate"] = (1,)
            normed(f"{gate}.attn.norm", text)
            matrix(f"{gate}.attn.to_q", text, inner)
            matrix(f"{gate}.attn.to_kv", eye, 2 * inner)
            matrix(f"{gate}.attn.to_out", inner, text)
            fed(f"{gate}.feed_forward", text)
        name = f"{name}.decoder_layer"
        if llama:
            for part in "qkvo":
                matrix(f"{name}.self_attn.{part}_proj", text, text)
            found |= {f"{name}.{part}_layernorm.weight": (text,) for part in ("input", "post_attention")}
            matrix(f"{name}.mlp.gate_proj", text, sizes.width)
            matrix(f"{name}.mlp.up_proj", text, sizes.width)
            matrix(f"{name}.mlp.down_proj", sizes.width, text)
        else:
            found |= {f"{name}.norm_{number}.weight": (text,) for number in (1, 2)}
            matrix(f"{name}.attn.Wqkv", text, 3 * text)
            matrix(f"{name}.attn.out_proj", text, text)
            matrix(f"{name}.ffn.up_proj", text, 4 * text)
            matrix(f"{name}.ffn.down_proj", 4 * text, text)
    if llama:
        found["lang_encoder.model.norm.weight"] = (text,)
        matrix("lang_encoder.model.embed_tokens", text, sizes.vocab)
        matrix("lang_encoder.lm_head", text, sizes.vocab)
    else:
        found["lang_encoder.transformer.norm_f.weight"] = (text,)
        matrix("lang_encoder.transformer.wte", text, sizes.vocab)
    return found


def config(sizes: Sizes) -> dict[str, object]:
    """What a config.json says of these sizes."""
    texts = {
        "llama": {
            "vocab_size": sizes.vocab,
            "hidden_size": sizes.text,
            "num_hidden_layers": sizes.layers,
            "num_attention_heads": sizes.heads,
            "intermediate_size": sizes.width,
        },
        "mpt": {
            "architectures": ["MPTForCausalLM"],
            "vocab_size": sizes.vocab,
            "d_model": sizes.text,
            "n_layers": sizes.layers,
            "n_heads": sizes.heads,
        },
    }
    return {
        "model_type": "otter",
        "architectures": ["OtterForConditionalGeneration"],
        "cross_attn_every_n_layers": sizes.every,
        "only_attend_previous": sizes.previous,
        "media_token_id": sizes.image_token,
        "text_config": {"model_type": sizes.kind, **texts[sizes.kind]},
        "vision_config": {
            "hidden_size": sizes.eye,
            "num_hidden_layers": sizes.eye_layers,
            "num_attention_heads": sizes.eye_heads,
            "intermediate_size": sizes.eye_width,
            "image_size": sizes.image,
            "patch_size": sizes.patch,
        },
    }
