"""docs/raspberry-pi.md as a reader follows it: its commands, in order, under a real systemd.

The machine is of this processor's kind (an emulated Pi has no systemd), so ``--board`` is another
one. Nothing else of the guide is changed, and each result that it prints must come.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pi.machine import HERE, Machine, fill_registry, wait_for
from support.labelled_photos import Files, LabelledPhotos

GUIDE = (HERE.parents[1] / "docs" / "raspberry-pi.md").read_text()
BASE = Path(os.environ.get("EDGE_EFFNET_PI") or HERE.parents[1] / "build" / "pi").resolve()
#: Section that needs an AI Camera and Sony's toolchain; tests/accelerators exports its file.
WITHOUT_CAMERA = "The AI Camera"
HOST = f"linux-{os.uname().machine}"


@dataclass(frozen=True)
class Step:
    """A block of commands, and the lines that it must print; ``…`` stands for anything."""

    heading: str
    commands: str
    result: str

    def printed(self, output: str) -> bool:
        """Whether all lines of the result are in ``output``, in order."""
        lines = [".*".join(map(re.escape, line.split("…"))) for line in self.result.splitlines()]
        return re.search(".*".join(lines), output, re.DOTALL) is not None


def steps() -> list[Step]:
    """The guide's ``sh`` blocks, each with the ``text`` block that follows it."""
    found: list[Step] = []
    heading = ""
    for match in re.finditer(
        r"^## ([^\n]+)$|^```(\w+)\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL
    ):
        title, kind, content = match.groups()
        if title:
            heading = title
        elif heading == WITHOUT_CAMERA:
            continue
        elif kind == "sh":
            found.append(Step(heading, content, ""))
        else:
            found[-1] = Step(found[-1].heading, found[-1].commands, content)
    return found


STEPS = steps()


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    """A freshly installed machine."""
    if os.geteuid() != 0:
        pytest.skip("booting systemd needs root")
    booted = Machine(BASE.with_name(f"{BASE.name}-systemd"))
    shutil.copy(HERE / "rpicam_vid.py", booted.root / "usr/bin/rpicam-vid")
    (booted.root / "usr/bin/rpicam-vid").chmod(0o755)
    pinctrl = booted.root / "usr/bin/pinctrl"  # of Raspberry Pi OS; here it keeps its arguments
    pinctrl.write_text('#!/bin/sh -e\necho "$@" >> /home/pi/pins\n')
    pinctrl.chmod(0o755)
    yield booted
    booted.close()


@pytest.fixture(scope="module")
def computer(
    tmp_path_factory: pytest.TempPathFactory,
    machine: Machine,
    lite0_files: Files,
    imagenet_dev: LabelledPhotos,
) -> Path:
    """The reader's folder: exported files, a photo, and a ``scp`` that reaches the machine."""
    folder = tmp_path_factory.mktemp("computer")
    (folder / "out").mkdir()
    shutil.copy(lite0_files["tflite", "int8"], folder / "out" / "efficientnet-lite0-int8.tflite")
    shutil.copy(imagenet_dev.paths("evaluation")[0], folder / "photo.jpg")
    shutil.copy(folder / "photo.jpg", machine.root / "opt/scene.jpg")
    scp = folder / "bin" / "scp"
    scp.parent.mkdir()
    scp.write_text(
        '#!/bin/sh -e\nfor last; do :; done\n[ "$last" = pi@raspberrypi: ]\n'
        f'while [ $# -gt 1 ]; do install -o 1000 -g 1000 "$1" "{machine.root}/home/pi/"; '
        "shift; done\n"
    )
    scp.chmod(0o755)
    return folder


