"""Selection of a device by name: exact names, kinds, libraries, and the error for all others."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_effnet import open as open_file
from edge_effnet.errors import DeviceError, ModelFileError, UsageError
from edge_effnet.runtime.devices import finding, litert, onnxruntime, openvino
from edge_effnet.runtime.devices.device import Device
from support.command import file

GPU = Device("gpu", "gpu", "litert", "a graphics card")
ADAPTER = Device("gpu:swiftshader", "gpu", "litert", "SwiftShader", software=True)
NPU = Device("vx", "npu", "litert", "an NPU")


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch) -> list[Device]:
    devices = [ADAPTER, GPU, NPU]
    monkeypatch.setattr(litert, "devices", lambda options: devices)
    return devices


@pytest.mark.parametrize(
    ("name", "device"), [("gpu", GPU), ("GPU", GPU), ("GPU:SwiftShader", ADAPTER), ("npu", NPU)]
)
def test_a_name_selects_its_device(name: str, device: Device, listed: list[Device]) -> None:
    assert finding.find(name, Path("net.tflite")) == device


def test_a_kind_never_selects_a_software_adapter(listed: list[Device]) -> None:
    listed.remove(GPU)
    with pytest.raises(DeviceError, match=r"no device 'gpu'.*cpu, gpu:swiftshader \(SwiftShader"):
        finding.find("gpu", Path("net.tflite"))


def test_a_delegate_is_selected_by_its_path(listed: list[Device]) -> None:
    assert finding.find("/usr/lib/libvx_delegate.so", Path("net.tflite")).name.startswith("/usr")
    assert finding.find("libedgetpu.so.1", Path("net.tflite")).kind == "npu"


@pytest.mark.parametrize(
    ("name", "suffix", "advice"),
    [
        ("cuda", ".onnx", "pip install onnxruntime-gpu"),
        ("edgetpu", ".tflite", "plug in the Coral accelerator"),
        ("NPU", ".xml", "Intel's NPU driver"),
        ("nothing", ".onnx", "gpu: pip install"),
    ],
)
def test_an_absent_device_says_what_to_install(name: str, suffix: str, advice: str) -> None:
    pytest.importorskip("openvino")
    pytest.importorskip("onnxruntime")
    with pytest.raises(DeviceError, match=r"this machine has cpu.* for \." + suffix[1:]) as error:
        finding.find(name, Path(f"net{suffix}"))
    assert advice in str(error.value)


def test_virtual_devices_of_openvino_are_names() -> None:
    device = openvino.virtual("HETERO:GPU,CPU")
    assert device is not None
    assert device.name == "HETERO:GPU,CPU"
    assert openvino.virtual("GPU") is None


def test_the_cpu_has_no_options() -> None:
    with pytest.raises(UsageError, match="the CPU has no driver settings, but precision was given"):
        open_file(file("fp32", ".tflite"), device_options={"precision": "f32"})


def test_every_provider_has_advice() -> None:
    assert set(onnxruntime.PROVIDERS) <= set(onnxruntime.ADVICE)


def test_a_file_for_the_edge_tpu_wants_one(tmp_path: Path) -> None:
    """The compiler's custom operator, named beside the others, marks a file as compiled."""
    from ai_edge_litert.tools import flatbuffer_utils as utils

    model = utils.read_model_from_bytearray(bytearray(file("int8", ".tflite").read_bytes()))
    code = utils.schema_fb.OperatorCodeT()
    code.builtinCode, code.deprecatedBuiltinCode = 32, 32
    code.customCode = b"edgetpu-custom-op"
    model.operatorCodes.append(code)
    path = tmp_path / "net_edgetpu.tflite"
    path.write_bytes(utils.convert_object_to_bytearray(model))
    with pytest.raises(ModelFileError, match=r"compiled for the Coral Edge TPU.*device='edgetpu'"):
        open_file(path)
    with pytest.raises(DeviceError, match=r"no device 'edgetpu'.*plug in the Coral accelerator"):
        open_file(path, device="edgetpu")
