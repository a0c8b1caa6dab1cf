"""Classifier: a Runner with its card: photos in, names and probabilities out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_effnet.card import ModelCard
from edge_effnet.errors import ModelFileError
from edge_effnet.preprocess import ImageLike
from edge_effnet.runtime.base import Runner


@dataclass(frozen=True, repr=False)
class Classifier:
    """What `edge_effnet.open` returns."""

    runner: Runner
    card: ModelCard
    path: str

    def __repr__(self) -> str:
        card, info = self.card, self.runner.info
        return (
            f"Classifier({self.path}, {card.variant} {card.precision}, {card.preprocess.size} px, "
            f"{len(card.labels):,} classes, {info.name} {info.version}, {info.threads} threads)"
        )

    def __call__(self, image: ImageLike, top: int = 5) -> list[tuple[str, float]]:
        """The ``top`` most likely (label, probability) pairs of one image, best first."""
        probabilities = softmax(self.logits([image])[0])
        best = np.argsort(-probabilities, kind="stable")[: max(top, 0)]
        return [(self.card.labels[index], float(probabilities[index])) for index in best]

    def logits(self, images: Sequence[ImageLike]) -> NDArray[np.float32]:
        """float32 [n, classes] for paths, Pillow images or uint8 RGB arrays [height, width, 3]."""
        rows = [self.logits_of_pixels(self.card.preprocess.pixels(image)) for image in images]
        if not rows:
            return np.empty((0, len(self.card.labels)), np.float32)
        return np.stack(rows)

    def logits_of_pixels(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """float32 [classes] for an image that `Preprocess.pixels` has already brought to size."""
        logits = self.runner.run(self.tensor(pixels))[0]
        if logits.shape != (len(self.card.labels),):
            raise ModelFileError(
                f"{self.path} gives {list(logits.shape)} values but names "
                f"{len(self.card.labels)} labels"
            )
        return np.asarray(logits, np.float32)

    def tensor(self, pixels: NDArray[np.uint8]) -> NDArray[np.generic]:
        """Pixels [size, size, 3] as the file's input tensor: its dtype, layout and batch of 1."""
        spec = self.runner.input
        values: NDArray[np.generic] = pixels
        if self.card.input == "normalised":
            normalised = self.card.preprocess.normalise(pixels)
            values = normalised
            if spec.dtype != "float32":
                values = _quantize(normalised, spec.scale, spec.zero_point, spec.dtype, self.path)
        elif spec.dtype == "int8":
            values = (pixels.astype(np.int16) - 128).astype(np.int8)
        elif spec.dtype == "float32":
            values = pixels.astype(np.float32)
        if spec.layout == "NCHW":
            values = values.transpose(2, 0, 1)
        return np.ascontiguousarray(values[None])


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Probabilities along the last axis."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=-1, keepdims=True), dtype=np.float32)


def _quantize(
    values: NDArray[np.float32], scale: float | None, zero_point: int | None, dtype: str, path: str
) -> NDArray[np.generic]:
    if not scale:
        raise ModelFileError(f"{path} takes {dtype} input but does not state its scale")
    limits = np.iinfo(dtype)
    indices = np.rint(values / np.float32(scale)) + (zero_point or 0)
    return np.asarray(np.clip(indices, limits.min, limits.max), dtype)
