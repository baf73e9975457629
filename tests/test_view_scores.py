"""What heads do as numbers, beside slow plain definitions; thumbnails; the page's bytes."""

import math

import numpy as np
import pytest
import torch

from moduformer.view.probe import Aligned
from moduformer.view.scores import Places, average, measure, pack, survey

IDS = torch.tensor([7, 3, 5, 3, 5, 5, 9, 3, 7])


def rows(heads: int, queries: int, keys: int, causal: bool = False) -> torch.Tensor:
    generator = torch.Generator().manual_seed(heads + queries)
    logits = 3 * torch.randn(heads, queries, keys, generator=generator)
    if causal:
        logits = logits.masked_fill(torch.ones(queries, keys).triu(1).bool(), float("-inf"))
    return logits.softmax(-1)


class Many:
    """Weights of several heads that are there already."""

    def __init__(self, weights: torch.Tensor) -> None:
        self.weights, self.shape, self.size = weights, tuple(weights.shape), 0

    def rows(self, start: int, stop: int) -> torch.Tensor:
        return self.weights[:, start:stop]


def plainly(weights: np.ndarray, ids: list[int], separators: list[bool], causal: bool) -> dict[str, float | None]:
    """The scores of one head, as the words say them."""
    n = len(weights)
    found: dict[str, list[float]] = {
        name: [] for name in ("entropy", "distance", "self", "first", "separator", "previous", "next", "induction")
    }
    for q in range(n):
        found["entropy"].append(-sum(w * math.log2(w) for w in weights[q] if w > 0))
        found["distance"].append(sum(w * abs(q - k) for k, w in enumerate(weights[q])))
        found["self"].append(weights[q][q])
        found["first"].append(weights[q][0])
        found["separator"].append(sum(w for k, w in enumerate(weights[q]) if separators[k]))
        if q > 0:
            found["previous"].append(weights[q][q - 1])
        if q + 1 < n and not causal:
            found["next"].append(weights[q][q + 1])
        copies = [k for k in range(1, q + 1) if ids[k - 1] == ids[q]]
        if copies and causal:
            found["induction"].append(sum(weights[q][k] for k in copies))
    return {name: sum(values) / len(values) for name, values in found.items() if values}


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("chunk", [1, 20, 10_000])
def test_scores_equal_their_plain_definitions(causal, chunk, monkeypatch):
    monkeypatch.setattr("moduformer.view.probe.CHUNK", chunk)
    weights = rows(3, 9, 9, causal)
    separators = [False] * 4 + [True] + [False] * 3 + [True]
    places = Places(True, causal, torch.tensor(separators), IDS)
    found, _ = survey(Many(weights), places, 4)
    for head in range(3):
        wanted = plainly(weights[head].double().numpy(), IDS.tolist(), separators, causal)
        assert {name: values[head] for name, values in found.items()} == pytest.approx(wanted, abs=2e-5)


def test_a_previous_token_head_and_an_induction_head_are_told():
    previous = torch.eye(9).roll(1, 0)
    previous[0] = torch.eye(9)[0]
    found = average(measure(previous[None], 0, Places(True, True, None, IDS)))
    assert found["previous"] == [1.0]
    assert found["entropy"] == [0.0]
    assert found["distance"] == [pytest.approx(8 / 9, abs=1e-4)]
    repeated = torch.tensor([4, 8, 6, 4, 8, 6])
    induction = torch.eye(6)
    for query in (3, 4, 5):
        induction[query] = torch.eye(6)[query - 2]
    found = average(measure(induction[None], 0, Places(True, True, None, repeated)))
    assert found["induction"] == [1.0]
    assert average(measure(induction[None], 0, Places(True, True, None, torch.arange(6)))).get("induction") is None
    assert "induction" not in measure(induction[None], 0, Places(True, False, None, repeated))


def test_cross_attention_has_only_what_makes_sense():
    places = Places(False, False, torch.tensor([False, False, True]))
    assert set(measure(rows(2, 5, 3), 0, places)) == {"entropy", "first", "separator"}


def test_distances_of_a_picture_are_between_patches():
    weights = torch.zeros(1, 5, 5)
    weights[0, :, 4] = 1  # all look at the last of 2 x 2 patches; the class token has no place
    found = measure(weights, 0, Places(True, grid=(2, 2, 1)))
    assert found["distance"][0, 1:].tolist() == pytest.approx([math.sqrt(2), 1, 1, 0], abs=1e-5)
    assert math.isnan(found["distance"][0, 0])
    assert "previous" not in found


@pytest.mark.parametrize(("queries", "keys", "size"), [(9, 9, 9), (9, 4, 9), (13, 40, 8), (70, 70, 32)])
def test_thumbnails_keep_the_largest_weight_of_each_patch(queries, keys, size, monkeypatch):
    monkeypatch.setattr("moduformer.view.probe.CHUNK", 200)
    weights = rows(2, queries, keys)
    _, data = survey(Many(weights), Places(False), size)
    shown = np.frombuffer(data, np.uint8).reshape(2, size, size)
    for a in range(size):
        top, bottom = a * queries // size, -(-(a + 1) * queries // size)
        for b in range(size):
            left, right = b * keys // size, -(-(b + 1) * keys // size)
            wanted = weights[:, top:bottom, left:right].amax((1, 2)) * 255
            assert np.abs(shown[:, a, b] - wanted.numpy()).max() <= 0.51


def test_bytes_of_a_layer_are_read_back_within_a_level():
    weights = rows(3, 6, 11)
    data = pack(Many(weights))
    largest = np.frombuffer(data, "<f4", 18).reshape(3, 6, 1)
    assert np.allclose(largest[..., 0], weights.amax(-1))
    back = largest * np.frombuffer(data, np.uint8, offset=72).reshape(3, 6, 11) / 255
    assert np.abs(back - weights.numpy()).max() <= 0.5 / 255 + 1e-6
    assert pack(Many(weights), 1)[:24] == data[24:48]
    assert pack(Aligned(torch.zeros(2, 3))) == bytes(2 * 4 + 6)
