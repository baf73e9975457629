"""`moduformer demo`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from moduformer.cli.output import duration, grid, percent, result, say

if TYPE_CHECKING:
    from moduformer.demo.job import Demo


def demo(
    out: Annotated[Path, typer.Option(help="Folder for everything it makes.")] = Path("runs/demo"),
    fast: Annotated[bool, typer.Option("--fast", help="Train on very little, to see that everything works.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """The whole job on real text: fetch a model and rated sentences, fine-tune, compare, predict, report."""
    from moduformer.cli.progress import Progress
    from moduformer.demo.job import run

    watching: list[Progress] = []

    def watchers() -> list[Progress]:
        watching.append(Progress())
        return watching[-1:]

    try:
        found = run(out, fast, say=say, watchers=watchers)
    finally:
        for progress in watching:
            progress.close()
    if as_json:
        result(found.to_dict())
    else:
        show(found)


def show(found: Demo) -> None:
    """The table of accuracies, and what to do next."""
    domains = list(next(iter(found.accuracy.values())))
    rows = [
        [name, *(percent(scores[d]) for d in domains), duration(found.seconds[name]) if name in found.seconds else "-"]
        for name, scores in found.accuracy.items()
    ]
    grid(
        f"accuracy on held-out sentences; trained on {domains[0]} only ({found.rows['train']:,} sentences)",
        ["", *domains, "training"],
        rows,
    )
    print(
        f"\nThe report is {found.report} (open it in a browser); the numbers are in {found.folder / 'demo.json'}.\n"
        f"Took {duration(found.total_seconds)}. What to type next:\n"
        f"  edit {found.folder / 'sentences.txt'} and run this again: only the answers are made anew\n"
        f'  moduformer predict {found.folder / "plain"} "any text of yours"\n'
        f"  moduformer train your.csv --text COLUMN --label COLUMN --out runs/mine\n"
        f"(inside this checkout the program is .venv/bin/moduformer)"
    )
