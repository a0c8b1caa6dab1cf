"""Camera benchmark: throughput, delay, idle load, viewers and a soak test of the camera app.

Throughput: the app with a camera 1.2 times as fast as the model. It is compared with the bare
Runner on one tensor, and with preprocessing and Runner in sequence. All three take turns within one
process. The bare Runner and the app use the same number of threads: one copy of the model with all
threads, or single-threaded copies. The CPU time per result is reported too, because it depends less
on other work of the machine. Delay: time from frame to result. Idle: CPU time while paused.
Viewers: 20 connections to the preview page, 5 of them stalled.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_effnet import subprocesses
from edge_effnet.apps.camera import opencv
from edge_effnet.apps.camera.controls import Controls
from edge_effnet.apps.camera.session import Session, Settings
from edge_effnet.apps.camera.sources import Video
from edge_effnet.apps.preview.server import Page
from edge_effnet.classifier import Classifier
from edge_effnet.runtime.opening import open_model

FRAMES = 300  # per round
_VIEWERS = "edge_effnet.benchmarks.suite.camera_viewers"
FASTER = 1.2  # ratio of the camera's frame rate to the bare Runner's rate
Copies = tuple[Classifier, ...]


class MemoryCamera:
    """A live source that repeats decoded pictures at ``fps`` frames per second."""

    live = True
    name = "memory camera"

    def __init__(self, images: list[NDArray[np.uint8]], fps: float) -> None:
        self._images, self.fps, self._number, self._due = images, fps, 0, 0.0

    def open(self) -> None:
        """Start the clock."""
        self._due = time.perf_counter()

    def read(self) -> NDArray[np.uint8]:
        """The next picture; waits until it is due."""
        self._due = max(self._due + 1 / self.fps, time.perf_counter() - 0.1)
        time.sleep(max(self._due - time.perf_counter(), 0))
        self._number += 1
        return self._images[self._number % len(self._images)]

    def rest(self) -> None:
        """Nothing to do: frames do not accumulate."""

    def close(self) -> None:
        """Nothing to release."""


def pictures(video: str, size: tuple[int, int], count: int = 60) -> list[NDArray[np.uint8]]:
    """The first frames of ``video``, scaled to ``size`` (width, height)."""
    source, cv2 = Video(video), opencv.load()
    source.open()
    frames = [source.read() for _ in range(count)]
    source.close()
    return [cv2.resize(frame, size) for frame in frames if frame is not None]


@dataclass(frozen=True)
class Speed:
    """Results per second of wall-clock time, and CPU milliseconds per result."""

    fps: float
    cpu_ms: float


def speed_of(action: Callable[[], Any], count: int) -> Speed:
    """Rate and CPU time of ``count`` calls of ``action``."""
    started, used = time.perf_counter(), time.process_time()
    for _ in range(count):
        action()
    seconds, used = time.perf_counter() - started, time.process_time() - used
    return Speed(count / seconds, used / count * 1e3)


def run_session(
    copies: Copies, source: Any, controls: Controls, views: Any = (), **settings: Any
) -> dict[str, Any]:
    """Run a complete session; returns its summary and ``cpu_ms``, CPU milliseconds per result."""
    source.open()
    session = Session(source, [copies], controls, views, print, Settings(**settings))
    session.warm_up()
    used = time.process_time()
    summary = session.run()
    used = time.process_time() - used
    return {**summary, "cpu_ms": used / max(summary["processed"], 1) * 1e3}


def throughput(
    bare: Classifier, single: Copies, images: list[NDArray[np.uint8]], rounds: int
) -> dict[str, Any]:
    """Median rates over interleaved rounds, and ratios between runs of the same round."""
    preprocess, speeds = bare.card.preprocess, defaultdict[str, list[Speed]](list)
    rgb = np.ascontiguousarray(images[0][:, :, ::-1])
    tensor = bare.tensor(preprocess.pixels(rgb))
    apps = {
        f"app, {len(copies)} x {copies[0].runner.info.threads} threads, {pixels}": (copies, pixels)
        for copies in ((bare,), single)
        for pixels in ("exact", "quick")
    }
    for _ in range(rounds):
        speeds["runner"].append(speed_of(lambda: bare.runner.run(tensor), FRAMES))
        speeds["loop"].append(
            speed_of(lambda: bare.logits_of_pixels(preprocess.pixels(rgb)), FRAMES)
        )
        for name, (copies, pixels) in apps.items():
            camera = MemoryCamera(images, FASTER * speeds["runner"][-1].fps)
            summary = run_session(
                copies, camera, Controls(1), max_frames=FRAMES, quick=pixels == "quick"
            )
            speeds[name].append(Speed(summary["inference_fps"], summary["cpu_ms"]))
    return {name: _compared(app_speeds, speeds) for name, app_speeds in speeds.items()}


def _compared(app_speeds: list[Speed], speeds: Mapping[str, list[Speed]]) -> dict[str, float]:
    median = statistics.median
    ratios = {
        f"of_{other}": median(a.fps / b.fps for a, b in zip(app_speeds, speeds[other], strict=True))
        for other in ("runner", "loop")
    }
    of_runner = median(
        b.cpu_ms / a.cpu_ms for a, b in zip(app_speeds, speeds["runner"], strict=True)
    )
    measured = {
        "fps": median(item.fps for item in app_speeds),
        **ratios,
        "cpu_ms": median(item.cpu_ms for item in app_speeds),
        "runner_cpu_share": of_runner,
    }
    return {name: round(value, 3) for name, value in measured.items()}


def delay(copies: Copies, images: list[NDArray[np.uint8]], fps: float) -> dict[str, Any]:
    """Median delay from frame to result in ms, with a camera of ``fps`` frames per second.

    ``bar_ms`` is the limit: inference time plus preprocessing time plus 5 ms.
    """
    summary = run_session(copies, MemoryCamera(images, fps), Controls(1), seconds=6.0)
    inference = summary["models"][0]["inference_ms"]["median"]
    return {
        "camera_fps": summary["camera_fps"],
        "inference_fps": summary["inference_fps"],
        "delay_ms": summary["delay_ms"]["median"],
        "bar_ms": round(inference + summary["preparing_ms"]["median"] + 5, 2),
    }


def idle(classifier: Classifier, video: str) -> float:
    """Share of one core that the app uses while it is paused."""
    controls, used = Controls(1), []

    def measure() -> None:
        time.sleep(1.5)
        controls.pause()
        time.sleep(1.0)
        started = time.process_time()
        time.sleep(4.0)
        used.append((time.process_time() - started) / 4.0)
        controls.stop("measured")

    thread = threading.Thread(target=measure)
    thread.start()
    page = Page(controls, [classifier.path], "127.0.0.1", 0, None)
    run_session((classifier,), Video(video), controls, [page], loop=True)
    thread.join()
    return round(used[0], 4)


def viewers(classifier: Classifier, images: list[NDArray[np.uint8]], fps: float) -> dict[str, Any]:
    """Median inference rate without and with viewers of the page, measured alternately.

    The viewers run in another process. ``falls`` is the fraction of the rate that they cost.
    """
    rates: dict[str, list[float]] = {"without": [], "with": []}
    encoded = 0
    for _ in range(3):
        for kind, values in rates.items():
            controls = Controls(1)
            page = Page(controls, [classifier.path], "127.0.0.1", 0, None)
            watching = None
            if kind == "with":
                watching = subprocess.Popen(subprocesses.command(_VIEWERS, str(page.port)))  # noqa: S603
                time.sleep(1.5)
            summary = run_session(
                (classifier,), MemoryCamera(images, fps), controls, [page], seconds=5.0
            )
            values.append(summary["inference_fps"])
            if watching is not None:
                encoded = page.encoded
                watching.kill()
                watching.wait()
    without, with_them = (statistics.median(rates[kind]) for kind in ("without", "with"))
    return {
        "camera_fps": fps,
        "without_fps": without,
        "with_fps": with_them,
        "falls": round(1 - with_them / without, 4),
        "encoded": encoded,
    }


def soak(copies: Copies, images: list[NDArray[np.uint8]], frames: int) -> dict[str, Any]:
    """Memory growth in MB from the first minute to the end, for ``frames`` frames (Linux only).

    ``threads`` and ``handles`` are the numbers of threads and open files before and after.
    """
    samples: list[float] = []
    done = threading.Event()

    def sample() -> None:
        while not done.wait(1.0):
            samples.append(_rss_mb())

    before = (threading.active_count(), len(list(Path("/proc/self/fd").iterdir())))
    thread = threading.Thread(target=sample)
    thread.start()
    camera = MemoryCamera(images, 1000.0)
    summary = run_session(copies, camera, Controls(1), max_frames=frames, quick=True)
    done.set()
    thread.join()
    samples.append(_rss_mb())
    after = (threading.active_count(), len(list(Path("/proc/self/fd").iterdir())))
    return {
        "frames": summary["processed"],
        "seconds": summary["seconds"],
        "rss_mb_after_a_minute": round(samples[min(60, len(samples) - 1)], 1),
        "rss_mb_at_the_end": round(samples[-1], 1),
        "grows_mb": round(samples[-1] - samples[min(60, len(samples) - 1)], 2),
        "threads": [before[0], after[0]],
        "handles": [before[1], after[1]],
    }


def _rss_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6  # a Raspberry Pi 5 has pages of 16 KiB


def measure(file: str, video: str, threads: int = 2, rounds: int = 5) -> dict[str, Any]:
    """All measurements except the soak test, as plain data.

    Args:
        file: Model file with a card.
        video: Video file that supplies the pictures.
        threads: Threads of the bare Runner, and total threads of the app.
        rounds: Rounds of the throughput measurement.

    Returns:
        Throughput and delay by picture size, CPU load while paused, and rates without and with
        viewers.
    """
    classifier = open_model(file, threads=threads)
    single = tuple(open_model(file, threads=1) for _ in range(threads))
    images = {size: pictures(video, size) for size in ((320, 240), (640, 480))}
    by_size = {
        f"{width}x{height}": {
            "throughput": throughput(classifier, single, frames, rounds),
            "delay": delay((classifier,), frames, 1000.0),
            "delay_workers": delay(single, frames, 1000.0),
        }
        for (width, height), frames in images.items()
    }
    return {
        "threads": threads,
        **by_size,
        "paused_cpu_share": idle(classifier, video),
        "viewers_30_fps_camera": viewers(classifier, images[640, 480], 30.0),
        "viewers_inference_bound": viewers(classifier, images[320, 240], 1000.0),
    }


def measure_soak(file: str, video: str, threads: int, frames: int) -> dict[str, Any]:
    """The soak test: ``frames`` results with ``threads`` single-threaded copies of the model."""
    copies = tuple(open_model(file, threads=1) for _ in range(threads))
    return soak(copies, pictures(video, (640, 480)), frames)
