"""Reading safetensors, with every rule of the format checked before the first tensor.

Format: 8 bytes little-endian header length, a JSON header, the tensors' bytes. See
https://github.com/huggingface/safetensors#format. The reader of the `safetensors` library lets a name be given twice
(the last wins) and maps the file into memory, where a file that shrinks kills the process; hence this one.
"""

from pathlib import Path
from typing import Any

import torch

from moduformer.weights.bounded import BoundedFile
from moduformer.weights.strict_json import parse_object
from moduformer.weights.tensor_file import TensorFile, TensorInfo, quoted, read_tensor, tensor_bytes

MAX_HEADER_BYTES = 100_000_000

_TORCH_NAMES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2FNUZ": "float8_e5m2fnuz",
    "F8_E8M0": "float8_e8m0fnu",
    "C64": "complex64",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U64": "uint64",
    "U32": "uint32",
    "U16": "uint16",
    "U8": "uint8",
    "BOOL": "bool",
}
# Some of the 8-bit types exist only in newer versions of torch.
DTYPES: dict[str, torch.dtype] = {
    code: getattr(torch, name) for code, name in _TORCH_NAMES.items() if hasattr(torch, name)
}


class SafetensorsFile(TensorFile):
    """An open safetensors file whose header has been checked completely.

    Args:
        path: the file.

    Raises:
        CheckpointError: the file breaks a rule of the format; the message names the tensor.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = BoundedFile(path)
        try:
            header, self._data_start = _read_header(self._file)
            self.metadata = _take_metadata(header)
            self._infos, self._offsets = _check_entries(header, self._file.size - self._data_start)
        except ValueError as error:
            self._file.close()
            raise self._file.error(f"is not a valid safetensors file: {error}") from error
        except BaseException:
            self._file.close()
            raise

    def names(self) -> list[str]:
        return list(self._infos)

    def info(self, name: str) -> TensorInfo:
        if name not in self._infos:
            raise self.absent(name)
        return self._infos[name]

    def read(self, name: str) -> torch.Tensor:
        info = self.info(name)
        return read_tensor(self._file, self._data_start + self._offsets[name], info.dtype, info.shape)

    def close(self) -> None:
        self._file.close()


def _read_header(file: BoundedFile) -> tuple[dict[str, Any], int]:
    """The header, and where the tensors' bytes start."""
    if file.size < 8:
        raise ValueError(f"{file.size} bytes are too few for a header")
    prefix = bytearray(8)
    file.read_into(0, memoryview(prefix))
    length = int.from_bytes(prefix, "little")
    if length > min(MAX_HEADER_BYTES, file.size - 8):
        raise ValueError(
            f"it claims a header of {length} bytes, with {file.size - 8} bytes in the file and "
            f"{MAX_HEADER_BYTES} allowed"
        )
    text = bytearray(length)
    file.read_into(8, memoryview(text))
    if not text.startswith(b"{"):
        raise ValueError("its header does not start with '{'")
    return parse_object(bytes(text)), 8 + length


def _take_metadata(header: dict[str, Any]) -> dict[str, str]:
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError("__metadata__ is not a map from text to text")
    return metadata


def _check_entries(header: dict[str, Any], data_bytes: int) -> tuple[dict[str, TensorInfo], dict[str, int]]:
    """What each tensor is and where it begins, provided that together they cover `data_bytes` exactly once."""
    spans = []
    infos = {}
    for name, entry in header.items():
        infos[name], begin = _check_entry(name, entry)
        spans.append((begin, begin + infos[name].nbytes, name))
    covered = 0
    for begin, end, name in sorted(spans):
        if begin != covered:
            fault = "overlaps the one before it" if begin < covered else "leaves a hole before it"
            raise ValueError(f"tensor {quoted(name)} at byte {begin} of the data {fault}, which ends at {covered}")
        covered = end
    if covered != data_bytes:
        raise ValueError(f"its tensors take {covered} bytes but {data_bytes} follow the header")
    return infos, {name: begin for begin, _, name in spans}


def _check_entry(name: str, entry: Any) -> tuple[TensorInfo, int]:
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"tensor {quoted(name)} needs exactly dtype, shape and data_offsets")
    code, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(code, str) or code not in DTYPES:
        raise ValueError(f"tensor {quoted(name)} has the unknown dtype {quoted(code)}")
    if not isinstance(shape, list):
        raise ValueError(f"tensor {quoted(name)} has no list as its shape")
    try:
        nbytes = tensor_bytes(DTYPES[code], tuple(shape))
    except ValueError as error:
        raise ValueError(f"tensor {quoted(name)} has {error}") from error
    if (
        not isinstance(offsets, list)
        or len(offsets) != 2
        or any(type(at) is not int or not 0 <= at < 1 << 63 for at in offsets)
    ):
        raise ValueError(f"tensor {quoted(name)} needs two data_offsets from 0 up")
    if offsets[1] - offsets[0] != nbytes:
        raise ValueError(
            f"tensor {quoted(name)} occupies {offsets[1] - offsets[0]} bytes, its shape and dtype make {nbytes}"
        )
    return TensorInfo(name, DTYPES[code], tuple(shape), nbytes), offsets[0]
