"""Frozen dataclasses of measurements and of the machine, and their file results.json.

Units: top1, top5, agreement and their intervals are fractions 0..1; the drop and its interval are
percentage points of top-1 (multi-label networks: of mean_ap); times are milliseconds; memory is
MiB. A quantity that was not measured is null. Readers ignore fields that they do not know.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from edge_effnet import json_text, reading
from edge_effnet.decoding import decode
from edge_effnet.errors import UsageError, reason
from edge_effnet.files import missing, write_text
from edge_effnet.runtime.devices.device import CPU
from edge_effnet.runtime.placement import Placement
from edge_effnet.version import VERSION

SCHEMA = 3
RESULTS_NAME = "results.json"
#: Schema 1 has no multi-label accuracy and no notes, schema 2 no devices.
_READABLE = (1, 2, SCHEMA)

#: A list of numbers in the indented output of json.dumps. No JSON string contains an unescaped line
#: break, so strings never match.
_NUMBERS = re.compile(r"\[\n[\d\s.,eE+-]+\]")


@dataclass(frozen=True)
class Latency:
    """Quantiles and mean of the timed runs: milliseconds of one inference at batch 1."""

    median: float
    p90: float
    p99: float
    min: float
    mean: float


@dataclass(frozen=True)
class EndToEnd:
    """Median milliseconds from a photo on disk to its five top predictions, at batch 1.

    ``decode`` reads and decodes the photo, ``preprocess`` crops, resizes and normalises it,
    ``postprocess`` is softmax and sorting. The sum of the stages' medians may differ from the
    median ``total``.
    """

    decode: float
    preprocess: float
    inference: float
    postprocess: float
    total: float


@dataclass(frozen=True)
class OperatorTime:
    """Time of one operator: the median ``ms`` over the profiled runs.

    ``layer`` is the matching layer of the graph; without a match, the runtime's operator name.
    ``kind`` is the runtime's operator type. ``kernel`` is the runtime's kernel name, if reported.
    """

    layer: str
    kind: str
    ms: float
    kernel: str | None = None


@dataclass(frozen=True)
class Conditions:
    """State of the machine during a measurement of ``seconds``.

    ``steal`` is the share (0..1) of all cores' time taken by other virtual machines. ``other_work``
    is the share taken by other processes of this machine. ``frequency_mhz`` is (start, end): the
    medians of the first and the last third of the samples. ``temperature_c`` is (start, maximum) in
    degrees Celsius. ``throttled`` tells whether a Raspberry Pi's firmware reported throttling.
    ``warnings`` are sentences for the user.
    """

    seconds: float
    steal: float | None = None
    other_work: float | None = None
    frequency_mhz: tuple[float, float] | None = None
    temperature_c: tuple[float, float] | None = None
    throttled: bool | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, repr=False)
class Record:
    """Accuracy and latency of one model file on one device.

    Attributes:
        file: Path as the user typed it.
        device: Name of the device; None in files of older releases, which measured the CPU.
        placement: Where the file's operators ran. A software adapter or simulator is not timed.
        size_bytes: Bytes on disk, including the .bin of an .xml.
        images: Number of evaluated photos: the denominator of top1, top5 and agreement.
        reference: Path of the float file that agreement and drop refer to. The reference's own
            record has its own path.
        lost: Number of photos that only the reference classifies correctly.
        gained: Number of photos that only this file classifies correctly;
            drop = 100 * (lost - gained) / images.
        class_images: Number of photos of each class, in the order of `Results.classes`.
        class_right: Number of correctly classified photos of each class. For multi-label networks:
            number of true positives of each label.
        mean_ap: Mean average precision of a multi-label network, over the labels with at least one
            positive photo. Multi-label networks have no top1; their drop is in percentage points of
            mean_ap.
        f1: Micro-averaged F1 over all photos and labels, at ``threshold``.
        threshold: Probability from which a multi-label network predicts a label.
        class_ap: Average precision of each label; None for a label without positive photos.
        sqnr_db: Signal-to-quantization-noise ratio (SQNR) of the logits in dB. Signal: the
            reference's logits; noise: the difference from them.
        median_ci: 95 % bootstrap interval of the median over the rounds.
        samples_ms: Every timed run, in order.
        load_ms: Time to load the model from disk, including the import of the runtime.
        first_ms: Time of the first inference.
        cores: The CPUs that the process was pinned to; empty if it was not pinned.
        resolution: Side of the input in pixels.
        energy_mj: Energy of the whole machine per inference in millijoules; None without an energy
            counter.
        operators: Time of each operator, in the order of execution.
        no_profile: Why there are no operator times although they were requested.
        error: Why the file could not be timed.
    """

    file: str
    variant: str
    format: str
    precision: str
    device: str | None = None
    placement: Placement | None = None
    quantizer: str | None = None
    recipe: str | None = None
    size_bytes: int = 0
    images: int = 0
    top1: float | None = None
    top1_ci: tuple[float, float] | None = None
    top5: float | None = None
    top5_ci: tuple[float, float] | None = None
    class_images: tuple[int, ...] = ()
    class_right: tuple[int, ...] = ()
    mean_ap: float | None = None
    mean_ap_ci: tuple[float, float] | None = None
    f1: float | None = None
    threshold: float | None = None
    class_ap: tuple[float | None, ...] = ()
    agreement: float | None = None
    agreement_ci: tuple[float, float] | None = None
    drop: float | None = None
    drop_ci: tuple[float, float] | None = None
    lost: int | None = None
    gained: int | None = None
    sqnr_db: float | None = None
    reference: str | None = None
    latency_ms: Latency | None = None
    median_ci: tuple[float, float] | None = None
    samples_ms: tuple[float, ...] = ()
    rounds: int | None = None
    warmup_runs: int | None = None
    load_ms: float | None = None
    first_ms: float | None = None
    peak_rss_mb: float | None = None
    threads: int | None = None
    cores: tuple[int, ...] = ()
    runtime: str | None = None
    runtime_version: str | None = None
    kernels: str | None = None
    resolution: int | None = None
    energy_mj: float | None = None
    end_to_end_ms: EndToEnd | None = None
    operators: tuple[OperatorTime, ...] = ()
    no_profile: str | None = None
    error: str | None = None

    def __repr__(self) -> str:
        parts = [key(os.path.basename(self.file), self.device)]
        if self.top1 is not None:
            parts.append(f"top-1 {self.top1:.1%}")
        if self.mean_ap is not None:
            parts.append(f"mAP {self.mean_ap:.1%}")
        if self.agreement is not None and not self.is_reference:
            parts.append(f"agreement {self.agreement:.1%}")
        if self.latency_ms is not None:
            parts.append(f"{self.latency_ms.median:.2f} ms")
        if self.size_bytes:
            parts.append(f"{self.size_bytes / 1e6:.2f} MB")
        return f"Record({', '.join(parts)})"

    @property
    def key(self) -> str:
        """The file, on another device than the CPU followed by the device's name."""
        return key(self.file, self.device)

    @property
    def software(self) -> bool:
        """Whether the device is a software adapter or a simulator, whose time means nothing."""
        return self.placement is not None and self.placement.software

    @property
    def accuracy(self) -> float | None:
        """top1, or mean_ap for a multi-label network; a fraction 0..1."""
        return self.mean_ap if self.top1 is None else self.top1

    @property
    def accuracy_ci(self) -> tuple[float, float] | None:
        """95 % interval of `accuracy`."""
        return self.mean_ap_ci if self.top1 is None else self.top1_ci

    @property
    def multi_label(self) -> bool:
        """Whether the network predicts sets of labels."""
        return self.threshold is not None

    @property
    def is_reference(self) -> bool:
        """Whether the other files of the variant are compared with this one."""
        return self.reference == self.key

    def with_(self, **changes: Any) -> Record:
        """A copy with the fields ``changes`` replaced."""
        return replace(self, **changes)


