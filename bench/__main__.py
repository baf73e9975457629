"""Speed beside other libraries: `python -m bench TABLE... [--rounds N] [--rows N]`; `--help` names the tables.

Each table's rounds go into OUT/TABLE.json; `python -m bench page` makes docs/performance.md and its pictures of them.
"""

from __future__ import annotations

import argparse
import datetime
import shlex
import sys
from pathlib import Path
from typing import Any

from bench import page
from bench.contender import Contender
from bench.limits import Limits
from bench.machine import load, machine
from bench.markdown import limits
from bench.results_file import as_data, write
from bench.sitting import ROOT, sit
from bench.tables import NAMES, table

RESULTS = ROOT / "bench" / "results"


def parsed(words: list[str]) -> argparse.Namespace:
    """The options: those of every table, and those that only the named tables have."""
    parser = argparse.ArgumentParser(prog="moduformer bench", description=__doc__, add_help=False)
    parser.add_argument(
        "tables", nargs="*", metavar="TABLE", help=f"{', '.join(NAMES)}, or all; `page` writes the page"
    )
    parser.add_argument("-h", "--help", action="store_true", help="show this, and the options of the named tables")
    parser.add_argument("--rounds", type=int, help="rounds that count, after a warm-up")
    parser.add_argument("--threads", type=int, default=2, help="threads of every contender (default 2)")
    parser.add_argument("--only", nargs="+", metavar="WORD", help="only contenders whose name has one of these words")
    parser.add_argument("--out", type=Path, default=RESULTS, help="where results go (default bench/results)")
    parser.add_argument(
        "--kept", default=str(ROOT / "runs" / "bench"), help="where converted weights are kept (default runs/bench)"
    )
    parser.add_argument("--patience", type=float, default=1800, help="seconds that one turn may take")
    known = parser.parse_known_args(words)[0]
    named = [name for name in expanded(known.tables or ["all"]) if name != "page"]
    seen: set[str] = set()
    for name in named:
        own = argparse.ArgumentParser(add_help=False)
        table(name).arguments(own)
        for action in own._actions:
            if action.dest not in seen:
                seen.add(action.dest)
                parser._add_action(action)
    options = parser.parse_args(words)
    if options.help or not options.tables:
        parser.print_help()
        raise SystemExit(0 if options.help else 2)
    return options


def expanded(tables: list[str]) -> list[str]:
    """The tables that were named, `all` of them in its place."""
    return [name for each in tables for name in (NAMES if each == "all" else (each,))]


def spelled(name: str, words: list[str]) -> str:
    """The command that makes one table, without where this machine keeps files; of other paths, the last two parts."""
    kept: list[str] = []
    left = iter(words)
    for word in left:
        if word in ("--kept", "--out"):
            next(left, None)
        elif word not in (*NAMES, "all", "page") and not word.startswith(("--kept=", "--out=")):
            kept.append("/".join(Path(word).parts[-2:]) if Path(word).is_absolute() else word)
    return shlex.join(["python", "-m", "bench", name, *kept])


def measure(name: str, options: argparse.Namespace, words: list[str]) -> dict[str, Any]:
    """Runs one table and returns its results as data."""
    chosen = table(name)
    work = chosen.work(options)
    rounds = options.rounds or chosen.rounds
    contenders: list[Contender[Any]] = [
        each for each in chosen.contenders if not options.only or any(word in each.name for word in options.only)
    ]
    before = load()
    *records, machine_limits = sit(name, [*contenders, Limits()], work, rounds, chosen.warm_up, options.patience)
    reference = chosen.compare(records, work)
    facts = {
        "table": name,
        "reference": reference,
        "command": spelled(name, words),
        "date": datetime.date.today().isoformat(),
        "machine": machine(),
        "threads": options.threads,
        "rounds": rounds,
        "load": round(before, 2),
        "load_after": round(load(), 2),
        "limits": machine_limits.measures,
    }
    print(f"\n## {chosen.title}\n\n{chosen.grid(records)}\n\n{limits(machine_limits.measures)}", flush=True)
    return as_data(records, facts)


def main(words: list[str] | None = None) -> None:
    """Runs the named tables, one after another, or writes the page."""
    words = sys.argv[1:] if words is None else words
    options = parsed(words)
    for name in expanded(options.tables):
        if name == "page":
            print(page.write(options.out))
            continue
        write(options.out / f"{name}.json", measure(name, options, words))


if __name__ == "__main__":
    main()
