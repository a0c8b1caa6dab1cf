"""Running a Graph in float32 on ONNX Runtime: what calibration observes and simulates with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from edge_effnet.converters.onnx import build
from edge_effnet.errors import require
from edge_effnet.graph import Graph
from edge_effnet.model import Weights

Arrays = Mapping[str, NDArray[np.float32]]


def compile_graph(
    graph: Graph, weights: Weights, outputs: Sequence[str], threads: int = 0
) -> Callable[[NDArray[np.float32]], dict[str, NDArray[np.float32]]]:
    """A function from a batch [n, *input_shape] to the tensors named in ``outputs``, each [n, ...]."""
    ort = require("onnxruntime", "export")
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    proto = build(graph, weights, batch="n", outputs=outputs)
    session = ort.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )

    def run(batch: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        values = session.run(list(outputs), {graph.input: batch})
        return dict(zip(outputs, values, strict=True))

    return run
