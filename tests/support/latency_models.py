"""Latency models that tests make up."""

from __future__ import annotations

from edge_effnet.benchmarks.prediction.latency_model import LatencyModel, RuntimeModel
from edge_effnet.benchmarks.records import Host


def runtime(precision: str = "int8", **ms: float) -> RuntimeModel:
    per = {name.replace("__", "."): value for name, value in ms.items()}
    return RuntimeModel("tflite", precision, "litert", "2", "", per, 1.0, 9, (0.01, 0.02))


def latency_model(*runtimes: RuntimeModel) -> LatencyModel:
    return LatencyModel(Host(cpu="one"), 1, runtimes or (runtime(pointwise__multiply_adds=0.01),))
