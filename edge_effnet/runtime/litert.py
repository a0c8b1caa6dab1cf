"""Runner for .tflite files: LiteRT (ai-edge-litert), or tflite-runtime on older Raspberry Pis."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_effnet.card import CARD_KEY
from edge_effnet.errors import ModelFileError, require
from edge_effnet.runtime.base import InputSpec, RuntimeInfo, input_spec, running
from edge_effnet.runtime.operators import of_tflite
from edge_effnet.runtime.placement import Placement, placement
from edge_effnet.runtime.silence import silenced
from edge_effnet.runtime.tflite_verifier import Record, check_structure, parse

_PACKAGES = {"ai_edge_litert": "ai-edge-litert", "tflite_runtime": "tflite-runtime"}
_OUTPUTS = ("float32", "uint8", "int8")
#: Value of the enum TensorType -> type of an input or output.
_TYPES = {0: "float32", 3: "uint8", 9: "int8"}


def read_card(data: bytes) -> str | None:
    """JSON of the file's `ModelCard`; None without a card. Needs only numpy.

    Raises:
        ModelFileError: ``data`` is not a valid .tflite file.
    """
    return card_in(parse(data))


class LiteRTRunner:
    """A .tflite image classifier with one input and one output; see `Runner`."""

    def __init__(
        self,
        data: bytes,
        threads: int,
        name: str,
        *,
        keep_tensors: bool = False,
        delegate: Any = None,
        device: str = "cpu",
    ) -> None:
        """Verify ``data`` and create the interpreter.

        Args:
            data: Content of the file.
            threads: Compute threads.
            name: Name of the file in messages.
            keep_tensors: Whether intermediate tensors remain readable after `run`. This needs more
                memory.
            delegate: External delegate that takes operators from the CPU. The others run on
                built-in kernels, so that the delegate's nodes are its own.
            device: Name of the delegate's device.

        Raises:
            ModelFileError: The file is damaged, needs a newer runtime, or is not an image
                classifier.
            MissingExtra: No runtime is installed.
        """
        model = check_structure(data, name)
        self._card, self._file = card_in(model), name
        self._operators = of_tflite(model)
        module, package = interpreter_module()
        options: dict[str, Any] = {}
        if keep_tensors:
            options["experimental_preserve_all_tensors"] = True
        if delegate is not None:
            options["experimental_delegates"] = [delegate]
            options["experimental_op_resolver_type"] = (
                module.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
            )
        try:
            with silenced(), warnings.catch_warnings():
                # The option for intermediate tensors warns "for debugging purposes only".
                warnings.simplefilter("ignore", UserWarning)
                interpreter = module.Interpreter(model_content=data, num_threads=threads, **options)
                interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise ModelFileError(
                f"{package} cannot run {name} ({' '.join(str(error).split())}); "
                f"update it (pip install -U {package}) or export the file again"
            ) from error
        self._interpreter: Any = interpreter
        self._input = _only(interpreter.get_input_details(), "inputs", name)
        self._output = _only(interpreter.get_output_details(), "outputs", name)
        self.input = _spec_of(self._input, name)
        _check_output(self._output, name)
        kernels = _kernels(interpreter) if delegate is None else f"delegate {device}"
        self.info = RuntimeInfo(package, package_version(package), threads, kernels, device)

    def card_text(self) -> str | None:
        """The model card's JSON; None without a card."""
        return self._card

    def placement(self) -> Placement:
        """Where the operators run: on the delegate or on the CPU, by the interpreter's nodes.

        Raises:
            ModelFileError: The runtime does not report delegated operators.
        """
        device, operators = self.info.device, self._operators
        if device == "cpu":
            return placement(operators, [True] * len(operators), "CPU", self.info.name)
        return placement(operators, self.delegated(), device, f"{self.info.name}'s nodes")

    def delegated(self) -> list[bool]:
        """For each operator of the file, in order: whether the delegate runs the operator.

        On the CPU, the delegate is XNNPACK.

        Raises:
            ModelFileError: The runtime does not report delegated operators.
        """
        try:
            operators = self._interpreter._get_ops_details()
        except (AttributeError, ValueError, RuntimeError) as error:
            raise ModelFileError(
                f"{self.info.name} {self.info.version} does not report which kernels run; "
                f"update it: pip install -U {self.info.name}"
            ) from error
        running = {item["index"] for item in _running(operators, [int(self._output["index"])])}
        file_operators = [item for item in operators if item["op_name"] != "DELEGATE"]
        return [item["index"] not in running for item in file_operators]

    def operators(self) -> list[tuple[str, str]]:
        """Type and name of the output tensor of each operator of the file, in order."""
        tensors = {item["index"]: item["name"] for item in self._interpreter.get_tensor_details()}
        return [
            (item["op_name"], str(tensors.get(int(item["outputs"][0]), "")))
            for item in self._interpreter._get_ops_details()
            if item["op_name"] != "DELEGATE"
        ]

    def output_like(self) -> NDArray[np.generic]:
        """An array with the shape and type of the output tensor, filled with zeros."""
        return np.zeros(self._output["shape"], self._output["dtype"])

    def run(self, batch: NDArray[np.generic]) -> NDArray[np.float32]:
        """Output float32 [1, classes] for one image [1, ...] in the file's input dtype and layout.

        Integer outputs are dequantized. Raises ValueError for another shape or dtype.
        """
        with running(self.info.name, self._file):
            self._interpreter.set_tensor(self._input["index"], batch)
            self._interpreter.invoke()
        values: NDArray[Any] = self._interpreter.get_tensor(self._output["index"])
        return dequantized(values, self._output["quantization"])


