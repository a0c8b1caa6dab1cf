"""``device="auto"``: the fastest device that computes the same as the CPU.

Each hardware device that the file can use is tried in a child process on generated images. Software
adapters and simulators are not tried.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from edge_effnet.errors import EdgeEffNetError
from edge_effnet.runtime.base import InputSpec, Runner
from edge_effnet.runtime.devices import listing, trial
from edge_effnet.runtime.devices.device import CPU, DeviceOptions

#: Number of generated images that a device is tried on.
IMAGES = 8
#: Least SQNR of a device's logits against the CPU's, in dB: int8 files run in float by a GPU have
#: 15 to 25 dB; wrong results have less than 5.
LEAST_SQNR_DB = 10.0


@dataclass(frozen=True)
class Choice:
    """The selected device, and what was measured, one sentence per device."""

    device: str
    trials: tuple[str, ...]


def choose(path: Path, options: DeviceOptions, threads: int) -> Choice:
    """The fastest device that keeps the CPU's results; the CPU if there is no other.

    Raises:
        ModelFileError: The CPU cannot run the file.
    """
    reference = trial.attempt(path, CPU, {}, threads, images=IMAGES)
    best, fastest = CPU, reference.milliseconds or float("inf")
    trials = [f"cpu: {fastest:.2f} ms"]
    for name in _candidates(path, options):
        try:
            tried = trial.attempt(path, name, options, threads, images=IMAGES)
        except EdgeEffNetError as error:
            trials.append(f"{name}: {error.message}")
            continue
        sqnr = _sqnr_db(reference.logits, tried.logits)
        time = tried.milliseconds or float("inf")
        text = f"{name}: {time:.2f} ms, {tried.placement.share:.0%} of the multiply-adds"
        if sqnr < LEAST_SQNR_DB:
            trials.append(f"{text}, but other results than the CPU ({sqnr:.1f} dB)")
            continue
        trials.append(text)
        if tried.placement.share > 0 and time < fastest:
            best, fastest = name, time
    return Choice(best, tuple(trials))


def _candidates(path: Path, options: DeviceOptions) -> list[str]:
    """Names of the hardware devices for the file, listed by a child process."""
    listed = listing.devices(path.suffix.lower(), options)
    return [each.name for each in listed if not each.software and each.name != "AUTO"]


def time_runner(runner: Runner, images: int) -> tuple[float | None, tuple[tuple[float, ...], ...]]:
    """Shortest time in ms and logits of ``images`` generated images; of a black one for 0."""
    spec = runner.input
    if not images:
        runner.run(np.zeros(spec.image_shape, spec.dtype))
        return None, ()
    times, rows = [], []
    for batch in _generated(images, spec):
        start = perf_counter()
        rows.append(runner.run(batch)[0])
        times.append(1e3 * (perf_counter() - start))
    return min(times), tuple(tuple(float(v) for v in row) for row in rows)


def _generated(count: int, spec: InputSpec) -> list[NDArray[np.generic]]:
    """Smooth random images, the same on every call."""
    generator = np.random.default_rng(0)
    height, width = spec.size
    batches: list[NDArray[np.generic]] = []
    for _ in range(count):
        coarse = generator.uniform(-1, 1, (8, 8, 3))
        rows = np.arange(height) * 8 // height
        columns = np.arange(width) * 8 // width
        image = coarse[rows][:, columns] + 0.1 * generator.standard_normal((height, width, 3))
        image = np.clip(image, -1, 1)
        image = image if spec.layout == "NHWC" else image.transpose(2, 0, 1)
        if spec.dtype != "float32":
            limits = np.iinfo(spec.dtype)
            image = np.rint((image + 1) / 2 * (limits.max - limits.min) + limits.min)
        batches.append(np.ascontiguousarray(image[None]).astype(spec.dtype))
    return batches


def _sqnr_db(reference: Sequence[Sequence[float]], values: Sequence[Sequence[float]]) -> float:
    wanted, got = np.asarray(reference), np.asarray(values)
    if wanted.shape != got.shape or not np.isfinite(got).all():
        return float("-inf")
    noise = float(np.square(wanted - got).sum())
    signal = float(np.square(wanted - wanted.mean(axis=1, keepdims=True)).sum())
    return 200.0 if noise == 0 else 10 * float(np.log10(max(signal, 1e-30) / noise))
