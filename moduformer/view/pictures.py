"""Pictures: pixel values for a model, and what it saw as an address that a page can show."""

from __future__ import annotations

import base64
import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from moduformer.errors import DataError
from moduformer.images import CLIP_MEAN, CLIP_STD, ImageProcessor

if TYPE_CHECKING:
    from moduformer.model import Model


def pixels_of(model: Model, image: Any, processor: ImageProcessor | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Pixel values `[1, channels, height, width]` of a file, a Pillow image or an array that is made already; and what
    the model sees as bytes `[height, width, channels]`.

    Raises `DataError` for a picture that does not fit.
    """
    assert model.spec.vision is not None
    patches = model.spec.vision.patches
    wanted = (patches.channels, patches.image, patches.image)
    if hasattr(image, "detach"):
        image = image.detach().cpu().numpy()
    if isinstance(image, np.ndarray):
        pixels = image[None] if image.ndim == 3 else image
        if pixels.ndim != 4 or pixels.shape[0] != 1 or pixels.shape[1:] != wanted:
            raise DataError(f"pixel values must be {list(wanted)}, but are {list(image.shape)}")
        return pixels, _stretched(pixels[0])
    processor = processor or _resized(patches.image)
    pixels = processor(image)
    if pixels.shape[1:] != wanted:
        raise DataError(f"the picture became {list(pixels.shape[1:])}, but this model sees {list(wanted)}")
    return pixels, _restored(pixels[0], processor)


def processor_beside(source: str | Path) -> ImageProcessor | None:
    """How a checkpoint's folder says that its pictures are prepared; None where it does not."""
    from moduformer.sources.resolve import resolve

    folder = resolve(source).path
    return ImageProcessor.load(folder) if (folder / "preprocessor_config.json").is_file() else None


def _resized(side: int) -> ImageProcessor:
    """A picture made this size whatever its shape, with CLIP's mean: for a model whose files say nothing else."""
    return ImageProcessor((side, side), None, 3, 1 / 255, CLIP_MEAN, CLIP_STD)


def _restored(pixels: np.ndarray, processor: ImageProcessor) -> np.ndarray:
    values = pixels.astype(np.float64)
    if processor.mean is not None and processor.std is not None:
        values = values * np.array(processor.std)[:, None, None] + np.array(processor.mean)[:, None, None]
    values = values * 255 if processor.scale is not None else values
    return np.clip(np.rint(values), 0, 255).astype(np.uint8).transpose(1, 2, 0)


def _stretched(pixels: np.ndarray) -> np.ndarray:
    """Values of any range as bytes, the smallest black and the largest white."""
    low, high = float(pixels.min()), float(pixels.max())
    values = (pixels - low) / (high - low) if high > low else np.zeros_like(pixels)
    return np.rint(values * 255).astype(np.uint8).transpose(1, 2, 0)


def png_address(pixels: np.ndarray) -> str:
    """Bytes `[height, width, 1 or 3]` as a `data:image/png` address (ISO/IEC 15948)."""
    if pixels.shape[2] not in (1, 3):
        pixels = pixels[:, :, :1]
    height, width, channels = pixels.shape
    lines = np.concatenate([np.zeros((height, 1), np.uint8), pixels.reshape(height, -1)], axis=1)
    header = struct.pack(">IIBBBBB", width, height, 8, 2 if channels == 3 else 0, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(lines.tobytes(), 9)), (b"IEND", b""))
    data = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        for name, content in parts
    )
    return "data:image/png;base64," + base64.b64encode(data).decode()
