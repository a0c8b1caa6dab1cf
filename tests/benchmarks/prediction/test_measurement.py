"""Micro-benchmarks whose worker process fills standard error, or ends without a result."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping

import pytest

from edge_effnet.benchmarks.latency import host
from edge_effnet.benchmarks.prediction.measurement import measure_latency_model
from edge_effnet.benchmarks.records import Host
from edge_effnet.errors import DeviceError

#: More than a pipe holds, as drivers print about each compiled network.
CHATTER = "import sys; sys.stderr.write('compiled\\n' * 100_000); "


class Scripted:
    """A target device on which a given Python script replaces the worker process."""

    name = "scripted"

    def __init__(self, script: str) -> None:
        self.script = script

    def describe(self, threads: int) -> tuple[Host, list[int]]:
        return host.describe(), [0]

    def start(self, settings: str, variables: Mapping[str, str]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-S", "-c", self.script],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (CHATTER + """print('banner'); print('{"error": "no kernels"}')""", "no kernels"),
        (CHATTER + "sys.exit('the driver stopped')", "the driver stopped"),
        ("import os; os.abort()", "it ended with -6"),
    ],
)
def test_the_reason_is_named(script: str, message: str) -> None:
    with pytest.raises(DeviceError, match=f"cannot be timed in onnx int8: {message}"):
        measure_latency_model(["onnx"], ["int8"], machine=Scripted(script))
