"""The notebooks on this machine: in a checkout where they are made, or where the installed package put them."""

from __future__ import annotations

import importlib.util
import json
import shutil
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from moduformer.errors import DataError

CHECKOUT = Path(__file__).resolve().parents[2] / "notebooks"


@dataclass(frozen=True)
class Notebook:
    """A notebook in one language: its file, its title, and its sections."""

    path: Path
    title: str
    sections: tuple[str, ...]

    @property
    def name(self) -> str:
        """Such as `00_Attention`."""
        return self.path.stem


def notebooks(language: str) -> list[Notebook]:
    """All notebooks in a language, in order. Raises `DataError` where there are none."""
    found = [_read(path) for path in sorted(_files(language))]
    if not found:
        raise DataError("the notebooks are not on this machine; install moduformer anew, or run `make notebooks`")
    return found


def find(name: str, language: str) -> Notebook:
    """The notebook whose name begins with `name`, such as "00". Raises `DataError`."""
    every = notebooks(language)
    matching = [each for each in every if each.name.casefold().startswith(name.casefold().removesuffix(".ipynb"))]
    if len(matching) != 1:
        raise DataError(f"{name!r:.60} names {len(matching)} notebooks; there are {', '.join(e.name for e in every)}")
    return matching[0]


def read(path: Path) -> dict[str, Any]:
    """A notebook's data. Raises `DataError` for a file that is none."""
    try:
        found = json.loads(path.read_bytes())
        cells = found["cells"]
        if all(isinstance(cell, dict) and {"cell_type", "source"} <= cell.keys() for cell in cells):
            return dict(found)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        pass
    raise DataError(f"{path} is no notebook, or damaged; delete it to get it anew")


def copy_of(notebook: Notebook, language: str, folder: Path) -> Path:
    """The reader's own copy in `folder`, made where there is none yet. Raises `DataError` if it cannot be written."""
    # English notebooks stand in a folder `en`, by which a running notebook knows its language.
    place = (folder / "en" if language == "en" else folder) / notebook.path.name
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        if not place.exists():
            shutil.copyfile(notebook.path, place)
    except OSError as error:
        raise DataError(f"{place} cannot be written: {error.strerror or error}; choose another --out") from None
    return place


def has_jupyterlab() -> bool:
    """Whether JupyterLab is installed beside moduformer."""
    return importlib.util.find_spec("jupyterlab") is not None


def _files(language: str) -> list[Path]:
    if (CHECKOUT / "contents.toml").is_file():
        return list((CHECKOUT / "en" if language == "en" else CHECKOUT).glob("*.ipynb"))
    try:
        installed = metadata.files("moduformer") or []
    except metadata.PackageNotFoundError:
        return []
    places = [Path(str(file.locate())) for file in installed if file.name.endswith(".ipynb")]
    return [place for place in places if (place.parent.name == "en") == (language == "en")]


def _read(path: Path) -> Notebook:
    lines = [
        line
        for cell in read(path)["cells"]
        if cell["cell_type"] == "markdown"
        for line in "".join(cell["source"]).splitlines()
    ]
    title = next((line[2:] for line in lines if line.startswith("# ")), path.stem)
    return Notebook(path, title, tuple(line[3:] for line in lines if line.startswith("## ")))
