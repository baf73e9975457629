"""Wheels (zip) and source archives (tar.gz) read as bounded data: nothing in them is built, installed or imported.

Formats: PKWARE APPNOTE 6.3.10 (zip), PyPA binary distribution format (RECORD), POSIX.1-2001 (tar), RFC 1952 (gzip).
"""

import base64
import csv
import gzip
import hashlib
import io
import os
import re
import stat
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath
from typing import IO, Any

from moduformer.errors import SourceError
from moduformer.sources.aliases import Member

_CHUNK = 1 << 20
_MAX_DIRECTORY_BYTES = 8 << 20
_MAX_ENTRIES = 20_000
_MAX_RECORD_BYTES = 4 << 20
# Deflate cannot pass 1032:1; real weights and text stay far below 100:1, a bomb sits near the limit.
_MAX_RATIO = 100
_RATIO_FREE_BYTES = 1 << 20
_MAX_MEMBER_BYTES = 4 << 30
_DATA_DESCRIPTOR_BYTES = 24
_MAX_TAR_BYTES = 256 << 20
_MAX_TAR_READ = 1 << 20
_LOCAL_HEADER = struct.Struct("<4sHHHHHIIIHH")
_END_RECORD = struct.Struct("<4sHHHHIIH")


def extract(archive: Path, members: Iterable[Member], folder: Path) -> dict[str, str]:
    """Takes named members out of a wheel or `.tar.gz`, refusing the whole archive when anything in it is unsound.

    Args:
        archive: the file; `.whl` and `.zip` are read as zip, the rest as gzipped tar.
        members: what to take and how to name it.
        folder: an existing folder to write into.

    Returns:
        relative file name -> SHA-256 of its content.

    Raises:
        SourceError: a traversing or absolute name, a link or device, a name that occurs twice, headers that contradict
            each other, a decompression bomb, a wrong RECORD hash, a missing member or damaged data.
    """
    wanted = {member.path: member for member in members}
    read = _extract_zip if archive.suffix in (".whl", ".zip") else _extract_tar
    try:
        hashes = read(archive, wanted, folder)
    except (
        zipfile.BadZipFile,
        tarfile.TarError,
        gzip.BadGzipFile,
        zlib.error,
        EOFError,
        struct.error,
        ValueError,
        NotImplementedError,
        OverflowError,
        RecursionError,
        csv.Error,
    ) as error:
        raise _unsound(archive, f"it is damaged ({error})") from error
    except OSError as error:
        raise SourceError(f"cannot unpack {archive.name} into {folder}: {error}") from error
    return hashes


def _unsound(archive: Path, reason: str) -> SourceError:
    return SourceError(
        f"{archive.name} is refused: {reason}. Nothing of it was used; fetch it again from a good source."
    )


def _check_name(archive: Path, name: str) -> None:
    parts = PurePosixPath(name).parts
    if (
        not parts
        or name.startswith("/")
        or "\\" in name
        or ".." in parts
        or re.search(r"[\x00-\x1f\x7f]", name)
        or re.match(r"[A-Za-z]:", name)
        or len(name) > 1024
    ):
        raise _unsound(archive, f"the entry name {name[:80]!r} would leave the folder or is not plain")


