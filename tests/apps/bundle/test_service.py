"""systemd units of any folder, user and argument: what systemd reads is what was meant."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edge_effnet.apps.bundle.service import unit
from edge_effnet.errors import UsageError
from support.systemd_unit import command_of, read_words, value

NAMES = (
    "plain",
    "two words",
    "100 % %n",
    "$HOME ${x}",
    "o'brien",
    'a "quoted" one',
    "back\\slash",
    "ends with a space ",
    "ends with\\",
    "semi ; colon",
    "#hash",
    "-dash",
    "ünïcode 犬",
    "no\u00a0break",
    "a=b",
)


#: What a file's name can hold.
PATHS = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1)


@given(PATHS, st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), PATHS)
@example("a$b'c", "line\nbreak", "pi")
def test_systemd_reads_what_was_meant(name: str, argument: str, user: str) -> None:
    folder = f"/home/{name}"
    command = [f"{folder}/.venv/bin/python", "run.py", argument]
    try:
        text = unit("x", command, folder, user)
    except UsageError:
        assert not name.isprintable() or not user.isprintable()
        return
    assert command_of(read_words(value(text, "ExecStart"))) == command
    read = value(text, "WorkingDirectory").strip()
    assert not read.endswith("\\")
    assert read.replace("%%", "%").removesuffix("/") == folder.removesuffix("/")
    assert value(text, "User").replace("%%", "%") == user
    (start,) = (line for line in text.splitlines() if line.startswith("ExecStart="))
    assert start == f"ExecStart={value(text, 'ExecStart')}"
    assert text.split("\n")[8].startswith("WorkingDirectory="), "no line was added before it"


@pytest.mark.parametrize("name", ["a\nb", "a\tb", "a\x1bb", "a\x85b", "a\udcffb"])
def test_names_that_a_unit_cannot_contain(name: str) -> None:
    for folder, user in ((f"/home/{name}", "pi"), ("/home/pi", name)):
        with pytest.raises(UsageError, match="a systemd unit cannot contain") as caught:
            unit("x", ["/bin/true"], folder, user)
        assert "\x1b" not in str(caught.value)


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")
@pytest.mark.parametrize("name", NAMES)
def test_systemd_accepts_the_unit(name: str, tmp_path: Path) -> None:
    """systemd finds the program, which it names if it is missing or refused."""
    folder = tmp_path / name
    folder.mkdir()
    program = folder / "program"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    written = tmp_path / "edge-effnet.service"
    written.write_text(unit("x", [str(program), name, "a\nb"], str(folder), "root"))
    verify = ["systemd-analyze", "verify", str(written)]
    checked = subprocess.run(verify, capture_output=True, text=True, timeout=400)
    assert checked.returncode == 0, checked.stderr
    assert "edge-effnet.service" not in checked.stderr
