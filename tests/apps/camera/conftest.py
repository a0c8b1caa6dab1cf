"""An X server for the tests that open windows."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session")
def display() -> Iterator[str]:
    """``:N`` of an X server of our own."""
    for program in ("Xvfb", "xdotool"):
        if shutil.which(program) is None:
            pytest.skip(f"there is no {program} (apt-get install xvfb xdotool)")
    receiving, sending = os.pipe()
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(sending), "-screen", "0", "1280x900x24", "-nolisten", "tcp"],
        pass_fds=[sending],
        stderr=subprocess.DEVNULL,
    )
    os.close(sending)
    with os.fdopen(receiving) as number:
        name = number.readline().strip()
    assert name, "Xvfb does not start"
    yield f":{name}"
    server.terminate()
    server.wait()
