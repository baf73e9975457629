"""PanGu-alpha (Zeng et al. 2021, section 2.2): modeling_gptpangu.py of its conversions to PyTorch."""

import math

import torch

CLASSES = ("GPTPanguModel", "GPTPanguForCausalLM")


def config(rng):
    heads = rng.choice((1, 2, 4))
    return {
        "model_type": "gpt_pangu",
        "vocab_size": 61,
        "hidden_size": heads * rng.choice((4, 8)),
        "intermediate_size": rng.choice((None, 20)),
        "num_layers": rng.choice((2, 3, 4)),
        "num_heads": heads,
        "max_position_embeddings": rng.choice((16, 24)),
        "activation_function": rng.choice(("gelu", "gelu_new", "relu")),
        "layer_norm_epsilon": rng.choice((1e-5, 1e-3)),
        "scale_attn_weights": True,
        "resid_pdrop": 0.1,
        "embd_pdrop": 0.1,
        "attn_pdrop": 0.1,
        "tie_word_embeddings": rng.random() < 0.5,
        "bos_token_id": 9,
        "eos_token_id": 9,
    }


def shapes(config, name):
    d, lead = config["hidden_size"], "" if name == "GPTPanguModel" else "transformer."
    f = config["intermediate_size"] or 4 * d
    found = {f"{lead}wte.weight": (config["vocab_size"], d)}
    found[f"{lead}wpe.weight"] = found[f"{lead}wqe.weight"] = (config["max_position_embeddings"], d)
    for part in ("weight", "bias"):
        found[f"{lead}ln_f.{part}"] = (d,)
        for i in range(config["num_layers"]):
            at, matrix = f"{lead}h.{i}.", part == "weight"
            found[f"{at}ln_1.{part}"] = found[f"{at}ln_2.{part}"] = (d,)
            for projection in ("q_proj", "k_proj", "v_proj", "c_proj"):
                found[f"{at}attn.{projection}.{part}"] = (d, d) if matrix else (d,)
            found[f"{at}mlp.c_fc.{part}"] = (f, d) if matrix else (f,)
            found[f"{at}mlp.c_proj.{part}"] = (d, f) if matrix else (d,)
    if name == "GPTPanguForCausalLM" and not config["tie_word_embeddings"]:
        found["lm_head.weight"] = (config["vocab_size"], d)
    return found


def text(rng, config, length):
    return [rng.randrange(10, 61) for _ in range(length)]


def opening(config, ids):
    return 1


def norm(x, weight, bias, eps):
    centred = x - x.mean(-1, keepdim=True)
    return centred / torch.sqrt((centred * centred).mean(-1, keepdim=True) + eps) * weight + bias


ACTIVATIONS = {
    "gelu": lambda x: 0.5 * x * (1 + torch.erf(x / math.sqrt(2))),
    "gelu_new": lambda x: 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "relu": lambda x: x.clamp(min=0),
}


def forward(tensors, config, ids, name):
    lead = "" if name == "GPTPanguModel" else "transformer."
    heads, eps, length = config["num_heads"], config["layer_norm_epsilon"], len(ids)
    size, places = config["hidden_size"] // heads, torch.arange(length)
    x = tensors[f"{lead}wte.weight"][torch.tensor(ids)] + tensors[f"{lead}wpe.weight"][places]
    last = config["num_layers"] - 1
    for i in range(config["num_layers"]):
        t = {key.removeprefix(f"{lead}h.{i}."): value for key, value in tensors.items()}
        if i == last:  # the norm before the query layer
            x = norm(x, tensors[f"{lead}ln_f.weight"], tensors[f"{lead}ln_f.bias"], eps)
        h = norm(x, t["ln_1.weight"], t["ln_1.bias"], eps)
        asked = tensors[f"{lead}wqe.weight"][places] if i == last else h
        q = asked @ t["attn.q_proj.weight"].T + t["attn.q_proj.bias"]
        k = h @ t["attn.k_proj.weight"].T + t["attn.k_proj.bias"]
        v = h @ t["attn.v_proj.weight"].T + t["attn.v_proj.bias"]
        mixed = torch.zeros_like(q)
        for head in range(heads):
            at = slice(head * size, (head + 1) * size)
            scores = q[:, at] @ k[:, at].T / math.sqrt(size)
            scores = scores.masked_fill(torch.ones(length, length).triu(1).bool(), -1e4)
            mixed[:, at] = scores.softmax(-1) @ v[:, at]
        x = x + mixed @ t["attn.c_proj.weight"].T + t["attn.c_proj.bias"]
        h = norm(x, t["ln_2.weight"], t["ln_2.bias"], eps)
        inner = ACTIVATIONS[config["activation_function"]](h @ t["mlp.c_fc.weight"].T + t["mlp.c_fc.bias"])
        x = x + inner @ t["mlp.c_proj.weight"].T + t["mlp.c_proj.bias"]
    if name == "GPTPanguModel":
        return {"last_hidden_state": x}
    words = tensors[f"{lead}wte.weight"] if config["tie_word_embeddings"] else tensors["lm_head.weight"]
    return {"last_hidden_state": x, "logits": x @ words.T}
