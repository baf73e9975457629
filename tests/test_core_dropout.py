"""Dropout's mask: its share, its scale, its gradient, and that seeds repeat it."""

import pytest
import torch

from moduformer.blocks.dropout import STEPS, dropout


@pytest.mark.parametrize("rate", [0.001, 0.1, 0.5, 0.9, 0.9999])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_share_and_the_mean(rate, dtype):
    torch.manual_seed(0)
    hidden = torch.ones(997, 1003, dtype=dtype, requires_grad=True)
    out = dropout(hidden, rate)
    zeros = float((out == 0).double().mean())
    expected = min(max(round(rate * STEPS), 1), STEPS - 1) / STEPS
    # Six standard deviations of a million draws.
    assert abs(zeros - expected) < 6 * (expected * (1 - expected) / hidden.numel()) ** 0.5
    assert float(out.detach().double().mean()) == pytest.approx(1, abs=0.15 if rate > 0.99 else 0.02)
    out.sum().backward()
    assert torch.equal(hidden.grad, out.detach())


def test_numbers_are_dropped_one_by_one():
    """Neighbours share a random word, so the eight places of a word must be independent, and so must words."""
    torch.manual_seed(1)
    dropped = (dropout(torch.ones(80_000, 8), 0.25) == 0).double()
    assert (dropped.mean(0) - 0.25).abs().max() < 0.01
    assert (torch.corrcoef(dropped.T) - torch.eye(8)).abs().max() < 0.02
    assert torch.corrcoef(torch.stack((dropped[:-1, 0], dropped[1:, 0])))[0, 1].abs() < 0.02


def test_a_seed_repeats_it_and_evaluation_leaves_all():
    hidden = torch.randn(3, 5)
    torch.manual_seed(2)
    first = dropout(hidden, 0.5)
    second = dropout(hidden, 0.5)
    torch.manual_seed(2)
    assert torch.equal(dropout(hidden, 0.5), first)
    assert not torch.equal(first, second)
    assert dropout(hidden, 0.5, training=False) is hidden
    assert dropout(hidden, 0.0) is hidden
    assert dropout(hidden[:0], 0.5).shape == (0, 5)
