"""Dead leaves: synthetic calibration images for use without photos.

An image is a stack of overlapping discs with random colours and radii from a power law. Its edges,
flat regions and scale invariance resemble those of natural images (Lee, Mumford and Huang 2001,
"Occlusion models for natural images"). Clipping ranges calibrated on dead leaves suit trained
networks; ranges from noise do not.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from edge_effnet.calibration.samples.photos import Samples
from edge_effnet.card import CalibrationRecord
from edge_effnet.preprocess import Preprocess

_NOTE = (
    "calibrated on generated pictures, not on photos: measure the accuracy on your photos "
    "(edge-effnet evaluate), or give calibration=DIR for a better file"
)
_LEAVES = 400  # discs in an image
_SMALLEST, _LARGEST = 0.01, 0.5  # radii, as fractions of the image's side
_TEXTURE = 12.0  # standard deviation of the noise inside a disc, in pixel levels


def samples_of_pictures(count: int, preprocess: Preprocess) -> Samples:
    """Calibration samples of dead-leaves images.

    Args:
        count: Number of samples.
        preprocess: The network's preprocessing, which sets the images' side.
    """
    pixels = dead_leaves(count, preprocess.size)
    record = CalibrationRecord(0, count, hashlib.sha256(pixels.tobytes()).hexdigest())
    return Samples(pixels, record, notes=(_NOTE,))


def dead_leaves(count: int, size: int, seed: int = 0) -> NDArray[np.uint8]:
    """Dead-leaves images, uint8 [count, size, size, 3].

    Args:
        count: Number of images.
        size: Side in pixels.
        seed: Seed of the random numbers; the same seed gives the same images.
    """
    return np.stack([_picture(size, np.random.default_rng((seed, n))) for n in range(count)])


def _picture(size: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    # Radii with density r**-3, by inverse transform sampling.
    bounds = np.array([_SMALLEST, _LARGEST]) ** -2.0
    radii = size * (bounds[0] + rng.random(_LEAVES) * (bounds[1] - bounds[0])) ** -0.5
    colours = rng.normal(rng.uniform(60, 190), 50, (_LEAVES, 1)) + rng.normal(0, 30, (_LEAVES, 3))
    picture = np.broadcast_to(colours[0], (size, size, 3)).copy()
    order = np.argsort(-radii + rng.normal(0, 0.1 * size, _LEAVES))
    for y, x, radius, colour in zip(
        *rng.uniform(0, size, (2, _LEAVES)), radii[order], colours[order], strict=True
    ):
        grain = rng.normal(0, _TEXTURE * rng.random())
        top, left = max(0, int(y - radius)), max(0, int(x - radius))
        part = picture[top : int(y + radius) + 2, left : int(x + radius) + 2]
        rows, columns = np.ogrid[: part.shape[0], : part.shape[1]]
        inside = (rows + top - y) ** 2 + (columns + left - x) ** 2 < radius**2
        part[inside] = colour + grain
    picture += rng.normal(0, _TEXTURE * rng.random(), (size, size, 1))
    return np.asarray(np.clip(np.rint(picture), 0, 255), np.uint8)
