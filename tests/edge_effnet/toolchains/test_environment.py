"""Environments are made once, complete or absent, and refused in one sentence."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from edge_effnet.errors import MissingExtra, OutputError
from edge_effnet.toolchains import environment
from edge_effnet.toolchains.registry import Toolchain

HERE = Toolchain("tools", "the tools", (), (sys.version_info[1],), 1, (sys.platform, ("x86_64",)))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Toolchain:
    """A toolchain whose only package is a wheel on disk: pip needs no index for it."""
    monkeypatch.setenv(environment.FOLDER, str(tmp_path / "environments"))
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    wheel = tmp_path / "tool-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("tool.py", "")
        archive.writestr(
            "tool-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: tool\nVersion: 1\n"
        )
        archive.writestr(
            "tool-1.dist-info/WHEEL",
            "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        archive.writestr("tool-1.dist-info/RECORD", "")
    return replace(HERE, packages=(str(wheel),))


@pytest.mark.slow
def test_packages_are_installed_once(here: Toolchain) -> None:
    steps: list[tuple[str, int, int]] = []
    executable = environment.python(here, lambda *step: steps.append(step))
    assert [done for _, done, _ in steps] == [0, 1]
    assert subprocess.run([executable, "-I", "-c", "import tool"], check=True).returncode == 0
    assert environment.is_ready(here)
    assert environment.python(here, lambda *step: steps.append(step)) == executable
    assert len(steps) == 2
    assert not environment.is_ready(replace(here, packages=("tool==2",)))


@pytest.mark.slow
def test_half_an_installation_counts_as_none(here: Toolchain, tmp_path: Path) -> None:
    broken = replace(here, packages=("there-is-no-such-package==1",))
    with pytest.raises(MissingExtra, match=r"the tools cannot be installed in .*no-such-package"):
        environment.python(broken)
    assert not environment.folder_of(broken).exists()
    environment.folder_of(here).mkdir(parents=True)  # an installation that was killed
    assert not environment.is_ready(here)
    assert environment.python(here).is_file()


def test_machines_that_cannot_run_it(here: Toolchain, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MissingExtra, match="runs on plan9 with pdp11, not on"):
        environment.python(replace(here, platform=("plan9", ("pdp11",))))
    with pytest.raises(MissingExtra, match=r"needs Python 3\.2, and there is none on PATH"):
        environment.python(replace(here, pythons=(2,)))
    missing = replace(here, commands=(("no-such-java", "apt-get install java"),))
    with pytest.raises(MissingExtra, match="needs the program no-such-java: apt-get install java"):
        environment.python(missing)
    monkeypatch.delenv(environment.FOLDER)
    monkeypatch.setattr(environment, "user_cache", lambda: None)
    with pytest.raises(MissingExtra, match=environment.FOLDER):
        environment.folder_of(here)


def test_a_folder_that_cannot_be_written(here: Toolchain, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(environment.FOLDER, "/dev/null/environments")
    with pytest.raises(OutputError, match="cannot write in /dev/null/environments"):
        environment.python(here)
