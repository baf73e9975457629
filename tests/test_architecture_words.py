"""Architectures in words: nothing that changes the numbers goes without being said."""

import subprocess
import sys

import pytest
from test_core_fields import CASES

from moduformer.architecture import Spec
from moduformer.architecture.words import compare, describe, idle_parameters
from moduformer.families import spec


@pytest.mark.parametrize("field", CASES, ids=".".join)
def test_every_field_is_told(field: tuple[str, str]) -> None:
    before, after = CASES[field].specs()
    assert before == after or describe(before) != describe(after)
    assert before == after or compare(before, after)


def told(name: str) -> dict[str, str]:
    return dict(describe(spec(name)))


def test_what_tells_falcons_apart() -> None:
    large, small, old = (told(f"falcon-{size}") for size in ("40b", "7b", "rw-1b"))
    assert large["  order"] == "attention beside feed-forward, a norm each"
    assert small["  order"] == "attention beside feed-forward, one norm for both"
    assert old["  order"] == "attention, then feed-forward"
    assert "128 heads of 64, 8 key-value heads" in large["  attention"]
    assert "71 heads of 64, 1 key-value head," in small["  attention"]
    assert "rotary" in large["  positions"]
    assert "ALiBi" in old["  positions"]
    assert "tied" in large["head"]


def test_patterns_are_told_once_and_in_turn() -> None:
    assert told("gemma-2-2b")["  window"] == "in turn 4,096 tokens; all tokens"
    assert told("mistral-7b-v0.1")["  window"] == "4,096 tokens"
    assert "  window" not in told("llama-2-7b")
    upper = spec("qwen2-7b").to_dict()
    upper["decoder"]["pattern"] *= 28
    windowed = {**upper["decoder"]["pattern"][0]}
    windowed["attention"] = {**windowed["attention"], "window": 100}
    upper["decoder"]["pattern"][24:] = [windowed] * 4
    assert dict(describe(Spec.from_dict(upper)))["  window"] == "24 x all tokens; 4 x 100 tokens"


def test_experts_that_a_token_passes_by_are_counted() -> None:
    mixtral = spec("mixtral-8x7b-v0.1")
    assert mixtral.num_parameters() - idle_parameters(mixtral) == 12_879_925_248
    assert idle_parameters(spec("llama-2-7b")) == 0


def test_lines_of_one_side_stand_where_they_belong() -> None:
    rows = [label for label, _, _ in compare(spec("llama-2-7b"), spec("gpt-neo-1.3b"))]
    assert rows.index("embedding") < rows.index("decoder")
    assert rows.index("  window") < rows.index("head")


@pytest.mark.parametrize("command", [["show", "falcon-40b"], ["diff", "llama-2-7b", "bloom-7b1"]])
def test_a_hundred_columns_are_enough(command: list[str]) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "moduformer", *command],
        capture_output=True,
        text=True,
        check=True,
        env={"COLUMNS": "100", "PATH": "/usr/bin"},
    )
    lines = run.stdout.splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 100
