"""The page in a notebook: a widget that asks the kernel (`pip install moduformer[notebook]`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from moduformer.errors import DataError, ModuformerError
from moduformer.view.document import resource, save_page
from moduformer.view.source import Source


def widget(source: Source, language: str = "") -> Any:
    """A notebook widget of these recordings; `widget.save(path)` writes it as a file.

    Raises `DataError` where anywidget is not installed.
    """
    try:
        import anywidget
        import traitlets
    except ModuleNotFoundError:
        raise DataError("the viewer in a notebook needs anywidget: pip install moduformer[notebook]") from None

    chosen = language

    class Viewer(anywidget.AnyWidget):
        """The attention viewer; what is looked at is in `source`."""

        _esm = resource("viewer.js")
        _css = resource("viewer.css")
        recordings: Any = traitlets.List().tag(sync=True)
        language: Any = traitlets.Unicode("").tag(sync=True)

        def __init__(self) -> None:
            super().__init__(recordings=[each.data for each in source.recordings.values()], language=chosen)
            self.source = source
            self.on_msg(self._hear)

        def _hear(self, _: Any, message: Any, __: Any) -> None:
            reply, buffers = answer(source, message)
            self.send(reply, buffers)

        def save(self, path: str | Path) -> Path:
            """Writes the page as one file that needs no network."""
            return save_page(source, path, chosen)

    return Viewer()


def answer(source: Source, message: Any) -> tuple[dict[str, Any], list[bytes]]:
    """The reply to a page's message `{"id", "question", "parameters"}`, and the bytes that go with it."""
    given = message if isinstance(message, dict) else {}
    number = given.get("id")
    try:
        found = source.ask(given.get("question"), given.get("parameters", {}))
    except ModuformerError as error:
        return {"id": number, "error": str(error)}, []
    except Exception:
        return {"id": number, "error": "the answer could not be computed"}, []
    if isinstance(found, bytes):
        return {"id": number, "answer": None}, [found]
    return {"id": number, "answer": found}, []
