"""Self-test: compares a board's logits with those of the machine that made the bundle.

`expect` runs on the machine that makes the bundle, `check` on the board. The test pictures are
generated in integer arithmetic, so the bundle contains no photo. Each picture passes the crop,
Pillow's resize and the network.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_effnet.classifier import Classifier
from edge_effnet.errors import ModelFileError
from edge_effnet.names import INTEGER
from edge_effnet.runtime.opening import read_model_files

_SIZES = ((480, 640), (600, 450), (224, 224), (1080, 1920))  # height, width
_RECORDED = 5  # number of largest logits stored per picture


def pictures() -> list[NDArray[np.uint8]]:
    """Four pictures, uint8 RGB [height, width, 3]: gradients, rings, stripes, noise."""
    return [_picture(height, width, kind) for kind, (height, width) in enumerate(_SIZES)]


def _picture(height: int, width: int, kind: int) -> NDArray[np.uint8]:
    y, x = np.indices((height, width), dtype=np.int64)
    across, down = x * 255 // (width - 1), y * 255 // (height - 1)
    rings = ((x - width // 2) ** 2 + (y - height // 2) ** 2) // 97
    noise = (x * 7919 + y * 104729) % 1009
    red, green, blue = (
        (across, down, 255 - across),
        (rings, across, rings + down),
        (x * 8 % 256, down, (x + y) * 4 % 256),
        (noise, noise // 3 + across // 2, rings),
    )[kind]
    return np.stack([red, green, blue], axis=2).astype(np.uint8)


@dataclass(frozen=True)
class Expectation:
    """Expected results of a file on the test pictures.

    Attributes:
        file: Name of the file.
        sha256: Digest of the file.
        runtime: Runtime that computed the logits.
        pixels: sha256 over the preprocessed pixels of all pictures.
        logits: sha256 over the float32 logits of all pictures.
        best: (index, value) of each picture's largest logits.
        tolerance: Largest accepted difference of the values in ``best``; 0 if ``logits`` must be
            identical.
    """

    file: str
    sha256: str
    runtime: str
    pixels: str
    logits: str
    best: list[list[tuple[int, float]]]
    tolerance: float

    def as_json(self) -> dict[str, Any]:
        """Plain data for bundle.json."""
        return asdict(self)


@dataclass(frozen=True)
class Outcome:
    """Result of `check`; ``difference`` is the largest deviation from the expected logits."""

    file: str
    passed: bool
    pixels_identical: bool
    logits_identical: bool
    difference: float
    runtime: str


def expect(classifier: Classifier, *, exact: bool) -> Expectation:
    """Expected results of a file, computed on this machine.

    Args:
        classifier: The opened file.
        exact: Whether logits must be identical. If not, they may differ by 0.1 % of their range for
            a float file. For an int8 file they may differ by 10 %, because kernels round
            differently.
    """
    pixels, logits = _pixels_and_logits(classifier)
    share = 0.1 if classifier.card.precision in INTEGER else 0.001
    return Expectation(
        file=Path(classifier.path).name,
        sha256=_file_digest(Path(classifier.path)),
        runtime=_runtime(classifier),
        pixels=_digest(pixels),
        logits=_digest(logits),
        best=[
            [
                (int(index), float(row[index]))
                for index in np.argsort(-row, kind="stable")[:_RECORDED]
            ]
            for row in logits
        ],
        tolerance=0.0 if exact else share * float(np.ptp(logits)),
    )


def check(classifier: Classifier, expected: Expectation) -> Outcome:
    """Compare a file's results with the expected ones.

    Raises:
        ModelFileError: The file is not the one that ``expected`` was computed from.
    """
    if _file_digest(Path(classifier.path)) != expected.sha256:
        raise ModelFileError(
            f"{classifier.path} is not the file that the self-test was written for; copy the "
            "bundle again"
        )
    pixels, logits = _pixels_and_logits(classifier)
    same_pixels, same_logits = (
        _digest(pixels) == expected.pixels,
        _digest(logits) == expected.logits,
    )
    difference = max(
        abs(float(row[index]) - value)
        for row, recorded in zip(logits, expected.best, strict=True)
        for index, value in recorded
    )
    return Outcome(
        file=expected.file,
        passed=same_pixels and (same_logits or 0 < expected.tolerance >= difference),
        pixels_identical=same_pixels,
        logits_identical=same_logits,
        difference=difference,
        runtime=_runtime(classifier),
    )


def _pixels_and_logits(
    classifier: Classifier,
) -> tuple[list[NDArray[np.uint8]], list[NDArray[np.float32]]]:
    pixels = [classifier.card.preprocess.pixels(picture) for picture in pictures()]
    return pixels, [classifier.logits_of_pixels(image) for image in pixels]


def _runtime(classifier: Classifier) -> str:
    info = classifier.runner.info
    return f"{info.name} {info.version}, {info.kernels}"


def _digest(arrays: list[NDArray[Any]]) -> str:
    total = hashlib.sha256()
    for array in arrays:
        total.update(np.ascontiguousarray(array).tobytes())
    return total.hexdigest()


def _file_digest(path: Path) -> str:
    return hashlib.sha256(b"".join(read_model_files(path))).hexdigest()