def dequantized(values: NDArray[Any], quantization: tuple[float, int]) -> NDArray[np.float32]:
    """The output tensor as float32 [1, classes]; ``quantization`` is (scale, zero point)."""
    logits = values.reshape(1, -1).astype(np.float32)
    scale, zero_point = quantization
    if values.dtype != np.float32 and scale:
        logits -= zero_point
        logits *= np.float32(scale)
    return logits


def card_in(model: Record) -> str | None:
    """JSON of the `ModelCard` in a parsed .tflite file; None without a card."""
    for entry in model["metadata"]:
        if entry["name"] == CARD_KEY and entry["buffer"] < len(model["buffers"]):
            content: bytes = model["buffers"][entry["buffer"]]["data"].tobytes()
            return content.decode("utf-8", "replace")
    return None


def interpreter_module() -> tuple[Any, str]:
    """The module with the interpreter class, and the name of its package."""
    for module, package in _PACKAGES.items():
        try:
            return import_module(f"{module}.interpreter"), package
        except ImportError:
            continue
    return require("ai_edge_litert.interpreter", "litert"), _PACKAGES["ai_edge_litert"]


def package_version(package: str) -> str:
    """Version of an installed package; "unknown" for a copied module."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


def _only(details: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    if len(details) != 1:
        raise ModelFileError(f"{name} has {len(details)} {kind}; an image classifier has one")
    return details[0]


def tensor_spec(model: Record, name: str) -> tuple[InputSpec, Record]:
    """`InputSpec` of a parsed .tflite file with one input and one output, and its output tensor.

    Raises:
        ModelFileError: The file is not an image classifier.
    """
    graph = model["subgraphs"][0]
    for kind in ("inputs", "outputs"):
        if len(graph[kind]) != 1:
            raise ModelFileError(f"{name} has {len(graph[kind])} {kind}; an image classifier has 1")
    details = []
    for kind in ("inputs", "outputs"):
        tensor = graph["tensors"][int(graph[kind][0])]
        quantization = tensor["quantization"] or {"scale": (), "zero_point": ()}
        details.append(
            {
                "dtype": _TYPES.get(tensor["type"], "object"),
                "shape": tensor["shape"],
                "quantization": (
                    float(next(iter(quantization["scale"]), 0.0)),
                    int(next(iter(quantization["zero_point"]), 0)),
                ),
            }
        )
    first, last = details
    _check_output(last, name)
    return _spec_of(first, name), last


def _spec_of(detail: dict[str, Any], name: str) -> InputSpec:
    spec = input_spec(name, np.dtype(detail["dtype"]).name, detail["shape"].tolist())
    if spec.batch != 1:
        raise ModelFileError(f"{name} takes {spec.batch} images at once; export it with batch 1")
    scale, zero_point = detail["quantization"]
    if spec.dtype == "float32" or not scale:
        return spec
    return replace(spec, scale=float(scale), zero_point=int(zero_point))


def _check_output(detail: dict[str, Any], name: str) -> None:
    shape, dtype = detail["shape"].tolist(), np.dtype(detail["dtype"]).name
    if dtype not in _OUTPUTS or max(shape, default=0) != math.prod(shape):
        raise ModelFileError(
            f"the output of {name} is {dtype} {shape}; float32, uint8 or int8 [1, classes] "
            "is needed"
        )


def _kernels(interpreter: Any) -> str:
    """Text on the kernels in use, for example "XNNPACK int8 and 2 built-in kernels".

    The interpreter lists all operators, then the delegate's nodes that replace some operators. A
    backward search from the outputs finds the nodes that actually run. The list comes from a
    private interface that may be missing.
    """
    try:
        operators = interpreter._get_ops_details()
        kind = _arithmetic(operators, interpreter.get_tensor_details())
        outputs = [int(detail["index"]) for detail in interpreter.get_output_details()]
    except (AttributeError, ValueError, RuntimeError):
        return "unknown"
    running = _running(operators, outputs)
    delegated = sum(operator["op_name"] == "DELEGATE" for operator in running)
    builtin = len(running) - delegated
    if not delegated:
        return f"built-in kernels, {kind}"
    partitions = "" if delegated == 1 else f", {delegated} partitions"
    builtin_text = f" and {builtin} built-in kernel{'s' * (builtin > 1)}" if builtin else ""
    return f"XNNPACK {kind}{partitions}{builtin_text}"


def _arithmetic(operators: list[dict[str, Any]], tensors: list[dict[str, Any]]) -> str:
    """Compute type of XNNPACK, derived from the operators with int8 outputs.

    Without int8 outputs, the readers of int8 constants decide. If only DEQUANTIZE reads them,
    XNNPACK computes in float32. Otherwise it quantizes the inputs at run time.
    """
    integers = {int(tensor["index"]) for tensor in tensors if tensor["dtype"] == np.int8}
    if any(int(index) in integers for operator in operators for index in operator["outputs"]):
        return "int8"
    readers = {
        operator["op_name"]
        for operator in operators
        if any(int(index) in integers for index in operator["inputs"])
    }
    if not readers:
        return "float32"
    if readers <= {"DEQUANTIZE", "DELEGATE"}:
        return "float32 with int8 weights"
    return "int8 with dynamically quantized inputs"


def _running(operators: list[dict[str, Any]], outputs: list[int]) -> list[dict[str, Any]]:
    """The operators that ``outputs`` depend on.

    If several operators write a tensor, only the last is followed: the delegate's node, which
    replaces the others.
    """
    maker = {int(index): operator for operator in operators for index in operator["outputs"]}
    pending, visited = list(outputs), set(outputs)
    running: dict[int, dict[str, Any]] = {}
    while pending:
        operator = maker.get(pending.pop())
        if operator is None:
            continue
        running[operator["index"]] = operator
        for index in map(int, operator["inputs"]):
            if index not in visited:
                visited.add(index)
                pending.append(index)
    return list(running.values())
