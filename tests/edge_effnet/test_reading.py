"""Files that a user names: regular ones of bounded size, in memory that does not depend on size."""

from __future__ import annotations

import hashlib
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from edge_effnet import reading
from edge_effnet.errors import OutputError, UsageError
from edge_effnet.files import write_text
from edge_effnet.threads import check_threads
from support import command
from support.special_files import KINDS, special

GIGABYTE = 1 << 30


@pytest.mark.parametrize("kind", KINDS)
def test_only_regular_files_are_read(kind: str, tmp_path: Path) -> None:
    path = special(kind, tmp_path / "x")
    for read in (reading.read_bytes, reading.sha256, reading.check_regular):
        with pytest.raises(OSError, match=r"not a file|Is a directory") as caught:
            read(path)
        assert caught.value.filename == str(path)
    if kind not in ("socket", "empty"):
        with pytest.raises(OutputError, match="not a file"):
            write_text(path, "text")
        assert path.is_fifo() or path.is_char_device() or path.is_dir()


def test_sizes_are_bounded(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"abc")
    assert reading.read_bytes(path, 3) == b"abc"
    with pytest.raises(OSError, match=r"more than the 0\.0 GB"):
        reading.read_bytes(path, 2)
    assert reading.sha256(path) == hashlib.sha256(b"abc").hexdigest()


def limited(gigabytes: float, code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Python code in a process with a limit of its address space."""
    limit = int(gigabytes * GIGABYTE)
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=400,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
    )


@pytest.mark.slow
def test_six_gigabytes_are_hashed_in_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "large.pth"
    os.truncate(os.open(path, os.O_CREAT | os.O_WRONLY), 6 * GIGABYTE)
    code = (
        "import sys; from edge_effnet import reading; print(reading.sha256(sys.argv[1]));"
        "from edge_effnet.benchmarks.latency.host import peak_rss_mb; print(peak_rss_mb())"
    )
    done = limited(0.5, code, path)
    assert done.returncode == 0, done.stderr
    digest, peak_mb = done.stdout.split()
    expected = hashlib.sha256()
    for _ in range(6 * 64):
        expected.update(bytes(GIGABYTE // 64))
    assert digest == expected.hexdigest()
    assert float(peak_mb) < 100


@pytest.mark.parametrize("suffix", [".tflite", ".onnx", ".xml", ".pth", ".safetensors", ".h5"])
def test_huge_sparse_files_are_refused(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"large{suffix}"
    os.truncate(os.open(path, os.O_CREAT | os.O_WRONLY), 6 * GIGABYTE)
    if suffix == ".xml":
        path.with_suffix(".bin").touch()
    code = (
        "import sys, resource; resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30));"
        "from edge_effnet.cli import main; main(['info', sys.argv[1]])"
    )
    done = limited(3, code, path)
    assert command.refused(done)


@pytest.mark.parametrize("threads", [-1, 0, 1000, 99_999, 10**30])
def test_threads_that_no_machine_starts(threads: int) -> None:
    with pytest.raises(UsageError, match="threads cannot compute on"):
        check_threads(threads)
    assert check_threads(0, least=0) == 0
    assert check_threads(1) == 1
