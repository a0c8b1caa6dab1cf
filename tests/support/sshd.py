"""A real sshd on a loopback port, with keys and a home of its own, for the user who tests."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

MISSING = "there is no sshd here (apt install openssh-server)"


@dataclass
class Server:
    """``home`` is the user's there; ``config`` an ssh_config that knows the key and the host."""

    folder: Path
    port: int
    user: str
    home: Path
    config: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"ssh://{self.user}@127.0.0.1:{self.port}"

    def left_behind(self) -> list[str]:
        """What we left in the user's home."""
        return sorted(path.name for path in self.home.glob(".edge-effnet*"))

    def stop(self) -> None:
        """End the server and every connection, as a dying network does."""
        assert self.process is not None, "start it first"
        for child in _children(self.process.pid):
            with suppress(ProcessLookupError):  # it may end by itself in between
                os.kill(child, 9)
        self.process.kill()
        self.process.wait()

    def start(self) -> None:
        """Listen (again) on the same port."""
        self.process = subprocess.Popen(
            [_sshd(), "-D", "-e", "-f", str(self.folder / "sshd_config")],
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        raise AssertionError("sshd does not listen")


@contextmanager
def serving() -> Iterator[Server]:
    """Run a server; skips the test where there is none to run."""
    if sys.platform != "linux" or not Path(_sshd()).exists() or shutil.which("ssh") is None:
        pytest.skip(MISSING)
    folder = Path(tempfile.mkdtemp(prefix="edge-effnet-sshd-"))
    folder.chmod(0o755)
    home = folder / "home"
    home.mkdir()
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    try:
        server = _configure(folder, getpass.getuser(), home)
        server.start()
        yield server
        server.stop()
    finally:
        for file in home.glob(".edge-effnet*/pid"):
            with suppress(ProcessLookupError, ValueError):
                os.killpg(int(file.read_text()), 9)
        shutil.rmtree(folder, ignore_errors=True)


def _configure(folder: Path, user: str, home: Path) -> Server:
    for name in ("host", "client"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True
        )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (folder / "authorized").write_bytes((folder / "client.pub").read_bytes())
    (folder / "authorized").chmod(0o644)
    (folder / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\n"
        f"AuthorizedKeysFile {folder}/authorized\nPidFile none\nUsePAM no\nStrictModes no\n"
        f"PasswordAuthentication no\nAllowUsers {user}\nMaxStartups 50\n"
        f"SetEnv HOME={home}\n"
    )
    public = (folder / "host.pub").read_text().split()
    (folder / "known").write_text(f"[127.0.0.1]:{port} {public[0]} {public[1]}\n")
    config = folder / "ssh_config"
    config.write_text(
        f"UserKnownHostsFile {folder}/known\nGlobalKnownHostsFile /dev/null\n"
        f"IdentityFile {folder}/client\nIdentitiesOnly yes\n"
    )
    return Server(folder, port, user, home, config)


def _sshd() -> str:
    return shutil.which("sshd") or "/usr/sbin/sshd"


def _children(pid: int) -> list[int]:
    """All descendants of a process that still belong to it, deepest first."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, task.read_text().split()):
            found += [*_children(child), child]
    return found
