"""A table's results as an SVG, drawn by matplotlib where it is installed."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.figures import Spread

if TYPE_CHECKING:
    from bench.sitting import Record
    from bench.table import Column

OURS, THEIRS = "#c2410c", "#9ca3af"


def possible() -> bool:
    """Whether pictures can be drawn here."""
    return importlib.util.find_spec("matplotlib") is not None


def figure(width: float, height: float) -> Any:
    """An empty figure whose letters stay letters."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.fonttype"] = "none"
    mpl.rcParams["svg.hashsalt"] = "moduformer"
    mpl.rcParams["font.size"] = 9
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def save(drawn: Any, path: Path) -> None:
    """Writes it; equal results give equal files."""
    path.parent.mkdir(parents=True, exist_ok=True)
    drawn.savefig(path, format="svg", metadata={"Date": None})
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join(line.rstrip() for line in lines) + "\n", encoding="utf-8")


def bars(columns: Sequence[Column], records: Sequence[Record], path: Path) -> None:
    """For each column with a ratio a panel of bars, one a contender, with the least and the most of the rounds."""
    ran = [record for record in records if record.ran]
    shown = [column for column in columns if column.ratio and any(record.measures.get(column.key) for record in ran)]
    drawn = figure(3.2 + 3.0 * len(shown), 0.8 + 0.27 * len(ran))
    panels = drawn.subplots(1, len(shown), sharey=True, squeeze=False)[0]
    for panel, column in zip(panels, shown):
        for place, record in enumerate(ran):
            rounds = record.measures.get(column.key)
            if not rounds:
                continue
            spread = Spread.of([value * column.scale for value in rounds])
            reach = [[spread.median - spread.least], [spread.most - spread.median]]
            color = OURS if record.name.startswith("moduformer") else THEIRS
            panel.barh(place, spread.median, color=color, xerr=reach, error_kw={"elinewidth": 0.8, "capsize": 2})
        panel.set_title(f"{column.heading} ({'lower' if column.lower_is_better else 'higher'} is better)", fontsize=9)
        panel.set_yticks(range(len(ran)), [record.name for record in ran])
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].invert_yaxis()
    save(drawn, path)
