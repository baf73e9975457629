"""The file that says how a checkpoint is meant to generate: `generation_config.json`, as data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from moduformer.errors import CheckpointError
from moduformer.weights.strict_json import parse_object

GENERATION_CONFIG = "generation_config.json"
MAX_BYTES = 2**20


def read_generation_config(path: Path) -> dict[str, Any] | None:
    """The content of a folder's `generation_config.json`; None for a folder without one, and for a single file.

    Values are not judged here: a model loads whatever they are, and generating checks them. Raises `CheckpointError`
    for a file that is too large or no JSON object.
    """
    file = path / GENERATION_CONFIG
    if not path.is_dir() or not file.is_file():
        return None
    try:
        if file.stat().st_size > MAX_BYTES:
            raise CheckpointError(f"{file} has {file.stat().st_size:,} bytes, which no generation config has")
        return parse_object(file.read_bytes())
    except (ValueError, OSError) as error:
        raise CheckpointError(f"{file}: {error}") from None
