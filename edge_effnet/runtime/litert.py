"""Running .tflite files: ai-edge-litert, or tflite-runtime where only that exists (older Pis)."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_effnet.card import CARD_KEY
from edge_effnet.errors import MissingExtra, ModelFileError, UsageError, require
from edge_effnet.runtime.base import InputSpec, RuntimeInfo
from edge_effnet.runtime.tflite_check import check_structure, parse

_PACKAGES = {"ai_edge_litert": "ai-edge-litert", "tflite_runtime": "tflite-runtime"}
_DTYPES = ("float32", "uint8", "int8")
_stderr = threading.Lock()


def read_card(data: bytes) -> str | None:
    """The JSON of the file's `ModelCard`, None if it carries none; needs numpy only.

    Raises `ModelFileError` if ``data`` is not a sound .tflite file.
    """
    model = parse(data)
    for entry in model["metadata"]:
        if entry["name"] == CARD_KEY and entry["buffer"] < len(model["buffers"]):
            content: bytes = model["buffers"][entry["buffer"]]["data"].tobytes()
            return content.decode("utf-8", "replace")
    return None


class LiteRTRunner:
    """A .tflite image classifier with one input and one output; see `Runner`."""

    def __init__(self, data: bytes, threads: int, name: str) -> None:
        """Check ``data`` and prepare it to run on ``threads``; ``name`` is for messages.

        Raises `ModelFileError` for a file that is damaged, needs a newer runtime or is no image
        classifier, `MissingExtra` without a runtime.
        """
        check_structure(data, name)
        module, package = _interpreter_module()
        try:
            with _silenced():
                interpreter = module.Interpreter(model_content=data, num_threads=threads)
                interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise ModelFileError(
                f"{package} cannot run {name} ({str(error).strip()}); "
                f"update it (pip install -U {package}) or export the file again"
            ) from error
        self._interpreter: Any = interpreter
        self._input, self._spec = _input_of(interpreter.get_input_details(), name)
        self._output = _output_of(interpreter.get_output_details(), name)
        self._info = RuntimeInfo(package, _version(package), threads, _kernels(interpreter))

    @property
    def input(self) -> InputSpec:
        """What `run` takes."""
        return self._spec

    @property
    def info(self) -> RuntimeInfo:
        """What runs it."""
        return self._info

    def run(self, batch: NDArray[np.generic]) -> NDArray[np.float32]:
        """One input [1, ...] of the file's dtype and layout -> float32 [1, classes].

        Raises `UsageError` for another shape or dtype.
        """
        shape = tuple(self._input["shape"])
        if batch.shape != shape or batch.dtype != self._spec.dtype:
            raise UsageError(
                f"the file takes {self._spec.dtype} {list(map(int, shape))}, "
                f"not {batch.dtype} {list(batch.shape)}"
            )
        self._interpreter.set_tensor(self._input["index"], batch)
        self._interpreter.invoke()
        values: NDArray[Any] = self._interpreter.get_tensor(self._output["index"])
        logits = values.reshape(1, -1).astype(np.float32)
        scale, zero_point = self._output["quantization"]
        if values.dtype != np.float32 and scale:
            logits -= zero_point
            logits *= np.float32(scale)
        return logits


def _interpreter_module() -> tuple[Any, str]:
    """The interpreter's module and the name of its package."""
    for module, package in _PACKAGES.items():
        try:
            return import_module(f"{module}.interpreter"), package
        except ImportError:
            continue
    return require("ai_edge_litert.interpreter", "litert"), _PACKAGES["ai_edge_litert"]


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


@contextmanager
def _silenced() -> Iterator[None]:
    """Keep the native library's log lines, which no option stops, off the terminal.

    It writes to file descriptor 2 itself; its errors come as exceptions all the same.
    """
    with _stderr:
        try:
            sys.stderr.flush()
            kept, sink = os.dup(2), os.open(os.devnull, os.O_WRONLY)
        except (OSError, AttributeError):  # no standard error at all
            yield
            return
        try:
            os.dup2(sink, 2)
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            os.close(sink)


def _input_of(details: list[dict[str, Any]], name: str) -> tuple[dict[str, Any], InputSpec]:
    if len(details) != 1:
        raise ModelFileError(f"{name} has {len(details)} inputs; an image classifier has one")
    detail = details[0]
    shape, dtype = [int(n) for n in detail["shape"]], np.dtype(detail["dtype"]).name
    if len(shape) != 4 or shape[0] != 1 or 3 not in (shape[1], shape[3]) or dtype not in _DTYPES:
        raise ModelFileError(
            f"{name} takes {dtype} {shape}; an image classifier takes float32, uint8 or int8 "
            "[1, height, width, 3]"
        )
    nhwc = shape[3] == 3
    size = (shape[1], shape[2]) if nhwc else (shape[2], shape[3])
    scale, zero_point = detail["quantization"]
    quantized = dtype != "float32" and bool(scale)
    spec = InputSpec(
        dtype=dtype,  # type: ignore[arg-type]  # checked against _DTYPES
        layout="NHWC" if nhwc else "NCHW",
        size=size,
        scale=float(scale) if quantized else None,
        zero_point=int(zero_point) if quantized else None,
    )
    return detail, spec


def _output_of(details: list[dict[str, Any]], name: str) -> dict[str, Any]:
    if len(details) != 1:
        raise ModelFileError(f"{name} has {len(details)} outputs; an image classifier has one")
    shape, dtype = [int(n) for n in details[0]["shape"]], np.dtype(details[0]["dtype"]).name
    if max(shape, default=0) != int(np.prod(shape)) or dtype not in _DTYPES:
        raise ModelFileError(f"{name} gives {dtype} {shape}; an image classifier gives [1, classes]")
    return details[0]


def _kernels(interpreter: Any) -> str:
    """Who computes: "XNNPACK int8", with the operators left to the built-in kernels if any.

    The interpreter lists its operators, then the delegate's nodes that replaced some; which ones
    run shows from the output backwards. The listing is not public, so its absence is no error.
    """
    try:
        operators = interpreter._get_ops_details()
        integer = any(tensor["dtype"] == np.int8 for tensor in interpreter.get_tensor_details())
        outputs = [int(detail["index"]) for detail in interpreter.get_output_details()]
    except (AttributeError, ValueError, RuntimeError):
        return "unknown"
    running = _running(operators, outputs)
    delegated = sum(operator["op_name"] == "DELEGATE" for operator in running)
    builtin = len(running) - delegated
    kind = "int8" if integer else "float32"
    if not delegated:
        return f"built-in kernels, {kind}"
    partitions = "" if delegated == 1 else f", {delegated} partitions"
    return f"XNNPACK {kind}{partitions}" + (f", {builtin} built-in operators" if builtin else "")


def _running(operators: list[dict[str, Any]], outputs: list[int]) -> list[dict[str, Any]]:
    """The operators that ``outputs`` depend on; of two makers of a tensor the later one counts."""
    maker = {int(index): operator for operator in operators for index in operator["outputs"]}
    pending, seen = list(outputs), set(outputs)
    running: dict[int, dict[str, Any]] = {}
    while pending:
        operator = maker.get(pending.pop())
        if operator is None:
            continue
        running[operator["index"]] = operator
        for index in map(int, operator["inputs"]):
            if index not in seen:
                seen.add(index)
                pending.append(index)
    return list(running.values())
