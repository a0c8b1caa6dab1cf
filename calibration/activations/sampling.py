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
        photos = slice(first, first + len(output))
        return _cut(output, self.top[photos], self.left[photos], self.side, 0)

    def inputs(self, values: NDArray[np.uint8], conv: Conv, zero_point: int) -> NDArray[np.uint8]:
        """The inputs that ``conv`` reads for each block of sampled positions.

        The shape is [photos * blocks, channels, t, t] with t = (side - 1) * stride + kernel size.
        Padding is part of the blocks, filled with ``zero_point``.
        """
        top, left = self.top * conv.stride - conv.pads[0], self.left * conv.stride - conv.pads[1]
        return _cut(values, top, left, (self.side - 1) * conv.stride + conv.kernel, zero_point)


def _cut(
    maps: NDArray[Any], top: NDArray[np.intp], left: NDArray[np.intp], side: int, padding: int
) -> NDArray[Any]:
    """Blocks [photos * blocks, channels, side, side]; pixels outside the maps are ``padding``."""
    photos, channels = maps.shape[:2]
    if side == 1:
        photo = np.arange(photos)[:, None]
        return maps[photo, :, top, left].reshape(-1, channels, 1, 1)
    blocks = np.full((*top.shape, channels, side, side), padding, maps.dtype)
    for index in np.ndindex(top.shape):
        y, x = int(top[index]), int(left[index])
        inside = maps[index[0], :, max(y, 0) : y + side, max(x, 0) : x + side]
        y, x = max(-y, 0), max(-x, 0)
        blocks[index][:, y : y + inside.shape[1], x : x + inside.shape[2]] = inside
    return blocks.reshape(-1, channels, side, side)


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
