"""The compiled kernels against double precision, and the way without them."""

import os
import random
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F

from moduformer import kernels, native
from moduformer.batch import Rows
from moduformer.kernels import Layout, Scores
from moduformer.mask import EVERYTHING, Causal, Window
from moduformer.native.library import reason
from moduformer.quantize import Int8Linear
from moduformer.quantize.linear import token_codes

compiled = pytest.mark.skipif(not native.available(), reason=f"no compiled kernels: {reason()}")


def rows_of(lengths: list[int]) -> Rows:
    return Rows(tuple(lengths), torch.cat([torch.arange(n) for n in lengths]))


def scores_of(queries: Rows, keys: Rows, heads: int, shared: int, width: int, rule=EVERYTHING) -> Scores:
    beside = torch.randn(max(queries.tokens, keys.tokens), heads + 2 * shared, width)
    q, k, v = beside.split((heads, shared, shared), dim=1)  # as a fused projection leaves them
    return Scores(q[: queries.tokens], k[: keys.tokens], v[: keys.tokens], Layout(queries, keys), rule, width**-0.5)


def in_double(scores: Scores) -> torch.Tensor:
    layout = Layout(scores.layout.queries, scores.layout.keys)
    q, k, v = scores.q.double(), scores.k.double(), scores.v.double()
    return kernels.attend(Scores(q, k, v, layout, scores.rule, scores.scale))


@compiled
@pytest.mark.parametrize("width", [1, 5, 16, 24, 32, 64, 80, 257])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("heads", "shared"), [(4, 4), (6, 2)])
def test_attention_of_ragged_rows(width, causal, heads, shared, monkeypatch):
    called = watch(monkeypatch, "attend_rows")
    torch.manual_seed(width)
    lengths = [1, 2, 3, 15, 16, 17, 31, 33, 64, 65, 130, 4]
    rows = rows_of(lengths)
    scores = scores_of(rows, rows, heads, shared, width, Causal() if causal else EVERYTHING)
    found = kernels.attend(scores)
    assert called == ["attend_rows"]
    torch.testing.assert_close(found.double(), in_double(scores), atol=3e-6, rtol=1e-5)


@compiled
def test_attention_across(monkeypatch):
    called = watch(monkeypatch, "attend_rows")
    torch.manual_seed(1)
    scores = scores_of(rows_of([3, 1, 40, 7]), rows_of([20, 33, 1, 6]), 4, 2, 16)
    torch.testing.assert_close(kernels.attend(scores).double(), in_double(scores), atol=3e-6, rtol=1e-5)
    assert called == ["attend_rows"]


@compiled
def test_a_row_does_not_depend_on_its_neighbours():
    torch.manual_seed(2)
    rng = random.Random(2)
    lengths = [rng.randint(1, 90) for _ in range(20)]
    rows = rows_of(lengths)
    scores = scores_of(rows, rows, 4, 4, 32, Causal())
    together, start = kernels.attend(scores), 0
    for length in lengths:
        one, part = rows_of([length]), slice(start, start + length)
        alone = Scores(scores.q[part], scores.k[part], scores.v[part], Layout(one, one), Causal(), scores.scale)
        assert torch.equal(kernels.attend(alone), together[part])
        start += length


@compiled
def test_huge_scores_and_numbers_that_are_none():
    rows = rows_of([20, 5])
    scores = scores_of(rows, rows, 2, 2, 8)
    scores.q.mul_(1e4)
    torch.testing.assert_close(kernels.attend(scores).double(), in_double(scores), atol=1e-5, rtol=1e-4)
    scores.k[22, 0, 0] = float("nan")
    found = kernels.attend(scores)
    assert found[20:, 0].isnan().all()
    assert found[:20].isfinite().all()
    assert found[20:, 1].isfinite().all()


@compiled
@pytest.mark.parametrize("change", ["gradient", "window", "bias", "softcap", "dropout", "double", "long", "empty"])
def test_everything_else_goes_another_way(change, monkeypatch):
    called = watch(monkeypatch, "attend_rows")
    rows = rows_of([kernels.COMPILED + 1 if change == "long" else 9, 4])
    scores = scores_of(rows, rows, 2, 2, 8, Window(3) if change == "window" else EVERYTHING)
    options = {"softcap": 5.0} if change == "softcap" else {"dropout": 0.5} if change == "dropout" else {}
    q, k, v = scores.q, scores.k, scores.v
    if change == "double":
        q, k, v = q.double(), k.double(), v.double()
    if change == "gradient":
        q = q.clone().requires_grad_()
    if change == "bias":
        options["bias"] = [torch.randn(1, 2, g.queries, g.keys) for g in scores.layout.groups]
    layout = scores.layout
    if change == "empty":
        layout = Layout(rows_of([9, 4]), rows_of([13, 0]))
    kernels.attend(Scores(q, k, v, layout, scores.rule, scores.scale, **options))
    assert not called


