"""How edge-effnet is installed here (PEP 610), and the pip line that adds an extra to it.

The one place that decides this: every message about a missing extra, and `doctor`, use `pip_line`.
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
    """Where pip took the package from.

    Attributes:
        kind: "index" (a package index), "folder" (a clone), "file" (a wheel or an archive on
            disk), "url" (a repository or an archive elsewhere), or "unknown" (a copied tree, or
            the folder or file that pip took is gone).
        source: The folder, the file or the URL; empty for the other two.
        editable: Installed by ``pip install -e``.

    """

    kind: Literal["index", "folder", "file", "url", "unknown"]
    source: str = ""
    editable: bool = False

    def pip_line(self, extras: str, working: Path) -> str:
        """The command that adds ``extras`` (comma-separated names), run in ``working``."""
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
    """The command that adds ``extras`` (comma-separated names) to this installation."""
    return find().pip_line(extras, Path.cwd())


def find() -> Installation:
    """How the package that is imported here was installed."""
    for item in distributions(name=PROJECT):
        if item.read_text("METADATA") is None:  # .egg-info: a build leaves it beside the sources
            continue
        record = item.read_text("direct_url.json")
        return _recorded(json.loads(record)) if record else Installation("index")
    return Installation("unknown")


def _recorded(record: dict[str, Any]) -> Installation:
    """The installation that a ``direct_url.json`` describes."""
    from urllib.parse import urlsplit
    from urllib.request import url2pathname  # slow to import, and needed only on an error

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
    """The pip of this environment: through its interpreter if another one is on the PATH."""
    found = shutil.which("pip")
    scripts = Path(sys.executable).parent
    if sys.prefix == sys.base_prefix or (found and Path(found).parent == scripts):
        return "pip"  # no virtual environment, or the active one
    return f"{shlex.quote(sys.executable)} -m pip"
