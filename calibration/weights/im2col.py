"""im2col: the windows that a convolution reads, as the rows of a matrix."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from edge_effnet.graph import Conv, Dense

_Value = TypeVar("_Value", bound=np.generic)


def windows(
    maps: NDArray[_Value], kernel: int, stride: int, axes: tuple[int, int] = (2, 3)
) -> NDArray[_Value]:
    """Windows of ``kernel`` x ``kernel`` values of padded maps, as a view.

    Args:
        maps: Feature maps of any layout.
        kernel: Height and width of a window.
        stride: Distance between windows along both axes.
        axes: The two spatial axes of ``maps``.

    Returns:
        A view with the dimensions of ``maps``, followed by (kernel, kernel). ``axes`` count windows
        instead of pixels.
    """
    view = np.lib.stride_tricks.sliding_window_view(maps, (kernel, kernel), axis=axes)
    steps = tuple(slice(None, None, stride if axis in axes else 1) for axis in range(maps.ndim))
    return view[steps]


def im2col(node: Conv | Dense, blocks: NDArray[_Value]) -> NDArray[_Value]:
    """The layer's inputs as matrix rows [positions, k]; for dense and 1x1 layers a view.

    Args:
        node: A convolution or a dense layer.
        blocks: Padded inputs of the layer, [n, channels, height, width], or [n, k] if dense. For a
            grouped convolution that is not depthwise, the channels of one group.

    Returns:
        [positions, k] with k in the order (height, width, input channel). For a depthwise
        convolution [channels, positions, k].
    """
    if isinstance(node, Dense):
        return blocks
    if node.kernel == 1 and not node.depthwise:
        return blocks.reshape(len(blocks), -1)
    channels, kernel = blocks.shape[1], node.kernel
    if node.depthwise:
        maps = np.ascontiguousarray(blocks.transpose(1, 0, 2, 3))  # [c, n, y, x]
        return windows(maps, kernel, node.stride).reshape(channels, -1, kernel**2)
    maps = np.ascontiguousarray(blocks.transpose(0, 2, 3, 1))  # [n, y, x, c]
    patches = windows(maps, kernel, node.stride, (1, 2)).transpose(0, 1, 2, 4, 5, 3)
    return patches.reshape(-1, kernel**2 * channels)


def to_matrix(weight: NDArray[_Value]) -> NDArray[_Value]:
    """OIHW -> [out, h * w * in]; dense weights are [out, in] already."""
    if weight.ndim == 4:
        weight = weight.transpose(0, 2, 3, 1).reshape(len(weight), -1)
    return np.ascontiguousarray(weight)


def from_matrix(matrix: NDArray[_Value], shape: tuple[int, ...]) -> NDArray[_Value]:
    """[out, h * w * in] -> OIHW ``shape``."""
    if len(shape) == 4:
        outputs, inputs, height, width = shape
        matrix = matrix.reshape(outputs, height, width, inputs).transpose(0, 3, 1, 2)
    return np.ascontiguousarray(matrix)
