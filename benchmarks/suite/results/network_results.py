"""Measurements of one network for the results table, and their file results.json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from edge_effnet import json_text, reading
from edge_effnet.benchmarks.records import RESULTS_NAME, Results
from edge_effnet.benchmarks.suite.results.settings import RANDOM
from edge_effnet.decoding import decode
from edge_effnet.errors import UsageError
from edge_effnet.files import write_text
from edge_effnet.registry import list_variants

#: Key of a results.json for what a table needs beside the records.
_KEY = "table"


@dataclass(frozen=True)
class Method:
    """How one network was measured.

    Attributes:
        network: Name of the variant, with ``@side`` if it is not the variant's own.
        weights: Name of the checkpoint's file, ``imagenet`` or ``random``.
        calibration_photos: Number of calibration photos.
        resolution: Side of the input in pixels.
        packages: Name and version of the package of each vendor's quantizer.
        left_out: Why a vendor's quantizer has no rows.
        threads: Threads of each timed file; None if nothing was timed.
        runs: Timed inferences of each file.
        rounds: Interleaved rounds that the runs were divided into.
    """

    network: str
    weights: str
    calibration_photos: int
    resolution: int
    packages: Mapping[str, str] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)
    threads: int | None = None
    runs: int = 0
    rounds: int = 0

    @property
    def trained(self) -> bool:
        """Whether the weights are from a training."""
        return self.weights != RANDOM


@dataclass(frozen=True)
class NetworkResults:
    """One network: how it was measured, and one record per file in `Results`."""

    method: Method
    results: Results

    def as_json(self) -> dict[str, Any]:
        """Content of a results.json with the additional key ``table``."""
        content: dict[str, Any] = json.loads(self.results.to_json())
        return {**content, _KEY: asdict(self.method)}

    def save(self, folder: Path) -> Path:
        """Write results.json into ``folder``, replacing it atomically; raises `OutputError`."""
        text = json.dumps(self.as_json(), indent=1, allow_nan=False) + "\n"
        return write_text(folder / RESULTS_NAME, text)


def read_all(out: Path) -> tuple[NetworkResults, ...]:
    """The measured networks in the subfolders of ``out``.

    Trained networks come first, each group in the order of the family.

    Raises:
        UsageError: A results.json is damaged or of another kind.
    """
    networks = [_read(path) for path in sorted(out.glob(f"*/{RESULTS_NAME}"))]
    names = list_variants()

    def order(network: NetworkResults) -> tuple[bool, int, int]:
        method = network.method
        name = method.network.partition("@")[0]
        rank = names.index(name) if name in names else len(names)
        return not method.trained, rank, method.resolution

    return tuple(sorted(networks, key=order))


def _read(path: Path) -> NetworkResults:
    try:
        text = reading.read_text(path)
        content = json_text.parse(text, finite=True)
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read ({error}); measure again") from error
    if not isinstance(content, dict) or _KEY not in content:
        raise UsageError(
            f"{path} is no result of 'edge-effnet bench results'; give a folder of its own"
        )
    method: Method = decode(Method, content[_KEY], str(path))
    return NetworkResults(method, Results.from_json(text, str(path)))
