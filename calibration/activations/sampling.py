"""Sampled positions: the spatial positions of a layer's output that calibration uses.

Each photo contributes a few square blocks of outputs. The float targets and the quantized inputs
are sampled at the same positions. A layer is therefore reconstructed on a small batch of small
maps, and memory does not grow with the resolution.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_effnet.graph import Conv, Graph

#: Number of output positions sampled per layer, over the whole calibration set. With 8,192 instead
#: of 4,096, the logits' SQNR of Lite1 and Lite2 rises by 0.1 dB; with 16,384, by 0.1 dB more. Each
#: doubling adds a fifth to the calibration time.
POSITIONS = 8192
_BLOCK = 4  # side of blocks for kernels over 1x1: neighbouring outputs share most of their inputs


@dataclass(frozen=True)
class SampledPositions:
    """Sampled blocks of ``side`` x ``side`` outputs.

    ``top`` and ``left`` are the coordinates of the blocks' corners, int [photos, blocks].
    """

    top: NDArray[np.intp]
    left: NDArray[np.intp]
    side: int

    @property
    def count(self) -> int:
        """Number of positions over all photos."""
        return self.top.size * self.side**2

    def targets(self, output: NDArray[np.float32], first: int) -> NDArray[np.float32]:
        """The layer's outputs at the sampled positions of n photos.

        The shape is [n * blocks, channels, side, side].

        Args:
            output: Maps [n, channels, height, width] of the photos ``first``, ``first + 1``, ...
            first: Index of the first photo.
        """
        return self.of(slice(first, first + len(output))).cut(output, 0)

    def of(self, photos: slice) -> SampledPositions:
        """The blocks of some of the photos."""
        return SampledPositions(self.top[photos], self.left[photos], self.side)

    def read_by(self, conv: Conv) -> SampledPositions:
        """The blocks of its input that ``conv`` reads, with the padding outside the maps.

        Their side is (side - 1) * stride + kernel size.
        """
        top = self.top * conv.stride - conv.pads[0]
        left = self.left * conv.stride - conv.pads[1]
        return SampledPositions(top, left, (self.side - 1) * conv.stride + conv.kernel)

    def cut(self, maps: NDArray[Any], padding: int) -> NDArray[Any]:
        """The blocks [photos * blocks, channels, side, side] of ``maps`` of the same photos.

        Pixels outside the maps are ``padding``.
        """
        photos, channels = maps.shape[:2]
        if self.side == 1:
            photo = np.arange(photos)[:, None]
            return maps[photo, :, self.top, self.left].reshape(-1, channels, 1, 1)
        shape = (*self.top.shape, channels, self.side, self.side)
        blocks = np.full(shape, padding, maps.dtype)
        for index in np.ndindex(self.top.shape):
            y, x = int(self.top[index]), int(self.left[index])
            inside = maps[index[0], :, max(y, 0) : y + self.side, max(x, 0) : x + self.side]
            y, x = max(-y, 0), max(-x, 0)
            blocks[index][:, y : y + inside.shape[1], x : x + inside.shape[2]] = inside
        return blocks.reshape(-1, channels, self.side, self.side)

    def pad(self, blocks: NDArray[Any], shape: tuple[int, ...], padding: int) -> NDArray[Any]:
        """``blocks`` [photos * blocks, channels, side, side] with ``padding`` outside the maps.

        Args:
            blocks: The blocks, with any values outside the maps; they are changed.
            shape: Shape of a map: (channels, height, width).
            padding: The value of pixels outside the maps.
        """
        _, height, width = shape
        steps = np.arange(self.side)
        y, x = (corners.reshape(-1, 1) + steps for corners in (self.top, self.left))
        outside = ((y < 0) | (y >= height))[:, :, None] | ((x < 0) | (x >= width))[:, None]
        for index in np.flatnonzero(outside.any(axis=(1, 2))):
            blocks[index][:, outside[index]] = padding
        return blocks


def sample_positions(
    graph: Graph, layer: Conv, photos: int, positions: int = POSITIONS
) -> SampledPositions:
    """Random output positions of ``layer``, seeded by its name.

    Args:
        graph: The layer's graph, which has the shape of its output.
        layer: Convolution to sample.
        photos: Number of photos.
        positions: Approximate number of positions to sample over all photos.

    Returns:
        The sampled positions, the same at every call. On small maps of a 1x1 convolution, every
        position once.
    """
    _, height, width = graph.shapes[layer.name]
    side = min(1 if layer.kernel == 1 else _BLOCK, height, width)
    blocks = max(1, round(positions / (photos * side * side)))
    rows, columns = height - side + 1, width - side + 1
    rng = np.random.default_rng(zlib.crc32(layer.name.encode()))
    if side == 1 and blocks >= rows * columns:
        corners = np.broadcast_to(np.arange(rows * columns), (photos, rows * columns))
    else:
        corners = rng.integers(0, rows * columns, (photos, min(blocks, rows * columns)))
    return SampledPositions(corners // columns, corners % columns, side)
