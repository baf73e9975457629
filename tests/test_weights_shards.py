"""Sharded checkpoints: an index can name only files beside it, and must agree with them about every tensor."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from moduformer.errors import CheckpointError
from moduformer.weights.bounded import BoundedFile
from moduformer.weights.files import TensorInfo, open_tensors, save_tensors

TENSORS = {"a": torch.arange(4.0), "b": torch.arange(4.0, 8.0), "c": torch.arange(3), "d": torch.ones(1)}
INDEX = "model.safetensors.index.json"
FIRST, SECOND, THIRD = (f"model-0000{number}-of-00003.safetensors" for number in (1, 2, 3))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The tensors a in the first shard, b in the second, c and d in the third."""
    save_tensors(tmp_path / "checkpoint", TENSORS, shard_bytes=30)
    return tmp_path / "checkpoint"


def remap(folder: Path, change: Callable[[dict], object], name: str = INDEX) -> None:
    index = json.loads((folder / name).read_text())
    change(index["weight_map"])
    (folder / name).write_text(json.dumps(index))


def assert_whole(folder: Path) -> None:
    with open_tensors(folder) as file:
        assert file.names() == list(TENSORS)
        for name, tensor in TENSORS.items():
            assert file.info(name) == TensorInfo(name, tensor.dtype, tuple(tensor.shape), tensor.nbytes)
            assert torch.equal(file.read(name), tensor)
        with pytest.raises(CheckpointError, match="no tensor named 'e'"):
            file.read("e")


def test_shards_are_read_as_one(folder: Path) -> None:
    assert sorted(os.listdir(folder)) == sorted([FIRST, SECOND, THIRD, INDEX])
    assert json.loads((folder / INDEX).read_text()) == {
        "metadata": {"total_size": 60},
        "weight_map": {"a": FIRST, "b": SECOND, "c": THIRD, "d": THIRD},
    }
    assert_whole(folder)


