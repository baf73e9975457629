"""Safetensors: what the reference library writes is read, what breaks the format is refused, and saving never harms."""

import contextlib
import errno
import json
import os
import random
import shutil
import stat
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch as reference
import torch
from cost import bounded_cost

from moduformer.errors import CheckpointError
from moduformer.weights.files import FOLDER_LAYOUT, TensorInfo, check_finite, open_tensors, save_tensors
from moduformer.weights.safetensors_file import DTYPES
from moduformer.weights.strict_json import parse_object


def every_dtype() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    raw = torch.randint(0, 64, (3, 4, 8), dtype=torch.uint8, generator=generator)
    tensors = {code: raw.clone().view(dtype) for code, dtype in DTYPES.items() if dtype != torch.bool}
    return {**tensors, "BOOL": raw > 31, "scalar": torch.tensor(1.5), "empty": torch.empty(0, 7)}


def same(left: torch.Tensor, right: torch.Tensor) -> bool:
    """Bit for bit, so that NaN equals itself."""
    flat = (tensor.detach().contiguous().reshape(-1).view(torch.uint8) for tensor in (left, right))
    return left.dtype == right.dtype and left.shape == right.shape and torch.equal(*flat)


def contents(path: Path) -> dict[str, torch.Tensor]:
    with open_tensors(path) as file:
        return {name: file.read(name) for name in file.names()}


def assert_same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert list(found) == list(expected)
    for name, tensor in expected.items():
        assert same(found[name], tensor), name


def raw_file(path: Path, header: object, data: bytes = b"", length: int | None = None) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes((len(text) if length is None else length).to_bytes(8, "little") + text + data)
    return path


def entry(shape: list, begin: int, end: int, dtype: str = "F32") -> dict:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


# Reading


def test_reads_what_the_library_writes(tmp_path: Path) -> None:
    tensors = every_dtype()
    reference.save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt", "note": "한국어"})
    with open_tensors(tmp_path) as file:
        assert file.metadata == {"format": "pt", "note": "한국어"}
        assert file.path == tmp_path / "model.safetensors"
        assert sorted(file.names()) == sorted(tensors)
        for name, tensor in tensors.items():
            assert file.info(name) == TensorInfo(name, tensor.dtype, tuple(tensor.shape), tensor.nbytes)
            assert same(file.read(name), tensor), name


def test_read_gives_memory_of_its_own(tmp_path: Path) -> None:
    save_tensors(tmp_path, {"w": torch.arange(4.0)})
    with open_tensors(tmp_path) as file:
        first = file.read("w")
        first.zero_()
        assert file.read("w").tolist() == [0, 1, 2, 3]
        with pytest.raises(CheckpointError, match=r"no tensor named 'x'"):
            file.read("x")
    with pytest.raises(CheckpointError):
        file.read("w")


def test_a_bool_is_never_anything_but_0_and_1(tmp_path: Path) -> None:
    path = raw_file(tmp_path / "a.safetensors", {"b": entry([3], 0, 3, "BOOL")}, b"\x00\x02\xff")
    assert contents(path)["b"].view(torch.uint8).tolist() == [0, 1, 1]


