"""Reading the weights that `torch.save` wrote (`.bin`, `.pt`, `.pth`) without running them.

Two formats: since PyTorch 1.6 a ZIP archive with a pickle in `data.pkl` and each storage in `data/<key>`; before that a
magic number, a version, the machine's byte order, the pickle and the storages' keys, each pickled after the other, and
then each storage as an element count with its bytes. Source: `torch/serialization.py`, `_save` and `_legacy_save`.
"""

import math
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import torch

from moduformer.errors import CheckpointError
from moduformer.weights.bounded import BoundedFile
from moduformer.weights.pickle_machine import MAX_PICKLE_BYTES, Pickle, StorageRef, TensorRef, read_pickle
from moduformer.weights.stored_zip import check_sums, read_members
from moduformer.weights.tensor_file import TensorFile, TensorInfo, quoted, read_tensor, tensor_bytes

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_VERSION = 1001

# Where training programs put the state dict when they save more than that.
WRAPPERS = ("state_dict", "model_state_dict", "model")


@dataclass(frozen=True)
class _View:
    """A tensor inside the file: `span` elements from byte `offset` hold all of it."""

    info: TensorInfo
    offset: int
    span: int
    stride: tuple[int, ...]


class PickleFile(TensorFile):
    """An open PyTorch checkpoint, all of whose tensors are known to lie within it.

    Args:
        path: the file.

    Raises:
        CheckpointError: the pickle asks for code, a checksum is wrong, a tensor reaches outside its storage, or
            there is no state dict.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.metadata = {}
        self._file = BoundedFile(path)
        try:
            pickle, offsets = _open_zip(self._file) if _is_zip(self._file) else _open_legacy(self._file)
            self._views = {
                name: _check_view(self._file, name, tensor, offsets[tensor.storage.key])
                for name, tensor in _state_dict(path, pickle.value).items()
            }
        except BaseException:
            self._file.close()
            raise

    def names(self) -> list[str]:
        return list(self._views)

    def info(self, name: str) -> TensorInfo:
        return self._view(name).info

    def read(self, name: str) -> torch.Tensor:
        view = self._view(name)
        if not view.span:
            return torch.empty(view.info.shape, dtype=view.info.dtype)
        stored = read_tensor(self._file, view.offset, view.info.dtype, (view.span,))
        return stored.as_strided(view.info.shape, view.stride).contiguous()

    def close(self) -> None:
        self._file.close()

    def _view(self, name: str) -> _View:
        if name not in self._views:
            raise self.absent(name)
        return self._views[name]


def _is_zip(file: BoundedFile) -> bool:
    return bytes(_head(file, 4)) == b"PK\x03\x04"


def _head(file: BoundedFile, count: int) -> bytearray:
    head = bytearray(min(file.size, count))
    file.read_into(0, memoryview(head))
    return head


def _open_zip(file: BoundedFile) -> tuple[Pickle, dict[str, int]]:
    """The pickle, and the byte at which each of its storages starts."""
    members = read_members(file)
    roots = [name.removesuffix("data.pkl") for name in members if name.endswith("/data.pkl") and name.count("/") == 1]
    if len(roots) != 1:
        raise file.error(f"is a ZIP archive with {len(roots)} data.pkl, where torch.save writes one")
    # Before anything is believed: one bad member means that the file is not what was written.
    check_sums(file, members)

    def content(name: str) -> bytes:
        member = members[roots[0] + name]
        if member.size > MAX_PICKLE_BYTES:
            raise file.error(f"has a {name} of {member.size} bytes, more than the {MAX_PICKLE_BYTES} of any state dict")
        data = bytearray(member.size)
        file.read_into(member.offset, memoryview(data))
        return bytes(data)

    if f"{roots[0]}byteorder" in members and content("byteorder") != b"little":
        raise file.error("was written on a big-endian machine, which is not supported")
    pickle = read_pickle(BytesIO(content("data.pkl")), file.path)
    offsets = {}
    for key, storage in pickle.storages.items():
        member = members.get(f"{roots[0]}data/{key}")
        if member is None:
            raise file.error(f"has no storage {quoted(key)}, which its pickle refers to")
        offsets[key] = _check_size(file, storage, member.offset, member.size)
    return pickle, offsets


def _open_legacy(file: BoundedFile) -> tuple[Pickle, dict[str, int]]:
    """The pickle, and the byte at which each of its storages starts."""
    stream = BytesIO(_head(file, MAX_PICKLE_BYTES))
    for expected in (LEGACY_MAGIC, LEGACY_VERSION):
        if read_pickle(stream, file.path, most=100).value != expected:
            raise CheckpointError(
                f"{file.path} is a pickle, but not one that torch.save wrote. Look for the same model in safetensors."
            )
    system = read_pickle(stream, file.path, most=100).value
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise file.error("was written on a big-endian machine, which is not supported")
    pickle = read_pickle(stream, file.path)
    keys = read_pickle(stream, file.path).value
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise file.error("has no list of storages after its pickle")
    if sorted(keys) != sorted(pickle.storages):
        raise file.error("lists other storages than its pickle refers to")
    offsets = {}
    position = stream.tell()
    for key in keys:
        storage = pickle.storages[key]
        if position + 8 + storage.nbytes > file.size:
            raise file.error(f"ends before its storage {quoted(key)} of {storage.nbytes} bytes")
        count = bytearray(8)
        file.read_into(position, memoryview(count))
        stored = int.from_bytes(count, "little") * storage.kind.itemsize
        offsets[key] = _check_size(file, storage, position + 8, stored)
        position += 8 + stored
    if position != file.size:
        raise file.error(f"has {file.size - position} bytes after its last storage")
    return pickle, offsets


def _check_size(file: BoundedFile, storage: StorageRef, offset: int, stored: int) -> int:
    if stored != storage.nbytes:
        raise file.error(f"stores {stored} bytes as {quoted(storage.key)}, and its pickle claims {storage.nbytes}")
    return offset


def _state_dict(path: Path, value: Any) -> dict[str, TensorRef]:
    """The tensors of the state dict, by name; whatever else a training program saved is left alone."""
    wrapped = [value] if isinstance(value, dict) else []
    wrapped += [value[key] for key in WRAPPERS if wrapped and isinstance(value.get(key), dict)]
    for candidate in wrapped:
        tensors = {name: item for name, item in candidate.items() if isinstance(item, TensorRef)}
        if not tensors:
            continue
        for name in tensors:
            # Half of a surrogate pair is a Python string but no text; printing or saving it fails much later.
            if not isinstance(name, str) or any("\ud800" <= letter <= "\udfff" for letter in name):
                raise CheckpointError(f"{path} has a tensor under the key {quoted(name)}, which is not text.")
        return tensors
    raise CheckpointError(
        f"{path} holds no state dict: no tensors by name at its top or under {', '.join(WRAPPERS)}. "
        "Save `model.state_dict()` and use that file."
    )


def _check_view(file: BoundedFile, name: str, tensor: TensorRef, start: int) -> _View:
    """The tensor's place in the file, provided its storage contains all of it."""
    try:
        nbytes = tensor_bytes(tensor.dtype, tensor.shape)
    except ValueError as error:
        raise file.error(f"has a tensor {quoted(name)} with {error}") from error
    if len(tensor.stride) != len(tensor.shape):
        raise file.error(f"has a tensor {quoted(name)} with {len(tensor.shape)} sizes but {len(tensor.stride)} strides")
    count = math.prod(tensor.shape)
    reach = sum((size - 1) * step for size, step in zip(tensor.shape, tensor.stride, strict=True))
    span = reach + 1 if count else 0
    room = tensor.storage.nbytes // tensor.dtype.itemsize
    # A stride of 0 repeats one element as often as the shape likes; the stored bytes bound that too.
    if tensor.offset + span > room or count > room:
        raise file.error(
            f"has a tensor {quoted(name)} of shape {list(tensor.shape)} that does not fit into {room} stored elements"
        )
    info = TensorInfo(name, tensor.dtype, tensor.shape, nbytes)
    return _View(info, start + tensor.offset * tensor.dtype.itemsize, span, tensor.stride)
