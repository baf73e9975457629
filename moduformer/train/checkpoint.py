"""Checkpoints of a training run, from which it goes on as if nothing had happened.

A checkpoint is a folder `step-00000120` with all tensors (safetensors), everything else (`state.json`) and a manifest
with the SHA-256 of both. It is written under a hidden name, forced to the disk file by file, and only then gets its
name; last of all `latest.json` is replaced, which names the newest and the best checkpoint and their manifests' hashes.
So a crash, a full disk or a power cut leaves `latest.json` pointing at something whole: the old state or the new one.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from moduformer import atomic
from moduformer.errors import CheckpointError, TrainingError
from moduformer.train.callbacks import json_safe
from moduformer.weights.files import open_tensors, save_tensors

POINTER = "latest.json"
MANIFEST = "manifest.json"
STATE = "state.json"
HIDDEN = ".unfinished-"
_NAME = re.compile(r"step-\d{8,}(-\d+)?")
_MAX_JSON = 256 * 2**20


@dataclass(eq=False)
class State:
    """All that a run is: `tensors` (weights, optimizer, PyTorch's generators) and JSON-safe `data` (all else)."""

    tensors: dict[str, Tensor]
    data: dict[str, Any]


def write(folder: Path, step: int, state: State, best: bool = False) -> Path:
    """Saves a checkpoint, makes it the latest (and the best), and removes those that are neither any more.

    Returns:
        The checkpoint's folder.

    Raises:
        CheckpointError: the disk is full or fails; the previous checkpoint is still there, unchanged.
    """
    hidden = folder / f"{HIDDEN}{secrets.token_hex(8)}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        atomic.sync_folder(folder.parent)
        pointer = _pointer(folder)
        hidden.mkdir()
        files = save_tensors(hidden, state.tensors)
        atomic.write_bytes(hidden / STATE, _json(state.data))
        manifest = _json({path.name: _described(path) for path in (*files, hidden / STATE)})
        atomic.write_bytes(hidden / MANIFEST, manifest)
        path = _unused(folder, step)
        os.replace(hidden, path)
        atomic.sync_folder(folder)
        entry = {"name": path.name, "manifest": hashlib.sha256(manifest).hexdigest()}
        atomic.write_bytes(folder / POINTER, _json({"latest": entry, "best": entry if best else pointer.get("best")}))
    except OSError as error:
        raise CheckpointError(
            f"saving a checkpoint in {folder} failed: {error.strerror or error}. The previous checkpoint is unchanged; "
            "check the disk's space and health, then resume."
        ) from error
    finally:
        shutil.rmtree(hidden, ignore_errors=True)
    clean(folder)
    return path


def clean(folder: Path) -> None:
    """Removes what a killed save or rotation left behind: everything that `latest.json` does not name."""
    if not folder.is_dir():
        return
    pointer = _pointer(folder)
    named = {entry["name"] for entry in pointer.values() if entry}
    for path in folder.iterdir():
        # Without a pointer a whole checkpoint may be one whose save was killed just before its last move.
        orphan = bool(_NAME.fullmatch(path.name)) and bool(pointer) and path.name not in named
        if path.name.startswith((HIDDEN, f".{POINTER}.")) or orphan:
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def latest(folder: Path) -> Path | None:
    """The newest checkpoint, or None where there is none; `read` verifies it."""
    pointer = _pointer(folder)
    if pointer:
        return folder / str(pointer["latest"]["name"])
    if not folder.is_dir():
        return None
    for path in sorted((p for p in folder.iterdir() if _NAME.fullmatch(p.name)), reverse=True):
        try:
            _verify(path, None)
        except CheckpointError:
            continue
        return path
    return None


def best(folder: Path) -> Path | None:
    """The best checkpoint by the run's metric, or None."""
    entry = _pointer(folder).get("best")
    return folder / str(entry["name"]) if entry else None


def read(path: Path) -> State:
    """A checkpoint, verified against its manifest.

    Raises:
        CheckpointError: a file is missing or not what was written.
    """
    pointer = _pointer(path.parent)
    wanted = {entry["name"]: entry["manifest"] for entry in pointer.values() if entry}
    _verify(path, wanted.get(path.name))
    with open_tensors(path) as file:
        tensors = {name: file.read(name) for name in file.names()}
    data = _load_json(path / STATE)
    return State(tensors, data)


def require_equal(saved: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Refuses to resume another run. Raises `TrainingError` with every difference, one a line."""
    from moduformer.train.settings import difference

    lines = difference(dict(saved), json.loads(json.dumps(dict(wanted))))
    if lines:
        shown = "\n  ".join(lines[:40])
        raise TrainingError(
            f"this run differs from the checkpoint's (checkpoint -> now):\n  {shown}\n"
            "Resume with the same data, model and settings, or start a new run in another folder."
        )


# Random number generators -----------------------------------------------------------------------------------------


def random_states() -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The states of Python's, NumPy's and PyTorch's global generators."""
    version, words, gauss = random.getstate()
    kind, keys, position, has_gauss, cached = np.random.get_state(legacy=True)  # noqa: NPY002
    data = {
        "python": [version, list(words), gauss],
        "numpy": [kind, keys.tolist(), int(position), int(has_gauss), float(cached)],  # type: ignore[union-attr]
    }
    tensors = {"random#torch": torch.get_rng_state()}
    if torch.cuda.is_available():
        tensors |= {f"random#cuda.{i}": state for i, state in enumerate(torch.cuda.get_rng_state_all())}
    return data, tensors


def restore_random(data: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Puts back what `random_states` gave. Raises `TrainingError` naming a generator whose state is missing."""
    for name, where in (("python", data), ("numpy", data), ("random#torch", tensors)):
        if name not in where:
            raise TrainingError(f"the checkpoint lacks the state of the random generator {name.split('#')[-1]}")
    version, words, gauss = data["python"]
    random.setstate((version, tuple(words), gauss))
    kind, keys, position, has_gauss, cached = data["numpy"]
    np.random.set_state((kind, np.array(keys, dtype=np.uint32), position, has_gauss, cached))  # noqa: NPY002
    torch.set_rng_state(tensors["random#torch"].cpu())
    if torch.cuda.is_available():
        for i in range(torch.cuda.device_count()):
            state = tensors.get(f"random#cuda.{i}")
            if state is None:
                raise TrainingError(f"the checkpoint lacks the state of the random generator cuda.{i}")
            torch.cuda.set_rng_state(state.cpu(), i)


# Files --------------------------------------------------------------------------------------------------------------


def _pointer(folder: Path) -> dict[str, Any]:
    path = folder / POINTER
    if not path.exists():
        return {}
    data = _load_json(path)
    for role in ("latest", "best"):
        entry = data.get(role, "missing")
        if role == "best" and entry is None:
            continue
        if not (
            isinstance(entry, dict)
            and isinstance(entry.get("manifest"), str)
            and _NAME.fullmatch(str(entry.get("name")))
        ):
            raise CheckpointError(f"{path} does not name a {role} checkpoint; remove it to start over")
    return data


def _verify(path: Path, manifest_hash: str | None) -> None:
    manifest = _bytes(path / MANIFEST)
    if manifest_hash is not None and hashlib.sha256(manifest).hexdigest() != manifest_hash:
        raise CheckpointError(f"{path / MANIFEST} is not the file that was saved; this checkpoint cannot be trusted")
    listed = _load_json(path / MANIFEST)
    if STATE not in listed or len(listed) < 2:
        raise CheckpointError(f"{path / MANIFEST} does not list {STATE} and the tensors; this checkpoint is damaged")
    for name, expected in listed.items():
        if not re.fullmatch(r"[\w.-]+", name) or name.startswith("."):
            raise CheckpointError(f"{path / MANIFEST} lists {name!r}, which is not a file of a checkpoint")
        file = path / name
        if not file.is_file():
            raise CheckpointError(f"{file} is missing; this checkpoint is incomplete and cannot be resumed")
        if _described(file) != expected:
            raise CheckpointError(f"{file} is not the file that was saved; this checkpoint is damaged")


def _described(path: Path) -> dict[str, Any]:
    with open(path, "rb") as file:
        return {"sha256": hashlib.file_digest(file, "sha256").hexdigest(), "bytes": path.stat().st_size}


def _json(data: Any) -> bytes:
    return json.dumps(json_safe(data), allow_nan=False, ensure_ascii=False, indent=1).encode()


def _bytes(path: Path) -> bytes:
    try:
        if path.stat().st_size > _MAX_JSON:
            raise CheckpointError(f"{path} is far too large to be part of a checkpoint")
        return path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}; the checkpoint is incomplete") from error


def _load_json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(_bytes(path))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is damaged: it is not JSON") from error
    if not isinstance(data, dict):
        raise CheckpointError(f"{path} is damaged: it holds no object")
    return data


def _unused(folder: Path, step: int) -> Path:
    name = f"step-{step:08d}"
    taken = {path.name for path in folder.iterdir()}
    names = (name, *(f"{name}-{again}" for again in range(2, len(taken) + 3)))
    return folder / next(n for n in names if n not in taken)
