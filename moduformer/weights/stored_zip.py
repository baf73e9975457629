"""The one kind of ZIP archive that PyTorch writes: members stored as they are, never compressed.

Format: PKWARE's APPNOTE.TXT 6.3.10, sections 4.3 and 4.5.3. An archive that could be read in two ways (a name given
twice, members on top of each other, a local header that disagrees with the directory) is refused, and since nothing is
ever unpacked no archive can grow.
"""

import struct
import zlib
from dataclasses import dataclass

from moduformer.weights.bounded import BoundedFile, Cursor
from moduformer.weights.tensor_file import quoted

# A directory entry becomes an object several times its size; real checkpoints have one member per tensor.
MAX_DIRECTORY_BYTES = 16_000_000

_LOCAL = struct.Struct("<4s2xHH16xHH")
_ENTRY = struct.Struct("<4s4xHH4xIIIHHH8xI")
_END = struct.Struct("<4sHHHHIIH")
_END64_LOCATOR = struct.Struct("<4sIQI")
_END64 = struct.Struct("<4s12xIIQQQQ")
_ENCRYPTED = 0x1 | 0x40 | 0x2000
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Member:
    """Where one member's bytes lie in the archive, and their checksum."""

    offset: int
    size: int
    crc: int


def read_members(file: BoundedFile) -> dict[str, Member]:
    """Every member of an archive, by name, in the directory's order; checksums are not yet compared.

    Raises:
        CheckpointError: the archive is damaged, compressed, encrypted or ambiguous.
    """
    start, end, count = _find_directory(file)
    directory = Cursor(file, end, start)
    members: dict[str, Member] = {}
    spans = []
    while directory.remaining:
        name, header, size, crc = _read_entry(directory)
        if name in members:
            raise file.error(f"has two members named {quoted(name)}")
        members[name] = Member(_data_offset(file, start, name, header), size, crc)
        spans.append((header, members[name].offset + size, name))
    if len(members) != count:
        raise file.error(f"lists {len(members)} members and claims {count}")
    free = 0
    for begin, stop, name in sorted(spans):
        if begin < free or stop > start:
            raise file.error(f"has a member {quoted(name)} that overlaps something else")
        free = stop
    return members


def check_sums(file: BoundedFile, members: dict[str, Member]) -> None:
    """Read every member once and compare its checksum.

    Raises:
        CheckpointError: names the first member that differs.
    """
    chunk = memoryview(bytearray(_CHUNK))
    for name, member in members.items():
        crc = 0
        for done in range(0, member.size, _CHUNK):
            part = chunk[: min(_CHUNK, member.size - done)]
            file.read_into(member.offset + done, part)
            crc = zlib.crc32(part, crc)
        if crc != member.crc:
            raise file.error(f"has a member {quoted(name)} whose checksum is wrong")


def _find_directory(file: BoundedFile) -> tuple[int, int, int]:
    """First byte, end and number of entries of the directory."""
    position = file.size - _END.size
    if position < 0:
        raise file.error("ends before a ZIP archive can")
    magic, disk, first_disk, _, count, size, start, comment = Cursor(file, file.size, position).unpack(_END, "end")
    if magic != b"PK\5\6" or comment or disk or first_disk:
        raise file.error("does not end as PyTorch ends an archive; it is cut short or has something after it")
    wide = _read_end64(file, position - _END64_LOCATOR.size)
    if wide:
        position, *real = wide
        for narrow, value, most in zip((count, size, start), real, (0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF), strict=True):
            if narrow not in (value, most):
                raise file.error("describes its directory twice, in different ways")
        count, size, start = real
    if start + size != position or size > MAX_DIRECTORY_BYTES:
        raise file.error(f"has an impossible directory: {size} bytes at {start}, with its end at {position}")
    return start, position, count


def _read_end64(file: BoundedFile, locator: int) -> tuple[int, int, int, int] | None:
    """Position of the ZIP64 record, number of entries, size and start of the directory; None where there is none."""
    if locator < 0:
        return None
    magic, disk, position, disks = Cursor(file, file.size, locator).unpack(_END64_LOCATOR, "ZIP64 locator")
    if magic != b"PK\6\7":
        return None
    record = Cursor(file, file.size, position).unpack(_END64, "ZIP64 record")
    if record[:3] != (b"PK\6\6", 0, 0) or disk or disks > 1 or position + _END64.size != locator:
        raise file.error("has a damaged ZIP64 record")
    _, _, _, _, count, size, start = record
    return position, count, size, start


def _read_entry(directory: Cursor) -> tuple[str, int, int, int]:
    """Name, offset of the local header, size and checksum of the next member."""
    file = directory.file
    magic, flags, method, crc, packed, size, name_length, extra_length, comment_length, header = directory.unpack(
        _ENTRY, "directory entry"
    )
    if magic != b"PK\1\2":
        raise file.error(f"has no directory entry at byte {directory.offset - _ENTRY.size}")
    raw = directory.take(name_length, "member name")
    extra = directory.take(extra_length, "extra field")
    directory.skip(comment_length, "comment")
    try:
        name = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise file.error(f"has a member whose name is not UTF-8, {quoted(repr(raw))}") from error
    if method or flags & _ENCRYPTED:
        raise file.error(f"has a member {quoted(name)} that is compressed or encrypted, which PyTorch never writes")
    wide = iter(_zip64_values(extra))
    size, packed, header = (next(wide, -1) if value == 0xFFFFFFFF else value for value in (size, packed, header))
    if packed != size or size < 0 or header < 0:
        raise file.error(f"has a member {quoted(name)} of contradictory size")
    return name, header, size, crc


def _zip64_values(extra: bytes) -> tuple[int, ...]:
    """The 64-bit values which stand for those that are all ones in the entry, in the entry's order."""
    while len(extra) >= 4:
        kind, length = struct.unpack_from("<HH", extra)
        if kind == 1:
            body = extra[4 : 4 + length]
            return struct.unpack_from(f"<{len(body) // 8}Q", body)
        extra = extra[4 + length :]
    return ()


def _data_offset(file: BoundedFile, end: int, name: str, header: int) -> int:
    local = bytearray(_LOCAL.size + len(name.encode("utf-8")))
    if header + len(local) > end:
        raise file.error(f"places the member {quoted(name)} at byte {header}, outside itself")
    file.read_into(header, memoryview(local))
    magic, flags, method, name_length, extra_length = _LOCAL.unpack_from(local)
    if magic != b"PK\3\4" or method or flags & _ENCRYPTED:
        raise file.error(f"has a member {quoted(name)} whose local header disagrees with the directory")
    if name_length != len(local) - _LOCAL.size or local[_LOCAL.size :] != name.encode("utf-8"):
        raise file.error(f"has a member {quoted(name)} which its local header calls differently")
    return header + len(local) + extra_length
