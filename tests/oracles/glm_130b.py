"""GLM-130B (Zeng et al. 2022): the mixins of its SwissArmyTransformer model (generate.py of GLM-130B)."""

import math

import torch

CLASSES = ("GLM130B",)
SOP, MASK, SMASK, GMASK = 60, 59, 58, 57


def config(rng):
    heads = rng.choice((1, 2, 4))
    return {
        "model_type": "glm_130b",
        "vocab_size": 61,
        "hidden_size": heads * rng.choice((4, 6, 8)),
        "inner_hidden_size": rng.choice((20, 36)),
        "num_layers": rng.choice((1, 2, 3)),
        "num_attention_heads": heads,
        "layernorm_epsilon": rng.choice((1e-5, 1e-3)),
        "bos_token_id": SOP,
        "eos_token_id": 56,
        "mask_token_id": MASK,
        "smask_token_id": SMASK,
        "gmask_token_id": GMASK,
    }


def shapes(config, name):
    d, f = config["hidden_size"], config["inner_hidden_size"]
    found = {"transformer.word_embeddings.weight": (config["vocab_size"], d)}
    for part in ("weight", "bias"):
        found[f"transformer.final_layernorm.{part}"] = (d,)
        for i in range(config["num_layers"]):
            layer, matrix = f"transformer.layers.{i}.", part == "weight"
            found[f"{layer}input_layernorm.{part}"] = found[f"{layer}post_attention_layernorm.{part}"] = (d,)
            found[f"{layer}attention.query_key_value.{part}"] = (3 * d, d) if matrix else (3 * d,)
            found[f"{layer}attention.dense.{part}"] = (d, d) if matrix else (d,)
            found[f"{layer}mlp.dense_h_to_4h.{part}"] = (2 * f, d) if matrix else (2 * f,)
            found[f"{layer}mlp.dense_4h_to_h.{part}"] = (d, f) if matrix else (d,)
    return found


def text(rng, config, length):
    ids = [rng.randrange(5, 56) for _ in range(length)]
    context = rng.randrange(2, length)
    ids[context] = SOP
    for mask in rng.choice(((GMASK,), (MASK,), (SMASK,), (GMASK, MASK), (SMASK, GMASK))):
        ids[rng.randrange(context)] = mask
    return ids


def opening(config, ids):
    return ids.index(SOP) + 1


def positions(config, ids):
    # fill_blanks: [MASK] is looked for before [sMASK] before [gMASK]; get_masks_and_position_ids: positions stay at
    # the mask's unless it is [gMASK]
    context = ids.index(SOP)
    mask = next(mask for mask in (MASK, SMASK, GMASK) if mask in ids[:context])
    return [t if t < context or mask == GMASK else ids.index(mask) for t in range(len(ids))], context


def norm(x, weight, bias, eps):
    centred = x - x.mean(-1, keepdim=True)
    return centred / torch.sqrt((centred * centred).mean(-1, keepdim=True) + eps) * weight + bias


def rotate(x, places):
    dim = x.shape[1]
    half, out = dim // 2, torch.empty_like(x)
    for t, place in enumerate(places):
        angle = torch.tensor(float(place)) * (1.0 / 10000.0 ** ((2.0 * torch.arange(half)) / dim))
        cos, sin = torch.cos(angle).to(x.dtype), torch.sin(angle).to(x.dtype)
        out[t, :half] = x[t, :half] * cos - x[t, half:] * sin
        out[t, half:] = x[t, half:] * cos + x[t, :half] * sin
    return out


def forward(tensors, config, ids, name):
    heads, length = config["num_attention_heads"], len(ids)
    size, eps = config["hidden_size"] // heads, config["layernorm_epsilon"]
    places, context = positions(config, ids)
    visible = torch.tensor([[key <= query or key < context for key in range(length)] for query in range(length)])
    alpha = (2 * config["num_layers"]) ** 0.5  # DeepNormWithGLUMixin.layer_forward
    x = tensors["transformer.word_embeddings.weight"][torch.tensor(ids)]
    for i in range(config["num_layers"]):
        t = {key.removeprefix(f"transformer.layers.{i}."): value for key, value in tensors.items()}
        h = norm(x, t["input_layernorm.weight"], t["input_layernorm.bias"], eps)
        packed = h @ t["attention.query_key_value.weight"].T + t["attention.query_key_value.bias"]
        q, k, v = packed.chunk(3, dim=-1)
        mixed = torch.zeros_like(q)
        for head in range(heads):
            at = slice(head * size, (head + 1) * size)
            # divided by sqrt(d) (layer + 1) and multiplied back, which changes nothing
            scores = rotate(q[:, at], places) / (math.sqrt(size) * (i + 1)) @ rotate(k[:, at], places).T * (i + 1)
            mixed[:, at] = scores.masked_fill(~visible, float("-inf")).softmax(-1) @ v[:, at]
        x = alpha * h + mixed @ t["attention.dense.weight"].T + t["attention.dense.bias"]
        h = norm(x, t["post_attention_layernorm.weight"], t["post_attention_layernorm.bias"], eps)
        one, two = (h @ t["mlp.dense_h_to_4h.weight"].T + t["mlp.dense_h_to_4h.bias"]).chunk(2, dim=-1)
        inner = one * (two * 0.5 * (1 + torch.erf(two / math.sqrt(2))))  # GEGLU
        x = alpha * h + inner @ t["mlp.dense_4h_to_h.weight"].T + t["mlp.dense_4h_to_h.bias"]
    x = norm(x, tensors["transformer.final_layernorm.weight"], tensors["transformer.final_layernorm.bias"], eps)
    return {"last_hidden_state": x, "logits": x @ tensors["transformer.word_embeddings.weight"].T}
