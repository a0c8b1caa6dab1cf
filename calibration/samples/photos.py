"""Calibration samples from photos: pixels in the network's input size, and the files' record."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_effnet import appearance, reading
from edge_effnet.card import MANIFEST_LIMIT, CalibrationRecord
from edge_effnet.errors import EdgeEffNetError, ImageError, reason
from edge_effnet.photo_files import list_images
from edge_effnet.preprocess import Preprocess, load_image

#: Largest number of photos read, and of samples that layers are quantized on. More photos do not
#: help: Lite0's logits have an SQNR of 25.55 dB with 125 photos, 25.40 dB with 250 and 25.28 dB
#: with 500 (mean of three subsets, evaluated on 650 other photos).
MOST_PHOTOS = 128
_GOLDEN = (5**0.5 - 1) / 2
#: With fewer samples, clipping ranges depend on single photos.
ENOUGH = 100
#: A sample whose pixel levels span less than this is blank.
_FLAT = 16
#: Sides of the crops for augmentation, as fractions of the photo's shorter side.
_ZOOMS = (1.0, 0.8, 0.65)
#: Largest number of unreadable photos that warnings name.
_NAMED = 5


@dataclass(frozen=True, repr=False)
class Samples:
    """Calibration samples; layers are quantized on the first `MOST_PHOTOS` of them.

    Attributes:
        pixels: uint8 [n, size, size, 3].
        record: The files and their digests.
        skipped: (file, reason) of unreadable photos.
        notes: Warnings about the photos, one sentence each.
    """

    pixels: NDArray[np.uint8]
    record: CalibrationRecord
    skipped: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        count, side = self.pixels.shape[:2]
        return f"Samples({count} of {self.record.photos} photos, {side} px)"

    @property
    def warnings(self) -> tuple[str, ...]:
        """Warnings for the user, one sentence each."""
        warnings = [f"left out {file}: {why}" for file, why in self.skipped[:_NAMED]]
        if len(self.skipped) > _NAMED:
            warnings.append(f"left out {len(self.skipped) - _NAMED} more calibration photos")
        photos, total = self.record.photos, self.record.given
        if photos + len(self.skipped) < total:
            warnings.append(
                f"calibrated on {photos:,} of {total:,} photos, spread evenly over all folders: "
                "more would change little"
            )
        warnings += self.notes
        count = len(self.pixels)
        if count < ENOUGH and photos:
            warnings.append(
                f"only {count} calibration samples: at least {ENOUGH} photos like those the model "
                "will see make the activation ranges dependable"
            )
        return tuple(warnings)


def read_samples(
    photos: str | os.PathLike[str] | Iterable[Path],
    preprocess: Preprocess,
    *,
    most: int = MOST_PHOTOS,
    augment_to: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Samples:
    """Read calibration samples. Labels are not needed.

    Up to `MOST_PHOTOS` photos keep the order of the paths, which is sorted for a folder. More
    photos are in `spread_order`. Unreadable files are listed in ``skipped`` and replaced by other
    photos.

    Args:
        photos: A folder, read recursively, or paths.
        preprocess: The network's preprocessing.
        most: Largest number of photos to read.
        augment_to: Number of samples to reach by adding crops and mirror images.
        progress: Called with files done and files in all.

    Returns:
        The samples, which do not depend on the number of cores.

    Raises:
        ImageError: No photo can be read.
    """
    if isinstance(photos, (str, os.PathLike)):
        root = Path(photos)
        paths = list_images(root)
        names = [path.relative_to(root).as_posix() for path in paths]
    else:
        paths = list(photos)
        names = [path.name for path in paths]
    few = len(paths) <= MOST_PHOTOS
    order = range(len(paths)) if few else spread_order([path.parent for path in paths])

    pixels = np.empty((min(len(paths), most), preprocess.size, preprocess.size, 3), np.uint8)
    digests: dict[int, str] = {}  # digests of the readable photos, in the order of ``pixels``
    error_messages: dict[int, str] = {}
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        done = 0
        while part := order[done : done + most - len(digests)]:
            results = pool.map(partial(_read, preprocess), [paths[index] for index in part])
            for index, result in zip(part, results, strict=True):
                if isinstance(result, str):
                    error_messages[index] = result
                else:
                    pixels[len(digests)], digests[index] = result
                done += 1
                if progress is not None:
                    progress(done, min(len(paths), most + len(error_messages)))
        if not digests:
            first = "; ".join([*error_messages.values()][:3]) or "there are none"
            raise ImageError(f"none of the {len(paths)} calibration photos can be used: {first}")
        pixels = pixels[: len(digests)]
        if len(digests) <= MOST_PHOTOS:
            pixels = pixels[np.argsort([*digests])]
            digests = dict(sorted(digests.items()))
        missing = augment_to - len(pixels)
        if missing > 0:
            each = -(-missing // len(pixels))
            more = pool.map(lambda index: _views(paths[index], preprocess, each), digests)
            rounds = zip(*more, strict=True)  # every photo contributes equally
            views = [view for views in rounds for view in views][:missing]
            pixels = np.concatenate([pixels, np.stack(views)])
    manifest = tuple((names[index], digest) for index, digest in digests.items())
    record = CalibrationRecord(
        photos=len(manifest),
        samples=len(pixels),
        digest=hashlib.sha256(pixels.data).hexdigest(),
        manifest=manifest if len(manifest) <= MANIFEST_LIMIT else (),
        given=len(paths),
        appearance=appearance.quantiles(appearance.measure(pixels[: len(digests)])),
    )
    skipped = tuple((names[index], error_messages[index]) for index in sorted(error_messages))
    return Samples(pixels, record, skipped, _sample_warnings(pixels, [*digests.values()]))


def spread_order(folders: Sequence[Path]) -> list[int]:
    """Indices of photos in an order whose every prefix is spread evenly over their folders.

    Folders take turns: each contributes one photo before any contributes a second one. The folders,
    and the photos of each folder, are in golden-ratio order, which spreads every prefix over the
    list.

    Args:
        folders: The folder of each photo.
    """
    members: dict[Path, list[int]] = {}
    for index, folder in enumerate(folders):
        members.setdefault(folder, []).append(index)
    queues = [*members.values()]
    ranked = [
        (turn, rank, queues[queue][member])
        for rank, queue in enumerate(_golden_order(len(queues)))
        for turn, member in enumerate(_golden_order(len(queues[queue])))
    ]
    return [index for _, _, index in sorted(ranked)]


def _golden_order(count: int) -> list[int]:
    """The indices below ``count``, sorted by the fractional part of index * golden ratio."""
    return sorted(range(count), key=lambda index: index * _GOLDEN % 1)


def _read(preprocess: Preprocess, path: Path) -> tuple[NDArray[np.uint8], str] | str:
    """The pixels and the file's sha256, or the reason why the file cannot be used."""
    try:
        digest = reading.sha256(path)
        return preprocess.pixels(path), digest
    except EdgeEffNetError as error:
        return str(error)
    except OSError as error:
        return f"{path} cannot be read: {reason(error)}"


