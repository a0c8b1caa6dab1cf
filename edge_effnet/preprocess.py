"""Preprocessing from a photo to the network's input, shared by calibration, evaluation and apps.

Pixels are uint8 RGB [height, width, 3]. Pillow resizes in integer arithmetic. The result is
therefore the same on every machine and equals the preprocessing of torchvision and timm. This
module resizes the axes one by one, because their order differs between releases of Pillow.
"""

from __future__ import annotations

import math
import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Union, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from edge_effnet.errors import ImageError, UsageError
from edge_effnet.photo_files import check_decodable

#: Image types that `load_image` accepts.
ImageLike = Union[str, "os.PathLike[str]", Image.Image, NDArray[np.uint8]]

Interpolation = Literal["bilinear", "bicubic", "nearest"]
INTERPOLATIONS: tuple[Interpolation, ...] = get_args(Interpolation)
CropMode = Literal["center", "squash", "border"]
CROP_MODES: tuple[CropMode, ...] = get_args(CropMode)
_RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}
#: Largest side of an input in pixels; L2, the largest variant, has 800.
LARGEST_SIZE = 4096
#: Bounds of a mean and a standard deviation in pixel units; 255 is the largest pixel.
_LARGEST_PIXEL, _SMALLEST_STD = 1e6, 1e-6
_START_OF_SCAN = b"\xff\xda"  # JPEG's marker SOS (ITU-T T.81, table B.1)
_MOST_WIDE_PIXELS = 32_000_000  # with 32 bits; several copies are held while it is converted
_MOST_VISITS = 1_000_000_000  # of pixels; Pillow's limit of 89 million pixels, in 11 scans
#: Radius of each filter in output pixels when downscaling (Pillow's Resample.c).
_SUPPORT = {"bilinear": 1.0, "bicubic": 2.0}
#: ImageNet's mean and standard deviation in pixel units 0..255. torchvision and timm use 0..1:
#: 0.485, 0.456, 0.406 and 0.229, 0.224, 0.225.
IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)
#: Mean and standard deviation of Inception's preprocessing; it gives inputs in -1..1.
HALVES = (127.5, 127.5, 127.5)


@dataclass(frozen=True)
class Window:
    """Part of a photo that is resized, and its position in the network's input.

    Attributes:
        left: First column, in pixels of the photo.
        top: First row.
        width: Number of columns.
        height: Number of rows.
        columns: Width after resizing, in pixels of the network's input.
        rows: Height after resizing, in pixels of the network's input.
        x: First column within the input; columns outside the resized part are border.
        y: First row within the input.
    """

    left: int
    top: int
    width: int
    height: int
    columns: int
    rows: int
    x: int = 0
    y: int = 0


