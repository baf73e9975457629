"""What of the hub is on this machine already: snapshots in the hub's own cache, known complete by our records."""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from moduformer.atomic import write_bytes
from moduformer.errors import SourceError
from moduformer.sources.cache import are_unchanged, described, home, read_json
from moduformer.sources.hub_files import TOKENIZER, HubFile, Kind, select, verified

COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Snapshot:
    """Files of one commit in the hub's cache; `was_cached` when no request was made."""

    folder: Path
    commit: str
    was_cached: bool


def cache_folder() -> Path:
    """The hub's cache folder, as `huggingface_hub` finds it: `HF_HUB_CACHE`, `HF_HOME`, `XDG_CACHE_HOME`."""
    chosen = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    if not chosen:
        caches = os.environ.get("XDG_CACHE_HOME") or os.path.join("~", ".cache")
        chosen = os.path.join(os.environ.get("HF_HOME") or os.path.join(caches, "huggingface"), "hub")
    return Path(os.path.expandvars(chosen)).expanduser()


def records(repo_id: str, kind: Kind) -> Path:
    """The folder of our records about a repository: a manifest for each verified commit, a pin for each branch."""
    return home() / "hub" / f"{kind}s--{repo_id.replace('/', '--')}"


def snapshot_folder(repo_id: str, commit: str, kind: Kind) -> Path:
    """Where the hub's cache keeps the files of a commit."""
    return cache_folder() / f"{kind}s--{repo_id.replace('/', '--')}" / "snapshots" / commit


def _pin_file(repo_id: str, revision: str | None, kind: Kind) -> Path:
    return records(repo_id, kind) / f"pin-{quote(revision or 'main', safe='')}.json"


def pinned_commit(repo_id: str, revision: str | None, kind: Kind) -> str | None:
    """The commit a revision stands for: itself, or what a branch or tag first resolved to; None when not known."""
    if revision is not None and COMMIT.fullmatch(revision):
        return revision
    pin = read_json(_pin_file(repo_id, revision, kind))
    commit = pin.get("commit") if isinstance(pin, dict) else None
    return commit if isinstance(commit, str) and COMMIT.fullmatch(commit) else None


def write_pin(repo_id: str, revision: str | None, kind: Kind, commit: str) -> None:
    """Remembers the commit that a branch or tag resolved to, so that results do not change under a person."""
    path = _pin_file(repo_id, revision, kind)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, json.dumps({"commit": commit}).encode())


def find(repo_id: str, revision: str | None, kind: Kind, expected: Mapping[str, str] | None = None) -> Snapshot | None:
    """The complete, verified snapshot of a revision, found without asking anyone.

    Args:
        repo_id: `organisation/name`.
        revision: branch, tag or commit; the main branch by default.
        kind: model or dataset.
        expected: file name -> SHA-256 that must hold besides.
    """
    commit = pinned_commit(repo_id, revision, kind)
    if commit is None:
        # Another program may have fetched this branch into the same cache.
        ref = cache_folder() / f"{kind}s--{repo_id.replace('/', '--')}" / "refs" / (revision or "main")
        try:
            commit = ref.read_text().strip() if ref.stat().st_size <= 64 else ""
        except (OSError, ValueError):
            return None
        if not COMMIT.fullmatch(commit):
            return None
    folder = snapshot_folder(repo_id, commit, kind)
    record = records(repo_id, kind) / f"{commit}.json"
    if not are_unchanged(folder, read_json(record)) and not (kind == "model" and _adopt(repo_id, commit, folder)):
        return None
    files = read_json(record)["files"]
    if any(name in files and files[name]["sha256"] != sha256 for name, sha256 in (expected or {}).items()):
        return None
    return Snapshot(folder, commit, was_cached=True)


def write_record(repo_id: str, commit: str, kind: Kind, folder: Path, hashes: Mapping[str, str]) -> None:
    """Remembers that these files of a commit are here and verified, so that nobody is asked again."""
    path = records(repo_id, kind) / f"{commit}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    manifest = {"repo_id": repo_id, "commit": commit, "files": described(folder, hashes)}
    write_bytes(path, json.dumps(manifest, indent=1, sort_keys=True).encode())


def _adopt(repo_id: str, commit: str, folder: Path) -> bool:
    """Takes over a complete snapshot that another program fetched, when its blobs have the hashes they are named by."""
    if not folder.is_dir():
        return False
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    if "config.json" not in names or not any(TOKENIZER.fullmatch(name) for name in names):
        return False
    hashes = {}
    try:
        wanted = select([HubFile(name, 0, None, None) for name in names], repo_id, "model")
        for index in (file.name for file in wanted if file.name.endswith(".index.json")):
            shards = set((read_json(folder / index) or {}).get("weight_map", {}).values())
            if not shards or not shards <= names:
                return False
        for file in wanted:
            blob = (folder / file.name).resolve().name
            is_lfs = re.fullmatch(r"[0-9a-f]{64}", blob) is not None
            listed = HubFile(file.name, 0, blob if is_lfs else None, blob if COMMIT.fullmatch(blob) else None)
            hashes[file.name] = verified(folder / file.name, listed)
        write_record(repo_id, commit, "model", folder, hashes)
    except (SourceError, OSError, AttributeError, TypeError):
        return False
    return True
