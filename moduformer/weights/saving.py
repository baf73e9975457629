"""Writing safetensors: one file, or shards with an index, in place of the folder's present checkpoint.

The format is written here, not by the `safetensors` library, because that one orders metadata at random (the same model
then hashes differently each time), refuses tensors that share memory and does not force its file to the disk.
"""

import json
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch

from moduformer.errors import CheckpointError
from moduformer.weights.replacing import Replacement, remove_quietly, replacing
from moduformer.weights.safetensors_file import DTYPES, MAX_HEADER_BYTES
from moduformer.weights.shards import index_json, indexed_files
from moduformer.weights.tensor_file import quoted

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"

_CODES = {dtype: code for code, dtype in DTYPES.items()}

Shard = dict[str, torch.Tensor]


def save_tensors(
    folder: Path,
    tensors: Mapping[str, torch.Tensor],
    metadata: Mapping[str, str] | None = None,
    shard_bytes: int = 5 * 1000**3,
) -> list[Path]:
    """Save tensors as `model.safetensors`, or as shards with an index, replacing the folder's checkpoint in one step.

    The same tensors in the same order give the same bytes. Tensors that share memory are each written in full.

    Args:
        folder: made if it is absent; nothing else may be saving to it.
        tensors: names and values, on any device and with any strides.
        metadata: text to add to the files' own `{"format": "pt"}`.
        shard_bytes: the most bytes of tensors in one file; a larger single tensor gets a file of its own.

    Returns:
        The files written; of a sharded checkpoint the index comes last.

    Raises:
        CheckpointError: the disk is too small (the message states the bytes needed) or fails, or a tensor cannot be
            stored. The previous checkpoint is then still there, unchanged, and nothing is left of the new one.
    """
    folder = Path(folder)
    shards = _plan(tensors, shard_bytes)
    headers = [_header(shard, {"format": "pt", **(metadata or {})}) for shard in shards]
    total = sum(tensor.nbytes for tensor in tensors.values())
    outdated = _superseded(folder)
    with replacing(folder, sum(map(len, headers)) + total) as replacement:
        staged = [replacement.write(_chunks(header, shard)) for header, shard in zip(headers, shards)]
        if len(shards) == 1:
            # Readers look for this name before they look for an index: with this one rename the new one is found.
            written = [folder / SINGLE]
            replacement.put(staged[0], folder / SINGLE)
        else:
            written = _put_shards(replacement, staged, shards, total)
    remove_quietly(set(outdated) - set(written))
    return written


def _plan(tensors: Mapping[str, torch.Tensor], shard_bytes: int) -> list[Shard]:
    """Fill shard after shard in the given order."""
    if not tensors:
        raise CheckpointError("there are no tensors to save; give at least one.")
    shards: list[Shard] = []
    room = -1
    for name, tensor in tensors.items():
        if not isinstance(name, str) or name == "__metadata__":
            raise CheckpointError(f"{quoted(name)} cannot name a tensor in safetensors; rename it.")
        if tensor.layout != torch.strided or tensor.is_meta or tensor.dtype not in _CODES:
            raise CheckpointError(
                f"tensor {quoted(name)} ({tensor.dtype}, {tensor.layout}, on {tensor.device}) cannot be stored in "
                "safetensors; make it a dense tensor with values, of a type the format has."
            )
        room -= tensor.nbytes
        if room < 0:
            shards.append({})
            room = shard_bytes - tensor.nbytes
        shards[-1][name] = tensor
    return shards


def _layout(shard: Shard) -> list[str]:
    """The order of the tensors' bytes: wide types first, which aligns every tensor to its own element size."""
    return sorted(shard, key=lambda name: -shard[name].dtype.itemsize)


def _header(shard: Shard, metadata: Mapping[str, str]) -> bytes:
    """A file's bytes before its first tensor."""
    if not all(isinstance(text, str) for pair in metadata.items() for text in pair):
        raise CheckpointError("metadata must map text to text; turn its numbers into strings.")
    entries: dict[str, object] = {"__metadata__": dict(metadata), **dict.fromkeys(shard)}
    begin = 0
    for name in _layout(shard):
        tensor = shard[name]
        end = begin + tensor.nbytes
        entries[name] = {"dtype": _CODES[tensor.dtype], "shape": [*tensor.shape], "data_offsets": [begin, end]}
        begin = end
    try:
        header = json.dumps(entries, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
    except UnicodeEncodeError as error:
        raise CheckpointError(f"a tensor's name or the metadata is not valid Unicode: {error}.") from error
    header += b" " * (-len(header) % 8)
    if len(header) > MAX_HEADER_BYTES:
        raise CheckpointError(f"a header of {len(header)} bytes exceeds the format; use a smaller shard_bytes.")
    return len(header).to_bytes(8, "little") + header


def _chunks(header: bytes, shard: Shard) -> Iterator[memoryview]:
    """A file's bytes; only a tensor that is elsewhere or not contiguous is copied, one at a time."""
    yield memoryview(header)
    for name in _layout(shard):
        plain = shard[name].detach().resolve_conj().resolve_neg().cpu()
        yield plain.reshape(-1).view(torch.uint8).numpy().data


def _put_shards(replacement: Replacement, staged: list[Path], shards: list[Shard], total: int) -> list[Path]:
    """Name the shards, then switch the index, then take away the single file that readers would prefer to it."""
    folder = replacement.folder
    written = _unused_names(folder, len(staged))
    for path, name in zip(staged, written):
        replacement.put(path, name)
    weight_map = {name: path.name for path, shard in zip(written, shards) for name in shard}
    index = replacement.write([memoryview(index_json(weight_map, total))])
    replacement.sync()
    replacement.put(index, folder / INDEX)
    if (folder / SINGLE).exists():
        replacement.sync()
        replacement.remove(folder / SINGLE)
    return [*written, folder / INDEX]


def _unused_names(folder: Path, count: int) -> list[Path]:
    """Shard names as `transformers` writes them; never the name of a file that the old index may still need."""
    stem = "model"
    while True:
        names = [folder / f"{stem}-{number:05d}-of-{count:05d}.safetensors" for number in range(1, count + 1)]
        if not any(name.exists() or name.is_symlink() for name in names):
            return names
        stem = f"model-{secrets.token_hex(4)}"


def _superseded(folder: Path) -> list[Path]:
    """The folder's index and the shards it names, which a new checkpoint makes useless."""
    index = folder / INDEX
    if not index.is_file():
        return []
    try:
        # An index could name other files of the user's, so only what looks like a shard is ever deleted.
        return [index, *(path for path in indexed_files(index) if path.suffix == ".safetensors")]
    except CheckpointError:
        return [index]