class Walk:
    """Types one step after the other; the shell's folder is kept between them."""

    def __init__(self, machine: Machine, computer: Path) -> None:
        self.machine, self._computer = machine, computer
        self.outputs: list[str] = []

    def take(self, step: Step) -> str:
        """The step's output; fails unless it works and prints its result."""
        self.outputs.append("")

        def typed() -> bool:
            self.outputs[-1] = self._type(step)
            return step.printed(self.outputs[-1])

        if step.commands.startswith(("journalctl ", "systemctl ")):  # a service takes its time
            wait_for(step.result, typed)
        else:
            assert typed(), f"{step.result} is not in:\n{self.outputs[-1]}"
        return self.outputs[-1]

    def _type(self, step: Step) -> str:
        if step.heading == "On your computer":
            return self._type_here(step.commands)
        script = f"cd $(cat .folder 2>/dev/null || pwd)\n{step.commands}\npwd > ~/.folder\n"
        done = self.machine.type(script)
        assert done.returncode == 0, f"{step.commands}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def _type_here(self, commands: str) -> str:
        assert "--board linux-aarch64" in commands
        paths = [self._computer / "bin", Path(sys.executable).parent, os.environ["PATH"]]
        done = subprocess.run(
            ["sh", "-e", "-c", commands.replace("--board linux-aarch64", f"--board {HOST}")],
            cwd=self._computer,
            env={**os.environ, "PATH": ":".join(map(str, paths))},
            capture_output=True,
            text=True,
            timeout=900,
        )
        assert done.returncode == 0, done.stderr
        self._prepare_pip()
        return done.stdout

    def _prepare_pip(self) -> None:
        """The machine's pip finds the pinned packages, and no others."""
        subprocess.run(["tar", "-xzf", "pi-lite0.tar.gz"], cwd=self._computer, check=True)
        requirements = self._computer / "pi-lite0" / "requirements.txt"
        fill_registry(self.machine.root / "opt/registry", requirements)
        settings = "[global]\nno-index = true\nfind-links = /opt/registry\n"
        (self.machine.root / "etc/pip.conf").write_text(settings)


@pytest.fixture(scope="module")
def walk(machine: Machine, computer: Path) -> Walk:
    return Walk(machine, computer)


def before_install(walk: Walk) -> None:
    """On a bare Debian, and in a folder that root unpacked: true messages."""
    unpack = "tar -xzf pi-lite0.tar.gz -C"
    done = walk.machine.type(f"{unpack} /tmp; python3 /tmp/pi-lite0/run.py install")
    assert done.returncode == 2
    assert "packages are missing: python3-venv; type: sudo apt install python3-venv" in done.stderr
    done = walk.machine.type(f"sudo {unpack} /opt; python3 /opt/pi-lite0/run.py install")
    assert done.returncode == 2
    assert "pi cannot write to /opt/pi-lite0, which belongs to root" in done.stderr
    assert "type: sudo chown -R pi: '/opt/pi-lite0'" in done.stderr


def after_install(walk: Walk) -> None:
    """Without packages: pip is blamed, not Debian."""
    script = "mkdir offline; cp -r pi-lite0/[a-z]* offline; cd offline; PIP_FIND_LINKS=/none"
    done = walk.machine.type(f"{script} python3 run.py install")
    assert done.returncode == 2
    assert "pip could not install the packages" in done.stderr
    assert "python3-venv" not in done.stderr


def after_first_photo(walk: Walk) -> None:
    """It runs as pi; a crash is mended, a fault that stays ends the service."""
    machine, unit = walk.machine, "edge-effnet"
    assert machine.show(unit, "User") == "pi"
    number = machine.show(unit, "MainPID")
    machine.run("sh", "-c", f"kill -KILL {number}")
    wait_for("the restart", lambda: machine.show(unit, "MainPID") not in ("0", number))
    assert machine.show(unit, "NRestarts") == "1"
    machine.run("mv", "/home/pi/pi-lite0/models", "/home/pi/models")
    machine.run("systemctl", "restart", unit)
    wait_for("the end", lambda: machine.show(unit, "ActiveState") == "failed")
    assert machine.show(unit, "ExecMainStatus") == "2"
    assert machine.show(unit, "NRestarts") == "0"
    journal = machine.run("journalctl", "-u", unit, "-o", "cat")
    assert "error: there is no file" in journal
    assert "Traceback" not in journal
    machine.run("mv", "/home/pi/models", "/home/pi/pi-lite0/models")
    machine.run("mv", "/home/pi/pi-lite0/.venv", "/home/pi/venv")
    machine.enter("systemctl", "reset-failed", unit)
    machine.enter("systemctl", "restart", unit)
    wait_for("the end", lambda: machine.show(unit, "ActiveState") == "failed")
    assert machine.show(unit, "Result") == "exit-code"
    assert machine.show(unit, "NRestarts") in ("4", "5")  # of five starts, the last one refused
    machine.run("mv", "/home/pi/venv", "/home/pi/pi-lite0/.venv")
    machine.run("systemctl", "reset-failed", unit)
    machine.run("systemctl", "restart", unit)


