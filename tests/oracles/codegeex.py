"""CodeGeeX-13B (Zheng et al. 2023): codegeex/torch/codegeex_model.py of THUDM/CodeGeeX."""

import math

import torch

CLASSES = ("CodeGeeXModel",)


def config(rng):
    heads = rng.choice((1, 2, 4))
    return {
        "model_type": "codegeex",
        "padded_vocab_size": 61,
        "hidden_size": heads * rng.choice((4, 8)),
        "num_layers": rng.choice((1, 2, 3)),
        "num_attention_heads": heads,
        "max_position_embeddings": rng.choice((16, 24)),
        "eos_token_id": 2,
    }


def shapes(config, name):
    d, lead = config["hidden_size"], "language_model."
    found = {f"{lead}embedding.word_embeddings.weight": (config["padded_vocab_size"], d)}
    found[f"{lead}embedding.position_embeddings.weight"] = (config["max_position_embeddings"], d)
    found[f"{lead}topQueryEmbedding.top_query_embeddings.weight"] = (config["max_position_embeddings"], d)
    layers = [f"layers.{i}" for i in range(config["num_layers"])] + ["topQueryLayer"]
    for part in ("weight", "bias"):
        found[f"{lead}transformer.final_layernorm.{part}"] = (d,)
        for layer in layers:
            at, matrix = f"{lead}transformer.{layer}.", part == "weight"
            found[f"{at}input_layernorm.{part}"] = found[f"{at}post_attention_layernorm.{part}"] = (d,)
            for projection in ("query", "key", "value", "dense"):
                found[f"{at}attention.{projection}.{part}"] = (d, d) if matrix else (d,)
            found[f"{at}mlp.dense_h_to_4h.{part}"] = (4 * d, d) if matrix else (4 * d,)
            found[f"{at}mlp.dense_4h_to_h.{part}"] = (d, 4 * d) if matrix else (d,)
    return found


def text(rng, config, length):
    return [rng.randrange(5, 61) for _ in range(length)]


def opening(config, ids):
    return 1


def norm(x, weight, bias):
    centred = x - x.mean(-1, keepdim=True)
    return centred / torch.sqrt((centred * centred).mean(-1, keepdim=True) + 1e-5) * weight + bias


def fast_gelu(x):
    return x / (1 + torch.exp(-1.702 * torch.abs(x))) * torch.exp(0.851 * (x - torch.abs(x)))


def layer(t, x, heads, query):
    """TransformerLayer; TopQueryLayer where there is a query."""
    length, size = x.shape[0], x.shape[1] // heads
    h = norm(x, t["input_layernorm.weight"], t["input_layernorm.bias"])
    q = (h if query is None else query) @ t["attention.query.weight"].T + t["attention.query.bias"]
    k = h @ t["attention.key.weight"].T + t["attention.key.bias"]
    v = h @ t["attention.value.weight"].T + t["attention.value.bias"]
    mixed = torch.zeros_like(q)
    for head in range(heads):
        at = slice(head * size, (head + 1) * size)
        scores = q[:, at] @ k[:, at].T / math.sqrt(size)
        scores = scores - 10000.0 * torch.ones(length, length).triu(1).to(x.dtype)
        mixed[:, at] = scores.softmax(-1) @ v[:, at]
    x = x + mixed @ t["attention.dense.weight"].T + t["attention.dense.bias"]
    h = norm(x, t["post_attention_layernorm.weight"], t["post_attention_layernorm.bias"])
    inner = fast_gelu(h @ t["mlp.dense_h_to_4h.weight"].T + t["mlp.dense_h_to_4h.bias"])
    return x + inner @ t["mlp.dense_4h_to_h.weight"].T + t["mlp.dense_4h_to_h.bias"]


def forward(tensors, config, ids, name):
    lead, heads, places = "language_model.", config["num_attention_heads"], torch.arange(len(ids))
    words = tensors[f"{lead}embedding.word_embeddings.weight"]
    x = words[torch.tensor(ids)] + tensors[f"{lead}embedding.position_embeddings.weight"][places]

    def of(part):
        at = f"{lead}transformer.{part}."
        return {key.removeprefix(at): value for key, value in tensors.items() if key.startswith(at)}

    for i in range(config["num_layers"]):
        x = layer(of(f"layers.{i}"), x, heads, None)
    last = of("final_layernorm")
    x = norm(x, last["weight"], last["bias"])
    x = layer(of("topQueryLayer"), x, heads, tensors[f"{lead}topQueryEmbedding.top_query_embeddings.weight"][places])
    return {"last_hidden_state": x, "logits": x @ words.T}
