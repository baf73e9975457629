"""ChatGLM-6B: modeling_chatglm.py of THUDM/chatglm-6b; the objective is GLM's (Du et al. 2022, section 2.1)."""

import math

import torch

CLASSES = ("ChatGLMForConditionalGeneration", "ChatGLMModel")
BOS, GMASK, MASK = 60, 59, 58


def config(rng):
    heads = rng.choice((1, 2, 4))
    d = heads * rng.choice((8, 12))
    return {
        "model_type": "chatglm",
        "vocab_size": 61,
        "hidden_size": d,
        "inner_hidden_size": rng.choice((20, 4 * d)),
        "num_layers": rng.choice((1, 2, 3)),
        "num_attention_heads": heads,
        "layernorm_epsilon": rng.choice((1e-5, 1e-3)),
        "max_sequence_length": 2048,
        "position_encoding_2d": True,
        "bos_token_id": BOS,
        "eos_token_id": 57,
        "gmask_token_id": GMASK,
        "mask_token_id": MASK,
        "pad_token_id": 3,
    }


def shapes(config, name):
    d, f = config["hidden_size"], config["inner_hidden_size"]
    found = {"transformer.word_embeddings.weight": (config["vocab_size"], d)}
    # Published files hold lm_head beside the table it is tied to.
    found["lm_head.weight"] = (config["vocab_size"], d)
    for part in ("weight", "bias"):
        found[f"transformer.final_layernorm.{part}"] = (d,)
        for i in range(config["num_layers"]):
            layer, matrix = f"transformer.layers.{i}.", part == "weight"
            found[f"{layer}input_layernorm.{part}"] = found[f"{layer}post_attention_layernorm.{part}"] = (d,)
            found[f"{layer}attention.query_key_value.{part}"] = (3 * d, d) if matrix else (3 * d,)
            found[f"{layer}attention.dense.{part}"] = (d, d) if matrix else (d,)
            found[f"{layer}mlp.dense_h_to_4h.{part}"] = (f, d) if matrix else (f,)
            found[f"{layer}mlp.dense_4h_to_h.{part}"] = (d, f) if matrix else (d,)
    return found


TIED = {"lm_head.weight": "transformer.word_embeddings.weight"}


def text(rng, config, length):
    """Some words, both masks or one of them, more words, <sop>, an answer."""
    context = rng.randrange(2, length)
    ids = [rng.randrange(5, 57) for _ in range(length)]
    ids[context] = BOS
    for mask in rng.choice(((GMASK,), (MASK,), (GMASK, MASK), (MASK, GMASK))):
        ids[rng.randrange(context)] = mask
    if not {GMASK, MASK} & set(ids[:context]):
        ids[0] = GMASK
    return ids


def opening(config, ids):
    return ids.index(config["bos_token_id"]) + 1


def positions(config, ids):
    # get_position_ids: after the context the position stays at the mask's, the block position counts from 1
    context = ids.index(config["bos_token_id"])
    mask = config["gmask_token_id"] if config["gmask_token_id"] in ids else config["mask_token_id"]
    first = [t if t < context else ids.index(mask) for t in range(len(ids))]
    second = [0 if t < context else t - context + 1 for t in range(len(ids))]
    return first, second, context


def norm(x, weight, bias, eps):
    centred = x - x.mean(-1, keepdim=True)
    return centred / torch.sqrt((centred * centred).mean(-1, keepdim=True) + eps) * weight + bias


def rotate(x, places):
    # apply_rotary_pos_emb_index: half of a half turns with the other, at the token's own position
    dim = x.shape[1]
    half, out = dim // 2, torch.empty_like(x)
    for t, place in enumerate(places):
        angle = torch.tensor(float(place)) * (1.0 / 10000.0 ** ((2.0 * torch.arange(half)) / dim))
        cos, sin = torch.cos(angle).to(x.dtype), torch.sin(angle).to(x.dtype)
        out[t, :half] = x[t, :half] * cos - x[t, half:] * sin
        out[t, half:] = x[t, half:] * cos + x[t, :half] * sin
    return out


def gelu(x):
    # gelu_impl
    return 0.5 * x * (1.0 + torch.tanh(0.7978845608028654 * x * (1.0 + 0.044715 * x * x)))


def forward(tensors, config, ids, name, places=None, context=None):
    heads, length = config["num_attention_heads"], len(ids)
    size, eps = config["hidden_size"] // heads, config["layernorm_epsilon"]
    first, second, found = positions(config, ids) if places is None else (*places, context)
    # get_masks: the lower triangle, and all of the context's columns
    hidden = torch.tensor([[key > query and key >= found for key in range(length)] for query in range(length)])
    alpha = (2 * config["num_layers"]) ** 0.5
    x = tensors["transformer.word_embeddings.weight"][torch.tensor(ids)]
    for i in range(config["num_layers"]):
        t = {key.removeprefix(f"transformer.layers.{i}."): value for key, value in tensors.items()}
        h = norm(x, t["input_layernorm.weight"], t["input_layernorm.bias"], eps)
        packed = h @ t["attention.query_key_value.weight"].T + t["attention.query_key_value.bias"]
        mixed = torch.zeros(length, heads * size, dtype=x.dtype)
        for head in range(heads):
            q, k, v = packed[:, 3 * head * size : 3 * (head + 1) * size].split(size, dim=-1)
            q, k = (
                torch.cat((rotate(part[:, : size // 2], first), rotate(part[:, size // 2 :], second)), dim=-1)
                for part in (q, k)
            )
            scores = (q @ k.T / math.sqrt(size)).masked_fill(hidden, float("-inf"))
            mixed[:, head * size : (head + 1) * size] = scores.softmax(-1) @ v
        x = h * alpha + mixed @ t["attention.dense.weight"].T + t["attention.dense.bias"]
        h = norm(x, t["post_attention_layernorm.weight"], t["post_attention_layernorm.bias"], eps)
        inner = gelu(h @ t["mlp.dense_h_to_4h.weight"].T + t["mlp.dense_h_to_4h.bias"])
        x = h * alpha + inner @ t["mlp.dense_4h_to_h.weight"].T + t["mlp.dense_4h_to_h.bias"]
    x = norm(x, tensors["transformer.final_layernorm.weight"], tensors["transformer.final_layernorm.bias"], eps)
    return {"last_hidden_state": x, "logits": x @ tensors["lm_head.weight"].T}
