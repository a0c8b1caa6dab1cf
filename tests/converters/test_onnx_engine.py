"""OnnxEngine: sessions share one memory arena, whose memory can be returned."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

for module in ("onnx", "onnxruntime"):
    pytest.importorskip(module, reason="exporting needs the extra 'export'")

SIDE, CHANNELS = 512, 64
OUTPUT = 4 * CHANNELS * SIDE**2  # the convolution's output takes 64 MB

# Resident memory in bytes of a fresh process: in one that has run other tests, what they left is
# returned at any time.
MEASURE = f"""
import json
from pathlib import Path
import numpy as np
from edge_effnet.converters.onnx_engine import OnnxEngine
from edge_effnet.graph import Conv, GlobalAveragePool, Graph

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

conv = Conv(name="conv", inputs=("image",), channels={CHANNELS}, kernel=1, bias=True)
pool = GlobalAveragePool(name="p", inputs=("conv",))
graph = Graph("image", (1, {SIDE}, {SIDE}), (conv, pool))
weights = {{
    "conv.weight": np.ones(({CHANNELS}, 1, 1, 1), np.float32),
    "conv.bias": np.zeros({CHANNELS}, np.float32),
}}
engine = OnnxEngine(1)
runs = [engine.compile_float(graph, weights, ["p"]) for _ in range(3)]
image = np.ones((1, 1, {SIDE}, {SIDE}), np.float32)
engine.release_memory()
before = resident()
right = [bool((run(image)["p"] == 1).all()) for run in runs]  # an array that is kept keeps memory
kept = resident() - before
engine.release_memory()
left = resident() - before
right.append(bool((runs[0](image)["p"] == 1).all()))
print(json.dumps(dict(right=right, kept=kept, left=left)))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_is_kept_between_runs_and_returned_on_request() -> None:
    command = [sys.executable, "-c", MEASURE]
    done = subprocess.run(command, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["right"] == [True] * 4
    assert 0.9 * OUTPUT < found["kept"] < 1.9 * OUTPUT  # that of one run, not of three
    assert found["left"] < 0.2 * OUTPUT
