"""Pictures to pixel values, as a checkpoint's preprocessor_config.json says: resize, crop, scale, normalise.

Needs Pillow (`pip install moduformer[vision]`), which also reads the picture files.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from moduformer.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_SIDE = 8192
"""No published model looks at larger pictures; a config that asks for more is damage or an attack."""

MAX_PIXELS = 2**27
"""A picture of more pixels is refused before it is decoded."""

MAX_CONFIG_BYTES = 2**20

CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
CLIP: dict[str, Any] = {"resample": 3, "image_mean": CLIP_MEAN, "image_std": CLIP_STD, "do_convert_rgb": True}
DEFAULTS: dict[str, dict[str, Any]] = {
    "ViT": {"size": 224, "resample": 2, "image_mean": (0.5,) * 3, "image_std": (0.5,) * 3},
    "CLIP": {**CLIP, "size": {"shortest_edge": 224}, "do_center_crop": True, "crop_size": 224},
    "Blip": {**CLIP, "size": 384},
}
"""What the processors of transformers assume where a config does not say, by the beginning of their names."""


@dataclass(frozen=True)
class ImageProcessor:
    """What is done to a picture, in this order.

    `size` is `(height, width)`, or one number for the shorter side; `crop` `(height, width)` cuts the middle out;
    `resample` is Pillow's number of a filter; pixels are multiplied by `scale`, then `(x - mean) / std` a channel.
    """

    size: tuple[int, int] | int | None
    crop: tuple[int, int] | None
    resample: int
    scale: float | None
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    rgb: bool = True

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> ImageProcessor:
        """The processor that a preprocessor_config.json describes. Raises `DataError` for what it cannot do."""
        kind = str(config.get("image_processor_type") or config.get("feature_extractor_type") or "CLIP")
        known = next((name for name in DEFAULTS if kind.startswith(name)), None)
        if known is None:
            raise DataError(f"preprocessor_config.json: {kind!r:.80} is not supported; known: {', '.join(DEFAULTS)}")
        given = {**DEFAULTS[known], **{name: value for name, value in config.items() if value is not None}}
        if given.get("do_pad"):
            raise DataError("preprocessor_config.json: do_pad is not supported; pad the pictures first")
        normalise = given.get("do_normalize", True)
        try:
            return cls(
                size=_size(given["size"], "size") if given.get("do_resize", True) else None,
                crop=_pair(given["crop_size"]) if given.get("do_center_crop", False) else None,
                resample=_filter(given["resample"]),
                scale=float(given.get("rescale_factor", 1 / 255)) if given.get("do_rescale", True) else None,
                mean=_channels(given["image_mean"]) if normalise else None,
                std=_channels(given["image_std"]) if normalise else None,
                rgb=bool(given.get("do_convert_rgb", False)),
            )
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise DataError(f"preprocessor_config.json does not say how to prepare a picture: {error}") from None

    @classmethod
    def load(cls, folder: str | Path) -> ImageProcessor:
        """The processor of a checkpoint's folder. Raises `DataError` where its file is absent or damaged."""
        path = Path(folder) / "preprocessor_config.json"
        try:
            if path.stat().st_size > MAX_CONFIG_BYTES:
                raise DataError(f"{path} has {path.stat().st_size:,} bytes, which no such config has")
            config = json.loads(path.read_bytes())
        except FileNotFoundError:
            raise DataError(f"{path} is not there; it says how pictures are prepared for this model") from None
        except (OSError, ValueError, RecursionError) as error:
            raise DataError(f"{path}: {error}") from None
        if not isinstance(config, dict):
            raise DataError(f"{path} must hold one JSON object")
        return cls.from_config(config)

    def __call__(self, pictures: Sequence[Image | str | Path] | Image | str | Path) -> np.ndarray:
        """Pixel values `[pictures, channels, height, width]`, float32, of Pillow images or of files.

        Raises `DataError` naming a picture that cannot be read, or one whose size differs from the others'.
        """
        items = [pictures] if not isinstance(pictures, Sequence) or isinstance(pictures, str) else pictures
        made = [self._prepare(_open(item)) for item in items]
        if len({array.shape for array in made}) != 1:
            raise DataError(f"pictures of different sizes {[array.shape for array in made]} make no batch; set a size")
        return np.stack(made)

    def _prepare(self, image: Image) -> np.ndarray:
        from PIL.Image import Resampling

        if self.rgb and image.mode != "RGB":
            image = image.convert("RGB")
        if self.size is not None:
            height, width = self.size if isinstance(self.size, tuple) else _shortest(image, self.size)
            image = image.resize((width, height), Resampling(self.resample))
        pixels = np.asarray(image)
        pixels = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
        if self.crop is not None:
            pixels = _middle(pixels, *self.crop)
        values = pixels.astype(np.float64)
        if self.scale is not None:
            values = values * self.scale
        if self.mean is not None and self.std is not None:
            if len(values) != len(self.mean):
                raise DataError(f"a picture has {len(values)} channels, but the model's mean has {len(self.mean)}")
            values = (values - np.array(self.mean)[:, None, None]) / np.array(self.std)[:, None, None]
        return values.astype(np.float32)


