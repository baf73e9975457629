"""Requests to a vendor: the key from the environment, time limits, retries, and answers whole or in pieces."""

from __future__ import annotations

import json
import os
import random
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlsplit

import requests

from moduformer.errors import HostedError
from moduformer.hosted.formats import FORMATS, Format, Piece, Usage, Wish
from moduformer.sources.transport import check_address

LARGEST_ANSWER = 16 << 20
"""Bytes of an answer, whole or as a stream."""
RETRIED = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
LONGEST_WAIT = 60.0


@dataclass(frozen=True)
class Answer:
    """What a model answered, tokens counted by the vendor, and why it ended in the vendor's word."""

    text: str
    usage: Usage
    ended_by: str | None = None


@dataclass
class Client:
    """A model behind an interface.

    Arguments:
        name: "openai:gpt-4", "anthropic:...", "google:...", "cohere:...", or "compatible:ADDRESS#MODEL" for any server
            that speaks like OpenAI's (its key, if it wants one, is MODUFORMER_HOSTED_KEY).
        timeout: seconds to wait for a connection and for the next bytes.
        retries: how often a request is sent again after 429, 5xx or a broken connection, with waits that double.
        sleep: how to wait.

    Keys come from the environment only and are in no message, representation or log. Raises `HostedError` for a name
    that is none, an address that is not https (but for this machine), and a missing key.
    """

    name: str
    timeout: float = 60.0
    retries: int = 4
    sleep: Callable[[float], None] = field(default=time.sleep, repr=False)
    model: str = field(init=False)
    usage: Usage = field(init=False, default=Usage())
    """All tokens so far."""

    def __post_init__(self) -> None:
        vendor, _, rest = self.name.partition(":")
        if vendor not in FORMATS or not rest:
            known = ", ".join(f"{name}:MODEL" for name in FORMATS if name != "compatible")
            raise HostedError(f"{self.name!r:.120} names no hosted model; use {known} or compatible:ADDRESS#MODEL")
        self._format: Format = FORMATS[vendor]
        self._base, self.model = "", rest
        if vendor == "compatible":
            self._base, _, self.model = rest.partition("#")
            self._base = self._base.rstrip("/")
            if not self.model:
                raise HostedError(f"{self.name!r:.120}: name the model after the address, as in {self._base}#MODEL")
        _check_encrypted(self._address(False))
        self._session = requests.Session()
        # Else .netrc of this machine could take the place of the key.
        self._session.trust_env = False
        self._session.verify = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or True
        self._session.proxies = dict(requests.utils.get_environ_proxies(self._address(False)))
        key = os.environ.get(self._format.key, "")
        if not key and vendor != "compatible":
            raise HostedError(f"{self.name} needs a key in the environment variable {self._format.key}")
        if not re.fullmatch(r"[\x21-\x7e]*", key):
            raise HostedError(f"the environment variable {self._format.key} holds white space or other odd characters")
        self._session.headers.update(self._format.headers(key) if key else {})
        self._key = key

    def __repr__(self) -> str:
        return f"Client({self.name!r})"

    def check(self, wish: Wish) -> None:
        """Raises `HostedError` for a setting that this vendor has not."""
        for name in ("max_tokens", "temperature", "top_p", "top_k", "stop", "seed"):
            if getattr(wish, name) not in (None, (), []) and name not in self._format.settings:
                raise HostedError(f"{self.name} has no setting {name}; leave it out")

    def ask(self, wish: Wish) -> Answer:
        """One answer. Raises `HostedError`."""
        response = self._send(wish, stream=False)
        with response:
            data = self._json(self._body(response))
        piece = self._parsed(self._format.reply, data)
        self.usage += piece.usage
        return Answer(piece.text, piece.usage, piece.ended_by)

    def stream(self, wish: Wish) -> Iterator[Piece]:
        """The answer in pieces as they come. Raises `HostedError`, also for a stream that breaks off."""
        response, ended = self._send(wish, stream=True), False
        with response:
            for data in self._events(response):
                piece = self._parsed(self._format.event, data)
                self.usage += piece.usage
                ended = ended or piece.ended_by is not None
                yield piece
        if not ended:
            raise HostedError(f"{self.name} broke off its answer; ask again")

    # Sending -------------------------------------------------------------------------------------------------------

    def _address(self, stream: bool) -> str:
        method = self._format.methods[stream]
        return self._format.address.format(base=self._base, model=quote(self.model, safe=""), method=method)

    def _send(self, wish: Wish, stream: bool) -> requests.Response:
        self.check(wish)
        body = json.dumps(self._format.request(wish, stream), ensure_ascii=False).encode()
        headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
        for attempt in range(self.retries + 1):
            wait = min(LONGEST_WAIT, 2.0**attempt * (0.5 + random.random() / 2))
            try:
                response = self._session.post(
                    self._address(stream), data=body, headers=headers, timeout=self.timeout, stream=True,
                    allow_redirects=False,
                )  # fmt: skip
            except requests.Timeout:
                problem = f"did not answer within {self.timeout:g} s"
            except requests.RequestException as error:
                problem = f"cannot be reached ({type(error).__name__})"
            else:
                if response.status_code == 200:
                    return response
                with response:
                    problem = self._refusal(response)
                if response.status_code not in RETRIED:
                    raise HostedError(f"{self.name} {problem}")
                wait = min(LONGEST_WAIT, max(wait, _seconds(response.headers.get("Retry-After"))))
            if attempt < self.retries:
                self.sleep(wait)
        raise HostedError(f"{self.name} {problem}, {self.retries + 1} times; try again later")

    def _refusal(self, response: requests.Response) -> str:
        status = response.status_code
        if 300 <= status < 400:
            return "redirects elsewhere, which is refused, since the key would go there"
        try:
            data = json.loads(self._body(response, 1 << 16))
            error = data.get("error", data) if isinstance(data, dict) else {}
            said = error.get("message", "") if isinstance(error, dict) else error
        except (ValueError, HostedError):
            said = ""
        hint = {401: f"; is the key in {self._format.key} right?", 404: "; is the model's name right?"}.get(status, "")
        words = f": {str(said)[:300]}" if said else ""
        return self._without_key(f"refused with status {status}{words}{hint}")

    def _without_key(self, text: str) -> str:
        return text.replace(self._key, "(the key)") if self._key else text

    # Reading -------------------------------------------------------------------------------------------------------

    def _body(self, response: requests.Response, largest: int = LARGEST_ANSWER) -> bytes:
        return b"".join(self._chunks(response, largest))

    def _chunks(self, response: requests.Response, largest: int = LARGEST_ANSWER) -> Iterator[bytes]:
        total = 0
        try:
            for chunk in response.iter_content(None):
                total += len(chunk)
                if total > largest:
                    raise HostedError(f"{self.name} answers with more than {largest:,} bytes; nothing more is read")
                yield chunk
        except requests.RequestException as error:
            raise HostedError(f"{self.name} broke off its answer ({type(error).__name__}); ask again") from None

    def _events(self, response: requests.Response) -> Iterator[Mapping[str, Any]]:
        """The data of server-sent events (WHATWG HTML, section 9.2)."""
        rest = b""
        for chunk in self._chunks(response):
            *lines, rest = re.split(rb"\r\n|\n|\r(?!$)", rest + chunk)
            for line in lines:
                name, _, value = line.partition(b":")
                if name == b"data" and value.strip() not in (b"", b"[DONE]"):
                    data = self._json(value)
                    if "error" in data or data.get("type") == "error":
                        error = data.get("error")
                        said = error.get("message") if isinstance(error, Mapping) else error
                        raise HostedError(self._without_key(f"{self.name} stopped: {str(said)[:300]}"))
                    yield data

    def _json(self, text: bytes) -> Mapping[str, Any]:
        try:
            data = json.loads(text)
        except (ValueError, RecursionError):
            data = None
        if not isinstance(data, Mapping):
            raise HostedError(f"{self.name} answered something that is no JSON object")
        return data

    def _parsed(self, read: Callable[[Mapping[str, Any]], Piece], data: Mapping[str, Any]) -> Piece:
        try:
            return read(data)
        except (KeyError, IndexError, TypeError, AttributeError, ValueError):
            raise HostedError(f"{self.name} answered in a form that is not its published one") from None


def is_hosted(name: Any) -> bool:
    """Whether this names a model behind an interface."""
    return isinstance(name, str) and name.partition(":")[0] in FORMATS and ":" in name


def _check_encrypted(address: str) -> None:
    try:
        parts = urlsplit(address)
        host = parts.hostname
    except ValueError:
        host = None
    if not host or parts.username or parts.password:
        raise HostedError(f"{address!r:.120} is no address of a server (https://HOST/PATH, no password in it)")
    if parts.scheme != "https" and not (parts.scheme == "http" and host in ("127.0.0.1", "::1", "localhost")):
        raise HostedError(f"{address!r:.120} is not encrypted; use https, but for servers on this machine")
    check_address(address, look_up=False)


def _seconds(value: str | None) -> float:
    """A `Retry-After` in seconds; 0 for a date or nothing."""
    return float(value) if value is not None and re.fullmatch(r"\d{1,6}(\.\d{1,3})?", value) else 0.0
