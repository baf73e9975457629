"""GLM (Du et al. 2022): modeling_glm.py of THUDM/glm-10b."""

import math

import torch

CLASSES = ("GLMModel", "GLMForConditionalGeneration", "GLMForSequenceClassification")
SOP, MASK, SMASK, GMASK = 60, 59, 58, 57


def config(rng):
    heads = rng.choice((1, 2, 4))
    return {
        "model_type": "glm",
        "vocab_size": 61,
        "hidden_size": heads * rng.choice((4, 8)),
        "num_layers": rng.choice((1, 2, 3)),
        "num_attention_heads": heads,
        "max_sequence_length": rng.choice((16, 24)),
        "layernorm_epsilon": rng.choice((1e-5, 1e-3)),
        "embedding_dropout_prob": 0.1,
        "attention_dropout_prob": 0.1,
        "output_dropout_prob": 0.1,
        "block_position_encoding": True,
        "relative_encoding": False,
        "attention_scale": 1.0,
        "spell_length": None,
        "pool_token": "cls",
        "output_predict": True,
        "sop_token_id": SOP,
        "mask_token_id": MASK,
        "smask_token_id": SMASK,
        "gmask_token_id": GMASK,
        "eos_token_id": 56,
        "pad_token_id": 3,
    }


def shapes(config, name):
    d, f = config["hidden_size"], 4 * config["hidden_size"]
    lead, places = "" if name == "GLMModel" else "glm.", config["max_sequence_length"] + 1
    found = {f"{lead}word_embeddings.weight": (config["vocab_size"], d)}
    found[f"{lead}transformer.position_embeddings.weight"] = (places, d)
    found[f"{lead}transformer.block_position_embeddings.weight"] = (places, d)
    for part in ("weight", "bias"):
        found[f"{lead}transformer.final_layernorm.{part}"] = (d,)
        for i in range(config["num_layers"]):
            layer, matrix = f"{lead}transformer.layers.{i}.", part == "weight"
            found[f"{layer}input_layernorm.{part}"] = found[f"{layer}post_attention_layernorm.{part}"] = (d,)
            found[f"{layer}attention.query_key_value.{part}"] = (3 * d, d) if matrix else (3 * d,)
            found[f"{layer}attention.dense.{part}"] = (d, d) if matrix else (d,)
            found[f"{layer}mlp.dense_h_to_4h.{part}"] = (f, d) if matrix else (f,)
            found[f"{layer}mlp.dense_4h_to_h.{part}"] = (d, f) if matrix else (d,)
        if name == "GLMForSequenceClassification":
            found[f"dense.{part}"] = (d, d) if part == "weight" else (d,)
            found[f"out_proj.{part}"] = (3, d) if part == "weight" else (3,)
    return found


def text(rng, config, length):
    """Words with up to three blanks, <|startofpiece|>, and a piece; or a context alone."""
    ids = [rng.randrange(5, 56) for _ in range(length)]
    if rng.random() < 0.15:
        return ids
    context = rng.randrange(1, length)
    ids[context] = SOP
    for _ in range(rng.randrange(1, 4)):
        ids[rng.randrange(context)] = rng.choice((MASK, SMASK, GMASK))
    return ids


def opening(config, ids):
    return ids.index(SOP) + 1 if SOP in ids else len(ids)


def positions(config, ids):
    # build_inputs_for_generation: the first of all masks; sop belongs to the piece
    context = ids.index(SOP) if SOP in ids else len(ids)
    masks = [t for t in range(context) if ids[t] in (MASK, SMASK, GMASK)]
    first = [t if t < context else masks[0] for t in range(len(ids))]
    second = [0 if t < context else t - context + 1 for t in range(len(ids))]
    return first, second, context


def norm(x, weight, bias, eps):
    centred = x - x.mean(-1, keepdim=True)
    return centred / torch.sqrt((centred * centred).mean(-1, keepdim=True) + eps) * weight + bias


def gelu(x):
    # gelu_impl
    return 0.5 * x * (1.0 + torch.tanh(0.7978845608028654 * x * (1.0 + 0.044715 * x * x)))


def forward(tensors, config, ids, name, places=None, context=None):
    lead = ("" if name == "GLMModel" else "glm.") + "transformer."
    heads, length = config["num_attention_heads"], len(ids)
    size, eps = config["hidden_size"] // heads, config["layernorm_epsilon"]
    first, second, sep = positions(config, ids) if places is None else (*places, context)
    # build_mask_matrix: tril, and the first sep columns
    visible = torch.tensor([[key <= query or key < sep for key in range(length)] for query in range(length)])
    words = tensors[lead.removesuffix("transformer.") + "word_embeddings.weight"]
    x = words[torch.tensor(ids)] + tensors[f"{lead}position_embeddings.weight"][torch.tensor(first)]
    x = x + tensors[f"{lead}block_position_embeddings.weight"][torch.tensor(second)]
    for i in range(config["num_layers"]):
        t = {key.removeprefix(f"{lead}layers.{i}."): value for key, value in tensors.items()}
        h = norm(x, t["input_layernorm.weight"], t["input_layernorm.bias"], eps)
        packed = h @ t["attention.query_key_value.weight"].T + t["attention.query_key_value.bias"]
        q, k, v = packed.chunk(3, dim=-1)
        mixed = torch.zeros_like(q)
        for head in range(heads):
            at = slice(head * size, (head + 1) * size)
            scores = q[:, at] @ k[:, at].T / math.sqrt(size)
            scores = scores * visible - 65504.0 * ~visible
            mixed[:, at] = scores.softmax(-1) @ v[:, at]
        x = x + mixed @ t["attention.dense.weight"].T + t["attention.dense.bias"]
        h = norm(x, t["post_attention_layernorm.weight"], t["post_attention_layernorm.bias"], eps)
        inner = gelu(h @ t["mlp.dense_h_to_4h.weight"].T + t["mlp.dense_h_to_4h.bias"])
        x = x + inner @ t["mlp.dense_4h_to_h.weight"].T + t["mlp.dense_4h_to_h.bias"]
    x = norm(x, tensors[f"{lead}final_layernorm.weight"], tensors[f"{lead}final_layernorm.bias"], eps)
    if name == "GLMForSequenceClassification":
        pooled = torch.tanh(x[0] @ tensors["dense.weight"].T + tensors["dense.bias"])
        return {"last_hidden_state": x, "logits": pooled @ tensors["out_proj.weight"].T + tensors["out_proj.bias"]}
    if name == "GLMForConditionalGeneration":
        return {"last_hidden_state": x, "logits": x @ words.T}
    return {"last_hidden_state": x}
