"""`Classifier`: preprocessing, a `Runner` and class names; photo -> names and probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_effnet.answers import THRESHOLD
from edge_effnet.card import ModelCard, ModelInfo
from edge_effnet.errors import ModelFileError, UsageError
from edge_effnet.preprocess import ImageLike, Pixels, rounded
from edge_effnet.runtime.base import Runner


@dataclass(frozen=True, repr=False)
class Classifier:
    """An opened model file that classifies photos; returned by `edge_effnet.open`.

    Attributes:
        runner: The file, opened in its runtime.
        card: The file's card: labels, preprocessing, quantization.
        path: The file's path.
        device_choice: For ``device="auto"``: what was measured on each device.
    """

    runner: Runner
    card: ModelCard
    path: str
    device_choice: tuple[str, ...] = ()

    def __repr__(self) -> str:
        card, info = self.card, self.runner.info
        return (
            f"Classifier({self.path}, {card.variant} {card.precision}, {card.preprocess.size} px, "
            f"{len(card.labels):,} classes, {info.name} {info.version}, "
            f"{f'{info.threads} threads' if info.device == 'cpu' else info.device})"
        )

    def __call__(
        self, image: ImageLike, top: int = 5, threshold: float = THRESHOLD
    ) -> list[tuple[str, float]]:
        """Predictions of one image as (label, probability) pairs, best first.

        Args:
            image: A path, a Pillow image, or a uint8 RGB array [height, width, 3].
            top: Largest number of pairs.
            threshold: Probability from which a multi-label network predicts a label. Other networks
                ignore it.

        Returns:
            The pairs. A multi-label network may predict none. Without an output activation, the
            pairs have output values instead of probabilities.

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
        """Probabilities of images: the card's output activation applied to `logits`.

        Args:
            images: Paths, Pillow images, or uint8 RGB arrays [height, width, 3].

        Returns:
            float32 [images, classes].

        Raises:
            ImageError: An image cannot be read.
        """
        return probabilities(self.card, self.logits(images))

    def logits(self, images: Sequence[ImageLike]) -> NDArray[np.float32]:
        """Logits of images.

        A file exported with ``softmax=True`` returns probabilities: their logarithms stand for the
        logits, which they equal up to a constant per image.

        Args:
            images: Paths, Pillow images, or uint8 RGB arrays [height, width, 3].

        Returns:
            float32 [images, classes]. A single sigmoid output z becomes two columns, 0 and z. Their
            softmax is [1 - p, p] with p = sigmoid(z).

        Raises:
            ImageError: An image cannot be read.
        """
        size, pixels = self.runner.input.batch, self.card.preprocess.exact_pixels
        rows = [np.empty((0, len(self.card.labels)), np.float32)]
        for start in range(0, len(images), size):
            batch = [pixels(image) for image in images[start : start + size]]
            rows.append(self.logits_of_batch(batch))
        return np.concatenate(rows)

    def logits_of_pixels(self, pixels: Pixels) -> NDArray[np.float32]:
        """Logits of one image with the file's input size.

        Args:
            pixels: RGB [size, size, 3], from `Preprocess.exact_pixels` or `Preprocess.pixels`.

        Returns:
            float32 [classes].

        Raises:
            ModelFileError: The number of outputs does not match the labels of the file's card.
        """
        (logits,) = self.logits_of_batch([pixels])
        return np.asarray(logits)

    def logits_of_batch(self, pixels: Sequence[Pixels]) -> NDArray[np.float32]:
        """Logits of one or more images, computed in batches of the file's batch size.

        Args:
            pixels: Pixels of one or more images, each RGB [size, size, 3].

        Returns:
            float32 [images, classes].

        Raises:
            ModelFileError: The number of outputs does not match the labels of the file's card.
        """
        size, rows = self.runner.input.batch, []
        for start in range(0, len(pixels), size):
            batch = [self.tensor(image) for image in pixels[start : start + size]]
            rows.append(self.runner.run(np.concatenate(batch) if batch[1:] else batch[0]))
        outputs = np.concatenate(rows)
        if outputs.shape[1:] != (self.card.outputs,):
            raise ModelFileError(
                f"{self.path} gives {list(outputs.shape[1:])} values but names "
                f"{len(self.card.labels)} labels; export it again with the names of its classes"
            )
        return class_logits(self.card, np.asarray(outputs, np.float32))

    def tensor(self, pixels: Pixels) -> NDArray[np.generic]:
        """The file's input tensor for the pixels of one image.

        Args:
            pixels: RGB [size, size, 3]. Float pixels are rounded for inputs of integers.

        Returns:
            [1, height, width, 3] or [1, 3, height, width], in the dtype and layout of the file's
            input.
        """
        spec = self.runner.input
        if spec.dtype != "float32":
            pixels = rounded(pixels)
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
    """Class logits [..., classes] from a network's outputs [..., outputs].

    A single sigmoid output z becomes the logits 0 and z. Probabilities of a file exported with
    ``softmax=True`` become log(p), or log(p / (1 - p)) for sigmoid outputs. Other outputs are
    unchanged.
    """
    if isinstance(info, ModelCard) and info.probabilities:
        outputs = _inverted(info, outputs)
    return np.concatenate([np.zeros_like(outputs), outputs], axis=-1) if info.binary else outputs


def _inverted(card: ModelCard, values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Logits of probabilities; for softmax up to a constant. 0 counts as the least float32."""
    least = np.finfo(np.float32).tiny
    logarithms = np.log(np.maximum(values, least))
    if card.output_activation == "sigmoid":
        logarithms -= np.log(np.maximum(1 - values, least))
    return np.asarray(logarithms, np.float32)


def log_probabilities(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Logarithms of the softmax along the last axis."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)), np.float32)


def probabilities(info: ModelInfo, logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Probabilities from class logits [..., classes]; unchanged without an output activation."""
    if info.output_activation == "none":
        return logits
    if not info.multi_label:
        return softmax(logits)
    return sigmoid(logits)


def check_classes(info: ModelInfo, path: str, use: str) -> None:
    """Refuse a regression network: its output activation is recorded as ``none``.

    ``path`` and ``use`` (what the file was to be used for) stand in the message.

    Raises:
        UsageError: The network predicts numbers, not classes or labels.
    """
    if info.output_activation == "none":
        raise UsageError(
            f"{path} predicts plain numbers, and {use} knows classes only",
            hint="read its outputs with edge_effnet.open(file).probabilities(photos)",
        )


def sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Sigmoid of each element."""
    with np.errstate(over="ignore"):
        return np.asarray(1 / (1 + np.exp(-logits)), np.float32)


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Softmax along the last axis."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=-1, keepdims=True), dtype=np.float32)


def _quantize(
    values: NDArray[np.float32], scale: float | None, zero_point: int | None, dtype: str, path: str
) -> NDArray[np.generic]:
    if not scale:
        raise ModelFileError(
            f"{path} takes {dtype} input but does not state its scale; export it again"
        )
    limits = np.iinfo(dtype)
    indices = np.rint(values / np.float32(scale)) + (zero_point or 0)
    return np.asarray(np.clip(indices, limits.min, limits.max), dtype)