HOSTILE = {
    "header of 2^63": (b"{}", b"", 1 << 63),
    "header of 2^64-1": (b"{}", b"", (1 << 64) - 1),
    "header one byte past the file": (b"{}", b"", 3),
    "empty header": (b"", b"", 0),
    "not UTF-8": (b'{"\xff":1}', b"", None),
    "not JSON": (b"{,}", b"", None),
    "not an object": (b"[]", b"", None),
    "leading space": (b" {}", b"", None),
    "nested": (b'{"a":' + b"[" * 100_000, b"", None),
    "number of 5000 digits": (b'{"a":{"dtype":"F32","shape":[' + b"9" * 5000 + b'],"data_offsets":[0,4]}}', b"", None),
    "NaN": (b'{"a":{"dtype":"F32","shape":[NaN],"data_offsets":[0,4]}}', b"0" * 4, None),
    "half a surrogate pair": (b'{"\\ud800":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', b"0" * 4, None),
    "overlap": ({"a": entry([2], 0, 8), "b": entry([2], 4, 12)}, b"0" * 12, None),
    "same place twice": ({"a": entry([2], 0, 8), "b": entry([2], 0, 8)}, b"0" * 8, None),
    "hole": ({"a": entry([1], 0, 4), "b": entry([1], 8, 12)}, b"0" * 12, None),
    "hole at the start": ({"a": entry([1], 4, 8)}, b"0" * 8, None),
    "trailing bytes": ({"a": entry([1], 0, 4)}, b"0" * 5, None),
    "past the end": ({"a": entry([2], 0, 8)}, b"0" * 4, None),
    "shape overflow": ({"a": entry([1 << 32, 1 << 32], 0, 0)}, b"", None),
    "shape overflow behind a zero": ({"a": entry([1 << 62, 1 << 62, 0], 0, 0)}, b"", None),
    "negative dimension": ({"a": entry([-1, -4], 0, 16)}, b"0" * 16, None),
    "dimension true": ({"a": entry([True], 0, 4)}, b"0" * 4, None),
    "dimension 1.0": ({"a": entry([1.0], 0, 4)}, b"0" * 4, None),
    "1000 dimensions": ({"a": entry([1] * 1000, 0, 4)}, b"0" * 4, None),
    "size other than shape": ({"a": entry([2], 0, 4)}, b"0" * 4, None),
    "end other than the shape says": ({"a": entry([1], 0, 8)}, b"0" * 4, None),
    "reversed offsets": ({"a": entry([1], 4, 0)}, b"0" * 4, None),
    "unknown dtype": ({"a": entry([1], 0, 4, "F31")}, b"0" * 4, None),
    "dtype a list": ({"a": {"dtype": ["F32"], "shape": [1], "data_offsets": [0, 4]}}, b"0" * 4, None),
    "missing field": ({"a": {"dtype": "F32", "shape": [1]}}, b"0" * 4, None),
    "extra field": ({"a": {**entry([1], 0, 4), "code": "x"}}, b"0" * 4, None),
    "entry a number": ({"a": 1}, b"", None),
    "three offsets": ({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4, 4]}}, b"0" * 4, None),
    "metadata a number": ({"__metadata__": {"a": 1}}, b"", None),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_broken_headers_are_refused(tmp_path: Path, case: str) -> None:
    header, data, length = HOSTILE[case]
    path = raw_file(tmp_path / "a.safetensors", header, data, length)
    tracemalloc.start()
    with bounded_cost(), pytest.raises(CheckpointError, match=r"a\.safetensors"):
        open_tensors(path)
    assert tracemalloc.get_traced_memory()[1] < 64 << 20
    tracemalloc.stop()


def test_a_name_given_twice_is_refused(tmp_path: Path) -> None:
    one = json.dumps(entry([1], 0, 4))
    two = json.dumps(entry([1], 4, 8))
    path = raw_file(tmp_path / "a.safetensors", f'{{"w":{one},"w":{two}}}'.encode(), b"\0" * 8)
    with pytest.raises(CheckpointError, match="'w' is given twice"):
        open_tensors(path)


@pytest.mark.parametrize("text", [b'{"a": NaN}', b'{"a": -Infinity}', b'{"a": {"b": 1, "b": 1}}', b'{"a": 1} x'])
def test_json_has_nothing_python_adds(text: bytes) -> None:
    with pytest.raises(ValueError):
        parse_object(text)


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    save_tensors(tmp_path, {"a": torch.ones(3), "b": torch.ones(30, dtype=torch.int64)})
    whole = (tmp_path / "model.safetensors").read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    places = [*range(header), *random.Random(0).sample(range(header, len(whole)), 100)]
    cut = tmp_path / "cut.safetensors"
    for place in places:
        cut.write_bytes(whole[:place])
        with pytest.raises(CheckpointError):
            open_tensors(cut)


def test_damaged_bytes_raise_nothing_else(tmp_path: Path) -> None:
    save_tensors(tmp_path, {"a": torch.ones(3), "b": torch.ones(2, 2)})
    whole = (tmp_path / "model.safetensors").read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    chance = random.Random(1)
    damaged = tmp_path / "damaged.safetensors"
    for _ in range(400):
        content = bytearray(whole)
        for _ in range(chance.randint(1, 4)):
            content[chance.randrange(header)] = chance.choice(b'\0\x80\xff"{}[]:,-019eE\\')
        damaged.write_bytes(content)
        with contextlib.suppress(CheckpointError):
            contents(damaged)


