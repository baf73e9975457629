"""PLUG, one text and one target at a time and without padding: github.com/alibaba/AliceMind, PLUG/model/modeling.py
(`PalmForPreTraining`) and PLUG/mpu/transformer.py, whose tensor names these are; with one norm after the encoder.

The layers are those of Vaswani et al. 2017, normed before each part (Xiong et al. 2020, arXiv 2002.04745, figure 1).
"""

import math

import torch

HEADS = ("PlugModel", "BertForPreTraining")


def config(rng):
    heads = rng.choice((1, 2, 3))
    return {
        "model_type": rng.choice(("plugNLG", "plug_nlg_original-8192")),
        "vocab_size": 61,
        "original_vocab_size": 57,
        "hidden_size": heads * rng.choice((4, 6)),
        "num_hidden_layers": rng.choice((1, 2, 3)),
        "dec_hidden_layers": rng.choice((1, 2)),
        "num_attention_heads": heads,
        "intermediate_size": rng.choice((20, 36)),
        "hidden_act": rng.choice(("gelu", "relu", "swish")),
        "max_position_embeddings": 30,
        "type_vocab_size": rng.choice((2, 3)),
        "layernorm_epsilon": rng.choice((1e-12, 1e-5, 1e-3)),
        "pre_ln": True,
        "attn_separate": False,
        "fp32_layernorm": True,
    }


def shapes(config, name):
    d, f, vocab = config["hidden_size"], config["intermediate_size"], config["vocab_size"]
    found = {}

    def linear(key, out, inner):
        found[f"{key}.weight"], found[f"{key}.bias"] = (out, inner), (out,)

    def norm(key):
        found[f"{key}.weight"], found[f"{key}.bias"] = (d,), (d,)

    found["bert.embeddings.word_embeddings.weight"] = (vocab, d)
    found["bert.embeddings.position_embeddings.weight"] = (config["max_position_embeddings"], d)
    found["bert.embeddings.token_type_embeddings.weight"] = (config["type_vocab_size"], d)
    norm("bert.embeddings.LayerNorm")
    for i in range(config["num_hidden_layers"]):
        layer = f"bert.encoder.layer.{i}"
        norm(f"{layer}.attention.LayerNorm")
        norm(f"{layer}.LayerNorm")
        linear(f"{layer}.attention.self.query_key_value", 3 * d, d)
        linear(f"{layer}.attention.output.dense", d, d)
        linear(f"{layer}.intermediate.dense", f, d)
        linear(f"{layer}.output.dense", d, f)
    norm("bert.encoder.LayerNorm")
    if name == "BertForPreTraining":
        linear("cls.predictions.transform.dense", d, d)
        norm("cls.predictions.transform.LayerNorm")
        found["cls.predictions.bias"] = (vocab,)
        linear("cls.seq_relationship", 3, d)
        return found
    for i in range(config["dec_hidden_layers"]):
        layer = f"decoder.decoder.layer.{i}"
        for part in ("input", "post_attention", "post_cross_attention"):
            norm(f"{layer}.{part}_layernorm")
        linear(f"{layer}.attention.query_key_value", 3 * d, d)
        linear(f"{layer}.attention.dense", d, d)
        linear(f"{layer}.cross_attention.query", d, d)
        linear(f"{layer}.cross_attention.key_value", 2 * d, d)
        linear(f"{layer}.cross_attention.dense", d, d)
        linear(f"{layer}.intermediate", f, d)
        linear(f"{layer}.output", d, f)
    norm("decoder.decoder.final_layernorm")
    return found


def forward(w, config, name, text, target=None, segments=None):
    """The logits of a target after a text, or of StructBERT's two tasks on the text."""
    eps, heads = config["layernorm_epsilon"], config["num_attention_heads"]

    def linear(key, x):
        return x @ w[f"{key}.weight"].T + w[f"{key}.bias"]

    def norm(key, x):
        centred = x - x.mean(-1, keepdim=True)
        scaled = centred / torch.sqrt((centred * centred).mean(-1, keepdim=True) + eps)
        return w[f"{key}.weight"] * scaled + w[f"{key}.bias"]

    def activation(x):
        if config["hidden_act"] == "relu":
            return x.clamp(min=0)
        return x * torch.sigmoid(x) if config["hidden_act"] == "swish" else x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))

    def embed(ids, types):
        # BertEmbeddings; a decoder's tokens are all of type 0
        key = "bert.embeddings"
        rows = [
            w[f"{key}.word_embeddings.weight"][token]
            + w[f"{key}.position_embeddings.weight"][place]
            + w[f"{key}.token_type_embeddings.weight"][kind]
            for place, (token, kind) in enumerate(zip(ids, types))
        ]
        return norm(f"{key}.LayerNorm", torch.stack(rows))

    def attend(q, k, v, causal):
        # softmax(q k / sqrt(d)) v, head by head (Vaswani et al. 2017, eq. 1)
        size, out = q.shape[1] // heads, []
        for h in range(heads):
            part = slice(h * size, (h + 1) * size)
            rows = []
            for t in range(len(q)):
                seen = t + 1 if causal else len(k)
                scores = (k[:seen, part] @ q[t, part]) / math.sqrt(size)
                rows.append(torch.softmax(scores, 0) @ v[:seen, part])
            out.append(torch.stack(rows))
        return torch.cat(out, 1)

    hidden = embed(text, segments or [0] * len(text))
    for i in range(config["num_hidden_layers"]):
        layer = f"bert.encoder.layer.{i}"
        fused = linear(f"{layer}.attention.self.query_key_value", norm(f"{layer}.attention.LayerNorm", hidden))
        hidden = hidden + linear(f"{layer}.attention.output.dense", attend(*fused.chunk(3, 1), causal=False))
        inner = activation(linear(f"{layer}.intermediate.dense", norm(f"{layer}.LayerNorm", hidden)))
        hidden = hidden + linear(f"{layer}.output.dense", inner)
    encoded = norm("bert.encoder.LayerNorm", hidden)
    words = w["bert.embeddings.word_embeddings.weight"]
    if name == "BertForPreTraining":
        guess = activation(linear("cls.predictions.transform.dense", encoded))
        guess = norm("cls.predictions.transform.LayerNorm", guess)
        order = linear("cls.seq_relationship", encoded[0])
        return {"prediction_logits": guess @ words.T + w["cls.predictions.bias"], "seq_relationship_logits": order}

    hidden = embed(target, [0] * len(target))
    for i in range(config["dec_hidden_layers"]):
        layer = f"decoder.decoder.layer.{i}"
        fused = linear(f"{layer}.attention.query_key_value", norm(f"{layer}.input_layernorm", hidden))
        hidden = hidden + linear(f"{layer}.attention.dense", attend(*fused.chunk(3, 1), causal=True))
        asked = linear(f"{layer}.cross_attention.query", norm(f"{layer}.post_attention_layernorm", hidden))
        key, value = linear(f"{layer}.cross_attention.key_value", encoded).chunk(2, 1)
        hidden = hidden + linear(f"{layer}.cross_attention.dense", attend(asked, key, value, causal=False))
        inner = activation(linear(f"{layer}.intermediate", norm(f"{layer}.post_cross_attention_layernorm", hidden)))
        hidden = hidden + linear(f"{layer}.output", inner)
    return {"logits": norm("decoder.decoder.final_layernorm", hidden) @ words.T}
