"""LiteRT's own profiler, through the C interface of its library (libLiteRt, ai-edge-litert 2).

The Python package has no method for it, but it ships the library with LiteRT's public C interface
(google-ai-edge/LiteRT, ``litert/c``), which is called here with ctypes. Other releases may have
other data structures, and a wrong one crashes the process: `measure` therefore runs in a child
process and accepts only times whose sum is plausible.
"""

from __future__ import annotations

import ctypes
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_effnet import subprocesses
from edge_effnet.errors import DeviceError
from edge_effnet.runtime.litert import LiteRTRunner

_LIBRARIES = ("libLiteRt.so", "libLiteRt.dylib", "LiteRt.dll")
_CPU = 1  # kLiteRtHwAcceleratorCpu
_WRITE = 1  # kLiteRtTensorBufferLockModeWrite
_ELEMENT_TYPES = {"float32": 1, "uint8": 3, "int8": 9}  # kLiteRtElementType...
_OPERATOR = 2 | 8  # bits of events of the interpreter's and of a delegate's operators
_SECONDS = 120
_WARM_UP = 5
#: Shares of the whole run that the sum of the operators may have. The rest is overhead of the
#: calls; times are cut to whole microseconds.
_PLAUSIBLE = (0.5, 1.1)

#: Part of an XNNPACK operator's name -> operators of the file that it may compute. The first match
#: counts. XNNPACK computes pointwise convolutions as fully connected layers.
_KINDS = (
    ("DWConv", ("DEPTHWISE_CONV_2D",)),
    ("Convolution", ("CONV_2D", "DEPTHWISE_CONV_2D")),
    ("Fully Connected", ("CONV_2D", "FULLY_CONNECTED")),
    ("Add", ("ADD",)),
    ("Multiply", ("MUL",)),
    ("Subtract", ("SUB",)),
    ("Sigmoid", ("LOGISTIC",)),
    ("HardSwish", ("HARD_SWISH",)),
    ("Mean", ("MEAN", "SUM")),
    ("Average Pooling", ("AVERAGE_POOL_2D", "MEAN")),
    ("Global Average", ("MEAN", "AVERAGE_POOL_2D")),
    ("Max Pooling", ("MAX_POOL_2D",)),
    ("Pad", ("PAD",)),
    ("Reshape", ("RESHAPE",)),
    ("Softmax", ("SOFTMAX",)),
    ("Concatenate", ("CONCATENATION",)),
    ("Clamp", ("RELU", "RELU6")),
    ("Unary", ("LOGISTIC", "RELU", "TANH", "DEQUANTIZE", "QUANTIZE")),
    ("Convert", ("QUANTIZE", "DEQUANTIZE")),
)
#: XNNPACK adds conversions of its own; only the next operator of the file is one of them.
_ADDED = "Convert"


@dataclass(frozen=True)
class ProfiledOperator:
    """Time of one operator.

    Attributes:
        output: Name of the file's tensor that it computes; its ``kind`` if it matches no operator.
        kind: The runtime's name of the operator.
        ms: Interquartile mean over the runs; the profiler's clock counts microseconds.
    """

    output: str
    kind: str
    ms: float


