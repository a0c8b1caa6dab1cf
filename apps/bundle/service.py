"""systemd units of a bundle, for the current folder and user.

``run.py service watch|camera|rpicam`` prints a unit on the board.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from edge_effnet.errors import UsageError

#: Seconds between restarts, and the number of starts within `WINDOW` seconds after which systemd
#: gives up. After exit code 2 (bad input) systemd does not restart.
RESTART, STARTS, WINDOW = 2, 5, 300
#: Local address at which the camera app listens for rpicam-vid's pictures.
RPICAM_ADDRESS = "tcp://127.0.0.1:8888"
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_RPICAM = (
    "/usr/bin/rpicam-vid",
    *("--timeout", "0", "--nopreview", "--codec", "mjpeg"),
    *("--width", "640", "--height", "480", "--framerate", "30"),
)


def unit(
    description: str,
    command: Sequence[str],
    folder: str,
    user: str,
    *,
    group: str | None = None,
    always: bool = False,
) -> str:
    """The systemd unit that runs ``command`` in ``folder`` as ``user``.

    Args:
        description: One line for ``systemctl status``.
        command: The program's absolute path and its arguments, unquoted.
        folder: Absolute path of the working folder.
        user: Name of the user that the program runs as.
        group: Supplementary group of the program, for example ``video`` for cameras.
        always: Restart the program after every exit, without limit.

    Returns:
        The unit's text; every path, name and argument is escaped as in systemd.syntax(7) and
        systemd.service(5).

    Raises:
        UsageError: The folder's or the user's name contains a control character, or a text is not
            UTF-8. A unit cannot contain them.
    """
    for text in (*command, folder, user):
        written_plainly = text in (folder, user)
        if not _is_utf8(text) or "\0" in text or (written_plainly and _CONTROL.search(text)):
            raise UsageError(
                f"a systemd unit cannot contain {text!r}: it has a control character or is not "
                "UTF-8; rename it"
            )
    lines = (
        "[Unit]",
        f"Description={_percent(description)}",
        "After=network.target",
        f"StartLimitIntervalSec={0 if always else WINDOW}",
        f"StartLimitBurst={STARTS}",
        "",
        "[Service]",
        f"User={_percent(user)}",
        f"WorkingDirectory={_plain(folder)}",
        f"ExecStart={_command(command)}",
        f"Restart={'always' if always else 'on-failure'}",
        f"RestartSec={RESTART}",
        *(() if always else ("RestartPreventExitStatus=2",)),
        *(() if group is None else (f"SupplementaryGroups={group}",)),
        "NoNewPrivileges=yes",
        "ProtectSystem=full",
        "",
        "[Install]",
        "WantedBy=multi-user.target",
    )
    return "".join(f"{line}\n" for line in lines)


def rpicam(options: Sequence[str], folder: str, user: str) -> str:
    """Unit of ``rpicam-vid``, which streams the Pi Camera Module's video to the camera app.

    ``rpicam-vid`` exits if no program listens at `RPICAM_ADDRESS`. systemd restarts it after every
    exit.
    """
    command = (*_RPICAM, *options, "--output", RPICAM_ADDRESS)
    description = "Pictures of the Pi Camera Module for edge-effnet"
    return unit(description, command, folder, user, group="video", always=True)


def _command(command: Sequence[str]) -> str:
    """The value of ``ExecStart`` that runs ``command``.

    systemd refuses quotes and backslashes in a program's path, and does not replace ``$$`` in it.
    A shell starts these programs.
    """
    if re.search(r"[\"'\\$\x00-\x1f\x7f]", command[0]):
        command = ("/bin/sh", "-c", 'exec "$0" "$@"', *command)
    return " ".join(map(_quoted, command))


def _plain(folder: str) -> str:
    """``folder`` where quotes and backslashes are not escaped.

    A space at the end of a line would be dropped, and a backslash there would join the next line. A
    slash at the end of a path means nothing.
    """
    return _percent(f"{folder}/" if folder[-1:] in (" ", "\\") else folder)


def _is_utf8(text: str) -> bool:
    return not any("\ud800" <= each <= "\udfff" for each in text)


def _percent(text: str) -> str:
    """``text`` with each ``%`` doubled, because ``%`` begins a systemd specifier."""
    return text.replace("%", "%%")


def _quoted(word: str) -> str:
    """One argument of a command, quoted, with ``$`` escaped against variable expansion."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("$", "$$")
    escaped = _CONTROL.sub(lambda match: f"\\u{ord(match[0]):04x}", escaped)
    return f'"{_percent(escaped)}"'
