"""ssh://user@host[:port] -> commands run there through the system's OpenSSH client.

Host keys are checked against the user's known_hosts, never learned; nothing is asked, so a key or
an agent must let the user in. One command is one connection.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO
from urllib.parse import urlsplit

from edge_effnet.errors import DeviceError, UsageError

#: OpenSSH's own exit code for a connection that failed or was lost; others are the command's.
LOST = 255
_OPTIONS = (
    *("-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes", "-o", "ConnectTimeout=15"),
    # A silent network is noticed within 15 s.
    *("-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=3"),
)
#: What OpenSSH says -> what to do about it.
_ADVICE = (
    (
        ("host key verification failed", "no ed25519 host key is known", "host key is known"),
        "its host key is not known: connect once by hand (ssh {address}), compare the fingerprint "
        "with the machine's, and try again",
    ),
    (("remote host identification has changed",), "its host key CHANGED: find out why first"),
    (("permission denied",), "it lets nobody in without a password: install a key (ssh-copy-id)"),
    (("could not resolve", "name or service not known"), "there is no such host: check the name"),
    (("connection refused",), "nothing listens on that port: is sshd running there?"),
    (("timed out", "no route"), "it does not answer: is it on, and on this network?"),
)


class ConnectionLostError(Exception):
    """The connection failed or broke; the message is OpenSSH's last line."""


@dataclass(frozen=True)
class Target:
    """A machine behind ssh. ``config`` is an ssh_config file to use in place of the user's."""

    host: str
    user: str | None = None
    port: int | None = None
    config: str | None = None

    @property
    def address(self) -> str:
        """As one types it after ``ssh``."""
        port = f"-p {self.port} " if self.port else ""
        return port + (f"{self.user}@{self.host}" if self.user else self.host)

    def command(self, words: Sequence[str]) -> list[str]:
        """The local command that runs ``words`` there."""
        if shutil.which("ssh") is None:
            raise DeviceError(
                "there is no ssh here: install the OpenSSH client (apt install openssh-client)"
            )
        config = ("-F", self.config) if self.config else ()
        port = ("-p", str(self.port)) if self.port else ()
        user = ("-l", self.user) if self.user else ()
        return ["ssh", *config, *_OPTIONS, *port, *user, "--", self.host, shlex.join(words)]

    def run(self, words: Sequence[str], source: bytes = b"", timeout: float = 600) -> bytes:
        """Run ``words`` with ``source`` on their stdin; returns their stdout.

        Raises `ConnectionLostError`, or `DeviceError` with the command's last words if it fails.
        """
        try:
            done = subprocess.run(  # noqa: S603
                self.command(words), input=source, capture_output=True, timeout=timeout, check=False
            )
        except subprocess.TimeoutExpired:
            raise ConnectionLostError(f"no answer within {timeout:g} s") from None
        said = _last_line(done.stderr)
        if done.returncode == LOST:
            raise ConnectionLostError(said)
        if done.returncode != 0:
            raise DeviceError(f"{self.host}: {said or f'ended with {done.returncode}'}")
        return done.stdout

    def follow(self, words: Sequence[str]) -> subprocess.Popen[bytes]:
        """Start ``words``, their stdout and stderr as pipes."""
        return subprocess.Popen(  # noqa: S603
            self.command(words),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C reaches us alone, and we end it
        )

    def refusal(self, lost: ConnectionLostError) -> DeviceError:
        """The error for a connection that could not be made."""
        said = str(lost)
        for signs, advice in _ADVICE:
            if any(sign in said.lower() for sign in signs):
                said = f"{said.rstrip('.')}; {advice.format(address=self.address)}"
                break
        return DeviceError(f"cannot reach {self.host}: {said}")


def parse(text: str, config: str | None = None) -> Target:
    """The target of ``ssh://[user@]host[:port]``; raises `UsageError` for anything else."""
    problem = UsageError(
        f"{text!r} is no device; give local, or ssh://user@host or ssh://user@host:port"
    )
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise problem from None
    host = parts.hostname
    extra = parts.path.strip("/") or parts.query or parts.fragment or parts.password
    # A leading dash would be an option to ssh.
    if parts.scheme != "ssh" or not host or extra or host.startswith("-"):
        raise problem
    user = parts.username
    if user is not None and (not user or user.startswith("-")):
        raise problem
    return Target(host, user, port, config)


def last_words(stream: IO[bytes] | None) -> str:
    """The last line of what is left in a stream."""
    return _last_line(stream.read()) if stream is not None else ""


def _last_line(text: bytes) -> str:
    lines = text.decode("utf-8", "replace").strip().splitlines()
    # OpenSSH's warnings about changed keys end in a plain sentence; the cause stands before it.
    for line in lines:
        if "IDENTIFICATION HAS CHANGED" in line:
            return line.strip("@ ")
    return lines[-1].strip() if lines else ""
