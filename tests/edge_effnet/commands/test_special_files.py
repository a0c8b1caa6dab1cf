"""Named pipes, devices, sockets, folders and scarce limits: one sentence in every command."""

from __future__ import annotations

import resource
import subprocess
from pathlib import Path

import pytest

from support import command
from support.command import SCRIPT, file, photos, refused
from support.special_files import KINDS, special

pytestmark = command.needs_runtimes

GOOD = "GOOD"
#: (suffix of the special file, command with ``{}`` in its place).
READING = {
    "checkpoint": (".pth", ("export", "lite0", "--weights", "{}", "--out", "out")),
    "checkpoint to save": (".h5", ("convert-weights", "{}", "out.safetensors")),
    "keras": (".keras", ("info", "{}")),
    "foreign": (
        ".onnx",
        ("export", "auto", "--weights", "{}", "--precisions", "fp32", "--formats", "onnx"),
    ),
    "file": (".tflite", ("classify", "{}", "PHOTOS")),
    "pair": (".xml", ("info", "{}")),
    "timed": (".onnx", ("benchmark", "{}", "--runs", "1")),
    "bundled": (".tflite", ("bundle", "{}", "--board", "linux-aarch64", "--out", "out")),
    "checked": (".tflite", ("check", "{}", "--target", "edgetpu")),
    "photo": (".jpg", ("classify", GOOD, "{}")),
    "video": (".mp4", ("camera", GOOD, "--source", "{}", "--preview", "none")),
    "labels": (".csv", ("evaluate", GOOD, "--images", "PHOTOS", "--labels", "{}")),
    "photos": ("", ("evaluate", GOOD, "--images", "{}")),
    "class names": (".txt", ("export", "lite0", "--weights", "random", "--class-names", "{}")),
    "plan": (".safetensors", ("export", "lite0", "--weights", "random", "--calibration", "{}")),
    "results": (".json", ("select", "--results", "{}", "--budget-ms", "5")),
    "latency model": (".json", ("predict", "lite0", "--latency-model", "{}")),
    "training": ("", ("train", "{}", "--out", "out")),
}


def arguments(place: str, path: Path) -> list[str]:
    words = {"{}": path, GOOD: file("int8", ".tflite"), "PHOTOS": photos()}
    return [str(words.get(word, word)) for word in READING[place][1]]


@pytest.mark.parametrize(
    "kind", [KINDS[0], *(pytest.param(kind, marks=pytest.mark.exhaustive) for kind in KINDS[1:])]
)
@pytest.mark.slow
@pytest.mark.parametrize("place", READING)
def test_a_special_file_is_refused(place: str, kind: str, tmp_path: Path) -> None:
    path = special(kind, tmp_path / f"special{READING[place][0]}")
    done = command.run(*arguments(place, path), cwd=tmp_path)
    message = refused(done)
    assert "special" in message
    assert "Errno" not in message
    assert set(command.contents(tmp_path)) <= {path.name, "out/run.json"}


@pytest.mark.parametrize("place", ["results", "page"])
@pytest.mark.parametrize("kind", ["pipe", "folder", "empty"])
def test_a_special_file_is_not_replaced(place: str, kind: str, tmp_path: Path) -> None:
    path = special(kind, tmp_path / "out.json")
    done = command.call("info", "lite0", "--json", path)
    assert done.returncode == 2
    assert "not a file" in done.stderr
    assert path.is_fifo() or path.is_dir() or path.is_char_device()


def limited(kind: int, limit: int, *words: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """A command in a process with a limit."""
    return subprocess.run(
        [str(SCRIPT), *map(str, words)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=400,
        preexec_fn=lambda: resource.setrlimit(kind, (limit, limit)),
    )


COMMANDS = {
    "info": ("info", "{}"),
    "classify": ("classify", "{}", "PHOTOS"),
    "evaluate": ("evaluate", "{}", "--images", "PHOTOS"),
    "benchmark": ("benchmark", "{}", "--runs", "1"),
    "compare": ("compare", "{}", "--images", "PHOTOS", "--runs", "1", "--out", "out"),
    "export": (
        *("export", "lite0", "--weights", "random", "--resolution", "32", "--force"),
        *("--calibration", "PHOTOS", "--out", "out"),
    ),
}
LIMITS = {
    "16 files": (resource.RLIMIT_NOFILE, 16),
    "32 files": (resource.RLIMIT_NOFILE, 32),
    "400 MB": (resource.RLIMIT_AS, 400 << 20),
    "1 GB": (resource.RLIMIT_AS, 1 << 30),
    "2 MB a file": (resource.RLIMIT_FSIZE, 2 << 20),
}

_OFTEN = ("32 files", "400 MB")


@pytest.mark.parametrize(
    "limit",
    [
        pytest.param(name, marks=pytest.mark.slow if name in _OFTEN else pytest.mark.exhaustive)
        for name in LIMITS
    ],
)
@pytest.mark.parametrize("verb", COMMANDS)
def test_scarce_limits_are_a_sentence(verb: str, limit: str, tmp_path: Path) -> None:
    words = {"{}": file("int8", ".onnx"), "PHOTOS": photos()}
    arguments = [words.get(word, word) for word in COMMANDS[verb]]
    done = limited(*LIMITS[limit], *arguments, cwd=tmp_path)
    assert "Traceback" not in done.stderr
    assert done.returncode in (0, 2), done
    assert not [name for name in command.contents(tmp_path) if name.endswith(".part")]


@pytest.mark.parametrize("threads", ["0", "-1", "99999", "9" * 5000, "1.5", "٣²", "nan"])
@pytest.mark.parametrize("verb", [verb for verb in COMMANDS if verb != "info"])
def test_threads_that_cannot_be(verb: str, threads: str, tmp_path: Path) -> None:
    words = {"{}": file("fp32", ".onnx"), "PHOTOS": photos()}
    done = command.call(*(words.get(w, w) for w in COMMANDS[verb]), "--threads", threads)
    assert "thread" in refused(done)
