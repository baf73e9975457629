"""A sitting: contenders take turns A B A B in processes of their own, and only ratios of one sitting count."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench.contender import Contender, Work
from bench.worker import read

ROOT = Path(__file__).resolve().parent.parent
PAUSE = 0.3
"""Seconds between turns, in which threads that still spin come to rest."""


@dataclass
class Record:
    """What one contender did: each measure's value in every round, or why there is none."""

    name: str
    measures: dict[str, list[float]] = field(default_factory=dict)
    agreement: dict[str, float] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    more: dict[str, Any] = field(default_factory=dict)
    ready_seconds: float | None = None
    missing: str | None = None
    failed: str | None = None
    output: Any = None

    @property
    def ran(self) -> bool:
        """Whether there is anything to compare."""
        return bool(self.measures)


def environment(threads: int) -> dict[str, str]:
    """The same threads for every library, and no network."""
    names = ("OMP", "MKL", "OPENBLAS", "RAYON", "NUMEXPR")
    limits = {f"{name}_NUM_THREADS": str(threads) for name in names}
    more = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "true", "PYTHONPATH": str(ROOT)}
    return os.environ | limits | more


class Process:
    """A contender at work in a process of its own."""

    def __init__(self, table: str, contender: Contender[Any], work: Work, folder: Path, patience: float) -> None:
        self.record = Record(contender.name, missing=contender.missing())
        self.folder, self.patience = folder, patience
        self._process: subprocess.Popen[str] | None = None
        if self.record.missing:
            return
        file = folder / "work.json"
        command = [sys.executable, "-m", "bench.worker", table, contender.name, str(file)]
        settings: dict[str, Any] = {"cwd": ROOT, "env": environment(work.threads), "text": True}
        number = len(list(folder.glob("*.log")))
        self._log = (folder / f"{number}.log").open("w+")
        if not all(path.exists() for path in contender.files(work)):
            done = subprocess.run([*command, "--convert"], stdout=self._log, stderr=self._log, check=False, **settings)
            if done.returncode:
                self.record.failed = f"its conversion failed: {self._last_line()}"
                return
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, **settings
        )
        ready = self._answer()
        if ready:
            self.record.ready_seconds, self.record.versions = ready["seconds"], ready["versions"]

    def turn(self, counted: bool = True) -> bool:
        """One turn; False where there was none."""
        if self._process is None or self.record.failed:
            return False
        assert self._process.stdin is not None
        path = self.folder / f"{self._process.pid}.out"
        time.sleep(PAUSE)
        print("run", path, file=self._process.stdin, flush=True)
        answer = self._answer()
        if answer is None:
            return False
        if counted:
            for name, value in answer["measures"].items():
                self.record.measures.setdefault(name, []).append(value)
            self.record.more, self.record.output = answer["more"], read(path)
        return True

    def close(self) -> None:
        """Ends the process."""
        if self._process is not None:
            assert self._process.stdin is not None
            self._process.stdin.close()
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()

    def _answer(self) -> dict[str, Any] | None:
        assert self._process is not None
        assert self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], self.patience)[0]:
            self._process.kill()
            self.record.failed = f"no answer in {self.patience:.0f} seconds"
            return None
        line = self._process.stdout.readline()
        answer: dict[str, Any] = json.loads(line) if line else {"failed": f"it ended: {self._last_line()}"}
        self.record.failed = answer.get("failed")
        return None if self.record.failed else answer

    def _last_line(self) -> str:
        self._log.flush()
        self._log.seek(0)
        return (self._log.read().strip().splitlines() or ["without a word"])[-1][:300]


def sit(
    table: str, contenders: list[Contender[Any]], work: Work, rounds: int, warm_up: int = 1, patience: float = 1800
) -> list[Record]:
    """Every contender's record after `warm_up` turns and `rounds` turns that count, each round in turned order.

    A contender that is not installed, or that fails, is left out with its reason; the others go on.
    """
    with tempfile.TemporaryDirectory(prefix="moduformer-bench-") as name:
        folder = Path(name)
        (folder / "work.json").write_text(json.dumps(asdict(work)))
        started: list[Process] = []
        try:
            for contender in contenders:
                started.append(Process(table, contender, work, folder, patience))
                _say(started[-1].record)
            for number in range(-warm_up, rounds):
                for process in started if number % 2 == 0 else reversed(started):
                    if process.turn(number >= 0):
                        _say(process.record, f"round {number + 1}" if number >= 0 else "warm-up")
                    elif process.record.failed and not process.record.more.get("said"):
                        process.record.more["said"] = True
                        _say(process.record)
        finally:
            for process in started:
                process.close()
        return [process.record for process in started]


def _say(record: Record, when: str = "ready") -> None:
    trouble = record.missing or record.failed
    last = {name: round(values[-1], 3) for name, values in record.measures.items()}
    print(f"{when}: {record.name}: {trouble or last or ''}", file=sys.stderr, flush=True)
