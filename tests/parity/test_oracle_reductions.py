"""What the second writings (`oracles`) compute is, for some settings, a model that `transformers` has."""

from __future__ import annotations

import importlib
import random
from types import ModuleType
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import transformers

DRAWS = (1, 2, 3)
TEXT = [7, 31, 12, 50, 9, 22, 22, 41]


def drawn(name: str, seed: int, **fixed: Any) -> tuple[ModuleType, dict[str, Any], dict[str, torch.Tensor], str]:
    """An oracle, a random config of it, random tensors, and its language model's class."""
    oracle = importlib.import_module(f"oracles.{name}")
    config = {**oracle.config(random.Random(seed)), **fixed}
    config = {key: value for key, value in config.items() if value != "absent"}
    model = next(each for each in oracle.CLASSES if each.endswith(("CausalLM", "Generation")))
    generator = torch.Generator().manual_seed(seed)
    tensors = {
        key: torch.empty(shape, dtype=torch.float64).normal_(
            std=0.5 if len(shape) == 1 else 0.8 / shape[-1] ** 0.5, generator=generator
        )
        for key, shape in oracle.shapes(config, model).items()
    }
    return oracle, config, tensors, model


def llama(config: dict[str, Any], bias: bool, **more: Any) -> Any:
    kept = (
        "vocab_size",
        "hidden_size",
        "num_attention_heads",
        "num_hidden_layers",
        "intermediate_size",
        "rms_norm_eps",
    )
    settings = {key: config[key] for key in kept} | {"num_key_value_heads": config["num_attention_heads"], **more}
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**settings, attention_bias=bias)).double().eval()


RMS = 1e-6
"""What is allowed where `transformers` computes its RMS norm in float32, whatever the model's type."""


def agree(
    theirs: Any,
    state: dict[str, torch.Tensor],
    oracle: ModuleType,
    *args: Any,
    within: float = RMS,
    **places: Any,
) -> None:
    theirs.load_state_dict(state)
    with torch.no_grad():
        expected = theirs(torch.tensor([TEXT])).logits[0]
    found = oracle.forward(*args[:2], TEXT, args[2], **places)["logits"]
    assert float((found - expected).abs().max() / expected.abs().max()) <= within


@pytest.mark.parametrize("seed", DRAWS)
def test_internlm_is_llama_with_biases(seed: int) -> None:
    rotary = {"base": 10000, "type": "origin"}
    oracle, config, tensors, name = drawn("internlm", seed, rotary=rotary)
    agree(llama(config, config["bias"]), tensors, oracle, tensors, config, name)


