"""GGUF files: number formats against ggml's reference, and files that lie about themselves."""

import os
import random
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from containers import ARRAY, STRING, U32, assert_rejected, gguf_bytes, pair, published, row, text

from moduformer.errors import CheckpointError
from moduformer.weights.gguf import GGUFFile
from moduformer.weights.quants import BY_NAME, FORMATS, dequantize

gguf = pytest.importorskip("gguf", reason="compares with gguf-py, which is not installed")

QUANTISED = [block for block in FORMATS.values() if block.elements > 1]
F32, Q8_0 = 0, 8


@pytest.mark.parametrize("block", QUANTISED, ids=lambda block: block.name)
def test_random_blocks_decode_bit_for_bit_as_in_gguf_py(block):
    kind = gguf.GGMLQuantizationType[block.name]
    assert gguf.GGML_QUANT_SIZES[kind] == (block.elements, block.bytes)
    raw = np.random.default_rng(0).integers(0, 256, (500, block.bytes), dtype=np.uint8)
    with np.errstate(all="ignore"):
        expected = gguf.quants.dequantize(raw, kind)
    got = dequantize(torch.from_numpy(raw.reshape(-1)), block).numpy().reshape(expected.shape)
    numbers = ~np.isnan(expected)
    # Random float16 scales are sometimes NaN, whose payload no one promises; all else is compared as bits.
    assert 0.9 < numbers.mean() <= 1
    assert np.array_equal(numbers, ~np.isnan(got))
    assert np.array_equal(got.view(np.uint32)[numbers], expected.view(np.uint32)[numbers])


