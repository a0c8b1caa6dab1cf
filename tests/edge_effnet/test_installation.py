"""The pip line of a missing extra: it follows how the package was installed, and works."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_effnet.apps.bundle import wheel
from edge_effnet.installation import Installation
from support.pages import PAGES, ROOT, blocks

#: A small extra, and the package that it adds.
EXTRA, PACKAGE = "h5", "h5py"
#: Packages that the installs below would fetch: empty ones, newer than any real one.
EMPTY = ("numpy", "pillow", "safetensors", "click", "rich", PACKAGE)
VERSION = "9999.0"
SHOW = (
    "from edge_effnet.installation import find, pip_line; print(find().kind); print(pip_line('h5'))"
)


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packages")
    for name in EMPTY:
        info = f"{name}-{VERSION}.dist-info"
        with zipfile.ZipFile(folder / f"{name}-{VERSION}-py3-none-any.whl", "w") as archive:
            archive.writestr(
                f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {VERSION}\n"
            )
            archive.writestr(
                f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
            )
            archive.writestr(f"{info}/RECORD", "")
    return folder


class Environment:
    """A virtual environment that is active in the commands that `run` runs."""

    def __init__(self, folder: Path, packages: Path) -> None:
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        self.scripts = folder / "bin"
        self.variables = {
            **os.environ,
            "PATH": f"{self.scripts}{os.pathsep}{os.environ['PATH']}",
            "PIP_FIND_LINKS": str(packages),
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PIP_COMPILE": "0",
        }
        self.variables.pop("PYTHONPATH", None)

    def run(self, line: str, cwd: Path, *, offline: bool = True) -> str:
        """Run a shell command and return its output; without a package index if ``offline``."""
        variables = {**self.variables, **({"PIP_NO_INDEX": "1"} if offline else {})}
        done = subprocess.run(
            ["bash", "-c", line],
            cwd=cwd,
            env=variables,
            capture_output=True,
            text=True,
            timeout=300,
        )
        if done.returncode and not offline and "setuptools" in done.stderr:
            pytest.skip("building needs setuptools >= 68, which pip cannot fetch here")
        assert done.returncode == 0, done.stderr
        return done.stdout

    def hint(self, cwd: Path) -> list[str]:
        """The kind of installation, and the pip line of the missing extra."""
        return self.run(f"python -c {shlex.quote(SHOW)}", cwd).splitlines()

    def has_extra(self, cwd: Path) -> bool:
        return f"{PACKAGE}=={VERSION}" in self.run("pip freeze", cwd)


@pytest.fixture(scope="module")
def virtual(tmp_path_factory: pytest.TempPathFactory, packages: Path) -> Environment:
    return Environment(tmp_path_factory.mktemp("environment"), packages)


@pytest.fixture
def environment(virtual: Environment, tmp_path: Path) -> Iterator[Environment]:
    variables = dict(virtual.variables)
    yield virtual
    virtual.variables = variables
    virtual.run(f"pip uninstall --yes edge-effnet {PACKAGE}", tmp_path)


@pytest.mark.slow
def test_a_wheel_that_is_a_file(environment: Environment, tmp_path: Path) -> None:
    """As in a bundle for a Raspberry Pi: the wheel lies beside run.py."""
    folder = tmp_path / "it's here"
    folder.mkdir()
    (folder / wheel.NAME).write_bytes(wheel.pack())
    environment.run(f"pip install ./{wheel.NAME}", folder)
    assert not environment.has_extra(folder)
    kind, line = environment.hint(tmp_path)
    assert (kind, shlex.split(line)[-1]) == ("file", f"{folder / wheel.NAME}[{EXTRA}]")
    environment.run(line, tmp_path)
    assert environment.has_extra(folder)

    (folder / wheel.NAME).unlink()
    assert environment.hint(tmp_path) == [
        "unknown",
        "pip install '.[h5]' in a clone of edge-effnet",
    ]


@pytest.mark.slow
def test_a_package_index(environment: Environment, packages: Path, tmp_path: Path) -> None:
    links = tmp_path / "links"
    shutil.copytree(packages, links)
    (links / wheel.NAME).write_bytes(wheel.pack())
    environment.variables["PIP_FIND_LINKS"] = str(links)
    environment.run("pip install edge-effnet", tmp_path)
    assert environment.hint(tmp_path) == ["index", "pip install 'edge-effnet[h5]'"]
    environment.run(environment.hint(tmp_path)[1], tmp_path)
    assert environment.has_extra(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("option", ["", "-e "])
def test_a_clone(option: str, environment: Environment, tmp_path: Path) -> None:
    clone = tmp_path / "a clone"
    left_out = ("__pycache__", "*.pyc", ".*", "build", "dist", "*.egg-info", "tests", "report")
    shutil.copytree(ROOT, clone, ignore=shutil.ignore_patterns(*left_out))
    environment.run(f"pip install {option}.", clone, offline=False)
    assert environment.hint(clone) == ["folder", f"pip install {option}'.[h5]'"]
    kind, line = environment.hint(tmp_path)
    assert (kind, line) == ("folder", f"pip install {option}'{clone}[h5]'")
    environment.run(line, tmp_path, offline=False)
    assert environment.has_extra(tmp_path)


def test_an_environment_that_is_not_active(environment: Environment, tmp_path: Path) -> None:
    (tmp_path / wheel.NAME).write_bytes(wheel.pack())
    environment.run(f"pip install ./{wheel.NAME}", tmp_path)
    python = environment.scripts / "python"
    environment.variables["PATH"] = os.environ["PATH"]
    line = environment.run(f"{python} -c {shlex.quote(SHOW)}", tmp_path).splitlines()[1]
    assert line.startswith(f"{python} -m pip install ")
    environment.run(line, tmp_path)
    assert f"{PACKAGE}=={VERSION}" in environment.run(f"{python} -m pip freeze", tmp_path)


def test_a_copied_tree(tmp_path: Path) -> None:
    """Imported from a folder, nothing installed: the command is that of a clone."""
    shutil.copytree(ROOT / "edge_effnet", tmp_path / "edge_effnet")
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, '.'); {SHOW}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[0] == "unknown"
    assert done.stdout.splitlines()[1].endswith("install '.[h5]' in a clone of edge-effnet")


def test_a_repository_and_an_address() -> None:
    from edge_effnet.installation import _recorded

    vcs = {"vcs": "git", "commit_id": "abc"}
    found = _recorded({"url": "https://host/edge-effnet.git", "vcs_info": vcs})
    assert found == Installation("url", "git+https://host/edge-effnet.git@abc")
    assert found.pip_line("export", Path("/")).endswith(
        "install 'edge-effnet[export] @ git+https://host/edge-effnet.git@abc'"
    )


def test_the_pages_say_the_same() -> None:
    """They have the lines that a message gives in a clone, and for a wheel."""
    lines = [line for page in PAGES for block in blocks(page) for line in block.commands]
    shown = {shlex.join(shlex.split(line, comments=True)) for line in lines if "pip " in line}
    for extra in ("export", "litert", "camera,litert"):
        message = Installation("folder", "/clone").pip_line(extra, Path("/clone"))
        assert "pip install " + message.partition(" install ")[2] in shown
    built = Installation("file", f"dist/{wheel.NAME}").pip_line("export", Path())
    assert "pip install " + built.partition(" install ")[2] in shown