def measure(
    data: bytes, batch: NDArray[np.generic], threads: int, runs: int
) -> list[ProfiledOperator]:
    """Operators of a TFLite file in execution order, with their mean times.

    Args:
        data: Content of the file.
        batch: Input of the runs.
        threads: Compute threads.
        runs: Number of profiled runs.

    Raises:
        DeviceError: The installed runtime has no usable profiler.
    """
    with tempfile.TemporaryDirectory() as folder:
        model, images = Path(folder) / "model.tflite", Path(folder) / "batch.npy"
        model.write_bytes(data)
        np.save(images, batch)
        command = subprocesses.command(__name__, str(model), str(images), str(threads), str(runs))
        try:
            done = subprocess.run(  # noqa: S603
                command, capture_output=True, timeout=_SECONDS, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise DeviceError(f"LiteRT's profiler did not end within {_SECONDS} s") from error
    if done.returncode != 0:
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
        last = lines[-1].strip() if lines else f"exit code {done.returncode}"
        raise DeviceError(f"LiteRT's profiler cannot be used here ({last})")
    content = json.loads(done.stdout.splitlines()[-1])
    share = content["share"]
    if not _PLAUSIBLE[0] <= share <= _PLAUSIBLE[1]:
        raise DeviceError(
            f"LiteRT's profiler reports {100 * share:.0f} % of the whole time for all operators "
            "together, so its times cannot be used"
        )
    return [ProfiledOperator(**item) for item in content["operators"]]


class _Layout(ctypes.Structure):
    _fields_ = (
        ("rank", ctypes.c_uint, 7),
        ("has_strides", ctypes.c_uint, 1),
        ("dimensions", ctypes.c_int32 * 8),
        ("strides", ctypes.c_uint32 * 8),
    )


class _TensorType(ctypes.Structure):
    _fields_ = (("element_type", ctypes.c_int), ("layout", _Layout))


class _Event(ctypes.Structure):
    _fields_ = (
        ("tag", ctypes.c_char_p),
        ("kind", ctypes.c_int),
        ("start_us", ctypes.c_uint64),
        ("elapsed_us", ctypes.c_uint64),
        ("memory", ctypes.c_size_t * 6),  # before and after
        ("metadata", ctypes.c_uint64 * 2),
        ("source", ctypes.c_int),
    )


class _Library:
    """The C interface; a call that fails raises `DeviceError`."""

    def __init__(self) -> None:
        package = find_spec("ai_edge_litert")
        folders = list(package.submodule_search_locations or ()) if package else []
        files = [Path(folder) / name for folder in folders for name in _LIBRARIES]
        file = next((file for file in files if file.is_file()), None)
        if file is None:
            raise DeviceError("only ai-edge-litert 2 and later has a profiler")
        self._library = ctypes.CDLL(str(file))

    def __call__(self, name: str, *arguments: Any) -> None:
        try:
            function = getattr(self._library, f"LiteRt{name}")
        except AttributeError:
            raise DeviceError(f"the runtime has no function LiteRt{name}") from None
        status = function(*arguments)
        if status != 0:
            raise DeviceError(f"LiteRt{name} failed with status {status}")

    def create(self, name: str, *arguments: Any) -> ctypes.c_void_p:
        """The handle that the last argument of the function receives."""
        handle = ctypes.c_void_p()
        self(name, *arguments, ctypes.byref(handle))
        return handle


class _CompiledModel:
    """A compiled model with profiling enabled. Its handles live as long as the process."""

    def __init__(self, data: bytes, threads: int) -> None:
        self.call = call = _Library()
        # LiteRT reads these after the calls.
        self._content = ctypes.create_string_buffer(data, len(data))
        self._texts: list[ctypes.Array[ctypes.c_char]] = []
        self._environment = call.create("CreateEnvironment", ctypes.c_int(0), None)
        model = call.create(
            "CreateModelFromBuffer", self._environment, self._content, ctypes.c_size_t(len(data))
        )
        self._options = call.create("CreateOptions")
        call("SetOptionsHardwareAccelerators", self._options, ctypes.c_int(_CPU))
        self._add_options(b"runtime_options_string", "enable_profiling = true\n")
        self._add_options(b"xnnpack", f"num_threads = {threads}\n")
        self._model = call.create("CreateCompiledModel", self._environment, model, self._options)

    def _add_options(self, owner: bytes, toml: str) -> None:
        text = ctypes.create_string_buffer(toml.encode())
        self._texts.append(text)
        options = self.call.create("CreateOpaqueOptions", owner, text, _KEEP)
        self.call("AddOpaqueOptions", self._options, options)

    def buffer(self, side: str, array: NDArray[np.generic]) -> ctypes.c_void_p:
        """Buffer for the only ``Input`` or ``Output``, filled with ``array``."""
        kind = _TensorType()
        kind.element_type = _ELEMENT_TYPES[array.dtype.name]
        kind.layout.rank = array.ndim
        for axis, size in enumerate(array.shape):
            kind.layout.dimensions[axis] = size
        first = ctypes.c_size_t(0)
        needs = self.call.create(
            f"GetCompiledModel{side}BufferRequirements", self._model, first, first
        )
        buffer = self.call.create(
            "CreateManagedTensorBufferFromRequirements",
            self._environment,
            ctypes.byref(kind),
            needs,
        )
        place = ctypes.c_void_p()
        self.call("LockTensorBuffer", buffer, ctypes.byref(place), ctypes.c_int(_WRITE))
        ctypes.memmove(place, np.ascontiguousarray(array).ctypes.data, array.nbytes)
        self.call("UnlockTensorBuffer", buffer)
        return buffer

    def run(self, source: ctypes.c_void_p, target: ctypes.c_void_p) -> None:
        """Run the model once."""
        one, first = ctypes.c_size_t(1), ctypes.c_size_t(0)
        self.call(
            "RunCompiledModel",
            self._model,
            first,
            one,
            ctypes.byref(source),
            one,
            ctypes.byref(target),
        )

    def profiled(self, run: Callable[[], None], runs: int) -> list[_Event]:
        """All events in ``runs`` calls of ``run``."""
        profiler = self.call.create("CompiledModelGetProfiler", self._model)
        self.call("StartProfiler", profiler)
        for _ in range(runs):
            run()
        self.call("StopProfiler", profiler)
        count = ctypes.c_int()
        self.call("GetNumProfilerEvents", profiler, ctypes.byref(count))
        events = (_Event * count.value)()
        self.call("GetProfilerEvents", profiler, count, events)
        return list(events)


#: Deleter of options: Python owns them.
_KEEP = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(lambda content: None)


def matched(kinds: Sequence[str], operators: Sequence[tuple[str, str]]) -> list[str]:
    """Output tensor of the file's operator that each profiled operator computes.

    Both lists are in the order of execution. The runtime may fuse operators of the file, or add
    its own; those get their kind as name.

    Args:
        kinds: Names of the profiled operators.
        operators: (type, name of the output tensor) of the file's operators.
    """
    names, position = [], 0
    for kind in kinds:
        types = next((types for part, types in _KINDS if part in kind), (kind,))
        end = position + 1 if _ADDED in kind else len(operators)
        rest = range(position, min(end, len(operators)))
        index = next((index for index in rest if operators[index][0] in types), None)
        if index is None:
            names.append(kind)
            continue
        names.append(operators[index][1])
        position = index + 1
    return names


def _main(model: str, images: str, threads: int, runs: int) -> None:
    """Print the operators and the time of a whole run as JSON on the last line."""
    data, batch = Path(model).read_bytes(), np.load(images)
    runner = LiteRTRunner(data, threads, model)
    compiled = _CompiledModel(data, threads)
    source = compiled.buffer("Input", batch)
    target = compiled.buffer("Output", runner.output_like())

    def run() -> None:
        compiled.run(source, target)

    for _ in range(_WARM_UP):
        run()
    everything = compiled.profiled(run, runs)
    invoked_ms = sum(event.elapsed_us for event in everything if _is_invocation(event)) / 1000
    events = [event for event in everything if event.kind & _OPERATOR]
    count = len(events) // runs
    if count == 0 or len(events) != count * runs or not invoked_ms:
        raise DeviceError(f"{len(events)} events of {runs} runs")
    kinds = [event.tag.decode("utf-8", "replace") for event in events[:count]]
    names = matched(kinds, runner.operators())
    times = np.array([event.elapsed_us for event in events]).reshape(runs, count) / 1000
    operators = [
        asdict(ProfiledOperator(name, kind, round(float(_middle_mean(column)), 5)))
        for name, kind, column in zip(names, kinds, times.T, strict=True)
    ]
    sys.stdout.write(json.dumps({"share": times.sum() / invoked_ms, "operators": operators}) + "\n")


def _is_invocation(event: _Event) -> bool:
    """Whether the event is a whole run of the interpreter."""
    return bool(event.kind == 1 and event.tag == b"Invoke")


def _middle_mean(values: NDArray[np.float64]) -> np.floating[Any]:
    """Mean of the middle half: finer than the clock's microsecond, and free of outliers."""
    ordered = np.sort(values)
    quarter = len(ordered) // 4
    return np.mean(ordered[quarter : len(ordered) - quarter])


if __name__ == "__main__":
    _main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