@pytest.mark.parametrize("name", ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0"])
def test_decoded_weights_are_near_those_that_were_quantised(name):
    weights = np.random.default_rng(1).normal(size=(8, 64)).astype(np.float32)
    raw = gguf.quants.quantize(weights, gguf.GGMLQuantizationType[name])
    got = dequantize(torch.from_numpy(raw.reshape(-1)), BY_NAME[name]).view(8, 64)
    assert float((got - torch.from_numpy(weights)).abs().max()) < 0.4


@pytest.fixture(scope="module")
def valid(tmp_path_factory) -> Path:
    """A file by gguf-py with every value type and several number formats."""
    path = tmp_path_factory.mktemp("gguf") / "valid.gguf"
    rng = np.random.default_rng(2)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_uint8("a.u8", 200)
    writer.add_int8("a.i8", -5)
    writer.add_uint16("a.u16", 60000)
    writer.add_int16("a.i16", -30000)
    writer.add_int32("a.i32", -7)
    writer.add_uint64("a.u64", 1 << 40)
    writer.add_int64("a.i64", -(1 << 40))
    writer.add_float32("a.f32", 0.5)
    writer.add_float64("a.f64", 0.1)
    writer.add_bool("a.bool", True)
    writer.add_string("a.text", "한국어")
    writer.add_array("a.words", ["x", "", "나"])
    writer.add_array("a.numbers", [1, 2, 3])
    writer.add_array("a.floats", [0.5, -1.5])
    writer.add_array("a.truths", [True, False])
    writer.add_tensor("plain", rng.normal(size=(3, 5)).astype(np.float32))
    writer.add_tensor("half", rng.normal(size=(2, 3, 4)).astype(np.float16))
    for name in ("Q8_0", "Q4_1", "BF16"):
        kind = gguf.GGMLQuantizationType[name]
        raw = gguf.quants.quantize(rng.normal(size=(6, 64)).astype(np.float32), kind)
        writer.add_tensor(name, raw, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_a_valid_file_reads_as_gguf_py_reads_it(valid):
    reader = gguf.GGUFReader(valid)
    with GGUFFile(valid) as file:
        expected = {k: f.contents() for k, f in reader.fields.items() if not k.startswith("GGUF.")}
        assert file.metadata == expected
        assert [type(v) for v in file.metadata.values()] == [type(v) for v in expected.values()]
        assert file.names() == [tensor.name for tensor in reader.tensors]
        for tensor in reader.tensors:
            got, info = file.read(tensor.name), file.info(tensor.name)
            weights = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
            assert tuple(got.shape) == info.shape == weights.shape == tuple(tensor.shape[::-1])
            assert (info.name, info.dtype, info.nbytes) == (tensor.name, got.dtype, got.nbytes)
            assert np.array_equal(got.float().numpy(), weights)
        assert [file.read(name).dtype for name in ("plain", "half", "BF16", "Q8_0")] == [
            torch.float32, torch.float16, torch.bfloat16, torch.float32,
        ]  # fmt: skip
        assert file.storage("Q4_1") == "Q4_1"


def test_a_tensor_of_many_chunks_reads_whole(tmp_path, monkeypatch):
    monkeypatch.setattr("moduformer.weights.block_file.CHUNK_BYTES", 100)
    raw = np.random.default_rng(3).integers(0, 120, (7, 2 * 34), dtype=np.uint8)
    path = tmp_path / "m.gguf"
    path.write_bytes(gguf_bytes([], [row("w", (64, 7), Q8_0, 0)], raw.tobytes()))
    with GGUFFile(path) as file:
        assert np.array_equal(file.read("w").numpy(), gguf.quants.dequantize(raw, gguf.GGMLQuantizationType.Q8_0))


def test_a_name_the_file_lacks_is_an_error(valid):
    with GGUFFile(valid) as file:
        for ask in (file.read, file.info, file.storage):
            with pytest.raises(CheckpointError, match="nothing"):
                ask("nothing")


def test_reading_after_close_and_after_the_file_shrank_is_an_error(valid, tmp_path):
    path = tmp_path / "m.gguf"
    path.write_bytes(valid.read_bytes())
    with GGUFFile(path) as file:
        os.truncate(path, path.stat().st_size // 2)
        with pytest.raises(CheckpointError, match="too early"):
            file.read("BF16")
    with pytest.raises(CheckpointError):
        file.read("plain")


FOUR = struct.pack("<4f", 1, 2, 3, 4)
ROW = row("w", (4,), F32, 0)


def array(kind: int, count: int, body: bytes = b"") -> bytes:
    return struct.pack("<IQ", kind, count) + body


HOSTILE = {
    "pairs 2^62": (gguf_bytes([], [], counts=(0, 1 << 62)), "key-value pairs"),
    "tensors 2^62": (gguf_bytes([], [], counts=(1 << 62, 0)), "tensors"),
    "key 2^61": (gguf_bytes([struct.pack("<Q", 1 << 61)], [], bytes(64)), "limit"),
    "string 2^61": (gguf_bytes([pair("k", STRING, struct.pack("<Q", 1 << 61))], [], bytes(64)), "limit"),
    "string past the end": (gguf_bytes([pair("k", STRING, struct.pack("<Q", 5000))], []), "cut short"),
    "array 2^40 of bytes": (gguf_bytes([pair("k", ARRAY, array(0, 1 << 40))], [], bytes(64)), "array elements"),
    "array 2^40 of text": (gguf_bytes([pair("k", ARRAY, array(8, 1 << 40))], [], bytes(64)), "array elements"),
    "array 2^20 of text": (gguf_bytes([pair("k", ARRAY, array(8, 1 << 20))], [], bytes(64)), "cut short"),
    "array past the end": (gguf_bytes([pair("k", ARRAY, array(5, 1000))], [], bytes(64)), "cut short"),
    "20000 nested arrays": (gguf_bytes([pair("k", ARRAY, array(9, 1) * 20_000)], []), "nests"),
    "nested array": (gguf_bytes([pair("k", ARRAY, array(9, 1, array(4, 1, bytes(4))))], []), "nests"),
    "array of an unknown type": (gguf_bytes([pair("k", ARRAY, array(13, 1))], [], bytes(64)), "element type 13"),
    "value of an unknown type": (gguf_bytes([pair("k", 77, bytes(8))], []), "value type 77"),
    "truth value 2": (gguf_bytes([pair("k", 7, b"\2")], []), "truth"),
    "truth value 2 in an array": (gguf_bytes([pair("k", ARRAY, array(7, 3, b"\0\1\2"))], []), "truth"),
    "key not UTF-8": (gguf_bytes([text(b"\xff") + struct.pack("<IB", 0, 1)], []), "UTF-8"),
    "text not UTF-8": (gguf_bytes([pair("k", STRING, text(b"\xff"))], []), "UTF-8"),
    "text in an array not UTF-8": (gguf_bytes([pair("k", ARRAY, array(8, 1, text(b"\xff")))], []), "UTF-8"),
    "key twice": (gguf_bytes([pair("k", 0, b"\1")] * 2, []), "twice"),
    "tensor twice": (gguf_bytes([], [ROW, row("w", (4,), F32, 32)], FOUR * 4), "twice"),
    "tensors overlap": (gguf_bytes([], [row("v", (16,), F32, 0), row("w", (4,), F32, 32)], FOUR * 4), "overlap"),
    "same place": (gguf_bytes([], [ROW, row("v", (4,), F32, 0)], FOUR), "overlap"),
    "dimension 2^42+1": (gguf_bytes([], [row("w", ((1 << 42) + 1,), F32, 0)], FOUR), "would end"),
    "product wraps 2^64": (gguf_bytes([], [row("w", (1 << 32, 1 << 32), F32, 0)], FOUR), "would end"),
    "product wraps to 4": (gguf_bytes([], [row("w", (4, (1 << 62) + 1), F32, 0)], FOUR), "would end"),
    "dimension 0": (gguf_bytes([], [row("w", (4, 0), F32, 0)], FOUR), "impossible"),
    "5 dimensions": (gguf_bytes([], [row("w", (1, 1, 1, 1, 4), F32, 0)], FOUR), "5 dimensions"),
    "2^32-1 dimensions": (
        gguf_bytes([], [text("w") + struct.pack("<IQIQ", (1 << 32) - 1, 4, 0, 0)], FOUR),
        "dimensions",
    ),
    "offset past the end": (gguf_bytes([], [row("w", (4,), F32, 64)], FOUR), "would end"),
    "offset 2^64-32": (gguf_bytes([], [row("w", (4,), F32, (1 << 64) - 32)], FOUR), "would end"),
    "one byte short": (gguf_bytes([], [ROW], FOUR[:-1]), "would end"),
    "offset not aligned": (gguf_bytes([], [row("w", (4,), F32, 4)], FOUR * 2), "alignment"),
    "alignment 0": (gguf_bytes([pair("general.alignment", U32, bytes(4))], [ROW], FOUR), "alignment"),
    "alignment 2^31": (
        gguf_bytes([pair("general.alignment", U32, struct.pack("<I", 1 << 31))], [ROW], FOUR),
        "alignment",
    ),
    "alignment 24": (gguf_bytes([pair("general.alignment", U32, struct.pack("<I", 24))], [ROW], FOUR), "alignment"),
    "alignment is text": (gguf_bytes([pair("general.alignment", STRING, text("32"))], [ROW], FOUR), "alignment"),
    "row is no whole block": (gguf_bytes([], [row("w", (31,), Q8_0, 0)], bytes(64)), "impossible"),
    "unknown number format": (gguf_bytes([], [row("w", (256,), 23, 0)], bytes(256)), "IQ4_XS"),
    "impossible number format": (gguf_bytes([], [row("w", (4,), 4_000_000, 0)], FOUR), "ggml type 4000000"),
    "long tensor name": (gguf_bytes([], [row("w" * 300, (4,), F32, 0)], FOUR), "limit"),
    "version 1": (gguf_bytes([], [ROW], FOUR, version=1), "version 1"),
    "version 4": (gguf_bytes([], [ROW], FOUR, version=4), "version 4"),
    "big-endian": (gguf_bytes([], [ROW], FOUR, version=3 << 24), "big-endian"),
    "another format": (b"PK\3\4" + bytes(64), "not a GGUF"),
    "empty": (b"", "cut short"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_file_is_refused_quickly_and_without_memory(case, tmp_path):
    content, match = HOSTILE[case]
    assert_rejected(GGUFFile, tmp_path / "hostile.gguf", content, match)


def test_the_file_the_hostile_ones_are_made_of_is_accepted(tmp_path):
    path = tmp_path / "m.gguf"
    aligned = pair("general.alignment", U32, struct.pack("<I", 64))
    path.write_bytes(gguf_bytes([aligned, pair("k", ARRAY, array(7, 2, b"\0\1"))], [ROW], FOUR, alignment=64))
    with GGUFFile(path) as file:
        assert file.read("w").tolist() == [1, 2, 3, 4]
        assert file.metadata["k"] == [False, True]


@pytest.mark.parametrize("size", [1 << 30, 1 << 40])
def test_a_huge_sparse_file_buys_no_memory(size, tmp_path):
    """The limits hold where the file's size alone would allow the claim."""
    for case, (tensors, pairs, body) in {
        "pairs": (0, size // 64, b""),
        "tensors": (size // 64, 0, b""),
        "text": (0, 1, pair("k", STRING, struct.pack("<Q", size // 2))),
        "array": (0, 1, pair("k", ARRAY, array(0, size // 2))),
        "texts": (0, 1, pair("k", ARRAY, array(8, size // 32))),
        "empty texts": (1, 1, pair("k", ARRAY, array(8, 1 << 18))),
    }.items():
        path = tmp_path / f"{case}.gguf"
        content = gguf_bytes([body] if body else [], [], counts=(tensors, pairs))

        def sparse(path: Path) -> GGUFFile:
            os.truncate(path, size)
            return GGUFFile(path)

        if case == "empty texts":
            # A quarter of a million empty strings and a tensor of zeros: all of it is allowed, none of it wrong.
            path.write_bytes(content)
            with sparse(path) as file:
                assert file.metadata == {"k": [""] * (1 << 18)}
        else:
            assert_rejected(sparse, path, content)


def test_a_directory_a_pipe_and_a_missing_path_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", tmp_path / "missing", Path("a\0b")):
        with pytest.raises(CheckpointError):
            GGUFFile(path)


def test_a_file_cut_anywhere_is_refused(valid, tmp_path):
    whole = valid.read_bytes()
    path = tmp_path / "cut.gguf"
    directory_end = whole.index(b"BF16") + 32
    cuts = [*range(directory_end), *random.Random(0).sample(range(directory_end, len(whole)), 100)]
    with GGUFFile(valid) as file:
        last = file.info("BF16").nbytes
    for cut in cuts:
        path.write_bytes(whole[:cut])
        if cut <= len(whole) - 32 - last:
            with pytest.raises(CheckpointError):
                GGUFFile(path)
            continue
        # Only the padding after the last tensor may be missing.
        try:
            with GGUFFile(path) as file:
                file.read("BF16")
        except CheckpointError:
            pass


def test_changed_bytes_give_a_checkpoint_error_or_a_readable_file(valid, tmp_path):
    whole = bytearray(valid.read_bytes())
    path = tmp_path / "changed.gguf"
    generator = random.Random(1)
    refused = 0
    for _ in range(1500):
        changed = bytearray(whole)
        for _ in range(generator.choice((1, 1, 2, 8))):
            changed[generator.randrange(1200)] = generator.choice((0, 1, 9, 0x7F, 0x80, 0xFF, generator.randrange(256)))
        path.write_bytes(changed)
        try:
            with GGUFFile(path) as file:
                for name in file.names():
                    assert tuple(file.read(name).shape) == file.info(name).shape
        except CheckpointError:
            refused += 1
    assert refused > 300


def test_the_published_smollm2_reads_as_gguf_py_reads_it(tmp_path):
    path = published("SmolLM2-135M-Instruct.Q4_1.gguf", tmp_path)
    with GGUFFile(path) as file:
        assert len(file.names()) == 272
        assert file.metadata["llama.rope.freq_base"] == 100000.0
        assert file.info("blk.0.attn_k.weight").shape == (192, 576)
        for tensor in gguf.GGUFReader(path).tensors[:12]:
            expected = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
            assert np.array_equal(file.read(tensor.name).numpy(), expected)
