"""The installed environment: each extra with its packages, and whether each runtime loads."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, requires, version

from edge_effnet.errors import silence_reporters
from edge_effnet.installation import PROJECT, pip_line

#: Package of a runtime -> module that must load for the runtime to work.
RUNTIMES = {
    "ai-edge-litert": "ai_edge_litert.interpreter",
    "tflite-runtime": "tflite_runtime.interpreter",
    "onnxruntime": "onnxruntime",
    "openvino": "openvino",
}
#: Extras that are not listed: for developers, and for all extras together.
_NOT_SHOWN = frozenset({"dev", "all"})
_REQUIREMENT = re.compile(r"([A-Za-z0-9_.-]+)(?:\[([^]]*)\])?[^;]*(?:;(.*))?")


@dataclass(frozen=True)
class Package:
    """A package.

    ``version`` is None if the package is not installed. ``fault`` is the error if the package fails
    to load.
    """

    name: str
    version: str | None
    fault: str | None = None

    @property
    def ready(self) -> bool:
        """Whether the package can be used."""
        return self.version is not None and self.fault is None


@dataclass(frozen=True)
class Extra:
    """An extra, the extras it includes, and the packages it requires on this machine."""

    name: str
    includes: tuple[str, ...]
    packages: tuple[Package, ...]

    @property
    def install(self) -> str:
        """The pip command that installs this extra."""
        return pip_line(self.name)


def extras() -> tuple[Extra, ...]:
    """All extras of the installed edge-effnet in alphabetical order, except ``dev`` and ``all``."""
    try:
        return read(requires(PROJECT) or ())
    except PackageNotFoundError:  # a copied source folder, not installed
        return ()


def read(requirements: Iterable[str]) -> tuple[Extra, ...]:
    """The extras in ``Requires-Dist`` lines of package metadata, for this machine."""
    includes: dict[str, list[str]] = {}
    packages: dict[str, list[Package]] = {}
    for line in requirements:
        match = _REQUIREMENT.fullmatch(line.strip())
        extra = re.search(r"extra\s*==\s*['\"]([^'\"]+)", (match and match[3]) or "")
        if match is None or extra is None or extra[1] in _NOT_SHOWN or not _is_for_here(match[3]):
            continue
        includes.setdefault(extra[1], [])
        packages.setdefault(extra[1], [])
        if match[1] == PROJECT:
            includes[extra[1]] += [name.strip() for name in match[2].split(",")]
        else:
            packages[extra[1]].append(look_at(match[1]))
    return tuple(
        Extra(name, tuple(includes[name]), tuple(packages[name])) for name in sorted(includes)
    )


def look_at(name: str) -> Package:
    """The version of a package; for a runtime also the error if it fails to load."""
    version = version_of(name)
    if version is None or name not in RUNTIMES:
        return Package(name, version)
    try:
        silence_reporters()
        import_module(RUNTIMES[name])
    except Exception as error:  # missing native libraries raise various exceptions
        return Package(name, version, " ".join(str(error).split()) or type(error).__name__)
    return Package(name, version)


def version_of(name: str) -> str | None:
    """The version of an installed package; None if it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def missing(extra: Extra, known: Iterable[Extra]) -> tuple[Package, ...]:
    """The packages that ``extra`` and its included extras require and that are not ready."""
    by_name = {item.name: item for item in known}
    lacking = [package for package in extra.packages if not package.ready]
    for name in extra.includes:
        if name in by_name:
            lacking += missing(by_name[name], by_name.values())
    return tuple(dict.fromkeys(lacking))


def _is_for_here(marker: str) -> bool:
    """Whether a requirement's environment marker applies to this machine."""
    for operator, machine in re.findall(r"platform_machine\s*(==|!=)\s*['\"]([^'\"]+)", marker):
        if (platform.machine() == machine) != (operator == "=="):
            return False
    return True
