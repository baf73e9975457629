"""Wheels and source archives are data: anything unsound in them is refused whole, and nothing in them ever runs."""

import gzip
import io
import os
import random
import stat
import struct
import sys
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from cost import bounded_cost
from sources_servers import sha256, targz, wheel

from moduformer.errors import SourceError
from moduformer.sources.aliases import Member
from moduformer.sources.archive import extract

GOOD = {"fake/data.bin": b"weights" * 1000, "fake/sub/config.json": b"{}", "fake/__init__.py": b"raise SystemExit"}
WANTED = (Member("fake/data.bin", "data.bin"), Member("fake/sub/config.json", "deep/config.json"))


def unpack(
    tmp_path: Path, content: bytes, members: tuple[Member, ...] = WANTED, name: str = "fake-1.0.whl"
) -> dict[str, str]:
    archive = tmp_path / name
    archive.write_bytes(content)
    folder = tmp_path / "out"
    folder.mkdir()
    return extract(archive, members, folder)


def refused(
    tmp_path: Path, content: bytes, reason: str, name: str = "fake-1.0.whl", **options: tuple[Member, ...]
) -> None:
    place = tmp_path / f"case{len(list(tmp_path.iterdir()))}"
    place.mkdir()
    tracemalloc.start()
    with bounded_cost(), pytest.raises(SourceError, match=reason):
        unpack(place, content, name=name, **options)
    assert tracemalloc.get_traced_memory()[1] < 64 << 20
    tracemalloc.stop()
    written = [path for path in place.rglob("*") if path.is_file() and path.name != name]
    # What was unpacked before the fault lies in the staging folder that the caller throws away; nothing lies beside it.
    assert all(place / "out" in path.parents for path in written)
    assert not any("evil" in path.name for path in (*tmp_path.rglob("*"), *tmp_path.parent.glob("evil*")))


def test_named_members_come_out_and_nothing_else(tmp_path: Path) -> None:
    hashes = unpack(tmp_path, wheel(GOOD))
    assert hashes == {"data.bin": sha256(GOOD["fake/data.bin"]), "deep/config.json": sha256(b"{}")}
    files = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert files == set(hashes)
    assert (tmp_path / "out" / "data.bin").read_bytes() == GOOD["fake/data.bin"]


@pytest.mark.parametrize(
    "name", ["../evil", "fake/../../evil", "/etc/evil", "C:/evil", "fake\\..\\evil", "fake/\x1bevil", "..", "./../x"]
)
def test_names_that_leave_the_folder_are_refused(tmp_path: Path, name: str) -> None:
    refused(tmp_path, wheel({**GOOD, name: b"x"}), "leave the folder")
    info = tarfile.TarInfo(name)
    content = targz([(tarfile.TarInfo("fake/data.bin"), b"x"), (info, b"x")])
    refused(tmp_path, content, "leave the folder", "x.tar.gz")


def _zip_with(change: Callable[[zipfile.ZipInfo], None]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as package:
        package.writestr("fake/data.bin", b"abc")
        info = zipfile.ZipInfo("fake/odd")
        change(info)
        package.writestr(info, b"/etc/passwd")
    return buffer.getvalue()


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO, stat.S_IFSOCK])
def test_links_and_devices_in_zip_are_refused(tmp_path: Path, kind: int) -> None:
    content = _zip_with(lambda info: setattr(info, "external_attr", (kind | 0o777) << 16))
    refused(tmp_path, content, "link or a device")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_in_tar_are_refused(tmp_path: Path, kind: bytes) -> None:
    info = tarfile.TarInfo("fake/odd")
    info.type = kind
    info.linkname = "/etc/passwd"
    content = targz([(tarfile.TarInfo("fake/data.bin"), b"x"), (info, b"")])
    refused(tmp_path, content, "link or a device", "x.tar.gz")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_occurs_twice_is_refused(tmp_path: Path) -> None:
    for second in ("fake/data.bin", "fake/DATA.bin"):
        buffer = io.BytesIO(wheel(GOOD))
        with zipfile.ZipFile(buffer, "a") as package:
            package.writestr(second, b"other")
        refused(tmp_path, buffer.getvalue(), "occurs twice")
    tar = targz([(tarfile.TarInfo("fake/data.bin"), b"one"), (tarfile.TarInfo("fake/data.bin"), b"two")])
    refused(tmp_path, tar, "occurs twice", "x.tar.gz", members=(Member("fake/data.bin"),))


