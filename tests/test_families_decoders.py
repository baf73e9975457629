"""Decoder families: keys that are refused, older names that are accepted, sizes that were published."""

import functools
import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch
from core_models import SPECS
from parity.drawn import REFERENCES
from parity.references import inputs, make, save
from safetensors.torch import load_file, save_file

from moduformer.errors import CheckpointError, SpecError
from moduformer.families import families, family, spec
from moduformer.families.family import Family
from moduformer.weights.checkpoint import load_checkpoint

PRESETS = [pytest.param(member, name, id=name) for member in families() for name in member.presets]

REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("mpt", {"attn_config": {"qk_ln": True}}, "qk_ln"),
    ("mpt", {"attn_config": {"prefix_lm": True}}, "prefix_lm"),
    ("mpt", {"attn_config": {"alibi": False}}, "alibi"),
    ("mpt", {"attn_config": {"attn_type": "multiquery_attention"}}, "attn_type"),
    ("mpt", {"attn_config": [1]}, "attn_config"),
    ("mpt", {"expansion_ratio": 3}, "expansion_ratio"),
    ("mpt", {"no_bias": False}, "no_bias"),
    ("mpt", {"logit_scale": 0.5}, "logit_scale"),
    ("mpt", {"norm_type": "rmsnorm"}, "norm_type"),
    ("falcon", {"new_decoder_architecture": True, "parallel_attn": False}, "parallel_attn"),
    ("falcon", {"num_ln_in_parallel_attn": 2}, "num_ln_in_parallel_attn"),
    ("gpt_neo", {"attention_types": [[["global", "local"], 11]]}, "attention_types"),
    ("gpt_neo", {"attention_types": [[["global", "sparse"], 12]]}, "attention_types"),
    ("gpt_neo", {"attention_types": [[["global"], 10**12]]}, "attention_types"),
    ("gpt_neo", {"attention_types": [3]}, "built"),
    ("gemma", {"use_bidirectional_attention": True}, "use_bidirectional_attention"),
    ("gemma2", {"use_bidirectional_attention": True}, "use_bidirectional_attention"),
    ("gemma2", {"layer_types": ["full_attention"]}, "layer_types"),
    ("gemma2", {"layer_types": ["chunked_attention"] * 26}, "layer_types"),
    ("gemma2", {"query_pre_attn_scalar": 0}, "built"),
    ("qwen2", {"num_hidden_layers": 10**9}, "num_hidden_layers"),
    ("openai-gpt", {"afn": "tanh"}, "afn"),
    ("codegen", {"n_embd": "wide"}, "n_embd"),
    ("codegen", {"n_head": 2}, "n_head"),
]


@pytest.mark.parametrize(("model_type", "changes", "named"), REFUSED)
def test_what_no_spec_has_is_refused_by_name(model_type: str, changes: dict[str, Any], named: str) -> None:
    family(model_type).read({})
    with pytest.raises(CheckpointError, match=named):
        family(model_type).read(changes)


@pytest.mark.parametrize(("member", "name"), PRESETS)
def test_a_published_architecture_is_written_as_a_config_that_says_it(member: Family, name: str) -> None:
    whole, member = spec(name), member.of(member.presets[name])
    labels = next((head.outputs for head in whole.heads if head.kind in ("classify", "tag")), 2)
    config = {**json.loads(json.dumps(member.write(whole))), "num_labels": labels}
    assert member.read(config, member.architecture_of(whole)) == whole


@pytest.mark.parametrize("member", families(), ids=lambda member: member.model_type)
def test_any_spec_may_be_offered_to_any_family(member: Family) -> None:
    others = [next(iter(other.presets)) for other in families() if other.presets]
    for whole in (*SPECS.values(), *map(spec, others)):
        try:
            member.read(member.write(whole))
        except (CheckpointError, SpecError):
            continue


CATALOGUE = {
    "gpt-1": {"gpt": "openai-gpt"},
    "codegen": {size: f"codegen-{size}" for size in ("350m", "2b", "6b", "16b")},
    "opt": {size: f"opt-{size}" for size in "125m 350m 1.3b 2.7b 6.7b 13b 30b 66b 175b".split()},
    "gpt-neo": {size: f"gpt-neo-{size.lower()}" for size in ("125M", "1.3B", "2.7B")},
    "gpt-j": {"6B": "gpt-j-6b"},
    "biogpt": {"BioGPT": "biogpt", "BioGPT-Large": "biogpt-large"},
    "gpt-neox-20b": {"20B": "gpt-neox-20b"},
    **{
        name: {**{size: f"{name}-{size}" for size in "560m 1b1 1b7 3b 7b1".split()}, "176B": name}
        for name in ("bloom", "bloomz")
    },
    "galactica": {
        f"{size.upper()} ({word})": f"galactica-{size.lower()}"
        for size, word in zip("125M 1.3B 6.7B 30B 120B".split(), "mini base standard large huge".split())
    },
    "falcon": {f"Falcon-{size}": f"falcon-{size.lower()}" for size in ("7B", "40B", "180B")},
    "redpajama-incite": {
        "RedPajama-INCITE-3B": "redpajama-incite-base-3b-v1",
        "RedPajama-INCITE-7B": "redpajama-incite-7b-base",
    },
    "mpt-7b": {"MPT-7B": "mpt-7b"},
}
"""What the catalogue calls each published size, and its name here."""