def _check_unique(archive: Path, names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        # Folded, because two names that differ in case are one file on most desktops.
        folded = name.rstrip("/").casefold()
        if folded in seen:
            raise _unsound(archive, f"the entry {name[:80]!r} occurs twice")
        seen.add(folded)


def _destination(folder: Path, member: Member) -> tuple[str, Path]:
    name = member.target or PurePosixPath(member.path).name
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    return name, path


def _copy(read: Callable[[int], bytes], size: int, path: Path, archive: Path, name: str) -> str:
    """Copies exactly `size` bytes to `path`, flushed to disk, and returns their SHA-256."""
    digest = hashlib.sha256()
    left = size
    with path.open("xb") as out:
        while left:
            chunk = read(min(_CHUNK, left))
            if not chunk:
                raise _unsound(archive, f"{name} ends {left} bytes early")
            digest.update(chunk)
            out.write(chunk)
            left -= len(chunk)
        if read(1):
            raise _unsound(archive, f"{name} is longer than its header says")
        out.flush()
        os.fsync(out.fileno())
    return digest.hexdigest()


# --- zip --------------------------------------------------------------------------------------------------------------


def _extract_zip(archive: Path, wanted: dict[str, Member], folder: Path) -> dict[str, str]:
    with archive.open("rb") as stream:
        directory_start = _check_end_record(archive, stream)
        with zipfile.ZipFile(stream) as package:
            entries = package.infolist()
            _check_unique(archive, (entry.filename for entry in entries))
            for entry in entries:
                _check_entry(archive, entry)
            _check_local_headers(archive, stream, entries, directory_start)
            recorded = _read_record(archive, package, entries) if archive.suffix == ".whl" else None
            by_name = {entry.filename: entry for entry in entries}
            hashes: dict[str, str] = {}
            for member in wanted.values():
                if member.path not in by_name:
                    raise _unsound(archive, f"it holds no {member.path}")
                hashes |= _extract_zip_member(archive, package, by_name[member.path], member, recorded, folder)
    return hashes


def _extract_zip_member(
    archive: Path,
    package: zipfile.ZipFile,
    entry: zipfile.ZipInfo,
    member: Member,
    recorded: dict[str, str] | None,
    folder: Path,
) -> dict[str, str]:
    name, path = _destination(folder, member)
    with package.open(entry) as content:
        sha256 = _copy(content.read, entry.file_size, path, archive, member.path)
    if recorded is not None and recorded.get(member.path) != sha256:
        raise _unsound(archive, f"the content of {member.path} is not what its RECORD says")
    return _finish(archive, member, name, path, sha256, folder)


def _finish(archive: Path, member: Member, name: str, path: Path, sha256: str, folder: Path) -> dict[str, str]:
    if member.sha256 is not None and sha256 != member.sha256:
        raise _unsound(archive, f"{member.path} has sha256 {sha256}, expected {member.sha256}")
    if not member.members:
        return {name: sha256}
    try:
        return extract(path, member.members, folder)
    finally:
        path.unlink()


def _check_end_record(archive: Path, stream: IO[bytes]) -> int:
    """Bounds the central directory before `zipfile` reads it into memory; returns where it starts."""
    length = stream.seek(0, os.SEEK_END)
    # Without an archive comment the end record is the last 22 bytes; wheels have none, and one could hide a second end.
    if length < _END_RECORD.size:
        raise _unsound(archive, "it is too short to be a zip file")
    stream.seek(length - _END_RECORD.size)
    magic, disk, first_disk, here, count, size, start, comment = _END_RECORD.unpack(stream.read(_END_RECORD.size))
    if magic != b"PK\x05\x06" or comment:
        raise _unsound(archive, "its zip directory is missing (the file is cut, or carries a comment)")
    if disk or first_disk or here != count or count == 0xFFFF or 0xFFFFFFFF in (size, start):
        raise _unsound(archive, "multi-part and zip64 archives are not read")
    if count > _MAX_ENTRIES or size > _MAX_DIRECTORY_BYTES:
        raise _unsound(archive, f"its directory is too large ({count} entries, {size} bytes)")
    if start + size != length - _END_RECORD.size:
        raise _unsound(archive, "its directory does not end where the file says")
    return int(start)


def _check_entry(archive: Path, entry: zipfile.ZipInfo) -> None:
    _check_name(archive, entry.orig_filename)
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR) or (kind == stat.S_IFDIR) > entry.is_dir():
        raise _unsound(archive, f"{entry.filename} is a link or a device")
    if entry.flag_bits & 0x1:
        raise _unsound(archive, f"{entry.filename} is encrypted")
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise _unsound(archive, f"{entry.filename} uses compression method {entry.compress_type}")
    if (
        entry.file_size > max(_RATIO_FREE_BYTES, _MAX_RATIO * entry.compress_size)
        or entry.file_size > _MAX_MEMBER_BYTES
    ):
        raise _unsound(archive, f"{entry.filename} unpacks {entry.compress_size} bytes to {entry.file_size}: a bomb")


def _check_local_headers(
    archive: Path, stream: IO[bytes], entries: list[zipfile.ZipInfo], directory_start: int
) -> None:
    """Readers that trust one of the two headers must see the same files as readers that trust the other."""
    end_of_previous = slack = 0
    for entry in sorted(entries, key=lambda item: item.header_offset):
        if not end_of_previous <= entry.header_offset <= end_of_previous + slack:
            raise _unsound(archive, f"{entry.filename} overlaps another entry or starts inside hidden data")
        stream.seek(entry.header_offset)
        fixed = stream.read(_LOCAL_HEADER.size)
        if len(fixed) < _LOCAL_HEADER.size:
            raise _unsound(archive, f"{entry.filename} starts outside the file")
        magic, _, flags, method, _, _, crc, packed, unpacked, name_size, extra_size = _LOCAL_HEADER.unpack(fixed)
        raw_name = stream.read(name_size)
        name = raw_name.decode("utf-8" if flags & 0x800 else "cp437")
        described_later = bool(flags & 0x8)
        sizes = (crc, packed, unpacked)
        if (
            magic != b"PK\x03\x04"
            or name != entry.orig_filename
            or flags != entry.flag_bits
            or method != entry.compress_type
            or (sizes != (entry.CRC, entry.compress_size, entry.file_size) and not (described_later and not any(sizes)))
        ):
            raise _unsound(archive, f"the two headers of {entry.filename} contradict each other")
        slack = _DATA_DESCRIPTOR_BYTES if described_later else 0
        end_of_previous = entry.header_offset + _LOCAL_HEADER.size + name_size + extra_size + entry.compress_size
    if not end_of_previous <= directory_start <= end_of_previous + slack:
        raise _unsound(archive, "its last entry does not end where the directory starts")


