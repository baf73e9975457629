"""Side-by-side measuring: contenders take turns in processes of their own, and only ratios of one sitting count."""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any


def peak_memory() -> float:
    """The most memory this process has held so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def take_turns(
    script: Path, contenders: list[str], rounds: int, arguments: list[str]
) -> dict[str, list[dict[str, Any]]]:
    """Runs `script --run NAME` for every contender in turn, `rounds` times; each prints one JSON line at its end."""
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in contenders}
    for turn in range(rounds):
        for name in contenders if turn % 2 == 0 else reversed(contenders):
            done = subprocess.run(
                [sys.executable, str(script), "--run", name, *arguments], capture_output=True, text=True, check=False
            )
            if done.returncode:
                raise SystemExit(f"{name} failed:\n{done.stderr[-2000:]}")
            found[name].append(json.loads(done.stdout.strip().splitlines()[-1]))
            print(f"round {turn + 1}: {name}: {found[name][-1]}", file=sys.stderr, flush=True)
    return found


def table(found: dict[str, list[dict[str, Any]]], base: str, speed: str, memory: str = "peak_mib") -> str:
    """A Markdown table: the ratio to `base` first, then medians and spread."""
    middle = statistics.median(run[speed] for run in found[base])
    lines = [
        f"| contender | ratio | {speed.replace('_', ' ')}, median (least-most) | peak MiB |",
        "| --- | --- | --- | --- |",
    ]
    for name, runs in found.items():
        speeds = [run[speed] for run in runs]
        lines.append(
            f"| {name} | {statistics.median(speeds) / middle:.2f} | {statistics.median(speeds):.0f} "
            f"({min(speeds):.0f}-{max(speeds):.0f}) | {statistics.median(run[memory] for run in runs):.0f} |"
        )
    return "\n".join(lines)
