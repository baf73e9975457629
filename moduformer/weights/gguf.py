"""GGUF files (llama.cpp) read as tensors.

Source: the GGUF specification, versions 2 and 3 (ggml, docs/gguf.md).
"""

import struct
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from moduformer.errors import CheckpointError
from moduformer.weights.block_file import BlockFile, BlockTensor
from moduformer.weights.bounded import BoundedFile, Cursor
from moduformer.weights.quants import FORMATS
from moduformer.weights.tensor_file import quoted

MAGIC = b"GGUF"
DEFAULT_ALIGNMENT = 32

# Far above any known model: they keep a large hostile file from taking more memory or time than a real one.
MAX_PAIRS = 1 << 16
MAX_TENSORS = 1 << 16
MAX_KEY_BYTES = (1 << 16) - 1
MAX_NAME_BYTES = 256
MAX_STRING_BYTES = 1 << 22
MAX_ARRAY_ELEMENTS = 1 << 21
MAX_HEADER_BYTES = 1 << 26
MAX_DIMENSIONS = 4
MAX_ALIGNMENT = 1 << 16

U32, U64, PAIR_COUNTS = struct.Struct("<I"), struct.Struct("<Q"), struct.Struct("<QQ")
STRING, ARRAY, BOOL = 8, 9, 7
SCALARS = {
    number: struct.Struct("<" + code)
    for number, code in {
        0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", BOOL: "B", 10: "Q", 11: "q", 12: "d",
    }.items()
}  # fmt: skip

# Types that exist but are not decoded here, so that the message can name them.
OTHER_TYPES = {
    9: "Q8_1", 15: "Q8_K", 16: "IQ2_XXS", 17: "IQ2_XS", 18: "IQ3_XXS", 19: "IQ1_S", 20: "IQ4_NL", 21: "IQ3_S",
    22: "IQ2_S", 23: "IQ4_XS", 29: "IQ1_M", 34: "TQ1_0", 35: "TQ2_0", 39: "MXFP4",
}  # fmt: skip


@dataclass(frozen=True)
class _Pair:
    """A key whose value has been measured but not yet turned into Python objects."""

    key: str
    kind: int
    offset: int


