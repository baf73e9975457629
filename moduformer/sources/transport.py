"""HTTP sessions that follow redirects only where it is safe and keep credentials with the host they were given for."""

import contextlib
import ipaddress
import socket
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import requests
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase, HTTPBasicAuth
from requests.utils import get_environ_proxies, get_netrc_auth, select_proxy

from moduformer.errors import SourceError
from moduformer.sources.pipconfig import PipConfiguration, origin, redacted

_MAX_REDIRECTS = 8
_CONNECT_SECONDS = 15.0


def check_address(url: str, look_up: bool = True) -> None:
    """Refuses addresses that no package or model is served from: other schemes and link-local hosts.

    Link-local addresses (169.254.0.0/16, fe80::/10; RFC 3927, RFC 4291) are where clouds answer with machine secrets.

    Args:
        url: the address.
        look_up: also look at the numbers behind a host name; pointless where a proxy does the looking up.

    Raises:
        SourceError: the scheme is not http or https, or the host is link-local by name or number.
    """
    scheme, host, port = origin(url)
    if scheme not in ("http", "https") or not host:
        raise SourceError(f"refused to open {redacted(url)}: only http and https addresses are followed")
    numbers = {host}
    try:
        # inet_aton reads the decimal and hexadecimal spellings of an IPv4 address too, as connect() would.
        numbers.add(socket.inet_ntoa(socket.inet_aton(host)))
    except (OSError, UnicodeError):
        if look_up:
            # When it fails the connection will too, with the better message.
            with contextlib.suppress(OSError, UnicodeError):
                numbers |= {str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)}
    for number in numbers:
        try:
            address = ipaddress.ip_address(number.partition("%")[0])
        except ValueError:
            continue
        if (getattr(address, "ipv4_mapped", None) or address).is_link_local:
            raise SourceError(f"refused to open {redacted(url)}: {number} is a link-local address")


def check_redirect(source: str, target: str, look_up: bool = True) -> None:
    """Refuses a redirect that leaves http(s), leaves encryption, or leads to a link-local address.

    Raises:
        SourceError: names both addresses.
    """
    scheme = origin(target)[0]
    if scheme not in ("http", "https"):
        raise SourceError(f"{redacted(source)} redirects to a {scheme or 'nameless'}: address, which is refused")
    if origin(source)[0] == "https" and scheme == "http":
        raise SourceError(f"{redacted(source)} redirects to unencrypted {redacted(target)}, which is refused")
    check_address(target, look_up)


class _OriginAuth(AuthBase):
    """Basic credentials only for the origin they were configured for; netrc for the rest, as pip does."""

    def __init__(self, credentials: Mapping[tuple[str, str, int | None], tuple[str, str]]) -> None:
        self._credentials = credentials

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        url = request.url or ""
        login = self._credentials.get(origin(url)) or get_netrc_auth(url)
        return HTTPBasicAuth(*login)(request) if login else request


class _SystemCertificates(HTTPAdapter):
    """Trusts the operating system's certificates besides the bundled ones: company proxies live in the former."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> Any:
        kwargs["ssl_context"] = ssl.create_default_context()
        return super().init_poolmanager(*args, **kwargs)


class SafeSession(requests.Session):
    """A `requests` session whose every hop is checked.

    Args:
        pip: pip's certificates, proxy, credentials and trusted hosts.

    Raises:
        SourceError: a configured certificate file does not exist.
    """

    def __init__(self, pip: PipConfiguration | None = None) -> None:
        super().__init__()
        self._pip = pip or PipConfiguration()
        self.auth = _OriginAuth(self._pip.credentials)
        # Encoded answers hide a file's true length and can be bombs.
        self.headers.update({"User-Agent": "moduformer", "Accept-Encoding": "identity"})
        for option in (self._pip.cert, self._pip.client_cert):
            if option and not Path(option).expanduser().exists():
                raise SourceError(f"pip is configured with the certificate {option}, which does not exist")
        if self._pip.client_cert:
            self.cert = str(Path(self._pip.client_cert).expanduser())
        if self._pip.proxy:
            proxy = self._pip.proxy if "://" in self._pip.proxy else f"http://{self._pip.proxy}"
            self.proxies = {"http": proxy, "https": proxy}
            # Otherwise the environment's proxies would win over the one that pip is told to use.
            self.trust_env = False
        if not self._pip.cert:
            self.mount("https://", _SystemCertificates())

    @property
    def timeout(self) -> tuple[float, float]:
        """Seconds to wait for a connection and for the next bytes."""
        return min(self._pip.timeout, _CONNECT_SECONDS), self._pip.timeout

    def _verify(self, url: str) -> bool | str:
        _, host, port = origin(url)
        if {host, f"{host}:{port}"} & {trusted.lower() for trusted in self._pip.trusted_hosts}:
            return False
        return str(Path(self._pip.cert).expanduser()) if self._pip.cert else True

    def _is_proxied(self, url: str) -> bool:
        proxies: dict[str, str] = dict(self.proxies)
        if self.trust_env:
            proxies |= get_environ_proxies(url)
        return select_proxy(url, proxies) is not None

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Keeps requests from following by itself: it would read a redirect's whole body into memory first."""
        return

    def fetch(self, url: str, headers: Mapping[str, str] | None = None) -> requests.Response:
        """Opens `url` for streaming, checking it and every address it redirects to.

        Returns:
            the first answer that is no redirect; the caller closes it.

        Raises:
            SourceError: an address or redirect is refused.
            requests.RequestException: the connection failed; the caller decides on another try.
        """
        check_address(url, look_up=not self._is_proxied(url))
        for _ in range(_MAX_REDIRECTS):
            # Certificates are chosen for each hop; said here, because REQUESTS_CA_BUNDLE wins over a session's setting.
            response = self.get(
                url, headers=dict(headers or {}), stream=True, timeout=self.timeout, verify=self._verify(url)
            )
            if not response.is_redirect:
                return response
            location = response.headers["location"]
            response.close()
            try:
                target = urljoin(url, location)
            except ValueError as error:
                raise SourceError(f"{redacted(url)} redirects to an address that cannot be read") from error
            check_redirect(url, target, look_up=not self._is_proxied(target))
            url = target
        raise SourceError(f"{redacted(url)} redirects more than {_MAX_REDIRECTS} times")
