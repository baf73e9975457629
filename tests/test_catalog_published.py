"""Architectures that are published without weights: what their papers single out is there, and they learn."""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from moduformer.architecture import MixtureOfExperts, RelativeSinusoids, Rotary
from moduformer.catalog.published import ARCHITECTURES, Size, published
from moduformer.errors import SpecError
from moduformer.model import Model, build
from moduformer.train.balance import Balanced
from moduformer.train.encoded import Encoded
from moduformer.train.loop import train
from moduformer.train.objectives import MaskedLanguage, NextToken, Objective, SequenceToSequence
from moduformer.train.settings import Settings
from moduformer.train.together import Together

SMALL = Size(layers=2, dim=48, heads=4, head_dim=12, width=96, vocab=128, context=64)
SIZES = {
    "alphacode": Size(
        layers=1, dim=48, heads=4, head_dim=12, width=96, vocab=128, context=64, kv_heads=1, decoder_layers=2
    ),
    "glam": Size(layers=2, dim=48, heads=4, head_dim=12, width=96, vocab=128, context=64, experts=4),
    "ernie-3-titan": replace(SMALL, module=Size(layers=1, dim=24, heads=2, head_dim=12, width=48, vocab=0)),
}
OBJECTIVES: dict[str, Objective] = {
    "palm": NextToken(z_loss=1e-4),
    "glam": Balanced(NextToken()),
    "alphacode": SequenceToSequence(),
    "ernie-3-titan": Together((NextToken(), MaskedLanguage(mask_id=0, vocab=128)), shares=(1.0, 6.0)),
}
"""What the papers minimise beside the loss of the next token; of 64 tokens, six times fewer are hidden than follow."""
STEPS = {"ernie-3-titan": 300}
"""How long a copy that learns two things trains; the others 150 steps."""


def corpus() -> list[list[int]]:
    """The library's own pages, a byte a token, 64 at a time."""
    pages = sorted((Path(__file__).parents[1] / "docs").glob("*.md"))
    text = b"".join(page.read_bytes() for page in pages)
    ids = [number for number in text if number < 128][:40_000]
    return [ids[i : i + 64] for i in range(0, len(ids) - 64, 64)]


def unigram_loss(rows: list[list[int]]) -> float:
    """Nats a token when only their frequencies are known."""
    counts = Counter(token for row in rows for token in row)
    total = counts.total()
    return -sum(n / total * math.log(n / total) for n in counts.values())


@pytest.mark.parametrize("row", ARCHITECTURES)
def test_a_reduced_copy_learns_more_than_frequencies(row: str):
    model = build(published(row, SIZES.get(row, SMALL)), seed=0)
    if row == "palm":
        # Its embeddings begin with unit variance, to which its logits are scaled (section 2).
        torch.nn.init.normal_(model.embedding.tokens.weight, generator=torch.Generator().manual_seed(0))
    rows = corpus()
    halves = [row[:32] for row in rows], [row[32:] for row in rows]
    examples = Encoded.of(*halves[:1], targets=halves[1]) if row == "alphacode" else Encoded.of(rows)
    baseline = unigram_loss(halves[1] if row == "alphacode" else rows)
    settings = Settings(
        epochs=18,
        max_steps=STEPS.get(row, 150),
        learning_rate=4e-3,
        embedding="dense",
        log_every=1,
        evaluate_every=None,
    )
    objective = OBJECTIVES.get(row, NextToken())
    history = train(model, examples, None, settings, objective=objective)
    last = [step.loss for step in history.steps[-10:]]
    reached = sum(last) / len(last)
    if isinstance(objective, Together):
        reached = max(loss_of(part, model, examples) for part in objective.parts)
    assert reached < baseline - 0.1
    if os.environ.get("MODUFORMER_RECORD"):
        record(row, reached, baseline)


@torch.no_grad()
def loss_of(objective: Objective, model: Model, examples: Encoded) -> float:
    """The mean loss of the first 100 rows, other of whose words are hidden than while training."""
    prepared = objective.prepare(examples, None, np.arange(100), 1000, torch.device("cpu"))
    return float(objective.loss(model.eval(), prepared)) / prepared.weight


def record(row: str, loss: float, unigram: float) -> None:
    """Notes a run for the catalogue, whose status of the row says what stands there."""
    file = Path(__file__).parents[1] / "moduformer" / "catalog" / "trained.json"
    found = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    test = f"tests/test_catalog_published.py::test_a_reduced_copy_learns_more_than_frequencies[{row}]"
    found[row] = {"loss": round(loss, 2), "unigram": round(unigram, 2), "test": test}
    file.write_text(json.dumps(dict(sorted(found.items())), indent=1) + "\n", encoding="utf-8")


def test_what_each_paper_singles_out_is_in_its_spec():
    specs = {row: published(row, SIZES.get(row, SMALL)) for row in ARCHITECTURES}
    blocks = {row: spec.decoder.pattern for row, spec in specs.items()}
    assert [block.attention.window for block in blocks["gpt-3"]] == [None, 64]
    assert isinstance(blocks["glam"][0].feed_forward, MixtureOfExperts)
    assert blocks["glam"][0].feed_forward.active == 2
    assert blocks["glam"][1].feed_forward.gated
    assert isinstance(blocks["gopher"][0].attention.position, RelativeSinusoids)
    assert specs["lamda"].decoder.position_bias is not None
    assert blocks["lamda"][0].feed_forward.gated
    assert blocks["palm"][0].flow == "parallel-shared"
    assert blocks["palm"][0].attention.kv_heads == 1
    assert isinstance(blocks["palm"][0].attention.position, Rotary)
    assert specs["alphacode"].encoder.layers < specs["alphacode"].decoder.layers
    assert blocks["alphacode"][0].cross_attention.kv_heads == 1
    modules = {head.kind: head.module for head in specs["ernie-3-titan"].heads}
    assert {kind: module.stack.causal for kind, module in modules.items()} == {
        "masked-lm": False,
        "language-model": True,
    }
    assert all(module.dim < specs["ernie-3-titan"].dim for module in modules.values())


def test_the_table_of_gpt_3_gives_its_size():
    largest = Size(layers=96, dim=12288, heads=96, head_dim=128, width=49152, vocab=50257)
    spec = published("gpt-3", largest)
    assert spec.num_parameters() == sum(p.numel() for p in build(spec, device="meta").parameters())
    assert math.isclose(spec.num_parameters(), 175e9, rel_tol=0.01)


def test_a_row_with_weights_is_no_published_architecture():
    with pytest.raises(SpecError, match="'bert' is no published architecture"):
        published("bert", SMALL)


def test_balance_is_one_when_experts_are_equally_busy_and_more_when_not():
    from moduformer.train.balance import imbalance

    even = torch.eye(4).repeat(8, 1) * 1e-4
    assert math.isclose(float(imbalance(even, 1)), 1.0, rel_tol=1e-3)
    biased = torch.tensor([9.0, 0, 0, 0]).repeat(32, 1)
    assert float(imbalance(biased, 1)) > 3.9


def test_a_z_loss_pulls_the_denominator_to_one():
    model = build(published("palm", SMALL), seed=0)
    rows = Encoded.of([[1, 2, 3, 4]])
    objective = NextToken(z_loss=0.5)
    prepared = objective.prepare(rows, None, torch.tensor([0]).numpy(), 0, torch.device("cpu"))
    logits = model.run(prepared.batch).heads["language-model"][:-1].logsumexp(-1)
    added = objective.loss(model, prepared) - NextToken().loss(model, prepared)
    assert torch.allclose(added, 0.5 * logits.square().sum(), rtol=1e-4)
