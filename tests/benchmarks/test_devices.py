"""Each file on each device that can take it, and records of one device."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_effnet import evaluate
from edge_effnet.benchmarks import devices
from edge_effnet.benchmarks.devices import FileOnDevice, of_device, on_devices, unique
from edge_effnet.benchmarks.records import Record
from edge_effnet.errors import DeviceError, UsageError
from edge_effnet.runtime.devices import automatic
from edge_effnet.runtime.devices.device import Device
from edge_effnet.runtime.placement import Placement
from support import command
from support.command import file

GPU = Device("gpu", "gpu", "litert", "a graphics card")


@pytest.fixture(autouse=True)
def one_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only LiteRT has a device beside the CPU."""
    listed = {".tflite": [GPU]}
    monkeypatch.setattr(devices.listing, "devices", lambda suffix, options: listed.get(suffix, []))


def test_each_file_runs_on_each_device_that_takes_it() -> None:
    notes: list[str] = []
    pairs = on_devices(["a.tflite", "b.onnx"], ["cpu", "GPU"], notify=notes.append)
    assert [pair.key for pair in pairs] == ["a.tflite", "b.onnx", "a.tflite on gpu"]
    assert notes == ["b.onnx: there is no device GPU for .onnx files; left out"]


def test_a_device_that_takes_no_file_is_an_error() -> None:
    with pytest.raises(DeviceError, match=r"no device 'npu' for a\.tflite.*cpu, gpu"):
        on_devices(["a.tflite"], ["npu", "cpu"])
    with pytest.raises(DeviceError, match=r"no device 'gpu' for b\.onnx"):
        on_devices(["b.onnx"], ["gpu"])


def test_of_a_folder_only_the_files_that_a_device_takes_are_measured() -> None:
    notes: list[str] = []
    assert on_devices(["b.onnx", "a.tflite"], ["gpu"], notify=notes.append) == [
        FileOnDevice("a.tflite", "gpu")
    ]
    assert notes == ["b.onnx: there is no device gpu for .onnx files; left out"]


def test_auto_says_what_it_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    choice = automatic.Choice("gpu", ("cpu: 5.00 ms", "gpu: 2.00 ms"))
    monkeypatch.setattr(automatic, "choose", lambda path, options, threads: choice)
    notes: list[str] = []
    assert on_devices(["a.tflite"], ["auto"], notify=notes.append) == [
        FileOnDevice("a.tflite", "gpu")
    ]
    assert notes == ["a.tflite: gpu is the fastest (cpu: 5.00 ms; gpu: 2.00 ms)"]


def test_a_file_on_two_devices_is_no_duplicate(tmp_path: Path) -> None:
    path = str(tmp_path / "a.tflite")
    assert len(unique([path, path, FileOnDevice(path), FileOnDevice(path, "gpu")])) == 2


def test_records_are_chosen_by_device_or_kind() -> None:
    software = Placement("HTP", 1, 1, 1, 1, software=True)
    cpu, old = (Record("a", "v", "onnx", "int8", device=name) for name in ("cpu", None))
    qnn = Record("a", "v", "onnx", "int8", device="qnn")
    simulated = qnn.with_(placement=software)
    assert of_device([cpu, old, qnn], "cpu") == [cpu, old]
    assert of_device([cpu, qnn], "npu") == of_device([cpu, qnn], "QNN") == [qnn]
    with pytest.raises(UsageError, match=r"no record is of the device 'gpu'.*cpu, qnn"):
        of_device([cpu, qnn], "gpu")
    with pytest.raises(UsageError, match="simulators, whose time means nothing"):
        of_device([cpu, simulated], "npu")


def test_agreement_is_with_the_float_file_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenVINO's AUTO stands for an accelerator: the reference is opened on the CPU beside it."""
    pytest.importorskip("openvino", reason="AUTO is OpenVINO's device")
    monkeypatch.undo()
    results = evaluate(file("fp32", ".xml"), command.photos(), labels="none", devices="AUTO")
    (record,) = results.records
    assert record.device == "AUTO"
    assert record.reference == str(file("fp32", ".xml"))
    assert not record.is_reference
    assert record.agreement == 1
    assert record.placement is not None
    assert record.placement.complete
    assert results.command.endswith("--device AUTO")