def after_camera(walk: Walk) -> None:
    """The page answers those with the token, and shows what classify says of the same photo."""
    address = re.findall(r"preview: http://[^\s:]+:(\S+)", walk.outputs[-1])[-1]
    page = f"http://127.0.0.1:{address}"
    with urllib.request.urlopen(page, timeout=120) as answer:
        assert b"<html" in answer.read()
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(page.partition("?")[0], timeout=120)
    (classified,) = (text for text in walk.outputs if '"file": "../photo.jpg"' in text)
    with urllib.request.urlopen(page.replace("/?", "/events?"), timeout=120) as answer:
        events = (json.loads(line[6:]) for line in answer if line.startswith(b"data: "))
        panels = (panel for state in events for panel in state["panels"])
        top = next(panel["top"] for panel in panels if panel["top"])
    assert top[0]["label"] == json.loads(classified)["label"]
    machine = walk.machine
    assert machine.show("edge-effnet-camera", "User") == "pi"
    journal = ("journalctl", "-u", "edge-effnet-camera", "-o", "cat")
    before = machine.run(*journal).count("listen is back")
    machine.run("systemctl", "restart", "edge-effnet-rpicam")  # the camera waits for it
    wait_for("rpicam-vid", lambda: machine.run(*journal).count("listen is back") > before)


def after_lamp(walk: Walk) -> None:
    """The program ran as pi; the service passes its answers to it too."""
    machine = walk.machine
    pins = "/home/pi/pins"
    assert machine.run("stat", "-c", "%U", pins).strip() == "pi"
    wait_for("the lamp", lambda: machine.run("cat", pins).count("set 17 op d") >= 2)


def after_removal(walk: Walk) -> None:
    machine = walk.machine
    assert machine.run("find", "/home/pi", "-name", "pi-lite0") == ""
    assert machine.run("find", "/etc/systemd/system", "-name", "edge-effnet*") == ""
    assert machine.enter("systemctl", "--failed", "--quiet").stdout == ""
    listed = machine.run("systemctl", "list-units", "--all", "--plain", "edge-effnet*")
    assert "0 loaded units" in listed


#: Heading and number of a step within it -> what is checked after it.
CHECKS = {
    ("On your computer", 0): before_install,
    ("Install", 0): after_install,
    ("Classify every new photo in a folder", 2): after_first_photo,
    ("The camera on a page", 1): after_camera,
    ("A lamp that follows the answer", 1): after_lamp,
    ("See, stop, remove", 1): after_removal,
}


def test_every_check_has_its_step() -> None:
    headings = [step.heading for step in STEPS]
    assert all(headings.count(heading) > number for heading, number in CHECKS)


@pytest.mark.parametrize("index", range(len(STEPS)), ids=[s.commands.split("\n")[0] for s in STEPS])
def test_step(walk: Walk, index: int) -> None:
    step = STEPS[index]
    if len(walk.outputs) < index:
        pytest.fail("a step before this one failed")
    walk.take(step)
    number = [other.heading for other in STEPS[:index]].count(step.heading)
    if (step.heading, number) in CHECKS:
        CHECKS[step.heading, number](walk)
