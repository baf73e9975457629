"""A checkpoint split over several files, joined by an index that says which tensor is in which.

Format: `model.safetensors.index.json` or `pytorch_model.bin.index.json`, an object whose `weight_map` gives each
tensor the name of a file in the same folder.
"""

import json
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import torch

from moduformer.errors import CheckpointError
from moduformer.weights.bounded import BoundedFile
from moduformer.weights.pickle_file import PickleFile
from moduformer.weights.safetensors_file import SafetensorsFile
from moduformer.weights.strict_json import parse_object
from moduformer.weights.tensor_file import TensorFile, TensorInfo, quoted

MAX_INDEX_BYTES = 100_000_000
MAX_SHARDS = 10_000


class ShardedFile(TensorFile):
    """All shards of a checkpoint, open and in agreement with their index.

    Args:
        path: the index; its name decides whether the shards are safetensors or PyTorch files.

    Raises:
        CheckpointError: the index is damaged, names a file outside its folder or one that is missing, or disagrees
            with the shards; the message names the tensor and the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._weight_map, self.metadata = _read_index(path)
        read_shard = SafetensorsFile if path.name.endswith(".safetensors.index.json") else PickleFile
        with ExitStack() as opened:
            self._shards: dict[str, TensorFile] = {}
            for shard in dict.fromkeys(self._weight_map.values()):
                self._shards[shard] = opened.enter_context(read_shard(_contained(path, shard)))
            _check_agreement(path, self._weight_map, self._shards)
            self._opened = opened.pop_all()

    def names(self) -> list[str]:
        return list(self._weight_map)

    def info(self, name: str) -> TensorInfo:
        return self._shard(name).info(name)

    def read(self, name: str) -> torch.Tensor:
        return self._shard(name).read(name)

    def close(self) -> None:
        self._opened.close()

    def _shard(self, name: str) -> TensorFile:
        if name not in self._weight_map:
            raise self.absent(name)
        return self._shards[self._weight_map[name]]


def index_json(weight_map: Mapping[str, str], total_size: int) -> bytes:
    """An index's bytes.

    Args:
        weight_map: tensor name to file name.
        total_size: bytes of all tensors together.
    """
    index = {"metadata": {"total_size": total_size}, "weight_map": dict(weight_map)}
    return (json.dumps(index, ensure_ascii=False, indent=2) + "\n").encode("utf-8")


def indexed_files(path: Path) -> list[Path]:
    """The shards an index names, whether or not they exist.

    Raises:
        CheckpointError: the index is absent or damaged, or names a file outside its folder.
    """
    weight_map, _ = _read_index(path)
    return [path.parent / shard for shard in dict.fromkeys(weight_map.values())]


def _read_index(path: Path) -> tuple[dict[str, str], dict[str, str]]:
    """`weight_map` with nothing but plain file names in it, and the metadata as text."""
    file = BoundedFile(path)
    try:
        if file.size > MAX_INDEX_BYTES:
            raise file.error(f"has {file.size} bytes, more than the {MAX_INDEX_BYTES} of any real index")
        text = bytearray(file.size)
        file.read_into(0, memoryview(text))
        index = parse_object(bytes(text))
    except ValueError as error:
        raise file.error(f"is not a valid index: {error}") from error
    finally:
        file.close()
    weight_map, metadata = index.get("weight_map"), index.get("metadata", {})
    if not isinstance(weight_map, dict) or not weight_map or not isinstance(metadata, dict):
        raise file.error("is not a valid index: it needs a weight_map that names a file for each tensor")
    for name, shard in weight_map.items():
        if not isinstance(shard, str) or not _is_plain(shard):
            raise CheckpointError(
                f"{path} places tensor {quoted(name)} in {quoted(shard)}, which is not a plain file name. An index "
                "may only name files beside it; do not use this checkpoint."
            )
    if len(set(weight_map.values())) > MAX_SHARDS:
        raise file.error(f"names more than {MAX_SHARDS} files")
    return weight_map, {key: str(value) for key, value in metadata.items() if isinstance(value, str | int)}


def _is_plain(name: str) -> bool:
    """Whether a name stays in its folder on every operating system."""
    return name not in ("", ".", "..") and len(name) <= 255 and name.isprintable() and not set(name) & set("/\\:")


def _contained(index: Path, shard: str) -> Path:
    """The shard's path, if following links does not lead out of the checkpoint."""
    folder = index.parent
    path = folder / shard
    try:
        real, home = path.resolve(), folder.resolve()
        missing = not real.exists()
    except (OSError, RuntimeError) as error:
        raise CheckpointError(f"{path} cannot be found: {error}.") from error
    allowed = [home]
    if home.parent.name == "snapshots":
        # The hub's cache keeps a model's files in `blobs` and fills `snapshots/<commit>` with links to them.
        allowed.append(home.parent.parent / "blobs")
    if real.parent not in allowed:
        raise CheckpointError(
            f"{path}, named by {index.name}, is a link that leads out of its folder, to {real}. "
            "Do not use this checkpoint."
        )
    if missing:
        raise CheckpointError(f"{path} is missing, but {index.name} places tensors in it. Fetch that file.")
    return path


def _check_agreement(index: Path, weight_map: Mapping[str, str], shards: Mapping[str, TensorFile]) -> None:
    holder: dict[str, str] = {}
    for shard, file in shards.items():
        for name in file.names():
            if name in holder:
                raise CheckpointError(
                    f"tensor {quoted(name)} is in two shards of {index}: {holder[name]} and {shard}. "
                    "It is unclear which one counts; fetch the checkpoint again."
                )
            holder[name] = shard
    for name, shard in weight_map.items():
        if holder.get(name) != shard:
            elsewhere = f"; it is in {holder[name]}" if name in holder else ""
            raise CheckpointError(
                f"{index} places tensor {quoted(name)} in {shard}, which does not hold it{elsewhere}. "
                "Index and shards belong to different checkpoints; fetch both again."
            )
    for name, shard in holder.items():
        if name not in weight_map:
            raise CheckpointError(
                f"{shard} holds tensor {quoted(name)}, which {index} does not list. "
                "Index and shards belong to different checkpoints; fetch both again."
            )
