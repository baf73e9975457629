"""The law that Chinchilla is an application of: how loss falls with parameters and tokens, and what a budget buys.

    L(N, D) = E + A / N^alpha + B / D^beta          (Hoffmann et al. 2022, section 3.3, eq. 2)

The runs are those of the paper's figure 4 as Besiroglu et al. 2024 (arXiv 2404.10102) read them off it, which is also
where the fit comes from that follows the data better than the paper's own.
"""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from importlib.resources import files
from itertools import product
from typing import TYPE_CHECKING

from moduformer.errors import DataError

if TYPE_CHECKING:
    import numpy as np

OUTLIERS = 5
"""Runs with the highest loss that the fit leaves out, as Besiroglu et al. do."""

HUBER = 1e-3
"""Errors of the logarithm of the loss count squared up to here, beyond in proportion."""


@dataclass(frozen=True)
class Law:
    """The five numbers of the law. Loss is in nats a token."""

    a: float
    b: float
    e: float
    alpha: float
    beta: float

    def loss(self, parameters: float, tokens: float) -> float:
        """The loss of a model of that size after that many tokens."""
        return self.e + self.a / parameters**self.alpha + self.b / tokens**self.beta

    def plan(self, flops: float) -> Plan:
        """The size and tokens with the lowest loss that `flops` floating-point operations allow, at 6 a parameter and
        token (Hoffmann et al. 2022, eq. 4). Raises `DataError` for a budget that is none."""
        if not (math.isfinite(flops) and flops > 0):
            raise DataError(f"a budget of {flops} floating-point operations is none; give a number such as 5.76e23")
        ratio = (self.alpha * self.a / (self.beta * self.b)) ** (1 / (self.alpha + self.beta))
        parameters = ratio * (flops / 6) ** (self.beta / (self.alpha + self.beta))
        tokens = flops / (6 * parameters)
        return Plan(flops, parameters, tokens, self.loss(parameters, tokens))


@dataclass(frozen=True)
class Plan:
    """What to train with a budget: parameters, tokens, and the loss to expect."""

    flops: float
    parameters: float
    tokens: float
    loss: float


FITTED = Law(a=477.82, b=2143.47, e=1.81722, alpha=0.347309, beta=0.367174)
"""What `fit` finds in the runs; a test holds the two together."""

PUBLISHED = Law(a=406.4, b=410.7, e=1.69, alpha=0.34, beta=0.28)
"""What Hoffmann et al. 2022 print in section 3.3, rounded; it asks for more tokens than they trained on."""


def runs() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Parameters, tokens (flops / 6 parameters) and losses of the paper's runs, `[runs]` each."""
    import numpy as np

    text = files("moduformer.catalog").joinpath("chinchilla_runs.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(text.splitlines()))
    parameters, flops, losses = (np.array([float(row[key]) for row in rows]) for key in ("parameters", "flops", "loss"))
    return parameters, flops / (6 * parameters), losses


def fit(parameters: np.ndarray, tokens: np.ndarray, losses: np.ndarray) -> tuple[Law, float]:
    """The law that follows runs best, and what is left of the objective.

    Minimises Huber's loss of the logarithms from a grid of beginnings, as Hoffmann et al. 2022 do (appendix D.3).

    Arguments:
        parameters, tokens, losses: `[runs]` each, at least as many as the law has numbers.

    Raises:
        DataError: too few runs, or numbers that are not positive.
    """
    import numpy as np
    from scipy.optimize import minimize

    measured = np.stack((parameters, tokens, losses)).astype(np.float64)
    if measured.shape[1] < 5:
        raise DataError(f"{measured.shape[1]} runs cannot tell the five numbers of the law; give more")
    if not (np.isfinite(measured) & (measured > 0)).all():
        raise DataError("every run needs parameters, tokens and a loss above zero")
    sizes, lengths, wanted = np.log(measured)

    def objective(law: np.ndarray) -> tuple[float, np.ndarray]:
        a, b, e, alpha, beta = law
        terms = np.stack((a - alpha * sizes, b - beta * lengths, np.full_like(sizes, e)))
        predicted = np.logaddexp.reduce(terms)
        shares = np.exp(terms - predicted)
        wrong = predicted - wanted
        near = np.abs(wrong) <= HUBER
        cost = np.where(near, wrong**2 / 2, HUBER * (np.abs(wrong) - HUBER / 2)).sum()
        slope = np.where(near, wrong, HUBER * np.sign(wrong)) * shares
        gradient = [slope[0].sum(), slope[1].sum(), slope[2].sum(), -slope[0] @ sizes, -slope[1] @ lengths]
        return float(cost), np.array(gradient)

    beginnings = product((0, 10, 20), (0, 10, 20), (-0.5, 0.5), (0, 0.5, 1), (0, 0.5, 1))
    options = {"maxiter": 5000, "ftol": 1e-15, "gtol": 1e-10}
    found = min(
        (minimize(objective, x, jac=True, method="L-BFGS-B", options=options) for x in beginnings),
        key=lambda result: float(result.fun),
    )
    a, b, e, alpha, beta = found.x.tolist()
    return Law(math.exp(a), math.exp(b), math.exp(e), alpha, beta), float(found.fun)


def fit_chinchilla() -> tuple[Law, float]:
    """The law of the paper's runs without the five of highest loss."""
    import numpy as np

    parameters, tokens, losses = runs()
    kept = np.sort(np.argsort(losses)[: len(losses) - OUTLIERS])
    return fit(parameters[kept], tokens[kept], losses[kept])
