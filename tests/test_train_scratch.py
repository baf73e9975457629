"""The 2017 Transformer learns from nothing but pairs."""

import random
from pathlib import Path

import pytest
import torch

from moduformer.errors import DataError
from moduformer.train.scratch import Size, train_translation, translate
from moduformer.weights.checkpoint import load_checkpoint

WORDS = ("ga", "na", "da", "ra", "ma", "ba", "sa", "ja")


def reversals(count: int, seed: int) -> list[tuple[str, str]]:
    """Short word sequences and the same backwards: only attention to the right place can do it."""
    rng = random.Random(seed)
    rows = [[rng.choice(WORDS) for _ in range(rng.randint(2, 5))] for _ in range(count)]
    return [(" ".join(row), " ".join(reversed(row))) for row in rows]


def test_it_learns_to_reverse_and_survives_saving(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    size = Size(layers=1, d_model=48, d_ff=96, heads=4, dropout=0.0, vocab=24)
    model, history = train_translation(
        reversals(1500, 0), size, steps=450, batch_tokens=512, warmup=100, learning_rate=4e-3, label_smoothing=0.0
    )
    held_out = reversals(60, 1)
    answers = translate(model, [source for source, _ in held_out], 16)
    right = sum(answer == wanted for answer, (_, wanted) in zip(answers, held_out))
    assert right >= 54, (right, answers[:3], held_out[:3])
    assert history.total_steps == 450

    again = load_checkpoint(model.save(tmp_path))
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, dict(again.named_parameters())[name]), name


def test_pairs_that_cannot_be_learned_from_are_named() -> None:
    with pytest.raises(DataError, match="pair 2"):
        train_translation([("a", "b"), ("", "c")])
    with pytest.raises(DataError, match="no sentence pairs"):
        train_translation([])
