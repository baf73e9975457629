"""pip's configuration, read without pip: which package index it would ask, and how.

pip itself may be absent from the environment that runs this library, and starting it costs half a second, so its files
and variables are read here in the order that pip documents (https://pip.pypa.io/en/stable/topics/configuration/).
"""

import configparser
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

from moduformer.errors import SourceError

DEFAULT_INDEX = "https://pypi.org/simple/"
_MAX_FILE_BYTES = 1 << 20
_SECTIONS = ("global", "install")
_MACHINE_FILE = Path("/etc/pip.conf")
_TRUE = frozenset({"1", "true", "yes", "on", "y", "t"})


@dataclass(frozen=True)
class PipConfiguration:
    """What pip is told about package indexes.

    Args:
        indexes: base addresses of the simple API, in the order asked, without credentials.
        find_links: folders or pages that list files directly.
        credentials: (scheme, host, port) -> (user, password), from the addresses.
        cert: a CA bundle that replaces the usual certificates.
        client_cert: a client certificate file with its key.
        proxy: one proxy for every scheme.
        trusted_hosts: `host` or `host:port` whose certificate is not checked.
        timeout: seconds of silence before a connection is given up.
    """

    indexes: tuple[str, ...] = (DEFAULT_INDEX,)
    find_links: tuple[str, ...] = ()
    credentials: dict[tuple[str, str, int | None], tuple[str, str]] = field(default_factory=dict)
    cert: str | None = None
    client_cert: str | None = None
    proxy: str | None = None
    trusted_hosts: tuple[str, ...] = ()
    timeout: float = 15.0


def origin(url: str) -> tuple[str, str, int | None]:
    """Scheme, host and port of an address; what credentials belong to."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise SourceError(f"{redacted(url)} is not a usable address: {error}") from error
    scheme = parts.scheme.lower()
    return scheme, (parts.hostname or "").lower(), port or {"http": 80, "https": 443}.get(scheme)


def redacted(url: str) -> str:
    """The address without user, password, query and fragment, fit for a message or a log."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "an address that cannot be read"
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _without_credentials(url: str) -> tuple[str, tuple[str, str] | None]:
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise SourceError(f"pip is configured with an index address that cannot be read: {error}") from error
    userinfo, at, host = parts.netloc.rpartition("@")
    if not at:
        return url, None
    user, _, password = userinfo.partition(":")
    return urlunsplit(parts._replace(netloc=host)), (unquote(user), unquote(password))


def _config_files() -> list[Path]:
    """Where pip looks, weakest first: machine, user (old place, new place), virtual environment, PIP_CONFIG_FILE."""
    named = os.environ.get("PIP_CONFIG_FILE")
    if named == os.devnull:
        return []
    home = Path("~").expanduser()
    machine: list[Path]
    if sys.platform == "win32":
        base = "pip.ini"
        machine = [Path(os.environ.get("PROGRAMDATA", r"C:\ProgramData")) / "pip" / base]
        user = [home / "pip" / base, Path(os.environ.get("APPDATA", home / "AppData/Roaming")) / "pip" / base]
    elif sys.platform == "darwin":
        base = "pip.conf"
        machine = [Path("/Library/Application Support/pip") / base]
        library = home / "Library/Application Support/pip"
        user = [home / ".pip" / base, (library if library.is_dir() else home / ".config/pip") / base]
    else:
        base = "pip.conf"
        shared = os.environ.get("XDG_CONFIG_DIRS") or "/etc/xdg"
        machine = [Path(folder) / "pip" / base for folder in shared.split(os.pathsep) if folder]
        machine.append(_MACHINE_FILE)
        own = os.environ.get("XDG_CONFIG_HOME")
        user = [home / ".pip" / base, (Path(own) if own else home / ".config") / "pip" / base]
    files = [*machine, *user, Path(sys.prefix) / base]
    return [*files, Path(named).expanduser()] if named else files


def _normalised(name: str) -> str:
    return name.lower().replace("_", "-").removeprefix("--")


def _read_file(path: Path) -> dict[str, dict[str, str]]:
    parser = configparser.RawConfigParser()
    try:
        if not path.is_file():
            return {}
        if path.stat().st_size > _MAX_FILE_BYTES:
            raise SourceError(f"pip's configuration file {path} is larger than 1 MiB; it is not read")
        parser.read_string(path.read_bytes().decode("utf-8-sig"), source=str(path))
        return {
            section: {_normalised(key): value for key, value in parser.items(section)} for section in parser.sections()
        }
    except PermissionError:
        return {}
    except (OSError, UnicodeDecodeError, configparser.Error) as error:
        raise SourceError(f"pip's configuration file {path} cannot be read: {error}") from error


def _options() -> dict[str, str]:
    """pip's options for `install`: the `global` sections of all files, over them `install`, over them `PIP_*`."""
    files = [_read_file(path) for path in _config_files()]
    options: dict[str, str] = {}
    for section in _SECTIONS:
        for sections in files:
            options |= {key: value for key, value in sections.get(section, {}).items() if value.strip()}
    for name, value in os.environ.items():
        if name.startswith("PIP_") and value.strip():
            options[_normalised(name.removeprefix("PIP_"))] = value
    return options


def read_pip_configuration() -> PipConfiguration:
    """Reads pip's files and `PIP_*` variables as `pip install` would.

    Returns:
        the indexes and how to reach them; no index at all when `no-index` is set.

    Raises:
        SourceError: a configuration file or a value in it cannot be read.
    """
    options = _options()
    addresses: list[str] = []
    if options.get("no-index", "").strip().lower() not in _TRUE:
        # pip's older name for the same option is `pypi-url`.
        main = options.get("index-url") or options.get("pypi-url") or DEFAULT_INDEX
        addresses = [main.strip(), *options.get("extra-index-url", "").split()]
    indexes: list[str] = []
    credentials = {}
    for address in addresses:
        bare, login = _without_credentials(address)
        if login is not None:
            credentials[origin(bare)] = login
        if bare not in indexes:
            indexes.append(bare)
    find_links: list[str] = []
    for address in options.get("find-links", "").split():
        bare, login = _without_credentials(address)
        if login is not None:
            credentials[origin(bare)] = login
        find_links.append(bare)
    seconds = options.get("timeout") or options.get("default-timeout") or "15"
    try:
        timeout = min(max(float(seconds), 1.0), 600.0)
    except ValueError as error:
        raise SourceError(f"pip's option timeout is {seconds!r}, which is not a number of seconds") from error
    return PipConfiguration(
        indexes=tuple(indexes),
        find_links=tuple(find_links),
        credentials=credentials,
        cert=options.get("cert", "").strip() or None,
        client_cert=options.get("client-cert", "").strip() or None,
        proxy=options.get("proxy", "").strip() or None,
        trusted_hosts=tuple(options.get("trusted-host", "").split()),
        timeout=timeout,
    )
