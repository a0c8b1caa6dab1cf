"""What calibration computes with: functions compiled from graphs, float or integer.

Calibration knows no runtime. Whoever calls it hands it an `Engine`; the toolkit's own is
`edge_effnet.converters.onnx_engine.OnnxEngine`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import wraps
from typing import ParamSpec, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from edge_effnet.calibration.plan import QuantPlan
from edge_effnet.errors import require
from edge_effnet.graph import Graph
from edge_effnet.model import Weights

Floats = NDArray[np.float32]
Indices = NDArray[np.uint8]
_MOST_THREADS = 4  # each holds up to 100 MB while ranges are chosen
_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")
_Item = TypeVar("_Item")


def on_one_blas_thread(function: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
    """``function`` with numpy's products on one thread, for the same bytes on any number of cores.

    How many threads share a sum decides its last bits, and those the rounding of weights. One is as
    fast: the products are many and small.
    """

    @wraps(function)
    def run(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Result:
        with require("threadpoolctl", "export").threadpool_limits(1, user_api="blas"):
            return function(*args, **kwargs)

    return run


def in_parallel(function: Callable[[_Item], _Result], items: Iterable[_Item]) -> list[_Result]:
    """``function`` of each item, in their order; numpy lets other threads run meanwhile."""
    with ThreadPoolExecutor(min(_MOST_THREADS, os.cpu_count() or 1)) as pool:
        return list(pool.map(function, items))


class Engine(Protocol):
    """Compiles graphs for batches of any size, in the channels-first layout."""

    def compile_float(
        self, graph: Graph, weights: Weights, outputs: Sequence[str]
    ) -> Callable[[Floats], dict[str, Floats]]:
        """A function from a float32 batch [n, ...] to the tensors named in ``outputs``."""

    def compile_integer(self, graph: Graph, plan: QuantPlan) -> Callable[[Indices], Indices]:
        """A function from a uint8 batch on the input's grid to the output on its own grid."""

    def compile_fake_quantized(
        self, graph: Graph, weights: Weights, plan: QuantPlan, outputs: Sequence[str]
    ) -> Callable[[Floats], dict[str, Floats]]:
        """`compile_float` in which the tensors that have grids in ``plan`` are rounded to them."""
