"""OnnxEngine: sessions share one memory arena, whose memory can be returned."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

for module in ("onnx", "onnxruntime"):
    pytest.importorskip(module, reason="exporting needs the extra 'export'")

from edge_effnet.converters.onnx_engine import OnnxEngine  # noqa: E402
from edge_effnet.graph import Conv, GlobalAveragePool, Graph  # noqa: E402

SIDE, CHANNELS = 512, 64  # the convolution's output takes 64 MB


def resident() -> int:
    """Resident memory of this process in bytes (Linux)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_is_kept_between_runs_and_returned_on_request() -> None:
    conv = Conv(name="conv", inputs=("image",), channels=CHANNELS, kernel=1, bias=True)
    graph = Graph("image", (1, SIDE, SIDE), (conv, GlobalAveragePool(name="p", inputs=("conv",))))
    weight = np.ones((CHANNELS, 1, 1, 1), np.float32)
    weights = {"conv.weight": weight, "conv.bias": np.zeros(CHANNELS, np.float32)}
    engine = OnnxEngine(1)
    runs = [engine.compile_float(graph, weights, ["p"]) for _ in range(3)]
    engine.release_memory()
    before = resident()
    image = np.ones((1, 1, SIDE, SIDE), np.float32)
    for run in runs:
        assert (run(image)["p"] == 1).all()
    size = 4 * CHANNELS * SIDE**2
    kept = resident() - before
    assert 0.9 * size < kept < 1.9 * size  # that of one run, not of three
    engine.release_memory()
    assert resident() - before < 0.2 * size
    assert (runs[0](image)["p"] == 1).all()