@dataclass(frozen=True)
class Host:
    """A machine.

    ``features`` are the CPU's vector extensions that decide the speed of 8-bit kernels. ``cores``
    is the number of CPU cores that this process may use. ``settings`` are the environment variables
    that configure the runtimes. ``load`` is the load average before the measurement.
    """

    cpu: str = "unknown"
    machine: str = ""
    cores: int = 0
    features: tuple[str, ...] = ()
    memory_mb: int | None = None
    system: str = ""
    python: str = ""
    governor: str | None = None
    load: float | None = None
    settings: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class PhotoSet:
    """The photos that accuracy was measured on.

    ``broken`` lists (file, reason) for each skipped photo. ``notes`` are sentences on how labels
    were read, and on photos that look different from calibration photos.
    """

    folder: str
    count: int
    labelled: bool
    split: str | None = None
    broken: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, repr=False)
class Results:
    """The measurements of one command; ``created`` is UTC, ISO 8601.

    ``classes`` are the names of the classes, in the order of ``Record.class_images``.
    ``conditions`` is the state of the machine during the latency measurement. ``command`` is the
    command line that repeats the measurements.
    """

    host: Host
    records: tuple[Record, ...]
    photos: PhotoSet | None = None
    classes: tuple[str, ...] = ()
    conditions: Conditions | None = None
    created: str = ""
    toolkit: str = f"edge-effnet {VERSION}"
    command: str = ""

    def __repr__(self) -> str:
        photos = f" on {self.photos.count:,} photos" if self.photos else ""
        return f"Results({len(self.records)} files{photos}, {self.host.cpu})"

    def __iter__(self) -> Iterator[Record]:
        return iter(self.records)

    def to_json(self) -> str:
        """Indented JSON with each list of numbers on one line, ending in a newline."""
        text = json.dumps({"schema": SCHEMA, **asdict(self)}, indent=1, allow_nan=False)
        return _NUMBERS.sub(lambda match: " ".join(match[0].split()), text) + "\n"

    @classmethod
    def from_json(cls, text: str, name: str = "the results") -> Results:
        """The results in JSON ``text``.

        Args:
            text: The content of a results.json.
            name: The file's name, for error messages.

        Returns:
            The results.

        Raises:
            UsageError: The text is not JSON, of another schema, or a field is of the wrong type.

        """
        try:
            content = json_text.parse(text, finite=True)
        except ValueError as error:
            raise UsageError(
                f"{name} is not JSON ({error}); give the results.json of a measurement"
            ) from error
        if not isinstance(content, dict) or "schema" not in content:
            raise UsageError(f"{name} is no results.json of edge-effnet: it states no schema")
        if "kind" in content:
            raise UsageError(
                f"{name} is of another kind ({content['kind']}), not a results.json; give the file "
                "of a measurement"
            )
        if content["schema"] not in _READABLE:
            raise UsageError(
                f"{name} has schema {content['schema']!r}, this release reads {SCHEMA}; "
                "measure again, or install the release that wrote it"
            )
        results: Results = decode(cls, content, name)
        for record in results.records:
            if not _counts_classes(record, len(results.classes)):
                raise UsageError(
                    f"{name} has other numbers of classes for {record.file}; measure again"
                )
        return results


