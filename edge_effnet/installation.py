"""Origin of the installed package (PEP 610), and the pip command that adds an extra to it.

Messages about missing extras, and the command `doctor`, use `pip_line`.
"""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path
from typing import Any, Literal

PROJECT = "edge-effnet"


@dataclass(frozen=True)
class Installation:
    """Origin of the installed package.

    Attributes:
        kind: "index" (a package index), "folder" (a clone), "file" (a wheel or archive on disk),
            "url" (a repository or remote archive), or "unknown" (a copy, or the origin is gone).
        source: The folder, file or URL; otherwise empty.
        editable: Whether it was installed by ``pip install -e``.
    """

    kind: Literal["index", "folder", "file", "url", "unknown"]
    source: str = ""
    editable: bool = False

    def pip_line(self, extras: str, working: Path) -> str:
        """The pip command that adds ``extras`` (comma-separated), for the folder ``working``."""
        if self.kind == "unknown":
            return f"{_pip()} install '.[{extras}]' in a clone of {PROJECT}"
        if self.kind == "index":
            requirement = f"{PROJECT}[{extras}]"
        elif self.kind == "url":
            requirement = f"{PROJECT}[{extras}] @ {self.source}"
        else:
            here = self.kind == "folder" and Path(self.source) == working
            requirement = f"{'.' if here else self.source}[{extras}]"
        option = "-e " if self.editable else ""
        return f"{_pip()} install {option}{shlex.quote(requirement)}"


def pip_line(extras: str) -> str:
    """The pip command that adds ``extras`` (comma-separated) to this installation."""
    return find().pip_line(extras, Path.cwd())


def find() -> Installation:
    """The origin of the imported package."""
    for item in distributions(name=PROJECT):
        if item.read_text("METADATA") is None:  # the .egg-info of a build in the source folder
            continue
        record = item.read_text("direct_url.json")
        return _recorded(json.loads(record)) if record else Installation("index")
    return Installation("unknown")


def _recorded(record: dict[str, Any]) -> Installation:
    """The installation described by the content of a ``direct_url.json``."""
    from urllib.parse import urlsplit
    from urllib.request import url2pathname  # slow import, only needed on an error

    url = str(record["url"])
    if not url.startswith("file:") or "vcs_info" in record:
        vcs = record.get("vcs_info")
        return Installation("url", f"{vcs['vcs']}+{url}@{vcs['commit_id']}" if vcs else url)
    path = Path(url2pathname(urlsplit(url).path))
    if not path.exists():
        return Installation("unknown")
    editable = bool(record.get("dir_info", {}).get("editable"))
    return Installation("folder" if "dir_info" in record else "file", str(path), editable)


def _pip() -> str:
    """This environment's pip command; ``python -m pip`` if PATH has another pip."""
    executable = shutil.which("pip")
    scripts = Path(sys.executable).parent
    if sys.prefix == sys.base_prefix or (executable and Path(executable).parent == scripts):
        return "pip"  # no virtual environment, or an active one
    return f"{shlex.quote(sys.executable)} -m pip"
