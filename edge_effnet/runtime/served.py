"""Runner of a device whose packages are in another Python environment: a child process serves it.

Messages are a line of JSON, followed by the bytes of an array if the line has ``shape``. The child
(`serving`) imports this package from where this process did.
"""

from __future__ import annotations

import json
import os
import subprocess
import threading
import weakref
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray

from edge_effnet.decoding import decode
from edge_effnet.errors import DeviceError
from edge_effnet.runtime.base import InputSpec, RuntimeInfo
from edge_effnet.runtime.placement import Placement

#: Longest time for compiling a file, and for one inference.
OPEN_SECONDS, RUN_SECONDS = 900.0, 300.0
_COLLECT_SECONDS = 5.0  # for what an ended process has written to standard error
_CODE = (
    "import sys, importlib.util as u; s = u.spec_from_file_location('edge_effnet', {init!r}, "
    "submodule_search_locations={places!r}); m = u.module_from_spec(s); "
    "sys.modules['edge_effnet'] = m; s.loader.exec_module(m); "
    "from edge_effnet.runtime.serving import serve; serve()"
)


class ServedRunner:
    """A file opened by the Python of another environment; see `Runner`."""

    def __init__(
        self,
        python: Path,
        data: bytes,
        name: str,
        device: str,
        options: Mapping[str, str],
        threads: int,
    ) -> None:
        """Start the child and open ``data`` on ``device`` there.

        Raises:
            DeviceError: The environment lacks a package, its process crashed or did not reply, or
                the device cannot run the file.
        """
        package = Path(__file__).parents[1]
        code = _CODE.format(init=str(package / "__init__.py"), places=[str(package)])
        self._name = f"{device} in the environment {python.parents[1]}"
        self._process = subprocess.Popen(  # noqa: S603
            [str(python), "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={key: value for key, value in os.environ.items() if not key.startswith("PYTHON")},
        )
        weakref.finalize(self, _end, self._process)
        self._stdin = cast(IO[bytes], self._process.stdin)
        self._stdout = cast(IO[bytes], self._process.stdout)
        self._last_lines: deque[bytes] = deque(maxlen=20)
        self._collector = threading.Thread(
            target=self._last_lines.extend, args=(self._process.stderr,), daemon=True
        )
        self._collector.start()
        request = {
            "name": name,
            "device": device,
            "options": dict(options),
            "threads": threads,
            "shape": [len(data)],
            "dtype": "uint8",
        }
        answer, _ = self._ask(request, data, OPEN_SECONDS)
        self.input: InputSpec = decode(InputSpec, answer["input"])
        self.info: RuntimeInfo = decode(RuntimeInfo, answer["info"])
        self._placement: Placement = decode(Placement, answer["placement"])
        self._card: str | None = answer["card"]

    def card_text(self) -> str | None:
        """The model card's JSON; None without a card."""
        return self._card

    def placement(self) -> Placement:
        """Where the operators run, by the runtime's own report."""
        return self._placement

    def run(self, batch: NDArray[np.generic]) -> NDArray[np.float32]:
        """Output float32 [n, classes] for n images [n, ...], as `Runner.run`."""
        request = {"shape": batch.shape, "dtype": batch.dtype.name}
        answer, content = self._ask(request, np.ascontiguousarray(batch).tobytes(), RUN_SECONDS)
        return np.frombuffer(content, np.float32).reshape(answer["shape"])

    def _ask(
        self, request: Mapping[str, Any], content: bytes, seconds: float
    ) -> tuple[dict[str, Any], bytes]:
        """The reply to ``request``, and its array's bytes; ends the process after ``seconds``."""
        late = threading.Event()

        def stop() -> None:
            late.set()
            self._process.kill()

        timer = threading.Timer(seconds, stop)
        timer.start()
        try:
            with suppress(OSError):  # the process has ended: there is no reply
                self._stdin.write(json.dumps(request).encode() + b"\n" + content)
                self._stdin.flush()
            answer = read_message(self._stdout)
            code = self._process.wait() if answer is None else 0
        except ValueError:
            self._process.kill()
            raise DeviceError(
                f"{self._name} sent no readable reply; check what its packages print"
            ) from None
        finally:
            timer.cancel()
        if late.is_set():
            raise DeviceError(
                f"{self._name} did not reply within {seconds:g} s; try a smaller file or another "
                "device"
            )
        if answer is None:
            self._collector.join(_COLLECT_SECONDS)
            lines = b"".join(self._last_lines).decode("utf-8", "replace").strip().splitlines()
            why = lines[-1][:300] if lines else "it names no reason"
            raise DeviceError(
                f"{self._name} ended with {code} ({why}); check the packages of that environment"
            )
        if "error" in answer[0]:
            raise DeviceError(str(answer[0]["error"]), hint=str(answer[0].get("hint", "")))
        return answer


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


def read_message(stream: IO[bytes]) -> tuple[dict[str, Any], bytes] | None:
    """Read one message: its JSON header and the bytes of its array; None at the end of the stream.

    Raises:
        ValueError: Something else than a message was sent.
    """
    line = stream.readline()
    if not line:
        return None
    message = json.loads(line)
    if not isinstance(message, dict):
        raise ValueError("a message is a JSON object")
    if "shape" not in message:
        return message, b""
    size = int(np.prod(message["shape"])) * np.dtype(message["dtype"]).itemsize
    content = stream.read(size)
    return (message, content) if len(content) == size else None
