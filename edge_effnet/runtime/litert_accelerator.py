"""Runner for .tflite files on a GPU or NPU: LiteRT's CompiledModel with a hardware accelerator."""

from __future__ import annotations

import atexit
import os
import sys
import weakref
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edge_effnet.errors import DeviceError, MissingExtra, UsageError, require
from edge_effnet.runtime.base import RuntimeInfo, running
from edge_effnet.runtime.litert import (
    card_in,
    dequantized,
    package_version,
    tensor_spec,
)
from edge_effnet.runtime.operators import of_tflite
from edge_effnet.runtime.placement import Placement, placement
from edge_effnet.runtime.silence import silenced
from edge_effnet.runtime.tflite_verifier import check_structure

_PACKAGE = "ai-edge-litert"
#: ``device_options`` -> meaning, by accelerator.
OPTIONS = {"gpu": ("precision",), "npu": ("dispatch", "compiler")}
_REPORT = "CompiledModel.is_fully_accelerated"


class LiteRTAcceleratorRunner:
    """A .tflite image classifier with one input and one output on LiteRT's GPU or NPU accelerator.

    All operators must run on the accelerator: LiteRT does not report which ones fall back.
    """

    def __init__(
        self,
        data: bytes,
        name: str,
        accelerator: Literal["gpu", "npu"],
        device: str,
        title: str,
        options: Mapping[str, str],
        software: bool = False,
    ) -> None:
        """Verify ``data`` and compile it for the accelerator.

        Args:
            data: Content of the file.
            name: Name of the file in messages.
            accelerator: LiteRT's accelerator.
            device: Name of the device.
            title: Full name of the device.
            options: For the GPU ``precision``: "f32", or "auto" (float16 where the adapter
                computes it faster). For the NPU the vendor's libraries: ``dispatch`` and
                ``compiler``, the folders that they are in.
            software: Whether the device computes on the CPU.

        Raises:
            DeviceError: The accelerator does not run every operator of the file, or has no device.
            ModelFileError: The file is damaged or is not an image classifier.
            UsageError: An option is unknown.
            MissingExtra: LiteRT is not installed, or is too old.
        """
        model = check_structure(data, name)
        self._card, self._file, self._title = card_in(model), name, title
        self._operators = of_tflite(model)
        self.input, self._output = tensor_spec(model, name)
        precision = _check(options, accelerator)
        try:
            compiled: Any = require("ai_edge_litert.compiled_model", "litert")
        except MissingExtra as error:
            raise MissingExtra(
                f"{error.message}; GPUs and NPUs need {_PACKAGE} 2 or newer"
            ) from error
        with silenced(1, 2):
            try:
                self._model = _compile(compiled, data, accelerator, precision, options)
                self._inputs = self._model.create_input_buffers(0)
                self._outputs = self._model.create_output_buffers(0)
                weakref.finalize(self, _release, self._model, self._inputs, self._outputs)
                self._blank_run()  # the first run logs too
            except (RuntimeError, ValueError) as error:
                raise DeviceError(
                    f"{device} ({title}) cannot run {name} ({_reason(error)}); export another "
                    "precision, or run it on the CPU"
                ) from error
        text = {"gpu": "GPU accelerator", "npu": "NPU dispatch"}[accelerator]
        kernels = f"{text}, float32" if precision == "f32" else text
        version = package_version(_PACKAGE)
        self.info = RuntimeInfo(_PACKAGE, version, 1, kernels, device, software)

    def card_text(self) -> str | None:
        """The model card's JSON; None without a card."""
        return self._card

    def placement(self) -> Placement:
        """All operators on the accelerator if LiteRT says so; otherwise none is proved to be."""
        fully = bool(self._model.is_fully_accelerated())
        marks = [fully] * len(self._operators)
        return placement(self._operators, marks, self._title, _REPORT, self.info.software)

    def run(self, batch: NDArray[np.generic]) -> NDArray[np.float32]:
        """Output float32 [1, classes] for one image [1, ...] in the file's input dtype and layout.

        Integer outputs are dequantized. Raises ValueError for another shape or dtype.
        """
        shape = self.input.image_shape
        if batch.shape != shape or batch.dtype != self.input.dtype:
            raise ValueError(
                f"{self._file} takes {self.input.dtype} {list(shape)}, not {batch.dtype} "
                f"{list(batch.shape)}"
            )
        elements = int(np.prod(self._output["shape"]))
        with running(_PACKAGE, self._file):
            self._inputs[0].write(np.ascontiguousarray(batch))
            self._model.run_by_index(0, self._inputs, self._outputs)
            values = self._outputs[0].read(elements, np.dtype(self._output["dtype"]).type)
        return dequantized(np.asarray(values), self._output["quantization"])

    def _blank_run(self) -> None:
        atexit.unregister(_silence_exit)
        atexit.register(_silence_exit)
        self._inputs[0].write(np.zeros(self.input.image_shape, self.input.dtype))
        self._model.run_by_index(0, self._inputs, self._outputs)


def _silence_exit() -> None:
    """Discard what LiteRT logs when the process has ended: that it frees its environment."""
    sys.stderr.flush()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def _release(model: Any, *buffers: list[Any]) -> None:
    """Free buffers, model and environment, whose library logs that it does."""
    with silenced(1, 2):
        for each in buffers:
            each.clear()
        model.close()
        model.environment.close()


def _check(options: Mapping[str, str], accelerator: str) -> str:
    """The precision in ``options``; raises `UsageError` for an unknown option."""
    known = OPTIONS[accelerator]
    for option in options:
        if option not in known:
            raise UsageError(
                f"the {accelerator} of LiteRT has no option {option!r}; it has {', '.join(known)}"
            )
    precision = options.get("precision", "auto")
    if precision not in ("auto", "f32"):
        raise UsageError(f"precision {precision!r} of the GPU is neither 'auto' nor 'f32'")
    return precision


def _compile(
    compiled: Any, data: bytes, accelerator: str, precision: str, options: Mapping[str, str]
) -> Any:
    environment = None
    if options.get("dispatch") or options.get("compiler"):
        environment = compiled.Environment.create(
            dispatch_library_path=options.get("dispatch", ""),
            compiler_plugin_path=options.get("compiler", ""),
        )
    kind = compiled.HardwareAccelerator
    settings = compiled.Options(
        hardware_accelerators=kind.GPU if accelerator == "gpu" else kind.NPU,
        gpu_options=compiled.GpuOptions(enforce_f32=precision == "f32"),
    )
    return compiled.CompiledModel.from_buffer(data, environment=environment, options=settings)


def _reason(error: Exception) -> str:
    """LiteRT's reason without the places in its source."""
    lines = [line.strip(" └") for line in str(error).splitlines()]
    words = [line for line in lines if line and not line.startswith("ERROR: [")]
    return words[-1].split(". Add kLite")[0] if words else "LiteRT names no reason"
