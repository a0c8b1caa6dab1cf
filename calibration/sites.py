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
class Sites:
    """Blocks of ``side`` x ``side`` outputs; ``top`` and ``left`` corners, int [photos, blocks]."""

    top: NDArray[np.intp]
    left: NDArray[np.intp]
    side: int

    def targets(self, output: NDArray[np.float32], first: int) -> NDArray[np.float32]:
        """Blocks [n * blocks, channels, side, side] of outputs [n, channels, h, w].

        The n maps are those of photos ``first``, ``first + 1``, ...
        """
        return self._cut(output, first, stride=1, side=self.side)

    def inputs(self, values: NDArray[np.uint8], conv: Conv, zero_point: int) -> NDArray[np.uint8]:
        """The input blocks [photos * blocks, channels, t, t] that ``conv`` needs for all sites.

        Padding is applied with ``zero_point``, so the convolution of a block pads nothing.
        """
        top, left, bottom, right = conv.pads
        if any(conv.pads):
            margins = ((0, 0), (0, 0), (top, bottom), (left, right))
            values = np.pad(values, margins, constant_values=zero_point)
        side = (self.side - 1) * conv.stride + conv.kernel
        return self._cut(values, 0, stride=conv.stride, side=side)

    def _cut(self, maps: NDArray[Any], first: int, stride: int, side: int) -> NDArray[Any]:
        photos, blocks = len(maps), self.top.shape[1]
        tops, lefts = self.top[first : first + photos], self.left[first : first + photos]
        if side == 1:
            every = np.arange(photos)[:, None]
            return maps[every, :, tops * stride, lefts * stride].reshape(-1, maps.shape[1], 1, 1)
        cut = np.empty((photos, blocks, maps.shape[1], side, side), maps.dtype)
        for photo in range(photos):
            for block in range(blocks):
                y, x = tops[photo, block] * stride, lefts[photo, block] * stride
                cut[photo, block] = maps[photo, :, y : y + side, x : x + side]
        return cut.reshape(photos * blocks, *cut.shape[2:])


def choose_sites(graph: Graph, layer: Conv, photos: int, positions: int = POSITIONS) -> Sites:
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
    return Sites(every // columns, every % columns, side)
