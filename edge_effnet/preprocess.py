"""Preprocessing from a photo to the network's input, shared by calibration, evaluation and apps.

Pixels are uint8 RGB [height, width, 3]. Pillow resizes in integer arithmetic. The result is
therefore the same on every machine and equals the preprocessing of torchvision and timm. This
module resizes the axes one by one, because their order differs between releases of Pillow.
Interpolations named ``keras-*`` resize without antialiasing to float32 (`keras_resizing`).
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Union, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from edge_effnet import keras_resizing, reading
from edge_effnet.crop_window import Window, bordered, central
from edge_effnet.errors import ImageError, UsageError, reason
from edge_effnet.photo_files import check_cost, check_decodable, open_image, taking_turns

#: Image types that `load_image` accepts.
ImageLike = Union[str, "os.PathLike[str]", Image.Image, NDArray[np.uint8]]

#: Pixels of an input: uint8, or float32 in pixel units with an interpolation of Keras.
Pixels = NDArray[Union[np.uint8, np.float32]]
Interpolation = Literal[
    "bilinear", "bicubic", "nearest", "keras-bilinear", "keras-bicubic", "keras-nearest"
]
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
_BLOCK = 1 << 18  # pixels of a transparent or 16-bit photo that are converted at a time
#: Radius of each filter in output pixels when downscaling (Pillow's Resample.c).
_SUPPORT = {"bilinear": 1.0, "bicubic": 2.0}
#: ImageNet's mean and standard deviation in pixel units 0..255. torchvision and timm use 0..1:
#: 0.485, 0.456, 0.406 and 0.229, 0.224, 0.225.
IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)
#: Mean and standard deviation of Inception's preprocessing; it gives inputs in -1..1.
HALVES = (127.5, 127.5, 127.5)


@dataclass(frozen=True)
class Preprocess:
    """Preprocessing of a photo for the network.

    Attributes:
        size: Side of the input in pixels.
        crop: Fraction of the photo's side that the input covers, 0 < crop <= 1. It refers to the
            short side (center), to each side (squash), or to the long side (border).
        interpolation: Pillow's resize filter, which antialiases; with ``keras-``, the filter of
            Keras's Resizing layer without antialiasing.
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
        """Crop and resize a photo, rounded to 8 bits.

        Args:
            image: A path, a Pillow image, or a uint8 RGB array [height, width, 3].

        Returns:
            uint8 RGB [size, size, 3].

        Raises:
            ImageError: The image cannot be read.
        """
        return rounded(self.exact_pixels(image))

    def exact_pixels(self, image: ImageLike) -> Pixels:
        """As `pixels`, but float32 that is not rounded with an interpolation of Keras."""
        if isinstance(image, (str, os.PathLike)):
            with decoded(Path(image)) as picture:
                return self._exact_pixels(picture)
        photo = _checked(image) if isinstance(image, np.ndarray) else load_image(image)
        return self._exact_pixels(photo)

    def _exact_pixels(self, photo: Image.Image | NDArray[np.uint8]) -> Pixels:
        height, width = photo.shape[:2] if isinstance(photo, np.ndarray) else photo.size[::-1]
        if self.resize_first:
            return self._cut_after_resizing(_cut(photo, (0, 0, width, height)))
        window = self.window(width, height)
        if self.keras_filter is not None:
            left, top = window.left, window.top
            part = _cut(photo, (left, top, left + window.width, top + window.height))
            return self._resized_as_keras(part, window.columns, window.rows, (window.x, window.y))
        x, y, *_ = box = self.read_part(window, width, height)
        picture = _cut(photo, box)  # saves converting and resizing the rest
        resized = (window.columns, window.rows)
        if (window.width, window.height) != resized or picture.size != resized:
            picture = self._resized(picture, window, window.left - x, window.top - y)
        if resized != (self.size, self.size):
            canvas = Image.new("RGB", (self.size, self.size), self.border_colour)
            canvas.paste(picture, (window.x, window.y))
            picture = canvas
        return np.asarray(picture, dtype=np.uint8)

    @property
    def keras_filter(self) -> str | None:
        """The filter of an interpolation of Keras; None for Pillow's filters."""
        prefix, _, name = self.interpolation.partition("-")
        return name if prefix == "keras" else None

    def _resized_as_keras(
        self, photo: Image.Image, columns: int, rows: int, offsets: tuple[int, int]
    ) -> NDArray[np.float32]:
        """The photo resized without antialiasing and placed in the input at ``offsets`` (x, y)."""
        picture = np.asarray(photo, np.uint8)
        resized = keras_resizing.resize(picture, columns, rows, self.keras_filter or "")
        if resized.shape[:2] == (self.size, self.size):
            return resized
        canvas = np.empty((self.size, self.size, 3), np.float32)
        canvas[:] = self.border_colour
        x, y = offsets
        shown = resized[max(-y, 0) : self.size - y, max(-x, 0) : self.size - x]
        top, left = max(y, 0), max(x, 0)
        canvas[top : top + shown.shape[0], left : left + shown.shape[1]] = shown
        return canvas

    def _cut_after_resizing(self, photo: Image.Image) -> Pixels:
        """Resize the whole photo, then cut or pad it to the input, as timm does.

        Source: transforms_imagenet_eval in timm/data/transforms_factory.py, with torchvision's
        Resize and CenterCrop. If the height shrinks by more than twice as many pixels as the width,
        the vertical pass comes first, as in Pillow 13 (Resample.c).
        """
        columns, rows = self._resized_sides(photo.width, photo.height)
        keras = self.keras_filter is not None
        offsets = (_offset(columns, self.size, keras), _offset(rows, self.size, keras))
        if keras:
            return self._resized_as_keras(photo, columns, rows, offsets)
        middle = (columns, photo.height)
        fewer = photo.height - rows
        if fewer > 0 and fewer > 2 * (photo.width - columns):
            middle = (photo.width, rows)
        method = _RESAMPLING[self.interpolation]
        if self.interpolation != "nearest":
            photo = photo.resize(middle, method)
        canvas = Image.new("RGB", (self.size, self.size), self.border_colour)
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

    def read_part(self, window: Window, width: int, height: int) -> tuple[int, int, int, int]:
        """The part of a photo that resizing ``window`` reads: left, top, right, bottom."""
        beside_x = self._reach(window.width, window.columns, max(width, height))
        beside_y = self._reach(window.height, window.rows, max(width, height))
        right = min(window.left + window.width + beside_x, width)
        bottom = min(window.top + window.height + beside_y, height)
        return max(window.left - beside_x, 0), max(window.top - beside_y, 0), right, bottom

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
        size, keras = self.size, self.keras_filter is not None
        if self.crop_mode == "center":
            side = max(1, int(min(width, height) * self.crop))  # rounds like TensorFlow
            across, down = (central(length, side, size, keras) for length in (width, height))
        elif self.crop_mode == "squash":
            across, down = (
                central(length, max(1, int(length * self.crop)), size, keras)
                for length in (width, height)
            )
        else:
            side = max(1, int(max(width, height) * self.crop))
            across, down = (bordered(length, side, size, keras) for length in (width, height))
        (left, columns, to_columns, x), (top, rows, to_rows, y) = across, down
        return Window(left, top, columns, rows, to_columns, to_rows, x, y)

    def normalise(self, pixels: Pixels) -> NDArray[np.float32]:
        """Normalise pixels: (pixel - mean) / std.

        Args:
            pixels: uint8 RGB [..., 3], or float32 in pixel units.

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


def _offset(resized: int, size: int, keras: bool = False) -> int:
    """Offset of a resized photo in the input along one axis; negative where the photo is cut."""
    if resized < size:
        return (size - resized) // 2
    return -((resized - size) // 2) if keras else -round((resized - size) / 2)


def rounded(pixels: Pixels) -> NDArray[np.uint8]:
    """Pixels rounded to 8 bits, halves to even numbers."""
    if pixels.dtype == np.uint8:
        return np.asarray(pixels, np.uint8)
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)


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
        return _to_rgb(ImageOps.exif_transpose(image))
    with decoded(Path(image)) as picture:
        return picture


@contextmanager
def decoded(path: Path) -> Iterator[Image.Image]:
    """Context with the photo in ``path`` as `load_image` returns it; large photos take turns."""
    with ExitStack() as turn:
        yield _decoded(path, turn)


def _decoded(path: Path, turn: ExitStack) -> Image.Image:
    check_decodable(path)
    try:
        reading.check_regular(path)
        with open_image(path) as opened:
            check_cost(opened, path)
            turn.enter_context(taking_turns(opened.width * opened.height))
            ImageOps.exif_transpose(opened, in_place=True)
            return _to_rgb(opened)
    except FileNotFoundError:
        raise ImageError(f"there is no image {path}; check the path") from None
    except IsADirectoryError:
        raise ImageError(f"{path} is a folder, not an image; give a photo in it") from None
    except UnidentifiedImageError:
        raise ImageError(f"{path} is not an image that Pillow can decode") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ImageError(f"{path} is too large to decode safely; scale it down first") from None
    except ImageError:
        raise
    except Exception as error:  # Pillow's decoders have no common error
        raise ImageError(f"{path} is broken: {reason(error) or type(error).__name__}") from error


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


def _to_rgb(upright: Image.Image) -> Image.Image:
    if upright.mode in ("I;16", "I;16B", "I;16L", "I;16N", "I", "F"):
        return _narrow(upright).convert("RGB")
    if upright.mode in ("RGBA", "LA", "PA") or "transparency" in upright.info:
        return _on_white(upright)
    if upright.mode == "RGB":
        upright.load()  # no copy: a photo of 89 M pixels takes 0.36 GB
        return upright
    return upright.convert("RGB")


def _on_white(image: Image.Image) -> Image.Image:
    """Transparent pixels blended with white, a few rows at a time: a photo has 89 M pixels."""
    blended = Image.new("RGB", image.size)
    rows = max(1, _BLOCK // max(1, image.width))
    for top in range(0, image.height, rows):
        part = image.crop((0, top, image.width, min(top + rows, image.height))).convert("RGBA")
        white = Image.new("RGBA", part.size, (255, 255, 255, 255))
        blended.paste(Image.alpha_composite(white, part).convert("RGB"), (0, top))
    return blended


def _narrow(image: Image.Image) -> Image.Image:
    """16-bit or float greyscale scaled to 8 bits, because Pillow would clip values above 255."""
    values = np.asarray(image)
    if image.mode == "F":
        scale = 255.0 if values.size and values.max() <= 1.0 else 1.0
    else:
        scale = 255.0 / 65535.0
    narrow = np.empty(values.shape, np.uint8)
    rows = max(1, _BLOCK // max(1, image.width))
    for top in range(0, len(values), rows):  # float64 copies of a few rows, not of the picture
        part = values[top : top + rows].astype(np.float64)
        scaled = np.rint(np.nan_to_num(part) * scale)
        narrow[top : top + rows] = np.clip(scaled, 0, 255).astype(np.uint8)
    return Image.fromarray(narrow)
