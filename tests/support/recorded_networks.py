"""Networks of other libraries as recorded layouts: names and shapes, configs, and their outputs.

The values of the tensors are not recorded but seeded by their names (`seeded_values`). `make wild`
compares every record with the library that it was made with.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .seeded_values import values

FOLDER = Path(__file__).parent / "recorded"


@dataclass(frozen=True)
class Recorded:
    """One network.

    Attributes:
        tensors: Shape of each float tensor by name.
        files: JSON files beside the weights, by name.
        side: Side of the pictures (`seeded_values.images`).
        outputs: The library's outputs for them.
        options: Arguments of `load`.
    """

    tensors: dict[str, tuple[int, ...]]
    files: dict[str, Any]
    side: int
    outputs: list[list[float]]
    options: dict[str, Any]

    def state_dict(self) -> dict[str, NDArray[np.float32]]:
        """The tensors with their seeded values."""
        return {name: values(name, shape) for name, shape in self.tensors.items()}

    def save(self, name: str) -> None:
        """Write the record ``name``."""
        text = json.dumps(asdict(self), separators=(",", ":"))
        (FOLDER / f"{name}.json.gz").write_bytes(gzip.compress(text.encode(), 9, mtime=0))


def recorded(name: str) -> Recorded:
    """The record ``name``."""
    content: Mapping[str, Any] = json.loads(
        gzip.decompress((FOLDER / f"{name}.json.gz").read_bytes())
    )
    shapes = {name: tuple(shape) for name, shape in content["tensors"].items()}
    return Recorded(**{**content, "tensors": shapes})


def names() -> list[str]:
    """Names of all records."""
    return sorted(path.name.removesuffix(".json.gz") for path in FOLDER.glob("*.json.gz"))