def _counts_classes(record: Record, classes: int) -> bool:
    """Whether the record has the numbers of no class, or of all ``classes``."""
    counts = {len(record.class_images), len(record.class_right)}
    return counts in ({0}, {classes or len(record.class_images)}) and len(record.class_ap) in (
        0,
        *counts,
    )


def key(path: str, device: str | None) -> str:
    """Name of a measurement among those of one command: the path, and the device if not the CPU."""
    return path if device in (None, CPU) else f"{path} on {device}"


def read_results(path: str | os.PathLike[str]) -> Results:
    """The results in the file ``path``, or in the results.json of the folder ``path``.

    Raises:
        UsageError: The file is missing, damaged or of another schema.

    """
    file = Path(path)
    if file.is_dir():
        file = file / RESULTS_NAME
    try:
        text = reading.read_text(file)
    except FileNotFoundError as error:
        raise UsageError(missing(file)) from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is no results.json; 'edge-effnet compare' writes one") from error
    except OSError as error:
        raise UsageError(f"cannot read the results {path}: {reason(error)}") from error
    return Results.from_json(text, str(path))


def write_results(results: Results, path: str | os.PathLike[str]) -> Path:
    """Write ``results`` as JSON to ``path``, replacing it atomically; raises `OutputError`."""
    return write_text(path, results.to_json())


def timestamp() -> str:
    """The time in UTC to the second, ISO 8601."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
