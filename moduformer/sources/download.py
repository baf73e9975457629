"""One file over HTTP, resumed when the line is cut, and visible under its name only after its hash is verified.

Ranges and validators follow RFC 9110 sections 8.8, 13 and 14.
"""

import errno
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from moduformer.atomic import sync_folder, write_bytes
from moduformer.errors import SourceError
from moduformer.sources.answers import failure, looks_like_page, refusal
from moduformer.sources.cache import file_sha256, locked
from moduformer.sources.pipconfig import redacted

if TYPE_CHECKING:
    import requests

    from moduformer.sources.transport import SafeSession

Progress = Callable[[int, int | None], None]

DEFAULT_CEILING = 16 << 30
_CHUNK = 1 << 18
_TRIES_WITHOUT_A_BYTE = 5
_MAX_TRIES = 200
_FIRST_PAUSE_SECONDS = 0.2
_LONGEST_PAUSE_SECONDS = 8.0
_RETRY_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})


class _Cut(Exception):
    """The connection ended or the server asked for patience; another try may succeed."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


def download(
    url: str,
    target: Path,
    *,
    sha256: str,
    size: int | None = None,
    ceiling: int = DEFAULT_CEILING,
    session: "SafeSession | None" = None,
    progress: Progress | None = None,
    pause: float = _FIRST_PAUSE_SECONDS,
) -> Path:
    """Fetches `url` to `target` and verifies it; a partial file is kept beside it for the next try.

    Several processes may ask for the same target: one fetches, the others wait and find it done. When the one that
    fetches is killed, its lock dies with it and another goes on from the bytes it left.

    Args:
        url: http or https address.
        target: final path; appears only when the content has the given hash.
        sha256: expected hash, 64 hexadecimal digits.
        size: expected length in bytes when it is known.
        ceiling: refuse to take more bytes than this.
        session: how to connect; a plain one by default.
        progress: called with (bytes so far, total or None).
        pause: seconds before the second try; doubled up to 8.

    Returns:
        `target`.

    Raises:
        SourceError: unexpected content, a refused redirect, a full disk, or a line that stays cut.
    """
    with locked(target):
        if target.is_file():
            if file_sha256(target) == sha256:
                return target
            target.unlink()
        _Download(url, target, sha256, size, ceiling, session or _plain_session(), progress, pause).run()
    return target


def _plain_session() -> "SafeSession":
    from moduformer.sources.transport import SafeSession

    return SafeSession()


class _Download:
    """One file on its way: the partial file, what is known of its source, and the tries so far."""

    def __init__(
        self,
        url: str,
        target: Path,
        sha256: str,
        size: int | None,
        ceiling: int,
        session: "SafeSession",
        progress: Progress | None,
        pause: float,
    ) -> None:
        self._url = url
        self._name = redacted(url)
        self._target = target
        self._sha256 = sha256
        self._size = size
        self._ceiling = min(ceiling, size) if size is not None else ceiling
        self._session = session
        self._progress = progress
        self._pause = pause
        self._partial = target.with_name(target.name + ".partial")
        self._notes = target.with_name(target.name + ".partial.json")

    def run(self) -> None:
        try:
            resumed = self._fill()
            found = file_sha256(self._partial)
            if found != self._sha256 and resumed:
                # The bytes of two tries may belong to two versions of the file: once more from the start.
                self._discard()
                self._fill()
                found = file_sha256(self._partial)
            self._publish(found)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                self._discard()
                raise SourceError(
                    f"the disk filled up while fetching {self._name}; the partial file was removed. "
                    f"Free space in {self._target.parent} or set MODUFORMER_HOME to another disk"
                ) from error
            raise SourceError(f"cannot store {self._name} as {self._target}: {error}") from error

    def _publish(self, found: str) -> None:
        if found != self._sha256:
            self._discard()
            raise SourceError(
                f"{self._name} has sha256 {found}, expected {self._sha256}. It was removed and nothing read it: the "
                "file was damaged on the way or replaced at its source. Try again, or from another network or mirror"
            )
        os.replace(self._partial, self._target)
        sync_folder(self._target.parent)
        self._notes.unlink(missing_ok=True)

    def _discard(self) -> None:
        self._partial.unlink(missing_ok=True)
        self._notes.unlink(missing_ok=True)

    def _fill(self) -> bool:
        """Gets all bytes; returns whether they came in more than one piece."""
        import requests

        resumed = self._have() > 0
        idle = 0
        reason = ""
        for _ in range(_MAX_TRIES):
            before = self._have()
            try:
                self._try_once()
                return resumed
            except _Cut as cut:
                reason, wait = str(cut), cut.wait
            except requests.RequestException as error:
                reason, wait = failure(error), None
            resumed = resumed or self._have() > 0
            idle = 0 if self._have() > before else idle + 1
            if idle >= _TRIES_WITHOUT_A_BYTE:
                break
            time.sleep(min(wait if wait is not None else self._pause * 2**idle, _LONGEST_PAUSE_SECONDS))
        raise SourceError(
            f"cannot fetch {self._name}: {reason}. {self._have()} bytes are kept; the next try goes on from there"
        )

    def _have(self) -> int:
        try:
            return self._partial.stat().st_size
        except OSError:
            return 0

    def _try_once(self) -> None:
        have = self._have()
        if have == self._size:
            return
        notes = self._read_notes() if have else {}
        headers = {}
        if have:
            headers["Range"] = f"bytes={have}-"
            # A strong validator makes the server itself send the whole file when it has changed (RFC 9110 13.1.5).
            if str(notes.get("etag") or "").startswith('"'):
                headers["If-Range"] = notes["etag"]
        with self._session.fetch(self._url, headers) as response:
            offset = self._accept(response, have, notes)
            if offset is None:
                return
            total = self._total(response, offset)
            self._preflight(total, offset)
            if offset == 0:
                self._write_notes(response, total)
            self._receive(response, offset, total)

    def _accept(self, response: "requests.Response", have: int, notes: dict[str, Any]) -> int | None:
        """The offset at which the body of this answer goes into the partial file; None when all is there already."""
        status = response.status_code
        if status == 206:
            given = re.fullmatch(r"bytes (\d{1,18})-\d{1,18}/(\d{1,18}|\*)", response.headers.get("Content-Range", ""))
            known = notes.get("total")
            same_file = _validators(response) == {key: notes.get(key) for key in ("etag", "modified")}
            same_length = given is not None and (known is None or given[2] in ("*", str(known)))
            if have and given and int(given[1]) == have and same_file and same_length:
                self._refuse_encoded(response)
                return have
            self._discard()
            raise _Cut("the file changed at its source, starting again", 0.0)
        if status == 416 and have:
            if have == notes.get("total") or have == self._size:
                return None
            self._discard()
            raise _Cut("the server has fewer bytes than were already fetched, starting again", 0.0)
        if status == 200:
            self._refuse_encoded(response)
            self._refuse_page(response)
            return 0
        if status in _RETRY_STATUS:
            raise _Cut(f"the server answered {status} {response.reason}", _retry_after(response))
        raise SourceError(f"cannot fetch {self._name}: {refusal(status, response.reason)}")

    def _refuse_encoded(self, response: "requests.Response") -> None:
        encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
        if encoding not in ("", "identity"):
            raise SourceError(f"{self._name} came {encoding}-encoded although it was asked for plainly; refused")

    def _refuse_page(self, response: "requests.Response") -> None:
        if response.headers.get("Content-Type", "").lower().startswith(("text/html", "application/xhtml")):
            raise self._page_error()

    def _page_error(self) -> SourceError:
        return SourceError(
            f"a web page came back instead of the file {self._name}: most often a proxy or network login page. "
            "Open the address in a browser to see it, log in, or set the proxy and index that pip should use"
        )

    def _total(self, response: "requests.Response", offset: int) -> int | None:
        declared = response.headers.get("Content-Length", "")
        total = offset + int(declared) if re.fullmatch(r"\d{1,18}", declared) else None
        if total is not None and self._size is not None and total != self._size:
            raise SourceError(f"{self._name} would be {total} bytes, expected {self._size}; refused before fetching it")
        if total is not None and total > self._ceiling:
            raise SourceError(f"{self._name} would be {total} bytes, more than the {self._ceiling} allowed; refused")
        return total if total is not None else self._size

    def _preflight(self, total: int | None, offset: int) -> None:
        if total is None:
            return
        free = shutil.disk_usage(self._target.parent).free + (self._have() - offset)
        if free < total - offset:
            raise SourceError(
                f"{self._name} needs {total - offset} more bytes, but {self._target.parent} has {free} free. "
                "Free space or set MODUFORMER_HOME to another disk"
            )

    def _read_notes(self) -> dict[str, Any]:
        try:
            notes = json.loads(self._notes.read_bytes())
            if isinstance(notes, dict) and notes.get("url") == self._name:
                return notes
        except (OSError, ValueError, RecursionError):
            pass
        return {}

    def _write_notes(self, response: "requests.Response", total: int | None) -> None:
        notes = {"url": self._name, "total": total, **_validators(response)}
        write_bytes(self._notes, json.dumps(notes).encode())

    def _receive(self, response: "requests.Response", offset: int, total: int | None) -> None:
        with self._partial.open("r+b" if offset else "wb") as out:
            out.seek(offset)
            done = offset
            try:
                for chunk in _pieces(response):
                    if done == 0 and looks_like_page(chunk):
                        self._discard()
                        raise self._page_error()
                    done += len(chunk)
                    if done > self._ceiling:
                        self._discard()
                        raise SourceError(
                            f"{self._name} does not end after the expected {self._ceiling} bytes; refused"
                        )
                    out.write(chunk)
                    if self._progress is not None:
                        self._progress(done, total)
            finally:
                _flush(out)
        if total is not None and done < total:
            raise _Cut(f"the connection ended after {done} of {total} bytes")


def _pieces(response: "requests.Response") -> Iterator[bytes]:
    """The body as it arrives: a read that waits for a full chunk would lose what came before a cut."""
    from urllib3.exceptions import HTTPError

    try:
        while chunk := response.raw.read1(_CHUNK, decode_content=False):
            yield chunk
    except HTTPError as error:
        raise _Cut(failure(error)) from error


def _flush(out: IO[bytes]) -> None:
    out.flush()
    os.fsync(out.fileno())


def _validators(response: "requests.Response") -> dict[str, str | None]:
    return {"etag": response.headers.get("ETag"), "modified": response.headers.get("Last-Modified")}


def _retry_after(response: "requests.Response") -> float | None:
    value = response.headers.get("Retry-After", "")
    return float(value) if re.fullmatch(r"\d{1,4}", value) else None