def test_a_file_that_shrinks_while_open_is_an_error_not_a_signal(tmp_path: Path) -> None:
    save_tensors(tmp_path, {"w": torch.zeros(100_000)})
    with open_tensors(tmp_path) as file:
        os.truncate(tmp_path / "model.safetensors", 5000)
        with pytest.raises(CheckpointError, match="ends at byte 5000"):
            file.read("w")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty"),
        (b"GGUF\x03\0\0\0" + b"\0" * 16, "GGUF"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"PK\x03\x04" + b"\0" * 60, "pickle"),
        (b"\x80\x02}q\0.", "pickle"),
    ],
)
def test_other_content_under_the_name_safetensors_is_refused(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError, match=says):
        open_tensors(tmp_path)


def test_content_decides_over_the_name(tmp_path: Path) -> None:
    save_tensors(tmp_path, {"w": torch.ones(2)})
    for name in ("weights.bin", "0f3a9c"):
        shutil.copy(tmp_path / "model.safetensors", tmp_path / name)
        assert contents(tmp_path / name)["w"].tolist() == [1, 1]


def test_nothing_to_open_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        open_tensors(tmp_path)
    with pytest.raises(CheckpointError, match="absent"):
        open_tensors(tmp_path / "absent")
    os.mkfifo(tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match="not a regular file"):
        open_tensors(tmp_path)


# Numbers


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize(
    "dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e5m2, torch.complex64]
)
def test_a_bad_value_is_refused_by_the_tensors_name(bad: float, dtype: torch.dtype) -> None:
    values = torch.ones(3, 5)
    check_finite(values.to(dtype), "layer.weight")
    values[1, 2] = bad
    with pytest.raises(CheckpointError, match=r"'layer\.weight' holds .* of (15|30) values"):
        check_finite(values.to(dtype), "layer.weight")


def test_whole_numbers_and_nothing_are_finite() -> None:
    for tensor in (torch.tensor([1 << 62]), torch.tensor([True]), torch.empty(0, 3), torch.tensor(2.0)):
        check_finite(tensor, "w")


# Saving


def test_the_library_reads_what_is_saved(tmp_path: Path) -> None:
    tensors = every_dtype()
    assert save_tensors(tmp_path / "new", tensors, {"a": "1"}) == [tmp_path / "new" / "model.safetensors"]
    found = reference.load_file(tmp_path / "new" / "model.safetensors")
    assert_same({name: found[name] for name in tensors}, tensors)
    ours = contents(tmp_path / "new")
    assert_same(ours, tensors)
    with open_tensors(tmp_path / "new") as file:
        assert file.metadata == {"format": "pt", "a": "1"}


def test_the_same_tensors_give_the_same_bytes(tmp_path: Path) -> None:
    metadata = {letter: letter for letter in "abcdefgh"}
    files = [save_tensors(tmp_path / str(turn), every_dtype(), metadata)[0].read_bytes() for turn in range(5)]
    assert len(set(files)) == 1


def test_ties_views_and_strides_are_saved_in_full(tmp_path: Path) -> None:
    weight = torch.nn.Parameter(torch.randn(6, 4, generator=torch.Generator().manual_seed(0)))
    tensors = {"in": weight, "out": weight, "t": weight.T, "row": weight[2], "every other": weight[::2, ::2]}
    tensors["conjugate"] = torch.complex(weight, weight).conj()
    save_tensors(tmp_path, tensors)
    found = contents(tmp_path)
    assert_same(
        {name: found[name] for name in tensors}, {name: t.detach().resolve_conj() for name, t in tensors.items()}
    )


@pytest.mark.parametrize(
    ("tensors", "metadata", "says"),
    [
        ({}, None, "no tensors"),
        ({"w": torch.zeros(2, 2).to_sparse()}, None, "'w'"),
        ({"w": torch.zeros(2, device="meta")}, None, "'w'"),
        ({"w": torch.zeros(2, dtype=torch.complex128)}, None, "'w'"),
        ({"__metadata__": torch.zeros(2)}, None, "__metadata__"),
        ({"\ud800": torch.zeros(2)}, None, "Unicode"),
        ({"w": torch.zeros(2)}, {"steps": 3}, "text to text"),
    ],
)
def test_what_the_format_cannot_hold_is_refused_before_writing(
    tmp_path: Path, tensors: dict, metadata: dict | None, says: str
) -> None:
    with pytest.raises(CheckpointError, match=says):
        save_tensors(tmp_path, tensors, metadata)
    assert not list(tmp_path.iterdir())


