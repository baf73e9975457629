"""Which rows share a batch."""

import numpy as np
import pytest

from moduformer.errors import DataError, TrainingError
from moduformer.train.batching import Plan, evaluation_batches
from moduformer.train.encoded import Encoded, Ragged


@pytest.fixture
def lengths():
    return np.random.default_rng(0).integers(3, 120, 1003)


@pytest.mark.parametrize("cut", [{"batch_size": 16}, {"batch_tokens": 500}])
def test_every_row_occurs_once_an_epoch(lengths, cut):
    plan = Plan(lengths, seed=1, **cut)
    for epoch in range(2):
        rows = np.concatenate(plan.epoch(epoch))
        assert sorted(rows.tolist()) == list(range(len(lengths)))
    assert plan.steps(2) == len(plan.epoch(0)) + len(plan.epoch(1))


def test_an_epoch_is_a_function_of_seed_and_number(lengths):
    def rows(seed, epoch):
        return [batch.tolist() for batch in Plan(lengths, seed=seed).epoch(epoch)]

    assert rows(1, 0) == rows(1, 0)
    assert rows(1, 0) != rows(1, 1)
    assert rows(1, 0) != rows(2, 0)


def test_rows_of_nearly_equal_length_share_a_batch(lengths):
    batches = Plan(lengths, batch_size=16).epoch(0)
    spread = np.mean([np.ptp(lengths[batch]) for batch in batches])
    shuffled = np.random.default_rng(0).permutation(len(lengths))
    random = np.mean([np.ptp(lengths[shuffled[i : i + 16]]) for i in range(0, len(lengths), 16)])
    assert spread < random / 10


def test_batches_do_not_come_in_order_of_length(lengths):
    means = [lengths[batch].mean() for batch in Plan(lengths, batch_size=16).epoch(0)]
    assert abs(np.corrcoef(means, np.arange(len(means)))[0, 1]) < 0.3


def test_a_token_budget_is_kept(lengths):
    assert all(lengths[batch].sum() <= 500 for batch in Plan(lengths, batch_tokens=500).epoch(0))
    assert all(len(batch) == 1 for batch in Plan(lengths, batch_tokens=1).epoch(0))


def test_evaluation_batches_cover_all_rows_longest_first(lengths):
    batches = evaluation_batches(lengths, 512)
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(lengths)))
    assert all(lengths[batch].sum() <= 512 for batch in batches)
    ordered = lengths[np.concatenate(batches)]
    assert (np.diff(ordered) <= 0).all()


def test_a_row_longer_than_the_budget_is_a_batch_of_its_own():
    assert [b.tolist() for b in evaluation_batches([5, 900, 5], 100)] == [[1], [0, 2]]


def test_no_rows_are_refused():
    with pytest.raises(TrainingError, match="no rows"):
        Plan(np.zeros(0, int))


def test_encoded_examples_are_checked_and_selected():
    examples = Encoded.of([[1, 2, 3], [4], [5, 6]], segments=[[0, 0, 1], [0], [0, 1]], weights=[1, 0.5, 0.5])
    picked = examples.select([2, 0])
    assert picked.ids.row(0) == [5, 6]
    assert picked.segments.row(1) == [0, 0, 1]
    assert picked.weights.tolist() == [0.5, 1]
    with pytest.raises(DataError, match="row 1 of ids has no token"):
        Encoded.of([[1], []])
    with pytest.raises(DataError, match="row 1 has 2 tokens but 1 segments"):
        Encoded.of([[1], [2, 3]], segments=[[0], [0]])
    with pytest.raises(DataError, match="weights"):
        Encoded.of([[1], [2]], weights=[1.0])


def test_the_digest_sees_every_token_label_and_boundary():
    base = Encoded.of([[1, 2], [3]])
    labels = np.array([0, 1])
    others = [
        (Encoded.of([[1, 2], [4]]), labels),
        (Encoded.of([[1], [2, 3]]), labels),
        (Encoded.of([[1, 2], [3]], weights=[1, 2]), labels),
        (base, np.array([1, 0])),
        (base, Ragged.of([[0, 0], [1]])),
    ]
    assert base.digest(labels) == Encoded.of([[1, 2], [3]]).digest(labels.copy())
    assert len({base.digest(labels), *(e.digest(y) for e, y in others)}) == 6
