"""results.json: what was measured, on which machine, as frozen records to and from JSON.

Shares (top1, top5, agreement and their intervals) are fractions 0..1; the drop and its interval are
percentage points of top-1; times are milliseconds; memory is MiB. A figure that was not or could
not be measured is null. Readers ignore fields they do not know.
"""

from __future__ import annotations

import json
import os
import re
import sys
import types
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, NoReturn, Union, get_args, get_origin, get_type_hints

from edge_effnet.benchmarks.latency.conditions import Conditions
from edge_effnet.benchmarks.latency.operator_times import Operator
from edge_effnet.errors import UsageError
from edge_effnet.files import write_text
from edge_effnet.version import VERSION

SCHEMA = 1

#: A list of numbers as json.dumps indents it; no string holds a bare line break.
_NUMBERS = re.compile(r"\[\n[\d\s.,eE+-]+\]")


@dataclass(frozen=True)
class Latency:
    """Milliseconds of one inference at batch 1: quantiles over the timed runs."""

    median: float
    p90: float
    p99: float
    min: float
    mean: float


@dataclass(frozen=True)
class EndToEnd:
    """Milliseconds from a photo on disk to its five best answers, at batch 1: medians.

    ``decode`` reads and decodes the photo, ``preprocess`` crops, resizes and normalises it,
    ``postprocess`` is softmax and sorting. The medians need not add up to that of ``total``.
    """

    decode: float
    preprocess: float
    inference: float
    postprocess: float
    total: float


@dataclass(frozen=True)
class Record:
    """One model file and what was measured of it.

    ``file`` is its path as given, ``size_bytes`` includes an .xml's .bin. ``images`` counts the
    photos behind the shares. ``reference`` is the float file compared with (the file's own path if
    it is the reference). ``lost`` and ``gained`` count the photos that only the reference, or only
    this file, gets right: drop = 100 * (lost - gained) / images. ``class_images`` counts the photos
    of each class, ``class_right`` those answered rightly, in the order of `Results.classes`.
    ``sqnr_db`` compares the logits.
    ``load_ms`` is from bytes on disk to a ready model, the runtime's import included; ``first_ms``
    is the first inference. ``samples_ms`` are the timed runs in order, ``cores`` the CPUs they were
    pinned to (empty: not pinned). ``median_ci`` is a bootstrap interval (95 %) of the median over
    the rounds; ``energy_mj`` the machine's energy per inference in millijoules where it has a
    counter. ``operators`` is the profile in order, ``no_profile`` why there is none though it was
    asked for. ``resolution`` is the input's side in pixels. ``error`` says why a file could not be
    timed.
    """

    file: str
    variant: str
    format: str
    precision: str
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
    operators: tuple[Operator, ...] = ()
    no_profile: str | None = None
    error: str | None = None

    @property
    def is_reference(self) -> bool:
        """Whether the others of its variant are compared with this file."""
        return self.reference == self.file

    def with_(self, **changes: Any) -> Record:
        """A copy with some fields changed."""
        return replace(self, **changes)


