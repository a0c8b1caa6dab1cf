"""The child process of `trial.attempt`: opens a file on a device and runs images."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edge_effnet.errors import EdgeEffNetError
from edge_effnet.runtime.devices.automatic import time_runner
from edge_effnet.runtime.devices.trial import ERRORS, Trial
from edge_effnet.runtime.opening import create_runner, read_model_files


def _main(settings: dict[str, Any]) -> dict[str, Any]:
    path = Path(settings["path"])
    data, companion = read_model_files(path)
    runner = create_runner(
        path,
        data,
        companion,
        settings["threads"],
        device=settings["device"],
        device_options=settings["options"],
    )
    milliseconds, logits = time_runner(runner, settings["images"])
    return asdict(Trial(runner.info.device, runner.placement(), milliseconds, logits))


def _run(settings: dict[str, Any]) -> None:
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # drivers may print
    try:
        answer = _main(settings)
    except EdgeEffNetError as error:
        kind = type(error).__name__
        known = kind if kind in ERRORS else "DeviceError"
        answer = {"error": error.message, "hint": error.hint, "kind": known}
    except Exception as error:  # drivers raise anything
        text = f"the device {settings['device']!r} failed ({error})"
        answer = {"error": text, "hint": "use another device", "kind": "DeviceError"}
    out.write("\n" + json.dumps(answer))  # the last line, whatever the interpreter printed
    out.flush()
    os._exit(0)  # a driver that crashes at exit has done its work


if __name__ == "__main__":
    _run(json.loads(sys.argv[1]))
