"""Servers on 127.0.0.1 that misbehave on purpose, for the tests of `moduformer.sources`."""

import contextlib
import hashlib
import io
import json
import re
import tarfile
import threading
import zipfile
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit


@dataclass
class Request:
    method: str
    path: str
    headers: dict[str, str]


@dataclass
class Server:
    """A running server: its address, what it was asked, and the function that answers."""

    answer: Callable[[BaseHTTPRequestHandler, "Server"], None]
    requests: list[Request] = field(default_factory=list)
    url: str = ""

    @property
    def paths(self) -> list[str]:
        return [request.path for request in self.requests]


@contextlib.contextmanager
def serving(answer: Callable[[BaseHTTPRequestHandler, Server], None]) -> Iterator[Server]:
    state = Server(answer)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _any(self) -> None:
            headers = {key.lower(): value for key, value in self.headers.items()}
            state.requests.append(Request(self.command, self.path, headers))
            self.close_connection = True
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                state.answer(self, state)

        do_GET = do_HEAD = do_POST = _any

        def log_message(self, *args: object) -> None:
            pass

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            pass

    httpd = Quiet(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{httpd.server_address[1]}"
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        httpd.shutdown()
        httpd.server_close()


def send(
    handler: BaseHTTPRequestHandler,
    status: int,
    headers: dict[str, str] | None = None,
    body: bytes = b"",
    length: int | None = None,
) -> None:
    """One answer; `length` overrides the Content-Length that is declared, -1 leaves it out."""
    handler.send_response(status)
    declared = len(body) if length is None else length
    if declared >= 0 and "Content-Length" not in (headers or {}):
        handler.send_header("Content-Length", str(declared))
    for key, value in (headers or {}).items():
        handler.send_header(key, value)
    handler.send_header("Connection", "close")
    handler.end_headers()
    if handler.command != "HEAD":
        handler.wfile.write(body)
        handler.wfile.flush()


def send_file(
    handler: BaseHTTPRequestHandler, content: bytes, etag: str = '"v1"', cut_after: int | None = None
) -> None:
    """A well-behaved file server with ranges, that can hang up after some bytes of the body."""
    start = 0
    match = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range", ""))
    if match and handler.headers.get("If-Range", etag) == etag:
        start = int(match[1])
    if start >= len(content) > 0:
        send(handler, 416, {"Content-Range": f"bytes */{len(content)}", "ETag": etag})
        return
    headers = {"ETag": etag, "Accept-Ranges": "bytes", "Content-Type": "application/octet-stream"}
    if start:
        headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
    body = content[start:]
    send(handler, 206 if start else 200, headers, body[:cut_after], length=len(body))


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def wheel(
    files: dict[str, bytes], record: dict[str, str] | None = None, compression: int = zipfile.ZIP_DEFLATED
) -> bytes:
    """A wheel with a correct RECORD, unless `record` says otherwise for some of its files."""
    rows = []
    for name, content in files.items():
        encoded = urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")
        rows.append(f"{name},sha256={encoded},{len(content)}")
    rows.append("fake-1.0.dist-info/RECORD,,")
    listed = "\n".join((record or {}).get(row.split(",")[0], row) for row in rows) + "\n"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as package:
        for name, content in {**files, "fake-1.0.dist-info/RECORD": listed.encode()}.items():
            package.writestr(zipfile.ZipInfo(name, (2020, 2, 2, 0, 0, 0)), content, compression)
    return buffer.getvalue()


def targz(members: list[tuple[tarfile.TarInfo, bytes]], pax: bool = False) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", format=tarfile.PAX_FORMAT if pax else tarfile.GNU_FORMAT) as package:
        for info, content in members:
            info.size = len(content)
            package.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def simple_index(
    files: dict[str, bytes], project: str, form: str = "json", page_headers: dict[str, str] | None = None
) -> Callable[[BaseHTTPRequestHandler, Server], None]:
    """Answers as a package index: `/simple/<project>/` and `/files/<name>`."""

    def answer(handler: BaseHTTPRequestHandler, server: Server) -> None:
        path = unquote(urlsplit(handler.path).path)
        if path == f"/simple/{project}/":
            if form == "json":
                listed = [
                    {"filename": name, "url": f"/files/{name}", "hashes": {"sha256": sha256(content)}}
                    for name, content in files.items()
                ]
                page = {"meta": {"api-version": "1.0"}, "name": project, "files": listed}
                headers = {"Content-Type": "application/vnd.pypi.simple.v1+json", **(page_headers or {})}
                send(handler, 200, headers, json.dumps(page).encode())
            else:
                links = "".join(
                    f'<a href="../../files/{name}#sha256={sha256(content)}">{name}</a>'
                    for name, content in files.items()
                )
                send(handler, 200, {"Content-Type": "text/html"}, f"<!DOCTYPE html><html>{links}</html>".encode())
        elif path.startswith("/files/") and path.removeprefix("/files/") in files:
            send_file(handler, files[path.removeprefix("/files/")])
        else:
            send(handler, 404, {}, b"no")

    return answer


@dataclass
class FakeHub:
    """The few endpoints of the hub that one repository needs."""

    repo_id: str
    files: dict[str, bytes]
    lfs: set[str] = field(default_factory=set)
    commit: str = "a" * 40
    kind: str = "models"
    # file name -> what the storage really sends, of the same size: silent corruption.
    corrupt: dict[str, bytes] = field(default_factory=dict)

    def etag(self, name: str) -> str:
        content = self.files[name]
        if name in self.lfs:
            return sha256(content)
        return hashlib.sha1(b"blob %d\x00" % len(content) + content).hexdigest()

    def _entry(self, name: str) -> dict[str, object]:
        content = self.files[name]
        entry: dict[str, object] = {"type": "file", "path": name, "size": len(content), "oid": "b" * 40}
        if name in self.lfs:
            entry["lfs"] = {"oid": sha256(content), "size": len(content), "pointerSize": 130}
        else:
            entry["oid"] = self.etag(name)
        return entry

    def __call__(self, handler: BaseHTTPRequestHandler, server: Server) -> None:
        path = unquote(urlsplit(handler.path).path)
        prefix = "" if self.kind == "models" else "/datasets"
        if path.startswith(f"/api/{self.kind}/{self.repo_id}/tree/{self.commit}"):
            body = json.dumps([self._entry(name) for name in self.files]).encode()
            send(handler, 200, {"Content-Type": "application/json"}, body)
        elif re.fullmatch(rf"/api/{self.kind}/{re.escape(self.repo_id)}(/revision/[^/]+)?", path):
            revision = path.rpartition("/revision/")[2] if "/revision/" in path else "main"
            if revision not in ("main", self.commit):
                send(handler, 404, {"X-Error-Code": "RevisionNotFound"}, b"{}")
                return
            info = {"id": self.repo_id, "sha": self.commit, "siblings": [], "tags": [], "private": False}
            send(handler, 200, {"Content-Type": "application/json"}, json.dumps(info).encode())
        elif (match := re.fullmatch(rf"{prefix}/{re.escape(self.repo_id)}/resolve/([^/]+)/(.+)", path)) and match[
            2
        ] in self.files:
            name = match[2]
            content = self.corrupt.get(name, self.files[name])
            headers = {"X-Repo-Commit": self.commit, "ETag": f'"{self.etag(name)}"'}
            if name in self.lfs:
                headers |= {"X-Linked-Etag": f'"{self.etag(name)}"', "X-Linked-Size": str(len(content))}
            send(handler, 200, headers, content)
        else:
            send(handler, 401, {"X-Error-Code": "RepoNotFound"}, b"{}")
