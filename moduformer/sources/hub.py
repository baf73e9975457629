"""The Hugging Face hub as a source: a commit's files, never its code, verified once and then never asked for again.

`huggingface_hub` does the transport and owns the cache folder; it compares sizes only, so hashes are compared here.
"""

import errno
import inspect
import os
import queue
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from moduformer.errors import SourceError
from moduformer.sources.cache import locked
from moduformer.sources.download import Progress
from moduformer.sources.hub_cache import (
    COMMIT,
    Snapshot,
    cache_folder,
    find,
    pinned_commit,
    records,
    snapshot_folder,
    write_pin,
    write_record,
)
from moduformer.sources.hub_files import HubFile, Kind, select, verified

_Answer = TypeVar("_Answer")

_DEFAULT_ENDPOINT = "https://huggingface.co"
_TRUE = frozenset({"1", "on", "yes", "true"})
# With a package mirror to fall back on, a silent hub may not hold a person up; without one it is worth waiting for.
_BRIEF_SECONDS = 2.0
_PATIENT_SECONDS = 15.0
_REMEMBER_SECONDS = 300.0

# endpoint -> (when it was found silent, why); a process asks a dead hub once in a while, not for every model.
_silent: dict[str, tuple[float, str]] = {}


def endpoint() -> str:
    """Address of the hub: `HF_ENDPOINT` or the public one."""
    return (os.environ.get("HF_ENDPOINT") or _DEFAULT_ENDPOINT).rstrip("/")


def is_offline() -> bool:
    """Whether `HF_HUB_OFFLINE` (or the older `TRANSFORMERS_OFFLINE`) forbids to ask the hub."""
    value = os.environ.get("HF_HUB_OFFLINE") or os.environ.get("TRANSFORMERS_OFFLINE") or ""
    return value.strip().lower() in _TRUE


def is_cached(repo_id: str, revision: str | None, kind: Kind, expected: Mapping[str, str] | None = None) -> bool:
    """Whether `fetch` would answer without a request."""
    return find(repo_id, revision, kind, expected) is not None


def fetch(
    repo_id: str,
    revision: str | None,
    kind: Kind,
    *,
    expected: Mapping[str, str] | None = None,
    progress: Progress | None = None,
    update: bool = False,
    brief: bool = False,
) -> Snapshot:
    """Gets the files of a repository that a model or data set consists of.

    A branch or tag is pinned to the commit it first resolved to; `update=True` asks again.

    Args:
        repo_id: `organisation/name`.
        revision: branch, tag or commit hash; the main branch by default.
        kind: a model (configuration, weights, tokenizer, chat template) or a data set (parquet, csv, tsv, jsonl).
        expected: file name -> SHA-256 that must hold whatever the hub says.
        progress: called with (bytes so far, total).
        update: resolve branch names afresh.
        brief: give up on a silent hub within three seconds, because another source is at hand.

    Returns:
        the snapshot folder and its commit.

    Raises:
        SourceError: no such repository or revision, no access, no connection, or content that does not fit its hash.
    """
    if not update and (found := find(repo_id, revision, kind, expected)) is not None:
        return found
    _refuse_unreachable(repo_id, kind)
    pinned = None if update else pinned_commit(repo_id, revision, kind)
    try:
        commit = _ask_commit(repo_id, pinned or revision, kind, _BRIEF_SECONDS if brief else _PATIENT_SECONDS)
        if pinned is not None and commit != pinned:
            raise SourceError(
                f"{repo_id} at {revision or 'main'} was commit {pinned[:12]} and the hub now answers {commit[:12]}"
            )
        files = select(_list_files(repo_id, commit, kind), repo_id, kind)
        folder = _download(repo_id, commit, kind, files, expected or {}, progress)
    except SourceError:
        raise
    except Exception as error:
        # The hub's client raises its own classes, its transport's and the operating system's.
        raise _explained(error, repo_id, revision) from error
    if not COMMIT.fullmatch(revision or ""):
        write_pin(repo_id, revision, kind, commit)
    return Snapshot(folder, commit, was_cached=False)


def _refuse_unreachable(repo_id: str, kind: Kind) -> None:
    if is_offline():
        raise SourceError(f"the {kind} {repo_id} is not in the cache {cache_folder()}, and HF_HUB_OFFLINE is set")
    since, reason = _silent.get(endpoint(), (-_REMEMBER_SECONDS, ""))
    if time.monotonic() - since < _REMEMBER_SECONDS:
        raise SourceError(f"the hub {endpoint()} was not reachable a moment ago ({reason})")


def _within(seconds: float, call: Callable[[], _Answer]) -> _Answer:
    """Runs `call`, giving up after `seconds`: a name look-up, unlike a connection, takes no time limit of its own."""
    answers: queue.SimpleQueue[tuple[_Answer | None, Exception | None]] = queue.SimpleQueue()

    def run() -> None:
        try:
            answers.put((call(), None))
        except Exception as error:
            answers.put((None, error))

    threading.Thread(target=run, daemon=True, name="hub-probe").start()
    try:
        answer, error = answers.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError(f"no answer within {seconds:g} seconds") from None
    if error is not None:
        raise error
    return answer  # type: ignore[return-value]


