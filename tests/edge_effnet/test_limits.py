"""`limits`: what a child process that reads a stranger's file cannot do."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from edge_effnet import limits, subprocesses

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems limit less")


def run(code: str, folder: Path, size: int = 0) -> subprocess.CompletedProcess[str]:
    """Run ``code`` as a module in a limited child process."""
    (folder / "stranger.py").write_text(code)
    sys.path.insert(0, str(folder))
    try:
        command = subprocesses.command("stranger", limited_to=size)
    finally:
        sys.path.remove(str(folder))
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=400)


def test_memory(tmp_path: Path) -> None:
    code = "held = bytearray({} << 20); print(len(held))"
    assert run(code.format(800), tmp_path).returncode == 0
    assert "MemoryError" in run(code.format(1100), tmp_path).stderr
    assert run(code.format(1100), tmp_path, 96 << 20).returncode == 0


def test_cpu_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "from edge_effnet import limits\nlimits.SECONDS = 1\nlimits.apply(0)\nwhile True: pass"
    assert run(code, tmp_path).returncode < 0


def test_cpu_time_is_told_from_a_crash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "endless.py").write_text("while True: pass")
    monkeypatch.syspath_prepend(str(tmp_path))
    code = "import resource; resource.setrlimit(resource.RLIMIT_CPU, (1, 9)); "
    command = subprocesses.command
    monkeypatch.setattr(
        subprocesses,
        "command",
        lambda *words, **options: [
            part.replace("import runpy; ", f"import runpy; {code}") for part in command(*words)
        ],
    )
    with pytest.raises(subprocess.TimeoutExpired):
        limits.run("endless", (), 0)


def test_files(tmp_path: Path) -> None:
    done = run("open('new', 'wb', 0).write(b'x')", tmp_path)
    assert "File too large" in done.stderr
    assert not (tmp_path / "new").read_bytes()


def test_network(tmp_path: Path) -> None:
    code = """
import socket
server = socket.create_server(("127.0.0.1", 0))
print("bound")
socket.create_connection(server.getsockname(), timeout=5)
"""
    done = run(code, tmp_path)
    assert "unreachable" in done.stderr, done.stderr


def test_meanwhile_runs_beside_the_child_and_its_errors_end_the_child(tmp_path: Path) -> None:
    (tmp_path / "stranger.py").write_text("import sys; print(sys.stdin.read()); print('done')")
    (tmp_path / "endless.py").write_text("import time; time.sleep(60)")
    sys.path.insert(0, str(tmp_path))
    calls: list[str] = []

    def interrupted() -> None:  # no signal: it ends a worker of pytest-xdist
        raise KeyboardInterrupt

    try:
        done = limits.run("stranger", (), 0, lambda: calls.append("called"))
        started = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            limits.run("endless", (), 0, interrupted)
    finally:
        sys.path.remove(str(tmp_path))
    assert (calls, done.returncode, done.stdout.split()) == (["called"], 0, [b"done"])
    assert time.monotonic() - started < 30


def test_larger_inputs_may_cost_more() -> None:
    assert limits.seconds_for(0) == limits.SECONDS <= 20
    assert limits.memory_for(0) == limits.MEMORY <= 900 << 20
    assert limits.seconds_for(100 << 20) < 20
    assert limits.memory_for(50 << 20) == limits.MEMORY
    assert limits.seconds_for(300 << 20) > 50
    assert limits.memory_for(300 << 20) > 2 << 30


def test_a_busy_machine_gets_more_time_and_another_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits.os, "cpu_count", lambda: 2)
    for load, factor in ((0.0, 1), (2.0, 1), (6.0, 3), (99.0, 4)):
        monkeypatch.setattr(limits.os, "getloadavg", lambda load=load: (load, 0.0, 0.0))
        assert limits.patience(0) == limits.SECONDS * factor
        late = subprocess.TimeoutExpired("", limits.patience(0))
        busy = "try again when it is idle" in limits.slowness(0, late)
        assert busy == (load > 2)
        assert ("damaged" in limits.slowness(0, late)) != busy
        out_of_time = subprocess.TimeoutExpired("", limits.seconds_for(0))
        assert "made to last" in limits.slowness(0, out_of_time)
