"""Calibration engine on ONNX Runtime: float, fake-quantized and integer execution."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache, cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_effnet.calibration.plan import QuantParams, QuantPlan
from edge_effnet.converters.formats.onnx import build
from edge_effnet.errors import require
from edge_effnet.graph import Activation, Graph
from edge_effnet.model import Weights

_NOTHING = "nothing"  # input of a graph that computes nothing


@cache
def _share_arena() -> None:
    """Register the memory arena of all sessions in this process; once, as ONNX Runtime allows."""
    ort = require("onnxruntime", "export")
    memory = ort.OrtMemoryInfo(
        "Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT
    )
    # No limit; it grows by what is requested; initial size and largest waste as usual.
    ort.create_and_register_allocator(memory, ort.OrtArenaCfg(0, 1, -1, -1))


class OnnxEngine:
    """An `edge_effnet.calibration.engine.Engine` on ONNX Runtime's CPU kernels."""

    def __init__(self, threads: int = 0) -> None:
        self._ort = require("onnxruntime", "export")
        self._options = self._session_options(threads)
        # With QDQ fusion on, ONNX Runtime also quantizes float weights between quantized tensors.
        self._simulating = self._session_options(threads)
        self._simulating.add_session_config_entry("session.disable_quant_qdq", "1")

    def _session_options(self, threads: int) -> Any:
        options = self._ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 4
        # Memory that sessions free at each run would be returned to the system, whose page faults
        # take twice the time of the computation. Each segment of a network has a session, and an
        # arena of its own would keep its peak: all sessions share one.
        _share_arena()
        options.add_session_config_entry("session.use_env_allocators", "1")
        options.add_session_config_entry("session.use_device_allocator_for_initializers", "1")
        # Runs are short and alternate with numpy: spinning threads would slow numpy down.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        return options

    def release_memory(self) -> None:
        """Return the memory that the arena keeps for later runs to the system."""
        shrinking = self._ort.RunOptions()
        shrinking.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        self._nothing.run(None, {_NOTHING: np.zeros(1, np.float32)}, shrinking)

    @cached_property
    def _nothing(self) -> Any:
        """A session that computes nothing."""
        relu = Activation(name="relu", inputs=(_NOTHING,), kind="relu")
        proto = build(Graph(_NOTHING, (), (relu,)), {}, batch="n", outputs=["relu"])
        return self._session(proto, self._options)

    def compile_float(
        self, graph: Graph, weights: Weights, outputs: Sequence[str]
    ) -> Callable[[NDArray[np.float32]], dict[str, NDArray[np.float32]]]:
        """A function from a float32 batch [n, ...] to the tensors ``outputs``."""
        return self.compile_fake_quantized(graph, weights, QuantPlan({}, {}, ""), outputs)

    def compile_fake_quantized(
        self,
        graph: Graph,
        weights: Weights,
        plan: QuantPlan,
        outputs: Sequence[str],
    ) -> Callable[[NDArray[np.float32]], dict[str, NDArray[np.float32]]]:
        """`compile_float` with fake quantization of the tensors in ``plan.quant_params``."""
        names, rounding = list(outputs), replace(plan, layers={}, float_layers=frozenset())
        proto = build(
            graph, weights, rounding, batch="n", outputs=names, placement="tflite", float_input=True
        )
        session = self._session(proto, self._simulating)

        def run(batch: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
            return dict(zip(names, session.run(None, {graph.input: batch}), strict=True))

        return run

    def compile_float_layer(
        self, graph: Graph, weights: Weights, quant_params: Mapping[str, QuantParams]
    ) -> Callable[[NDArray[np.uint8]], NDArray[Any]]:
        """A function from a quantized uint8 batch to the output, computed in float.

        The output is quantized if it has an entry in ``quant_params``, and float32 otherwise.
        """
        quantized = graph.output in quant_params
        proto = build(
            graph,
            weights,
            QuantPlan({}, quant_params, ""),
            batch="n",
            outputs=[graph.output],
            placement="tflite",
            integer_output=quantized,
        )
        session = self._session(proto, self._simulating)

        def run(batch: NDArray[np.uint8]) -> NDArray[Any]:
            (result,) = session.run(None, {graph.input: batch})
            return np.asarray(result, np.uint8 if quantized else np.float32)

        return run

    def compile_integer(
        self, graph: Graph, plan: QuantPlan
    ) -> Callable[[NDArray[np.uint8]], NDArray[np.uint8]]:
        """A function from a quantized uint8 batch to the quantized uint8 output."""
        proto = build(graph, {}, plan, batch="n", placement="tflite", integer_output=True)
        session = self._session(proto, self._options)

        def run(batch: NDArray[np.uint8]) -> NDArray[np.uint8]:
            (result,) = session.run(None, {graph.input: batch})
            return np.asarray(result, dtype=np.uint8)

        return run

    def _session(self, proto: Any, options: Any) -> Any:
        return self._ort.InferenceSession(
            proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