class _Header:
    """The header, walked once to check everything while keeping little, then again to read the values.

    A hostile file is thus turned away before any of its arrays has become a list.
    """

    def __init__(self, file: BoundedFile) -> None:
        self.file = file
        self.cursor = Cursor(file, min(file.size, MAX_HEADER_BYTES))
        self.array_elements = 0
        tensors, pairs = self._counts()
        self.pairs = self._pairs(pairs)
        alignment = self._alignment()
        rows = [self._row(alignment) for _ in range(tensors)]
        start = -(-self.cursor.offset // alignment) * alignment
        self.tensors = self._place(rows, start)
        self.metadata = {key: self._value(pair) for key, pair in self.pairs.items()}

    def _counts(self) -> tuple[int, int]:
        if self.cursor.take(4, "the magic number") != MAGIC:
            raise CheckpointError(f"{self.file.path} is not a GGUF file: it does not begin with 'GGUF'.")
        (version,) = self.cursor.unpack(U32, "the version")
        if version not in (2, 3):
            kind = "big-endian" if version & 0xFFFF == 0 else f"version {version}"
            raise CheckpointError(
                f"{self.file.path} is a {kind} GGUF file; versions 2 and 3, little-endian, are read. "
                "Convert it again with a current llama.cpp."
            )
        tensors, pairs = self.cursor.unpack(PAIR_COUNTS, "the counts")
        # A pair takes at least a length, a type and a byte; a tensor two counts, a type and an offset.
        if pairs > min(MAX_PAIRS, self.cursor.remaining // 13):
            raise self.file.error(f"claims {pairs} key-value pairs, more than its size or the limit allows")
        if tensors > min(MAX_TENSORS, self.cursor.remaining // 24):
            raise self.file.error(f"claims {tensors} tensors, more than its size or the limit allows")
        return tensors, pairs

    def _string(self, limit: int, what: str) -> str:
        (length,) = self.cursor.unpack(U64, what)
        if length > limit:
            raise self.file.error(f"has a length of {length} bytes for {what}, and {limit} is the limit")
        try:
            return self.cursor.take(length, what).decode()
        except UnicodeDecodeError as error:
            raise self.file.error(f"has bytes that are not UTF-8 in {what}") from error

    def _pairs(self, count: int) -> dict[str, _Pair]:
        pairs: dict[str, _Pair] = {}
        for _ in range(count):
            key = self._string(MAX_KEY_BYTES, "a key")
            if key in pairs:
                raise self.file.error(f"has the key {quoted(key)} twice")
            (kind,) = self.cursor.unpack(U32, f"the type of {quoted(key)}")
            pairs[key] = _Pair(key, kind, self.cursor.offset)
            self._measure(pairs[key])
        return pairs

    def _measure(self, pair: _Pair) -> None:
        what = f"the value of {quoted(pair.key)}"
        if pair.kind in SCALARS or pair.kind == STRING:
            self._single(pair, pair.kind)
        elif pair.kind == ARRAY:
            kind, count = self._array_header(pair)
            self.array_elements += count
            if self.array_elements > MAX_ARRAY_ELEMENTS:
                raise self.file.error(f"has more than {MAX_ARRAY_ELEMENTS} array elements with {quoted(pair.key)}")
            if kind == STRING:
                for _ in range(count):
                    self._string(MAX_STRING_BYTES, what)
            elif kind == BOOL:
                for _ in range(count):
                    self._single(pair, BOOL)
            else:
                self.cursor.skip(count * SCALARS[kind].size, what)
        else:
            raise self.file.error(f"has the unknown value type {pair.kind} for {quoted(pair.key)}")

    def _array_header(self, pair: _Pair) -> tuple[int, int]:
        (kind,) = self.cursor.unpack(U32, f"the element type of {quoted(pair.key)}")
        if kind == ARRAY:
            raise self.file.error(f"nests arrays in {quoted(pair.key)}, which no known model does")
        if kind != STRING and kind not in SCALARS:
            raise self.file.error(f"has the unknown element type {kind} for {quoted(pair.key)}")
        (count,) = self.cursor.unpack(U64, f"the length of {quoted(pair.key)}")
        return kind, count

    def _alignment(self) -> int:
        pair = self.pairs.get("general.alignment")
        if pair is None:
            return DEFAULT_ALIGNMENT
        alignment = self._value(pair) if pair.kind == 4 else 0
        if not 0 < alignment <= MAX_ALIGNMENT or alignment & (alignment - 1):
            raise self.file.error(f"has a general.alignment that is not a 32-bit power of two up to {MAX_ALIGNMENT}")
        return alignment

    def _row(self, alignment: int) -> BlockTensor:
        name = self._string(MAX_NAME_BYTES, "a tensor name")
        (dimensions,) = self.cursor.unpack(U32, f"the shape of {quoted(name)}")
        if dimensions > MAX_DIMENSIONS:
            raise self.file.error(f"gives {quoted(name)} {dimensions} dimensions, and {MAX_DIMENSIONS} is the limit")
        shape = struct.unpack(f"<{dimensions}Q", self.cursor.take(8 * dimensions, f"the shape of {quoted(name)}"))
        (kind,) = self.cursor.unpack(U32, f"the type of {quoted(name)}")
        (offset,) = self.cursor.unpack(U64, f"the offset of {quoted(name)}")
        block = FORMATS.get(kind)
        if block is None:
            known = ", ".join(each.name for each in FORMATS.values())
            raise CheckpointError(
                f"{self.file.path}: tensor {quoted(name)} has ggml type {OTHER_TYPES.get(kind, kind)}, "
                f"which is not read. Use a file in one of {known}."
            )
        # ggml lists the fastest dimension first, and a row must be whole blocks of it.
        if 0 in shape or (shape[0] if shape else 1) % block.elements:
            raise self.file.error(f"gives {quoted(name)} the shape {shape[::-1]}, impossible in {block.name}")
        if offset % alignment:
            raise self.file.error(f"places {quoted(name)} at {offset}, not a multiple of the alignment {alignment}")
        return BlockTensor(name, shape[::-1], block, offset)

    def _place(self, rows: list[BlockTensor], start: int) -> dict[str, BlockTensor]:
        """Count offsets from the start of the file, when no tensor is doubled, overlaps or leaves it."""
        placed = {row.name: replace(row, offset=start + row.offset) for row in rows}
        if len(placed) < len(rows):
            names = [row.name for row in rows]
            twice = next(name for name in names if names.count(name) > 1)
            raise self.file.error(f"has the tensor {quoted(twice)} twice")
        end = start
        for tensor in sorted(placed.values(), key=lambda tensor: tensor.offset):
            if tensor.offset < end:
                raise self.file.error(f"lets the tensor {quoted(tensor.name)} overlap the one before it")
            end = tensor.end
            if end > self.file.size:
                raise self.file.error(
                    f"has {self.file.size} bytes, and tensor {quoted(tensor.name)} would end at byte {end}"
                )
        return placed

    def _value(self, pair: _Pair) -> Any:
        directory = self.cursor
        self.cursor = Cursor(self.file, directory.end, pair.offset)
        try:
            if pair.kind != ARRAY:
                return self._single(pair, pair.kind)
            kind, count = self._array_header(pair)
            if kind == STRING:
                return [self._single(pair, STRING) for _ in range(count)]
            layout = SCALARS[kind]
            packed = self.cursor.take(count * layout.size, f"the value of {quoted(pair.key)}")
            numbers = [number for (number,) in layout.iter_unpack(packed)]
            return [bool(number) for number in numbers] if kind == BOOL else numbers
        finally:
            self.cursor = directory

    def _single(self, pair: _Pair, kind: int) -> Any:
        what = f"the value of {quoted(pair.key)}"
        if kind == STRING:
            return self._string(MAX_STRING_BYTES, what)
        (value,) = self.cursor.unpack(SCALARS[kind], what)
        if kind != BOOL:
            return value
        if value > 1:
            raise self.file.error(f"has the byte {value} for a truth value in {quoted(pair.key)}")
        return bool(value)


class GGUFFile(BlockFile):
    """A GGUF checkpoint.

    Args:
        path: the `.gguf` file.

    Attributes:
        path: the file.
        metadata: the key-values as Python values; arrays are lists.

    Raises:
        CheckpointError: the file is not GGUF, contradicts itself or holds a number format that is not read.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__(Path(path), _Header)