def _ask_commit(repo_id: str, revision: str | None, kind: Kind, patience: float) -> str:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    api = HfApi(endpoint=endpoint(), library_name="moduformer")
    try:
        info = _within(patience, lambda: api.repo_info(repo_id, revision=revision, repo_type=kind, timeout=patience))
    except HFValidationError:
        raise
    except Exception as error:
        status = getattr(getattr(error, "response", None), "status_code", None)
        if isinstance(error, HfHubHTTPError) and status is not None and status < 500:
            raise
        reason = _silence(error)
        _silent[endpoint()] = (time.monotonic(), reason)
        raise SourceError(f"the hub {endpoint()} cannot be reached ({reason})") from error
    commit = info.sha or ""
    if not COMMIT.fullmatch(commit):
        raise SourceError(f"the hub {endpoint()} gave no commit for {repo_id}; is HF_ENDPOINT a hub?")
    return commit


def _silence(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return str(error)
    if isinstance(error, ValueError):
        return "what answers there is no hub; perhaps a proxy's login page"
    return f"{type(error).__name__}: {error}"[:200]


def _list_files(repo_id: str, commit: str, kind: Kind) -> list[HubFile]:
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFile

    api = HfApi(endpoint=endpoint(), library_name="moduformer")
    files = []
    for entry in api.list_repo_tree(repo_id, recursive=True, revision=commit, repo_type=kind):
        if not isinstance(entry, RepoFile):
            continue
        lfs = entry.lfs
        files.append(HubFile(entry.path, entry.size, lfs.sha256 if lfs else None, None if lfs else entry.blob_id))
    return files


def _download(
    repo_id: str, commit: str, kind: Kind, files: list[HubFile], expected: Mapping[str, str], progress: Progress | None
) -> Path:
    from huggingface_hub import hf_hub_download

    folder = snapshot_folder(repo_id, commit, kind)
    for file in files:
        if file.name in expected and file.sha256 not in (None, expected[file.name]):
            raise SourceError(
                f"the hub now lists another {file.name} for {repo_id}@{commit[:12]} than the pinned one; refused"
            )
    _preflight(files, folder)
    report = _Counter(progress, sum(file.size for file in files))
    options: dict[str, Any] = {
        "repo_type": kind,
        "revision": commit,
        "cache_dir": cache_folder(),
        "endpoint": endpoint(),
    }
    if "tqdm_class" in inspect.signature(hf_hub_download).parameters:
        options["tqdm_class"] = _silent_bar(report)
    hashes = {}
    with locked(records(repo_id, kind) / commit):
        for file in files:
            path = Path(hf_hub_download(repo_id, file.name, **options))
            report.file_done(file.size)
            listed = HubFile(file.name, file.size, expected.get(file.name, file.sha256), file.git_sha1)
            try:
                hashes[file.name] = verified(path, listed)
            except SourceError:
                _remove(path)
                raise
        write_record(repo_id, commit, kind, folder, hashes)
    return folder


def _preflight(files: list[HubFile], folder: Path) -> None:
    needed = sum(file.size for file in files if not (folder / file.name).exists())
    place = cache_folder()
    place.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(place).free
    if needed > free:
        raise SourceError(f"{needed} bytes are needed in {place}, which has {free} free; free space or set HF_HOME")


def _remove(path: Path) -> None:
    blob = path.resolve()
    path.unlink(missing_ok=True)
    blob.unlink(missing_ok=True)


class _Counter:
    """Adds up the bytes of several files for one progress report."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress = progress
        self._total = total
        self._finished = 0
        self._current = 0

    def add(self, count: float) -> None:
        self._current += int(count)
        self._tell()

    def file_done(self, size: int) -> None:
        self._finished += size
        self._current = 0
        self._tell()

    def _tell(self) -> None:
        if self._progress is not None:
            self._progress(min(self._finished + self._current, self._total), self._total)


def _silent_bar(report: _Counter) -> type:
    from huggingface_hub.utils import tqdm

    class Bar(tqdm):
        """Shows nothing itself and passes what it is told to the caller's report."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            kwargs["disable"] = True
            super().__init__(*args, **kwargs)

        def update(self, n: float | None = 1) -> bool | None:
            report.add(n or 0)
            return None

    return Bar


def _explained(error: Exception, repo_id: str, revision: str | None) -> SourceError:
    from huggingface_hub import errors

    where = f"{repo_id}" + (f" at revision {revision}" if revision else "")
    if isinstance(error, errors.GatedRepoError):
        return SourceError(f"{where} is gated: accept its terms on the hub, then set HF_TOKEN to your access token")
    if isinstance(error, errors.RevisionNotFoundError):
        return SourceError(f"{repo_id} has no revision {revision}; leave it out for the main branch")
    if isinstance(error, errors.RepositoryNotFoundError):
        return SourceError(f"the hub has no {where}, or it is private: check the spelling, or set HF_TOKEN")
    if isinstance(error, errors.HFValidationError):
        return SourceError(f"{repo_id!r} is not a hub id; it has the form organisation/name")
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return SourceError(f"the disk filled up while fetching {where}; free space or set HF_HOME to another disk")
    first_line = (str(error).strip().splitlines() or [""])[0][:300]
    return SourceError(f"{where} cannot be fetched from {endpoint()}: {type(error).__name__}: {first_line}")
