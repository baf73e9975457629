"""PyTorch's pickled checkpoints: what torch.save writes is read, and nothing that a pickle asks for is ever done."""

import contextlib
import io
import os
import pickle
import random
import re
import resource
import struct
import sys
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import Any

import pytest
import torch
from cost import bounded_cost

from moduformer.errors import CheckpointError
from moduformer.weights.files import TensorInfo, open_tensors
from moduformer.weights.pickle_machine import MAX_OPCODES, MAX_PICKLE_BYTES

LEGACY = {"_use_new_zipfile_serialization": False}


def state_dict() -> dict[str, torch.Tensor]:
    """A real one (with `_metadata`), every type of number, and every way of sharing and striding memory."""
    torch.manual_seed(0)
    state = torch.nn.LSTM(3, 4).state_dict()
    dtypes = "float64 float32 float16 bfloat16 complex64 complex128 int64 int32 int16 int8 uint8 bool"
    for name in [*dtypes.split(), "uint16", "uint32", "uint64", "float8_e4m3fn", "float8_e5m2"]:
        raw = torch.randint(0, 2, (2, 48), dtype=torch.uint8)
        state[name] = raw.view(getattr(torch, name))
    fused = torch.randn(6, 4)
    state |= {"q": fused[:2], "k": fused[2:4], "v": fused[4:], "fused": fused, "turned": fused.T, "tied": fused}
    state |= {
        "steps": fused[::2, 1::2],
        "permuted": torch.randn(2, 3, 4).permute(2, 0, 1),
    }
    state |= {"scalar": torch.tensor(2.5), "empty": torch.empty(0, 3), "parameter": torch.nn.Parameter(torch.ones(2))}
    state["with attribute"] = torch.nn.Parameter(torch.ones(2))
    state["with attribute"].ignored = True
    state["한국어"] = torch.ones(1)
    return state


def same(left: torch.Tensor, right: torch.Tensor) -> bool:
    flat = (tensor.detach().contiguous().reshape(-1).view(torch.uint8) for tensor in (left, right))
    return left.dtype == right.dtype and left.shape == right.shape and torch.equal(*flat)


def assert_reads(path: Path, expected: dict[str, torch.Tensor]) -> None:
    with open_tensors(path) as file:
        assert file.names() == list(expected)
        for name, tensor in expected.items():
            assert file.info(name) == TensorInfo(name, tensor.dtype, tuple(tensor.shape), tensor.nbytes)
            found = file.read(name)
            assert same(found, tensor), name
            assert found.is_contiguous()
            assert found.untyped_storage().nbytes() == found.nbytes


# Reading


@pytest.mark.parametrize("protocol", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("options", [{}, LEGACY], ids=["zip", "legacy"])
def test_reads_what_torch_writes(tmp_path: Path, options: dict, protocol: int) -> None:
    state = state_dict()
    torch.save(state, tmp_path / "pytorch_model.bin", pickle_protocol=protocol, **options)
    assert_reads(tmp_path, state)


@pytest.mark.parametrize("options", [{}, LEGACY], ids=["zip", "legacy"])
@pytest.mark.parametrize("wrapper", ["state_dict", "model_state_dict", "model"])
def test_finds_the_state_dict_in_a_training_checkpoint(tmp_path: Path, wrapper: str, options: dict) -> None:
    weights = torch.nn.Linear(3, 2).state_dict()
    optimizer = {"state": {0: {"step": torch.tensor(3.0), "exp_avg": torch.ones(3)}}, "param_groups": [{"lr": 1e-3}]}
    saved = {"epoch": 3, "loss": 0.5, "note": None, wrapper: weights, "optimizer": optimizer, "size": torch.Size([2])}
    torch.save({**saved, "dtype": torch.float16, "device": torch.device("cpu")}, tmp_path / "last.pt", **options)
    assert_reads(tmp_path / "last.pt", dict(weights))


def test_reads_a_real_file_of_2019(shared: Path) -> None:
    folder = shared / "data/fixtures/bert_xsmall_dummy"
    assert_reads(folder, torch.load(folder / "pytorch_model.bin", weights_only=True))


def test_reads_zip64(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python's writer, made to believe that everything is beyond 4 GB, writes every wide field there is."""
    state = {"a": torch.arange(20.0), "b": torch.arange(7)}
    torch.save(state, tmp_path / "narrow.bin")
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 1)
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 1)
    with zipfile.ZipFile(tmp_path / "narrow.bin") as narrow, zipfile.ZipFile(tmp_path / "wide.bin", "w") as wide:
        for member in narrow.infolist():
            wide.writestr(member.filename, narrow.read(member))
    content = (tmp_path / "wide.bin").read_bytes()
    assert content.count(b"\xff" * 8) >= 5, "the writer did not use wide fields"
    assert_reads(tmp_path / "wide.bin", state)
    for beyond in (len(content), (1 << 64) - 1):
        # The extra field of the last entry ends with the offset of its local header, just before the directory's end.
        patched(tmp_path / "wide.bin", content.rindex(b"PK\6\6") - 8, struct.pack("<Q", beyond))
        refuse(tmp_path / "wide.bin", "outside itself")


