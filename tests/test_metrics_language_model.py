"""Perplexity and bits, and windows in which each token is scored once."""

import json
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from moduformer.errors import DataError
from moduformer.metrics.language_model import language_model_metrics, scored_windows


def test_by_hand():
    # A model that gives each of 8 tokens the chance 1/4: 2 bits a token.
    found = language_model_metrics([5 * math.log(4), 3 * math.log(4)], [5, 3], texts=["abcde", "가나"])
    assert (found.perplexity, found.loss) == (pytest.approx(4), pytest.approx(math.log(4)))
    assert (found.bytes, found.characters) == (5 + 6, 7)
    assert (found.bits_per_byte, found.bits_per_character) == (pytest.approx(16 / 11), pytest.approx(16 / 7))
    assert found.perplexity_interval == (pytest.approx(4), pytest.approx(4))
    assert (found.examples, found.tokens, found.score) == (2, 8, found.perplexity)


def test_agrees_with_cross_entropy():
    torch.manual_seed(0)
    logits, ids = torch.randn(3, 7, 11, dtype=torch.float64), torch.randint(0, 11, (3, 7))
    each = torch.nn.functional.cross_entropy(logits.transpose(1, 2), ids, reduction="none")
    found = language_model_metrics(each.sum(1).tolist(), [7, 7, 7])
    assert found.perplexity == pytest.approx(
        torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids.flatten()).exp().item()
    )
    low, high = found.perplexity_interval
    assert low < found.perplexity < high
    assert found.bits_per_byte is None


@given(st.integers(0, 60), st.integers(2, 12), st.integers(1, 11))
@settings(max_examples=200, deadline=None)
def test_each_token_but_the_first_is_scored_once(tokens, size, overlap):
    if overlap >= size:
        with pytest.raises(DataError):
            list(scored_windows(tokens, size, overlap))
        return
    windows = list(scored_windows(tokens, size, overlap))
    scored = [position for w in windows for position in range(w.first, w.end)]
    assert scored == list(range(1, tokens))
    for w in windows:
        assert 0 <= w.start < w.end <= tokens
        assert w.end - w.start <= size
        # What is scored has tokens before it in its own window; after the first window, at least the overlap.
        assert w.first - w.start >= (1 if w.start == 0 else overlap)


def test_a_text_in_windows_costs_what_the_whole_costs():
    costs = [0.0, *(0.1 * k for k in range(1, 40))]
    windows = list(scored_windows(40, 16, 5))
    parts = [(sum(costs[w.first : w.end]), w.end - w.first) for w in windows]
    found = language_model_metrics([c for c, _ in parts], [n for _, n in parts], character_count=100)
    assert (found.tokens, found.loss) == (39, pytest.approx(sum(costs) / 39))
    assert found.bits_per_character == pytest.approx(sum(costs) / math.log(2) / 100)


def test_odd_cases_give_numbers_that_json_takes():
    huge = language_model_metrics([1e6], [1])
    assert math.isinf(huge.perplexity)
    as_json = json.loads(json.dumps(huge.to_dict(), allow_nan=False))
    assert (as_json["perplexity"], as_json["loss"], as_json["perplexity_interval"]) == (None, 1e6, None)
    assert language_model_metrics([1.0, 0.0, 2.0], [1, 0, 2]).perplexity == pytest.approx(math.e)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: language_model_metrics([], []), "no texts"),
        (lambda: language_model_metrics([1.0], [1, 2]), "1 predictions for 2"),
        (lambda: language_model_metrics([1.0, float("nan")], [1, 2]), "text 1"),
        (lambda: language_model_metrics([-1.0], [1]), "text 0"),
        (lambda: language_model_metrics([1.0], [0]), "at least one"),
        (lambda: language_model_metrics([1.0], [1.5]), "whole"),
        (lambda: language_model_metrics([None], [1]), "text 0"),
        (lambda: language_model_metrics(None, [1]), "NoneType"),
        (lambda: language_model_metrics([1.0], [1], texts=[""]), "0 bytes"),
        (lambda: language_model_metrics([1.0], [1], texts=[None]), "strings"),
        (lambda: language_model_metrics(["x"], [1]), "numbers"),
    ],
)
def test_wrong_input_is_a_data_error(call, words):
    with pytest.raises(DataError, match=words):
        call()
