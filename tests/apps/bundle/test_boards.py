"""A bundle on its board: what keeps it from being installed, its camera, its systemd units."""

from __future__ import annotations

import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from edge_effnet.apps.bundle import launcher, service
from edge_effnet.apps.bundle.bundle import bundle
from support import command
from support.command import file
from support.systemd_unit import command_of, read_words, value

pytest.importorskip("ai_edge_litert", reason="bundles are checked with real runtimes")

INT8 = file("int8", ".tflite")
HOST = f"linux-{platform.machine()}"
ON_THE_NETWORK = ("--bind", "0.0.0.0", "--wait")  # noqa: S104
ODD = 'it\'s 100% "mine" $HOME \\ here'


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with the camera, in a folder whose name needs every escape; do not change it."""
    return bundle([INT8], HOST, tmp_path_factory.mktemp("boards") / ODD, camera=True)


@pytest.fixture
def board(monkeypatch: pytest.MonkeyPatch, made: Path) -> ModuleType:
    """The launcher as it runs from the bundle."""
    monkeypatch.setattr(launcher, "HERE", made)
    monkeypatch.setattr(launcher, "PYTHON", made / ".venv" / "bin" / "python")
    return launcher


def launch(
    folder: Path, *arguments: object, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, str(folder / "run.py"), *map(str, arguments)]
    return subprocess.run(words, capture_output=True, text=True, timeout=400, cwd=cwd)


def described(**changes: object) -> dict[str, object]:
    return {"board": HOST, "system_packages": [], "camera": False, **changes}


def test_nothing_is_in_the_way(board: ModuleType) -> None:
    assert board.obstacle(described()) == ""


def test_another_machine(board: ModuleType) -> None:
    assert "is for linux-riscv64 and this machine is linux-" in board.obstacle(
        described(board="linux-riscv64")
    )


def test_a_32_bit_system_on_a_64_bit_kernel(
    board: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    monkeypatch.setattr(board.struct, "calcsize", lambda kind: 4)
    said = board.obstacle(described(board="linux-aarch64"))
    assert "is for linux-aarch64 and this machine is linux-armv7l" in said


def test_missing_debian_packages(board: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    there = board.importlib.util.find_spec
    monkeypatch.setattr(
        board.importlib.util,
        "find_spec",
        lambda name: None if name in ("ensurepip", "PIL") else there(name),
    )
    assert "sudo apt install python3-venv" in board.obstacle(described())
    monkeypatch.setattr(board.sys, "version_info", (3, 11, 2))
    said = board.obstacle(described(system_packages=["python3-numpy", "python3-pil"]))
    assert said.endswith("type: sudo apt install python3-venv python3-pil")


@pytest.mark.skipif(os.geteuid() != 0, reason="root changes the owner of a folder")
def test_a_folder_of_somebody_else(made: Path, tmp_path: Path) -> None:
    """What 'sudo tar' leaves: the message names both users and the command that mends it."""
    folder = Path(shutil.copytree(made, tmp_path / "bundle"))
    script = (
        "import os, runpy, sys; os.setuid(65534); sys.argv = ['run.py', 'install'];"
        f"runpy.run_path({str(folder / 'run.py')!r}, run_name='__main__')"
    )
    for path in (tmp_path, *tmp_path.parents):
        path.chmod(path.stat().st_mode | 0o055)
    python = shutil.which("python3", path="/usr/bin:/bin") or sys.executable
    done = subprocess.run([python, "-c", script], capture_output=True, text=True, timeout=400)
    assert done.returncode == 2, done.stderr
    assert "nobody cannot write to" in done.stderr
    assert "belongs to root; type: sudo chown -R nobody: " in done.stderr
    assert "python3-venv" not in done.stderr


def test_not_installed_yet(made: Path) -> None:
    python = shutil.which("python3", path="/usr/bin:/bin")
    if python is None:
        pytest.skip("there is no other Python")
    done = subprocess.run(
        [python, "-I", made / "run.py", "self-test"], capture_output=True, text=True, timeout=400
    )
    assert done.returncode == 2
    assert "not installed yet; type: python3" in done.stderr


def test_a_folder_that_cannot_be_made(made: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = launch(made, "watch", tmp_path / "file" / "photos")
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr


def test_options_that_do_not_exist(made: Path) -> None:
    done = launch(made, "classify", "photo.jpg", "--best")
    assert done.returncode == 2
    assert "classify does not take --best" in done.stderr


def test_the_camera_writes_json_lines(made: Path) -> None:
    pytest.importorskip("cv2", reason="the camera needs OpenCV")
    photos = command.photos()
    done = launch(
        made, "camera", "--source", photos, "--preview", "none", "--pace", "fast",
        "--predictions", "-",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["frame"] for line in lines] == [0, 1, 2, 3]
    answers = launch(made, "classify", *sorted(photos.iterdir())).stdout.splitlines()
    for key in ("label", "answer"):
        assert [line[key] for line in lines] == [json.loads(line)[key] for line in answers]


def test_a_bundle_without_a_camera(tmp_path: Path) -> None:
    out = bundle([INT8], HOST, tmp_path / "plain")
    assert "opencv" not in (out / "requirements.txt").read_text()
    for words in (["camera"], ["service", "camera"]):
        done = launch(out, *words)
        assert done.returncode == 2
        assert "this bundle has no camera; make it with: " in done.stderr


def test_the_cameras_packages_are_pinned(made: Path) -> None:
    lines = (made / "requirements.txt").read_text().splitlines()
    names = {line.split("==")[0] for line in lines}
    assert {"opencv-python-headless", "starlette", "uvicorn", "anyio", "h11", "idna"} <= names


def test_no_camera_for_32_bits(tmp_path: Path) -> None:
    done = command.call(
        "bundle", INT8, "--board", "linux-armv7l", "--with", "camera", "--out", tmp_path / "out"
    )
    said = command.refused(done)
    assert "OpenCV has no wheels for linux-armv7l" in said
    assert "linux-aarch64 and linux-x86_64" in said
    assert command.contents(tmp_path) == []


@pytest.mark.parametrize(
    ("words", "run"),
    [
        (("watch", "photos"), ("watch", "photos")),
        (("camera", "--source", "0"), ("camera", *ON_THE_NETWORK, "--source", "0")),
    ],
)
def test_units_are_those_of_folder_and_user(
    made: Path, words: tuple[str, ...], run: tuple[str, ...]
) -> None:
    done = launch(made, "service", *words, cwd=made)
    assert done.returncode == 0, done.stderr
    folder = str(made).replace("%", "%%")
    assert value(done.stdout, "WorkingDirectory") == folder
    assert value(done.stdout, "User") == made.owner()
    assert value(done.stdout, "RestartPreventExitStatus") == "2"
    start = command_of(read_words(value(done.stdout, "ExecStart")))
    assert start == [f"{made}/.venv/bin/python", f"{made}/run.py", *run]


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")
@pytest.mark.parametrize("words", [("watch", "photos"), ("camera",), ("rpicam", "--hflip")])
def test_systemd_finds_no_fault(made: Path, tmp_path: Path, words: tuple[str, ...]) -> None:
    done = launch(made, "service", *words, cwd=made)
    unit = tmp_path / "edge-effnet.service"
    # verify wants programs that exist; the bundle's Python is started by a shell
    text = done.stdout.replace('"/usr/bin/rpicam-vid"', "/bin/true")
    unit.write_text(text)
    checked = subprocess.run(
        ["systemd-analyze", "verify", unit], capture_output=True, text=True, timeout=400
    )
    assert checked.returncode == 0, checked.stderr
    assert "edge-effnet.service" not in checked.stderr


def test_rpicam_is_started_again_for_ever() -> None:
    unit = service.rpicam(["--hflip"], "/home/pi", "pi")
    assert value(unit, "Restart") == "always"
    assert value(unit, "StartLimitIntervalSec") == "0"
    words = shlex.split(value(unit, "ExecStart"))
    assert words[0] == "/usr/bin/rpicam-vid"
    assert words[-3:] == ["--hflip", "--output", service.RPICAM_ADDRESS]


def test_a_unit_of_bad_options_is_not_printed(made: Path) -> None:
    for words, message in (
        (("camera", "--port", "eighty"), "is not a valid integer"),
        (("camera", "--on-answer", "./no-lamp.sh"), "no-lamp.sh; give --on-answer ./program"),
        (("camera", "--min-confidence", "2"), "is no probability"),
        (("watch",), "required: folder"),
        (("watch", "photos", "--top", "0"), "0 is less than 1"),
        (("sleep",), "invalid choice"),
    ):
        done = launch(made, "service", *words)
        assert done.returncode == 2
        assert message in done.stderr
        assert done.stdout == ""
