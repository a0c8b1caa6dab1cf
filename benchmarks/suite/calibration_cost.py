"""Calibration cost: time and peak memory of quantizing a network, measured in a process of its own.

The process loads the network, reads the photos, calibrates, writes the int8 files of all formats
and checks their fidelity, as ``edge-effnet export`` does.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from edge_effnet.benchmarks.latency.host import peak_rss_mb
from edge_effnet.errors import EdgeEffNetError
from edge_effnet.photo_files import list_images
from edge_effnet.progress import Progress
from edge_effnet.subprocesses import command

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class Network:
    """A network to quantize: ``resolution`` in pixels, None for the variant's own."""

    variant: str
    weights: str
    resolution: int | None = None


@dataclass(frozen=True)
class Cost:
    """The cost of one export.

    Attributes:
        variant: Name of the variant.
        resolution: Side of the input in pixels.
        photos: Number of calibration photos given.
        seconds: Elapsed time from loading to checked files.
        processor_seconds: User and system time over all cores.
        memory_mb: Peak resident memory in MiB; None if the system does not report it.
        cores: Number of cores.
    """

    variant: str
    resolution: int
    photos: int
    seconds: float
    processor_seconds: float
    memory_mb: float | None
    cores: int


def measure(
    networks: Sequence[Network], calibration: Path, progress: Progress | None = None
) -> tuple[Cost, ...]:
    """Quantize each network in a new process, one after the other.

    Args:
        networks: The networks.
        calibration: Folder of photos.
        progress: Called after each network.

    Raises:
        ImageError: There are no photos.
        EdgeEffNetError: A process failed; the message has its last line.
    """
    list_images(calibration)
    measurements = []
    for done, network in enumerate(networks, start=1):
        task = json.dumps({**asdict(network), "calibration": str(calibration.absolute())})
        process = subprocess.run(  # noqa: S603
            command(__name__, task), capture_output=True, text=True
        )
        if process.returncode:
            reason = (process.stderr.strip().splitlines() or ["it ended without a message"])[-1]
            raise EdgeEffNetError(f"quantizing {network.variant} failed: {reason}")
        measurements.append(Cost(**json.loads(process.stdout.splitlines()[-1])))
        if progress is not None:
            progress("quantize networks", done, len(networks))
    return tuple(measurements)


def table(measurements: Sequence[Cost]) -> Table:
    """One row per network, for the terminal."""
    from rich import box
    from rich.table import Table

    rows = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for header in ("network", "input", "photos", "time", "processor time", "peak memory"):
        rows.add_column(header, justify="left" if header == "network" else "right")
    for cost in measurements:
        memory = "unknown" if cost.memory_mb is None else f"{cost.memory_mb / 1024:.2f} GiB"
        rows.add_row(
            cost.variant,
            f"{cost.resolution} px",
            f"{cost.photos:,}",
            f"{cost.seconds:.0f} s",
            f"{cost.processor_seconds:.0f} s",
            memory,
        )
    return rows


def main(task: str) -> None:
    """Quantize the network of ``task``, a JSON object, and print its `Cost` as JSON."""
    from edge_effnet.checkpoints import load
    from edge_effnet.converters.export import export

    start = perf_counter()
    options = json.loads(task)
    calibration = Path(options["calibration"])
    model = load(options["variant"], options["weights"], resolution=options["resolution"])
    # The check for a domain shift leaves out random weights, but not the trained ones that they
    # stand for here.
    model = replace(model, info=replace(model.info, source=None))
    with tempfile.TemporaryDirectory() as out:
        export(
            model,
            precisions=["int8"],
            calibration=calibration,
            out=out,
            force=True,  # random weights have little agreement
            progress=False,
            notify=lambda text: None,
        )
    times = os.times()
    cost = Cost(
        model.variant.name,
        model.info.preprocess.size,
        len(list_images(calibration)),
        perf_counter() - start,
        times.user + times.system + times.children_user + times.children_system,
        peak_rss_mb(),
        os.cpu_count() or 1,
    )
    print(json.dumps(asdict(cost)))


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except EdgeEffNetError as error:
        sys.exit(str(error))
