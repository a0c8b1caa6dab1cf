"""Runner for OpenVINO IR files: an .xml with its .bin beside it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_effnet.card import CARD_KEY
from edge_effnet.errors import DeviceError, ModelFileError, require
from edge_effnet.runtime.base import (
    RuntimeInfo,
    class_rows,
    filled,
    input_spec,
    refusal,
    running,
)
from edge_effnet.runtime.operators import Operator
from edge_effnet.runtime.placement import Placement, placement

_CONVOLUTIONS = ("Convolution", "GroupConvolution")
#: Operator types of the executed graph that compute nothing.
_STORES = ("Const", "Input", "Output", "Parameter", "Constant", "Result")
_REPORT = "OpenVINO's EXECUTION_DEVICES"
_DTYPES = {"f32": "float32", "u8": "uint8", "i8": "int8"}


class OpenVinoRunner:
    """A float32 or integer image classifier in OpenVINO IR files.

    ``device`` is OpenVINO's name of a device, ``settings`` are its properties. ``precision`` is
    OpenVINO's inference precision hint. Without f32, CPUs with bf16 or fp16 units compute float
    models in bf16 or fp16.
    """

    def __init__(
        self,
        xml: bytes,
        weights: bytes,
        threads: int,
        name: str,
        precision: str = "f32",
        *,
        device: str = "CPU",
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        ov = require("openvino", "openvino")
        core = ov.Core()
        try:
            self._model = core.read_model(xml, ov.Tensor(np.frombuffer(weights, np.uint8)))
        except Exception as error:  # OpenVINO raises RuntimeError and pybind11's exceptions
            raise refusal("OpenVINO", name, error) from error
        self._adapt(self._model, name)
        self._core, self._device = core, device
        hints: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY"}
        if device == "CPU":
            hints |= {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": precision}
        try:
            self._compiled = core.compile_model(self._model, device, {**hints, **(settings or {})})
        except Exception as error:  # also exceptions of OpenVINO's plugins
            if device == "CPU":
                raise refusal("OpenVINO", name, error) from error
            why = str(error).strip().rpartition("\n")[2][:300]
            raise DeviceError(
                f"OpenVINO's {device} cannot run {name} ({why}); run it on another device, or "
                "check its driver settings"
            ) from error
        if len(self._compiled.inputs) != 1:
            raise ModelFileError(
                f"{name} has {len(self._compiled.inputs)} inputs; an image classifier has one"
            )
        first = self._compiled.input(0)
        element, shape = first.get_element_type().get_type_name(), first.get_partial_shape()
        sides = [] if shape.rank.is_dynamic else list(shape)
        self.input = input_spec(
            name,
            _DTYPES.get(element, element),
            [side.get_length() if side.is_static else str(side) for side in sides],
        )
        self._file = name
        self._request = self._compiled.create_infer_request()
        version = ov.__version__.split("-")[0]
        kernels = f"{device} plugin, {precision if device == 'CPU' else self._precision()}"
        label = "cpu" if device == "CPU" else device
        self.info = RuntimeInfo("openvino", version, threads, kernels, label)

    def _adapt(self, model: Any, name: str) -> None:
        """Hook for subclasses: change the openvino.Model before compilation."""

    def card_text(self) -> str | None:
        """The model card's JSON; None without a card."""
        if not self._model.has_rt_info([CARD_KEY]):
            return None
        return str(self._model.get_rt_info([CARD_KEY]).value)

    def _precision(self) -> str:
        """The inference precision that the device chose."""
        try:
            element = self._compiled.get_property("INFERENCE_PRECISION_HINT")
        except Exception:  # the device has no such property
            return "precision unknown"
        return str(element.get_type_name() if hasattr(element, "get_type_name") else element)

    def placement(self) -> Placement:
        """Where the operators run: by EXECUTION_DEVICES; for HETERO by `Core.query_model`."""
        if self._device.startswith("HETERO"):
            return self._shared_placement()
        executed = [node for node in self.executed() if node["layerType"] not in _STORES]
        operators = _with_products(executed, self._products())
        devices = [str(each) for each in self._compiled.get_property("EXECUTION_DEVICES")]
        wanted = self._device.partition(":")[0]
        here = wanted in ("AUTO", "MULTI", "BATCH") or any(
            each.strip("()").partition(".")[0] == wanted.partition(".")[0] for each in devices
        )
        title = f"OpenVINO {self._device}, which runs on {', '.join(devices)}"
        return placement(
            operators, [here] * len(operators), "CPU" if wanted == "CPU" else title, _REPORT
        )

    def _shared_placement(self) -> Placement:
        """Of the operators with multiply-adds: those that are not left to the CPU."""
        where = dict(self._core.query_model(self._model, self._device))
        operators = [
            Operator(name, kind, products) for name, (kind, products) in self._products().items()
        ]
        first = self._device.partition(":")[2].partition(",")[0]
        marks = [str(where.get(each.name, "")).startswith(first) for each in operators]
        return placement(operators, marks, f"OpenVINO {first}", "Core.query_model")

    def _products(self) -> dict[str, tuple[str, int]]:
        """Name of each convolution and product of matrices -> kind and multiply-adds."""
        products = {}
        for node in self._model.get_ordered_ops():
            kind = node.get_type_name()
            if kind not in (*_CONVOLUTIONS, "MatMul"):
                continue
            output = _sides(node.output(0).get_partial_shape())
            weights = _sides(node.input_value(1).get_partial_shape())
            elements = math.prod(output[1:])
            # [out, in, height, width], with groups in front [groups, out, in, height, width]
            taps = weights[2 if kind == "GroupConvolution" else 1 :]
            each = math.prod(weights) // output[-1] if kind == "MatMul" else math.prod(taps)
            products[node.get_friendly_name()] = kind, elements * each
        return products

    def executed(self) -> list[dict[str, str]]:
        """The operators of the fused graph, each with the plugin's runtime information.

        The keys include ``name``, ``layerType`` and ``runtimePrecision``.
        """
        operators = []
        for node in self._compiled.get_runtime_model().get_ordered_ops():
            entries = {key: str(value.value) for key, value in node.get_rt_info().items()}
            operators.append({**entries, "name": node.get_friendly_name()})
        return operators

    def run(self, batch: NDArray[np.generic]) -> NDArray[np.float32]:
        """Output float32 [n, classes] for n images [n, ...]."""
        size = max(self.input.batch, len(batch))
        with running("OpenVINO", self._file):
            results = self._request.infer([filled(batch, size)], share_inputs=True)
        return class_rows(self._file, results[0], size)[: len(batch)]


def _sides(shape: Any) -> list[int]:
    """The sides of a partial shape; 1 for a dynamic one."""
    return [side.get_length() if side.is_static else 1 for side in shape]


def _with_products(
    executed: Sequence[Mapping[str, str]], products: Mapping[str, tuple[str, int]]
) -> list[Operator]:
    """The executed operators, each with the multiply-adds of the layers fused into it.

    Layers whose names the plug-in dropped count with the last operator.
    """
    rest, operators = dict(products), []
    for node in executed:
        layers = node.get("originalLayersNames", "").split(",")
        count = sum(rest.pop(layer)[1] for layer in layers if layer in rest)
        operators.append(Operator(node["name"], node["layerType"], count))
    if rest and operators:
        last = operators[-1]
        dropped = sum(count for _, count in rest.values())
        operators[-1] = Operator(last.name, last.kind, last.multiply_adds + dropped)
    return operators
