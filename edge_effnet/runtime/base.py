"""`Runner`: the interface of all runtimes for one opened model file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from edge_effnet.errors import EdgeEffNetError, ModelFileError
from edge_effnet.runtime.placement import Placement

DType = Literal["float32", "uint8", "int8"]
Layout = Literal["NHWC", "NCHW"]
_LONGEST = 300  # characters of a runtime's message that are shown


@dataclass(frozen=True)
class InputSpec:
    """Input tensor of a file; ``size`` is (height, width) in pixels.

    ``scale`` and ``zero_point`` are the quantization parameters of an integer input, if the file
    has them. ``batch`` is the file's batch size; 1 for a dynamic batch size.
    """

    dtype: DType
    layout: Layout
    size: tuple[int, int]
    scale: float | None = None
    zero_point: int | None = None
    batch: int = 1

    @property
    def image_shape(self) -> tuple[int, int, int, int]:
        """Shape of one image as a batch: (1, height, width, 3) or (1, 3, height, width)."""
        height, width = self.size
        return (1, height, width, 3) if self.layout == "NHWC" else (1, 3, height, width)


@dataclass(frozen=True)
class RuntimeInfo:
    """Runtime of a file; ``kernels`` is the delegate, execution provider or inference precision.

    ``device`` is the name of the device as in `edge_effnet.open`. ``software`` tells whether it is
    a software adapter or a simulator.
    """

    name: str
    version: str
    threads: int
    kernels: str
    device: str = "cpu"
    software: bool = False


class Runner(Protocol):
    """A model file opened by one runtime."""

    @property
    def input(self) -> InputSpec:
        """Description of the input tensor of `run`."""

    @property
    def info(self) -> RuntimeInfo:
        """The runtime, its version, threads and kernels."""

    def card_text(self) -> str | None:
        """The model card's JSON; None without a card."""

    def placement(self) -> Placement:
        """Where the operators run, by the runtime's own report."""

    def run(self, batch: NDArray[np.generic]) -> NDArray[np.float32]:
        """Output float32 [n, classes] for n images [n, ...] in the file's input dtype and layout.

        n is at most the file's batch size; with a dynamic batch size, n is arbitrary. Integer
        outputs are dequantized with the file's scale and zero point.
        """


def input_spec(name: str, dtype: str, shape: Sequence[object]) -> InputSpec:
    """`InputSpec` of the file ``name`` from the dtype and shape of its input.

    Raises:
        ModelFileError: The input is not a batch of RGB images of fixed size.
    """
    batch = next((size for size in shape[:1] if isinstance(size, int)), 1)
    if dtype not in ("float32", "uint8", "int8") or len(shape) != 4 or batch < 1:
        raise ModelFileError(
            f"the input of {name} is {dtype} {list(shape)}; a batch of float32, uint8 or int8 "
            "images is needed"
        )
    if shape[3] == 3:
        layout, size = "NHWC", shape[1:3]
    elif shape[1] == 3:
        layout, size = "NCHW", shape[2:4]
    else:
        raise ModelFileError(
            f"the input of {name}, {list(shape)}, has no axis of 3 colours; give an image "
            "classifier"
        )
    height, width = size
    if not isinstance(height, int) or not isinstance(width, int):
        raise ModelFileError(
            f"the input of {name}, {list(shape)}, has no fixed size; export it with one"
        )
    return InputSpec(cast(DType, dtype), cast(Layout, layout), (height, width), batch=batch)


def filled(batch: NDArray[np.generic], size: int) -> NDArray[np.generic]:
    """``batch`` [n, ...] padded with zeros to [size, ...]."""
    missing = size - len(batch)
    if missing <= 0:
        return batch
    return np.concatenate([batch, np.zeros((missing, *batch.shape[1:]), batch.dtype)])


def class_rows(name: str, output: Any, batch: int = 1) -> NDArray[np.float32]:
    """A file's first output, checked and converted to float32 [batch, classes].

    Raises:
        ModelFileError: The output has another shape or type.
    """
    values = np.asarray(output)
    per_image = values.shape if batch == 1 else values.shape[1:]
    classes = max(per_image, default=0)
    if not np.issubdtype(values.dtype, np.number) or batch * classes != values.size:
        raise ModelFileError(
            f"the output of {name} is {values.dtype} {list(values.shape)}; numbers of shape "
            f"[{batch}, classes] are needed"
        )
    return values.reshape(batch, -1).astype(np.float32)


@contextmanager
def running(runtime: str, name: str) -> Iterator[None]:
    """Context in which an error of ``runtime`` while it runs ``name`` becomes `ModelFileError`."""
    try:
        yield
    except (EdgeEffNetError, ValueError):  # ours, or an array that does not fit the input
        raise
    except Exception as error:  # errors of runtimes have no other common base
        raise ModelFileError(
            f"{runtime} stopped running {name} ({_last_line(error)}); copy it again or export it "
            "anew"
        ) from error


def refusal(runtime: str, name: str, error: Exception) -> ModelFileError:
    """The error for a file that ``runtime`` cannot open, with the last line of its message."""
    return ModelFileError(
        f"{runtime} refuses {name} ({_last_line(error)}); copy it again or export it anew"
    )


def _last_line(error: Exception) -> str:
    return str(error).strip().rpartition("\n")[2][:_LONGEST]