def _sample_warnings(pixels: NDArray[np.uint8], digests: list[str]) -> tuple[str, ...]:
    """Warnings about duplicate and blank photos."""
    warnings = []
    different = len(set(digests))
    if different < len(digests):
        warnings.append(
            f"only {different} of the {len(digests)} calibration photos are different: the others "
            "are copies and add nothing"
        )
    flat = int((np.ptp(pixels.reshape(len(pixels), -1), axis=1) < _FLAT).sum())
    if flat:
        warnings.append(
            f"{flat} of {len(pixels)} calibration samples show nothing but one shade: leave "
            "blank photos out"
        )
    return tuple(warnings)


def _views(path: Path, preprocess: Preprocess, count: int) -> list[NDArray[np.uint8]]:
    """Crops of the photo at seeded positions and several scales; every second one is mirrored."""
    image = load_image(path)
    width, height = image.size
    name = path.name.encode("utf-8", "surrogatepass")  # of any encoding
    rng = np.random.default_rng(int.from_bytes(hashlib.sha256(name).digest()[:8], "big"))
    views = []
    for number in range(1, count + 1):
        side = max(1, int(min(width, height) * _ZOOMS[number % len(_ZOOMS)]))
        left = int(rng.integers(0, width - side + 1))
        top = int(rng.integers(0, height - side + 1))
        pixels = preprocess.pixels(image.crop((left, top, left + side, top + side)))
        views.append(pixels[:, ::-1] if number % 2 else pixels)
    return views
