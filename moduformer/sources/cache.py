"""The cache of fetched files: one folder a source, complete only when its manifest says so."""

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from moduformer.atomic import sync_folder, write_bytes
from moduformer.errors import SourceError

MANIFEST = "sources.json"
_CHUNK = 1 << 20
_MAX_JSON_BYTES = 64 << 20
# A person on a slow line may download for long while a second process waits; the lock ends with its process anyway.
_LOCK_PATIENCE_SECONDS = 3600.0


def home() -> Path:
    """The cache folder: `MODUFORMER_HOME`, else `~/.cache/moduformer` (`XDG_CACHE_HOME` is honoured)."""
    chosen = os.environ.get("MODUFORMER_HOME")
    if chosen:
        return Path(chosen).expanduser()
    caches = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(caches).expanduser() if caches else Path.home() / ".cache") / "moduformer"
    except RuntimeError as error:
        raise SourceError("no home folder is known for the cache: set MODUFORMER_HOME to a folder") from error


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's content, as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds the lock named after `path`; the operating system frees it when its process dies, so none goes stale.

    Raises:
        SourceError: when another living process keeps it for an hour, or the folder cannot be written.
    """
    from filelock import FileLock, Timeout

    lock_file = path.with_name(path.name + ".lock")
    lock = FileLock(lock_file, timeout=_LOCK_PATIENCE_SECONDS)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(poll_interval=0.1)
    except Timeout as error:
        raise SourceError(f"another process has been fetching {path.name} for an hour; end it and try again") from error
    except (OSError, NotImplementedError) as error:
        raise SourceError(
            f"cannot write to the cache {path.parent} ({error}); set MODUFORMER_HOME to a folder you may write to"
        ) from error
    try:
        yield
    finally:
        lock.release()


def described(folder: Path, hashes: Mapping[str, str]) -> dict[str, dict[str, str | int]]:
    """What a manifest keeps of each file: its hash, its size and its time.

    Args:
        folder: where the files lie.
        hashes: relative file name -> SHA-256 as computed while the file was written.
    """
    files: dict[str, dict[str, str | int]] = {}
    for name, sha256 in sorted(hashes.items()):
        status = (folder / name).stat()
        files[name] = {"sha256": sha256, "size": status.st_size, "mtime_ns": status.st_mtime_ns}
    return files


def are_unchanged(folder: Path, manifest: Any) -> bool:
    """Whether every file of a manifest is still as described.

    A file whose size and time are as recorded is taken as unchanged; any other is hashed again.
    """
    try:
        for name, recorded in manifest["files"].items():
            status = (folder / name).stat()
            if status.st_size != recorded["size"]:
                return False
            if status.st_mtime_ns != recorded["mtime_ns"] and file_sha256(folder / name) != recorded["sha256"]:
                return False
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
    return True


def read_json(path: Path) -> Any:
    """The content of a small JSON file; None when it is absent, too large or damaged."""
    try:
        if path.stat().st_size > _MAX_JSON_BYTES:
            return None
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None


def seal(folder: Path, source: dict[str, str], hashes: Mapping[str, str]) -> None:
    """Writes the manifest that marks `folder` complete. Must be the last write.

    Args:
        folder: the folder with all its files in place.
        source: where they came from, for people and for later checks.
        hashes: relative file name -> SHA-256.
    """
    manifest = {"source": source, "files": described(folder, hashes)}
    write_bytes(folder / MANIFEST, json.dumps(manifest, indent=1, sort_keys=True).encode())


def is_complete(folder: Path, source: dict[str, str]) -> bool:
    """Whether `folder` was sealed for this `source` and every file is unchanged."""
    manifest = read_json(folder / MANIFEST)
    return isinstance(manifest, dict) and manifest.get("source") == source and are_unchanged(folder, manifest)


@contextmanager
def staged(folder: Path) -> Iterator[Path]:
    """A fresh folder that becomes `folder` when the block ends well and vanishes when it does not.

    The caller holds `locked(folder)`, so left-overs of killed processes are safe to clear here.
    """
    prefix = f".{folder.name}.partial-"
    for left_over in folder.parent.glob(prefix + "*"):
        shutil.rmtree(left_over, ignore_errors=True)
    staging = folder.with_name(prefix + secrets.token_hex(4))
    staging.mkdir()
    try:
        yield staging
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(staging, folder)
        sync_folder(folder.parent)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
