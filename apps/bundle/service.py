"""systemd units of a bundle, for the folder and the user that they are printed for.

``run.py service watch|camera|rpicam`` prints one on the board.
"""

from __future__ import annotations

from collections.abc import Sequence

from edge_effnet.errors import UsageError

#: Seconds between restarts, and how many starts within `WINDOW` seconds end them. Exit code 2 (bad
#: input, which another start does not mend) ends them at once.
RESTART, STARTS, WINDOW = 2, 5, 300
#: Where rpicam-vid sends its pictures: the camera listens there, on the board alone.
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
    """The unit that runs ``command`` in ``folder`` as ``user``.

    Args:
        description: One line for ``systemctl status``.
        command: The program's absolute path and its arguments, as a shell would pass them.
        folder: Absolute path of the working folder.
        user: Name of the user that the program runs as.
        group: A further group of the program, such as ``video`` for cameras.
        always: Start it again whenever it ends, and as often as it does.

    Returns:
        The unit's text; every path and argument is escaped.

    Raises:
        UsageError: A path or an argument holds a control character, which a unit cannot.
    """
    words = [*command, folder]
    if any(not word.isprintable() for word in words):
        raise UsageError(f"{words!r} holds a control character; a unit cannot: rename the folder")
    lines = (
        "[Unit]",
        f"Description={_percent(description)}",
        "After=network.target",
        f"StartLimitIntervalSec={0 if always else WINDOW}",
        f"StartLimitBurst={STARTS}",
        "",
        "[Service]",
        f"User={user}",
        # Unlike a command, a path takes quotes and backslashes as they are.
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
    """The unit of ``rpicam-vid``, which sends the Pi Camera Module's pictures to the camera.

    It is started again whenever it ends: it does while nobody listens at `RPICAM_ADDRESS`.
    """
    command = (*_RPICAM, *options, "--output", RPICAM_ADDRESS)
    what = "Pictures of the Pi Camera Module for edge-effnet"
    return unit(what, command, folder, user, group="video", always=True)


def _percent(text: str) -> str:
    """``%`` begins a specifier."""
    return text.replace("%", "%%")


def _quoted(word: str) -> str:
    """One word of a command: in quotes, and without variables."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("$", "$$")
    return f'"{_percent(escaped)}"'
