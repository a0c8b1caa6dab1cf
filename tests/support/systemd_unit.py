"""A systemd unit as systemd reads it."""

from __future__ import annotations

import re
import subprocess


def read_words(value: str) -> list[str]:
    """A command line as systemd.service(5) and systemd.syntax(7) describe it: for double quotes.

    Specifiers (``%%``) and C escapes are replaced everywhere, ``$$`` not in the program's path.
    """
    words = [match[1] for match in re.finditer(r'"((?:[^"\\]|\\.)*)"(?: |$)', value)]
    assert " ".join(f'"{word}"' for word in words) == value, "nothing is outside of quotes"
    assert not re.search(r"(?<!%)(?:%%)*%(?!%)", value), "no specifier"
    for place, word in enumerate(words):
        plain = re.sub(
            r'\\(?:u([0-9a-f]{4})|([\\"]))',
            lambda match: chr(int(match[1], 16)) if match[1] else match[2],
            word.replace("%%", "%"),
        )
        if place:
            assert not re.search(r"(?<!\$)(?:\$\$)*\$(?!\$)", plain), "no variable"
            plain = plain.replace("$$", "$")
        words[place] = plain
    return words


def command_of(words: list[str]) -> list[str]:
    """The command that a line of ``ExecStart`` runs in the end."""
    if words[0] != "/bin/sh":
        return words
    shell = subprocess.run(
        [*words[:2], words[2].replace("exec", "printf '%s\\0'"), *words[3:]],
        capture_output=True,
        check=True,
    )
    return shell.stdout.decode().split("\0")[:-1]


def value(text: str, key: str) -> str:
    (line,) = (line for line in text.splitlines() if line.startswith(f"{key}="))
    return line.removeprefix(f"{key}=")
