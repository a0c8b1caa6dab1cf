"""`LiveNetwork`: a checkpoint with a function that runs the original network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edge_effnet import forward
from edge_effnet.checkpoints.source import Checkpoint, Facts
from edge_effnet.errors import CheckpointError
from edge_effnet.graph import Graph
from edge_effnet.model import Weights
from edge_effnet.names import OutputActivation
from edge_effnet.network import Padding
from edge_effnet.preprocess import Preprocess

Floats = NDArray[np.float32]

#: Largest accepted difference between two networks' outputs, relative to the largest output.
FLOAT_TOLERANCE, HALF_TOLERANCE = 1e-4, 2e-3
_LEAST_PROBABILITY = 1e-30  # smaller float32 softmax probabilities are inaccurate


@dataclass(frozen=True)
class LiveNetwork:
    """Weights of a live network, properties of its layers, and a function that runs it.

    Attributes:
        checkpoint: The tensors, as in a file.
        run: Function from n images [n, 3, side, side] to outputs [n, classes]; None for a
            state_dict.
        pixels: Whether the network's input is pixels (0..255), which it normalises itself.
        padding: Padding of the convolutions; None if unknown.
        bn_eps: Epsilon of the batch normalisations; None if unknown.
        resolution: Input side in pixels that the network was built for; None if unknown.
        labels: Class names stored in the network; None without.
        tolerance: Largest accepted relative difference between its outputs and those of the
            `Model`.
        onnx: Advice how to export an .onnx file, for error messages.
    """

    checkpoint: Checkpoint
    run: Callable[[Floats], Floats] | None = None
    pixels: bool = False
    padding: Padding | None = None
    bn_eps: float | None = None
    resolution: int | None = None
    labels: tuple[str, ...] | None = None
    tolerance: float = FLOAT_TOLERANCE
    onnx: str = ""

    def refine(self, facts: Facts) -> Facts:
        """``facts`` of the source, with the known properties of the live network."""
        return replace(
            facts,
            padding=self.padding or facts.padding,
            bn_eps=self.bn_eps or facts.bn_eps,
            resolution=self.resolution or facts.resolution,
            labels=self.labels or facts.labels,
        )

    def compare(
        self, graph: Graph, weights: Weights, preprocess: Preprocess
    ) -> OutputActivation | None:
        """Run both networks on one seeded random input.

        Returns:
            The activation at the end of the live network; None if its outputs are logits.

        Raises:
            CheckpointError: The outputs differ, or the live network cannot be run.
        """
        if self.run is None:
            return None
        rng = np.random.default_rng(0)
        side = graph.input_shape[-1]
        if self.pixels:
            pixels = rng.integers(0, 256, (1, side, side, 3), np.uint8)
            inputs = pixels.transpose(0, 3, 1, 2).astype(np.float32)
            batch = np.ascontiguousarray(preprocess.normalise(pixels).transpose(0, 3, 1, 2))
        else:
            inputs = batch = rng.standard_normal((1, 3, side, side), np.float32)
        wanted = self.run(inputs)
        got = forward.logits(graph, weights, batch)
        if wanted.size != got.size:
            raise CheckpointError(
                f"{self.checkpoint.path} gives {list(wanted.shape)} values for one image, and the "
                f"classifier that was found in it {got.size}; {self.onnx}"
            )
        differences = _differences(got.ravel(), wanted.ravel())
        activation = min(differences, key=lambda name: differences[name])
        difference = differences[activation]
        if not difference <= self.tolerance:  # also raises for NaN
            raise CheckpointError(
                f"the network that was read from {self.checkpoint.path} gives other outputs than "
                f"the original on the same input: they differ by {difference:.2g} of the largest "
                f"output, where {self.tolerance:g} is accepted. The original does something that "
                f"its weights do not tell; {self.onnx}"
            )
        return activation if activation != "none" else None


def _differences(logits: Floats, wanted: Floats) -> dict[OutputActivation, float]:
    """Difference of the outputs ``wanted`` from each activation of ``logits``, by activation.

    Differences are relative to the largest value. Activations that cannot give ``wanted`` are
    omitted.

    Softmax probabilities are compared as logarithms, so that small ones matter too.
    """
    x, y = logits.astype(np.float64), wanted.astype(np.float64)
    differences: dict[OutputActivation, float] = {"none": _relative(x, y)}
    if np.all((y >= 0) & (y <= 1)):
        differences["sigmoid"] = _relative(1 / (1 + np.exp(-x)), y)
        significant = y > _LEAST_PROBABILITY
        if len(y) > 1 and abs(y.sum() - 1) < 1e-3 and significant.any():
            x, y = (
                x[significant] - x[significant].max(),
                np.log(y[significant] / y[significant].max()),
            )
            differences["softmax"] = float(np.abs(x - y).max() / max(np.abs(logits).max(), 1e-30))
    return differences


def _relative(got: NDArray[np.float64], wanted: NDArray[np.float64]) -> float:
    return float(np.abs(got - wanted).max() / max(np.abs(wanted).max(), 1e-30))