def _read_record(archive: Path, package: zipfile.ZipFile, entries: list[zipfile.ZipInfo]) -> dict[str, str]:
    """`*.dist-info/RECORD` as file -> SHA-256; every file of the wheel must be in it."""
    files = {entry.filename: entry for entry in entries if not entry.is_dir()}
    records = [name for name in files if re.fullmatch(r"[^/]+\.dist-info/RECORD", name)]
    if len(records) != 1:
        raise _unsound(archive, f"it has {len(records)} RECORD files instead of one")
    record = files[records[0]]
    if record.file_size > _MAX_RECORD_BYTES:
        raise _unsound(archive, "its RECORD is too large")
    hashes: dict[str, str] = {}
    for row in csv.reader(io.StringIO(package.read(record).decode("utf-8"), newline="")):
        if not row:
            continue
        if len(row) != 3 or row[0] in hashes:
            raise _unsound(archive, f"its RECORD has a row that is not 'file,hash,size' or comes twice: {row[:1]}")
        name, declared, size = row
        if name.startswith(record.filename):
            hashes[name] = ""
            continue
        algorithm, _, encoded = declared.partition("=")
        if algorithm != "sha256" or name not in files or size != str(files[name].file_size):
            raise _unsound(archive, f"its RECORD is wrong about {name[:80]!r}")
        hashes[name] = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).hex()
    unlisted = sorted(name for name in files if name not in hashes and not name.startswith(record.filename))
    if unlisted:
        raise _unsound(archive, f"its RECORD does not list {unlisted[0]}")
    return hashes


# --- tar.gz -----------------------------------------------------------------------------------------------------------


class _ShortReads:
    """A file that refuses giant reads: `tarfile` takes an extended header of any declared size in one call."""

    def __init__(self, archive: Path, stream: IO[bytes]) -> None:
        self._archive = archive
        self._stream = stream
        self.tell = stream.tell
        self.seek = stream.seek

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _MAX_TAR_READ:
            raise _unsound(self._archive, f"one of its headers claims {size} bytes")
        return self._stream.read(size)


def _gunzip(archive: Path, out: IO[bytes]) -> None:
    """Decompresses to `out` on disk, stopping at a bomb."""
    limit = min(_MAX_TAR_BYTES, max(_RATIO_FREE_BYTES, _MAX_RATIO * archive.stat().st_size))
    written = 0
    with gzip.open(archive, "rb") as stream:
        while chunk := stream.read(_CHUNK):
            written += len(chunk)
            if written > limit:
                raise _unsound(archive, f"it unpacks to more than {limit} bytes: a bomb")
            out.write(chunk)
    out.seek(0)


def _extract_tar(archive: Path, wanted: dict[str, Member], folder: Path) -> dict[str, str]:
    with tempfile.TemporaryFile(dir=folder) as stream:
        _gunzip(archive, stream)
        limited: Any = _ShortReads(archive, stream)
        with tarfile.TarFile(fileobj=limited, mode="r", errorlevel=2, encoding="utf-8") as package:
            entries: dict[str, tarfile.TarInfo] = {}
            names: list[str] = []
            while (entry := package.next()) is not None:
                _check_name(archive, entry.name)
                if not (entry.isreg() or entry.isdir()) or entry.issparse():
                    raise _unsound(archive, f"{entry.name} is a link or a device")
                names.append(entry.name)
                entries[entry.name] = entry
                if len(names) > _MAX_ENTRIES:
                    raise _unsound(archive, f"it has more than {_MAX_ENTRIES} entries")
            _check_unique(archive, names)
            hashes: dict[str, str] = {}
            for member in wanted.values():
                content = package.extractfile(entries[member.path]) if member.path in entries else None
                if content is None:
                    raise _unsound(archive, f"it holds no {member.path}")
                name, path = _destination(folder, member)
                sha256 = _copy(content.read, entries[member.path].size, path, archive, member.path)
                hashes |= _finish(archive, member, name, path, sha256, folder)
    return hashes
