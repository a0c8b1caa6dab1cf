"""Protocol of the runtimes: a Runner for one model file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from edge_effnet.errors import ModelFileError

DType = Literal["float32", "uint8", "int8"]
Layout = Literal["NHWC", "NCHW"]


@dataclass(frozen=True)
class InputSpec:
    """Input tensor of a file; ``size`` is (height, width) in pixels.

    ``scale`` and ``zero_point`` are the quantization parameters of an integer input, if the file
    has them.
    """

    dtype: DType
    layout: Layout
    size: tuple[int, int]
    scale: float | None = None
    zero_point: int | None = None


@dataclass(frozen=True)
class RuntimeInfo:
    """Runtime of a file; ``kernels`` names the delegate, provider or inference precision."""

    name: str
    version: str
    threads: int
    kernels: str


class Runner(Protocol):
    """A model file opened by one runtime."""

    @property
    def input(self) -> InputSpec:
        """The input tensor of `run`."""

    @property
    def info(self) -> RuntimeInfo:
        """The runtime."""

    def card_text(self) -> str | None:
        """The model card's JSON; None without a card."""

    def run(self, batch: NDArray[np.generic]) -> NDArray[np.float32]:
        """float32 output [1, classes] for one input [1, ...] of the file's dtype and layout.

        Integer outputs are dequantized with the file's scale and zero point.
        """


def input_spec(name: str, dtype: str, shape: Sequence[object]) -> InputSpec:
    """The `InputSpec` of a file's input with the dtype's name and the shape.

    Raises:
        ModelFileError: The input is not a batch of one RGB image of fixed size.
    """
    sizes = [size if isinstance(size, int) else 1 for size in shape[:1]] + list(shape[1:])
    if dtype not in ("float32", "uint8", "int8") or len(sizes) != 4 or sizes[0] != 1:
        raise ModelFileError(
            f"the input of {name} is {dtype} {list(shape)}; a float32, uint8 or int8 image with "
            "batch 1 is needed"
        )
    if sizes[3] == 3:
        layout, size = "NHWC", sizes[1:3]
    elif sizes[1] == 3:
        layout, size = "NCHW", sizes[2:4]
    else:
        raise ModelFileError(f"the input of {name}, {list(shape)}, has no axis of 3 colours")
    height, width = size
    if not isinstance(height, int) or not isinstance(width, int):
        raise ModelFileError(f"the input of {name}, {list(shape)}, has no fixed size")
    return InputSpec(cast(DType, dtype), cast(Layout, layout), (height, width))


def class_row(name: str, output: Any) -> NDArray[np.float32]:
    """A file's first output as float32 [1, classes].

    Raises:
        ModelFileError: The output has another shape or type.
    """
    values = np.asarray(output)
    if not np.issubdtype(values.dtype, np.number) or max(values.shape, default=0) != values.size:
        raise ModelFileError(
            f"the output of {name} is {values.dtype} {list(values.shape)}; numbers of shape "
            "[1, classes] are needed"
        )
    return values.reshape(1, -1).astype(np.float32)


def refusal(runtime: str, name: str, error: Exception) -> ModelFileError:
    """The error for a file that ``runtime`` cannot open, with the last line of its message."""
    message = str(error).strip().rpartition("\n")[2]
    return ModelFileError(f"{runtime} refuses {name} ({message}); copy it again or export it anew")
