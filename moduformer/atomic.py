"""Writing a file so that a reader, or a crash, finds the old one or the new one, never half of it."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def write_bytes(path: Path, content: bytes) -> Path:
    """Writes beside the place, forces it to the disk, then renames it there and forces the folder to the disk too.

    Missing folders are made. Returns the path. Raises `OSError`; an older file is then untouched and nothing is left
    of the new one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    hidden = path.parent / f".{path.name[:40]}.{secrets.token_hex(8)}"
    try:
        with open(hidden, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(hidden, path)
    except BaseException:
        hidden.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)
    return path


def write_text(path: Path, text: str) -> Path:
    """`write_bytes` of UTF-8."""
    return write_bytes(path, text.encode())


def sync_folder(folder: Path) -> None:
    """Forces the renames in a folder to the disk."""
    if os.name == "nt":  # where a folder cannot be opened
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