@dataclass(frozen=True)
class Host:
    """The machine. ``features`` are the CPU's vector units that decide the speed of 8-bit kernels.

    ``cores`` are those this process may use; ``settings`` the environment variables that change
    what the runtimes compute with; ``load`` the system's load average when it was taken.
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
    """The photos behind the shares; ``broken`` holds (file, reason) of those left out."""

    folder: str
    count: int
    labelled: bool
    split: str | None = None
    broken: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Results:
    """Everything one command measured; ``created`` is UTC, ISO 8601.

    ``classes`` names those that the records count by; ``conditions`` is what else the machine did
    during the latency measurement.
    """

    host: Host
    records: tuple[Record, ...]
    photos: PhotoSet | None = None
    classes: tuple[str, ...] = ()
    conditions: Conditions | None = None
    created: str = ""
    toolkit: str = f"edge-effnet {VERSION}"

    def to_json(self) -> str:
        """Indented JSON, one line a list of numbers, ending in a newline."""
        text = json.dumps({"schema": SCHEMA, **asdict(self)}, indent=1, allow_nan=False)
        return _NUMBERS.sub(lambda match: " ".join(match[0].split()), text) + "\n"

    @classmethod
    def from_json(cls, text: str, name: str = "the results") -> Results:
        """Read results back; raises `UsageError` naming what is wrong in ``name``."""
        try:
            content = json.loads(text, parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            raise UsageError(f"{name} is not JSON ({error}); measure again with --json") from error
        if not isinstance(content, dict) or "schema" not in content:
            raise UsageError(f"{name} is no results.json of edge-effnet: it states no schema")
        if content["schema"] != SCHEMA:
            raise UsageError(
                f"{name} has schema {content['schema']!r}, this release reads {SCHEMA}; "
                "measure again, or install the release that wrote it"
            )
        try:
            results: Results = _decode(cls, content, "")
        except _Mismatch as error:
            raise UsageError(f"{name} cannot be used: {error}; measure again") from error
        return results


def read(path: str | os.PathLike[str]) -> Results:
    """The results in a file; raises `UsageError` if it is missing, damaged or of another schema."""
    try:
        text = Path(path).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the results {path}: {error}") from error
    return Results.from_json(text, str(path))


def write(results: Results, path: str | os.PathLike[str]) -> Path:
    """Write ``results`` as JSON, complete or not at all; raises `OutputError`."""
    return write_text(path, results.to_json())


def decode(kind: Any, value: Any) -> Any:
    """``value`` of parsed JSON as the annotated type ``kind``; raises `UsageError` if it is not."""
    try:
        return _decode(kind, value, "")
    except _Mismatch as error:
        raise UsageError(f"a record cannot be used: {error}; measure again") from error


class _Mismatch(Exception):
    pass


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number")


def _decode(kind: Any, value: Any, where: str) -> Any:
    """``value`` of parsed JSON as the annotated type ``kind``; raises `_Mismatch` at ``where``."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        (inner,) = (argument for argument in arguments if argument is not type(None))
        return None if value is None else _decode(inner, value, where)
    if is_dataclass(kind):
        return _decode_record(kind, value, where)
    if origin is tuple:
        return _decode_tuple(arguments, value, where)
    if origin is not None:  # Mapping[str, ...]
        _expect(isinstance(value, dict), value, "an object", where)
        return {
            name: _decode(arguments[1], item, f"{where}.{name}") for name, item in value.items()
        }
    if kind is float:
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        _expect(number and abs(value) <= sys.float_info.max, value, "a number", where)
        return float(value)
    exact = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
    _expect(exact, value, {str: "text", int: "a whole number", bool: "true or false"}[kind], where)
    return value


def _decode_record(kind: Any, value: Any, where: str) -> Any:
    _expect(isinstance(value, dict), value, "an object", where)
    hints = get_type_hints(kind)
    found = {}
    for entry in fields(kind):
        place = f"{where}.{entry.name}".lstrip(".")
        if entry.name in value:
            found[entry.name] = _decode(hints[entry.name], value[entry.name], place)
        elif entry.default is MISSING and entry.default_factory is MISSING:
            raise _Mismatch(f"{place} is missing")
    return kind(**found)


def _decode_tuple(arguments: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    _expect(isinstance(value, (list, tuple)), value, "a list", where)
    if arguments[-1] is Ellipsis:
        kinds = (arguments[0],) * len(value)
    else:
        kinds = arguments
        _expect(len(value) == len(kinds), value, f"a list of {len(kinds)}", where)
    return tuple(
        _decode(kind, item, f"{where}[{index}]")
        for index, (kind, item) in enumerate(zip(kinds, value, strict=True))
    )


def _expect(holds: bool, value: Any, wanted: str, where: str) -> None:
    if not holds:
        raise _Mismatch(f"{where or 'the content'} is {str(value)[:40]!r}, not {wanted}")
