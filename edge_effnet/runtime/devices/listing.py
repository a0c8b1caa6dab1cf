"""Devices of this machine, listed by a child process per runtime: loading a driver may crash."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict
from typing import Any

from edge_effnet import subprocesses
from edge_effnet.decoding import decode
from edge_effnet.runtime.devices.device import Device, DeviceOptions

_SECONDS = 60.0


def devices(suffix: str, options: DeviceOptions | None = None) -> list[Device]:
    """The devices for files with ``suffix``, but the CPU; empty if listing crashes or hangs."""
    try:
        done = subprocess.run(  # noqa: S603
            subprocesses.command(__name__, suffix, json.dumps(dict(options or {}))),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_SECONDS,
            check=False,
        )
        content: list[Any] = json.loads(done.stdout)
    except (subprocess.TimeoutExpired, ValueError):
        return []
    return [decode(Device, item) for item in content]


def _main(suffix: str, options: str) -> None:
    from edge_effnet.errors import EdgeEffNetError
    from edge_effnet.runtime.devices.finding import devices as list_here

    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    try:
        listed = list_here(suffix, json.loads(options))
    except EdgeEffNetError:  # the runtime is not installed
        listed = []
    out.write(json.dumps([asdict(device) for device in listed]))
    out.flush()
    os._exit(0)


if __name__ == "__main__":
    _main(*sys.argv[1:])
