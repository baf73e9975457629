"""`mf.view`: one call to a page about one text or two, in one model or two."""

from __future__ import annotations

import atexit
import shutil
import sys
import tempfile
import webbrowser
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from moduformer.errors import TextError
from moduformer.images import ImageProcessor
from moduformer.model import Model
from moduformer.view.document import save_page
from moduformer.view.pictures import processor_beside
from moduformer.view.record import Recording, record
from moduformer.view.server import PageServer
from moduformer.view.source import Source
from moduformer.view.widget import widget


class View:
    """A page that is not shown yet: `open()` it here, `save(path)` it as a file, `serve()` it."""

    def __init__(self, source: Source, language: str = "") -> None:
        self.source, self.language = source, language

    @property
    def recordings(self) -> list[Recording]:
        """What is looked at."""
        return list(self.source.recordings.values())

    def save(self, path: str | Path) -> Path:
        """Writes one file that needs no network. Raises `DataError` if it cannot be written."""
        return save_page(self.source, path, self.language)

    def serve(self, port: int = 0) -> PageServer:
        """Serves the page to this computer's browser; its address is in `address`."""
        return PageServer(self.source, port, self.language)

    def open(self, port: int = 0) -> PageServer:
        """Serves the page and opens it in the browser."""
        server = self.serve(port)
        open_in_browser(server.address)
        return server

    def __repr__(self) -> str:
        names = ", ".join(f"{each.name} ({each.id})" for each in self.recordings)
        return f"View({names}); .open() shows it, .save('page.html') keeps it"


def view(
    text: str | None = None,
    *,
    model: str | Path | Model | Any = "minilm",
    compare: str | Path | Model | Any = None,
    second: str | None = None,
    pair: str | None = None,
    target: str | None = None,
    image: Any = None,
    generate: int = 0,
    task: str | None = None,
    language: str = "",
    notebook: bool | None = None,
    names: Sequence[str] = (),
    processors: Sequence[ImageProcessor | None] = (),
) -> View | Any:
    """Shows what a model looks at in a text.

    Arguments:
        text: what it reads.
        model: a name as in `mf.load`, a model, or a fitted estimator.
        compare: another model that reads the same, such as the one before fine-tuning.
        second: another text for the same models.
        pair: a text that belongs to the first (question and context).
        target: an encoder-decoder's second text; without it the model writes one.
        image: a file, a Pillow image or pixel values.
        generate: tokens that a decoder shall write after the text.
        task: which head to load, as in `mf.load`.
        language: of the page: "en", "ko", or "" for the browser's.
        notebook: a widget or not; None: where there is a notebook and anywidget.
        names: what the page calls the models.
        processors: how pictures are prepared for each; without them, as the model's folder says.

    Returns a widget in a notebook, elsewhere a `View` with `open()`, `save(path)` and `serve()`.
    """
    texts = [text] if second is None else [text, second]
    recordings: list[Recording] = []
    for place, source in enumerate([model] if compare is None else [model, compare]):
        loaded, name = model_of(source, task)
        name = called(names[place]) if place < len(names) else name
        prepared = processors[place] if place < len(processors) else None
        if prepared is None and image is not None and isinstance(source, str | Path):
            prepared = processor_beside(source)
        for each in texts:
            number = str(len(recordings) + 1)
            recordings.append(
                record(loaded, each, target, image, generate, pair=pair, name=name, id=number, processor=prepared)
            )
    return shown(recordings, language, notebook)


def shown(recordings: Sequence[Recording], language: str = "", notebook: bool | None = None) -> View | Any:
    """Recordings as a widget in a notebook, elsewhere as a `View`."""
    if language not in ("", "en", "ko"):
        raise TextError(f'language is {language!r:.40}; the page speaks "en" and "ko"')
    source = Source(recordings)
    if notebook if notebook is not None else in_notebook():
        return widget(source, language)
    return View(source, language)


def model_of(source: Any, task: str | None = None) -> tuple[Model, str]:
    """A model and what a page calls it; never the path of a folder."""
    if isinstance(source, Model):
        known = source.origin.family.name if source.origin is not None else None
        return source, known or "model"
    fitted = getattr(source, "model_", None)
    if isinstance(fitted, Model):
        return fitted, type(source).__name__
    from moduformer.loading import load

    return load(source, task), called(str(source))


def called(source: str) -> str:
    """What a page calls a model: its name, and of a folder's path the last part."""
    place = Path(source)
    return place.resolve().name if place.exists() or source.startswith((".", "/", "~")) else source


def in_notebook() -> bool:
    """Whether this code runs in a notebook's kernel, and a widget can be shown there."""
    shell = sys.modules.get("IPython")
    if shell is None:
        return False
    import importlib.util

    kernel = getattr(shell, "get_ipython", lambda: None)()
    return hasattr(kernel, "kernel") and importlib.util.find_spec("anywidget") is not None


def open_in_browser(address: str) -> bool:
    """Opens the address by way of a page that only its owner can read: a command line, which holds the key otherwise,
    is seen by everyone on the computer."""
    folder = Path(tempfile.mkdtemp(prefix="moduformer-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    page = folder / "open.html"
    page.write_text(
        f'<!doctype html><meta charset="utf-8"><meta http-equiv="refresh" content="0; url={address}">'
        f'<a href="{address}">{address.rpartition("/")[0].rpartition("/")[0]}</a>\n',
        encoding="utf-8",
    )
    try:
        return webbrowser.open(page.as_uri())
    except webbrowser.Error:
        return False
