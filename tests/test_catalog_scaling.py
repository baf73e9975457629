"""Chinchilla's law: fitted anew, and what it says of budgets."""

import math
from dataclasses import astuple

import numpy as np
import pytest

from moduformer.catalog.scaling import FITTED, PUBLISHED, Law, fit, fit_chinchilla, runs
from moduformer.errors import DataError


def test_the_fit_of_the_papers_runs_is_the_one_of_besiroglu_and_others():
    assert len(runs()[0]) == 245
    law, left = fit_chinchilla()
    for found, reported in zip(astuple(law), (477.8, 2143.0, 1.8172, 0.3473, 0.3672)):
        assert math.isclose(found, reported, rel_tol=0.005)
    assert math.isclose(left, 0.00101827, rel_tol=1e-3)
    for found, kept in zip(astuple(law), astuple(FITTED)):
        assert math.isclose(found, kept, rel_tol=1e-3)


def test_a_law_is_found_again_in_losses_made_from_it():
    law = Law(300.0, 900.0, 1.5, 0.4, 0.3)
    sizes, tokens = (grid.ravel() for grid in np.meshgrid(np.logspace(7, 10, 8), np.logspace(8, 11, 8)))
    losses = np.array([law.loss(n, d) for n, d in zip(sizes, tokens)])
    found, left = fit(sizes, tokens, losses)
    assert left < 1e-9
    for ours, theirs in zip(astuple(found), astuple(law)):
        assert math.isclose(ours, theirs, rel_tol=0.02)


@pytest.mark.parametrize(("law", "tokens_a_parameter"), [(FITTED, 18), (PUBLISHED, 93)])
def test_a_plan_spends_its_budget_where_the_loss_is_lowest(law: Law, tokens_a_parameter: int):
    plan = law.plan(5.76e23)
    assert math.isclose(6 * plan.parameters * plan.tokens, 5.76e23)
    assert round(plan.tokens / plan.parameters) == tokens_a_parameter
    for factor in (0.9, 1.1):
        assert law.loss(plan.parameters * factor, plan.tokens / factor) > plan.loss


def test_what_is_no_budget_and_no_run_is_refused():
    for flops in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(DataError, match="budget"):
            FITTED.plan(flops)
    ones = np.ones(4)
    with pytest.raises(DataError, match="4 runs"):
        fit(ones, ones, ones)
    with pytest.raises(DataError, match="above zero"):
        fit(np.ones(6), np.ones(6), np.array([1, 2, 3, 4, 5, -1.0]))
