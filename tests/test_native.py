"""The compiled kernels against double precision, and the way without them."""

import os
import random
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch._subclasses.fake_tensor import FakeTensorMode

from moduformer import kernels, native
from moduformer.architecture import Rotary
from moduformer.batch import Rows
from moduformer.blocks.activation import ACTIVATIONS
from moduformer.blocks.position import rotary_turns, rotate
from moduformer.kernels import Layout, Scores
from moduformer.mask import EVERYTHING, Causal, Window
from moduformer.native.library import reason
from moduformer.quantize import Float16Linear, Float32Linear, Int4Linear, Int8Linear
from moduformer.quantize.linear import token_codes
from moduformer.quantize.panels import filled, from_halves, from_panels, from_quads, halves, panels, quads

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


def gradients_of(scores: Scores, result_gradient: torch.Tensor, double: bool = False) -> list[torch.Tensor]:
    """The gradients of q, k and v, as the kernel or, in double precision, PyTorch gives them."""
    kind = torch.float64 if double else torch.float32
    parts = [part.detach().to(kind).requires_grad_() for part in (scores.q, scores.k, scores.v)]
    layout = Layout(scores.layout.queries, scores.layout.keys)
    found = kernels.attend(Scores(*parts, layout, scores.rule, scores.scale))
    return list(torch.autograd.grad(found, parts, result_gradient.to(kind)))


LENGTHS = [1, 2, 3, 15, 16, 17, 31, 33, 64, 65, 130, 4]


@compiled
@pytest.mark.parametrize("width", [1, 5, 16, 32, 80])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("heads", "shared"), [(4, 4), (6, 2)])
def test_gradients_of_attention(width, causal, heads, shared, monkeypatch):
    called = watch_backward(monkeypatch)
    torch.manual_seed(width)
    rows = rows_of(LENGTHS)
    scores = scores_of(rows, rows, heads, shared, width, Causal() if causal else EVERYTHING)
    wanted = torch.randn(scores.q.shape)
    for found, expected in zip(gradients_of(scores, wanted), gradients_of(scores, wanted, double=True), strict=True):
        torch.testing.assert_close(found.double(), expected, atol=1e-5, rtol=1e-4)
    assert called == [1]


@compiled
@pytest.mark.parametrize("lengths", [[1] * 12, [5, 1, 3, 40, 16, 2, 7, 33, 1, 65, 13, 4]])
def test_gradients_across(lengths, monkeypatch):
    called = watch_backward(monkeypatch)
    torch.manual_seed(1)
    scores = scores_of(rows_of(lengths), rows_of(LENGTHS), 4, 2, 24)
    wanted = torch.randn(scores.q.shape)
    for found, expected in zip(gradients_of(scores, wanted), gradients_of(scores, wanted, double=True), strict=True):
        torch.testing.assert_close(found.double(), expected, atol=1e-5, rtol=1e-4)
    assert called == [1]


@compiled
def test_a_rows_gradient_does_not_depend_on_its_neighbours():
    torch.manual_seed(2)
    rows = rows_of(LENGTHS)
    scores = scores_of(rows, rows, 4, 2, 32, Causal())
    wanted = torch.randn(scores.q.shape)
    together, start = gradients_of(scores, wanted), 0
    for length in LENGTHS:
        cut, alone = slice(start, start + length), rows_of([length])
        own = replace(scores, q=scores.q[cut], k=scores.k[cut], v=scores.v[cut], layout=Layout(alone, alone))
        for one, many in zip(gradients_of(own, wanted[cut]), together, strict=True):
            assert torch.equal(one, many[cut])
        start += length


@compiled
def test_gradients_where_one_key_has_it_all():
    rows = rows_of([20, 5])
    scores = scores_of(rows, rows, 2, 2, 8)
    scores.q.mul_(300)
    wanted = torch.randn(scores.q.shape)
    for found, expected in zip(gradients_of(scores, wanted), gradients_of(scores, wanted, double=True), strict=True):
        assert found.isfinite().all()
        scale = float(expected.abs().max())
        torch.testing.assert_close(found.double() / scale, expected / scale, atol=1e-3, rtol=1e-3)


@compiled
def test_half_precision_around_attention_leaves_it_in_floats(monkeypatch):
    called = watch(monkeypatch, "attend_rows")
    rows = rows_of([9, 4])
    scores = scores_of(rows, rows, 2, 2, 8)
    halved = replace(scores, q=scores.q.bfloat16(), k=scores.k.bfloat16(), v=scores.v.bfloat16())
    with torch.autocast("cpu", torch.bfloat16):
        found = kernels.attend(halved)
    assert called == ["attend_rows"]
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), in_double(halved), atol=1e-5, rtol=1e-5)


