"""Calibration engine on ONNX Runtime: float, fake-quantized and integer execution."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_effnet.calibration.plan import QuantPlan
from edge_effnet.converters.formats.onnx import build
from edge_effnet.errors import require
from edge_effnet.graph import Graph
from edge_effnet.model import Weights


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
        options.log_severity_level = 3
        # Runs are short and alternate with numpy: spinning threads would slow numpy down.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        return options

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
