"""Learning-rate schedules against their papers' formulas."""

import math

import pytest

from moduformer.errors import TrainingError
from moduformer.families import spec
from moduformer.train.recipes import recipe
from moduformer.train.schedule import Constant, Cosine, InverseSquareRoot, LinearWarmup, SlantedTriangular


def test_slanted_triangular_is_equation_3_of_howard_and_ruder():
    total, cut_frac, ratio = 200, 0.1, 32

    def paper(t: int) -> float:
        cut = math.floor(total * cut_frac)
        p = t / cut if t < cut else 1 - (t - cut) / (cut * (1 / cut_frac - 1))
        return (1 + p * (ratio - 1)) / ratio

    schedule = SlantedTriangular(cut_frac, ratio)
    assert [schedule.factor(t, total) for t in range(total)] == pytest.approx([paper(t) for t in range(total)])
    assert schedule.factor(20, total) == 1.0
    assert schedule.factor(0, total) == pytest.approx(1 / 32)


@pytest.mark.parametrize("schedule", [LinearWarmup(0.1), Cosine(0.1)])
def test_warmup_rises_to_the_peak_and_falls_towards_zero(schedule):
    factors = [schedule.factor(t, 100) for t in range(100)]
    assert factors[9] == 1.0 == max(factors)
    assert factors[:10] == sorted(factors[:10])
    assert factors[10:] == sorted(factors[10:], reverse=True)
    assert 0 < factors[0] <= 0.1
    assert factors[-1] < 0.02


def test_linear_equals_the_reference_of_transformers():
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    reference = transformers.get_linear_schedule_with_warmup(optimizer, 0, 50)
    for t in range(50):
        assert LinearWarmup(0.0).factor(t, 50) == pytest.approx(reference.get_last_lr()[0])
        optimizer.step()
        reference.step()


def test_constant_and_inverse_square_root():
    assert Constant().factor(7, 10) == 1.0
    noam = InverseSquareRoot(4000)
    assert noam.factor(3999, 10**5) == 1.0
    assert noam.factor(15999, 10**5) == pytest.approx(0.5)
    assert noam.factor(0, 10**5) == pytest.approx(1 / 4000)


@pytest.mark.parametrize("total", [1, 2, 3])
@pytest.mark.parametrize("schedule", [LinearWarmup(), Cosine(), SlantedTriangular(), Constant()])
def test_runs_of_a_few_steps_have_a_rate(schedule, total):
    assert all(0 < schedule.factor(t, total) <= 1 for t in range(total))


@pytest.mark.parametrize("share", [-0.1, 1.0, 2.0])
def test_a_share_that_is_none_is_refused(share):
    with pytest.raises(TrainingError, match="share"):
        LinearWarmup(share)


@pytest.mark.parametrize(
    ("name", "rate"),
    [("all-MiniLM-L6-v2", 2e-4), ("multilingual-e5-small", 1e-4), ("bert-base-uncased", 5e-5), ("bert-tiny", 2e-4)],
)
def test_larger_models_get_lower_rates(name: str, rate: float) -> None:
    assert recipe("plain").for_model(spec(name)).settings.learning_rate == pytest.approx(rate)
    assert recipe("plain", learning_rate=3e-4).for_model(spec(name)).settings.learning_rate == 3e-4
    assert recipe("plain", epochs=2).for_model(spec(name)).settings.learning_rate == pytest.approx(rate)