@compiled
def test_a_second_derivative_is_refused_and_not_wrong():
    rows = rows_of([5])
    scores = scores_of(rows, rows, 2, 2, 8)
    q = scores.q.clone().requires_grad_()
    (slope,) = torch.autograd.grad(kernels.attend(replace(scores, q=q)).square().sum(), q, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        slope.sum().backward()


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
@pytest.mark.parametrize("change", ["window", "bias", "softcap", "dropout", "double", "long", "empty"])
def test_everything_else_goes_another_way(change, monkeypatch):
    called = watch(monkeypatch, "attend_rows")
    rows = rows_of([kernels.COMPILED + 1 if change == "long" else 9, 4])
    scores = scores_of(rows, rows, 2, 2, 8, Window(3) if change == "window" else EVERYTHING)
    options = {"softcap": 5.0} if change == "softcap" else {"dropout": 0.5} if change == "dropout" else {}
    q, k, v = scores.q, scores.k, scores.v
    if change == "double":
        q, k, v = q.double(), k.double(), v.double()
    if change == "bias":
        options["bias"] = [torch.randn(1, 2, g.queries, g.keys) for g in scores.layout.groups]
    layout = scores.layout
    if change == "empty":
        layout = Layout(rows_of([9, 4]), rows_of([13, 0]))
    kernels.attend(Scores(q, k, v, layout, scores.rule, scores.scale, **options))
    assert not called


codes = pytest.mark.skipif(not native.multiplies_codes(), reason=f"no compiled products of codes: {reason()}")

LAYERS = [Float32Linear, Float16Linear, pytest.param(Int8Linear, marks=codes), pytest.param(Int4Linear, marks=codes)]


def made(kind, outputs: int, inputs: int, bias: bool):
    shift = torch.randn(outputs) if bias else None
    return kind.of(torch.randn(outputs, inputs), shift, 32)


@compiled
@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("bias", [True, False])
def test_a_token_gets_the_same_to_the_bit_alone_and_among_others(kind, bias):
    torch.manual_seed(5)
    layer = made(kind, 48, 64, bias)
    hidden = torch.randn(39, 64)
    together = layer(hidden)
    for count in (1, 2, 3, 4, 5, 8, 9, 15):
        parts = torch.cat([layer(part) for part in hidden.split(count)])
        assert torch.equal(parts, together), count
    threads = torch.get_num_threads()
    torch.set_num_threads(1 if threads > 1 else 2)
    assert torch.equal(layer(hidden), together)
    torch.set_num_threads(threads)


@compiled
@pytest.mark.parametrize("kind", LAYERS[:3])
@pytest.mark.parametrize("outputs", [1, 15, 16, 17, 50])
def test_products_in_panels(kind, outputs):
    torch.manual_seed(outputs)
    layer = made(kind, outputs, 36, True)
    hidden = torch.randn(21, 36)
    given = hidden.double()
    if kind is Int8Linear:
        numbers, scale, middle = token_codes(hidden)
        given = (numbers * scale + middle).double()
    wanted = given @ layer.weight.double().T + layer.bias.double()
    # A quotient between two codes may fall either way: one code of one input.
    slack = 0.05 if kind is Int8Linear else 2e-5
    torch.testing.assert_close(layer(hidden).double(), wanted, atol=slack, rtol=1e-5)
    for name in ("gelu", "relu", "gelu_tanh", "silu"):
        torch.testing.assert_close(
            layer.activated(hidden, name), ACTIVATIONS[name](layer(hidden)), atol=2e-6, rtol=1e-5
        )


@compiled
@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_a_number_that_is_none_spoils_its_own_token_alone(kind, broken):
    layer = made(kind, 32, 64, True)
    hidden = torch.randn(10, 64)
    wanted = layer(hidden)
    hidden[4, 7] = broken
    found = layer(hidden)
    assert not found[4].isfinite().any()
    assert torch.equal(found[[i for i in range(10) if i != 4]], wanted[[i for i in range(10) if i != 4]])


@codes
def test_codes_of_extreme_tokens():
    torch.manual_seed(3)
    layer = Int8Linear.of(torch.eye(76), None)
    hidden = torch.randn(50, 76) * torch.logspace(-20, 20, 50).unsqueeze(1)
    hidden[7] = 0
    hidden[8] = 3.25
    step = (hidden.amax(1, keepdim=True) - hidden.amin(1, keepdim=True)) / 254
    largest = hidden.abs().amax(1, keepdim=True)
    assert ((layer(hidden) - hidden).abs() <= 0.501 * step + 1e-6 * largest).all()


@compiled
@pytest.mark.parametrize("count", [8, 16, 32, 40])
def test_panels_there_and_back(count):
    numbers = torch.randint(0, 16, (count + 3, count), dtype=torch.uint8)
    assert torch.equal(from_halves(halves(numbers), count + 3), numbers)
    signed = torch.randint(-128, 128, (count + 3, count), dtype=torch.int8)
    assert torch.equal(from_quads(quads(signed), count + 3), signed)
    weight = torch.randn(count + 3, count)
    assert torch.equal(from_panels(panels(weight), count + 3), weight)


@compiled
def test_gelu_everywhere():
    x = torch.cat([torch.linspace(-12, 12, 100_001), torch.logspace(-30, 30, 999), -torch.logspace(-30, 30, 999)])
    one, nothing = panels(torch.zeros(len(x), 1)), torch.zeros(1, 1)
    found = native.float_linear(nothing, one, filled(x), len(x), True)[0]
    torch.testing.assert_close(found.double(), F.gelu(x.double()), atol=1.5e-6, rtol=1e-6)


@compiled
def test_gates():
    gate = torch.cat([torch.linspace(-120, 120, 5001), torch.tensor([1e30, -1e30, 0.0])])
    for width in (len(gate), 1, 5, 16, 33):
        both = torch.stack((torch.cat((gate[:width], torch.randn(width))), torch.randn(2 * width)))
        wanted = F.silu(both[:, :width].double()) * both[:, width:].double()
        torch.testing.assert_close(native.gated_silu(both).double(), wanted, atol=1e-6, rtol=1e-6)
    assert native.gated_silu(torch.tensor([[float("nan"), 1.0]])).isnan().all()


@compiled
@pytest.mark.parametrize("width", [1, 7, 16, 40, 576])
def test_root_mean_square_norm(width):
    hidden, weight = torch.randn(11, 3, width) * 5, torch.randn(width)
    wanted = F.rms_norm(hidden.double(), (width,), weight.double(), 1e-5)
    torch.testing.assert_close(native.rms_norm(hidden, weight, 1e-5).double(), wanted, atol=1e-6, rtol=1e-5)


@compiled
@pytest.mark.parametrize("pairing", ["halves", "pairs"])
@pytest.mark.parametrize("dim", [8, 16])
def test_turns(pairing, dim, monkeypatch):
    called = watch(monkeypatch, "rotate")
    settings = Rotary(dim=dim, pairing=pairing)
    heads = torch.randn(13, 5, 16)[:, 1:4]
    turns = rotary_turns(settings, rows_of([9, 4]), torch.float64)
    wanted = rotate(heads.double(), turns, settings)
    assert not called
    found = rotate(heads, tuple(part.float() for part in turns), settings)
    assert called
    torch.testing.assert_close(found.double(), wanted, atol=1e-6, rtol=1e-5)


def watch_backward(monkeypatch) -> list[int]:
    """The compiled backward passes of attention from now on."""
    called: list[int] = []
    backward = native.calls.attend_rows_backward

    def noted(*arguments):
        called.append(1)
        return backward(*arguments)

    monkeypatch.setattr(native.calls, "attend_rows_backward", noted)
    return called


def watch(monkeypatch, name: str) -> list[str]:
    """The calls of one kernel from now on."""
    called: list[str] = []
    kernel = getattr(native, name)

    def noted(*arguments, **named):
        called.append(name)
        return kernel(*arguments, **named)

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


@compiled
def test_forward_derivatives_and_tensors_without_numbers_go_another_way(monkeypatch):
    called = watch(monkeypatch, "attend_rows")
    rows = rows_of([9, 4])
    scores = scores_of(rows, rows, 2, 2, 8)

    def attend(q):
        return kernels.attend(replace(scores, q=q, layout=Layout(rows, rows)))

    _, slope = torch.func.jvp(attend, (scores.q,), (torch.ones_like(scores.q),))
    step = 1e-2
    expected = (attend(scores.q + step) - attend(scores.q - step)) / (2 * step)
    torch.testing.assert_close(slope, expected, atol=1e-3, rtol=1e-2)
    slope = torch.func.grad(lambda q: attend(q).square().sum())(scores.q)
    own = scores.q.clone().requires_grad_()
    called.clear()
    torch.testing.assert_close(slope, *torch.autograd.grad(attend(own).square().sum(), own))
    assert called == ["attend_rows"]
    called.clear()
    with FakeTensorMode(allow_non_fake_inputs=True) as fake:
        assert attend(fake.from_tensor(scores.q)).shape == scores.q.shape
    assert not called


@compiled
def test_a_compiler_that_speaks_bytes(tmp_path):
    speaker = tmp_path / "cc"
    speaker.write_bytes(b"#!/bin/sh\nprintf '\\377\\376 no' >&2\n[ \"$1\" = --version ]\n")
    speaker.chmod(0o755)
    why, _ = attended(CC=str(speaker), MODUFORMER_HOME=str(tmp_path / "home"))
    assert "did not make the kernels" in why
    assert "no" in why
