"""ChatGLM2-6B and CodeGeeX2-6B: modeling_chatglm.py of THUDM/chatglm2-6b."""

import math

import torch

CLASSES = ("ChatGLMForConditionalGeneration", "ChatGLMModel", "ChatGLMForSequenceClassification")


def config(rng):
    groups = rng.choice((1, 2))
    return {
        "model_type": "chatglm",
        "padded_vocab_size": 61,
        "hidden_size": rng.choice((16, 24)),
        "ffn_hidden_size": rng.choice((20, 36)),
        "kv_channels": rng.choice((4, 8, 12)),
        "num_layers": rng.choice((1, 2, 3)),
        "num_attention_heads": groups * rng.choice((1, 2, 3)),
        "multi_query_attention": True,
        "multi_query_group_num": groups,
        "layernorm_epsilon": rng.choice((1e-5, 1e-3)),
        "rmsnorm": rng.random() < 0.7,
        "add_bias_linear": False,
        "add_qkv_bias": rng.random() < 0.7,
        "apply_query_key_layer_scaling": True,
        "apply_residual_connection_post_layernorm": False,
        "post_layer_norm": True,
        "original_rope": True,
        "seq_length": 8192,
        "tie_word_embeddings": False,
        "eos_token_id": 2,
        "pad_token_id": 0,
    }


def shapes(config, name):
    d, f, size = config["hidden_size"], config["ffn_hidden_size"], config["kv_channels"]
    inner = config["num_attention_heads"] * size
    rows = inner + 2 * config["multi_query_group_num"] * size
    found = {"transformer.embedding.word_embeddings.weight": (config["padded_vocab_size"], d)}
    for part in ("weight",) if config["rmsnorm"] else ("weight", "bias"):
        found[f"transformer.encoder.final_layernorm.{part}"] = (d,)
        for i in range(config["num_layers"]):
            layer = f"transformer.encoder.layers.{i}."
            found[f"{layer}input_layernorm.{part}"] = found[f"{layer}post_attention_layernorm.{part}"] = (d,)
    for i in range(config["num_layers"]):
        layer = f"transformer.encoder.layers.{i}."
        found[f"{layer}self_attention.query_key_value.weight"] = (rows, d)
        if config["add_qkv_bias"]:
            found[f"{layer}self_attention.query_key_value.bias"] = (rows,)
        found[f"{layer}self_attention.dense.weight"] = (d, inner)
        found[f"{layer}mlp.dense_h_to_4h.weight"] = (2 * f, d)
        found[f"{layer}mlp.dense_4h_to_h.weight"] = (d, f)
    if name == "ChatGLMForSequenceClassification":
        found["classifier_head.weight"], found["classifier_head.bias"] = (3, d), (3,)
    else:
        found["transformer.output_layer.weight"] = (config["padded_vocab_size"], d)
    return found


def text(rng, config, length):
    return [rng.randrange(5, 61) for _ in range(length)]


def opening(config, ids):
    return 1


def rotate(x):
    # apply_rotary_pos_emb: pairs (2j, 2j + 1) of the first half of the head; RotaryEmbedding(rotary_dim // 2)
    turned = x.shape[1] // 2
    out = x.clone()
    for t in range(x.shape[0]):
        angle = torch.tensor(float(t)) * (1.0 / 10000.0 ** ((2.0 * torch.arange(turned // 2)) / turned))
        cos, sin = torch.cos(angle).to(x.dtype), torch.sin(angle).to(x.dtype)
        out[t, 0:turned:2] = x[t, 0:turned:2] * cos - x[t, 1:turned:2] * sin
        out[t, 1:turned:2] = x[t, 1:turned:2] * cos + x[t, 0:turned:2] * sin
    return out


def forward(tensors, config, ids, name):
    heads, groups, size = (config[key] for key in ("num_attention_heads", "multi_query_group_num", "kv_channels"))
    length, lead = len(ids), "transformer.encoder."

    def norm(x, key):
        if config["rmsnorm"]:
            return tensors[f"{key}.weight"] * (
                x / torch.sqrt((x * x).mean(-1, keepdim=True) + config["layernorm_epsilon"])
            )
        x = x - x.mean(-1, keepdim=True)
        x = x / torch.sqrt((x * x).mean(-1, keepdim=True) + config["layernorm_epsilon"])
        return x * tensors[f"{key}.weight"] + tensors[f"{key}.bias"]

    x = tensors["transformer.embedding.word_embeddings.weight"][torch.tensor(ids)]
    for i in range(config["num_layers"]):
        layer = f"{lead}layers.{i}."
        h = norm(x, f"{layer}input_layernorm")
        packed = h @ tensors[f"{layer}self_attention.query_key_value.weight"].T
        if config["add_qkv_bias"]:
            packed = packed + tensors[f"{layer}self_attention.query_key_value.bias"]
        # multi_query_attention: all queries, then all keys, then all values
        q, k, v = packed.split((heads * size, groups * size, groups * size), dim=-1)
        mixed = torch.zeros_like(q)
        for head in range(heads):
            group = head // (heads // groups)
            at, shared = slice(head * size, (head + 1) * size), slice(group * size, (group + 1) * size)
            scores = rotate(q[:, at]) @ rotate(k[:, shared]).T / math.sqrt(size)
            scores = scores.masked_fill(torch.ones(length, length).triu(1).bool(), float("-inf"))
            mixed[:, at] = scores.softmax(-1) @ v[:, shared]
        x = x + mixed @ tensors[f"{layer}self_attention.dense.weight"].T
        h = norm(x, f"{layer}post_attention_layernorm")
        one, two = (h @ tensors[f"{layer}mlp.dense_h_to_4h.weight"].T).chunk(2, dim=-1)  # swiglu
        x = x + (one * torch.sigmoid(one) * two) @ tensors[f"{layer}mlp.dense_4h_to_h.weight"].T
    x = norm(x, f"{lead}final_layernorm")
    if name == "ChatGLMForSequenceClassification":
        logits = x[-1] @ tensors["classifier_head.weight"].T + tensors["classifier_head.bias"]
        return {"last_hidden_state": x, "logits": logits}
    return {"last_hidden_state": x, "logits": x @ tensors["transformer.output_layer.weight"].T}
