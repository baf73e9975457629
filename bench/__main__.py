"""Runs the side-by-side measurements one after another and prints their tables."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

TABLES = {
    "Fine-tuning, one epoch of ragged sentences": ["fine_tuning.py", "--rounds", "3"],
    "Encoder, 2,000 ragged sentences": ["inference.py", "--rounds", "3"],
}


def main() -> None:
    """Prints one Markdown table a measurement."""
    for title, (script, *arguments) in TABLES.items():
        print(f"\n## {title}\n", flush=True)
        subprocess.run([sys.executable, str(Path(__file__).parent / script), *arguments], check=True)


if __name__ == "__main__":
    main()
