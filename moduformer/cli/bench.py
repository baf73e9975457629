"""`moduformer bench`: speed beside other libraries, measured by what a checkout holds in bench/."""

from __future__ import annotations

from typing import Annotated

import typer


def bench(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[TABLE]... [OPTION]...",
            help="encoder, decoder, encoder-decoder, fine-tuning, few-shots, cold-start, growth, or all; `page` writes "
            "docs/performance.md. Without any, all tables' options are shown.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Speed beside other libraries, which take turns with this one on the same weights and texts.

    Only in a checkout: what it runs is not part of the installed package.
    """
    import os
    import subprocess
    import sys
    from pathlib import Path

    import moduformer
    from moduformer.errors import SourceError

    root = Path(moduformer.__file__).resolve().parent.parent
    if not (root / "bench" / "__main__.py").is_file():
        raise SourceError(
            f"the benchmark is not part of the installed package: {root} holds no bench/. Get a checkout of "
            "moduformer, install it with `pip install -c constraints.txt -e .[bench]`, and run this command there"
        )
    path = os.pathsep.join(filter(None, (str(root), os.environ.get("PYTHONPATH"))))
    command = [sys.executable, "-m", "bench", *(words or ["--help"])]
    raise typer.Exit(subprocess.run(command, env=os.environ | {"PYTHONPATH": path}, check=False).returncode)