# Published elsewhere: the number of parameters that safetensors counts in the files (ties once).
KNOWN = {
    "mistral-7b-v0.1": 7_241_732_096,
    "mistral-nemo-base-2407": 12_247_782_400,
    "mixtral-8x7b-v0.1": 46_702_792_704,
    "mixtral-8x22b-v0.1": 140_620_634_112,
    "qwen2-0.5b": 494_032_768,
    "qwen2.5-7b": 7_615_616_512,
    "qwen2.5-32b": 32_763_876_352,
    "gemma-2b": 2_506_172_416,
    "gemma-7b": 8_537_680_896,
    "gemma-2-2b": 2_614_341_888,
    "gemma-2-9b": 9_241_705_984,
    "gemma-2-27b": 27_227_128_320,
}


def test_sizes_of_the_catalogue(shared: Path) -> None:
    listed = [
        model
        for path in (shared / "catalog").glob("*.toml")
        for model in tomllib.loads(path.read_text(encoding="utf-8"))["model"]
    ]
    compared = 0
    for model in listed:
        for size in model["sizes"] if model["id"] in CATALOGUE else ():
            name = CATALOGUE[model["id"]][size["name"]]
            assert spec(name).num_parameters() == size["params_computed"], name
            compared += 1
    assert compared == sum(len(sizes) for sizes in CATALOGUE.values())


@pytest.mark.parametrize("name", KNOWN)
def test_sizes_known_from_their_files(name: str) -> None:
    assert spec(name).num_parameters() == KNOWN[name]


def test_names_are_found_in_any_case() -> None:
    assert spec("EleutherAI/gpt-neo-1.3B") == spec("gpt-neo-1.3b")


def drawn(model_type: str, name: str, folder: Path, seed: int = 1) -> Any:
    """A reference's files, and itself."""
    reference = next(r for r in REFERENCES if r.family == model_type)
    theirs = make(reference, name, seed)
    return reference, theirs, save(theirs, folder)


def changed(folder: Path, rename: Any = None, extra: dict[str, Any] | None = None, **config: Any) -> Path:
    """The same files under other tensor names, with further tensors and config keys; None takes a key away."""
    path = folder / "model.safetensors"
    tensors = {rename(name) if rename else name: tensor for name, tensor in load_file(path).items()}
    save_file({**tensors, **(extra or {})}, path)
    settings = {**json.loads((folder / "config.json").read_text()), **config}
    (folder / "config.json").write_text(json.dumps({k: v for k, v in settings.items() if v is not None}))
    return folder


def same(reference: Any, theirs: Any, folder: Path) -> None:
    given = inputs(reference, theirs, "right", 1)
    with torch.no_grad():
        found, expected = load_checkpoint(folder)(**given.ours), theirs(**given.theirs)
    assert (found.last_hidden_state if "logits" not in expected else found.logits)[given.real].sub(
        expected[0][given.real]
    ).abs().max() < 1e-4


def test_bloom_as_its_first_files_name_it(tmp_path: Path) -> None:
    reference, theirs, folder = drawn("bloom", "BloomForCausalLM", tmp_path)
    old = {
        "n_embed": theirs.config.hidden_size,
        "num_attention_heads": theirs.config.n_head,
        "hidden_size": None,
        "n_head": None,
        "offset_alibi": 100,
    }
    same(reference, theirs, changed(folder, lambda name: name.removeprefix("transformer."), **old))


def test_opt_as_its_first_files_name_it(tmp_path: Path) -> None:
    for seed in range(1, 9):
        reference, theirs, folder = drawn("opt", "OPTForCausalLM", tmp_path / str(seed), seed)
        if theirs.model.decoder.final_layer_norm is not None:
            break

    def rename(name: str) -> str:
        return name.removeprefix("model.").replace("decoder.final_layer_norm", "decoder.layer_norm")

    same(reference, theirs, changed(folder, rename))


def test_buffers_of_older_files_are_no_parameters(tmp_path: Path) -> None:
    for model_type, name, buffers in (
        ("codegen", "CodeGenForCausalLM", ["transformer.h.0.attn.causal_mask"]),
        ("gptj", "GPTJForCausalLM", ["transformer.h.0.attn.bias", "transformer.h.0.attn.masked_bias"]),
        ("gpt_neo", "GPTNeoForCausalLM", ["transformer.h.0.attn.attention.bias"]),
        ("openai-gpt", "OpenAIGPTLMHeadModel", ["transformer.h.0.attn.bias", "transformer.position_ids"]),
        ("falcon", "FalconForCausalLM", ["transformer.h.0.self_attention.rotary_emb.inv_freq"]),
    ):
        reference, theirs, folder = drawn(model_type, name, tmp_path / model_type)
        same(reference, theirs, changed(folder, extra={buffer: torch.ones(1, 1, 4, 4) for buffer in buffers}))


def test_a_tied_output_that_is_stored_twice_is_kept_twice(tmp_path: Path) -> None:
    reference, theirs, folder = drawn("falcon", "FalconForCausalLM", tmp_path / "theirs")
    table = theirs.transformer.word_embeddings.weight.detach().clone()
    same(reference, theirs, changed(folder, extra={"lm_head.weight": table}))
    load_checkpoint(folder).save(tmp_path / "ours")
    assert "lm_head.weight" in load_file(tmp_path / "ours" / "model.safetensors")


def test_mpt_takes_the_largest_bias_from_its_config(tmp_path: Path) -> None:
    reference, theirs, folder = drawn("mpt", "MptForCausalLM", tmp_path)
    settings = {**json.loads((folder / "config.json").read_text())["attn_config"], "alibi_bias_max": 16}
    changed(folder, architectures=["MPTForCausalLM"], attn_config=settings)
    with pytest.raises(AssertionError):
        same(reference, theirs, folder)
    body = theirs.transformer
    body.build_mpt_alibi_tensor = functools.partial(body.build_mpt_alibi_tensor, alibi_bias_max=16)
    same(reference, theirs, folder)
