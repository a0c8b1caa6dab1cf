"""Photos of the demos: the colour pictures in scikit-image and scikit-learn, and crops of them."""

from __future__ import annotations

import importlib.util
import zlib
from pathlib import Path

import numpy as np

from edge_effnet import installation
from edge_effnet.errors import MissingExtra
from edge_effnet.files import replacing
from edge_effnet.preprocess import load_image

#: Colour photos in the wheels, by package and folder.
PHOTOS = {
    "skimage": (
        "data",
        (
            "astronaut.png",
            "chelsea.png",
            "coffee.png",
            "motorcycle_left.png",
            "motorcycle_right.png",
            "rocket.jpg",
        ),
    ),
    "sklearn": ("datasets/images", ("china.jpg", "flower.jpg")),
}
_CROP_SIDE = 480  # largest side in pixels; the network's input is smaller


def photos() -> list[Path]:
    """Paths of the installed demo photos.

    Raises:
        MissingExtra: A package with photos is not installed.
    """
    installed = []
    for package, (folder, names) in PHOTOS.items():
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            raise MissingExtra(
                f"the demo's photos come with {package}, which is not installed: "
                f"{installation.pip_line('demo')}"
            )
        paths = [Path(spec.origin).parent / folder / name for name in names]
        installed += [path for path in paths if path.is_file()]
    return installed


def write_crops(
    picture: Path, folder: Path, count: int, smallest: float = 0.7, suffix: str = "png"
) -> None:
    """Write the photo, and seeded random crops of it.

    Args:
        picture: The photo.
        folder: Existing folder of the files ``NAME-0.png``, ``NAME-1.png``, ...
        count: Number of files; the first is the whole photo.
        smallest: Smallest side of a crop as a fraction of the photo's short side; the largest is 1.
        suffix: png or jpg.

    Raises:
        ImageError: The photo cannot be read.
        OutputError: A file cannot be written.
    """
    image = load_image(picture)
    rng = np.random.default_rng(zlib.crc32(picture.name.encode()))
    for number in range(count):
        crop = image
        if number:
            side = int(min(image.size) * rng.uniform(smallest, 1.0))
            left, top = (int(rng.integers(0, edge - side + 1)) for edge in image.size)
            crop = image.crop((left, top, left + side, top + side))
        crop.thumbnail((_CROP_SIDE, _CROP_SIDE))
        with replacing(folder / f"{picture.stem}-{number}.{suffix}") as temporary:
            crop.save(temporary, "png" if suffix == "png" else "jpeg", quality=90)
