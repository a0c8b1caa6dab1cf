"""Runner for .onnx files: ONNX Runtime with the CPU execution provider."""

from __future__ import annotations

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


class OnnxRuntimeRunner:
    """A float32 or integer image classifier in an .onnx file."""

    def __init__(self, data: bytes, threads: int, name: str) -> None:
        ort = require("onnxruntime", "onnx")
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's errors have no other common base
            raise refusal("ONNX Runtime", name, error) from error
        inputs = self._session.get_inputs()
        if len(inputs) != 1:
            raise ModelFileError(f"{name} has {len(inputs)} inputs; an image classifier has one")
        (first,) = inputs
        self._file, self._name = name, first.name
        dtype = first.type.removeprefix("tensor(").removesuffix(")")
        self._input = input_spec(name, "float32" if dtype == "float" else dtype, first.shape)
        self._info = RuntimeInfo("onnxruntime", ort.__version__, threads, "CPUExecutionProvider")

    @property
    def input(self) -> InputSpec:
        """Description of the input tensor of `run`."""
        return self._input

    @property
    def info(self) -> RuntimeInfo:
        """The runtime, its version, threads and kernels."""
        return self._info

    def card_text(self) -> str | None:
        """The model card's JSON; None without a card. Raises `ModelFileError` if damaged."""
        try:
            entries = self._session.get_modelmeta().custom_metadata_map
        except UnicodeDecodeError as error:
            raise ModelFileError(
                f"{self._file} is damaged: its metadata is not text; export or download it again"
            ) from error
        text = entries.get(CARD_KEY)
        return None if text is None else str(text)

    def run(self, batch: NDArray[np.generic]) -> NDArray[np.float32]:
        """Output float32 [n, classes] for n images [n, ...]."""
        size = max(self._input.batch, len(batch))
        with running("ONNX Runtime", self._file):
            (output,) = self._session.run(None, {self._name: filled(batch, size)})[:1]
        return class_rows(self._file, output, size)[: len(batch)]
