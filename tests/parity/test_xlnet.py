"""What XLNet can do beyond reading padded text: a memory, any order of prediction, and one direction."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from moduformer.batch import Batch
from moduformer.errors import TextError
from moduformer.model import Model
from moduformer.trace import Trace
from moduformer.weights.checkpoint import load_checkpoint
from parity.references import VOCAB, save
from parity.test_parity import relative_error

ROWS, WIDTH = 3, 7


def pair(name: str, folder: Path, seed: int = 1, **config: Any) -> tuple[Any, Model]:
    """A reference model with random weights, and ours from its files."""
    sizes = {"vocab_size": VOCAB, "d_model": 12, "n_layer": 3, "n_head": 2, "d_inner": 20, "mem_len": None}
    theirs = getattr(transformers, name)(transformers.XLNetConfig(**sizes | config)).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.normal_(std=0.4, generator=generator)
    return theirs, load_checkpoint(save(theirs, folder / name))


def texts(seed: int, width: int = WIDTH) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(5, VOCAB, (ROWS, width), generator=generator)
    return {"input_ids": ids, "token_type_ids": torch.randint(0, 3, ids.shape, generator=generator)}


def order(seed: int, predicted: int = 3) -> dict[str, torch.Tensor]:
    """A random order of every row: a token sees those before it in the order; the last ones are predicted."""
    generator = torch.Generator().manual_seed(seed)
    mask = torch.zeros(ROWS, WIDTH, WIDTH)
    targets = torch.zeros(ROWS, predicted, WIDTH)
    for row in range(ROWS):
        rank = torch.randperm(WIDTH, generator=generator)
        mask[row] = (rank[None, :] >= rank[:, None]).float()
        chosen = rank.argsort()[WIDTH - predicted :]
        targets[row, torch.randperm(predicted, generator=generator), chosen] = 1
    return {"perm_mask": mask, "target_mapping": targets}


def following(given: dict[str, torch.Tensor], seen: torch.Tensor) -> Batch:
    batch = Batch.following(given["input_ids"].tolist(), seen)
    return replace(batch, segments=given["token_type_ids"].flatten())


@pytest.mark.parametrize("direction", ["bi", "uni"])
@pytest.mark.parametrize("kept", [None, 4])
@torch.no_grad()
def test_memory_of_earlier_segments(direction: str, kept: int | None, tmp_path: Path) -> None:
    theirs, ours = pair("XLNetModel", tmp_path, attn_type=direction, mem_len=kept, clamp_len=9)
    cache, mems = ours.cache(ROWS), None
    for number in range(4):
        given = texts(number, WIDTH - number % 2)
        expected = theirs(**given, mems=mems, use_mems=True)
        mems = expected.mems
        batch = following(given, cache.seen)
        found = ours.run(batch, cache=cache)
        assert relative_error(batch.pad(found.hidden), expected.last_hidden_state) <= 1e-5
        if kept is not None:
            cache.keep(kept)
    without = ours(**given).last_hidden_state
    assert relative_error(without, expected.last_hidden_state) > 1e-2


@pytest.mark.parametrize("seed", [1, 2, 3])
@torch.no_grad()
def test_any_order_of_prediction(seed: int, tmp_path: Path) -> None:
    theirs, ours = pair("XLNetLMHeadModel", tmp_path, seed)
    given, asked = texts(seed), order(seed)
    assert relative_error(ours(**given, **asked).logits, theirs(**given, **asked).logits) <= 1e-5
    content = {"perm_mask": asked["perm_mask"]}
    assert relative_error(ours(**given, **content).logits, theirs(**given, **content).logits) <= 1e-5


@torch.no_grad()
def test_order_and_memory_together(tmp_path: Path) -> None:
    theirs, ours = pair("XLNetLMHeadModel", tmp_path)
    first, second, asked = texts(1), texts(2), order(3)
    mems = theirs(**first, use_mems=True).mems
    expected = theirs(**second, **asked, mems=mems, use_mems=True)
    cache = ours.cache(ROWS)
    ours.run(following(first, cache.seen), cache=cache)
    batch = following(second, cache.seen).permuted(asked["perm_mask"], asked["target_mapping"])
    states = ours.run(batch, cache=cache)
    assert relative_error(states.batch.pad(states.heads["language-model"]), expected.logits) <= 1e-5


@torch.no_grad()
def test_padding_and_a_first_token_that_sees_nothing(tmp_path: Path) -> None:
    theirs, ours = pair("XLNetLMHeadModel", tmp_path)
    given, asked = texts(4), order(5, predicted=WIDTH)
    # Alone and without padding the reference averages over all keys for the first token of the order.
    assert relative_error(ours(**given, **asked).logits, theirs(**given, **asked).logits) <= 1e-5
    width = 3
    wide = {name: torch.cat((torch.zeros_like(value[:, :width]), value), 1) for name, value in given.items()}
    wide["attention_mask"] = torch.cat((torch.zeros(ROWS, width), torch.ones(ROWS, WIDTH)), 1)
    mask = torch.zeros(ROWS, WIDTH + width, WIDTH + width)
    mask[:, width:, width:] = asked["perm_mask"]
    targets = torch.cat((torch.zeros(ROWS, WIDTH, width), asked["target_mapping"]), 2)
    found = ours(**wide, perm_mask=mask, target_mapping=targets).logits
    assert relative_error(found, ours(**given, **asked).logits) <= 1e-5


@torch.no_grad()
def test_a_loss_needs_no_shift(tmp_path: Path) -> None:
    theirs, ours = pair("XLNetLMHeadModel", tmp_path)
    given, asked = texts(6), order(6)
    labels = torch.randint(0, VOCAB, asked["target_mapping"].shape[:2])
    expected = theirs(**given, **asked, labels=labels).loss
    assert abs(float(ours(**given, **asked, labels=labels).loss - expected)) <= 1e-5


@pytest.mark.parametrize("summary", ["last", "first", "mean", "cls_index"])
@torch.no_grad()
def test_every_summary(summary: str, tmp_path: Path) -> None:
    theirs, ours = pair("XLNetForSequenceClassification", tmp_path, summary_type=summary)
    given = texts(7)
    assert relative_error(ours(**given).logits, theirs(**given).logits) <= 1e-5


@torch.no_grad()
def test_reading_weights_changes_nothing(tmp_path: Path) -> None:
    theirs, ours = pair("XLNetLMHeadModel", tmp_path)
    theirs.set_attn_implementation("eager")
    given, asked = texts(8), order(8)
    trace = Trace("*.weights", "query_stream.*.hidden")
    assert torch.equal(ours(**given, **asked, trace=trace).logits, ours(**given, **asked).logits)
    expected = theirs(**given, **asked, output_attentions=True).attentions
    for layer, (content, query) in enumerate(expected):
        assert relative_error(trace[f"encoder.{layer}.attention.weights"], content) <= 1e-5
        # The reference keeps a line for every token; those of tokens to predict are ours.
        lines = torch.einsum("bhls,bpl->bhps", query, asked["target_mapping"])
        assert relative_error(trace[f"query_stream.{layer}.attention.weights"], lines) <= 1e-5
    assert trace["query_stream.0.hidden"].shape == (ROWS, 3, 12)


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    _, ours = pair("XLNetModel", tmp_path)
    given, asked = texts(1), order(1)
    for wrong in (
        {"perm_mask": asked["perm_mask"][:, :2]},
        {"target_mapping": asked["target_mapping"] * 0.5},
        {"target_mapping": asked["target_mapping"].ne(2).float()},
        {"target_mapping": torch.zeros_like(asked["target_mapping"])},
    ):
        with pytest.raises(TextError):
            ours(**given, **wrong)