@compiled
def test_codes_of_tokens():
    torch.manual_seed(3)
    hidden = torch.randn(50, 77) * torch.logspace(-20, 20, 50).unsqueeze(1)
    hidden[7] = 0
    hidden[8] = 3.25
    codes, scale, middle = native.token_codes(hidden)
    expected, _, _ = token_codes(hidden)
    assert (codes.int() - expected.int()).abs().max() <= 1  # where a quotient lies between two codes
    assert (codes != expected).float().mean() < 0.01
    error = (codes * scale + middle).double() - hidden.double()
    assert (error.abs() <= 0.5001 * scale.double() + 1e-6 * hidden.abs().amax(1, keepdim=True)).all()
    for broken in (float("nan"), float("inf"), -float("inf")):
        hidden[4, 5] = broken
        assert native.token_codes(hidden)[1][4].isnan()


@compiled
@pytest.mark.parametrize("bias", [True, False])
def test_product_of_codes(bias, monkeypatch):
    torch.manual_seed(4)
    layer = Int8Linear.of(torch.randn(48, 40), torch.randn(48) if bias else None)
    hidden = torch.randn(33, 40) + 2
    fast, activated = layer(hidden), layer.activated(hidden, "gelu")
    others = {name: layer.activated(hidden, name) for name in ("relu", "gelu_tanh")}
    monkeypatch.setattr(native, "available", lambda: False)
    slow = layer(hidden)
    torch.testing.assert_close(fast, slow, atol=0.15, rtol=0)  # one step of one code now and then
    assert (fast - slow).abs().mean() < 2e-3
    torch.testing.assert_close(activated, F.gelu(fast), atol=2e-6, rtol=1e-4)
    for name, found in others.items():
        torch.testing.assert_close(found, layer.activated(hidden, name), atol=0.15, rtol=0)


@compiled
def test_gelu_everywhere():
    x = torch.cat([torch.linspace(-12, 12, 100_001), torch.logspace(-30, 30, 999), -torch.logspace(-30, 30, 999)])
    ones, nothing = torch.ones(1, 1), torch.zeros(1, 1)
    sums = torch.zeros(1, len(x), dtype=torch.int32)
    found = native.scale_product(sums, ones, nothing, torch.ones(len(x)), torch.zeros(len(x)), x, True)[0]
    torch.testing.assert_close(found.double(), F.gelu(x.double()), atol=1.5e-6, rtol=1e-6)


def watch(monkeypatch, name: str) -> list[str]:
    """The calls of one kernel from now on."""
    called: list[str] = []
    kernel = getattr(native, name)

    def noted(*arguments):
        called.append(name)
        return kernel(*arguments)

    monkeypatch.setattr(native, name, noted)
    return called


ATTEND = """
import torch
from moduformer import kernels, native
from moduformer.native.library import reason
print(reason())
from moduformer.batch import Rows
from moduformer.mask import EVERYTHING
rows = Rows((3, 2), torch.tensor([0, 1, 2, 0, 1]))
torch.manual_seed(0)
q = torch.randn(5, 2, 4)
found = kernels.attend(kernels.Scores(q, q, q, kernels.Layout(rows, rows), EVERYTHING, 0.5))
print(found.flatten().tolist())
"""


def attended(**environment: str) -> tuple[str, torch.Tensor]:
    """Why another process found no kernels, and what it computed."""
    values = {name: value for name, value in os.environ.items() if name not in ("MODUFORMER_NATIVE", "CC")}
    done = subprocess.run(
        [sys.executable, "-c", ATTEND], env=values | environment, capture_output=True, text=True, check=True
    )
    why, numbers = done.stdout.splitlines()
    return why, torch.tensor([float(part) for part in numbers.strip("[]").split(",")])


def test_without_the_kernels_all_is_the_same(tmp_path):
    off, expected = attended(MODUFORMER_NATIVE="0")
    assert off == "MODUFORMER_NATIVE is 0"
    bare, same = attended(PATH=str(tmp_path))
    assert "no C compiler" in bare
    torch.testing.assert_close(same, expected)
    broken, same = attended(CC="false", MODUFORMER_HOME=str(tmp_path))
    assert "false" in broken
    torch.testing.assert_close(same, expected)
    if native.available():
        working, same = attended(MODUFORMER_HOME=str(tmp_path / "new"))
        assert working == "None"
        torch.testing.assert_close(same, expected)


@compiled
def test_a_library_that_others_could_have_written_is_not_loaded(tmp_path):
    assert attended(MODUFORMER_HOME=str(tmp_path))[0] == "None"
    (library,) = (tmp_path / "native").glob("*.so")
    assert not list((tmp_path / "native").glob(".build-*"))
    library.chmod(0o666)
    assert "could have been written by someone else" in attended(MODUFORMER_HOME=str(tmp_path))[0]
    library.chmod(0o600)
    library.parent.chmod(0o777)
    assert "could have been written by someone else" in attended(MODUFORMER_HOME=str(tmp_path))[0]
