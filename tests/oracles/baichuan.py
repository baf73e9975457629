"""Baichuan (Yang et al. 2023): modeling_baichuan.py of Baichuan-7B, Baichuan-13B, Baichuan2-7B and Baichuan2-13B."""

import math

import torch
import torch.nn.functional as F

CLASSES = ("BaichuanModel", "BaichuanForCausalLM")


def config(rng):
    rotary = rng.random() < 0.5
    heads = rng.choice((1, 2, 4)) if rotary else rng.choice((2, 3, 5, 6, 12))
    found = {
        "model_type": "baichuan",
        "vocab_size": 61,
        "hidden_size": heads * rng.choice((4, 8)),
        "num_attention_heads": heads,
        "num_hidden_layers": rng.choice((1, 2, 3)),
        "intermediate_size": rng.choice((20, 36)),
        "hidden_act": "silu",
        "rms_norm_eps": rng.choice((1e-6, 1e-3)),
        "tie_word_embeddings": False,
        "model_max_length": 4096,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    if rotary:
        found["max_position_embeddings"] = 4096
    if rng.random() < 0.5:
        found["z_loss_weight"] = 0
    return found


def shapes(config, name):
    d, f = config["hidden_size"], config["intermediate_size"]
    lead = "" if name == "BaichuanModel" else "model."
    found = {f"{lead}embed_tokens.weight": (config["vocab_size"], d), f"{lead}norm.weight": (d,)}
    for i in range(config["num_hidden_layers"]):
        layer = f"{lead}layers.{i}."
        found[f"{layer}self_attn.W_pack.weight"] = (3 * d, d)
        found[f"{layer}self_attn.o_proj.weight"] = (d, d)
        found[f"{layer}mlp.gate_proj.weight"] = found[f"{layer}mlp.up_proj.weight"] = (f, d)
        found[f"{layer}mlp.down_proj.weight"] = (d, f)
        found[f"{layer}input_layernorm.weight"] = found[f"{layer}post_attention_layernorm.weight"] = (d,)
    if name == "BaichuanForCausalLM":
        found["lm_head.weight"] = (config["vocab_size"], d)
    return found


def text(rng, config, length):
    return [rng.randrange(5, 61) for _ in range(length)]


def opening(config, ids):
    return 1


def rms(x, weight, eps):
    return weight * (x / torch.sqrt((x * x).mean(-1, keepdim=True) + eps))


def rotate(x):
    length, dim = x.shape
    half = dim // 2
    out = torch.empty_like(x)
    for t in range(length):
        angle = torch.tensor(float(t)) * (1.0 / 10000.0 ** ((2.0 * torch.arange(half)) / dim))
        cos, sin = torch.cos(angle).to(x.dtype), torch.sin(angle).to(x.dtype)
        out[t, :half] = x[t, :half] * cos - x[t, half:] * sin
        out[t, half:] = x[t, half:] * cos + x[t, :half] * sin
    return out


def slopes(heads):
    # Press et al. 2022, appendix: a geometric series for a power of two, every other of twice as many for the rest
    def series(n):
        start = 2 ** (-(2 ** -(math.log2(n) - 3)))
        return [start * start**i for i in range(n)]

    if math.log2(heads).is_integer():
        return series(heads)
    whole = 2 ** math.floor(math.log2(heads))
    return series(whole) + slopes(2 * whole)[0::2][: heads - whole]


def forward(tensors, config, ids, name):
    lead = "" if name == "BaichuanModel" else "model."
    heads, d, length = config["num_attention_heads"], config["hidden_size"], len(ids)
    size, rotary = d // heads, "max_position_embeddings" in config
    x = tensors[f"{lead}embed_tokens.weight"][torch.tensor(ids)]
    for i in range(config["num_hidden_layers"]):
        layer = f"{lead}layers.{i}."
        h = rms(x, tensors[f"{layer}input_layernorm.weight"], config["rms_norm_eps"])
        q, k, v = (h @ tensors[f"{layer}self_attn.W_pack.weight"].T).split(d, dim=-1)
        mixed = torch.zeros_like(q)
        for head in range(heads):
            at = slice(head * size, (head + 1) * size)
            one, two = (rotate(q[:, at]), rotate(k[:, at])) if rotary else (q[:, at], k[:, at])
            scores = one @ two.T / math.sqrt(size)
            if not rotary:
                # _gen_alibi_mask: slope times the key's position, the same for every query
                scores = scores + slopes(heads)[head] * torch.arange(length).to(x.dtype)
            scores = scores.masked_fill(torch.ones(length, length).triu(1).bool(), float("-inf"))
            mixed[:, at] = scores.softmax(-1) @ v[:, at]
        x = x + mixed @ tensors[f"{layer}self_attn.o_proj.weight"].T
        h = rms(x, tensors[f"{layer}post_attention_layernorm.weight"], config["rms_norm_eps"])
        gate = h @ tensors[f"{layer}mlp.gate_proj.weight"].T
        inner = gate * torch.sigmoid(gate) * (h @ tensors[f"{layer}mlp.up_proj.weight"].T)
        x = x + inner @ tensors[f"{layer}mlp.down_proj.weight"].T
    x = rms(x, tensors[f"{lead}norm.weight"], config["rms_norm_eps"])
    if name == "BaichuanModel":
        return {"last_hidden_state": x}
    weight = tensors["lm_head.weight"]
    if "z_loss_weight" in config:
        weight = F.normalize(weight)  # NormHead
    return {"last_hidden_state": x, "logits": x @ weight.T}
