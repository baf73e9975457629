"""docs/performance.md and its pictures, made of the results that are there."""

from __future__ import annotations

import json
from pathlib import Path

from bench import picture
from bench.markdown import section
from bench.results_file import records
from bench.sitting import ROOT
from bench.tables import NAMES, table

PAGE = ROOT / "docs" / "performance.md"
PICTURES = ROOT / "docs" / "pictures"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


def write(results: Path, path: Path = PAGE, pictures: Path = PICTURES) -> str:
    """Replaces what stands between the page's two marks, draws the pictures, and returns what it did in words."""
    parts = []
    for name in NAMES:
        file = results / f"{name}.json"
        if not file.is_file():
            continue
        data = json.loads(file.read_text(encoding="utf-8"))
        chosen, found = table(name), records(data)
        drawn = None
        if picture.possible() and any(record.ran for record in found):
            chosen.draw(found, pictures / f"bench-{name}.svg")
            drawn = f"{pictures.name}/bench-{name}.svg"
        parts.append(section(chosen, data, found, drawn))
    text = path.read_text(encoding="utf-8") if path.is_file() else f"# Performance\n\n{BEGIN}\n{END}\n"
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    path.write_text(f"{before}{BEGIN}\n\n" + "\n".join(parts) + f"\n{END}{after}", encoding="utf-8")
    return f"{path}: {len(parts)} tables"
