"""Classifier: a Runner with its card: photos in, names and probabilities out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_effnet.card import ModelCard, ModelInfo
from edge_effnet.errors import ModelFileError, UsageError
from edge_effnet.preprocess import ImageLike
from edge_effnet.runtime.base import Runner

#: Least probability of a predicted label of a multi-label network: even odds.
THRESHOLD = 0.5


@dataclass(frozen=True, repr=False)
class Classifier:
    """An opened file: a photo in, classes out. `edge_effnet.open` returns it.

    Attributes:
        runner: The file in its runtime.
        card: The file's labels, preprocessing and quantization.
        path: The file's path.
    """

    runner: Runner
    card: ModelCard
    path: str

    def __repr__(self) -> str:
        card, info = self.card, self.runner.info
        return (
            f"Classifier({self.path}, {card.variant} {card.precision}, {card.preprocess.size} px, "
            f"{len(card.labels):,} classes, {info.name} {info.version}, {info.threads} threads)"
        )

    def __call__(
        self, image: ImageLike, top: int = 5, threshold: float = THRESHOLD
    ) -> list[tuple[str, float]]:
        """Predictions of one image as (label, probability) pairs, best first.

        Args:
            image: A path, a Pillow image, or a uint8 RGB array [height, width, 3].
            top: Largest number of pairs.
            threshold: Least probability of a label of a multi-label network, which may have none.
                Other networks ignore it.

        Returns:
            The pairs. A network without an output activation gives its values in place of
            probabilities.

        Raises:
            ImageError: The image cannot be read.

        Example:
            >>> classify("cat.jpg", top=3)  # doctest: +SKIP
        """
        values = self.probabilities([image])[0]
        best = np.argsort(-values, kind="stable")[: max(top, 0)]
        if self.card.multi_label:
            best = best[values[best] >= threshold]
        return [(self.card.labels[index], float(values[index])) for index in best]

    def probabilities(self, images: Sequence[ImageLike]) -> NDArray[np.float32]:
        """Probabilities of images: `logits` through the card's output activation.

        Args:
            images: Paths, Pillow images, or uint8 RGB arrays [height, width, 3].

        Returns:
            float32 [n, classes].

        Raises:
            ImageError: An image cannot be read.
        """
        return probabilities(self.card, self.logits(images))

    def logits(self, images: Sequence[ImageLike]) -> NDArray[np.float32]:
        """Logits of images.

        Args:
            images: Paths, Pillow images, or uint8 RGB arrays [height, width, 3].

        Returns:
            float32 [n, classes]. One sigmoid output z gives two columns, 0 and z, whose softmax is
            [1 - p, p].

        Raises:
            ImageError: An image cannot be read.
        """
        size, pixels = self.runner.input.batch, self.card.preprocess.pixels
        rows = [np.empty((0, len(self.card.labels)), np.float32)]
        for start in range(0, len(images), size):
            batch = [pixels(image) for image in images[start : start + size]]
            rows.append(self.logits_of_batch(batch))
        return np.concatenate(rows)

    def logits_of_pixels(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Logits of one image that has the file's input size.

        Args:
            pixels: uint8 RGB [size, size, 3], as `Preprocess.pixels` gives them.

        Returns:
            float32 [classes].

        Raises:
            ModelFileError: The file gives another number of values than its card has labels.
        """
        (logits,) = self.logits_of_batch([pixels])
        return np.asarray(logits)

    def logits_of_batch(self, pixels: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Logits of at least one image, as many at once as the file takes.

        Args:
            pixels: uint8 RGB [size, size, 3] each.

        Returns:
            float32 [n, classes].

        Raises:
            ModelFileError: The file gives another number of values than its card has labels.
        """
        size, rows = self.runner.input.batch, []
        for start in range(0, len(pixels), size):
            batch = [self.tensor(image) for image in pixels[start : start + size]]
            rows.append(self.runner.run(np.concatenate(batch) if batch[1:] else batch[0]))
        outputs = np.concatenate(rows)
        if outputs.shape[1:] != (self.card.outputs,):
            raise ModelFileError(
                f"{self.path} gives {list(outputs.shape[1:])} values but names "
                f"{len(self.card.labels)} labels"
            )
        return class_logits(self.card, np.asarray(outputs, np.float32))

    def tensor(self, pixels: NDArray[np.uint8]) -> NDArray[np.generic]:
        """Pixels as the file's input tensor.

        Args:
            pixels: uint8 RGB [size, size, 3].

        Returns:
            [1, ...] in the dtype and layout of the file's input.
        """
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


def class_logits(info: ModelInfo, outputs: NDArray[np.float32]) -> NDArray[np.float32]:
    """A network's outputs [..., outputs] -> logits of its classes [..., classes].

    One sigmoid output z becomes 0 and z.
    """
    return np.concatenate([np.zeros_like(outputs), outputs], axis=-1) if info.binary else outputs


def probabilities(info: ModelInfo, logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Class logits [..., classes] -> probabilities; unchanged without an output activation."""
    if info.output_activation == "none":
        return logits
    if not info.multi_label:
        return softmax(logits)
    return sigmoid(logits)


def check_classes(info: ModelInfo, path: str, use: str) -> None:
    """Refuse ``path`` for ``use`` if it predicts plain numbers, not classes or labels.

    Raises:
        UsageError: The network has no output activation.
    """
    if info.output_activation == "none":
        raise UsageError(
            f"{path} predicts plain numbers, and {use} knows classes only",
            hint="read its outputs with edge_effnet.open(file).probabilities(photos)",
        )


def check_threshold(threshold: float) -> None:
    """Raise `UsageError` unless ``threshold`` is a probability, above 0 and up to 1."""
    if not 0 < threshold <= 1:
        raise UsageError(
            f"a threshold of {threshold:g} is no probability above 0 and up to 1",
            hint="give threshold=0.5",
        )


def sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Probability of each logit by itself."""
    with np.errstate(over="ignore"):
        return np.asarray(1 / (1 + np.exp(-logits)), np.float32)


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
