"""A machine with systemd in a folder, and the user ``pi`` on it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).parent
#: What the guide's readers have on their Pi: an administrator who reads the journal.
GROUPS = "adm,sudo,video"


class Machine:
    """Boots a copy of the root folder ``base`` until `close`."""

    def __init__(self, base: Path) -> None:
        subprocess.run([HERE / "systemd_root.sh", base], check=True, timeout=1800)
        self.root = base.with_name(f"{base.name}-{os.getpid()}")
        self._group = f"edge-effnet-pi-{os.getpid()}"
        subprocess.run(["cp", "-a", "--reflink=auto", base, self.root], check=True)
        self.log = self.root.with_suffix(".log")
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [HERE / "boot.sh", self.root, self._group],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            wait_for("systemd", lambda: self.init() and self.state() in ("running", "degraded"))
            self.run("useradd", "--create-home", "--groups", GROUPS, "--shell", "/bin/bash", "pi")
            self.run("chmod", "700", "/home/pi")
            (self.root / "etc/sudoers.d/pi").write_text("pi ALL=(ALL) NOPASSWD: ALL\n")
        except BaseException:
            self.close()
            raise

    def init(self) -> str:
        """The number of the machine's first process on this one; empty before it is there."""
        number = self._process.pid
        assert self._process.poll() is None, self.log.read_text(errors="replace")
        return Path(f"/proc/{number}/task/{number}/children").read_text().strip()

    def state(self) -> str:
        """What systemctl says of the whole machine."""
        return self.enter("systemctl", "is-system-running").stdout.strip()

    def enter(
        self, *words: str, answer: str = "", timeout: float = 900
    ) -> subprocess.CompletedProcess[str]:
        """Run a program there as root."""
        namespaces = [
            f"--{name}" for name in ("mount", "pid", "uts", "ipc", "cgroup", "root", "wd=/")
        ]
        paths = ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"]
        return subprocess.run(
            ["nsenter", "--target", self.init(), *namespaces, "env", "-i", *paths, *words],
            input=answer,
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    def run(self, *words: str) -> str:
        """The output of a program that must work."""
        done = self.enter(*words)
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout

    def type(self, script: str) -> subprocess.CompletedProcess[str]:
        """What the user pi types in one session; ``y`` answers every question."""
        return self.enter("su", "-", "pi", "-c", f"set -e\n{script}", answer="y\n" * 9)

    def show(self, unit: str, name: str) -> str:
        """A property of a unit."""
        return self.run("systemctl", "show", "--value", f"--property={name}", unit).strip()

    def close(self) -> None:
        """End every process and remove the folder."""
        self._process.kill()  # unshare takes the whole machine with it
        self._process.wait(120)
        shutil.rmtree(self.root, ignore_errors=True)
        self.log.unlink(missing_ok=True)
        for tree in ("/sys/fs/cgroup", "/sys/fs/cgroup/unified"):
            subprocess.run(
                ["find", f"{tree}/{self._group}", "-depth", "-type", "d", "-delete"],
                stderr=subprocess.DEVNULL,
            )


def wait_for(what: str, ready: Callable[[], object], seconds: float = 400) -> None:
    """Until ``ready`` says so."""
    end = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < end, f"{what} did not come within {seconds:g} s"
        time.sleep(0.3)


def fill_registry(folder: Path, requirements: Path) -> None:
    """What pip of the machine finds: the packages of ``requirements``, and only those."""
    pins = [line for line in requirements.read_text().splitlines() if "==" in line]
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"),
            *("--only-binary=:all:", "--python-version", "3.11", "--dest", folder),
            *(word for minor in range(36, 16, -1) for word in ("--platform", _platform(minor))),
            *pins,
        ],
        check=True,
        timeout=1800,
    )


def _platform(minor: int) -> str:
    return f"manylinux_2_{minor}_{os.uname().machine}"