def test_a_disk_too_small_is_refused_with_the_bytes_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_tensors(tmp_path, {"w": torch.zeros(1)})
    before = snapshot(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**6, 10**6 - 10, 10))
    with pytest.raises(CheckpointError, match=r"needs 4\d\d\d bytes and 10 are free"):
        save_tensors(tmp_path, {"w": torch.zeros(1000)})
    assert snapshot(tmp_path) == before


def snapshot(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


OLD = {"a": torch.arange(8.0), "b": torch.arange(8), "c": torch.zeros(2, dtype=torch.bfloat16)}
NEW = {"a": -torch.arange(8.0), "b": -torch.arange(8), "c": torch.ones(2, dtype=torch.bfloat16)}
# Every way in which one checkpoint can take the place of another; 40 bytes make these tensors need several shards.
SINGLE, SHARDS = 10**6, 40
TRANSITIONS = [(SINGLE, SINGLE), (SINGLE, SHARDS), (SHARDS, SINGLE), (SHARDS, SHARDS), (None, SINGLE), (None, SHARDS)]


def on_call(monkeypatch: pytest.MonkeyPatch, name: str, number: int, effect: Callable[[], None]) -> list[int]:
    """Let an `os` function have an effect before its nth call; returns the list of calls so far."""
    real, calls = getattr(os, name), []

    def replaced(*arguments, **options):
        calls.append(len(calls) + 1)
        if len(calls) == number:
            effect()
        return real(*arguments, **options)

    monkeypatch.setattr(os, name, replaced)
    return calls


@pytest.mark.parametrize("call", ["write", "fsync", "replace", "open"])
@pytest.mark.parametrize(("before", "after"), TRANSITIONS)
def test_a_failing_disk_leaves_the_previous_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: int | None, after: int, call: str
) -> None:
    if before:
        save_tensors(tmp_path, OLD, shard_bytes=before)
    held = snapshot(tmp_path)
    for number in range(1, 100):
        code = (errno.EIO, errno.ENOSPC)[number % 2]

        def fail(code: int = code) -> None:
            raise OSError(code, os.strerror(code))

        with monkeypatch.context() as patch:
            calls = on_call(patch, call, number, fail)
            with contextlib.suppress(CheckpointError):
                save_tensors(tmp_path, NEW, shard_bytes=after)
                break
        assert len(calls) >= number
        assert snapshot(tmp_path) == held
    assert number > 1
    assert_same(contents(tmp_path), NEW)


def test_a_disk_without_hard_links_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_, **__) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    for tensors in (OLD, NEW):
        save_tensors(tmp_path, tensors)
        assert_same(contents(tmp_path), tensors)
    assert os.listdir(tmp_path) == ["model.safetensors"]


@pytest.mark.parametrize(("before", "after"), TRANSITIONS)
def test_a_killed_save_leaves_the_old_checkpoint_or_the_new(tmp_path: Path, before: int | None, after: int) -> None:
    """A child that ends at each step without cleaning up, as SIGKILL ends it; the next save clears what it left."""
    for call in ["write", "fsync", "replace", "link", "unlink"]:
        for number in range(1, 100):
            folder = tmp_path / f"{call}{number}"
            folder.mkdir()
            if before:
                save_tensors(folder, OLD, shard_bytes=before)
            child = os.fork()
            if child == 0:
                on_call(pytest.MonkeyPatch(), call, number, lambda: os._exit(9))
                save_tensors(folder, NEW, shard_bytes=after)
                os._exit(0)
            killed = os.waitpid(child, 0)[1] != 0
            if before or any((folder / name).exists() for name in FOLDER_LAYOUT):
                found = contents(folder)
                assert_same(found, OLD if found["a"][1] == OLD["a"][1] else NEW)
            if not killed:
                assert_same(contents(folder), NEW)
                break
            save_tensors(folder, NEW, shard_bytes=after)
            assert_same(contents(folder), NEW)
            assert not [name for name in os.listdir(folder) if name.startswith(".")]


