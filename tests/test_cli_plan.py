"""`moduformer plan` at the command line."""

import json

import pytest
from typer.testing import CliRunner

from moduformer.cli.app import app


def test_a_plan_says_size_tokens_and_loss_of_both_laws():
    made = CliRunner().invoke(app, ["plan", "--flops", "5.76e23"])
    assert made.exit_code == 0
    assert "tokens a parameter" in made.stdout
    assert "17.9" in made.stdout
    assert "92.6" in made.stdout


def test_a_plan_as_json_spends_the_budget():
    made = CliRunner().invoke(app, ["plan", "--flops", "1e21", "--json"])
    found = json.loads(made.stdout)["fitted to the runs"]["plan"]
    assert 6 * found["parameters"] * found["tokens"] == pytest.approx(1e21)


def test_no_budget_is_refused_with_a_sentence():
    made = CliRunner().invoke(app, ["plan", "--flops", "-3"])
    assert made.exit_code == 1
    assert "give a number such as 5.76e23" in made.stderr
