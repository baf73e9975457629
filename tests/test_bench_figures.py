"""The arithmetic of the benchmark, against numbers made by hand."""

import numpy as np
import pytest

from bench.figures import Spread, cosines, probe_agreement, ratios, same_prefix, share_equal
from bench.flops import forward_flops, visible_pairs
from bench.markdown import grid, limits
from bench.peers.forward.forward import decoder
from bench.sitting import Record
from bench.tables import NAMES, table


def test_a_spread_is_median_least_and_most():
    assert Spread.of([5.0, 1.0, 3.0]) == Spread(3.0, 1.0, 5.0)
    assert Spread.of([2.0, 4.0]).median == 3.0


def test_ratios_are_taken_round_by_round():
    # The medians alone would say 60 / 60: the machine was not alike from round to round.
    assert ratios([40.0, 60.0, 600.0], [10.0, 60.0, 200.0]) == Spread(3.0, 1.0, 4.0)
    assert ratios([1.0, 2.0], [4.0, 4.0], lower_is_better=True) == Spread(3.0, 2.0, 4.0)


def test_cosines_do_not_see_lengths():
    reference = np.array([[1.0, 0.0], [0.0, 2.0], [3.0, 4.0]], dtype=np.float32)
    vectors = np.array([[5.0, 0.0], [0.0, -1.0], [4.0, 3.0]], dtype=np.float32)
    assert cosines(vectors, reference) == pytest.approx(((1 - 1 + 0.96) / 3, -1.0))


def test_labels_and_tokens_are_counted():
    assert share_equal([1, 2, 3, 4], [1, 2, 0, 4]) == 0.75
    with pytest.raises(ValueError, match="3 labels beside 2"):
        share_equal([1, 2, 3], [1, 2])
    assert same_prefix([1, 2, 3], [1, 2, 4]) == 2
    assert same_prefix([1, 2], [1, 2, 4]) == 2
    assert same_prefix([7], [1]) == 0


def test_a_probe_sees_vectors_that_moved_to_the_other_side():
    labels = [0, 1] * 20
    reference = np.array([[1.0 if label else -1.0, 0.1] for label in labels])
    moved = reference.copy()
    moved[-2:] *= -1
    assert probe_agreement(reference, reference, labels) == 1.0
    assert probe_agreement(moved, reference, labels) == 38 / 40
    assert probe_agreement(7 * reference, reference, labels) == 1.0


def test_pairs_that_see_each_other():
    assert visible_pairs(5, causal=False) == 25
    assert visible_pairs(5, causal=True) == 1 + 2 + 3 + 4 + 5
    assert visible_pairs(5, causal=True, window=2) == 1 + 2 + 2 + 2 + 2
    assert visible_pairs(3, causal=True, window=8) == 6


def test_operations_are_twice_the_matrices_and_the_pairs():
    spec = decoder(2, None)
    norms, table_of_tokens = 5 * 384, 1000 * 384
    matrices = spec.num_parameters() - norms - table_of_tokens
    pairs = 2 * (10 + 3)  # rows of four and two tokens, two layers
    assert forward_flops(spec, [4, 2]) == 2 * matrices * 6 + 4 * 384 * pairs


def test_a_table_in_words():
    chosen = table("encoder")
    base, ours, none = (chosen.contenders[i].name for i in (0, 7, 3))
    records = [
        Record(
            base, {"sentences_per_second": [100.0, 300.0], "milliseconds_alone": [8.0, 8.0], "peak_mib": [500, 510]}
        ),
        Record(
            ours, {"sentences_per_second": [200.0, 600.0], "milliseconds_alone": [4.0, 2.0], "peak_mib": [400, 420]}
        ),
        Record(none, missing="not installed: pip install sentence-transformers"),
    ]
    records[1].agreement = {"cosine_mean": 0.99996, "cosine_least": 0.5, "labels": 0.995}
    lines = grid(chosen, records).splitlines()
    assert lines[2] == f"| {base} | 1.00 | 1.00 | 200 (100-300) | 8.0 (8.0-8.0) | 505 | - | - | - |"
    assert lines[3] == f"| {ours} | 2.00 | 3.00 | 400 (200-600) | 3.0 (2.0-4.0) | 410 | 1.0000 | 0.5000 | 99.5 |"
    assert lines[-1] == f"- {none}: not installed: pip install sentence-transformers"


def test_limits_in_words():
    found = {"gemm_fp32_gflops": [120.0, 140.0, 130.0], "memory_read_gb_s": [15.2]}
    assert limits(found) == (
        "Limits measured in the same sitting (median of rounds): float32 products 130 GFLOP/s, "
        "memory read at 15.2 GB/s."
    )
    assert limits({}) == ""


@pytest.mark.parametrize("name", NAMES)
def test_contenders_of_a_table_have_names_of_their_own(name):
    names = [contender.name for contender in table(name).contenders]
    assert len(set(names)) == len(names)
    assert any(name.startswith("moduformer") for name in names)


def test_a_command_is_written_down_without_places_of_this_machine():
    from bench.__main__ import spelled

    words = [
        "encoder",
        "decoder",
        "--kept",
        "/a/b",
        "--new",
        "64",
        "--only",
        "sdpa float32",
        "--data",
        "/x/y/data/t.csv",
    ]
    assert spelled("decoder", words) == "python -m bench decoder --new 64 --only 'sdpa float32' --data data/t.csv"
