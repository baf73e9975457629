"""The same calls through `transformers` 4.57 and through this library, on the same weights.

`transformers` 4 cannot live beside the 5 that the other tests compare with, so it has an environment of its own, made
and named by `make contract`; without it these tests are skipped.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from subprocess import PIPE
from typing import Any

import pytest
from calls import Call

import moduformer as mf

PYTHON = "MODUFORMER_TRANSFORMERS_4"
TOLERANCE = 1e-4


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Any], Any]]:
    """`reference(calls)`: what `transformers` 4.57 answers, in a process of its own that lives as long as the tests."""
    python = os.environ.get(PYTHON)
    if not python:
        pytest.skip(f"{PYTHON} names no Python with transformers 4.57; run `make contract`")
    place = tmp_path_factory.mktemp("contract")
    job, out = place / "job.json", place / "out.json"
    script = Path(__file__).with_name("reference.py")
    with subprocess.Popen([python, str(script)], stdin=PIPE, stdout=PIPE, text=True) as process:

        def ask(calls: Any) -> Any:
            assert process.stdin is not None
            assert process.stdout is not None
            job.write_text(json.dumps(calls, ensure_ascii=False), encoding="utf-8")
            print(job, out, file=process.stdin, flush=True)
            assert process.stdout.readline() == "done\n", "the reference ended"
            return json.loads(out.read_text(encoding="utf-8"))

        yield ask
        process.kill()


@pytest.fixture
def same(reference: Callable[[Any], Any]) -> Callable[[str, Path, Sequence[Call]], None]:
    """`same(task, folder, calls)`: asserts that every call gives what it gives in `transformers` 4.57."""

    def compare(task: str, folder: Path, calls: Sequence[Call]) -> None:
        answers = reference([{"task": task, "model": str(folder), **dataclasses.asdict(call)} for call in calls])
        for call, answer in zip(calls, answers, strict=True):
            assert "result" in answer, f"{call}: the reference says {answer['error']}"
            pipe = mf.pipeline(task, model=str(folder), device="cpu", **call.construct)
            args = [iter(call.args[0]), *call.args[1:]] if call.generator else list(call.args)
            found = pipe(*args, **call.kwargs)
            if call.generator:
                assert not isinstance(found, list)
                found = list(found)
            assert_same(found, answer["result"], str(call))

    return compare


def assert_same(ours: Any, theirs: Any, where: str) -> None:
    """Same nesting, keys (in order), types of Python and values; numbers within the tolerance."""
    if isinstance(theirs, dict):
        assert type(ours) is dict, where
        assert list(ours) == list(theirs), f"{where}: {list(ours)} is not {list(theirs)}"
        for key in theirs:
            assert_same(ours[key], theirs[key], f"{where}.{key}")
    elif isinstance(theirs, list):
        assert type(ours) is list, f"{where}: {ours!r} is not {theirs!r}"
        assert len(ours) == len(theirs), f"{where}: {ours!r} is not {theirs!r}"
        for number, (mine, other) in enumerate(zip(ours, theirs)):
            assert_same(mine, other, f"{where}[{number}]")
    elif isinstance(theirs, float):
        assert type(ours) is float, f"{where}: {type(ours)} is no plain float"
        assert math.isclose(ours, theirs, rel_tol=TOLERANCE, abs_tol=TOLERANCE), f"{where}: {ours} is not {theirs}"
    else:
        assert type(ours) is type(theirs), f"{where}: {ours!r} is not {theirs!r}"
        assert ours == theirs, f"{where}: {ours!r} is not {theirs!r}"
