"""Sites: the places of a layer's output that calibration looks at, instead of whole feature maps.

Per photo a layer has a few square blocks of outputs. Both the float targets and the quantized
inputs are taken at the same sites, so a layer is solved on a small batch of small maps, and memory
does not grow with the map.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_effnet.graph import Conv, Graph

#: Output positions per layer and calibration set. Lite1's and Lite2's logits gain 0.1 dB
#: from 4,096 to 8,192, and 0.1 dB again to 16,384; each doubling adds a fifth to the time.
POSITIONS = 8192
_BLOCK = 4  # side of a block for kernels over 1: neighbouring outputs share most of their inputs


@dataclass(frozen=True)
class SampledPositions:
    """Blocks of ``side`` x ``side`` outputs; ``top`` and ``left`` corners, int [photos, blocks]."""

    top: NDArray[np.intp]
    left: NDArray[np.intp]
    side: int

    @property
    def count(self) -> int:
        """Positions, over all photos."""
        return self.top.size * self.side**2

    def targets(self, output: NDArray[np.float32], first: int) -> NDArray[np.float32]:
        """Blocks [n * blocks, channels, side, side] of outputs [n, channels, h, w].

        The n maps are those of photos ``first``, ``first + 1``, ...
        """
        photos = slice(first, first + len(output))
        return _cut(output, self.top[photos], self.left[photos], self.side, 0)

    def inputs(self, values: NDArray[np.uint8], conv: Conv, zero_point: int) -> NDArray[np.uint8]:
        """The input blocks [photos * blocks, channels, t, t] that ``conv`` needs for all sites.

        Padding is applied with ``zero_point``, so the convolution of a block pads nothing.
        """
        top, left = self.top * conv.stride - conv.pads[0], self.left * conv.stride - conv.pads[1]
        return _cut(values, top, left, (self.side - 1) * conv.stride + conv.kernel, zero_point)


def _cut(
    maps: NDArray[Any], top: NDArray[np.intp], left: NDArray[np.intp], side: int, outside: int
) -> NDArray[Any]:
    """Blocks [photos * blocks, channels, side, side] whose corners may lie ``outside`` the maps."""
    photos, channels = maps.shape[:2]
    if side == 1:
        every = np.arange(photos)[:, None]
        return maps[every, :, top, left].reshape(-1, channels, 1, 1)
    cut = np.full((*top.shape, channels, side, side), outside, maps.dtype)
    for place in np.ndindex(top.shape):
        y, x = int(top[place]), int(left[place])
        inside = maps[place[0], :, max(y, 0) : y + side, max(x, 0) : x + side]
        y, x = max(-y, 0), max(-x, 0)
        cut[place][:, y : y + inside.shape[1], x : x + inside.shape[2]] = inside
    return cut.reshape(-1, channels, side, side)


def sample_positions(
    graph: Graph, layer: Conv, photos: int, positions: int = POSITIONS
) -> SampledPositions:
    """About ``positions`` outputs of ``layer`` over all ``photos``.

    Seeded by the layer's name: the same layer always gets the same sites.
    """
    _, height, width = graph.shapes[layer.name]
    side = min(1 if layer.kernel == 1 else _BLOCK, height, width)
    blocks = max(1, round(positions / (photos * side * side)))
    rows, columns = height - side + 1, width - side + 1
    rng = np.random.default_rng(zlib.crc32(layer.name.encode()))
    if side == 1 and blocks >= rows * columns:
        every = np.broadcast_to(np.arange(rows * columns), (photos, rows * columns))
    else:
        every = rng.integers(0, rows * columns, (photos, min(blocks, rows * columns)))
    return SampledPositions(every // columns, every % columns, side)
