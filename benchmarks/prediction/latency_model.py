"""A device's profile: prices of layers, from a minute's measurement, and latencies from them.

`measure` times some hundred small pieces of the family's networks (`probes`) and three whole ones
in each runtime and precision; `fit` finds the prices that explain them (`costs`). Then the latency
of any network is the sum over its layers: nothing is built, exported or run. The profile is a JSON
file that anyone with the same device can use.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edge_effnet import subprocesses
from edge_effnet.benchmarks.decoding import decode
from edge_effnet.benchmarks.latency import host
from edge_effnet.benchmarks.prediction import features, micro_benchmarks
from edge_effnet.benchmarks.records import Host, timestamp
from edge_effnet.errors import DeviceError, UsageError
from edge_effnet.files import write_text
from edge_effnet.graph import Graph
from edge_effnet.model import fold_structure
from edge_effnet.network import build
from edge_effnet.progress import Progress
from edge_effnet.registry import get_variant
from edge_effnet.variants import Variant
from edge_effnet.version import VERSION

SCHEMA = 2  # 1 had a price for the far bytes of every kernel
#: Whole networks whose times set the scale of the sums: what layers apart do not show.
ANCHORS = ("lite2", "b0", "v2-b1")
_SECONDS = 6.0  # of timing, for each runtime and precision
_FOLDS = 5
_REWEIGHTED = 4  # times
_TOLERATED = 0.03  # relative error above which a probe counts less: it was disturbed

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Coefficients:
    """What layers cost in one runtime and precision, in ms by the names of `costs.counts`.

    ``scale`` brings sums to what whole networks take. ``error`` is (median, 95th percentile) of the
    relative error over the ``probes``, each predicted from the others.
    """

    format: str
    precision: str
    runtime: str
    runtime_version: str
    kernels: str
    ms: Mapping[str, float]
    scale: float
    probes: int
    error: tuple[float, float]


@dataclass(frozen=True)
class Profile:
    """A device's prices; ``created`` is UTC, ISO 8601."""

    host: Host
    threads: int
    coefficients: tuple[Coefficients, ...]
    created: str = ""
    toolkit: str = f"edge-effnet {VERSION}"

    def of(self, format_name: str, precision: str) -> Coefficients:
        """The prices for one kind of file; raises `UsageError` if they were not measured."""
        for coefficients in self.coefficients:
            if (coefficients.format, coefficients.precision) == (format_name, precision):
                return coefficients
        known = ", ".join(f"{p.format} {p.precision}" for p in self.coefficients)
        raise UsageError(
            f"the profile holds no {format_name} {precision} (only {known}); measure it with "
            "'edge-effnet profile'"
        )

    def latency(
        self, variant: Variant, side: int | None, format_name: str, precision: str
    ) -> float:
        """Predicted milliseconds of one inference at batch 1."""
        return predict(self.of(format_name, precision), folded(variant, side))

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write it as JSON, complete or not at all; raises `OutputError`."""
        content = {"schema": SCHEMA, "kind": "edge-effnet profile", **asdict(self)}
        return write_text(path, json.dumps(content, indent=1, allow_nan=False) + "\n")


def load(path: str | os.PathLike[str]) -> Profile:
    """Read a profile; raises `UsageError` if it is missing, damaged or something else."""
    try:
        content = json.loads(Path(path).read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"cannot read the profile {path}: {error}") from error
    if not isinstance(content, dict) or content.get("kind") != "edge-effnet profile":
        raise UsageError(f"{path} is no profile of a device; make one with 'edge-effnet profile'")
    if content.get("schema") != SCHEMA:
        raise UsageError(
            f"{path} has schema {content.get('schema')!r}, this release reads {SCHEMA}; measure "
            "again with 'edge-effnet profile'"
        )
    try:
        profile: Profile = decode(Profile, content)
    except UsageError as error:
        raise UsageError(f"{path} cannot be used: {error}") from error
    if not profile.coefficients:
        raise UsageError(f"{path} holds no prices; measure again with 'edge-effnet profile'")
    return profile


def folded(variant: Variant, side: int | None = None) -> Graph:
    """The graph of a variant as runtimes see it, without weights."""
    return fold_structure(build(variant, resolution=side))


def predict(coefficients: Coefficients, graph: Graph) -> float:
    """Milliseconds of a graph whose BN is folded: the sum over its layers.

    A kind of layer that no probe had counts as the pointwise convolution of its multiply-adds.
    """
    counts = features.counts(graph, coefficients.precision)
    known = {name.partition(".")[0] for name in coefficients.ms}
    spare = coefficients.ms.get("pointwise.multiply_adds", 0.0)
    strange = sum(
        count
        for name, count in counts.items()
        if name.endswith(".multiply_adds") and name.partition(".")[0] not in known
    )
    return (_sum(coefficients.ms, counts) + spare * strange) * coefficients.scale


class Machine(Protocol):
    """Where layers are timed: `Here`, or a device behind ssh (`remote.probing`)."""

    name: str

    def look(self, threads: int) -> tuple[Host, list[int]]:
        """The host, and its cores to pin ``threads`` to; fewer if it has fewer."""

    def probe(self, settings: str, variables: Mapping[str, str]) -> subprocess.Popen[bytes]:
        """A process of `probing` with ``variables`` in its environment; both outputs are pipes."""


class Here:
    """The machine that this process runs on."""

    name = "this machine"

    def look(self, threads: int) -> tuple[Host, list[int]]:
        """As `host` tells it."""
        return host.describe(), host.pick_cores(threads)

    def probe(self, settings: str, variables: Mapping[str, str]) -> subprocess.Popen[bytes]:
        """A child process."""
        return subprocess.Popen(  # noqa: S603
            subprocesses.command(
                "edge_effnet.benchmarks.prediction.micro_benchmark_worker", settings
            ),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **variables},
        )


def measure(
    formats: Sequence[str],
    precisions: Sequence[str],
    threads: int = 1,
    *,
    machine: Machine | None = None,
    check: Sequence[str] = (),
    count: int = micro_benchmarks.COUNT,
    progress: Progress | None = None,
) -> tuple[Profile, dict[str, tuple[float, float]]]:
    """The profile of ``machine``, and of each network in ``check`` (predicted, measured) ms.

    The keys are ``tflite int8 lite0@192``. Networks to check are timed among the probes and have no
    part in the fit. Without ``machine`` it is this one. Raises `UsageError`, `MissingExtra`, and
    `DeviceError` if a runtime fails.
    """
    device = machine or Here()
    about, cores = device.look(threads)
    if len(cores) < threads:
        raise UsageError(f"{threads} threads cannot be timed: {device.name} has {len(cores)} cores")
    checked = {name: _network(name) for name in check}
    pieces = {probe.name: probe.model.graph for probe in micro_benchmarks.choose(count)}
    whole = {name: _network(name) for name in ANCHORS}
    found, errors = [], {}
    jobs = [(name, precision) for name in formats for precision in precisions]
    for number, (name, precision) in enumerate(jobs):
        settings = {
            "format": name,
            "precision": precision,
            "threads": threads,
            "cores": cores,
            "probes": count,
            "networks": [*whole, *(n for n in checked if n not in whole)],
            "seconds": _SECONDS,
        }
        timed = _run(device, settings, progress, number, len(jobs))
        times = timed["times_ms"]
        priced = price(name, precision, times, pieces, whole)
        found.append(
            replace(
                priced,
                runtime=timed["runtime"],
                runtime_version=timed["version"],
                kernels=timed["kernels"],
            )
        )
        for key, graph in checked.items():
            errors[f"{name} {precision} {key}"] = (predict(priced, graph), times[key])
    return Profile(about, threads, tuple(found), timestamp()), errors


def price(
    format_name: str,
    precision: str,
    times: Mapping[str, float],
    pieces: Mapping[str, Graph],
    whole: Mapping[str, Graph],
) -> Coefficients:
    """Prices from the ``times`` (ms) of ``pieces``; their sums scaled to the ``whole`` networks."""
    coefficients = fit(
        [features.counts(graph, precision) for graph in pieces.values()],
        np.array([times[key] for key in pieces]),
    )
    sums = [_sum(coefficients.ms, features.counts(graph, precision)) for graph in whole.values()]
    scale = float(np.median([times[key] / s for key, s in zip(whole, sums, strict=True)]))
    return Coefficients(
        format_name,
        precision,
        "",
        "",
        "",
        {key: float(f"{value:.6g}") for key, value in coefficients.ms.items() if value > 0},
        round(scale, 4),
        len(pieces),
        coefficients.error,
    )


@dataclass(frozen=True)
class Fitted:
    """Prices by name in ms, and (median, 95th percentile) of the error of probes left out."""

    ms: Mapping[str, float]
    error: tuple[float, float]


def fit(rows: Sequence[Mapping[str, float]], times: Floats) -> Fitted:
    """Prices, none below 0, whose sums over ``rows`` are nearest to ``times`` in relative terms."""
    names = sorted({name for row in rows for name in row})
    matrix = np.array([[row.get(name, 0.0) for name in names] for row in rows])
    coefficients = _solve(matrix, times)
    fold = np.arange(len(times)) % _FOLDS
    left_out = np.empty(len(times))
    for number in range(_FOLDS):
        rest, these = fold != number, fold == number
        left_out[these] = matrix[these] @ _solve(matrix[rest], times[rest])
    errors = np.abs(left_out / times - 1)
    return Fitted(
        dict(zip(names, map(float, coefficients), strict=True)),
        (round(float(np.median(errors)), 4), round(float(np.quantile(errors, 0.95)), 4)),
    )


def _solve(matrix: Floats, times: Floats) -> Floats:
    """Least squares of the relative error with prices >= 0; disturbed rows count less each time."""
    relative = matrix / times[:, None]
    size = np.maximum(np.sqrt((relative**2).mean(axis=0)), 1e-12)
    relative = relative / size
    weight = np.ones(len(times))
    for _ in range(_REWEIGHTED):
        rows = relative * weight[:, None]
        gram = rows.T @ rows + 1e-4 * np.eye(
            rows.shape[1]
        )  # prices that nothing tells apart: small
        target = rows.T @ weight
        coefficients = _nonnegative(gram, target)
        error = np.abs(relative @ coefficients - 1)
        weight = np.sqrt(_TOLERATED / np.maximum(error, _TOLERATED))
    return np.asarray(coefficients / size)


def _nonnegative(gram: Floats, target: Floats) -> Floats:
    """The x >= 0 with the least x'Gx / 2 - t'x, by active sets (Lawson and Hanson 1974, ch. 23)."""
    x = np.zeros(len(target))
    free = np.zeros(len(target), bool)
    for _ in range(3 * len(target)):
        slope = np.where(free, -np.inf, target - gram @ x)
        place = int(np.argmax(slope))
        if slope[place] <= 1e-9:
            break
        free[place] = True
        while True:
            best = np.zeros(len(target))
            best[free] = np.linalg.solve(gram[np.ix_(free, free)], target[free])
            below = free & (best <= 0)
            if not below.any():
                x = best
                break
            step = float((x[below] / (x[below] - best[below])).min())
            x = np.maximum(x + step * (best - x), 0.0)
            free &= x > 1e-15
            x[~free] = 0.0
    return x


def _sum(coefficients: Mapping[str, float], counts: Mapping[str, float]) -> float:
    return sum(count * coefficients.get(name, 0.0) for name, count in counts.items())


def _network(name: str) -> Graph:
    variant, at, side = name.partition("@")
    if at and not side.isdecimal():
        raise UsageError(f"{name!r} is no VARIANT[@SIDE], as lite0@192")
    return folded(get_variant(variant), int(side) if at else None)


def _run(
    device: Machine, settings: dict[str, Any], progress: Progress | None, number: int, jobs: int
) -> dict[str, Any]:
    """What one probing process says at last."""
    what = f"{settings['format']} {settings['precision']}"
    total = settings["probes"] + len(settings["networks"])
    process = device.probe(json.dumps(settings), host.thread_variables(settings["threads"]))
    last: dict[str, Any] = {}
    try:
        assert process.stdout is not None  # noqa: S101  (a pipe)
        for line in process.stdout:
            last = json.loads(line)
            if progress is not None and "built" in last:
                progress("profile", number * total + last["built"], jobs * total)
        said = process.communicate()[1]
    finally:
        process.kill()
        process.wait()
    if "error" in last:
        raise DeviceError(f"the layers cannot be timed in {what}: {last['error']}")
    if "times_ms" not in last:
        lines = said.decode("utf-8", "replace").strip().splitlines()
        reason = lines[-1:] or [f"it ended with {process.returncode}"]
        raise DeviceError(f"the layers cannot be timed in {what}: {reason[0]}")
    return last
