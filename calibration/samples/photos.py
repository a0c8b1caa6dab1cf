"""Photos -> calibration samples: pixels as the network sees them, and a record of where from."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_effnet.card import MANIFEST_LIMIT, CalibrationRecord
from edge_effnet.errors import EdgeEffNetError, ImageError
from edge_effnet.preprocess import Preprocess, list_images, load_image

#: Fewer samples than this make activation ranges depend on single photos.
ENOUGH = 100
#: A sample whose pixel levels span less than this shows nothing.
_FLAT = 16
#: How far a crop may be zoomed when few photos are made into many samples.
_ZOOMS = (1.0, 0.8, 0.65)


@dataclass(frozen=True)
class Samples:
    """``pixels`` uint8 [n, size, size, 3]; ``skipped`` are (file, why) of photos left out.

    ``notes`` are sentences on what is odd about them.
    """

    pixels: NDArray[np.uint8]
    record: CalibrationRecord
    skipped: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a user should know of these samples, each a sentence."""
        found = [f"left out {file}: {why}" for file, why in self.skipped]
        found += self.notes
        count = len(self.pixels)
        if count < ENOUGH and self.record.photos:
            found.append(
                f"only {count} calibration samples: at least {ENOUGH} photos like those the model "
                "will see make the activation ranges dependable"
            )
        return tuple(found)


def read_samples(
    photos: str | os.PathLike[str] | Iterable[Path],
    preprocess: Preprocess,
    *,
    augment_to: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Samples:
    """Samples from a folder (read recursively) or from paths, in sorted order.

    Broken photos are named in ``skipped``. With ``augment_to``, crops and mirror images are added
    until there are that many samples. Raises `ImageError` if no photo can be used.
    """
    if isinstance(photos, (str, os.PathLike)):
        root = Path(photos)
        paths = list_images(root)
        names = [path.relative_to(root).as_posix() for path in paths]
    else:
        paths = list(photos)
        names = [path.name for path in paths]

    def read(path: Path) -> tuple[str, NDArray[np.uint8]] | EdgeEffNetError:
        try:
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            return digest, preprocess.pixels(path)
        except OSError as error:
            return ImageError(f"{path} cannot be read: {error.strerror}")
        except EdgeEffNetError as error:
            return error

    pixels, manifest, skipped, sound = [], [], [], []
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        for index, (name, result) in enumerate(zip(names, pool.map(read, paths), strict=True)):
            if isinstance(result, EdgeEffNetError):
                skipped.append((name, str(result)))
            else:
                manifest.append((name, result[0]))
                pixels.append(result[1])
                sound.append(paths[index])
            if progress is not None:
                progress(index + 1, len(paths))
        missing = augment_to - len(pixels)
        if sound and missing > 0:
            each = -(-missing // len(sound))
            more = pool.map(lambda path: _views(path, preprocess, each), sound)
            rounds = zip(*more, strict=True)  # so every photo gives its share
            pixels.extend([view for views in rounds for view in views][:missing])
    if not pixels:
        reasons = "; ".join(why for _, why in skipped[:3]) or "there are none"
        raise ImageError(f"none of the {len(paths)} calibration photos can be used: {reasons}")
    stacked = np.stack(pixels)
    record = CalibrationRecord(
        photos=len(manifest),
        samples=len(stacked),
        digest=hashlib.sha256(stacked.tobytes()).hexdigest(),
        manifest=tuple(manifest) if len(manifest) <= MANIFEST_LIMIT else (),
    )
    digests = [digest for _, digest in manifest]
    return Samples(stacked, record, tuple(skipped), _oddities(stacked, digests))


def _oddities(pixels: NDArray[np.uint8], digests: list[str]) -> tuple[str, ...]:
    """Sentences on photos that cannot tell how the network works."""
    found = []
    different = len(set(digests))
    if different < len(digests):
        found.append(
            f"only {different} of the {len(digests)} calibration photos are different: the others "
            "are copies and add nothing"
        )
    flat = int((np.ptp(pixels.reshape(len(pixels), -1), axis=1) < _FLAT).sum())
    if flat:
        found.append(
            f"{flat} of {len(pixels)} calibration samples show nothing but one shade: leave "
            "blank photos out"
        )
    return tuple(found)


def _views(path: Path, preprocess: Preprocess, count: int) -> list[NDArray[np.uint8]]:
    """Crops of the photo at seeded places and several scales, every other one mirrored."""
    image = load_image(path)
    width, height = image.size
    rng = np.random.default_rng(
        int.from_bytes(hashlib.sha256(path.name.encode()).digest()[:8], "big")
    )
    views = []
    for number in range(1, count + 1):
        side = max(1, int(min(width, height) * _ZOOMS[number % len(_ZOOMS)]))
        left = int(rng.integers(0, width - side + 1))
        top = int(rng.integers(0, height - side + 1))
        pixels = preprocess.pixels(image.crop((left, top, left + side, top + side)))
        views.append(pixels[:, ::-1] if number % 2 else pixels)
    return views
