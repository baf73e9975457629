"""Ragged attention against a plain loop over rows in double precision, and batches there and back."""

import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from moduformer import kernels
from moduformer.batch import Batch, Rows, by_length
from moduformer.errors import TextError
from moduformer.kernels import Layout, Scores
from moduformer.mask import EVERYTHING, Causal, Rule, Window

RULES: dict[str, Rule] = {
    "full": EVERYTHING,
    "causal": Causal(),
    "window": Window(5),
    "causal window": Causal() & Window(5),
    "window of one": Window(1) & Causal(),
}


def visible(rule: str, query: int, key: int) -> bool:
    """What a rule means, said once more in plain words."""
    if "causal" in rule and key > query:
        return False
    if rule == "window of one":
        return key == query
    return "window" not in rule or abs(query - key) <= 4


def plain(scores: Scores, rule: str, bias: torch.Tensor | None) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Every row, head and query by itself; `bias` `[heads, positions, positions]`. Returns mixed values and weights."""
    heads, shared = scores.q.shape[1], scores.k.shape[1]
    queries, keys = scores.layout.queries, scores.layout.keys
    out, weights, q0, k0 = [], [], 0, 0
    for t, s in zip(queries.lengths, keys.lengths):
        q, k, v = scores.q[q0 : q0 + t], scores.k[k0 : k0 + s], scores.v[k0 : k0 + s]
        q_at, k_at = queries.positions[q0 : q0 + t].tolist(), keys.positions[k0 : k0 + s].tolist()
        row = torch.zeros(heads, t, s, dtype=q.dtype)
        for head in range(heads):
            logits = q[:, head] @ k[:, head * shared // heads].T * scores.scale
            if bias is not None:
                logits = logits + bias[head][q_at][:, k_at]
            hidden = torch.tensor([[not visible(rule, a, b) for b in k_at] for a in q_at])
            row[head] = logits.masked_fill(hidden, float("-inf")).softmax(-1)
        weights.append(row)
        out.append(torch.stack([row[h] @ v[:, h * shared // heads] for h in range(heads)], dim=1))
        q0, k0 = q0 + t, k0 + s
    return torch.cat(out), weights


def rows_of(lengths: list[int], rng: random.Random, holes: bool) -> Rows:
    positions = [sorted([0, *rng.sample(range(1, 60), n - 1)]) if holes else list(range(n)) for n in lengths]
    return Rows(tuple(lengths), torch.tensor([p for row in positions for p in row]), not holes)


def draw(
    seed: int, lengths: list[int], heads: int, shared: int, biased: bool, holes: bool = False, cross: bool = False
) -> tuple[Scores, torch.Tensor | None]:
    rng, generator = random.Random(seed), torch.Generator().manual_seed(seed)
    queries = rows_of(lengths, rng, holes)
    keys = rows_of([rng.randint(1, 50) for _ in lengths], rng, holes) if cross else queries
    layout = Layout(queries, keys)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    table = normal(heads, 60, 60) if biased else None
    bias = None
    if table is not None:
        bias = [table[:, q, k].transpose(0, 1) for q, k in layout.positions()]
    q, k, v = (normal(n, h, 6) for n, h in ((queries.tokens, heads), (keys.tokens, shared), (keys.tokens, shared)))
    return Scores(q, k, v, layout, EVERYTHING, scale=0.7, bias=bias), table


def with_rule(scores: Scores, rule: str) -> Scores:
    return Scores(scores.q, scores.k, scores.v, scores.layout, RULES[rule], scores.scale, scores.bias)


LENGTHS = {
    "one row": [13],
    "one token": [1],
    "ones": [1, 1, 1],
    "equal": [7, 7, 7],
    "nearly equal, so padded": [20, 20, 19, 18, 18, 17],
    "far apart, so several groups": [50, 31, 30, 12, 11, 3, 1, 1],
    "unsorted": [3, 48, 5, 5, 44, 1, 45],
}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize(("heads", "shared", "biased"), [(4, 4, False), (4, 2, True), (3, 1, False), (1, 1, True)])
@pytest.mark.parametrize("holes", [False, True])
def test_equals_a_plain_loop(rule: str, lengths: str, heads: int, shared: int, biased: bool, holes: bool) -> None:
    scores, table = draw(1, LENGTHS[lengths], heads, shared, biased, holes)
    scores = with_rule(scores, rule)
    expected, weights = plain(scores, rule, table)
    assert (kernels.attend(scores) - expected).abs().max() <= 1e-12
    assert (kernels.attend_explicitly(scores, lambda parts: parts) - expected).abs().max() <= 1e-12
    rows = [row for part in kernels.weights(scores) for row in part]
    for found, wanted in zip(rows, weights, strict=True):
        heads, t, s = wanted.shape
        assert (found[:, :t, :s] - wanted).abs().max() <= 1e-12
        assert not found[:, t:].any()
        assert not found[:, :, s:].any()


@pytest.mark.parametrize("seed", range(12))
def test_random_lengths(seed: int) -> None:
    rng = random.Random(seed)
    lengths = [rng.randint(1, 50) for _ in range(rng.randint(1, 9))]
    if seed % 3:
        lengths = [lengths[i] for i in by_length(lengths)]
    cross = seed % 4 == 0
    rule = "full" if cross else rng.choice(list(RULES))
    scores, table = draw(seed, lengths, 4, rng.choice((1, 2, 4)), bool(seed % 2), holes=seed % 5 == 0, cross=cross)
    scores = with_rule(scores, rule)
    expected, _ = plain(scores, rule, table)
    assert (kernels.attend(scores) - expected).abs().max() <= 1e-12


@pytest.mark.parametrize("rule", RULES)
def test_gradients_equal_those_of_the_loop(rule: str) -> None:
    for lengths in ("far apart, so several groups", "nearly equal, so padded"):
        scores, table = draw(3, LENGTHS[lengths], 4, 2, biased=True)
        table = table.requires_grad_()
        bias = [table[:, q, k].transpose(0, 1) for q, k in scores.layout.positions()]
        scores = Scores(
            *(x.requires_grad_() for x in (scores.q, scores.k, scores.v)), scores.layout, RULES[rule], 0.7, bias
        )
        weigh = torch.randn(scores.q.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(9))
        wanted = torch.autograd.grad(
            (plain(scores, rule, table)[0] * weigh).sum(), (scores.q, scores.k, scores.v, table)
        )
        found = torch.autograd.grad((kernels.attend(scores) * weigh).sum(), (scores.q, scores.k, scores.v, table))
        for a, b in zip(found, wanted):
            assert (a - b).abs().max() <= 1e-11


def test_padding_stays_small_and_equal_rows_are_views() -> None:
    rng = random.Random(0)
    for _ in range(20):
        lengths = sorted((rng.randint(1, 50) for _ in range(rng.randint(1, 40))), reverse=True)
        layout = Layout(rows_of(lengths, rng, False), rows_of(lengths, rng, False))
        cells = sum(group.count * (group.queries + group.keys) for group in layout.groups)
        assert sum(group.count for group in layout.groups) == len(lengths)
        assert 2 * sum(lengths) >= (1 - kernels.MAX_PADDING) * cells
    equal = Layout(rows_of([6] * 5, rng, False), rows_of([6] * 5, rng, False))
    (group,) = equal.groups
    flat = torch.randn(30, 2, 4)
    assert group.query_padding is None
    assert kernels.spread(flat, group.query_padding, group.count).data_ptr() == flat.data_ptr()


def test_rules_are_values() -> None:
    assert Causal() & Window(3) == Causal() & Window(3)
    assert hash(Causal() & Window(3)) == hash(Causal() & Window(3))
    assert EVERYTHING & Causal() == Causal() & EVERYTHING == Causal()
    assert Window(3) != Window(4)


# Batches -------------------------------------------------------------------------------------------------------------

grids = st.integers(1, 6).flatmap(
    lambda width: st.lists(st.lists(st.booleans(), min_size=width, max_size=width).filter(any), min_size=1, max_size=6)
)


@given(grids, st.randoms(use_true_random=False))
@settings(max_examples=150, deadline=None)
def test_padded_grids_come_back(cells: list[list[bool]], rng: random.Random) -> None:
    mask = torch.tensor(cells)
    ids = torch.randint(1, 1000, mask.shape, generator=torch.Generator().manual_seed(rng.randint(0, 99)))
    segments = ids % 3
    order = rng.sample(range(len(cells)), len(cells)) if rng.random() < 0.5 else None
    batch = Batch.from_padded(ids, mask.long(), segments, order=order)
    assert torch.equal(batch.pad(batch.tokens), ids * mask)
    assert torch.equal(batch.gather(ids), batch.tokens)
    assert torch.equal(batch.gather(segments), batch.segments)
    assert batch.rows.tokens == int(mask.sum())
    per_row = torch.arange(len(cells))
    assert torch.equal(batch.restore(batch.sort(per_row)), per_row)
    assert batch.sort(per_row).tolist() == list(batch.order)
    regular = True
    for place, row in enumerate(batch.order):
        real = mask[row].nonzero().squeeze(1)
        own = batch.rows.row_of == place
        assert batch.tokens[own].tolist() == ids[row][real].tolist()
        assert batch.rows.positions[own].tolist() == (real - real[0]).tolist()
        assert int(batch.rows.starts[place]) == int(own.nonzero()[0])
        assert int(batch.rows.ends[place]) == int(own.nonzero()[-1])
        regular &= (real - real[0]).tolist() == list(range(len(real)))
    assert batch.rows.regular == regular
    chosen = [rng.randrange(len(cells)) for _ in range(rng.randint(1, 4))]
    picked = batch.select(chosen)
    source = [batch.order[i] for i in chosen]
    assert torch.equal(picked.pad(picked.tokens), (ids * mask)[source])
    assert torch.equal(picked.pad(picked.segments), (segments * mask)[source])


@given(st.lists(st.lists(st.integers(0, 500), min_size=1, max_size=8), min_size=1, max_size=6), st.booleans())
@settings(max_examples=100, deadline=None)
def test_lists_come_back(rows: list[list[int]], keep_order: bool) -> None:
    order = range(len(rows)) if keep_order else None
    batch = Batch.from_lists(rows, [[1 + i] * len(row) for i, row in enumerate(rows)], order=order)
    grid = batch.pad(batch.tokens)
    width = max(map(len, rows))
    assert grid.tolist() == [row + [0] * (width - len(row)) for row in rows]
    assert batch.pad(batch.segments)[:, 0].tolist() == [1 + i for i in range(len(rows))]
    if not keep_order:
        assert list(batch.rows.lengths) == sorted(map(len, rows), reverse=True)
    padded = Batch.from_padded(grid, torch.tensor([[1] * len(r) + [0] * (width - len(r)) for r in rows]), order=order)
    assert torch.equal(padded.tokens, batch.tokens)
    assert torch.equal(padded.cells, batch.cells)
    assert torch.equal(padded.rows.positions, batch.rows.positions)
    later = Batch.following(rows, range(len(rows)))
    assert [int(later.rows.positions[i]) for i in later.rows.starts] == list(range(len(rows)))
    assert batch.shift_right(7).tokens[batch.rows.starts].tolist() == [7] * len(rows)


def test_what_is_no_batch_is_refused() -> None:
    ids = torch.tensor([[1, 2], [3, 4]])
    with pytest.raises(TextError, match="row 1 has no token"):
        Batch.from_padded(ids, torch.tensor([[1, 1], [0, 0]]))
    with pytest.raises(TextError, match=r"attention_mask is \(2, 3\)"):
        Batch.from_padded(ids, torch.ones(2, 3))
    with pytest.raises(TextError, match="at least one token"):
        Batch.from_padded(ids[:, :0])
    with pytest.raises(TextError, match="at least one token"):
        Batch.from_padded(ids[0])
    with pytest.raises(TextError, match="at least one row"):
        Batch.from_lists([])
    with pytest.raises(TextError, match="every row at least one token"):
        Batch.from_lists([[1], []])
    with pytest.raises(TextError, match=r"labels must be \[2, 2\]"):
        Batch.from_padded(ids).gather(torch.ones(2, 3))


@pytest.mark.parametrize("holes", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_window_in_a_long_row_is_attended_to_in_strips(holes, dtype, monkeypatch):
    rng, lengths = random.Random(4), [50, 16, 33, 1]
    torch.manual_seed(4)
    rows = rows_of(lengths, rng, holes)
    q, k, v = (torch.randn(sum(lengths), heads, 8, dtype=dtype, requires_grad=True) for heads in (4, 2, 2))
    rule = Window(5) & Causal()
    strips = Scores(q, k, v, Layout(rows, rows), rule, 0.3)
    widest = []
    kernel = torch.nn.functional.scaled_dot_product_attention

    def noted(*given, **options):
        widest.append(given[1].shape[-2])
        return kernel(*given, **options)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", noted)
    found = kernels.attend(strips)
    assert max(widest) == 9
    wanted, _ = plain(strips, "causal window", None)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-4)
    weight = torch.randn_like(found)
    given = torch.autograd.grad((found * weight).sum(), (q, k, v))
    for a, b in zip(given, torch.autograd.grad((wanted * weight).sum(), (q, k, v)), strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-3)


def test_memory_of_a_window_does_not_grow_with_the_square_of_a_row():
    rows = Rows((6000,), torch.arange(6000))
    q = torch.randn(6000, 2, 8)
    layout = Layout(rows, rows)
    kernels.attend(Scores(q, q, q, layout, Window(64) & Causal(), 0.3))
    assert not layout._masks
    assert not layout._added


def test_a_causal_mask_is_not_made_where_the_kernel_needs_none():
    rows = Rows((700,), torch.arange(700))
    q = torch.randn(700, 2, 8, requires_grad=True)
    layout = Layout(rows, rows)
    kernels.attend(Scores(q, q, q, layout, Causal(), 0.3))
    assert not layout._masks
    assert not layout._added
