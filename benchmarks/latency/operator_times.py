"""A model file -> the time of each of its operators, from the runtime's own profiler.

ONNX Runtime: its profiling file. OpenVINO: `get_profiling_info`. LiteRT: its Python packages
(ai-edge-litert 2.3, tflite-runtime 2.14) give no access to the profiler inside, so none.
Operators are named by the layers of our graph where one can be told, else as the runtime does.
"""

from __future__ import annotations

import json
import re
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_effnet.benchmarks.records import OperatorTime
from edge_effnet.errors import require
from edge_effnet.variants import VARIANTS

NO_PROFILER = (
    "LiteRT's Python package gives no access to its profiler: no times per operator, only which "
    "kernels run"
)
_WARM_UP = 5


def profile(
    path: Path,
    data: bytes,
    companion: bytes,
    batch: NDArray[np.generic],
    *,
    threads: int,
    precision: str,
    variant: str,
    runs: int = 20,
) -> tuple[tuple[OperatorTime, ...], str | None]:
    """Run ``batch`` ``runs`` times under the profiler: (operators in order, why there are none)."""
    suffix = path.suffix.lower()
    if suffix == ".tflite":
        return (), NO_PROFILER
    if suffix == ".onnx":
        timed = _onnxruntime(data, batch, threads, runs)
    else:
        timed = _openvino(data, companion, batch, threads, precision, runs)
    names = layer_names(variant)
    return tuple(
        OperatorTime(_layer(name, kind, names), kind, round(statistics.median(times), 5), kernel)
        for (name, kind, kernel), times in timed.items()
    ), None


#: (the runtime's name of the operator, operation, kernel) -> milliseconds of each run.
_Timed = dict[tuple[str, str, str | None], list[float]]


def layer_names(variant: str) -> dict[str, str]:
    """Each name in a variant's graph -> the convolution that its operator may be fused into.

    Empty for an unknown variant.
    """
    if variant not in VARIANTS:
        return {}
    from edge_effnet.graph import Activation, BatchNorm
    from edge_effnet.network import build

    graph = build(VARIANTS[variant])
    found: dict[str, str] = {}
    for node in graph:
        fused = isinstance(node, (Activation, BatchNorm))
        found[node.name] = found.get(node.inputs[0], node.name) if fused else node.name
    return {"logits": graph.output, **found}


def layer_of(name: str, names: Iterable[str]) -> str:
    """The layer that an operator's name speaks of; the longest of several, the name itself if none.

    Runtimes decorate names: ``stem.conv_token_2``, ``stem.conv/WithoutBiases``,
    ``image_abcd_acdb_stem.conv/WithoutBiases``.
    """
    known = set(names)
    best = ""
    for match in re.finditer(r"[A-Za-z]\w*(?:\.\w+)*", name):
        word = match[0]
        for start in [0, *(place.end() for place in re.finditer("_", word))]:
            part = word[start:]
            while part and part not in known:
                cut = max(part.rfind("_"), part.rfind("."))
                part = part[:cut] if cut > 0 else ""
            best = max(best, part, key=len)
    return best or name


def _layer(name: str, kind: str, names: dict[str, str]) -> str:
    """The layer of an operator; a convolution fused with its activation may bear the latter's."""
    found = layer_of(name, names)
    convolves = "conv" in kind.lower() or found == "logits"
    return names.get(found, found) if convolves else found


def _onnxruntime(data: bytes, batch: NDArray[np.generic], threads: int, runs: int) -> _Timed:
    ort = require("onnxruntime", "onnx")
    with tempfile.TemporaryDirectory() as folder:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        for _ in range(_WARM_UP + runs):
            session.run(None, {name: batch})
        events = json.loads(Path(session.end_profiling()).read_text("utf-8"))
    timed: _Timed = defaultdict(list)
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            name = event["name"].removesuffix("_kernel_time")
            # Two unnamed nodes of one kind differ by their index alone.
            key = (name or str(event["args"].get("node_index")), event["args"]["op_name"], None)
            timed[key].append(event["dur"] / 1000)
    return {key: _warm(times, runs) for key, times in timed.items()}


def _warm(times: Sequence[float], runs: int) -> list[float]:
    """The times of the last ``runs`` runs: an operator may run several times in each."""
    per_run = max(1, len(times) // (runs + _WARM_UP))
    kept = times[_WARM_UP * per_run :]
    return [sum(kept[start : start + per_run]) for start in range(0, len(kept), per_run)]


def _openvino(
    xml: bytes,
    weights: bytes,
    batch: NDArray[np.generic],
    threads: int,
    precision: str,
    runs: int,
) -> _Timed:
    ov = require("openvino", "openvino")
    core = ov.Core()
    model = core.read_model(xml, ov.Tensor(np.frombuffer(weights, np.uint8)))
    settings: dict[str, Any] = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": precision,
        "PERF_COUNT": True,
    }
    request = core.compile_model(model, "CPU", settings).create_infer_request()
    timed: _Timed = defaultdict(list)
    for number in range(_WARM_UP + runs):
        request.infer([batch], share_inputs=True)
        if number < _WARM_UP:
            continue
        for info in request.get_profiling_info():
            if info.status.name == "EXECUTED":
                key = (info.node_name, info.node_type, info.exec_type)
                timed[key].append(info.real_time.total_seconds() * 1000)
    return timed