def test_transformers_reads_the_shards(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(
        vocab_size=20, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=8
    )
    model = transformers.BertModel(config)
    config.save_pretrained(tmp_path)
    for _ in range(2):  # the second save names its shards otherwise
        written = save_tensors(tmp_path, model.state_dict(), shard_bytes=2000)
        assert len(written) > 3
        loaded = transformers.BertModel.from_pretrained(tmp_path).state_dict()
        for name, tensor in model.state_dict().items():
            assert torch.equal(loaded[name], tensor), name


def test_pytorch_shards_are_read_as_one(tmp_path: Path) -> None:
    torch.save({"a": TENSORS["a"], "b": TENSORS["b"]}, tmp_path / "pytorch_model-00001-of-00002.bin")
    torch.save({"c": TENSORS["c"], "d": TENSORS["d"]}, tmp_path / "pytorch_model-00002-of-00002.bin")
    weight_map = {name: f"pytorch_model-0000{1 + (name > 'b')}-of-00002.bin" for name in TENSORS}
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": weight_map}))
    assert_whole(tmp_path)


def test_a_pickle_among_safetensors_shards_is_refused(folder: Path) -> None:
    torch.save({"a": TENSORS["a"]}, folder / FIRST)
    with pytest.raises(CheckpointError, match=FIRST):
        open_tensors(folder)


def test_the_order_of_looking(folder: Path) -> None:
    torch.save({"old": torch.ones(1)}, folder / "pytorch_model.bin")
    assert_whole(folder)
    save_tensors(folder / "other", {"single": torch.ones(1)})
    shutil.move(folder / "other" / "model.safetensors", folder)
    with open_tensors(folder) as file:
        assert file.names() == ["single"]


@pytest.mark.parametrize(
    "shard",
    [
        *(
            "/etc/passwd",
            "../x",
            "../checkpoint/" + FIRST,
            "./" + FIRST,
            "sub/x",
            "..",
            ".",
            "",
            "C:\\x",
            "C:x",
            "..\\x",
        ),
        *("\\\\host\\share\\x", "file://x", "a\0b", "a\nb", "x" * 300, 1, None, ["x"], {"x": 1}),
    ],
)
def test_anything_but_a_plain_name_is_refused_unopened(
    folder: Path, shard: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    remap(folder, lambda weight_map: weight_map.update(b=shard))
    opened = []
    create = BoundedFile.__init__
    monkeypatch.setattr(BoundedFile, "__init__", lambda self, path: (opened.append(path.name), create(self, path))[1])
    with pytest.raises(CheckpointError, match=r"tensor 'b' in .* not a plain file name"):
        open_tensors(folder)
    assert opened == [INDEX]


def test_links_that_lead_out_are_refused_unopened(folder: Path, tmp_path: Path) -> None:
    shutil.move(folder / FIRST, tmp_path / "outside.safetensors")
    for target in (
        tmp_path / "outside.safetensors",
        Path("/etc/passwd"),
        Path("../outside.safetensors"),
        tmp_path / "no",
    ):
        (folder / FIRST).unlink(missing_ok=True)
        (folder / FIRST).symlink_to(target)
        with pytest.raises(CheckpointError, match="leads out of its folder"):
            open_tensors(folder)
    (folder / FIRST).unlink()
    (folder / FIRST).symlink_to(FIRST)
    with pytest.raises(CheckpointError, match=FIRST):
        open_tensors(folder)


def test_links_within_the_folder_or_the_hubs_cache_are_followed(folder: Path, tmp_path: Path) -> None:
    (folder / FIRST).rename(folder / "elsewhere")
    (folder / FIRST).symlink_to("elsewhere")
    assert_whole(folder)
    cache = tmp_path / "models--a--b"
    snapshot = cache / "snapshots" / "0123"
    snapshot.mkdir(parents=True)
    shutil.copytree(folder, cache / "blobs")
    for name in (FIRST, SECOND, THIRD, INDEX):
        (snapshot / name).symlink_to(f"../../blobs/{name}")
    assert_whole(snapshot)
    (cache / "blobs" / SECOND).rename(cache / "refs")
    (snapshot / SECOND).unlink()
    (snapshot / SECOND).symlink_to("../../refs")
    with pytest.raises(CheckpointError, match="leads out of its folder"):
        open_tensors(snapshot)


def test_the_folder_itself_may_be_a_link(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "link").symlink_to(folder)
    assert_whole(tmp_path / "link")
    monkeypatch.chdir(folder)
    assert_whole(Path("."))


def test_a_missing_shard_is_named(folder: Path) -> None:
    (folder / SECOND).unlink()
    with pytest.raises(CheckpointError, match=f"{SECOND} is missing"):
        open_tensors(folder)


def test_a_tensor_absent_from_its_shard_is_named(folder: Path) -> None:
    remap(folder, lambda weight_map: weight_map.update(b=FIRST, e=SECOND))
    with pytest.raises(CheckpointError, match=f"tensor 'b' in {FIRST}, which does not hold it; it is in {SECOND}"):
        open_tensors(folder)
    remap(folder, lambda weight_map: weight_map.update(b=SECOND))
    with pytest.raises(CheckpointError, match=f"tensor 'e' in {SECOND}, which does not hold it"):
        open_tensors(folder)


def test_a_tensor_in_two_shards_is_named(folder: Path) -> None:
    save_tensors(folder / "other", {"a": TENSORS["a"], "b": TENSORS["b"]})
    shutil.move(folder / "other" / "model.safetensors", folder / SECOND)
    with pytest.raises(CheckpointError, match=f"tensor 'a' is in two shards .*{FIRST} and {SECOND}"):
        open_tensors(folder)


def test_a_tensor_the_index_does_not_list_is_named(folder: Path) -> None:
    remap(folder, lambda weight_map: weight_map.pop("d"))
    with pytest.raises(CheckpointError, match=f"{THIRD} holds tensor 'd', which .* does not list"):
        open_tensors(folder)


def test_a_tensor_given_twice_in_the_index_is_named(folder: Path) -> None:
    text = (folder / INDEX).read_text()
    (folder / INDEX).write_text(text.replace('"a":', f'"b": "{SECOND}", "a":'))
    with pytest.raises(CheckpointError, match="'b' is given twice"):
        open_tensors(folder)


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", "{}", "{", '{"weight_map": []}', '{"weight_map": {}}', '{"weight_map": {"a": "b"}, "metadata": 1}'),
        *(
            "[" * 100_000,
            '{"weight_map": ' * 50_000,
            '{"weight_map": {"a": ' + "9" * 5000 + "}}",
            '{"weight_map": NaN}',
        ),
        '{"weight_map": {"\\ud800": "b"}}',
    ],
)
def test_what_is_no_index_is_refused(folder: Path, text: str) -> None:
    (folder / INDEX).write_text(text)
    with pytest.raises(CheckpointError, match=INDEX):
        open_tensors(folder)


def test_an_index_of_too_many_files_is_refused(folder: Path) -> None:
    weight_map = {str(number): f"{number}.safetensors" for number in range(10_001)}
    (folder / INDEX).write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(CheckpointError, match="more than 10000 files"):
        open_tensors(folder)


def test_shards_are_closed_when_one_is_bad(folder: Path) -> None:
    (folder / THIRD).write_bytes(b"broken")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        with pytest.raises(CheckpointError, match=THIRD):
            open_tensors(folder)
    assert len(os.listdir("/proc/self/fd")) == before
    shutil.rmtree(folder)
    save_tensors(folder, TENSORS, shard_bytes=30)
    open_tensors(folder).close()
    assert len(os.listdir("/proc/self/fd")) == before
