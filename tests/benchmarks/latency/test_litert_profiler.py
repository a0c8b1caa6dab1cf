"""LiteRT's profiler: operators under the names of the file, and refusals that are sentences."""

from __future__ import annotations

import json
import subprocess

import numpy as np
import pytest

pytest.importorskip("ai_edge_litert", reason="the extra 'litert'")

from edge_effnet.benchmarks.latency import litert_profiler
from edge_effnet.benchmarks.latency.litert_profiler import matched, measure
from edge_effnet.errors import DeviceError
from support.command import exported

FILE = exported() / "tiny-lite-int8.tflite"

#: A block with squeeze-excite: the runtime fuses swish, adds conversions, and pools in two steps.
OPERATORS = [
    ("QUANTIZE", "image"), ("CONV_2D", "stem"), ("LOGISTIC", "gate"), ("MUL", "swish"),
    ("DEPTHWISE_CONV_2D", "depthwise"), ("MEAN", "pool"), ("CONV_2D", "reduce"),
    ("MUL", "scale"), ("CONV_2D", "project"), ("ADD", "add"), ("FULLY_CONNECTED", "logits"),
]  # fmt: skip


def batch() -> np.ndarray:
    from edge_effnet.runtime.opening import open_model

    spec = open_model(FILE).runner.input
    return np.zeros((1, *spec.size, 3), spec.dtype)


def test_operators_have_the_names_of_the_file() -> None:
    operators = measure(FILE.read_bytes(), batch(), threads=1, runs=8)
    names = [operator.output for operator in operators]
    assert names[:2] == ["image.int8", "stem.act"]
    assert {"head.pool", "classifier"} <= set(names)
    assert all(operator.ms >= 0 for operator in operators)
    assert sum(operator.ms for operator in operators) > 0


def test_fused_and_added_operators() -> None:
    kinds = [
        "QUANTIZE", "Convolution (NHWC, QC8) IGEMM", "Multiply (ND)", "Convert (NC, F32, QDU8)",
        "Convolution (NHWC, QC8) DWConv", "Mean (ND) Reduce", "Fully Connected (NC, QS8) GEMM",
        "Multiply (ND)", "Fully Connected (NC, QS8) GEMM", "Add (ND)", "Static Reshape (NC)",
        "Fully Connected (NC, QS8) GEMM",
    ]  # fmt: skip
    assert matched(kinds, OPERATORS) == [
        "image", "stem", "swish", kinds[3], "depthwise", "pool", "reduce", "scale", "project",
        "add", kinds[10], "logits",
    ]  # fmt: skip
    assert matched(["Something new"], OPERATORS) == ["Something new"]
    assert matched(["Add (ND)"], []) == ["Add (ND)"]


def test_a_runtime_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(litert_profiler, "find_spec", lambda name: None)
    with pytest.raises(DeviceError, match="only ai-edge-litert 2"):
        litert_profiler._Library()


def test_a_function_that_another_release_lacks_or_refuses() -> None:
    library = litert_profiler._Library()
    with pytest.raises(DeviceError, match="has no function LiteRtNever"):
        library("Never")
    with pytest.raises(DeviceError, match="LiteRtStartProfiler failed with status"):
        library("StartProfiler", None)


def test_a_crash_costs_no_more_than_the_times() -> None:
    with pytest.raises(DeviceError, match="cannot be used here"):
        measure(b"no model", batch(), threads=1, runs=2)


@pytest.mark.parametrize("share", [0.1, 4.0])
def test_times_that_cannot_be_right_are_refused(
    monkeypatch: pytest.MonkeyPatch, share: float
) -> None:
    """As a release with another layout of its events would give them."""
    reply = json.dumps({"share": share, "operators": []}).encode()
    done = subprocess.CompletedProcess([], 0, b"INFO: loaded\n" + reply + b"\n", b"")
    monkeypatch.setattr(litert_profiler.subprocess, "run", lambda *_, **__: done)
    with pytest.raises(DeviceError, match=f"{100 * share:.0f} % of the whole time"):
        measure(b"", np.zeros(1), threads=1, runs=2)
