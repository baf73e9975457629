"""InternLM2 (Cai et al. 2024): internlm/internlm2-7b, modeling_internlm2.py."""

import math

import torch

CLASSES = (
    "InternLM2Model",
    "InternLM2ForCausalLM",
    "InternLM2ForSequenceClassification",
    "InternLM2ForTokenClassification",
    "InternLM2ForQuestionAnswering",
)

LEAD = {"InternLM2Model": "", "InternLM2ForQuestionAnswering": "transformer."}


def config(rng):
    heads = rng.choice((2, 4, 6))
    context = rng.choice((7, 64))
    scaling = rng.choice((None, {"type": "linear", "factor": 2.0}, {"type": "dynamic", "factor": 3.0}))
    return {
        "model_type": "internlm2",
        "vocab_size": 61,
        "hidden_size": heads * rng.choice((4, 8)),
        "num_attention_heads": heads,
        "num_key_value_heads": rng.choice([n for n in (1, 2, 3) if heads % n == 0]),
        "num_hidden_layers": rng.choice((1, 2, 3)),
        "intermediate_size": rng.choice((20, 36)),
        "hidden_act": "silu",
        "rms_norm_eps": rng.choice((1e-5, 1e-3)),
        "bias": rng.random() < 0.5,
        "tie_word_embeddings": False,
        "max_position_embeddings": context,
        "rope_theta": rng.choice((1000000, 100.0)),
        "rope_scaling": scaling,
        "pad_token_id": 2,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }


def shapes(config, name):
    d, f, heads, groups = (
        config[key] for key in ("hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads")
    )
    lead = LEAD.get(name, "model.")
    found = {f"{lead}tok_embeddings.weight": (config["vocab_size"], d), f"{lead}norm.weight": (d,)}
    for i in range(config["num_hidden_layers"]):
        layer = f"{lead}layers.{i}."
        rows = (heads + 2 * groups) * (d // heads)
        found[f"{layer}attention.wqkv.weight"] = (rows, d)
        found[f"{layer}attention.wo.weight"] = (d, d)
        if config["bias"]:
            found[f"{layer}attention.wqkv.bias"], found[f"{layer}attention.wo.bias"] = (rows,), (d,)
        found[f"{layer}feed_forward.w1.weight"] = found[f"{layer}feed_forward.w3.weight"] = (f, d)
        found[f"{layer}feed_forward.w2.weight"] = (d, f)
        found[f"{layer}attention_norm.weight"] = found[f"{layer}ffn_norm.weight"] = (d,)
    if name == "InternLM2ForCausalLM":
        found["output.weight"] = (config["vocab_size"], d)
    if name.endswith(("SequenceClassification", "TokenClassification")):
        found["score.weight"] = (3, d)
    if name.endswith("TokenClassification"):
        found["score.bias"] = (3,)
    if name.endswith("QuestionAnswering"):
        found["qa_outputs.weight"], found["qa_outputs.bias"] = (2, d), (2,)
    return found


def text(rng, config, length):
    return [rng.randrange(5, 61) for _ in range(length)]


def opening(config, ids):
    dynamic = (config["rope_scaling"] or {}).get("type") == "dynamic"
    return len(ids) if dynamic and len(ids) > config["max_position_embeddings"] else 1


def rms(x, weight, eps):
    return weight * (x / torch.sqrt((x * x).mean(-1, keepdim=True) + eps))


def rotate(x, config):
    length, dim = x.shape
    half, base, context = dim // 2, float(config["rope_theta"]), config["max_position_embeddings"]
    scaling, stretch = config["rope_scaling"] or {}, 1.0
    if scaling.get("type") == "dynamic" and length > context:
        # InternLM2DynamicNTKScalingRotaryEmbedding
        factor = scaling["factor"]
        base = base * (factor * length / context - (factor - 1)) ** (dim / max(dim - 2, 1))
    if scaling.get("type") == "linear":
        stretch = scaling["factor"]  # InternLM2LinearScalingRotaryEmbedding: t / factor
    out = torch.empty_like(x)
    for t in range(length):
        angle = torch.tensor(float(t)) * (1.0 / base ** ((2.0 * torch.arange(half)) / dim) / stretch)
        cos, sin = torch.cos(angle).to(x.dtype), torch.sin(angle).to(x.dtype)
        out[t, :half] = x[t, :half] * cos - x[t, half:] * sin
        out[t, half:] = x[t, half:] * cos + x[t, :half] * sin
    return out


def forward(tensors, config, ids, name):
    lead = LEAD.get(name, "model.")
    heads, groups = config["num_attention_heads"], config["num_key_value_heads"]
    size, shared, length = config["hidden_size"] // heads, heads // groups, len(ids)

    def linear(x, key):
        y = x @ tensors[f"{key}.weight"].T
        return y + tensors[f"{key}.bias"] if f"{key}.bias" in tensors else y

    x = tensors[f"{lead}tok_embeddings.weight"][torch.tensor(ids)]
    for i in range(config["num_hidden_layers"]):
        layer = f"{lead}layers.{i}."
        h = rms(x, tensors[f"{layer}attention_norm.weight"], config["rms_norm_eps"])
        packed = linear(h, f"{layer}attention.wqkv")
        mixed = torch.zeros(length, heads * size, dtype=x.dtype)
        for group in range(groups):
            # rearrange "b q (h gs d) -> b q h gs d": the group's queries, its key, its value
            parts = [packed[:, (group * (shared + 2) + j) * size :][:, :size] for j in range(shared + 2)]
            for j in range(shared):
                scores = rotate(parts[j], config) @ rotate(parts[shared], config).T / math.sqrt(size)
                scores = scores.masked_fill(torch.ones(length, length).triu(1).bool(), float("-inf"))
                head = group * shared + j
                mixed[:, head * size : (head + 1) * size] = scores.softmax(-1) @ parts[shared + 1]
        x = x + linear(mixed, f"{layer}attention.wo")
        h = rms(x, tensors[f"{layer}ffn_norm.weight"], config["rms_norm_eps"])
        gate = linear(h, f"{layer}feed_forward.w1")  # w2(act(w1(x)) * w3(x))
        x = x + linear(gate * torch.sigmoid(gate) * linear(h, f"{layer}feed_forward.w3"), f"{layer}feed_forward.w2")
    x = rms(x, tensors[f"{lead}norm.weight"], config["rms_norm_eps"])
    out = {"last_hidden_state": x}
    if name == "InternLM2ForCausalLM":
        out["logits"] = linear(x, "output")
    if name == "InternLM2ForSequenceClassification":
        out["logits"] = linear(x[-1], "score")
    if name == "InternLM2ForTokenClassification":
        out["logits"] = linear(x, "score")
    if name == "InternLM2ForQuestionAnswering":
        out["start_logits"], out["end_logits"] = linear(x, "qa_outputs").unbind(-1)
    return out
