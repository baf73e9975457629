"""What is special about families' attention is looked at as it is: biases, windows, caps, shared layers, or none."""

from typing import Any

import pytest
import torch
from core_models import randomise
from view_models import byte_tokens, recurrent, words

import moduformer as mf
from moduformer.families import family
from moduformer.view.record import Recording, record

TEXT = "The movie was very good, and the story."
SMALL = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 64,
}
GPT = {"n_embd": 16, "n_layer": 2, "n_head": 2}
GROUPED = {**SMALL, "num_key_value_heads": 1, "sliding_window": 4}
DEBERTA = {**SMALL, "relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 8}
BART = {
    "d_model": 16,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 24,
    "decoder_ffn_dim": 24,
    "max_position_embeddings": 64,
    "decoder_start_token_id": 2,
}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "DebertaV2ForSequenceClassification": ("deberta-v2", DEBERTA | {"share_att_key": True}),
    "DebertaV2ForMaskedLM": ("deberta-v2", DEBERTA | {"conv_kernel_size": 3}),
    "XLNetForSequenceClassification": ("xlnet", {"d_model": 16, "n_layer": 2, "n_head": 2, "d_inner": 24}),
    "XLNetLMHeadModel": ("xlnet", {"d_model": 16, "n_layer": 2, "n_head": 2, "d_inner": 24}),
    "AlbertForMaskedLM": ("albert", SMALL | {"embedding_size": 8}),
    "ElectraForPreTraining": ("electra", SMALL | {"embedding_size": 8}),
    "BloomForCausalLM": ("bloom", {"hidden_size": 16, "n_layer": 2, "n_head": 2}),
    "GPTJForCausalLM": ("gptj", GPT | {"rotary_dim": 4}),
    "Gemma2ForCausalLM": (
        "gemma2",
        GROUPED | {"head_dim": 8, "attn_logit_softcapping": 5.0, "query_pre_attn_scalar": 8},
    ),
    "MistralForCausalLM": ("mistral", GROUPED),
    "MixtralForCausalLM": ("mixtral", GROUPED | {"num_local_experts": 2, "num_experts_per_tok": 1}),
    "GPT2ForSequenceClassification": ("gpt2", GPT | {"n_positions": 64}),
    "BartForSequenceClassification": ("bart", BART),
}


def recorded(architecture: str) -> Recording:
    name, config = CASES[architecture]
    tokenizer = byte_tokens() if name in ("bloom", "gptj", "gemma2", "mistral", "mixtral", "gpt2") else words()
    config = {**config, "vocab_size": tokenizer.max_id + 1, "pad_token_id": 0}
    if name == "bart":
        config["eos_token_id"] = tokenizer.sep_id
    model = randomise(mf.build(family(name).read(config, architecture), seed=1), 2)
    model.tokenizer = tokenizer
    return record(model, TEXT)


@pytest.mark.parametrize("architecture", CASES)
def test_weights_pairs_and_switches_of(architecture):
    recording = recorded(architecture)
    trace = mf.Trace("*.weights")
    with torch.no_grad():
        recording.inputs.run(recording.model, trace)
    assert recording.attentions
    for name, attention in recording.attentions.items():
        for layer, traced in enumerate(attention.layers.names):
            for head in range(attention.layers.heads):
                wanted = trace[f"{traced}.weights"][0, head]
                assert torch.allclose(recording.weights(name, layer, head), wanted, atol=1e-5)
        last = recording.pair(name, 1, 1, 3, 2)
        assert last["weight"] == pytest.approx(float(recording.weights(name, 1, 1)[3, 2]), abs=1e-5)
        alone = recording.off([(name, 0, 1)])["moved"]
        assert float(recording.effects(name)[0, 1]) == pytest.approx(alone, abs=1e-4)
        if recording.data["prediction"] is not None:
            assert torch.isfinite(recording.gradient(name, 0)[1]).all()
        if name.endswith("r.attention"):
            assert torch.allclose(recording.rollout(name).sum(-1), torch.ones(1, dtype=torch.float64), atol=1e-5)


def test_windows_and_layers_that_are_shared_are_seen():
    mistral = recorded("MistralForCausalLM").weights("decoder.attention", 1, 0)
    assert not mistral.tril(-4).any()
    assert bool((mistral.diagonal(-3) > 0).all())
    assert len(recorded("AlbertForMaskedLM").attentions["encoder.attention"].layers) == 2


@pytest.mark.parametrize("name", ["cho", "copied"])
def test_a_model_without_attention_has_what_it_wrote(name):
    recording = record(recurrent(name), TEXT, "the story")
    data = recording.data
    assert data["attentions"] == []
    assert data["can"] == ["record"]
    assert len(data["written"]["probabilities"]) == len(data["sequences"]["target"]["tokens"])


def test_a_frozen_or_quantised_model_is_looked_at_too():
    from moduformer.quantize import quantize

    model = recorded("ElectraForPreTraining").model
    quantize(model, "int8")
    recording = record(model, TEXT)
    assert "gradient" not in recording.can
    assert recording.off([("encoder.attention", 0, 0)])["moved"] >= 0
