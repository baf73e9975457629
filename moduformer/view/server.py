"""The page at an address of this computer alone: nothing is opened by a request's name, and nobody else is answered.

Every path begins with a key that is drawn anew each time. A request whose Host is another name (DNS rebinding), whose
Origin is another page, or whose body is not `application/json` (what a foreign form could send) is refused.
"""

from __future__ import annotations

import hmac
import json
import secrets
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from moduformer.errors import DataError, TextError
from moduformer.view.document import policy, resource, served_page
from moduformer.view.source import QUESTIONS, Source

HOST = "127.0.0.1"
MOST_BODY = 2**20
OWN = "'self'"
POLICY = f"{policy(OWN, OWN, OWN)}; frame-ancestors 'none'"
SECONDS = 30
"""How long a request may take to arrive."""


class PageServer:
    """A page with its answers, served until `close`.

    Arguments:
        source: the recordings.
        port: 0 takes any that is free.
        language: "en" or "ko"; "" lets the page choose.

    Raises `DataError` if the port is taken.
    """

    def __init__(self, source: Source, port: int = 0, language: str = "") -> None:
        self.source, self.key = source, secrets.token_urlsafe(16)
        pages = {
            "": ("text/html; charset=utf-8", served_page(language).encode()),
            "viewer.js": ("text/javascript; charset=utf-8", resource("viewer.js").encode()),
            "viewer.css": ("text/css; charset=utf-8", resource("viewer.css").encode()),
        }
        handler = type("_Bound", (_Handler,), {"source": source, "key": self.key, "pages": pages})
        try:
            self._server = _Server((HOST, port), handler)
        except (OSError, OverflowError):
            raise DataError(f"port {port} of this computer cannot be used; choose another, or 0 for any") from None
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), name="viewer", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    @property
    def address(self) -> str:
        """What a browser is given."""
        return f"http://{HOST}:{self.port}/{self.key}/"

    def wait(self) -> None:
        """Serves until it is closed or interrupted."""
        while self._thread.is_alive():
            self._thread.join(0.5)

    def close(self) -> None:
        """Stops serving."""
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # Another program's port is not to be shared.
    allow_reuse_address = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A reader who left, or broke the protocol, is no news; and a traceback would name files."""


class _Refused(Exception):
    def __init__(self, status: HTTPStatus, said: str) -> None:
        super().__init__(said)
        self.status, self.said = status, said


class _Handler(BaseHTTPRequestHandler):
    source: Source
    key: str
    pages: dict[str, tuple[str, bytes]]
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "moduformer", ""
    timeout = SECONDS

    def do_GET(self) -> None:
        """The page, its module, its style."""
        self._answer(self._page)

    def do_HEAD(self) -> None:
        """As GET, without the content."""
        self._answer(self._page)

    def do_POST(self) -> None:
        """A question."""
        self._answer(self._question)

    def _answer(self, make: Any) -> None:
        try:
            self._check_sender()
            kind, content = make()
            self._send(HTTPStatus.OK, kind, content)
        except _Refused as refused:
            # What is left of the body is not read, so the connection cannot be used again.
            self.close_connection = True
            self._send(refused.status, *_said(refused.said))
        except TextError as error:
            self._send(HTTPStatus.BAD_REQUEST, *_said(str(error)))
        except (BrokenPipeError, ConnectionError, TimeoutError):
            self.close_connection = True
        except Exception:
            # What went wrong may name files; the reader gets none of it.
            self.close_connection = True
            self._send(HTTPStatus.INTERNAL_SERVER_ERROR, *_said("the answer could not be computed"))

    def _check_sender(self) -> None:
        port = self.connection.getsockname()[1]
        hosts = {f"{HOST}:{port}", f"localhost:{port}"}
        found = self.headers.get_all("Host") or []
        if len(found) != 1 or found[0].strip().lower() not in hosts:
            raise _Refused(HTTPStatus.FORBIDDEN, "this page answers to 127.0.0.1 only")
        for origin in self.headers.get_all("Origin") or []:
            if origin.strip().lower() not in {f"http://{host}" for host in hosts}:
                raise _Refused(HTTPStatus.FORBIDDEN, "another page may not ask here")
        # A page may be opened from anywhere by whoever has its key; only it may ask.
        site = self.headers.get("Sec-Fetch-Site", "none").strip().lower()
        if self.command == "POST" and site not in ("same-origin", "none"):
            raise _Refused(HTTPStatus.FORBIDDEN, "another page may not ask here")

    def _path(self) -> str:
        """What comes after the key, as it was written: names are compared whole and nothing is decoded."""
        first, slash, rest = self.path.removeprefix("/").partition("/")
        own = hmac.compare_digest(first.encode("utf-8", "surrogateescape"), self.key.encode())
        if not self.path.startswith("/") or not own or not slash:
            raise _Refused(HTTPStatus.NOT_FOUND, "there is no such page")
        return rest

    def _page(self) -> tuple[str, bytes]:
        found = self.pages.get(self._path())
        if found is None:
            raise _Refused(HTTPStatus.NOT_FOUND, "there is no such page")
        return found

    def _question(self) -> tuple[str, bytes]:
        place = self._path()
        question = place.removeprefix("api/")
        if not place.startswith("api/") or question not in QUESTIONS:
            raise _Refused(HTTPStatus.NOT_FOUND, "there is no such question")
        if self.headers.get_content_type() != "application/json":
            raise _Refused(HTTPStatus.FORBIDDEN, "a question must be application/json")
        parameters = self._body()
        answer = self.source.ask(question, parameters)
        if isinstance(answer, bytes):
            return "application/octet-stream", answer
        return "application/json", json.dumps(answer, ensure_ascii=True, allow_nan=False).encode()

    def _body(self) -> Any:
        lengths = self.headers.get_all("Content-Length") or []
        if self.headers.get("Transfer-Encoding") is not None or len(lengths) != 1:
            raise _Refused(HTTPStatus.LENGTH_REQUIRED, "a question must say its length")
        if not lengths[0].isascii() or not lengths[0].isdigit() or len(lengths[0]) > 10:
            raise _Refused(HTTPStatus.BAD_REQUEST, "the length of the question is no number")
        if int(lengths[0]) > MOST_BODY:
            raise _Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a question has at most {MOST_BODY:,} bytes")
        body = self.rfile.read(int(lengths[0]))
        try:
            return json.loads(body)
        except (ValueError, RecursionError):
            raise TextError("the question is no JSON") from None

    def _send(self, status: HTTPStatus, kind: str, content: bytes) -> None:
        try:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Content-Security-Policy", POLICY)
            self.send_header("X-Content-Type-Options", "nosniff")
            self.send_header("Referrer-Policy", "no-referrer")
            self.send_header("Cross-Origin-Resource-Policy", "same-origin")
            self.send_header("Cross-Origin-Opener-Policy", "same-origin")
            self.send_header("Cache-Control", "no-store")
            if self.close_connection:
                self.send_header("Connection", "close")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)
        except (BrokenPipeError, ConnectionError, TimeoutError):
            self.close_connection = True

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What the library refuses by itself: as JSON, and without repeating the request."""
        self.close_connection = True
        status = HTTPStatus(code)
        self.command = self.command or ""
        self._send(status, *_said(status.phrase.lower()))

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing is logged: a path holds the key, and a question a text."""


def _said(text: str) -> tuple[str, bytes]:
    return "application/json", json.dumps({"error": text}).encode()