def test_only_the_bytes_of_one_tensor_are_read(tmp_path: Path) -> None:
    whole = torch.zeros(4_000_000)
    torch.save({"slice": whole[1_000_000:1_000_010]}, tmp_path / "a.bin")
    with open_tensors(tmp_path / "a.bin") as file:
        assert file.read("slice").untyped_storage().nbytes() == 40
        with pytest.raises(CheckpointError, match="no tensor named 'x'"):
            file.read("x")
        os.truncate(tmp_path / "a.bin", 100)
        with pytest.raises(CheckpointError, match="too early"):
            file.read("slice")


@pytest.mark.parametrize(
    "value", [torch.ones(2), [torch.ones(2)], {}, {"a": {"b": torch.ones(2)}}, {1: torch.ones(2)}, 7]
)
def test_what_is_no_state_dict_is_refused(tmp_path: Path, value: Any) -> None:
    torch.save(value, tmp_path / "a.bin")
    with pytest.raises(CheckpointError, match=r"no state dict|not text"):
        open_tensors(tmp_path / "a.bin")


# Attacks: code


class Attack:
    """An object whose unpickling makes a file."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple:
        return open, (str(self.canary), "w")


def refuse(path: Path, match: str = "") -> None:
    """Assert that the file is refused soon, with a short error that names it and says `match`."""
    with bounded_cost():
        message = refusal(path)
    assert path.name in message
    assert re.search(match, message), message
    assert len(message) < 1000


def refusal(path: Path) -> str:
    try:
        open_tensors(path).close()
    except CheckpointError as error:
        return str(error)
    return pytest.fail(f"{path} was not refused")


def memory_of_refusing(path: Path) -> int:
    """MiB by which refusing the file makes a process grow; a child is measured, since a peak cannot be reset."""
    child = os.fork()
    if child == 0:
        with open("/proc/self/statm") as statistics:
            before = int(statistics.read().split()[1]) * resource.getpagesize()
        refusal(path)
        os._exit(min(255, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before) >> 20))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("form", ["zip", "legacy", "bare pickle", "bare pickle in a zip"])
@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.safetensors", "model.pt", "model.ckpt"])
def test_code_never_runs(tmp_path: Path, form: str, protocol: int, name: str) -> None:
    canary, path = tmp_path / "canary", tmp_path / name
    state = {"weight": torch.ones(2), "attack": Attack(canary)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if form == "bare pickle":
            path.write_bytes(pickle.dumps({"weight": 1, "attack": Attack(canary)}, protocol))
        elif form == "bare pickle in a zip":
            archive(path, pickle.dumps({"weight": 1, "attack": Attack(canary)}, protocol))
        else:
            torch.save(state, path, pickle_protocol=protocol, **(LEGACY if form == "legacy" else {}))
    refuse(path)
    assert not canary.exists()
    if name == "pytorch_model.bin" and form == "bare pickle":
        pickle.loads(path.read_bytes())["attack"].close()
        assert canary.exists(), "the attack must be real"


def test_the_global_is_named(tmp_path: Path) -> None:
    torch.save({"weight": torch.ones(2), "attack": Attack(tmp_path / "canary")}, tmp_path / "a.bin")
    refuse(tmp_path / "a.bin", r"asks for 'io\.open'")


def test_nothing_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "planted.py").write_text(f"open({str(tmp_path / 'canary')!r}, 'w')")
    monkeypatch.syspath_prepend(tmp_path)
    for code in (b"cplanted\nthing\n.", b"\x80\x04\x8c\x07planted\x8c\x05thing\x93.", b"(iplanted\nthing\n."):
        refuse(archive(tmp_path / "a.bin", code))
        assert "planted" not in sys.modules
        assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize(
    "name",
    [
        *("os system", "posix system", "builtins eval", "builtins getattr", "torch load", "torch.hub load"),
        *("torch._utils _rebuild_sparse_tensor", "torch.nn.modules.linear Linear", "torch.serialization load"),
        *("collections OrderedDict.fromkeys", "torch.storage _load_from_bytes", "numpy.core.multiarray _reconstruct"),
    ],
)
def test_names_outside_the_table_are_refused(tmp_path: Path, name: str) -> None:
    module, attribute = name.split()
    refuse(archive(tmp_path / "a.bin", f"c{module}\n{attribute}\n.".encode()), r"asks for")


# Attacks: what a pickle may say, but not like this


def archive(path: Path, code: bytes, storages: dict[str, bytes] | None = None) -> Path:
    members = {"archive/data.pkl": code}
    members |= {f"archive/data/{key}": content for key, content in (storages or {}).items()}
    with zipfile.ZipFile(path, "w") as file:
        for name, content in members.items():
            file.writestr(name, content)
    return path


def number(value: int) -> bytes:
    return pickle.dumps(value, 2)[2:-1]


def numbers(values: Any) -> bytes:
    return b"(" + b"".join(map(number, values)) + b"t"


def tensor_code(
    numel: int = 4, offset: int = 0, shape: Any = (4,), stride: Any = (1,), kind: bytes = b"Float", key: bytes = b"0"
) -> bytes:
    """Opcodes that leave one tensor on the stack."""
    storage = b"(X\x07\0\0\0storagectorch\n" + kind + b"Storage\nX" + struct.pack("<I", len(key)) + key
    storage += b"X\x03\0\0\0cpu" + number(numel) + b"tQ"
    return (
        b"ctorch._utils\n_rebuild_tensor_v2\n("
        + storage
        + number(offset)
        + numbers(shape)
        + numbers(stride)
        + b"\x89}tR"
    )


def state_code(*tensors: bytes) -> bytes:
    """A pickle of a state dict with the tensors a, b, ..."""
    items = b"".join(b"X\x01\0\0\0" + bytes([97 + place]) + code for place, code in enumerate(tensors))
    return b"\x80\x02}(" + items + b"u."


def test_the_hand_made_pickle_is_right(tmp_path: Path) -> None:
    data = struct.pack("<4f", 1, 2, 3, 4)
    archive(tmp_path / "a.bin", state_code(tensor_code(), tensor_code(shape=(2, 2), stride=(1, 2))), {"0": data})
    with open_tensors(tmp_path / "a.bin") as file:
        assert file.read("a").tolist() == [1, 2, 3, 4]
        assert file.read("b").tolist() == [[1, 3], [2, 4]]


BAD_TENSORS = {
    "storage larger than the file": tensor_code(numel=5),
    "storage smaller than the member": tensor_code(numel=3, shape=(3,)),
    "storage of 2^62 elements": tensor_code(numel=1 << 62, shape=(1 << 62,)),
    "storage of 2^64 elements": tensor_code(numel=1 << 64),
    "negative storage": tensor_code(numel=-4),
    "shape beyond the storage": tensor_code(shape=(5,)),
    "offset beyond the storage": tensor_code(offset=1),
    "offset of an empty tensor beyond the storage": tensor_code(offset=5, shape=(0,)),
    "negative offset": tensor_code(offset=-1),
    "stride beyond the storage": tensor_code(shape=(2, 2), stride=(3, 1)),
    "stride overflow": tensor_code(shape=(2,), stride=((1 << 63) - 1,)),
    "stride overflow past 2^64": tensor_code(shape=(5, 1), stride=(1 << 62, 1)),
    "negative stride": tensor_code(shape=(2,), stride=(-1,)),
    "one element a trillion times": tensor_code(shape=(1_000_000, 1_000_000), stride=(0, 0)),
    "shape overflow": tensor_code(shape=(1 << 32, 1 << 32), stride=(0, 0)),
    "shape overflow behind a zero": tensor_code(shape=(1 << 62, 1 << 62, 0), stride=(0, 0, 0)),
    "fewer strides than sizes": tensor_code(shape=(2, 2), stride=(1,)),
    "1000 dimensions": tensor_code(shape=(1,) * 1000, stride=(1,) * 1000),
    "a type that does not exist": tensor_code(kind=b"Quarter"),
    "other type, other size": tensor_code(kind=b"Double"),
    "a storage outside its folder": tensor_code(key=b"../data.pkl"),
    "a storage that is absent": tensor_code(key=b"1"),
    "a shape that is text": tensor_code().replace(numbers((4,)), b"X\x01\0\0\x004"),
    "a stride true": tensor_code().replace(numbers((1,)), b"\x88\x85"),
}


@pytest.mark.parametrize("case", BAD_TENSORS)
def test_tensors_that_do_not_fit_are_refused(tmp_path: Path, case: str) -> None:
    refuse(archive(tmp_path / "a.bin", state_code(BAD_TENSORS[case]), {"0": b"\0" * 16}))


PUSH_EMPTY_TUPLES = b"))\x86" + b"2\x86" * 200
BAD_PICKLES = {
    "nothing": b"",
    "no STOP": b"\x80\x02}",
    "unknown opcode": b"\xff.",
    "SETITEM on a list": b"\x80\x02]K\x01K\x02s.",
    "SETITEMS on a number": b"K\x01(K\x01K\x02u.",
    "APPEND on a dict": b"}K\x01a.",
    "APPENDS on a tuple": b")(K\x01e.",
    "BUILD on a list": b"]}b.",
    "REDUCE of text": b"X\x01\0\0\0a)R.",
    "REDUCE of a dtype": b"ctorch\nfloat32\n)R.",
    "REDUCE with a list": b"ccollections\nOrderedDict\n]R.",
    "wrong number of arguments": b"ctorch._utils\n_rebuild_parameter\n)R.",
    "parameter of a number": b"ctorch._utils\n_rebuild_parameter\nK\x01\x88}\x87R.",
    "odd number of items": b"}(K\x01u.",
    "stack underflow": b"\x86.",
    "mark underflow": b"t.",
    "pop of nothing": b"0.",
    "memo of nothing": b"q\x00.",
    "unknown memo": b"h\x07.",
    "memo index 2^32-1": b"}r\xff\xff\xff\xff.",
    "negative memo index": b"}p-1\n.",
    "text of 2^62 bytes": b"\x8d" + struct.pack("<Q", 1 << 62) + b"a.",
    "bytes of 2^32-1 bytes": b"B\xff\xff\xff\xffa.",
    "negative LONG4": b"\x8b\xff\xff\xff\xff.",
    "number of 10^5 digits": b"L" + b"9" * 100_000 + b"L\n.",
    "text that is not UTF-8": b"X\x01\0\0\0\xff.",
    "text persistent id": b"Pstorage\n.",
    "persistent id a number": b"K\x01Q.",
    "persistent id empty": b")Q.",
    "persistent id of a module": b"(X\x06\0\0\0moduleNNNtQ.",
    "INST": b"(ios\nsystem\n.",
    "OBJ": b"(cbuiltins\nlist\no.",
    "NEWOBJ": b"ccollections\nOrderedDict\n)\x81.",
    "EXT1": b"\x82\x01.",
    "BYTEARRAY8": b"\x96" + struct.pack("<Q", 1) + b"a.",
    "NEXT_BUFFER": b"\x97.",
    "key twice": b"}(K\x01K\x02K\x01K\x02u.",
    "key a list": b"}]K\x01s.",
    "key a nest of tuples with 2^200 leaves": b"}" + PUSH_EMPTY_TUPLES + b"K\x01s.",
    "global a nest of tuples": PUSH_EMPTY_TUPLES + b"X\x01\0\0\0a\x93.",
    "half a surrogate pair": b"}X\x03\0\0\0\xed\xa0\x80" + tensor_code(numel=0, shape=(0,)) + b"s.",
}


@pytest.mark.parametrize("case", BAD_PICKLES)
def test_malformed_pickles_are_refused(tmp_path: Path, case: str) -> None:
    path = archive(tmp_path / "a.bin", BAD_PICKLES[case], {"0": b""})
    refuse(path, "^(?!.*holds no state dict)")


@pytest.mark.parametrize(
    ("case", "says"),
    [
        ("SETITEM on a list", "sets an item of a list instead of a dict"),
        ("APPEND on a dict", "appends to a dict instead of a list"),
        ("REDUCE of text", "calls a str"),
        ("persistent id of a module", "whole modules"),
        ("NEWOBJ", "opcode NEWOBJ"),
        ("key twice", "gives the key '1' twice"),
        ("unknown opcode", "damaged"),
    ],
)
def test_the_message_says_why(tmp_path: Path, case: str, says: str) -> None:
    refuse(archive(tmp_path / "a.bin", BAD_PICKLES[case]), says)


# Well-formed, and a trap for whoever compares, prints or walks it.
BOTTOMLESS = {
    "frame of 2^62": b"\x80\x04\x95" + struct.pack("<Q", 1 << 62) + b"}.",
    "value a nest of tuples with 2^200 leaves": b"}K\x01" + PUSH_EMPTY_TUPLES + b"s.",
    "a dict in itself": b"}q\x00X\x0a\0\0\0state_dicth\x00s.",
}


@pytest.mark.parametrize("case", BOTTOMLESS)
def test_bottomless_values_are_not_walked(tmp_path: Path, case: str) -> None:
    refuse(archive(tmp_path / "a.bin", BOTTOMLESS[case]), "holds no state dict")


def test_two_sizes_of_one_storage_are_refused(tmp_path: Path) -> None:
    code = state_code(tensor_code(), tensor_code(numel=8))
    refuse(archive(tmp_path / "a.bin", code, {"0": b"\0" * 16}), "two sizes")


# Python's hash of a whole number is its remainder by 2^61 - 1, so all of these have the same.
COLLIDING = b"".join(pickle.dumps(n * ((1 << 61) - 1), 2)[2:-1] + b"N" for n in range(1 << 8, 1 << 18))


@pytest.mark.parametrize(
    "code",
    [
        b"\x80\x02" + b"}" * 7_000_000 + b".",
        b"\x80\x02" + b"N0" * 3_500_000 + b".",
        b"\x80\x02" + b"(" * 7_000_000 + b".",
        b"\x80\x02(" + b"}\x94" * (MAX_OPCODES // 2 - 10) + b"l.",
        b"\x80\x02]" + b"\x85" * (MAX_OPCODES - 10) + b".",
        b"\x80\x02}(" + COLLIDING + b"u.",
        b"I1\n" * 2_000_000 + b".",
        b"X" + struct.pack("<I", 7_900_004) + b"a" * 7_900_000 + "😀".encode() + b".",
        b"}" * (MAX_PICKLE_BYTES + 1),
    ],
    ids=["objects", "steps", "marks", "memo", "deep nest", "colliding keys", "protocol 0", "wide text", "size"],
)
def test_the_limits_bound_time_and_memory(tmp_path: Path, code: bytes) -> None:
    refuse(archive(tmp_path / "a.bin", code))
    assert memory_of_refusing(tmp_path / "a.bin") < 64


def test_damaged_pickles_raise_nothing_else(tmp_path: Path) -> None:
    state = {"a": torch.ones(3), "b": torch.nn.Parameter(torch.ones(2, 2).T), "c": torch.ones(2, dtype=torch.uint16)}
    chance = random.Random(0)
    for options in ({}, LEGACY):
        buffer = io.BytesIO()
        torch.save(state, buffer, **options)
        content = buffer.getvalue()
        if not options:
            with zipfile.ZipFile(buffer) as file:
                content = file.read("archive/data.pkl")
                storages = {n.removeprefix("archive/data/"): file.read(n) for n in file.namelist() if "/data/" in n}
        for _ in range(400):
            damaged = bytearray(content)
            for _ in range(chance.randint(1, 3)):
                damaged[chance.randrange(len(damaged))] = chance.randrange(256)
            path = tmp_path / "a.bin"
            path.write_bytes(damaged) if options else archive(path, bytes(damaged), storages)
            with contextlib.suppress(CheckpointError), open_tensors(path) as opened:
                for name in opened.names():
                    opened.read(name)


# Attacks: the archive


@pytest.fixture
def good(tmp_path: Path) -> Path:
    torch.save({"a": torch.arange(100.0), "b": torch.arange(100)}, tmp_path / "good.bin")
    return tmp_path / "good.bin"


def test_every_truncation_is_refused(good: Path, tmp_path: Path) -> None:
    torch.save({"a": torch.arange(10.0)}, tmp_path / "legacy.bin", **LEGACY)
    for whole in (good.read_bytes(), (tmp_path / "legacy.bin").read_bytes()):
        for size in random.Random(0).sample(range(len(whole)), 200):
            (tmp_path / "cut.bin").write_bytes(whole[:size])
            with pytest.raises(CheckpointError):
                open_tensors(tmp_path / "cut.bin")


@pytest.mark.parametrize("member", ["data.pkl", "byteorder", "data/0", "data/1", "version", ".data/serialization_id"])
def test_one_bad_checksum_condemns_the_file(good: Path, member: str) -> None:
    with zipfile.ZipFile(good) as file:
        content = file.read(f"good/{member}")
    whole = good.read_bytes()
    assert content in whole
    place = whole.rindex(content) if len(content) > 8 else whole.index(content, whole.index(f"good/{member}".encode()))
    good.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    refuse(good, "checksum|big-endian")


def test_a_bad_member_before_the_pickle_condemns_the_file(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.bin", "w") as file:
        file.writestr("archive/first", b"unrelated")
        file.writestr("archive/data.pkl", state_code(tensor_code(numel=0, shape=(0,))))
        file.writestr("archive/data/0", b"")
    open_tensors(tmp_path / "a.bin").close()
    whole = (tmp_path / "a.bin").read_bytes()
    (tmp_path / "a.bin").write_bytes(whole.replace(b"unrelated", b"unrelatex"))
    refuse(tmp_path / "a.bin", "'archive/first' whose checksum is wrong")


@pytest.mark.parametrize("twice", ["archive/data.pkl", "archive/data/0"])
def test_members_given_twice_are_refused(tmp_path: Path, twice: str) -> None:
    with warnings.catch_warnings(), zipfile.ZipFile(tmp_path / "a.bin", "w") as file:
        warnings.simplefilter("ignore")
        file.writestr("archive/data.pkl", state_code(tensor_code()))
        file.writestr("archive/data/0", b"\0" * 16)
        file.writestr(twice, file.read(twice))
    refuse(tmp_path / "a.bin", "two members named")


def test_compressed_members_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.bin", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("archive/data.pkl", state_code(tensor_code(numel=1 << 24, shape=(1 << 24,))))
        file.writestr("archive/data/0", b"\0" * (1 << 26))
    refuse(tmp_path / "a.bin", "compressed")


@pytest.mark.parametrize("names", [[], ["a/data.pkl", "b/data.pkl"], ["data.pkl"], ["a/b/data.pkl"]])
def test_the_pickle_must_be_in_its_place(tmp_path: Path, names: list[str]) -> None:
    with zipfile.ZipFile(tmp_path / "a.bin", "w") as file:
        file.writestr("a/version", b"3")
        for name in names:
            file.writestr(name, state_code(tensor_code(numel=0, shape=(0,))))
    refuse(tmp_path / "a.bin", "data.pkl")


def test_a_pickle_of_another_program_is_said_to_be_one(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(pickle.dumps({"weight": 1}))
    refuse(tmp_path / "a.bin", r"not one that torch\.save wrote")
    (tmp_path / "a.bin").write_bytes(pickle.dumps(list(range(200))))
    refuse(tmp_path / "a.bin", "more than 100 opcodes")


def test_big_endian_is_refused(tmp_path: Path, good: Path) -> None:
    with zipfile.ZipFile(good) as file, zipfile.ZipFile(tmp_path / "a.bin", "w") as big:
        for member in file.namelist():
            big.writestr(member, b"big" if member.endswith("byteorder") else file.read(member))
    refuse(tmp_path / "a.bin", "big-endian")


def patched(path: Path, position: int, content: bytes) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[:position] + content + whole[position + len(content) :])


def test_archives_that_can_be_read_in_two_ways_are_refused(tmp_path: Path) -> None:
    """Each field that a second reader might believe instead is changed alone."""
    path = tmp_path / "a.bin"
    archive(path, state_code(tensor_code()), {"0": b"\0" * 16})
    whole = path.read_bytes()
    entry, end = whole.index(b"PK\1\2"), whole.index(b"PK\5\6")
    second = whole.index(b"PK\1\2", entry + 4)
    changes = {
        "local name": (whole.index(b"archive/data.pkl"), b"archive/data.pkx"),
        "local name length": (26, b"\x11"),
        "local method": (8, b"\x08"),
        "local flags": (6, b"\x01"),
        "local signature": (whole.index(b"PK\3\4", 4), b"PK\3\5"),
        "flags": (entry + 8, b"\x01"),
        "method": (entry + 10, b"\x08"),
        "sizes differ": (entry + 20, b"\0\0\0\0"),
        "size beyond the file": (entry + 20, struct.pack("<II", 1 << 30, 1 << 30)),
        "size to be found in an extra field that is absent": (entry + 20, b"\xff" * 8),
        "member on top of another": (second + 42, whole[entry + 42 : entry + 46]),
        "offset beyond the file": (entry + 42, struct.pack("<I", 1 << 30)),
        "name longer than the directory": (entry + 28, b"\xff\xff"),
        "count": (end + 10, b"\x03"),
        "directory size": (end + 12, b"\xff"),
        "directory offset": (end + 16, b"\xff\xff"),
        "directory in ZIP64 that is absent": (end + 10, b"\xff" * 10),
        "several disks": (end + 4, b"\x01"),
        "comment": (end + 20, b"\x05"),
    }
    open_tensors(path).close()
    for name, (position, content) in changes.items():
        path.write_bytes(whole)
        patched(path, position, content)
        assert refusal(path), name
    path.write_bytes(whole + b"something after it")
    refuse(path)


def test_members_on_top_of_each_other_are_refused(tmp_path: Path) -> None:
    """The same bytes would count twice, so that a small file could describe any amount of data."""
    path = tmp_path / "a.bin"
    archive(path, state_code(tensor_code()), {"0": b"\0" * 16, "1": b"\0" * 16})
    whole = path.read_bytes()
    entries = [place.start() for place in re.finditer(re.escape(b"PK\1\2"), whole)]
    data = [whole.index(b"archive/data/" + key) + len("archive/data/0") for key in (b"0", b"1")]
    for entry, begin, end in [(entries[1], data[0], data[1]), (entries[2], data[1], entries[0] + 4)]:
        size = end - begin
        path.write_bytes(whole)
        patched(path, entry + 16, struct.pack("<III", zlib.crc32(whole[begin:end]), size, size))
        refuse(path, "overlaps")


def test_zip64_that_contradicts_itself_is_refused(good: Path) -> None:
    whole = good.read_bytes()
    wide, end = whole.index(b"PK\6\6"), whole.index(b"PK\5\6")
    locator = whole.index(b"PK\6\7")
    for position, content in {
        wide + 16: b"\x01",
        wide + 32: b"\x01",
        wide + 40: b"\xff" * 8,
        wide + 48: b"\xff" * 8,
        wide: b"PK\6\5",
        locator + 8: b"\xff" * 8,
        locator + 16: b"\x09",
        end + 10: b"\x01",
    }.items():
        good.write_bytes(whole)
        patched(good, position, content)
        assert refusal(good), position
    good.write_bytes(whole[:locator] + b"\0" * 8 + whole[locator:])
    refuse(good)


# Attacks: the older format


def legacy(path: Path, state: bytes, keys: object, storages: bytes, **system: Any) -> Path:
    parts = [0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": True, **system}]
    path.write_bytes(b"".join(pickle.dumps(part, 2) for part in parts) + state + pickle.dumps(keys, 2) + storages)
    return path


def legacy_state(**options: Any) -> bytes:
    """As `state_code`, with the sixth field that a storage has in this format."""
    return state_code(tensor_code(**options)).replace(b"tQ", b"NtQ")


ONE_STORAGE = struct.pack("<q4f", 4, 1, 2, 3, 4)


def test_the_older_format_is_held_to_its_claims(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    with open_tensors(legacy(path, legacy_state(), ["0"], ONE_STORAGE)) as file:
        assert file.read("a").tolist() == [1, 2, 3, 4]
    refuse(legacy(path, legacy_state(), ["0"], ONE_STORAGE + b"\0"), "1 bytes after")
    refuse(legacy(path, legacy_state(), ["0"], ONE_STORAGE[:-1]), "ends before")
    refuse(legacy(path, legacy_state(), ["0"], struct.pack("<q", 5) + ONE_STORAGE[8:]), "stores 20 bytes")
    refuse(legacy(path, legacy_state(), ["0"], struct.pack("<q", -1) + ONE_STORAGE[8:]), "stores")
    refuse(legacy(path, legacy_state(numel=1 << 61), ["0"], ONE_STORAGE), "ends before")
    refuse(legacy(path, legacy_state(), ["0", "0"], ONE_STORAGE * 2), "other storages")
    refuse(legacy(path, legacy_state(), [], b""), "other storages")
    refuse(legacy(path, legacy_state(), [0], ONE_STORAGE), "no list of storages")
    refuse(legacy(path, legacy_state(), "0", ONE_STORAGE), "no list of storages")
    refuse(legacy(path, legacy_state(), ["0"], ONE_STORAGE, little_endian=False), "big-endian")
    refuse(legacy(path, legacy_state().replace(b"NtQ", b"\x88tQ"), ["0"], ONE_STORAGE), "unknown way")
