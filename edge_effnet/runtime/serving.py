"""The child process of `served.ServedRunner`, in the environment of the device's packages."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from edge_effnet.errors import EdgeEffNetError
from edge_effnet.runtime.devices.finding import open_here
from edge_effnet.runtime.served import read_message


def serve() -> None:
    """The child process: open the file of the first message, then run each array that follows."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # runtimes may print

    def send(message: Mapping[str, Any], content: bytes = b"") -> None:
        out.write(json.dumps(message).encode() + b"\n" + content)
        out.flush()

    try:
        first = read_message(sys.stdin.buffer)
        if first is None:
            return
        request, data = first
        runner = open_here(
            request["name"], data, request["device"], request["options"], request["threads"]
        )
        send(
            {
                "input": asdict(runner.input),
                "info": asdict(runner.info),
                "placement": asdict(runner.placement()),
                "card": runner.card_text(),
            }
        )
        while (message := read_message(sys.stdin.buffer)) is not None:
            settings, content = message
            batch = np.frombuffer(content, settings["dtype"]).reshape(settings["shape"])
            output = np.ascontiguousarray(runner.run(batch), np.float32)
            send({"shape": output.shape, "dtype": "float32"}, output.tobytes())
    except EdgeEffNetError as error:
        send({"error": error.message, "hint": error.hint})
    except Exception as error:  # runtimes raise anything
        send({"error": f"{type(error).__name__}: {error}"})
