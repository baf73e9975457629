"""Downloads that are cut, changed, lied about or raced for end with the right bytes or with an error that says why."""

import gzip
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from sources_servers import send, send_file, serving, sha256

from moduformer.errors import SourceError
from moduformer.sources import cache
from moduformer.sources.download import download
from moduformer.sources.pipconfig import PipConfiguration, origin
from moduformer.sources.transport import SafeSession, check_address, check_redirect

CONTENT = random.Random(7).randbytes(700_000)
HASH = sha256(CONTENT)


def fetch(url: str, target: Path, **options: object) -> Path:
    return download(url, target, sha256=HASH, pause=0.001, **options)  # type: ignore[arg-type]


def test_cut_at_fifty_offsets_resumes_to_the_right_bytes(tmp_path: Path) -> None:
    target = tmp_path / "weights"
    cuts = iter(random.Random(1).sample(range(1, 13_000), 50))
    published_early = []

    def answer(handler, server):
        published_early.append(target.exists())
        send_file(handler, CONTENT, cut_after=next(cuts, None))

    with serving(answer) as server:
        fetch(server.url + "/f", target)
    assert target.read_bytes() == CONTENT
    assert len(server.requests) == 51
    assert all("range" in request.headers for request in server.requests[1:])
    assert not any(published_early)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["weights", "weights.lock"]


def test_every_cut_offset_is_survived_by_a_second_call(tmp_path: Path) -> None:
    for number, offset in enumerate([0, 1, 4095, 350_000, len(CONTENT) - 1]):
        target = tmp_path / f"f{number}"
        with serving(lambda handler, server, cut=offset: send_file(handler, CONTENT[: cut or 1], cut_after=cut)) as bad:
            with pytest.raises(SourceError):
                fetch(bad.url + "/f", target)
            assert not target.exists()
        with serving(lambda handler, server: send_file(handler, CONTENT)) as good:
            assert fetch(good.url + "/f", target).read_bytes() == CONTENT


def test_one_flipped_byte_is_refused_and_removed(tmp_path: Path) -> None:
    damaged = bytearray(CONTENT)
    damaged[123_456] ^= 1
    with (
        serving(lambda handler, server: send_file(handler, bytes(damaged))) as server,
        pytest.raises(SourceError, match="sha256"),
    ):
        fetch(server.url + "/f", tmp_path / "f")
    assert [path.name for path in tmp_path.iterdir()] == ["f.lock"]


def test_range_answered_with_the_whole_file_starts_again(tmp_path: Path) -> None:
    def answer(handler, server):
        first = len(server.requests) == 1
        send(handler, 200, {"ETag": '"v1"'}, CONTENT[:1000] if first else CONTENT, length=len(CONTENT))

    with serving(answer) as server:
        assert fetch(server.url + "/f", tmp_path / "f").read_bytes() == CONTENT
    assert "range" in server.requests[1].headers


def test_changed_file_midway_starts_again_even_without_if_range(tmp_path: Path) -> None:
    older = random.Random(8).randbytes(len(CONTENT))

    def answer(handler, server):
        number = len(server.requests)
        if number == 1:
            send(handler, 200, {"ETag": 'W/"v1"'}, older[:50_000], length=len(older))
        elif "Range" in handler.headers:
            start = int(handler.headers["Range"][6:-1])
            given = {"ETag": 'W/"v2"', "Content-Range": f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}"}
            send(handler, 206, given, CONTENT[start:])
        else:
            send_file(handler, CONTENT, 'W/"v2"')

    whole = []
    with serving(answer) as server:
        fetch(server.url + "/f", tmp_path / "f", progress=lambda done, total: whole.append(done == total))
    assert (tmp_path / "f").read_bytes() == CONTENT
    assert len(server.requests) == 3
    # The changed rest was never appended to the older start, only to be thrown away by the hash.
    assert sum(whole) == 1


def test_pieces_of_two_versions_are_noticed_by_the_hash_and_fetched_again(tmp_path: Path) -> None:
    older = random.Random(8).randbytes(len(CONTENT))

    def answer(handler, server):
        send_file(
            handler, older if len(server.requests) == 1 else CONTENT, cut_after=9 if len(server.requests) == 1 else None
        )

    with serving(answer) as server:
        assert fetch(server.url + "/f", tmp_path / "f").read_bytes() == CONTENT


def test_wrong_offset_in_a_partial_answer_starts_again(tmp_path: Path) -> None:
    def answer(handler, server):
        if len(server.requests) == 1:
            send_file(handler, CONTENT, cut_after=1000)
        elif "Range" in handler.headers:
            send(handler, 206, {"ETag": '"v1"', "Content-Range": f"bytes 10-99/{len(CONTENT)}"}, CONTENT[10:100])
        else:
            send_file(handler, CONTENT)

    seen: list[int] = []
    with serving(answer) as server:
        fetch(server.url + "/f", tmp_path / "f", progress=lambda done, total: seen.append(done))
    assert (tmp_path / "f").read_bytes() == CONTENT
    assert 1090 not in seen


