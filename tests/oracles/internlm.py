"""InternLM 1: internlm/internlm-7b, modeling_internlm.py; the layer is LLaMA's (Touvron et al. 2023, section 2.2)."""

import math

import torch

CLASSES = ("InternLMModel", "InternLMForCausalLM", "InternLMForSequenceClassification")


def config(rng):
    heads = rng.choice((1, 2, 4))
    rotary = {"base": rng.choice((10000, 100.0)), "type": rng.choice(("origin", "dynamic"))}
    if rng.random() < 0.5:
        rotary["scaling_factor"] = rng.choice((1.0, 2.0))
    return {
        "model_type": "internlm",
        "vocab_size": 61,
        "hidden_size": heads * rng.choice((4, 6, 8)),
        "num_attention_heads": heads,
        "num_hidden_layers": rng.choice((1, 2, 3)),
        "intermediate_size": rng.choice((20, 36)),
        "hidden_act": "silu",
        "rms_norm_eps": rng.choice((1e-6, 1e-3)),
        "bias": rng.random() < 0.5,
        "tie_word_embeddings": False,
        "max_position_embeddings": rng.choice((6, 9, 2048)),
        "rotary": rotary,
        "pad_token_id": 2,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }


def shapes(config, name):
    d, f = config["hidden_size"], config["intermediate_size"]
    lead = "" if name == "InternLMModel" else "model."
    found = {f"{lead}embed_tokens.weight": (config["vocab_size"], d), f"{lead}norm.weight": (d,)}
    for i in range(config["num_hidden_layers"]):
        layer = f"{lead}layers.{i}."
        for part in ("q_proj", "k_proj", "v_proj", "o_proj"):
            found[f"{layer}self_attn.{part}.weight"] = (d, d)
            if config["bias"]:
                found[f"{layer}self_attn.{part}.bias"] = (d,)
        found[f"{layer}mlp.gate_proj.weight"] = found[f"{layer}mlp.up_proj.weight"] = (f, d)
        found[f"{layer}mlp.down_proj.weight"] = (d, f)
        found[f"{layer}input_layernorm.weight"] = found[f"{layer}post_attention_layernorm.weight"] = (d,)
    if name == "InternLMForCausalLM":
        found["lm_head.weight"] = (config["vocab_size"], d)
    if name == "InternLMForSequenceClassification":
        found["score.weight"] = (3, d)
    return found


def text(rng, config, length):
    return [rng.randrange(5, 61) for _ in range(length)]


def opening(config, ids):
    # The base grows with the row (modeling_internlm.py, _update_cached): what was read at once stays as it was.
    return len(ids) if config["rotary"]["type"] == "dynamic" and len(ids) > config["max_position_embeddings"] else 1


def rms(x, weight, eps):
    # RMSNorm (Zhang & Sennrich 2019, eq. 4)
    return weight * (x / torch.sqrt((x * x).mean(-1, keepdim=True) + eps))


def rotate(x, config):
    # rotate_half: dimension j turns with j + half (modeling_internlm.py, apply_rotary_pos_emb); angles in float32
    length, half = x.shape[0], x.shape[1] // 2
    base = float(config["rotary"]["base"])
    context = config["max_position_embeddings"]
    if config["rotary"]["type"] == "dynamic" and length > context:
        # InternLMDynamicNTKScalingRotaryEmbedding: base (s L / L0 - (s - 1)) ^ (d / (d - 2))
        scale = config["rotary"].get("scaling_factor", 1.0)
        base = base * (scale * length / context - (scale - 1)) ** (2 * half / max(2 * half - 2, 1))
    out = torch.empty_like(x)
    for t in range(length):
        angle = torch.tensor(float(t)) * (1.0 / base ** ((2.0 * torch.arange(half)) / (2 * half)))
        cos, sin = torch.cos(angle).to(x.dtype), torch.sin(angle).to(x.dtype)
        out[t, :half] = x[t, :half] * cos - x[t, half:] * sin
        out[t, half:] = x[t, half:] * cos + x[t, :half] * sin
    return out


def forward(tensors, config, ids, name):
    lead = "" if name == "InternLMModel" else "model."
    heads, d = config["num_attention_heads"], config["hidden_size"]
    size, length = d // heads, len(ids)

    def linear(x, key):
        y = x @ tensors[f"{key}.weight"].T
        return y + tensors[f"{key}.bias"] if f"{key}.bias" in tensors else y

    x = tensors[f"{lead}embed_tokens.weight"][torch.tensor(ids)]
    for i in range(config["num_hidden_layers"]):
        layer = f"{lead}layers.{i}."
        h = rms(x, tensors[f"{layer}input_layernorm.weight"], config["rms_norm_eps"])
        q, k, v = (linear(h, f"{layer}self_attn.{part}_proj") for part in "qkv")
        mixed = torch.zeros_like(q)
        for head in range(heads):
            at = slice(head * size, (head + 1) * size)
            scores = rotate(q[:, at], config) @ rotate(k[:, at], config).T / math.sqrt(size)
            scores = scores.masked_fill(torch.ones(length, length).triu(1).bool(), float("-inf"))
            mixed[:, at] = scores.softmax(-1) @ v[:, at]
        x = x + linear(mixed, f"{layer}self_attn.o_proj")
        h = rms(x, tensors[f"{layer}post_attention_layernorm.weight"], config["rms_norm_eps"])
        gate = linear(h, f"{layer}mlp.gate_proj")
        x = x + linear(gate * torch.sigmoid(gate) * linear(h, f"{layer}mlp.up_proj"), f"{layer}mlp.down_proj")
    x = rms(x, tensors[f"{lead}norm.weight"], config["rms_norm_eps"])
    if name == "InternLMForCausalLM":
        return {"last_hidden_state": x, "logits": linear(x, "lm_head")}
    if name == "InternLMForSequenceClassification":
        return {"last_hidden_state": x, "logits": linear(x[-1], "score")}
    return {"last_hidden_state": x}
