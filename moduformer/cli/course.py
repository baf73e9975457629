"""`moduformer course`: the notebooks, and opening one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from moduformer.cli.output import say


def course(
    name: Annotated[str | None, typer.Argument(help="A notebook, or the beginning of its name, such as 00.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for your copy of the notebook.")] = Path("runs/course"),
    as_page: Annotated[
        bool, typer.Option("--page", help="A page to read, even where JupyterLab is installed.")
    ] = False,
    browser: Annotated[bool, typer.Option(help="Open it; otherwise only say where it is.")] = True,
    language: Annotated[str | None, typer.Option(help="en or ko; default: that of the environment.")] = None,
) -> None:
    """Lists the notebooks of the course, or opens one: in JupyterLab if it is installed, as a page otherwise."""
    from moduformer.course.notebooks import copy_of, find, has_jupyterlab, notebooks
    from moduformer.course.words import language as readers

    chosen = readers(language)
    if name is None:
        for each in notebooks(chosen):
            print(f"{each.name}\n  {each.title}")
            for section in each.sections:
                print(f"    {section}")
        say("`moduformer course 00`은 하나를 엽니다" if chosen == "ko" else "`moduformer course 00` opens one")
        return
    notebook = find(name, chosen)
    if has_jupyterlab() and not as_page:
        place = copy_of(notebook, chosen, out)
        print(place)
        if browser:
            _jupyterlab(place)
        return
    from moduformer.atomic import write_text
    from moduformer.course.page import page

    place = copy_of(notebook, chosen, out).with_suffix(".html")
    write_text(place, page(notebook, chosen))
    print(place)
    if browser:
        import webbrowser

        webbrowser.open(place.resolve().as_uri())
    if not as_page:
        say(
            "실행하려면 JupyterLab이 필요합니다: pip install jupyterlab matplotlib"
            if chosen == "ko"
            else "To run it, install JupyterLab: pip install jupyterlab matplotlib"
        )


def _jupyterlab(place: Path) -> None:
    import subprocess
    import sys

    raise typer.Exit(subprocess.run([sys.executable, "-m", "jupyterlab", str(place)]).returncode)
