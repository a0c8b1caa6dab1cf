"""The files of this package as installed: {path inside a wheel: bytes}, of all or some parts."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

#: Subpackages that a clone keeps in folders beside ``edge_effnet/``.
BESIDE = ("apps", "benchmarks", "calibration", "converters")


def package_files(parts: Sequence[str] = ("", *BESIDE)) -> dict[str, bytes]:
    """The files of ``parts``, subpackages named without ``edge_effnet.``, sorted by path.

    Sub-folders are included; bytecode is not. The part ``""`` is ``edge_effnet`` itself with the
    sub-folders of its own, but without those `BESIDE` it.
    """
    found = {}
    for part in parts:
        package = f"edge_effnet.{part}" if part else "edge_effnet"
        spec = find_spec(package)
        for folder in (spec.submodule_search_locations or []) if spec else []:
            for path in Path(folder).rglob("*"):
                inner = path.relative_to(folder)
                if not path.is_file() or "__pycache__" in path.parts:
                    continue
                if not part and inner.parts[0] in BESIDE:
                    continue  # in an installed package they lie inside
                found[f"{package.replace('.', '/')}/{inner.as_posix()}"] = path.read_bytes()
    return dict(sorted(found.items()))
