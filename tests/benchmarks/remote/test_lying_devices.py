"""Banners, noise, lies and endless output from a machine behind ssh: a sentence, little memory."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_effnet.benchmarks.json_lines import MOST_BYTES
from edge_effnet.json_text import object_of
from support.command import SCRIPT, exported, refused, run
from support.sshd import Server, serving

FILE = "tiny-lite-int8.onnx"
ESCAPE = "\\033]0;owned\\007\\033[2J"
#: Shell programs in place of the device's Python: what they print in reply to anything.
LIARS = {
    "nothing": "true",
    "text": "echo hello",
    "no object": "echo '[1, 2]'",
    "another object": "echo '{\"hello\": 1}'",
    "nulls": 'echo \'{"folder": null, "free": null, "have": null}\'',
    "texts": 'echo \'{"folder": "/tmp", "free": "much", "have": {"a": "b"}}\'',
    "another folder": 'echo \'{"folder": "/etc", "free": 1e12, "have": {}}\'',
    "NaN": 'echo \'{"folder": "/tmp", "free": NaN, "have": {}}\'',
    "digits": "printf '{\"free\": '; head -c 100000 /dev/zero | tr '\\0' 9; echo '}'",
    "deep": "head -c 100000 /dev/zero | tr '\\0' '['; echo",
    "bytes": "head -c 100000 /dev/urandom; echo",
    "escapes": f"printf '{ESCAPE}\\n'; printf '{ESCAPE}\\n' >&2; exit 1",
    "much": f"head -c {2 * MOST_BYTES} /dev/zero",
    "endless line": "cat /dev/zero",
    "endless lines": "yes hello",
    "endless errors": "yes error | head -c 100000000 >&2; exit 3",
}


#: Runs a command and writes the peak memory of its processes to a file. A child inherits the peak
#: of the process that starts it, so pytest itself cannot measure it.
MEASURED = """
import resource, subprocess, sys
from pathlib import Path
done = subprocess.run(sys.argv[2:])
Path(sys.argv[1]).write_text(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
sys.exit(done.returncode)
"""


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving() as running:
        yield running


def liar(server: Server, text: str) -> str:
    program = server.folder / "liar"
    program.write_text(f"#!/bin/sh\ncat > /dev/null\n{text}\n")
    program.chmod(0o755)
    return str(program)


@pytest.mark.parametrize("kind", LIARS)
def test_a_lying_device_is_a_sentence(kind: str, server: Server, tmp_path: Path) -> None:
    options = ("--host", server.url, "--ssh-config", server.config)
    words = (SCRIPT, "device", *options, "--python", liar(server, LIARS[kind]))
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, tmp_path / "peak", *map(str, words)],
        cwd=tmp_path,
        capture_output=True,
        encoding="utf-8",
        timeout=300,
    )
    message = refused(done)
    assert "127.0.0.1" in message
    assert not {"\x1b", "\x07"} & set(done.stderr)
    assert int((tmp_path / "peak").read_text()) <= 250_000, "in kB"


def test_banners_are_no_replies(server: Server, tmp_path: Path) -> None:
    python = liar(server, "true")
    Path(python).write_text(
        f'#!/bin/sh\necho "Welcome {{friend}}"\nprintf "{ESCAPE}\\n"\n{sys.executable} "$@"\n'
        "status=$?\necho bye\nexit $status\n"
    )
    done = run(
        *("benchmark", exported() / FILE, "--runs", "2", "--host", server.url),
        *("--ssh-config", server.config, "--python", python, "--json", "out.json"),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "out.json").read_text())["records"][0]["latency_ms"]
    assert server.left_behind() == []


@pytest.mark.parametrize("line", [b"", b"{", b"[]", b"1", b"{}x", b"\xff{}", b'{"a": NaN' * 9])
def test_other_lines_are_no_objects(line: bytes) -> None:
    assert object_of(line) is None


def test_an_object() -> None:
    assert object_of(b' {"a": 1}\r\n') == {"a": 1}
