"""No command opens a connection by itself: an audit hook in every process records attempts."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from support import command
from support.command import file

pytest.importorskip("openvino")
pytest.importorskip("onnxruntime")

#: Python runs this module at the start of every process, children included.
HOOK = """
import os, sys
def _record(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
        with open(os.environ["CONNECTIONS"], "a") as log:
            log.write(f"{event} {arguments[-1] if event == 'socket.connect' else arguments[:2]}\\n")
sys.addaudithook(_record)
"""


@pytest.fixture
def recorded(tmp_path: Path) -> Callable[..., str]:
    """Runs a command; returns the connections that any of its processes attempted."""
    hook = tmp_path / "hook"
    hook.mkdir()
    (hook / "sitecustomize.py").write_text(HOOK)
    log = tmp_path / "connections.txt"
    # OpenVINO reports to its maker except in CI, and once a user declined.
    unset = dict.fromkeys(("CI", "TF_BUILD", "JENKINS_URL"), "")
    env = {**unset, "PYTHONPATH": str(hook), "CONNECTIONS": str(log), "HOME": str(tmp_path)}

    def run(*arguments: object) -> str:
        done = command.run(*arguments, cwd=tmp_path, env=env)
        assert done.returncode == 0, done.stderr
        return log.read_text() if log.exists() else ""

    return run


def test_the_hook_sees_connections(tmp_path: Path) -> None:
    """The instrument works."""
    (tmp_path / "sitecustomize.py").write_text(HOOK)
    log = tmp_path / "connections.txt"
    code = "import socket\ntry: socket.create_connection(('127.0.0.1', 9), 1)\nexcept OSError: pass"
    env = {**os.environ, "PYTHONPATH": str(tmp_path), "CONNECTIONS": str(log)}
    subprocess.run([sys.executable, "-c", code], env=env, check=True)
    assert "127.0.0.1" in log.read_text()


@pytest.mark.parametrize("suffix", command.SUFFIXES)
@pytest.mark.parametrize("verb", ["classify", "info", "benchmark"])
def test_commands_that_open_a_file(verb: str, suffix: str, recorded: Callable[..., str]) -> None:
    assert recorded(*command.verbs(file("int8", suffix), command.photos())[verb]) == ""


@pytest.mark.slow
def test_export_and_comparison(recorded: Callable[..., str], tmp_path: Path) -> None:
    photos = command.photos()
    assert (
        recorded(
            *("export", "lite0", "--weights", "random", "--resolution", "64", "--force"),
            *("--calibration", photos, "--out", tmp_path / "out"),
        )
        == ""
    )
    files = sorted((tmp_path / "out").glob("*.[!b]*"))
    assert len(files) == 6
    assert recorded("compare", *files, "--images", photos, "--runs", "1", "--out", "page") == ""
    assert recorded("device") == ""
