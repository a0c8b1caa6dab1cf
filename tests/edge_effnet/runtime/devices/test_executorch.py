"""The Runner of .pte files, over a module with the API of ExecuTorch's runtime.

`make clients` opens real files with the real runtime.
"""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edge_effnet
from edge_effnet.benchmarks.compare import model_files
from edge_effnet.benchmarks.devices import placement_of
from edge_effnet.errors import DeviceError, MissingExtra, ModelFileError
from edge_effnet.formats import format_name, is_runnable
from edge_effnet.runtime.devices import executorch
from support import command

CLASSES = 10
FLOAT32, INT64 = 6, 4


class Tensor:
    """A tensor of torch, as far as the Runner needs it."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values

    def numpy(self) -> np.ndarray:
        return self.values


class Method:
    """A loaded method: ``forward`` gives the mean of the image for every class."""

    shape, kind, count = (1, 3, 32, 32), FLOAT32, 1

    def __init__(self, name: str) -> None:
        self.name = name

    def method_meta(self) -> Method:
        return self

    def num_inputs(self) -> int:
        return self.count

    def input_tensor_meta(self, index: int) -> Method:
        return self

    def sizes(self) -> tuple[int, ...]:
        return self.shape

    def dtype(self) -> int:
        return self.kind

    def __call__(self, inputs: list[Any]) -> list[Any]:
        if self.name == "edge_effnet":
            return ["{}"]
        (image,) = inputs
        if image.numpy().max() > 9:
            raise RuntimeError("Failed to execute method forward, error: 0x12")
        return [Tensor(np.full((1, CLASSES), image.numpy().mean(), np.float32))]


class Program:
    def __init__(self, data: bytes, program_verification: str) -> None:
        assert program_verification == "consistent"
        if not data.startswith(b"ET12", 4):
            raise RuntimeError("Failed to load program, error: 0x23")

    def num_methods(self) -> int:
        return 2

    def get_method_name(self, number: int) -> str:
        return ("forward", "edge_effnet")[number]

    def load_method(self, name: str) -> Method:
        return Method(name)


DATA = b"0000ET12"


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Installs the module; the numbers of threads that its pool was set to."""
    pools: list[int] = []
    library = types.ModuleType("_C")
    library._load_program_from_buffer = Program  # type: ignore[attr-defined]
    library.Verification = types.SimpleNamespace(  # type: ignore[attr-defined]
        InternalConsistency="consistent"
    )
    library._unsafe_reset_threadpool = pools.append  # type: ignore[attr-defined]
    torch = types.ModuleType("torch")
    torch.from_numpy = Tensor  # type: ignore[attr-defined]
    for name, each in (
        ("executorch", types.ModuleType("executorch")),
        ("executorch.extension.pybindings._C", library),
        ("torch", torch),
    ):
        monkeypatch.setitem(sys.modules, name, each)
    monkeypatch.setattr(executorch, "_pool", [])
    monkeypatch.setattr(executorch, "package_version", lambda name: "1.5.1")
    return pools


def test_images_and_the_pool_of_threads(runtime: list[int]) -> None:
    runner = executorch.ExecuTorchRunner(DATA, 3, "net.pte")
    other = executorch.ExecuTorchRunner(DATA, 2, "other.pte")
    assert runtime == [3]  # all files of a process share it
    assert (runner.info.threads, other.info.threads, runner.info.device) == (3, 3, "cpu")
    assert (runner.input.layout, runner.input.size, runner.card_text()) == ("NCHW", (32, 32), "{}")
    batch = np.stack([np.full((3, 32, 32), value, np.float32) for value in (0.5, -1)])
    np.testing.assert_allclose(runner.run(batch), np.tile([[0.5], [-1]], CLASSES))
    assert placement_of(runner) is None
    with pytest.raises(DeviceError, match="does not report"):
        runner.placement()
    with pytest.raises(ModelFileError, match=r"ExecuTorch stopped running net\.pte"):
        runner.run(batch + 100)


@pytest.mark.parametrize(
    ("data", "field", "value", "message"),
    [
        (b"nothing", "count", 1, r"ExecuTorch refuses net\.pte"),
        (DATA, "count", 2, "has 2 inputs"),
        (DATA, "kind", INT64, "is another type"),
        (DATA, "shape", (1, 1, 32, 32), "no axis of 3 colours"),
    ],
)
def test_other_programs_are_refused(
    data: bytes, field: str, value: Any, message: str,
    runtime: list[int], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(Method, field, value)
    with pytest.raises(ModelFileError, match=message):
        executorch.ExecuTorchRunner(data, 1, "net.pte")


@pytest.mark.skipif(command.installed("executorch"), reason="ExecuTorch is installed")
def test_without_executorch(tmp_path: Path) -> None:
    path = tmp_path / "net.pte"
    path.write_bytes(DATA)
    with pytest.raises(MissingExtra, match="executorch"):
        edge_effnet.open(path)
    assert (format_name(path), is_runnable(path)) == ("executorch", False)
    onnx = tmp_path / "net.onnx"
    onnx.write_bytes(command.file("int8", ".onnx").read_bytes())
    assert model_files(tmp_path) == [str(onnx)]  # others of the folder are compared
    assert model_files([path]) == [str(path)]
