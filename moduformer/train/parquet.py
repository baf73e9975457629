"""Parquet as rows, with what a file can grow to bounded before it is decompressed.

A Parquet file states its sizes twice, in the footer and in each page header, and either can lie; dictionary pages and
run lengths make a small file large once more when values are written out. All three are counted before memory is
taken. Extension types are refused: their loaders have run code from files (CVE-2023-47248).
Format: https://github.com/apache/parquet-format (Thrift compact protocol).
"""

import base64
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from moduformer.errors import DataError

if TYPE_CHECKING:
    import pyarrow

_FREE_SIZE = 256 * 2**20
_MOST_EXPANSION = 200
_MOST_PAGES = 200_000
_VALUE_COST = 48
_BATCH = 4096
_DEEPEST_STRUCT = 16


class _Compact:
    """Just enough of Thrift's compact protocol to read the integers of a page header."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.position = 0

    def byte(self) -> int:
        value = self.data[self.position]
        self.position += 1
        return value

    def varint(self) -> int:
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7
            if shift > 63:
                raise ValueError("an integer of more than 64 bits")

    def zigzag(self) -> int:
        value = self.varint()
        return (value >> 1) ^ -(value & 1)

    def value(self, kind: int, depth: int) -> Any:
        if kind in (1, 2):
            return kind == 1
        if kind == 3:
            return self.byte()
        if kind in (4, 5, 6):
            return self.zigzag()
        if kind == 7:
            self.position += 8
            return None
        if kind == 8:
            # The varint moves the position itself, so it must be read before the sum is taken.
            length = self.varint()
            self.position += length
            return None
        if kind in (9, 10):
            head = self.byte()
            count = head >> 4 if head >> 4 < 15 else self.varint()
            if count > len(self.data):
                raise ValueError("a list longer than the page header")
            for _ in range(count):
                # In a list a boolean takes a byte; in a struct it is part of the field's type.
                self.value(3 if head & 15 in (1, 2) else head & 15, depth + 1)
            return None
        if kind == 12:
            return self.struct(depth + 1)
        raise ValueError(f"an unknown type {kind}")

    def struct(self, depth: int = 0) -> dict[int, Any]:
        if depth > _DEEPEST_STRUCT:
            raise ValueError("a structure nested too deep")
        fields: dict[int, Any] = {}
        number = 0
        while head := self.byte():
            number = number + (head >> 4) if head >> 4 else self.zigzag()
            fields[number] = self.value(head & 15, depth)
        return fields


def _page_header(file: BinaryIO, offset: int) -> tuple[dict[int, Any], int]:
    for size in (2**10, 2**16, 2**22):
        file.seek(offset)
        reader = _Compact(file.read(size))
        try:
            return reader.struct(), reader.position
        except IndexError:
            continue
    raise ValueError("a page header has no end")


def _declared_size(file: BinaryIO, start: int, length: int, file_size: int) -> tuple[int, int, int]:
    """Bytes, values and pages that the page headers of one column chunk announce."""
    if start < 4 or length < 0 or start + length > file_size:
        raise ValueError("a column lies outside the file")
    position, end = start, start + length
    total = values = pages = 0
    while position < end:
        header, header_size = _page_header(file, position)
        uncompressed, compressed = header.get(2), header.get(3)
        if not isinstance(uncompressed, int) or not isinstance(compressed, int) or min(uncompressed, compressed) < 0:
            raise ValueError("a page header without sizes")
        for part in (5, 8):
            inner = header.get(part)
            if isinstance(inner, dict):
                count = inner.get(1)
                if not isinstance(count, int) or count < 0:
                    raise ValueError("a page header without a value count")
                values += count
        total += uncompressed
        pages += 1
        position += header_size + compressed
        if pages > _MOST_PAGES:
            raise ValueError(f"more than {_MOST_PAGES:,} pages in one column")
    return total, values, pages


def _in_base64(text: bytes) -> tuple[bytes, ...]:
    """How bytes look within a longer base64 string, at each of the three places they may fall on."""
    found = []
    for shift, changed in ((0, 0), (1, 2), (2, 3)):
        whole = (shift + len(text)) // 3 * 4
        found.append(base64.b64encode(b"\0" * shift + text)[changed:whole])
    return tuple(found)


_EXTENSION_MARKS = _in_base64(b"ARROW:extension:")


def _refuse_extension_types(path: Path, size: int) -> None:
    """Look for extension types in the footer's bytes: opening the file would already call their loaders."""
    with path.open("rb") as file:
        file.seek(max(size - 8, 0))
        tail = file.read(8)
        length = int.from_bytes(tail[:4], "little")
        if tail[4:] != b"PAR1" or length + 12 > size:
            raise ValueError("the file is cut short or its footer is damaged")
        file.seek(size - 8 - length)
        footer = file.read(length)
    if any(mark in footer for mark in _EXTENSION_MARKS):
        raise DataError(
            f"{path}: a column has an Arrow extension type, whose loader could run code; it is not read; "
            "write the file again with plain types (strings, numbers, lists)"
        )