@pytest.mark.parametrize("seed", DRAWS)
def test_internlm2_is_llama_with_q_k_v_apart(seed: int) -> None:
    oracle, config, tensors, name = drawn("internlm2", seed, rope_scaling=None)
    heads, groups = config["num_attention_heads"], config["num_key_value_heads"]
    size = config["hidden_size"] // heads
    state = {}
    renamed = (
        ("tok_embeddings", "embed_tokens"),
        ("attention_norm", "input_layernorm"),
        ("ffn_norm", "post_attention_layernorm"),
        ("attention.wo", "self_attn.o_proj"),
        ("feed_forward.w1", "mlp.gate_proj"),
        ("feed_forward.w2", "mlp.down_proj"),
        ("feed_forward.w3", "mlp.up_proj"),
        ("output", "lm_head"),
    )
    for key, value in tensors.items():
        if "wqkv" in key:
            packed = value.unflatten(0, (groups, heads // groups + 2, size))
            for part, rows in (("q", packed[:, :-2]), ("k", packed[:, -2]), ("v", packed[:, -1])):
                new = key.replace("attention.wqkv", f"self_attn.{part}_proj")
                state[new] = rows.reshape(-1, *value.shape[1:])
        else:
            for old, new in renamed:
                key = key.replace(old, new)
            state[key] = value
    theirs = llama(config, config["bias"], num_key_value_heads=groups, rope_theta=config["rope_theta"])
    agree(theirs, state, oracle, tensors, config, name)


@pytest.mark.parametrize("seed", DRAWS)
@pytest.mark.parametrize("second", [False, True])
def test_baichuan_7b_is_llama_with_q_k_v_apart(seed: int, second: bool) -> None:
    changes = {"max_position_embeddings": 4096, "z_loss_weight": 0 if second else "absent"}
    oracle, config, tensors, name = drawn("baichuan", seed, **changes)
    state = {}
    for key, value in tensors.items():
        if "W_pack" in key:
            for part, rows in zip("qkv", value.chunk(3)):
                state[key.replace("W_pack", f"{part}_proj")] = rows
        else:
            state[key] = F.normalize(value) if second and key == "lm_head.weight" else value
    agree(llama(config, False), state, oracle, tensors, config, name)


@pytest.mark.parametrize("seed", DRAWS)
def test_chatglm2_is_the_glm_of_transformers(seed: int) -> None:
    oracle, config, tensors, name = drawn("chatglm2", seed, rmsnorm=True)
    heads, groups, size = (config[key] for key in ("num_attention_heads", "multi_query_group_num", "kv_channels"))
    settings = transformers.GlmConfig(
        vocab_size=config["padded_vocab_size"],
        hidden_size=config["hidden_size"],
        intermediate_size=config["ffn_hidden_size"],
        num_hidden_layers=config["num_layers"],
        num_attention_heads=heads,
        num_key_value_heads=groups,
        head_dim=size,
        rms_norm_eps=config["layernorm_epsilon"],
        attention_bias=config["add_qkv_bias"],
        pad_token_id=0,
    )
    renamed = (
        ("transformer.embedding.word_embeddings", "model.embed_tokens"),
        ("transformer.encoder.final_layernorm", "model.norm"),
        ("transformer.encoder.", "model."),
        ("transformer.output_layer", "lm_head"),
        ("self_attention.dense", "self_attn.o_proj"),
        ("mlp.dense_h_to_4h", "mlp.gate_up_proj"),
        ("mlp.dense_4h_to_h", "mlp.down_proj"),
    )
    state = {}
    for key, value in tensors.items():
        for old, new in renamed:
            key = key.replace(old, new)
        if "query_key_value" in key:
            for part, rows in zip("qkv", value.split((heads * size, groups * size, groups * size))):
                state[key.replace("self_attention.query_key_value", f"self_attn.{part}_proj")] = rows
        else:
            state[key] = value
    agree(transformers.GlmForCausalLM(settings).double().eval(), state, oracle, tensors, config, name)


@pytest.mark.parametrize("seed", DRAWS)
def test_glm_without_a_context_is_gpt2(seed: int) -> None:
    oracle, config, tensors, name = drawn("glm", seed, output_dropout_prob=0.0)
    heads, places = config["num_attention_heads"], config["max_sequence_length"] + 1
    settings = transformers.GPT2Config(
        vocab_size=61,
        n_embd=config["hidden_size"],
        n_layer=config["num_layers"],
        n_head=heads,
        n_positions=places,
        layer_norm_epsilon=config["layernorm_epsilon"],
    )
    renamed = (
        ("glm.word_embeddings", "transformer.wte"),
        ("glm.transformer.position_embeddings", "transformer.wpe"),
        ("glm.transformer.final_layernorm", "transformer.ln_f"),
        ("glm.transformer.layers", "transformer.h"),
        ("input_layernorm", "ln_1"),
        ("post_attention_layernorm", "ln_2"),
        ("attention.query_key_value", "attn.c_attn"),
        ("attention.dense", "attn.c_proj"),
        ("mlp.dense_h_to_4h", "mlp.c_fc"),
        ("mlp.dense_4h_to_h", "mlp.c_proj"),
    )
    state = {}
    for key, value in tensors.items():
        for old, new in renamed:
            key = key.replace(old, new)
        state[key] = value.T if key.endswith("weight") and ".h." in key and value.dim() == 2 else value
    block = state.pop("glm.transformer.block_position_embeddings.weight")
    state["transformer.wpe.weight"] = state["transformer.wpe.weight"] + block[0]
    state["lm_head.weight"] = state["transformer.wte.weight"]
    theirs = transformers.GPT2LMHeadModel(settings).double().eval()
    straight = (list(range(len(TEXT))), [0] * len(TEXT))
    agree(theirs, state, oracle, tensors, config, name, within=1e-9, places=straight, context=0)
