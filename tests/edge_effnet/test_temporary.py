"""Temporary files: leftovers of killed processes are removed, those of running ones are not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from edge_effnet import pairs, temporary
from edge_effnet.files import make_folder, replacing, write_bytes

pytest.importorskip("fcntl", reason="locks are those of POSIX")

#: Opens a temporary file or folder, says so, and waits.
WRITER = """
import sys, time
from pathlib import Path
from edge_effnet import temporary
with temporary.beside(Path(sys.argv[1]), folder=sys.argv[2] == "folder") as path:
    (path / "inside" if path.is_dir() else path).write_bytes(b"half")
    print(path.name, flush=True)
    time.sleep(100)
"""


def writer(target: Path, kind: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(target), kind], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline().strip() in os.listdir(target.parent)
    return process


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_leftovers_of_killed_processes(kind: str, tmp_path: Path) -> None:
    target = tmp_path / "model.onnx"
    for others in ("make_folder", "replacing"):
        process = writer(target, kind)
        during = os.listdir(tmp_path)
        make_folder(tmp_path)
        temporary.remove_leftovers(tmp_path, "model.onnx")
        assert os.listdir(tmp_path) == during, "the process still runs"
        process.send_signal(signal.SIGKILL)
        process.wait(100)
        assert os.listdir(tmp_path) == during
        if others == "make_folder":
            make_folder(tmp_path)
        else:
            write_bytes(target, b"whole")
        assert os.listdir(tmp_path) == (["model.onnx"] if target.exists() else [])
        process.stdout.close() if process.stdout else None


def test_files_of_others_stay(tmp_path: Path) -> None:
    names = [
        ".model.onnx.part",
        "model.onnx.00000000.part",
        ".hidden",
        ".a.0000000g.part",
        "x.part",
    ]
    for name in names:
        (tmp_path / name).touch()
    (tmp_path / ".link.00000000.part").symlink_to(tmp_path / "x.part")
    (tmp_path / ".other.00000000.part").touch()
    temporary.remove_leftovers(tmp_path, "model.onnx")
    assert (tmp_path / ".other.00000000.part").exists(), "of another target"
    make_folder(tmp_path)
    assert sorted(os.listdir(tmp_path)) == sorted([*names, ".link.00000000.part"])


def test_two_writers_of_one_target(tmp_path: Path) -> None:
    target = tmp_path / "model"
    with replacing(target) as first, replacing(target) as second:
        first.write_bytes(b"first")
        second.write_bytes(b"second")
        assert first != second
    assert target.read_bytes() == b"first", "the outer one ends last"
    assert os.listdir(tmp_path) == ["model"]


class TestPairs:
    """The pair is the old or the new one wherever its replacement ends."""

    def make(self, text: str) -> tuple[bytes, bytes]:
        from edge_effnet import digest

        companion = f"weights of {text}".encode()
        data = f"<net name='{text}'>{digest.PLACEHOLDER}</net>".encode()
        return digest.stamp(data, companion), companion

    @pytest.mark.parametrize("old", [True, False])
    @pytest.mark.parametrize("steps", range(12))
    def test_an_interrupted_replacement(
        self, steps: int, old: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path, beside = tmp_path / "net.xml", tmp_path / "net.bin"
        before, after = self.make("before"), self.make("after")
        if old:
            pairs.write(path, *before)
        child = os.fork()
        if child == 0:  # ends before the call number ``steps`` that changes the folder
            self.end_at(steps, monkeypatch)
            pairs.write(path, *after)
            os._exit(0)
        finished = os.waitpid(child, 0)[1] == 0
        if beside.exists() and (path.exists() or beside.read_bytes() == after[1]):
            assert pairs.read(path, beside) in ([after] if finished else [before, after])
        else:
            assert not old
        pairs.finish(tmp_path)
        make_folder(tmp_path)
        names = sorted(os.listdir(tmp_path))
        assert names == (["net.bin", "net.xml"] if old or finished else names)
        assert not [name for name in names if name.startswith(".")]
        if path.exists():
            assert (path.read_bytes(), beside.read_bytes()) in (before, after)

    def end_at(self, steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
        count = 0

        def ending(function):  # type: ignore[no-untyped-def]
            def call(*arguments, **options):  # type: ignore[no-untyped-def]
                nonlocal count
                if count == steps:
                    os._exit(9)
                count += 1
                return function(*arguments, **options)

            return call

        for module, name in ((os, "replace"), (os, "link"), (os, "unlink"), (os, "fsync")):
            monkeypatch.setattr(module, name, ending(getattr(module, name)))
        monkeypatch.setattr(Path, "write_bytes", ending(Path.write_bytes))
        monkeypatch.setattr(Path, "touch", ending(Path.touch))

    def test_the_visible_pair_wins(self, tmp_path: Path) -> None:
        path, beside = tmp_path / "net.xml", tmp_path / "net.bin"
        pairs.write(path, *self.make("visible"))
        other = self.make("other")[0]
        pairs.next_path(path).write_bytes(other)
        assert pairs.read(path, beside) == self.make("visible")
        beside.write_bytes(b"neither")
        assert pairs.read(path, beside) == (self.make("visible")[0], b"neither")
