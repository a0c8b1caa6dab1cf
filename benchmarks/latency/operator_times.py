"""Time of each operator of a model file, from the runtime's own profiler.

ONNX Runtime: its profiling file. OpenVINO: `get_profiling_info`. LiteRT: the profiler of its C
library (`litert_profiler`), which ai-edge-litert 2 ships and tflite-runtime does not. Operators are
named by the matching layer of the graph; without a match, by the runtime's operator name.
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

from edge_effnet.benchmarks.latency import litert_profiler
from edge_effnet.benchmarks.records import OperatorTime
from edge_effnet.errors import DeviceError, require
from edge_effnet.variants import VARIANTS

_WARM_UP = 5
#: Parts of the names of convolutions; XNNPACK computes pointwise ones as fully connected layers.
_CONVOLUTIONS = ("conv", "fully connected")


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
    """Times over ``runs`` runs of the operators in execution order, and None.

    The times are medians; LiteRT's are interquartile means, because its clock counts whole
    microseconds. Without times: an empty tuple, and the reason.
    """
    suffix = path.suffix.lower()
    names = layer_names(variant)
    if suffix == ".tflite":
        try:
            operators = litert_profiler.measure(data, batch, threads, runs)
        except DeviceError as error:
            return (), str(error)
        return tuple(
            OperatorTime(_layer(each.output, each.kind, names), each.kind, each.ms)
            for each in operators
        ), None
    if suffix == ".onnx":
        timed = _onnxruntime(data, batch, threads, runs)
    else:
        timed = _openvino(data, companion, batch, threads, precision, runs)
    return tuple(
        OperatorTime(_layer(name, kind, names), kind, round(statistics.median(times), 5), kernel)
        for (name, kind, kernel), times in timed.items()
    ), None


#: (runtime's operator name, operator type, kernel) -> milliseconds of each run.
_Timed = dict[tuple[str, str, str | None], list[float]]


def layer_names(variant: str) -> dict[str, str]:
    """Node name -> name of the convolution that the node may be fused into.

    Empty for an unknown variant.
    """
    if variant not in VARIANTS:
        return {}
    from edge_effnet.graph import Activation, BatchNorm
    from edge_effnet.network import build

    graph = build(VARIANTS[variant])
    layers: dict[str, str] = {}
    for node in graph:
        fused = isinstance(node, (Activation, BatchNorm))
        layers[node.name] = layers.get(node.inputs[0], node.name) if fused else node.name
    return {"logits": graph.output, **layers}


def layer_of(name: str, names: Iterable[str]) -> str:
    """The longest of ``names`` contained in the operator name ``name``; ``name`` without a match.

    Runtimes add prefixes and suffixes: ``stem.conv_token_2``, ``stem.conv/WithoutBiases``,
    ``image_abcd_acdb_stem.conv/WithoutBiases``.
    """
    known = set(names)
    best = ""
    for match in re.finditer(r"[A-Za-z]\w*(?:\.\w+)*", name):
        word = match[0]
        for start in [0, *(underscore.end() for underscore in re.finditer("_", word))]:
            candidate = word[start:]
            while candidate and candidate not in known:
                cut = max(candidate.rfind("_"), candidate.rfind("."))
                candidate = candidate[:cut] if cut > 0 else ""
            best = max(best, candidate, key=len)
    return best or name


def _layer(name: str, kind: str, names: dict[str, str]) -> str:
    """Name of the layer that an operator computes.

    Runtimes may name a fused convolution by its activation; ``names`` maps such a name to the
    convolution's.
    """
    layer = layer_of(name, names)
    convolves = any(word in kind.lower() for word in _CONVOLUTIONS) or layer == "logits"
    return names.get(layer, layer) if convolves else layer


def _onnxruntime(data: bytes, batch: NDArray[np.generic], threads: int, runs: int) -> _Timed:
    ort = require("onnxruntime", "onnx")
    with tempfile.TemporaryDirectory() as folder:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4
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
            # Unnamed nodes of one operator type are distinguished by their index.
            key = (name or str(event["args"].get("node_index")), event["args"]["op_name"], None)
            timed[key].append(event["dur"] / 1000)
    return {key: _warm(times, runs) for key, times in timed.items()}


def _warm(times: Sequence[float], runs: int) -> list[float]:
    """Times of the last ``runs`` runs, summed over an operator's calls in each run."""
    per_run = max(1, len(times) // (runs + _WARM_UP))
    timed = times[_WARM_UP * per_run :]
    return [sum(timed[start : start + per_run]) for start in range(0, len(timed), per_run)]


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
