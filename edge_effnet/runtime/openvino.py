"""Runner for OpenVINO IR files: an .xml with its .bin beside it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_effnet.card import CARD_KEY
from edge_effnet.errors import ModelFileError, require
from edge_effnet.runtime.base import (
    InputSpec,
    RuntimeInfo,
    class_rows,
    filled,
    input_spec,
    refusal,
    running,
)

_DTYPES = {"f32": "float32", "u8": "uint8", "i8": "int8"}


class OpenVinoRunner:
    """A float32 or integer image classifier in OpenVINO IR files, on the CPU.

    ``precision`` is OpenVINO's inference precision hint. Without f32, CPUs with bf16 or fp16 units
    compute float models in bf16 or fp16.
    """

    def __init__(
        self, xml: bytes, weights: bytes, threads: int, name: str, precision: str = "f32"
    ) -> None:
        ov = require("openvino", "openvino")
        core = ov.Core()
        try:
            self._model = core.read_model(xml, ov.Tensor(np.frombuffer(weights, np.uint8)))
        except Exception as error:  # OpenVINO raises RuntimeError and pybind11's exceptions
            raise refusal("OpenVINO", name, error) from error
        self._adapt(self._model, name)
        try:
            self._compiled = core.compile_model(
                self._model,
                "CPU",
                {
                    "PERFORMANCE_HINT": "LATENCY",
                    "INFERENCE_NUM_THREADS": threads,
                    "INFERENCE_PRECISION_HINT": precision,
                },
            )
        except Exception as error:  # also exceptions of OpenVINO's plugins
            raise refusal("OpenVINO", name, error) from error
        if len(self._compiled.inputs) != 1:
            raise ModelFileError(
                f"{name} has {len(self._compiled.inputs)} inputs; an image classifier has one"
            )
        first = self._compiled.input(0)
        element, shape = first.get_element_type().get_type_name(), first.get_partial_shape()
        sides = [] if shape.rank.is_dynamic else list(shape)
        self._input = input_spec(
            name,
            _DTYPES.get(element, element),
            [side.get_length() if side.is_static else str(side) for side in sides],
        )
        self._file = name
        self._request = self._compiled.create_infer_request()
        version = ov.__version__.split("-")[0]
        self._info = RuntimeInfo("openvino", version, threads, f"CPU plugin, {precision}")

    def _adapt(self, model: Any, name: str) -> None:
        """Hook for subclasses: change the openvino.Model before compilation."""

    @property
    def input(self) -> InputSpec:
        """Description of the input tensor of `run`."""
        return self._input

    @property
    def info(self) -> RuntimeInfo:
        """The runtime, its version, threads and kernels."""
        return self._info

    def card_text(self) -> str | None:
        """The model card's JSON; None without a card."""
        if not self._model.has_rt_info([CARD_KEY]):
            return None
        return str(self._model.get_rt_info([CARD_KEY]).value)

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
        size = max(self._input.batch, len(batch))
        with running("OpenVINO", self._file):
            results = self._request.infer([filled(batch, size)], share_inputs=True)
        return class_rows(self._file, results[0], size)[: len(batch)]
