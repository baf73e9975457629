"""Greedy text of every family that writes, token by token, against transformers; ragged batches against single rows."""

import copy
import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
import transformers
from parity.drawn import REFERENCES
from parity.references import VOCAB, Reference, make, save

from moduformer.errors import TextError
from moduformer.families import family
from moduformer.generate.decoding import Decoding
from moduformer.generate.greedy import greedy
from moduformer.model import Model
from moduformer.weights.checkpoint import load_checkpoint

NEW, ROOM = 64, 96
LENGTHS = (9, 3, 14)
POSITIONS = (
    "n_positions",
    "max_position_embeddings",
    "n_ctx",
    "max_seq_len",
    "seq_length",
    # transformers' buckets of T5 end in negative numbers when they are fewer than the distance has places.
    "relative_attention_max_distance",
)


def writers() -> Iterator[Any]:
    """Every class of a reference whose head writes text, whatever families there are."""
    for reference in REFERENCES:
        member = family(reference.family)
        for name in reference.classes:
            heads = member.architecture(name).heads
            writes = member.template.decoder is not None or member.template.asks_ahead
            if writes and any(head.kind == "language-model" for head in heads):
                yield pytest.param(reference, name, id=name)


def roomy(reference: Reference) -> Reference:
    """The reference with enough positions for a prompt and 64 tokens more."""

    def draw(rng: random.Random) -> Any:
        config = reference.draw(rng)
        for name in POSITIONS:
            have = getattr(config, name, None)
            if isinstance(have, int) and 0 <= have < ROOM:
                setattr(config, name, ROOM)
        return config

    return replace(reference, draw=draw)


def pair(reference: Reference, name: str, seed: int, folder: Any) -> tuple[Model, Any]:
    # In float64 no two tokens are so nearly as good as each other that rounding decides; XLNet's reference has none.
    dtype = torch.float32 if family(reference.family).template.asks_ahead else torch.float64
    theirs = make(roomy(reference), name, seed, dtype)
    for settings in (theirs.config, theirs.generation_config):
        settings.eos_token_id = None
    ours = load_checkpoint(save(theirs, folder), dtype=dtype)
    return ours, theirs


def prompts(seed: int) -> list[list[int]]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(5, VOCAB, (length,), generator=generator).tolist() for length in LENGTHS]


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize(("reference", "name"), writers())
def test_greedy_equals_transformers_over_64_tokens(reference: Reference, name: str, seed: int, tmp_path) -> None:
    ours, theirs = pair(reference, name, seed, tmp_path)
    rows, seen = prompts(seed)[:2], set()
    found = greedy(ours, rows, NEW, eos=())
    # A random model repeats itself soon; with the bigrams forbidden it has to go through its vocabulary.
    for row, made, ngram in zip(rows, found, (0, 2)):
        ids = torch.tensor([row])
        expected = theirs.generate(ids, generation_config=_greedy(theirs, ngram))
        mine = ours.generate(ids, max_new_tokens=NEW, eos_token_id=[], pad_token_id=None, no_repeat_ngram_size=ngram)
        assert torch.equal(mine, expected)
        assert expected.shape[1] - (1 if ours.spec.has_source else len(row)) == NEW
        seen.update(expected[0, -NEW:].tolist())
        if not ngram:
            # Without the checkpoint's settings, which may force the last token (BART).
            assert made[:-1] == expected[0, -NEW:-1].tolist()
    assert len(seen) > 6


def _greedy(theirs: Any, ngram: int) -> transformers.GenerationConfig:
    config = copy.deepcopy(theirs.generation_config)
    config.update(max_new_tokens=NEW, do_sample=False, num_beams=1, use_cache=False, no_repeat_ngram_size=ngram)
    config.pad_token_id = None
    return config


@pytest.mark.parametrize(("reference", "name"), writers())
def test_ragged_prompts_equal_single_ones(reference: Reference, name: str, tmp_path) -> None:
    ours = load_checkpoint(save(make(roomy(reference), name, 3, torch.float64), tmp_path), dtype=torch.float64)
    rows = prompts(4)
    together = greedy(ours, rows, 24, eos=())
    assert together == [greedy(ours, [row], 24, eos=())[0] for row in rows]
    # Rows that end early leave the others alone.
    ends = {together[0][2], together[1][9]}
    cut = greedy(ours, rows, 24, eos=tuple(ends))
    for whole, made in zip(together, cut):
        last = next((i for i, token in enumerate(whole) if token in ends), 23)
        assert made == whole[: last + 1]
    # The same through the padded door, padded on the left.
    width = max(map(len, rows))
    ids = torch.tensor([[0] * (width - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    padded = ours.generate(ids, mask, max_new_tokens=24, eos_token_id=[], min_length=0, forced_bos_token_id=None)
    if ours.generation_config is None or ours.generation_config.get("forced_eos_token_id") is None:
        assert padded[:, -24:].tolist() == together


@pytest.mark.parametrize(("reference", "name"), writers())
def test_a_draft_can_be_scored_and_taken_back_in_every_family(reference: Reference, name: str, tmp_path) -> None:
    ours = load_checkpoint(save(make(roomy(reference), name, 5, torch.float64), tmp_path), dtype=torch.float64)
    rows = prompts(6)
    if ours.spec.asks_ahead:
        with pytest.raises(TextError, match="one pass"):
            Decoding(ours, rows).score([[7], [8], [9]])
        return
    steps, chunk = Decoding(ours, rows), Decoding(ours, rows)
    drafts = [[7, 8, 9, 10], [11, 12, 13, 14], [15, 16, 17, 18]]
    scores = chunk.score(drafts)
    for i in range(4):
        logits = steps.advance([draft[i] for draft in drafts])
        for row in range(3):
            assert torch.allclose(scores[row][i], logits[row], rtol=1e-8, atol=1e-8)
    chunk.rollback([length - 3 for length in chunk.lengths])
    again = chunk.extend([draft[1:] for draft in drafts])
    assert torch.allclose(again, steps.logits, rtol=1e-8, atol=1e-8)
