"""Runner for int8 .tflite files on Arm's TOSA reference model: the integers that an Ethos-U gives.

The model is bit-exact: Ethos-U's compilers and this model implement the same integer profile of the
TOSA specification, with the rounding of tflite-micro's kernels. It is slow, and tells accuracy, not
time. It runs in an environment of its own (`edge_effnet.toolchains`).
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from edge_effnet.errors import ModelFileError
from edge_effnet.runtime.base import InputSpec, RuntimeInfo, class_rows, input_spec
from edge_effnet.runtime.litert import card_in
from edge_effnet.runtime.operators import of_tflite
from edge_effnet.runtime.placement import Placement, placement
from edge_effnet.runtime.tflite_verifier import Record, check_structure
from edge_effnet.toolchains.registry import TOSA
from edge_effnet.toolchains.worker import Worker

_TYPES = {0: "float32", 3: "uint8", 9: "int8"}  # of the enum TensorType
_KERNELS = "TOSA reference model"
_SECONDS = 600.0  # for one image: V2-XL at 512 px takes two minutes


class TosaRunner:
    """An int8 image classifier in a .tflite file; see `Runner`."""

    def __init__(self, data: bytes, name: str, device: str = "ethos-u") -> None:
        """Start the reference model with ``data``.

        Args:
            data: Content of the file.
            name: Name of the file in messages.
            device: Name of the device in records.

        Raises:
            ModelFileError: The file is damaged, or is not an int8 image classifier.
            MissingExtra: The reference model cannot be installed.
        """
        model = check_structure(data, name)
        graph = model["subgraphs"][0]
        if len(graph["inputs"]) != 1 or len(graph["outputs"]) != 1:
            raise ModelFileError(f"{name} is no image classifier with one input and one output")
        tensors = graph["tensors"]
        if any(_TYPES.get(t["type"]) == "float32" for t in _inner(graph)):
            raise ModelFileError(
                f"{name} computes in float32, which an Ethos-U cannot; export it as int8"
            )
        first, self._output = tensors[graph["inputs"][0]], tensors[graph["outputs"][0]]
        dtype = _TYPES.get(first["type"], "another type")
        scale, zero_point = _quantization(first)
        spec = input_spec(name, dtype, first["shape"].tolist())
        self._spec = replace(spec, scale=scale, zero_point=zero_point)
        self._name, self._card, self._device = name, card_in(model), device
        self._operators = of_tflite(model)
        self._integer = [_is_integer(operator, tensors) for operator in graph["operators"]]
        self._folder = tempfile.TemporaryDirectory(prefix="edge-effnet-tosa-")
        source = Path(self._folder.name) / "network.tflite"
        source.write_bytes(data)
        output = _TYPES.get(self._output["type"], "int8")
        arguments = [str(source), self._folder.name, output]
        self._worker = Worker(TOSA, "tosa", arguments, seconds=_SECONDS)

    @property
    def input(self) -> InputSpec:
        """Description of the input tensor of `run`."""
        return self._spec

    @property
    def info(self) -> RuntimeInfo:
        """The reference model, its version, and that it runs on one thread."""
        version = TOSA.version("tosa-tools")
        return RuntimeInfo("tosa-tools", version, 1, _KERNELS, self._device, True)

    def card_text(self) -> str | None:
        """The model card's JSON; None without a card."""
        return self._card

    def placement(self) -> Placement:
        """The operators on integers are the NPU's; vela decides about a board ('check')."""
        source = "types of the operators' tensors"
        return placement(self._operators, self._integer, "Arm Ethos-U", source, software=True)

    def run(self, batch: NDArray[np.generic]) -> NDArray[np.float32]:
        """Output float32 [n, classes] for n images [n, ...]; integers are dequantized.

        Raises:
            DeviceError: The reference model refuses the file, or stops.
        """
        values = self._worker.ask(batch)
        logits = class_rows(self._name, values, len(batch))
        scale, zero_point = _quantization(self._output)
        if scale:
            logits -= cast(int, zero_point)
            logits *= np.float32(scale)
        return logits


def _is_integer(operator: Record, tensors: list[Record]) -> bool:
    """Whether an operator reads and writes no float tensor."""
    indices = (*operator["inputs"].tolist(), *operator["outputs"].tolist())
    return all(_TYPES.get(tensors[index]["type"]) != "float32" for index in indices if index >= 0)


def _inner(graph: Record) -> list[Record]:
    """Tensors between the operators; the input and the output may be float."""
    ends = {*graph["inputs"].tolist(), *graph["outputs"].tolist()}
    names = {index for operator in graph["operators"] for index in operator["outputs"].tolist()}
    return [graph["tensors"][index] for index in names - ends]


def _quantization(tensor: Record) -> tuple[float | None, int | None]:
    """Scale and zero point of an integer tensor; None without."""
    quantization = tensor["quantization"]
    if _TYPES.get(tensor["type"]) == "float32" or quantization is None:
        return None, None
    if not len(quantization["scale"]):
        return None, None
    return float(quantization["scale"][0]), int(quantization["zero_point"][0])
