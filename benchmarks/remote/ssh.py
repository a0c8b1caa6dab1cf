"""Commands on another machine (ssh://user@host[:port]) through the system's OpenSSH client.

Host keys are verified against known_hosts and never added. OpenSSH never prompts, so authentication
needs a key or an ssh agent. Each command opens its own connection.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO, Any
from urllib.parse import urlsplit

from edge_effnet import reading
from edge_effnet.benchmarks.json_lines import MOST_BYTES
from edge_effnet.errors import DeviceError, UsageError, reason
from edge_effnet.json_text import object_of

#: OpenSSH's exit code for a failed or lost connection. Other codes are those of the command.
LOST = 255
_LARGEST_CONFIG = 1 << 20
_OPTIONS = (
    *("-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes", "-o", "ConnectTimeout=15"),
    # A dead connection is detected within 15 s.
    *("-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=3"),
)
#: Text in OpenSSH's messages -> advice.
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
    (("timed out", "no route"), "it does not respond: is it on, and on this network?"),
)


class ConnectionLostError(Exception):
    """The connection failed or broke; the message is OpenSSH's last line."""


@dataclass(frozen=True)
class Target:
    """A machine behind ssh; ``config`` is an ssh_config file that replaces the user's."""

    host: str
    user: str | None = None
    port: int | None = None
    config: str | None = None

    @property
    def address(self) -> str:
        """The address as arguments of ``ssh``."""
        port = f"-p {self.port} " if self.port else ""
        return port + (f"{self.user}@{self.host}" if self.user else self.host)

    def command(self, arguments: Sequence[str]) -> list[str]:
        """The local command that runs ``arguments`` on the machine."""
        if shutil.which("ssh") is None:
            raise DeviceError(
                "there is no ssh here: install the OpenSSH client (apt install openssh-client)"
            )
        config = ("-F", self.config) if self.config else ()
        port = ("-p", str(self.port)) if self.port else ()
        user = ("-l", self.user) if self.user else ()
        return ["ssh", *config, *_OPTIONS, *port, *user, "--", self.host, shlex.join(arguments)]

    def run(self, arguments: Sequence[str], source: bytes = b"", timeout: float = 600) -> bytes:
        """Run a command on the machine; returns its stdout.

        Args:
            arguments: The command.
            source: Bytes for its stdin.
            timeout: Seconds after which the connection counts as lost.

        Raises:
            ConnectionLostError: The connection failed.
            DeviceError: The command failed; the message is the last line of its stderr.
        """
        with tempfile.TemporaryFile() as stdin, tempfile.TemporaryFile() as errors:
            stdin.write(source)
            stdin.seek(0)
            process = subprocess.Popen(  # noqa: S603
                self.command(arguments), stdin=stdin, stdout=subprocess.PIPE, stderr=errors
            )
            assert process.stdout is not None  # noqa: S101  (it is a pipe)
            timer = threading.Timer(timeout, process.kill)
            timer.start()
            try:
                output = process.stdout.read(MOST_BYTES + 1)
                if len(output) > MOST_BYTES:
                    raise DeviceError(
                        f"{self.host} sent more than {MOST_BYTES >> 20} MB in reply; look at what "
                        f"it prints: ssh {self.address} true"
                    )
                process.wait()
            finally:
                process.kill()
                process.wait()
                process.stdout.close()
                late = not timer.is_alive()
                timer.cancel()
            if late:
                raise ConnectionLostError(f"no reply within {timeout:g} s")
            message = _last_line(_end_of(errors))
        if process.returncode == LOST:
            raise ConnectionLostError(message)
        if process.returncode != 0:
            raise DeviceError(f"{self.host}: {message or f'ended with {process.returncode}'}")
        return output

    def reply(self, arguments: Sequence[str], source: bytes = b"") -> dict[str, Any]:
        """The last JSON object that a command printed, as `run`.

        Shells may print banners before it.

        Raises:
            ConnectionLostError: The connection failed.
            DeviceError: The command failed, or printed no JSON object.
        """
        for line in reversed(self.run(arguments, source).splitlines()):
            if (content := object_of(line)) is not None:
                return content
        raise self.confused()

    def confused(self) -> DeviceError:
        """The error for a machine whose replies are not those of our programs."""
        return DeviceError(
            f"{self.host} sent something else than was asked for; look at what its shell prints: "
            f"ssh {self.address} true"
        )

    def follow(self, arguments: Sequence[str]) -> subprocess.Popen[bytes]:
        """Start a command with pipes for its stdout and stderr."""
        return subprocess.Popen(  # noqa: S603
            self.command(arguments),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C reaches only this process, which then stops ssh
        )

    def refusal(self, lost: ConnectionLostError) -> DeviceError:
        """The error for a failed connection, with advice."""
        message = str(lost)
        for signs, advice in _ADVICE:
            if any(sign in message.lower() for sign in signs):
                message = f"{message.rstrip('.')}; {advice.format(address=self.address)}"
                break
        return DeviceError(f"cannot reach {self.host}: {message}")


def parse(text: str, config: str | None = None) -> Target:
    """The target of ``ssh://[user@]host[:port]``, with an ssh_config file or the user's.

    Raises:
        UsageError: The text has another form, or ``config`` is no small file.
    """
    error = UsageError(
        f"{text!r} is no device; give local, or ssh://user@host or ssh://user@host:port"
    )
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise error from None
    host = parts.hostname
    extra = parts.path.strip("/") or parts.query or parts.fragment or parts.password
    # ssh would read a leading dash as an option.
    if parts.scheme != "ssh" or not host or extra or host.startswith("-"):
        raise error
    user = parts.username
    if user is not None and (not user or user.startswith("-")):
        raise error
    if config is not None:
        _check_config(config)
    return Target(host, user, port, config)


def _check_config(config: str) -> None:
    """Raise `UsageError` for a device or a large file, which ssh would read into its memory."""
    try:
        large = reading.check_regular(config) > _LARGEST_CONFIG
    except OSError as error:
        raise UsageError(
            f"cannot read the ssh configuration {config}: {reason(error)}; give another file"
        ) from error
    if large:
        raise UsageError(f"the ssh configuration {config} is larger than 1 MB; give another file")


def last_line(stream: IO[bytes] | None) -> str:
    """The last line of the remaining bytes of a stream, which ends within `MOST_BYTES`."""
    return _last_line(stream.read(MOST_BYTES)) if stream is not None else ""


def _end_of(file: IO[bytes]) -> bytes:
    """The last bytes of a file, enough for OpenSSH's messages."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(size - 10_000, 0))
    return file.read()


def _last_line(text: bytes) -> str:
    lines = text.decode("utf-8", "replace").strip().splitlines()
    # OpenSSH's warning about a changed key has several lines; its title is the cause.
    for line in lines:
        if "IDENTIFICATION HAS CHANGED" in line:
            return line.strip("@ ")
    return lines[-1].strip() if lines else ""