@pytest.mark.parametrize(
    ("offset", "width", "value"),
    [(6, 2, 1), (8, 2, 0), (14, 4, 7), (18, 4, 3), (22, 4, 99), (30, 1, ord("g")), (26, 2, 3)],
    ids=["flags", "method", "crc", "packed size", "size", "name", "name length"],
)
def test_central_and_local_header_that_contradict_are_refused(
    tmp_path: Path, offset: int, width: int, value: int
) -> None:
    content = bytearray(wheel(GOOD))
    content[offset : offset + width] = value.to_bytes(width, "little")
    refused(tmp_path, bytes(content), "contradict|damaged|overlaps")


def test_an_entry_hidden_inside_another_is_refused(tmp_path: Path) -> None:
    inner = wheel({"fake/b": b"other"}, compression=zipfile.ZIP_STORED)
    local = inner[: inner.index(b"PK\x03\x04", 4)]
    content = bytearray(wheel({"fake/a": local, "fake/b": b"other"}, compression=zipfile.ZIP_STORED))
    directory = struct.unpack_from("<I", content, len(content) - 6)[0]
    second = content.index(b"PK\x01\x02", directory + 4)
    struct.pack_into("<I", content, second + 42, content.index(b"PK\x03\x04", 4))
    refused(tmp_path, bytes(content), "overlaps")


def test_headers_of_members_that_are_not_taken_are_compared_too(tmp_path: Path) -> None:
    content = bytearray(wheel(GOOD))
    content[content.index(b"fake/__init__.py")] = ord("g")
    refused(tmp_path, bytes(content), "contradict")


def test_hidden_data_before_or_after_the_archive_is_refused(tmp_path: Path) -> None:
    refused(tmp_path, b"#!/bin/sh\n" + wheel(GOOD), "directory")
    refused(tmp_path, wheel(GOOD) + b"more", "directory")


def test_bombs_are_refused_in_zip_and_tar(tmp_path: Path) -> None:
    refused(tmp_path, wheel({"fake/data.bin": bytes(50 << 20)}), "bomb", members=(Member("fake/data.bin"),))
    tar = targz([(tarfile.TarInfo("fake/data.bin"), bytes(200 << 20))])
    assert len(tar) * 900 < 200 << 20
    refused(tmp_path, tar, "bomb", "x.tar.gz", members=(Member("fake/data.bin"),))


def test_a_size_that_is_a_lie_is_refused(tmp_path: Path) -> None:
    content = bytearray(wheel({"fake/data.bin": bytes(1000)}))
    directory = struct.unpack_from("<I", content, len(content) - 6)[0]
    for place in (22, directory + 24):
        struct.pack_into("<I", content, place, 500)
    refused(tmp_path, bytes(content), "RECORD|damaged|longer", members=(Member("fake/data.bin"),))


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("fake/data.bin,sha256=AAAA,7000", "RECORD"),
        ("fake/data.bin,md5=AAAA,7000", "RECORD is wrong"),
        ("fake/data.bin,,", "RECORD is wrong"),
        ("fake/data.bin,sha256=AAAA,1", "RECORD is wrong"),
        ("fake/gone,sha256=AAAA,1", "RECORD is wrong"),
        ("one field", "RECORD has a row"),
        ("\xff,\xff", "RECORD has a row"),
        ("", "does not list"),
    ],
)
def test_a_wrong_record_is_refused(tmp_path: Path, row: str, reason: str) -> None:
    refused(tmp_path, wheel(GOOD, record={"fake/data.bin": row}), reason)


def test_a_wheel_without_record_or_with_two_is_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as package:
        package.writestr("fake/data.bin", b"x")
    refused(tmp_path, buffer.getvalue(), "0 RECORD")
    refused(tmp_path, wheel({**GOOD, "other-1.0.dist-info/RECORD": b"x"}), "2 RECORD")


def test_a_missing_member_and_a_wrong_member_hash_are_refused(tmp_path: Path) -> None:
    refused(tmp_path, wheel(GOOD), "holds no", members=(Member("fake/absent"),))
    refused(tmp_path, wheel(GOOD), "expected", members=(Member("fake/data.bin", "d", "0" * 64),))


def test_an_encrypted_or_exotic_entry_is_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_LZMA) as package:
        package.writestr("fake/data.bin", b"x" * 100)
    refused(tmp_path, buffer.getvalue(), "compression method")
    content = bytearray(wheel(GOOD))
    directory = struct.unpack_from("<I", content, len(content) - 6)[0]
    content[6] |= 1
    content[directory + 8] |= 1
    refused(tmp_path, bytes(content), "encrypted")