def _open(item: Image | str | Path) -> Image:
    try:
        from PIL import Image as pillow
    except ModuleNotFoundError:
        raise DataError("pictures need Pillow: pip install moduformer[vision]") from None
    if isinstance(item, pillow.Image):
        return item
    try:
        image = pillow.open(item)
        if image.width * image.height > MAX_PIXELS:
            raise DataError(f"{item} has {image.width:,} x {image.height:,} pixels, more than are read")
        image.load()
    except (OSError, ValueError, SyntaxError, pillow.DecompressionBombError) as error:
        raise DataError(f"{item} cannot be read as a picture: {error}") from None
    return image


def _shortest(image: Image, edge: int) -> tuple[int, int]:
    short, long = sorted((image.width, image.height))
    longer = int(edge * long / short)
    if longer > MAX_SIDE:
        raise DataError(f"a picture of {image.width} x {image.height} pixels is too narrow to be made {edge} wide")
    return (longer, edge) if image.width <= image.height else (edge, longer)


def _middle(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """The middle `[channels, height, width]`, with zeros around a picture that is smaller."""
    have = pixels.shape[1:]
    out = np.zeros((len(pixels), height, width), pixels.dtype)
    # Where the picture is smaller its place is rounded up, where it is larger the cut is rounded down.
    into = [max(-(-(wanted - size) // 2), 0) for wanted, size in zip((height, width), have)]
    of = [max((size - wanted) // 2, 0) for wanted, size in zip((height, width), have)]
    rows, columns = min(height, have[0]), min(width, have[1])
    kept = pixels[:, of[0] : of[0] + rows, of[1] : of[1] + columns]
    out[:, into[0] : into[0] + rows, into[1] : into[1] + columns] = kept
    return out


def _size(value: Any, name: str) -> tuple[int, int] | int:
    if isinstance(value, Mapping) and "shortest_edge" in value:
        if set(value) - {"shortest_edge"}:
            raise DataError(f"preprocessor_config.json: {name} {dict(value)!r:.120} is not supported")
        return _side(value["shortest_edge"])
    return _pair(value)


def _pair(value: Any) -> tuple[int, int]:
    if isinstance(value, Mapping):
        return _side(value["height"]), _side(value["width"])
    return _side(value), _side(value)


def _side(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= MAX_SIDE:
        raise DataError(f"preprocessor_config.json: a side of {value!r:.80} pixels is not between 1 and {MAX_SIDE}")
    return value


def _filter(value: Any) -> int:
    if not isinstance(value, int) or not 0 <= value <= 5:
        raise DataError(f"preprocessor_config.json: resample is {value!r:.80}, not one of Pillow's filters 0 to 5")
    return value


def _channels(value: Any) -> tuple[float, ...]:
    numbers = tuple(float(number) for number in value)
    if not 0 < len(numbers) <= 4 or not all(np.isfinite(numbers)):
        raise DataError(f"preprocessor_config.json: {value!r:.120} must be one number a channel")
    return numbers
