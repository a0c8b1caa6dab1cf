"""A file served by another environment's Python: its results, and processes that fail or hang."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from edge_effnet.errors import DeviceError
from edge_effnet.runtime import served
from edge_effnet.runtime.served import ServedRunner

#: Replies as `serving` does, but returns each input; ends after the second one.
ECHO = """
import json, sys
def send(message, content=b""):
    sys.stdout.buffer.write(json.dumps(message).encode() + b"\\n" + content)
    sys.stdout.flush()
sys.stdin.buffer.read(json.loads(sys.stdin.buffer.readline())["shape"][0])
sys.stderr.write("a line\\n" * 100_000)
send({
    "input": {"dtype": "float32", "layout": "NHWC", "size": [1, 1]},
    "info": {"name": "echo", "version": "1", "threads": 1, "kernels": "none"},
    "placement": {"device": "echo", "operators": 1, "on_device": 1, "multiply_adds": 0,
                  "multiply_adds_on_device": 0},
    "card": None,
})
for _ in range(2):
    message = json.loads(sys.stdin.buffer.readline())
    send(message, sys.stdin.buffer.read(4 * message["shape"][0] * message["shape"][1]))
sys.exit("the driver stopped")
"""
#: Begins a script that takes the whole request and replies late or never.
REQUEST_READ = """
import json, sys, time
sys.stdin.buffer.read(json.loads(sys.stdin.buffer.readline())["shape"][0])
"""


def opened(script: str, folder: Path) -> ServedRunner:
    """A runner whose child process runs ``script``; its file exceeds a pipe's buffer."""
    python = folder / "environment" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f"#!{sys.executable} -S\n{script}")
    python.chmod(0o755)
    return ServedRunner(python, bytes(1 << 20), "a.onnx", "qnn", {}, 1)


def test_arrays_arrive_until_the_process_ends(tmp_path: Path) -> None:
    runner = opened(ECHO, tmp_path)
    assert runner.info.name == "echo"
    values = np.arange(100_000, dtype=np.float32).reshape(100, 1000)
    for factor in (1, 2):
        np.testing.assert_array_equal(runner.run(factor * values), factor * values)
    for _ in range(2):  # at once both times
        with pytest.raises(DeviceError, match=r"ended with 1 \(the driver stopped\)"):
            runner.run(values)


def test_errors_of_the_other_environment_are_raised_here() -> None:
    with pytest.raises(DeviceError, match="driver settings are for an accelerator"):
        ServedRunner(Path(sys.executable), b"", "a.onnx", "cpu", {}, 1)


@pytest.mark.parametrize(
    ("script", "seconds", "message"),
    [
        ("import time; time.sleep(600)", 1.0, "did not reply within 1 s"),
        (
            REQUEST_READ + "print('welcome', flush=True); time.sleep(600)",
            100.0,
            "no readable reply",
        ),
        (REQUEST_READ + "print('1', flush=True); time.sleep(600)", 100.0, "no readable reply"),
        ("import os; os.abort()", 100.0, "ended with -6"),
    ],
)
def test_a_process_that_fails_is_an_error_and_not_awaited(
    script: str, seconds: float, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(served, "OPEN_SECONDS", seconds)
    with pytest.raises(DeviceError, match=message):
        opened(script, tmp_path)