def _written_out(array: "pyarrow.Array") -> int:
    """Bytes the values of an array take once every dictionary value is written out as a Python object."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = array.type
    size = _VALUE_COST * len(array)
    if pa.types.is_dictionary(kind):
        values = array.dictionary
        if pa.types.is_string(values.type) or pa.types.is_binary(values.type) or len(values) == 0:
            lengths = pc.binary_length(values) if len(values) else values
        elif pa.types.is_large_string(values.type) or pa.types.is_large_binary(values.type):
            lengths = pc.binary_length(values)
        else:
            return size + array.nbytes
        if len(values) == 0:
            return size
        used = pc.take(lengths, array.indices.drop_null())
        return size + int(pc.sum(used).as_py() or 0)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return size + _written_out(array.flatten())
    if pa.types.is_struct(kind):
        return size + sum(_written_out(field) for field in array.flatten())
    if pa.types.is_map(kind):
        return size + _written_out(array.keys) + _written_out(array.items)
    return size + array.nbytes


def _leaf_columns(metadata: Any, columns: Sequence[str] | None) -> list[int]:
    wanted = None if columns is None else set(columns)
    group = metadata.schema
    return [
        i
        for i in range(len(group))
        if wanted is None or group.column(i).path.split(".")[0] in wanted or group.column(i).path in wanted
    ]


def read_parquet(
    path: Path, columns: Sequence[str] | None, max_bytes: int
) -> tuple[list[str], Iterator[dict[str, list[Any]]]]:
    """Open a Parquet file after checking that what it decompresses to is bounded.

    Args:
        path: the file.
        columns: the top-level columns to read; None for all.
        max_bytes: bytes the values may take in memory; besides, a file may grow to 200 times its size or 256 MiB.

    Returns:
        the column names, and batches of plain Python values per column (None where a value is missing).

    Raises:
        DataError: the file is damaged, has extension types, would grow beyond the bounds, or lacks a column.
    """
    import pyarrow.parquet as pq

    size = path.stat().st_size
    budget = min(max_bytes, max(_FREE_SIZE, _MOST_EXPANSION * size))

    def too_large(bytes_: int) -> DataError:
        return DataError(
            f"{path}: {size:,} bytes of Parquet would become {bytes_:,} bytes, more than {budget:,}; "
            "name the columns you need, split the file, or raise max_bytes if you trust it"
        )

    # A string or list in the footer can never be longer than the footer, which is part of the file.
    limits = {
        "thrift_string_size_limit": min(size, 2**30) + 1,
        "thrift_container_size_limit": min(size, 2**30) + 1,
    }
    try:
        _refuse_extension_types(path, size)
        with pq.ParquetFile(path, **limits) as opened:
            metadata = opened.metadata
            names = [field.name for field in opened.schema_arrow]
        if len(set(names)) < len(names):
            raise DataError(f"{path}: two columns have the same name")
        missing = [name for name in columns or () if name not in names]
        if missing:
            raise DataError(f"{path} has no column {missing[0]!r}; it has: {', '.join(names)}")
        leaves = _leaf_columns(metadata, columns)
        declared = values = 0
        encoded_as_dictionary = []
        with path.open("rb") as file:
            for g in range(metadata.num_row_groups):
                group = metadata.row_group(g)
                for i in leaves:
                    chunk = group.column(i)
                    start = chunk.data_page_offset
                    if chunk.dictionary_page_offset is not None:
                        start = min(start, chunk.dictionary_page_offset)
                    bytes_, count, _ = _declared_size(file, start, chunk.total_compressed_size, size)
                    declared += max(bytes_, chunk.total_uncompressed_size)
                    values += max(count, chunk.num_values)
                    if max(declared, values * _VALUE_COST) > budget:
                        raise too_large(max(declared, values * _VALUE_COST))
                    if chunk.physical_type == "BYTE_ARRAY" and chunk.path_in_schema not in encoded_as_dictionary:
                        encoded_as_dictionary.append(chunk.path_in_schema)
        if metadata.num_rows < 0 or metadata.num_rows * _VALUE_COST > budget:
            raise too_large(metadata.num_rows * _VALUE_COST)
        # Kept as dictionaries, repeated strings cost an index each until their written-out size is known.
        opened = pq.ParquetFile(path, read_dictionary=encoded_as_dictionary, pre_buffer=False, **limits)
    except DataError:
        raise
    except Exception as error:  # pyarrow has no base class for what a damaged file makes it raise
        raise DataError(f"{path}: not a Parquet file that can be read: {error}") from error
    chosen = [name for name in names if columns is None or name in columns]

    def batches() -> Iterator[dict[str, list[Any]]]:
        written = rows = 0
        try:
            with opened:
                # A batch across row groups would mix their dictionaries, which Arrow cannot do within lists.
                for g in range(metadata.num_row_groups):
                    for batch in opened.iter_batches(_BATCH, row_groups=[g], columns=chosen, use_threads=False):
                        written += sum(_written_out(column) for column in batch.columns)
                        if written > budget:
                            raise too_large(written)
                        rows += batch.num_rows
                        yield {name: column.to_pylist() for name, column in zip(batch.schema.names, batch.columns)}
        except DataError:
            raise
        except Exception as error:  # pyarrow has no base class for what a damaged file makes it raise
            raise DataError(f"{path}, after row {rows}: the data cannot be decoded: {error}") from error
        if rows != metadata.num_rows:
            raise DataError(f"{path}: {rows:,} rows could be read, the file announces {metadata.num_rows:,}")

    return chosen, batches()
