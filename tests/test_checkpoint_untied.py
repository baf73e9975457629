"""Decoders whose head has weights of its own lend their body to other tasks."""

from pathlib import Path

import pytest
import torch
import transformers

import moduformer as mf
from moduformer.errors import CheckpointError


def llama(folder: Path, tied: bool) -> transformers.LlamaForCausalLM:
    """A LLaMA with every parameter random, in `folder`."""
    config = transformers.LlamaConfig(
        vocab_size=40, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, tie_word_embeddings=tied,
    )  # fmt: skip
    torch.manual_seed(0)
    model = transformers.LlamaForCausalLM(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter))
    model.save_pretrained(folder)
    return model


@pytest.mark.parametrize("tied", [False, True])
def test_the_body_and_a_new_classifier_load_from_a_language_model(tied: bool, tmp_path: Path):
    reference = llama(tmp_path, tied)
    ids = torch.tensor([[3, 4, 5, 6]])
    body = mf.load(tmp_path, task="feature-extraction")
    expected = reference.model(ids).last_hidden_state
    assert torch.allclose(body(ids).last_hidden_state, expected, rtol=1e-4, atol=1e-5)
    classifier = mf.load(tmp_path, task="text-classification", labels=("no", "yes"), new_head=True)
    assert classifier(ids).logits.shape == (1, 2)


def test_a_head_that_the_config_ties_must_be_the_table(tmp_path: Path):
    llama(tmp_path, tied=False)
    config = tmp_path / "config.json"
    config.write_text(config.read_text().replace('"tie_word_embeddings": false', '"tie_word_embeddings": true'))
    with pytest.raises(CheckpointError, match="must be equal, because the config ties them"):
        mf.load(tmp_path, task="feature-extraction")