@dataclass(frozen=True)
class Preprocess:
    """Preprocessing of a photo for the network.

    Attributes:
        size: Side of the input in pixels.
        crop: Fraction of the photo's side that the input covers, 0 < crop <= 1. It refers to the
            short side (center), to each side (squash), or to the long side (border).
        interpolation: Pillow's resize filter.
        mean: Mean per RGB channel, in pixel units 0..255: input = (pixel - mean) / std.
        std: Standard deviation per RGB channel, in pixel units.
        crop_mode: ``center`` cuts the central square. ``squash`` resizes without keeping the
            aspect ratio. ``border`` shows the whole photo between borders of the mean colour
            (timm's ``crop_mode``, timm/data/transforms_factory.py).
        resize_first: Whether the whole photo is resized before the input is cut out of it, with
            timm's sizes and offsets. Default: the crop is cut out of the photo and resized.
    """

    size: int
    crop: float
    interpolation: Interpolation = "bicubic"
    mean: tuple[float, float, float] = (127.0, 127.0, 127.0)
    std: tuple[float, float, float] = (128.0, 128.0, 128.0)
    crop_mode: CropMode = "center"
    resize_first: bool = False

    def __post_init__(self) -> None:
        """Raise `UsageError` for values that no photo can be preprocessed with."""
        if not 1 <= self.size <= LARGEST_SIZE:
            raise UsageError(f"the input's side is {self.size} pixels, not 1 to {LARGEST_SIZE:,}")
        if not 0 < self.crop <= 1:
            raise UsageError(f"the crop is {self.crop}, not above 0 and at most 1")
        if not all(abs(value) <= _LARGEST_PIXEL for value in self.mean):
            raise UsageError(f"the mean is {self.mean}, not three numbers in pixel units")
        if not all(_SMALLEST_STD <= abs(value) <= _LARGEST_PIXEL for value in self.std):
            raise UsageError(f"the std is {self.std}, not three numbers in pixel units, none 0")

    def pixels(self, image: ImageLike) -> NDArray[np.uint8]:
        """Crop and resize a photo.

        Args:
            image: A path, a Pillow image, or a uint8 RGB array [height, width, 3].

        Returns:
            uint8 RGB [size, size, 3].

        Raises:
            ImageError: The image cannot be read.
        """
        photo = _checked(image) if isinstance(image, np.ndarray) else load_image(image)
        height, width = photo.shape[:2] if isinstance(photo, np.ndarray) else photo.size[::-1]
        if self.resize_first:
            return self._cut_after_resizing(_cut(photo, (0, 0, width, height)))
        window = self.window(width, height)
        beside_x = self._reach(window.width, window.columns, max(width, height))
        beside_y = self._reach(window.height, window.rows, max(width, height))
        x, y = max(window.left - beside_x, 0), max(window.top - beside_y, 0)
        right = min(window.left + window.width + beside_x, width)
        bottom = min(window.top + window.height + beside_y, height)
        picture = _cut(photo, (x, y, right, bottom))  # saves converting and resizing the rest
        resized = (window.columns, window.rows)
        if (window.width, window.height) != resized or picture.size != resized:
            picture = self._resized(picture, window, window.left - x, window.top - y)
        if resized != (self.size, self.size):
            canvas = Image.new("RGB", (self.size, self.size), self.border_colour)
            canvas.paste(picture, (window.x, window.y))
            picture = canvas
        return np.asarray(picture, dtype=np.uint8)

    def _cut_after_resizing(self, photo: Image.Image) -> NDArray[np.uint8]:
        """Resize the whole photo, then cut or pad it to the input, as timm does.

        Source: transforms_imagenet_eval in timm/data/transforms_factory.py, with torchvision's
        Resize and CenterCrop. If the height shrinks by more than twice as many pixels as the width,
        the vertical pass comes first, as in Pillow 13 (Resample.c).
        """
        columns, rows = self._resized_sides(photo.width, photo.height)
        middle = (columns, photo.height)
        fewer = photo.height - rows
        if fewer > 0 and fewer > 2 * (photo.width - columns):
            middle = (photo.width, rows)
        method = _RESAMPLING[self.interpolation]
        if self.interpolation != "nearest":
            photo = photo.resize(middle, method)
        canvas = Image.new("RGB", (self.size, self.size), self.border_colour)
        offsets = (_offset(columns, self.size), _offset(rows, self.size))
        canvas.paste(photo.resize((columns, rows), method), offsets)
        return np.asarray(canvas, dtype=np.uint8)

    def _resized_sides(self, width: int, height: int) -> tuple[int, int]:
        """Width and height to which ``resize_first`` resizes a photo, in pixels."""
        side = math.floor(self.size / self.crop)
        if self.crop_mode == "squash":
            return side, side
        if self.crop_mode == "border":
            ratio = max(width / side, height / side)
            return max(1, round(width / ratio)), max(1, round(height / ratio))
        short = min(width, height)
        return int(side * width / short), int(side * height / short)

    @property
    def border_colour(self) -> tuple[int, int, int]:
        """Colour of the border in the crop mode ``border``: the mean, rounded, RGB."""
        red, green, blue = (min(max(round(value), 0), 255) for value in self.mean)
        return red, green, blue

    def _reach(self, side: int, size: int, everything: int) -> int:
        """Number of pixels on each side of a crop that resizing the crop also reads, rounded up.

        The crop has ``side`` pixels before and ``size`` pixels after resizing. For ``nearest`` the
        result is ``everything``, because its rounding depends on the position in the whole photo.
        """
        if self.interpolation == "nearest":
            return everything
        return math.ceil(_SUPPORT[self.interpolation] * max(1.0, side / size)) + 1

    def _resized(self, picture: Image.Image, window: Window, left: int, top: int) -> Image.Image:
        """Resize horizontally, then vertically; Pillow 13's own order gives other bytes."""
        method = _RESAMPLING[self.interpolation]
        right, bottom = left + window.width, top + window.height
        if self.interpolation != "nearest":
            box = (left, 0, right, picture.height)
            picture = picture.resize((window.columns, picture.height), method, box)
            left, right = 0, window.columns
        return picture.resize((window.columns, window.rows), method, (left, top, right, bottom))

    def window(self, width: int, height: int) -> Window:
        """The part of a photo that is resized, and its position in the input.

        With ``resize_first``, this is the part that the input shows, within a pixel.

        Args:
            width: Width of the photo in pixels.
            height: Height of the photo in pixels.
        """
        if self.crop_mode == "center":
            side = max(1, int(min(width, height) * self.crop))  # rounds like TensorFlow
            across, down = _central(width, side, self.size), _central(height, side, self.size)
        elif self.crop_mode == "squash":
            across, down = (
                _central(length, max(1, int(length * self.crop)), self.size)
                for length in (width, height)
            )
        else:
            side = max(1, int(max(width, height) * self.crop))
            across, down = _bordered(width, side, self.size), _bordered(height, side, self.size)
        (left, columns, to_columns, x), (top, rows, to_rows, y) = across, down
        return Window(left, top, columns, rows, to_columns, to_rows, x, y)

    def normalise(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Normalise pixels: (pixel - mean) / std.

        Args:
            pixels: uint8 RGB [..., 3].

        Returns:
            float32 of the same shape.
        """
        mean, std = (np.asarray(values, np.float32) for values in (self.mean, self.std))
        return (pixels.astype(np.float32) - mean) / std

    def denormalise(self, values: NDArray[np.float32]) -> NDArray[np.uint8]:
        """The inverse of `normalise`.

        Args:
            values: float32 [..., 3].

        Returns:
            uint8 of the same shape, rounded to the nearest pixel value.
        """
        mean, std = (np.asarray(value, np.float32) for value in (self.mean, self.std))
        pixels = values * std + mean
        return np.asarray(np.clip(np.rint(pixels), 0, 255), np.uint8)


def _central(length: int, span: int, size: int) -> tuple[int, int, int, int]:
    """One axis of a `Window` for a centre crop.

    The crop is the central ``span`` of the photo's ``length`` pixels; resized, it fills the input's
    ``size`` pixels.

    Returns:
        First pixel and number of pixels in the photo, their number after resizing, and their offset
        in the input.
    """
    return (length - span + 1) // 2, span, size, 0


def _bordered(length: int, side: int, size: int) -> tuple[int, int, int, int]:
    """As `_central`, for the crop mode ``border``: the input covers ``side`` pixels.

    If the photo has fewer pixels along this axis (``length``), the rest of the input is border.
    """
    if length >= side:
        return _central(length, side, size)
    resized = min(size, max(1, round(length * size / side)))
    return 0, length, resized, (size - resized) // 2


def _offset(resized: int, size: int) -> int:
    """Offset of a resized photo in the input along one axis; negative where the photo is cut."""
    return (size - resized) // 2 if resized < size else -round((resized - size) / 2)


def tensorflow_crop(size: int) -> float:
    """TensorFlow's evaluation crop (CROP_PADDING): ``size / (size + 32)`` of the short side."""
    return size / (size + 32)


def load_image(image: ImageLike) -> Image.Image:
    """A supported image as an upright RGB Pillow image.

    Greyscale, 16-bit, palette and CMYK pictures are converted to RGB. Transparent pixels are
    blended with white. The first frame of an animation is used. The EXIF orientation is applied.
    Arrays must be uint8 RGB [height, width, 3].

    Raises:
        ImageError: The image has an unsupported type, or cannot be read.
    """
    if isinstance(image, np.ndarray):
        return Image.fromarray(np.ascontiguousarray(_checked(image)))
    if isinstance(image, Image.Image):
        return _to_rgb(image)
    path = Path(image)
    check_decodable(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as opened:
                _check_cost(opened, path)
                return _to_rgb(opened)
    except FileNotFoundError:
        raise ImageError(f"there is no image {path}") from None
    except IsADirectoryError:
        raise ImageError(f"{path} is a folder, not an image") from None
    except UnidentifiedImageError:
        raise ImageError(f"{path} is not an image that Pillow can decode") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ImageError(f"{path} is too large to decode safely; scale it down first") from None
    except ImageError:
        raise
    except Exception as error:  # Pillow's decoders have no common error
        raise ImageError(f"{path} is broken: {error or type(error).__name__}") from error


def _checked(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise ImageError(
            f"an array must be uint8 with shape [height, width, 3] in RGB order, not "
            f"{image.dtype} {list(image.shape)}"
        )
    return image


def _cut(image: Image.Image | NDArray[np.uint8], window: tuple[int, int, int, int]) -> Image.Image:
    """The part of the image in ``window``: left, top, right, bottom."""
    if isinstance(image, Image.Image):
        return image.crop(window)
    left, top, right, bottom = window
    return Image.fromarray(np.ascontiguousarray(image[top:bottom, left:right]))


def _to_rgb(image: Image.Image) -> Image.Image:
    upright = ImageOps.exif_transpose(image)
    if upright.mode in ("I;16", "I;16B", "I;16L", "I;16N", "I", "F"):
        return _narrow(upright).convert("RGB")
    if upright.mode in ("RGBA", "LA", "PA") or "transparency" in upright.info:
        layered = upright.convert("RGBA")
        white = Image.new("RGBA", layered.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, layered).convert("RGB")
    return upright.convert("RGB")


def _narrow(image: Image.Image) -> Image.Image:
    """16-bit or float greyscale scaled to 8 bits, because Pillow would clip values above 255."""
    values = np.asarray(image)
    if image.mode == "F":
        scale = 255.0 if values.size and values.max() <= 1.0 else 1.0
    else:
        scale = 255.0 / 65535.0
    narrow = np.empty(values.shape, np.uint8)
    for row in range(len(values)):  # float64 copies of one row, not of the picture
        scaled = np.rint(np.nan_to_num(values[row].astype(np.float64)) * scale)
        narrow[row] = np.clip(scaled, 0, 255).astype(np.uint8)
    return Image.fromarray(narrow)


def _check_cost(image: Image.Image, path: Path) -> None:
    """Raise `ImageError` for a photo that costs more time or memory than any camera's.

    Each scan of a progressive JPEG visits all pixels; a real file has about ten.
    """
    if image.mode in ("I", "F") and image.width * image.height > _MOST_WIDE_PIXELS:
        raise ImageError(f"{path} is too large to decode safely; save it with 8 bits per channel")
    if image.format not in ("JPEG", "MPO") or not image.info.get("progressive"):
        return
    scans = path.read_bytes().count(_START_OF_SCAN)
    if scans * image.width * image.height > _MOST_VISITS:
        raise ImageError(
            f"{path} is a JPEG of {scans:,} scans, which no camera writes; save it again"
        )
