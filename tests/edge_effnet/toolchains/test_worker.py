"""A script answers arrays with arrays; one that ends or hangs is an error with its last line."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from edge_effnet.errors import DeviceError
from edge_effnet.toolchains import environment, worker
from edge_effnet.toolchains.registry import TOSA
from edge_effnet.toolchains.worker import Worker

DOUBLE = """
import io, sys
import numpy as np
while length := int.from_bytes(sys.stdin.buffer.read(8), "little"):
    values = np.load(io.BytesIO(sys.stdin.buffer.read(length)))
    content = io.BytesIO()
    np.save(content, 2 * values)
    sys.stdout.buffer.write(len(content.getvalue()).to_bytes(8, "little") + content.getvalue())
    sys.stdout.flush()
"""


def started(
    text: str, folder: Path, monkeypatch: pytest.MonkeyPatch, seconds: float = 60.0
) -> Worker:
    (folder / "script.py").write_text(text)
    monkeypatch.setattr(worker, "_SCRIPTS", folder)
    monkeypatch.setattr(environment, "prepared", lambda toolchain: Path(sys.executable))
    return Worker(TOSA, "script", [], seconds)


def test_arrays_arrive_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    running = started(DOUBLE, tmp_path, monkeypatch)
    values = np.arange(200_000, dtype=np.int32).reshape(2, -1)[:, ::2]
    for _ in range(2):
        answer = running.ask(values)
        np.testing.assert_array_equal(answer, 2 * values)
        assert answer.dtype == np.int32
    running.close()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import sys; sys.stdin.buffer.read(8); sys.exit('one\\nno kernel for MUL')", "no kernel"),
        ("import os; os.abort()", "exit -6"),
        ("import sys; sys.stdout.buffer.write(bytes(8)); sys.stdout.flush()", "stopped"),
    ],
)
def test_scripts_that_end(
    text: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = started(text, tmp_path, monkeypatch)
    with pytest.raises(DeviceError, match=message):
        running.ask(np.zeros(100_000))
    running.close()


def test_a_script_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    running = started("import time; time.sleep(60)", tmp_path, monkeypatch, seconds=0.5)
    with pytest.raises(DeviceError, match="no reply within"):
        running.ask(np.zeros(3))
    running.close()
