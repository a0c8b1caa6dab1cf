"""Files of the installed package: bytes by path inside a wheel."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

#: Subpackages whose folders are beside ``edge_effnet/`` in the repository.
BESIDE = ("apps", "benchmarks", "calibration", "converters")


def package_files(parts: Sequence[str] = ("", *BESIDE)) -> dict[str, bytes]:
    """The files of ``parts`` (subpackages without ``edge_effnet.``), sorted by path.

    Subfolders are included, bytecode is not. The part ``""`` is ``edge_effnet`` without the
    subpackages in `BESIDE`.
    """
    files = {}
    for part in parts:
        package = f"edge_effnet.{part}" if part else "edge_effnet"
        spec = find_spec(package)
        for folder in (spec.submodule_search_locations or []) if spec else []:
            for path in Path(folder).rglob("*"):
                inner = path.relative_to(folder)
                if not path.is_file() or "__pycache__" in path.parts:
                    continue
                if not part and inner.parts[0] in BESIDE:
                    continue  # an installed package contains these folders
                files[f"{package.replace('.', '/')}/{inner.as_posix()}"] = path.read_bytes()
    return dict(sorted(files.items()))
