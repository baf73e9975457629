"""Where words go: results on stdout, everything else on stderr."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console


def say(line: str) -> None:
    """A line for the person, beside the results."""
    print(line, file=sys.stderr, flush=True)


def result(data: Any) -> None:
    """A result as indented JSON."""
    print(json.dumps(data, ensure_ascii=not _writes_all(), indent=2, allow_nan=False))


def line(data: Any) -> None:
    """A result as one line of JSON."""
    print(json.dumps(data, ensure_ascii=not _writes_all(), allow_nan=False), flush=True)


def _writes_all() -> bool:
    """Whether stdout can hold every character; where not, JSON spells the others as escapes."""
    return (sys.stdout.encoding or "utf-8").lower().replace("-", "").startswith("utf")


def write_any_character() -> None:
    """Lets stdout and stderr spell what their encoding does not have, rather than fail halfway."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def console() -> Console:
    """Where tables go: stdout, whose reader may leave before the end."""
    from rich.console import Console

    class Quiet(Console):
        def on_broken_pipe(self) -> None:
            # Rich would end the program with a status of 1; whoever runs the command knows better.
            raise BrokenPipeError

    return Quiet(file=sys.stdout)


def grid(title: str, columns: list[str], rows: list[list[str]]) -> None:
    """A table on stdout; numbers stand to the right."""
    from rich.table import Table
    from rich.text import Text

    table = Table(
        title=title or None,
        title_justify="left",
        box=None,
        pad_edge=False,
        header_style="bold",
        show_header=any(columns),
    )
    for i, column in enumerate(columns):
        table.add_column(column, justify="left" if i == 0 else "right", overflow="fold")
    for row in rows:
        # Text, because a label may look like rich's markup.
        table.add_row(*(Text(cell) for cell in row))
    console().print(table)


def facts(title: str, columns: list[str], rows: list[tuple[str, ...]]) -> None:
    """Words in columns on stdout; long ones go on below."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title or None, title_justify="left", box=None, pad_edge=False, header_style="bold")
    table.show_header = any(columns)
    for i in range(len(rows[0])):
        table.add_column(Text(columns[i] if columns else ""), no_wrap=i == 0)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console().print(table)


def percent(share: float | None) -> str:
    """0.9321 as "93.2 %"."""
    return "-" if share is None else f"{100 * share:.1f} %"


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def size(count: float | None) -> str:
    """Bytes as a person says them."""
    if count is None:
        return "unknown"
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit in ("bytes", "kB") else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def cost_rows(estimate: Mapping[str, Any]) -> list[list[str]]:
    """What a training run would cost, as rows of a table; `estimate` has steps, seconds and peak_memory_bytes."""
    return [
        ["steps", f"{estimate['steps']:,}"],
        ["time, about", duration(estimate["seconds"])],
        ["memory, about", size(estimate["peak_memory_bytes"])],
    ]
