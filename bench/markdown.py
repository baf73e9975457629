"""A table's results as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bench.figures import Spread, ratios
from bench.sitting import Record
from bench.table import Column, Table

LIMITS = {
    "gemm_fp32_gflops": "float32 products {:,.0f} GFLOP/s",
    "gemm_int8_gops": "int8 products {:,.0f} GOP/s",
    "memory_read_gb_s": "memory read at {:.1f} GB/s",
}


def grid(table: Table[Any], records: Sequence[Record]) -> str:
    """One row a contender: ratios to the base first, then measures, then agreement; below, who did not run and why."""
    base = table.base(records)
    first = [column for column in table.columns if column.ratio]
    headings = [
        "",
        *(f"{column.heading}: times as good" for column in first),
        *(column.heading for column in (*table.columns, *table.agreements)),
    ]
    lines = [_row(headings), "| --- |" + " ---: |" * (len(headings) - 1)]
    for record in records:
        if not record.ran:
            continue
        assert base is not None
        lines.append(
            _row(
                [
                    record.name,
                    *(_ratio(column, record, base) for column in first),
                    *(_measure(column, record.measures.get(column.key)) for column in table.columns),
                    *(_agreement(column, record.agreement.get(column.key)) for column in table.agreements),
                ]
            )
        )
    absent = [f"- {record.name}: {record.missing or record.failed}" for record in records if not record.ran]
    return "\n".join([*lines, *(["", "Did not run:", "", *absent] if absent else [])])


def limits(found: Mapping[str, Sequence[float]]) -> str:
    """What the machine could do during the sitting, as a sentence; empty where it was not measured."""
    parts = [words.format(Spread.of(found[key]).median) for key, words in LIMITS.items() if found.get(key)]
    return f"Limits measured in the same sitting (median of rounds): {', '.join(parts)}." if parts else ""


def section(table: Table[Any], data: Mapping[str, Any], records: Sequence[Record], picture: str | None) -> str:
    """A table's part of the page."""
    seen = {name: version for record in records for name, version in record.versions.items()}
    machine = data["machine"]
    parts = [
        f"## {table.title}",
        table.about,
        table.grid(records),
        f"![{table.title}]({picture})" if picture else "",
        limits(data.get("limits", {})),
        f"`{data['command']}` on {machine.get('processor')}, {machine['cores']} cores "
        f"({machine.get('instructions', '')}), {machine.get('memory', '? GiB')}, Python {machine['python']}; "
        f"medians of {data['rounds']} interleaved rounds, "
        f"{data['threads']} threads, {data['date']}; load of the machine {data['load']:.1f} before and "
        f"{data['load_after']:.1f} after. "
        + ", ".join(f"{name} {version}" for name, version in sorted(seen.items()))
        + ".",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _ratio(column: Column, record: Record, base: Record) -> str:
    own, theirs = record.measures.get(column.key), base.measures.get(column.key)
    return f"{ratios(own, theirs, column.lower_is_better).median:.2f}" if own and theirs else "-"


def _measure(column: Column, rounds: Sequence[float] | None) -> str:
    if not rounds:
        return "-"
    spread = Spread.of([value * column.scale for value in rounds])
    shown = f"{spread.median:,.{column.digits}f}"
    if not column.spread or len(rounds) == 1:
        return shown
    return f"{shown} ({spread.least:,.{column.digits}f}-{spread.most:,.{column.digits}f})"


def _agreement(column: Column, value: float | None) -> str:
    return "-" if value is None or value != value else f"{value * column.scale:,.{column.digits}f}"
