"""The labelled photos that accuracy is judged on."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from . import ROOT

DATA = Path(os.environ.get("EDGE_EFFNET_DATA") or ROOT.parent / "shared" / "data").resolve()

#: (format, precision) -> the file, e.g. ("openvino", "int8") -> ...-int8.xml
Files = Mapping[tuple[str, str], Path]


@dataclass(frozen=True)
class LabelledPhotos:
    """ImageNet photos: ``images`` the folder, ``labels`` the CSV, ``rows`` its content."""

    images: Path
    labels: Path
    rows: tuple[tuple[str, int, str], ...]  # file, label, split

    def paths(self, split: str) -> list[Path]:
        """The photos of a split, in the CSV's order."""
        return [self.images / file for file, _, of in self.rows if of == split]

    def targets(self, split: str) -> list[int]:
        """Their class indices."""
        return [label for _, label, of in self.rows if of == split]