@pytest.mark.parametrize("declared", [len(CONTENT) - 5, len(CONTENT) + 5, 1 << 50])
def test_false_length_is_refused(tmp_path: Path, declared: int) -> None:
    with (
        serving(lambda handler, server: send(handler, 200, {}, CONTENT, length=declared)) as server,
        pytest.raises(SourceError, match="expected"),
    ):
        fetch(server.url + "/f", tmp_path / "f", size=len(CONTENT))
    assert not (tmp_path / "f").exists()


def test_length_beyond_the_ceiling_is_refused_before_a_byte_is_taken(tmp_path: Path) -> None:
    with (
        serving(lambda handler, server: send(handler, 200, {}, b"x", length=1 << 40)) as server,
        pytest.raises(SourceError, match="more than"),
    ):
        fetch(server.url + "/f", tmp_path / "f", ceiling=1 << 20)
    assert len(server.requests) == 1


def test_endless_body_is_stopped_at_the_ceiling(tmp_path: Path) -> None:
    sent = []

    def answer(handler, server):
        send(handler, 200, {}, length=-1)
        for _ in range(1000):
            sent.append(handler.wfile.write(bytes(1 << 18)))

    with serving(answer) as server, pytest.raises(SourceError, match="does not end"):
        fetch(server.url + "/f", tmp_path / "f", ceiling=1 << 20)
    assert sum(sent) < 100 << 20
    assert [path.name for path in tmp_path.iterdir()] == ["f.lock"]


def test_gzip_bomb_is_refused_unopened(tmp_path: Path) -> None:
    bomb = gzip.compress(bytes(64 << 20))
    with (
        serving(lambda handler, server: send(handler, 200, {"Content-Encoding": "gzip"}, bomb)) as server,
        pytest.raises(SourceError, match="gzip"),
    ):
        fetch(server.url + "/f", tmp_path / "f")
    assert server.requests[0].headers["accept-encoding"] == "identity"


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("file:///etc/passwd", "file: address"),
        ("ftp://127.0.0.1/x", "ftp: address"),
        ("http://169.254.169.254/latest/meta-data", "link-local"),
        ("http://2852039166/", "link-local"),  # the same address as one decimal number
        ("http://[fe80::1]/", "link-local"),
        ("http://[::ffff:169.254.169.254]/", "link-local"),
        ("http://[::1", "cannot be read|usable"),
    ],
)
def test_redirects_to_where_no_file_lives_are_refused(tmp_path: Path, location: str, reason: str) -> None:
    with (
        serving(lambda handler, server: send(handler, 302, {"Location": location})) as server,
        pytest.raises(SourceError, match=reason),
    ):
        fetch(server.url + "/f", tmp_path / "f")
    assert len(server.requests) == 1


def test_redirect_from_https_to_http_is_refused() -> None:
    with pytest.raises(SourceError, match="unencrypted"):
        check_redirect("https://example.org/f", "http://127.0.0.1/f")
    check_redirect("http://127.0.0.1/f", "https://127.0.0.1/f")


def test_endless_redirects_with_endless_bodies_end(tmp_path: Path) -> None:
    with (
        serving(
            lambda handler, server: send(handler, 302, {"Location": "/again"}, b"x" * 100, length=1 << 40)
        ) as server,
        pytest.raises(SourceError, match="redirects more than"),
    ):
        fetch(server.url + "/f", tmp_path / "f")


def test_first_address_is_checked_too() -> None:
    for url in ("file:///etc/passwd", "http://169.254.169.254/x", "gopher://x/", "http://0xa9fea9fe/"):
        with pytest.raises(SourceError):
            check_address(url)


def test_credentials_never_leave_their_host(tmp_path: Path) -> None:
    with serving(lambda handler, server: send_file(handler, CONTENT)) as other:

        def answer(handler, server):
            if handler.path == "/same":
                send_file(handler, CONTENT)
            else:
                send(handler, 302, {"Location": "/same" if handler.path == "/near" else other.url + "/f"})

        with serving(answer) as home:
            pip = PipConfiguration(credentials={origin(home.url): ("user", "s3cret")})
            fetch(home.url + "/near", tmp_path / "a", session=SafeSession(pip))
            fetch(home.url + "/far", tmp_path / "b", session=SafeSession(pip))
    assert all("authorization" in request.headers for request in home.requests)
    assert len(home.requests) == 3
    assert len(other.requests) == 1
    assert "authorization" not in other.requests[0].headers


def test_web_page_instead_of_the_file_is_said(tmp_path: Path) -> None:
    page = b"  <!DOCTYPE html><html><title>Log in to the network</title></html>"
    cases = [("text/html; charset=utf-8", b"<p>blocked by policy</p>"), ("application/octet-stream", page)]
    for kind, body in cases:
        with (
            serving(lambda handler, server, k=kind, b=body: send(handler, 200, {"Content-Type": k}, b)) as server,
            pytest.raises(SourceError, match="web page"),
        ):
            fetch(server.url + "/f", tmp_path / "f")
    assert [path.name for path in tmp_path.iterdir()] == ["f.lock"]


