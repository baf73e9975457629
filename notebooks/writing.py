"""Notebooks as files: cells of a source in one language, with what running it gave, in a form that changes little."""

from __future__ import annotations

import base64
import copy
import hashlib
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from paired import Code, Source, Text

BOTH = "application/vnd.moduformer.words+json"
"""Beside an output's text: the same words in both languages (`moduformer.course.Words`)."""

METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"file_extension": ".py", "mimetype": "text/x-python", "name": "python"},
}


def notebook(source: Source, language: str, outputs: Sequence[list[dict[str, Any]]]) -> dict[str, Any]:
    """The notebook in a language; `outputs` are those of the code cells that the reader sees, in order, normalised."""
    cells, seen, taken = [], iter(outputs), set[str]()
    count = 0
    for cell in source.cells:
        made: dict[str, Any] = {"id": _name(cell, taken), "metadata": {}}
        if isinstance(cell, Code) and not cell.answer:
            count += 1
            made |= {"cell_type": "code", "execution_count": count, "source": cell.code}
            made["outputs"] = [_counted(output, count) for output in next(seen)]
        else:
            text = cell.folded(language) if isinstance(cell, Code) else getattr(cell, language)
            made |= {"cell_type": "markdown", "source": text}
        cells.append(made)
    language_data = METADATA | {"moduformer": {"language": language}}
    return {"cells": cells, "metadata": language_data, "nbformat": 4, "nbformat_minor": 5}


def write(path: Path, content: dict[str, Any]) -> None:
    """Writes a notebook, one line of its cells a line of the file."""
    content = copy.deepcopy(content)
    for cell in content["cells"]:
        cell["source"] = cell["source"].splitlines(keepends=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, ensure_ascii=False, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def normal(output: dict[str, Any], language: str) -> dict[str, Any]:
    """An output in one language, without what differs from run to run, its pictures in few colours."""
    output = copy.deepcopy(output)
    data = output.get("data", {})
    if BOTH in data:
        data["text/plain"] = data.pop(BOTH)[language]
    if "image/png" in data:
        data["image/png"] = _few_colours(data["image/png"])
        data.pop("text/plain", None)
    if "metadata" in output:
        output["metadata"] = {}
    return output


def pages(content: dict[str, Any]) -> Iterator[str]:
    """All text that running a notebook gave, without pictures."""
    for cell in content["cells"]:
        for output in cell.get("outputs", ()):
            yield "".join(output.get("text", ""))
            for kind, data in output.get("data", {}).items():
                if not kind.startswith("image/"):
                    yield "".join(data) if isinstance(data, list) else str(data)


def _name(cell: Text | Code, taken: set[str]) -> str:
    """An id of the cell's content, so that a new cell renames no other."""
    content = cell.code if isinstance(cell, Code) else f"{cell.ko}\n{cell.en}"
    name = digest = hashlib.sha256(content.encode()).hexdigest()[:10]
    number = 1
    while name in taken:
        number += 1
        name = f"{digest}-{number}"
    taken.add(name)
    return name


def _counted(output: dict[str, Any], count: int) -> dict[str, Any]:
    return output | {"execution_count": count} if "execution_count" in output else output


def _few_colours(png: str) -> str:
    from PIL import Image

    out = io.BytesIO()
    picture = Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB")
    picture.quantize(128, dither=Image.Dither.NONE).save(out, "png", optimize=True)
    return base64.b64encode(out.getvalue()).decode()
