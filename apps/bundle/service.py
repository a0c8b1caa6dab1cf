"""systemd units of a bundle, for the current folder and user.

``run.py service watch|camera|rpicam`` prints a unit on the board.
"""

from __future__ import annotations

from collections.abc import Sequence

from edge_effnet.errors import UsageError

#: Seconds between restarts, and the number of starts within `WINDOW` seconds after which systemd
#: gives up. After exit code 2 (bad input) systemd does not restart.
RESTART, STARTS, WINDOW = 2, 5, 300
#: Local address at which the camera app listens for rpicam-vid's pictures.
RPICAM_ADDRESS = "tcp://127.0.0.1:8888"
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
        The unit's text; every path and argument is escaped.

    Raises:
        UsageError: A path or an argument contains a control character.
    """
    arguments = [*command, folder]
    if any(not argument.isprintable() for argument in arguments):
        raise UsageError(
            f"{arguments!r} contains a control character, which a unit cannot; rename the folder"
        )
    lines = (
        "[Unit]",
        f"Description={_percent(description)}",
        "After=network.target",
        f"StartLimitIntervalSec={0 if always else WINDOW}",
        f"StartLimitBurst={STARTS}",
        "",
        "[Service]",
        f"User={user}",
        # Unlike in ExecStart, quotes and backslashes of a path must not be escaped.
        f"WorkingDirectory={_percent(folder)}",
        f"ExecStart={' '.join(map(_quoted, command))}",
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


def _percent(text: str) -> str:
    """``text`` with each ``%`` doubled, because ``%`` begins a systemd specifier."""
    return text.replace("%", "%%")


def _quoted(word: str) -> str:
    """One argument of a command, quoted, with ``$`` escaped against variable expansion."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("$", "$$")
    return f'"{_percent(escaped)}"'