def test_busy_server_is_asked_again_and_a_refusal_is_not(tmp_path: Path) -> None:
    def busy(handler, server):
        if len(server.requests) < 3:
            send(handler, 503, {"Retry-After": "0"})
        else:
            send_file(handler, CONTENT)

    with serving(busy) as server:
        fetch(server.url + "/f", tmp_path / "f")
    for status, words in ((401, "login"), (403, "firewall"), (404, "does not exist")):
        with (
            serving(lambda handler, server, code=status: send(handler, code)) as server,
            pytest.raises(SourceError, match=words),
        ):
            fetch(server.url + "/f", tmp_path / "g")
        assert len(server.requests) == 1


def test_errors_never_carry_credentials(tmp_path: Path) -> None:
    with pytest.raises(SourceError) as caught:
        fetch("http://user:s3cret@127.0.0.1:9/f?token=s3cret", tmp_path / "f")
    assert "s3cret" not in str(caught.value)


def test_chunked_answer_without_a_length_is_read_to_its_end(tmp_path: Path) -> None:
    def answer(handler, server):
        send(handler, 200, {"Transfer-Encoding": "chunked"}, length=-1)
        for start in range(0, len(CONTENT), 100_000):
            piece = CONTENT[start : start + 100_000]
            handler.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            if start == 300_000 and len(server.requests) == 1:
                return
        handler.wfile.write(b"0\r\n\r\n")

    with serving(answer) as server:
        assert fetch(server.url + "/f", tmp_path / "f").read_bytes() == CONTENT
    assert len(server.requests) == 2


def test_progress_reports_bytes_and_total(tmp_path: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    with serving(lambda handler, server: send_file(handler, CONTENT)) as server:
        fetch(server.url + "/f", tmp_path / "f", progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_verified_file_is_not_fetched_twice_and_a_damaged_one_is(tmp_path: Path) -> None:
    target = tmp_path / "f"
    with serving(lambda handler, server: send_file(handler, CONTENT)) as server:
        fetch(server.url + "/f", target)
        fetch(server.url + "/f", target)
        assert len(server.requests) == 1
        target.write_bytes(CONTENT[:-1] + b"?")
        assert fetch(server.url + "/f", target).read_bytes() == CONTENT


_CHILD = """
import sys
from pathlib import Path
from moduformer.sources.download import download
download(sys.argv[1], Path(sys.argv[2]), sha256=sys.argv[3], pause=0.01)
"""


def _child(url: str, target: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", _CHILD, url, str(target), HASH])


def test_killed_downloader_leaves_no_stale_lock_and_its_bytes_are_used(tmp_path: Path) -> None:
    target = tmp_path / "f"
    release = threading.Event()

    def answer(handler, server):
        if len(server.requests) > 1:
            send_file(handler, CONTENT)
            return
        send(handler, 200, {"ETag": '"v1"'}, CONTENT[:300_000], length=len(CONTENT))
        release.wait(20)

    with serving(answer) as server:
        victim = _child(server.url + "/f", target)
        partial = tmp_path / "f.partial"
        deadline = time.monotonic() + 20
        while not (partial.exists() and partial.stat().st_size >= 262_144) and time.monotonic() < deadline:
            time.sleep(0.01)
        other = _child(server.url + "/f", target)
        time.sleep(0.5)
        assert other.poll() is None
        victim.send_signal(signal.SIGKILL)
        victim.wait()
        killed = time.monotonic()
        assert other.wait(15) == 0
        waited = time.monotonic() - killed
        release.set()
    assert waited < 10
    assert target.read_bytes() == CONTENT
    assert server.requests[1].headers["range"].startswith("bytes=")


def test_two_at_once_fetch_once(tmp_path: Path) -> None:
    with serving(lambda handler, server: send_file(handler, CONTENT)) as server:
        children = [_child(server.url + "/f", tmp_path / "f") for _ in range(2)]
        assert [child.wait(30) for child in children] == [0, 0]
    assert len(server.requests) == 1


def test_disk_too_small_is_said_with_the_bytes_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil

    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with (
        serving(lambda handler, server: send_file(handler, CONTENT)) as server,
        pytest.raises(SourceError, match=f"needs {len(CONTENT)} more bytes"),
    ):
        fetch(server.url + "/f", tmp_path / "f")


def test_disk_that_fills_up_midway_keeps_no_partial_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    from moduformer.sources import download as module

    def full(out: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(module, "_flush", full)
    with (
        serving(lambda handler, server: send_file(handler, CONTENT)) as server,
        pytest.raises(SourceError, match="disk filled up"),
    ):
        fetch(server.url + "/f", tmp_path / "f")
    assert [path.name for path in tmp_path.iterdir()] == ["f.lock"]


def test_unwritable_cache_is_an_error_that_names_the_variable(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(SourceError, match="MODUFORMER_HOME"), cache.locked(tmp_path / "file" / "inside" / "x"):
        pass