@pytest.mark.parametrize(("before", "after"), TRANSITIONS)
def test_every_step_is_on_the_disk_before_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: int | None, after: int
) -> None:
    """A power cut loses whatever was not forced out: file contents before their names, shards before their index."""
    if before:
        save_tensors(tmp_path, OLD, shard_bytes=before)
    safe: set[int] = set()
    events: list[str] = []
    fsync, replace = os.fsync, os.replace

    def record_fsync(handle: int) -> None:
        fsync(handle)
        status = os.fstat(handle)
        safe.add(status.st_ino)
        if stat.S_ISDIR(status.st_mode):
            events.append("sync")

    def record_replace(source: Path, target: Path) -> None:
        removed = target.name.startswith(".")
        assert removed or source.stat().st_ino in safe
        events.append("removal" if removed else "shard" if "-of-" in target.name else target.name)
        replace(source, target)

    monkeypatch.setattr(os, "fsync", record_fsync)
    monkeypatch.setattr(os, "replace", record_replace)
    save_tensors(tmp_path, NEW, shard_bytes=after)
    index = "model.safetensors.index.json"
    removal = ["removal", "sync"] if before == SINGLE else []
    single, shards = ["model.safetensors", "sync"], [*["shard"] * 3, "sync", index, "sync", *removal]
    assert events == (single if after == SINGLE else shards)


def test_space_lost_to_a_killed_save_is_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def usage(folder: Path) -> object:
        held = sum(path.stat().st_size for path in folder.iterdir())
        return shutil._ntuple_diskusage(1000, held, 1000 - held)

    (tmp_path / ".moduformer-0123").write_bytes(bytes(900))
    monkeypatch.setattr(shutil, "disk_usage", usage)
    save_tensors(tmp_path, OLD)
    assert os.listdir(tmp_path) == ["model.safetensors"]


def test_superseded_files_go_and_others_stay(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "adapter.safetensors").write_bytes(b"mine")
    for shard_bytes in (SHARDS, SHARDS, SINGLE, SHARDS, SINGLE):
        written = save_tensors(tmp_path, NEW, shard_bytes=shard_bytes)
        assert_same(contents(tmp_path), NEW)
        assert {*os.listdir(tmp_path)} == {path.name for path in written} | {"config.json", "adapter.safetensors"}


def test_a_hostile_index_does_not_choose_what_saving_deletes(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    index = {"weight_map": {"w": "config.json"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    save_tensors(tmp_path, NEW)
    assert sorted(os.listdir(tmp_path)) == ["config.json", "model.safetensors"]


FULL_DISK = """
import shutil, sys
from pathlib import Path
import torch
from moduformer.errors import CheckpointError
from moduformer.weights.files import open_tensors, save_tensors
folder = Path(sys.argv[1])
save_tensors(folder, {"w": torch.ones(1000)})
before = (folder / "model.safetensors").read_bytes()
try:
    save_tensors(folder, {"w": torch.zeros(10_000_000)})
except CheckpointError as error:
    assert "needs 40000" in str(error), error
else:
    raise SystemExit("not refused")
shutil.disk_usage = lambda _: shutil._ntuple_diskusage(10**12, 0, 10**12)
for shard_bytes in (10**12, 10**6):
    try:
        save_tensors(folder, {str(n): torch.zeros(250_000) for n in range(10)}, shard_bytes=shard_bytes)
    except CheckpointError as error:
        assert "No space left" in str(error), error
    else:
        raise SystemExit("not full")
    assert [path.name for path in folder.iterdir()] == ["model.safetensors"]
    assert (folder / "model.safetensors").read_bytes() == before
print("kept")
"""


def test_a_disk_that_is_really_full(tmp_path: Path) -> None:
    mount = ["unshare", "-rm", "sh", "-c", 'mount -t tmpfs -o size=4m none "$0" && exec "$@"', str(tmp_path)]
    if not shutil.which("unshare") or subprocess.run([*mount, "true"], capture_output=True).returncode:
        pytest.skip("needs a user namespace in which a tmpfs can be mounted (unshare -rm)")
    child = subprocess.run(
        [*mount, sys.executable, "-c", FULL_DISK, str(tmp_path)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)},
    )
    assert child.stdout == "kept\n", child.stderr
