"""GGUF files of several families, laid out as llama.cpp's converter lays them out, against the model they came from.

Where `transformers` reads such files right, its reading is compared too."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import pytest
import torch
import transformers

from moduformer.errors import CheckpointError
from moduformer.weights.checkpoint import load_checkpoint
from parity.references import VOCAB

LLAMA = {"vocab_size": VOCAB, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4, "pad_token_id": 0}
GATED = {**LLAMA, "num_key_value_heads": 2, "intermediate_size": 40, "head_dim": 6, "max_position_embeddings": 64}
ROPE = {"rope_parameters": {"rope_theta": 500.0, "rope_type": "default"}}
GATED_NAMES = {
    "embed_tokens": "token_embd",
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "model.norm": "output_norm",
    "lm_head": "output",
}
GEMMA2_NAMES = {
    **GATED_NAMES,
    "post_attention_layernorm": "post_attention_norm",
    "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}
FUSED_NAMES = {
    "word_embeddings_layernorm": "token_embd_norm",
    "word_embeddings": "token_embd",
    "wte": "token_embd",
    "wpe": "position_embd",
    "self_attention.query_key_value": "attn_qkv",
    "self_attention.dense": "attn_output",
    "attn.c_attn": "attn_qkv",
    "attn.c_proj": "attn_output",
    "mlp.dense_h_to_4h": "ffn_up",
    "mlp.dense_4h_to_h": "ffn_down",
    "mlp.c_fc": "ffn_up",
    "mlp.c_proj": "ffn_down",
    "ln_1": "attn_norm",
    "ln_2": "ffn_norm",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "ln_attn": "attn_norm_2",
    "ln_mlp": "attn_norm",
    "ln_f": "output_norm",
    "lm_head": "output",
}
Change = Callable[[str, torch.Tensor, Any], torch.Tensor]


def as_it_is(name: str, value: torch.Tensor, config: Any) -> torch.Tensor:
    return value


def paired(name: str, value: torch.Tensor, config: Any) -> torch.Tensor:
    """The halves of each rotary pair side by side, as llama.cpp wants q and k of LLaMA."""
    if not any(part in name for part in ("q_proj", "k_proj")):
        return value
    heads = config.num_attention_heads if "q_proj" in name else config.num_key_value_heads
    return value.unflatten(0, (heads, 2, -1)).transpose(1, 2).flatten(0, 2)


def plus_one(name: str, value: torch.Tensor, config: Any) -> torch.Tensor:
    return value + 1 if "norm" in name else value


def by_kind(name: str, value: torch.Tensor, config: Any) -> torch.Tensor:
    """All q, then all k, then all v, in place of each head's, or each group's."""
    if "query_key_value" not in name:
        return value
    groups = config.num_kv_heads if getattr(config, "new_decoder_architecture", False) else None
    groups = groups or (1 if getattr(config, "multi_query", False) else config.num_attention_heads)
    size = config.hidden_size // config.num_attention_heads
    parts = value.unflatten(0, (groups, -1, size))
    return torch.cat([part.flatten(0, 2) for part in (parts[:, :-2], parts[:, -2:-1], parts[:, -1:])])


def transposed(name: str, value: torch.Tensor, config: Any) -> torch.Tensor:
    return value.T if ".c_" in name and value.dim() == 2 else value


CASES: dict[str, tuple[str, str, Any, dict[str, str], Change, bool]] = {
    "llama": ("llama", "LlamaForCausalLM", transformers.LlamaConfig(**GATED, **ROPE), GATED_NAMES, paired, True),
    "llama-tied": (
        "llama",
        "LlamaForCausalLM",
        transformers.LlamaConfig(**GATED, **ROPE, tie_word_embeddings=True),
        GATED_NAMES,
        paired,
        True,
    ),
    "qwen2": (
        "qwen2",
        "Qwen2ForCausalLM",
        transformers.Qwen2Config(**{key: value for key, value in GATED.items() if key != "head_dim"}, **ROPE),
        GATED_NAMES,
        as_it_is,
        True,
    ),
    "gemma": ("gemma", "GemmaForCausalLM", transformers.GemmaConfig(**GATED), GATED_NAMES, plus_one, False),
    "gemma2": (
        "gemma2",
        "Gemma2ForCausalLM",
        transformers.Gemma2Config(**GATED, sliding_window=3, query_pre_attn_scalar=6),
        GEMMA2_NAMES,
        plus_one,
        False,  # its header does not say by what queries are scaled
    ),
    "bloom": (
        "bloom",
        "BloomForCausalLM",
        transformers.BloomConfig(vocab_size=VOCAB, hidden_size=24, n_layer=2, n_head=4, pad_token_id=0),
        FUSED_NAMES,
        by_kind,
        True,
    ),
    "gpt2": (
        "gpt2",
        "GPT2LMHeadModel",
        transformers.GPT2Config(vocab_size=VOCAB, n_embd=24, n_layer=2, n_head=4, n_positions=64, pad_token_id=0),
        FUSED_NAMES,
        transposed,
        False,  # its reader takes 1,024 positions and 50,257 tokens for granted
    ),
    "falcon-7b": ("falcon", "FalconForCausalLM", transformers.FalconConfig(**LLAMA), FUSED_NAMES, by_kind, False),
    "falcon-40b": (
        "falcon",
        "FalconForCausalLM",
        transformers.FalconConfig(**LLAMA, new_decoder_architecture=True, num_kv_heads=2),
        FUSED_NAMES,
        by_kind,
        False,
    ),
}


def write(model: Any, name: str, names: dict[str, str], change: Change, path: Path, **more: Any) -> Path:
    """The reference as a GGUF file of float32 tensors."""
    config = model.config
    out = gguf.GGUFWriter(str(path), name)
    out.add_context_length(64)
    out.add_embedding_length(config.hidden_size)
    out.add_block_count(config.num_hidden_layers)
    width = getattr(config, "intermediate_size", None) or 4 * config.hidden_size
    out.add_feed_forward_length(width)
    out.add_head_count(config.num_attention_heads)
    shared = getattr(config, "num_key_value_heads", config.num_attention_heads)
    if name == "falcon":
        shared = config.num_kv_heads if config.new_decoder_architecture else 1
    out.add_head_count_kv(shared)
    out.add_vocab_size(VOCAB)
    if hasattr(config, "rms_norm_eps"):
        out.add_layer_norm_rms_eps(config.rms_norm_eps)
        out.add_rope_freq_base(config.rope_parameters["rope_theta"])
    else:
        out.add_layer_norm_eps(config.layer_norm_epsilon)
    if name in ("gemma", "gemma2"):
        out.add_key_length(config.head_dim)
        out.add_value_length(config.head_dim)
    if name == "llama":
        out.add_rope_dimension_count(config.head_dim)
    if name == "gemma2":
        out.add_sliding_window(config.sliding_window)
        out.add_attn_logit_softcapping(config.attn_logit_softcapping)
        out.add_final_logit_softcapping(config.final_logit_softcapping)
    for key, value in more.items():
        out.add_string(f"{name}.{key.replace('__', '.')}", value)
    for tensor, value in model.state_dict().items():
        if tensor.startswith("lm_head") and config.tie_word_embeddings:
            continue
        stem, _, kind = tensor.rpartition(".")
        layer = next((f"blk.{part}." for part in stem.split(".") if part.isdigit()), "")
        found = max((old for old in names if stem.endswith(old)), key=len)
        out.add_tensor(f"{layer}{names[found]}.{kind}", change(tensor, value, config).contiguous().numpy())
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()
    return path


def reference(name: str, seed: int = 1) -> Any:
    _, architecture, config, *_ = CASES[name]
    config._attn_implementation = "sdpa" if "falcon" in name else "eager"
    model = getattr(transformers, architecture)(config).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.5 if parameter.dim() == 1 else 0.16, generator=generator)
    return model


@pytest.mark.parametrize("name", CASES)
@torch.no_grad()
def test_a_container_gives_the_same_numbers(name: str, tmp_path: Path) -> None:
    model_type, _, _, names, change, comparable = CASES[name]
    theirs = reference(name)
    path = write(theirs, model_type, names, change, tmp_path / "model.gguf")
    ids = torch.randint(5, VOCAB, (3, 11), generator=torch.Generator().manual_seed(2))
    ours = load_checkpoint(path)
    expected = theirs(ids).logits
    assert (ours(ids).logits - expected).abs().max() <= 1e-5 * expected.abs().max()
    if comparable:
        read = type(theirs).from_pretrained(tmp_path, gguf_file="model.gguf", dtype=torch.float32).eval()
        assert (read(ids).logits - expected).abs().max() <= 1e-5 * expected.abs().max()
    again = load_checkpoint(ours.save(tmp_path / "folder"))
    assert torch.equal(again(ids).logits, ours(ids).logits)


def test_a_scaling_that_is_not_read_is_refused(tmp_path: Path) -> None:
    model_type, _, _, names, change, _ = CASES["qwen2"]
    path = write(reference("qwen2"), model_type, names, change, tmp_path / "m.gguf", rope__scaling__type="longrope")
    with pytest.raises(CheckpointError, match="longrope"):
        load_checkpoint(path)
