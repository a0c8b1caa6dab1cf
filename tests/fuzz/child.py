"""Warm child processes: a process that has imported the runtimes forks one for each file.

The project starts a new interpreter for each file (`limits.run`), which takes most of the time of a
mutant. Limits, output and exit codes are the same here.
"""

from __future__ import annotations

import gc
import json
import os
import runpy
import selectors
import signal
import subprocess
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec

from edge_effnet import limits

#: Imported before any fork; none of them starts a thread when it is imported.
_WARM = (
    "numpy", "h5py", "onnx", "ai_edge_litert.interpreter", "onnxruntime", "openvino",
    "edge_effnet.runtime.opening",
    "edge_effnet.runtime.litert", "edge_effnet.runtime.onnxruntime", "edge_effnet.runtime.openvino",
    "edge_effnet.runtime.tflite_operators", "edge_effnet.runtime.onnx_verifier",
    "edge_effnet.runtime.openvino_verifier", "edge_effnet.checkpoints.keras.files",
)  # fmt: skip

if find_spec("executorch") is not None:
    _WARM += ("torch", "executorch.extension.pybindings._C")


class ForkServer:
    """A process that forks; `run` replaces `limits.run`.

    Attributes:
        memory: Largest peak memory of a child so far, in bytes.
    """

    def __init__(self) -> None:
        """The server starts with the first `run`: most kinds of files need none."""
        self.memory = 0
        self._pid = 0

    def _start(self) -> None:
        """Fork. Nothing has started threads: a file is opened in a child before it is here."""
        requests, self._requests = os.pipe()
        self._answers, answers = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            os.close(self._requests)
            os.close(self._answers)
            _serve(requests, answers)
            os._exit(0)
        os.close(requests)
        os.close(answers)
        self._input = os.fdopen(self._answers, "rb")

    def run(
        self,
        module: str,
        arguments: Sequence[str],
        size: int,
        meanwhile: Callable[[], None] | None = None,
    ) -> subprocess.CompletedProcess[bytes]:
        """As `limits.run`."""
        if not self._pid:
            self._start()
        request = {"module": module, "arguments": list(arguments), "size": size}
        os.write(self._requests, json.dumps(request).encode() + b"\n")
        if meanwhile is not None:
            meanwhile()
        header = json.loads(self._input.readline())
        output, errors = (self._input.read(length) for length in header["lengths"])
        self.memory = max(self.memory, header["memory"])
        if header["late"]:
            raise subprocess.TimeoutExpired(module, limits.seconds_for(size))
        return subprocess.CompletedProcess((module, *arguments), header["code"], output, errors)


def _serve(requests: int, answers: int) -> None:
    os.setsid()
    warnings.simplefilter("ignore")
    for name in _WARM:
        with suppress(ImportError):
            import_module(name)
    version("numpy")  # lists the installed packages once
    gc.collect()
    gc.freeze()  # children share these pages
    gc.disable()
    with os.fdopen(requests, "rb") as lines, os.fdopen(answers, "wb") as output:
        for line in lines:
            request = json.loads(line)
            code, parts, memory, late = _forked(**request)
            header = {"code": code, "memory": memory, "late": late, "lengths": [*map(len, parts)]}
            output.write(json.dumps(header).encode() + b"\n" + b"".join(parts))
            output.flush()


def _forked(module: str, arguments: list[str], size: int) -> tuple[int, list[bytes], int, bool]:
    """Exit code, standard output and error, peak memory in bytes, and whether it was ended."""
    pipes = [os.pipe(), os.pipe()]
    pid = os.fork()
    if pid == 0:
        for descriptor, (_, writing) in enumerate(pipes, start=1):
            os.dup2(writing, descriptor)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.closerange(3, 4096)
        os._exit(_run(module, arguments, size))
    for _, writing in pipes:
        os.close(writing)
    parts = {reading: b"" for reading, _ in pipes}
    deadline, late = time.monotonic() + limits.seconds_for(size), False
    with selectors.DefaultSelector() as selector:
        for reading in parts:
            selector.register(reading, selectors.EVENT_READ)
        while selector.get_map():
            for key, _ in selector.select(max(0.0, deadline - time.monotonic())):
                data = os.read(key.fd, 1 << 20)
                parts[key.fd] += data
                if not data:
                    selector.unregister(key.fd)
            if time.monotonic() >= deadline:
                late = True
                os.kill(pid, signal.SIGKILL)
                break
    for reading in parts:
        os.close(reading)
    _, status, usage = os.wait4(pid, 0)
    return os.waitstatus_to_exitcode(status), list(parts.values()), usage.ru_maxrss * 1024, late


def _run(module: str, arguments: list[str], size: int) -> int:
    code = 1
    try:
        limits.apply(size)
        sys.argv = [module, *arguments]
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        traceback.print_exc()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            code = code or 1
    return code
