"""Latency models of accelerators: named by their device, and silent where their fit is bad."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edge_effnet.benchmarks.prediction.latency_model import load_latency_model
from edge_effnet.benchmarks.prediction.measurement import measure_latency_model
from edge_effnet.benchmarks.records import Latency, Record
from edge_effnet.benchmarks.selection.finalists import predicted
from edge_effnet.benchmarks.selection.prediction_errors import prediction_errors
from edge_effnet.errors import DeviceError, UsageError
from edge_effnet.runtime.devices.litert import SWIFTSHADER
from edge_effnet.variants import VARIANTS
from support.command import call, refused
from support.latency_models import latency_model, runtime

CPU = runtime(pointwise__multiply_adds=0.02)
GPU = replace(runtime(pointwise__multiply_adds=0.01), device="gpu")
BAD = replace(GPU, error=(0.16, 0.4))


def test_a_runtime_is_named_by_its_device(tmp_path: Path) -> None:
    path = latency_model(GPU).save(tmp_path / "gpu.json")
    (again,) = load_latency_model(path).runtimes
    assert again == GPU
    assert again.name == "tflite int8 on gpu"


def test_a_model_with_a_large_error_promises_nothing(tmp_path: Path) -> None:
    path = latency_model(BAD).save(tmp_path / "bad.json")
    for words in (
        ("predict", "lite0"),
        ("scale", "--base", "lite0", "--budget-ms", 5, "--format", "tflite", "--precision", "int8"),
        ("select", "--budget-ms", 5, "--confirm", 0),
    ):
        text = refused(call(*words, "--latency-model", path))
        assert "tflite int8 on gpu is unreliable" in text
        assert "16%, above 15%" in text


def test_a_good_runtime_promises_beside_a_bad_one() -> None:
    model = latency_model(CPU, BAD)
    assert model.reliable == (CPU,)
    with pytest.raises(UsageError, match="is unreliable"):
        latency_model(BAD).of("tflite", "int8")


def test_candidates_are_predicted_for_their_device() -> None:
    records = predicted(latency_model(CPU, GPU), (1.0,))
    devices = {record.device for record in records if record.variant == "efficientnet-lite0"}
    assert devices == {"cpu", "gpu"}


def test_measured_records_are_compared_with_their_own_device() -> None:
    latency = Latency(5, 5, 5, 5, 5)
    side = VARIANTS["efficientnet-lite0"].resolution
    record = Record(
        "a", "efficientnet-lite0", "tflite", "int8", latency_ms=latency, resolution=side, threads=1
    )
    model = latency_model(CPU, GPU)
    cpu, gpu = prediction_errors(model, [record, record.with_(device="gpu", threads=4)])
    assert cpu.predicted_ms == pytest.approx(2 * gpu.predicted_ms, rel=1e-3)


def test_a_software_adapter_is_not_profiled() -> None:
    from edge_effnet.runtime.devices import vulkan

    if vulkan.swiftshader() is None:
        pytest.skip("the software adapter comes with Chromium")
    with pytest.raises(DeviceError, match="its time means nothing"):
        measure_latency_model(["tflite"], ["fp32"], computes_on=SWIFTSHADER, count=2)