def test_a_directory_larger_than_the_file_is_refused(tmp_path: Path) -> None:
    content = bytearray(wheel(GOOD))
    for place, width, value in ((-12, 2, 65_000), (-10, 4, 0xFFFFFFF0)):
        changed = bytearray(content)
        size = len(changed)
        changed[size + place : size + place + width] = value.to_bytes(width, "little")
        (tmp_path / "a.whl").write_bytes(changed)
        with pytest.raises(SourceError):
            extract(tmp_path / "a.whl", WANTED, tmp_path)


@pytest.mark.parametrize("name", ["fake-1.0.whl", "fake.tar.gz"])
def test_cut_and_scrambled_archives_raise_only_our_error(tmp_path: Path, name: str) -> None:
    members = [(tarfile.TarInfo(path), content) for path, content in GOOD.items()]
    content = wheel(GOOD) if name.endswith(".whl") else targz(members, pax=True)
    chance = random.Random(3)
    archive = tmp_path / name
    for number in range(300):
        damaged = bytearray(content)
        if number % 3 == 0:
            del damaged[chance.randrange(len(damaged)) :]
        for _ in range(chance.randrange(1, 6)):
            if damaged:
                damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        archive.write_bytes(damaged)
        folder = tmp_path / f"out{number}"
        folder.mkdir()
        try:
            hashes = extract(archive, WANTED, folder)
        except SourceError:
            continue
        # Damage that is let through touched nothing that was taken.
        assert (folder / "data.bin").read_bytes() == GOOD["fake/data.bin"]
        assert hashes["deep/config.json"] == sha256(b"{}")


def test_scrambled_tar_headers_raise_only_our_error(tmp_path: Path) -> None:
    members = [(tarfile.TarInfo(path), content) for path, content in GOOD.items()]
    plain = gzip.decompress(targz(members))
    chance = random.Random(4)
    archive = tmp_path / "x.tar.gz"
    for number in range(200):
        damaged = bytearray(plain)
        for _ in range(3):
            damaged[chance.randrange(512)] = chance.randrange(256)
        archive.write_bytes(gzip.compress(bytes(damaged), 1))
        folder = tmp_path / f"out{number}"
        folder.mkdir()
        try:
            extract(archive, WANTED, folder)
        except SourceError:
            continue


def test_a_giant_extended_tar_header_takes_no_memory(tmp_path: Path) -> None:
    header = tarfile.TarInfo("pax")
    header.type = tarfile.XHDTYPE
    header.size = 48 << 20
    body = os.urandom(1 << 20) * 48
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", compresslevel=1) as out:
        out.write(header.tobuf(tarfile.USTAR_FORMAT))
        out.write(body)
    del body
    refused(tmp_path, buffer.getvalue(), "claims", "x.tar.gz")


def test_a_long_chain_of_tar_headers_is_refused(tmp_path: Path) -> None:
    link = tarfile.TarInfo("x")
    link.type = tarfile.GNUTYPE_LONGNAME
    link.size = 5
    block = link.tobuf(tarfile.GNU_FORMAT) + b"name\x00".ljust(512, b"\x00")
    refused(tmp_path, gzip.compress(block * 5000, 0), "damaged", "x.tar.gz")


def test_an_archive_inside_an_archive_is_read_by_the_same_rules(tmp_path: Path) -> None:
    inner = targz([(tarfile.TarInfo("set/table.txt"), b"1\t2\n")])
    wanted = (Member("p/inner.tar.gz", members=(Member("set/table.txt", "table.txt"),)), Member("p/licence", "LICENSE"))
    outer = targz([(tarfile.TarInfo("p/inner.tar.gz"), inner), (tarfile.TarInfo("p/licence"), b"MIT")])
    hashes = unpack(tmp_path, outer, wanted, "x.tar.gz")
    assert hashes == {"table.txt": sha256(b"1\t2\n"), "LICENSE": sha256(b"MIT")}
    assert not (tmp_path / "out" / "inner.tar.gz").exists()

    bad = targz([(tarfile.TarInfo("set/table.txt"), b"1"), (tarfile.TarInfo("../evil"), b"1")])
    outer = targz([(tarfile.TarInfo("p/inner.tar.gz"), bad), (tarfile.TarInfo("p/licence"), b"MIT")])
    refused(tmp_path, outer, "leave the folder", "x.tar.gz", members=wanted)


def test_nothing_of_the_package_is_imported(tmp_path: Path) -> None:
    unpack(tmp_path, wheel(GOOD))
    assert "fake" not in sys.modules
    assert not list((tmp_path / "out").rglob("*.py"))
