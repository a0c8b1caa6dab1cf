"""A command under a limit of memory outlives the crash of a native library."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no limits of memory there")

_PROGRAM = """
import os, signal, sys
from edge_effnet.commands import system_limits
sentence = system_limits.outlive()
if sentence:
    sys.exit(sentence)
{}
"""


def limited(code: str, limit: int = 1 << 30) -> subprocess.CompletedProcess[str]:
    """``code`` after `outlive`, in a process that may map ``limit`` bytes."""
    return subprocess.run(
        [sys.executable, "-c", _PROGRAM.format(code)],
        capture_output=True,
        text=True,
        timeout=400,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
    )


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGABRT", "SIGBUS"])
def test_a_crash_becomes_a_sentence(name: str) -> None:
    done = limited(f"os.kill(os.getpid(), signal.{name})")
    assert done.returncode == 1
    assert done.stderr.strip().startswith("there is not enough memory")


@pytest.mark.parametrize("code", [0, 2, 130])
def test_the_exit_code_passes(code: int) -> None:
    done = limited(f"print('once'); sys.exit({code})")
    assert (done.returncode, done.stdout) == (code, "once\n")


@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM"])
def test_other_signals_pass(name: str) -> None:
    done = limited(f"os.kill(os.getpid(), signal.{name})")
    assert done.returncode == -getattr(signal, name)


def test_sigterm_reaches_the_command() -> None:
    done = limited("""
signal.signal(signal.SIGTERM, lambda *_: os._exit(7))
os.kill(os.getppid(), signal.SIGTERM)
signal.pause()
""")
    assert done.returncode == 7


@pytest.mark.skipif(
    resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY,
    reason="this process has a limit of memory",
)
def test_no_child_without_a_limit() -> None:
    program = _PROGRAM.format("print(os.getppid())")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert int(done.stdout) == os.getpid()
