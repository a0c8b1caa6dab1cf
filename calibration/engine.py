"""Engine: the protocol that compiles graphs to functions in float or integer arithmetic.

Calibration depends on no runtime. The caller passes an `Engine`; the converters pass
`edge_effnet.converters.onnx_engine.OnnxEngine`.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import wraps
from typing import Any, ParamSpec, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from edge_effnet.calibration.plan import QuantParams, QuantPlan
from edge_effnet.errors import require
from edge_effnet.graph import Graph
from edge_effnet.model import Weights

Floats = NDArray[np.float32]
Indices = NDArray[np.uint8]
_MOST_THREADS = 4  # each holds up to 100 MB while clipping ranges are searched
_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")
_Item = TypeVar("_Item")


def on_one_blas_thread(function: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
    """Wrap ``function`` so that numpy's matrix products run on one thread.

    Results then do not depend on the number of cores. Several threads change the last bits of a
    sum, and thereby the rounding of weights. One thread is as fast, because the matrices are small.

    Args:
        function: A function that computes with numpy.
    """

    @wraps(function)
    def run(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Result:
        with require("threadpoolctl", "export").threadpool_limits(1, user_api="blas"):
            return function(*args, **kwargs)

    return run


def in_parallel(function: Callable[[_Item], _Result], items: Iterable[_Item]) -> list[_Result]:
    """The results of ``function`` for each item, in order, computed by up to four threads.

    Args:
        function: A function of one item. It computes with numpy, which releases Python's GIL.
        items: The arguments of ``function``, one per call.
    """
    with ThreadPoolExecutor(min(_MOST_THREADS, os.cpu_count() or 1)) as pool:
        return list(pool.map(function, items))


class Engine(Protocol):
    """Compiles graphs to functions of NCHW batches of any size."""

    def release_memory(self) -> None:
        """Return the memory that is kept for later runs to the system."""

    def compile_float(
        self, graph: Graph, weights: Weights, outputs: Sequence[str]
    ) -> Callable[[Floats], dict[str, Floats]]:
        """A function from a float32 batch [n, ...] to the tensors named in ``outputs``."""

    def compile_float_layer(
        self, graph: Graph, weights: Weights, quant_params: Mapping[str, QuantParams]
    ) -> Callable[[Indices], NDArray[Any]]:
        """A function from a quantized uint8 batch to the output, computed in float.

        The output is quantized if it has an entry in ``quant_params``, and float32 otherwise.
        """

    def compile_integer(self, graph: Graph, plan: QuantPlan) -> Callable[[Indices], Indices]:
        """A function from a quantized uint8 batch to the quantized uint8 output."""

    def compile_fake_quantized(
        self, graph: Graph, weights: Weights, plan: QuantPlan, outputs: Sequence[str]
    ) -> Callable[[Floats], dict[str, Floats]]:
        """`compile_float` with fake quantization of the tensors in ``plan.quant_params``."""


def return_free_memory(engine: Engine) -> None:
    """Return the memory that was freed to the system: glibc keeps blocks below 32 MB otherwise.

    Calibration of Lite0 then needs a fifth less memory. Other C libraries do so by themselves.

    Args:
        engine: Its memory is returned too.
    """
    engine.release_memory()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None
    if trim is not None:
        trim(0)
