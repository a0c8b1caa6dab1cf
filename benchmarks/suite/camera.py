"""The camera app against its bars, in one command.

    python -m edge_effnet.benchmarks.suite.camera FILE --video VIDEO [--threads 2] [--soak FRAMES]

Throughput: the app on a camera a fifth faster than the model, against the bare Runner on one tensor
and against preprocessing and Runner one after the other, in turns within one process. The bare
Runner and the app have the same number of threads in all, in one copy of the model or in as many
copies of one thread each. Beside the wall clock's rates stands the CPU time of each result, which
depends less on what else the machine is doing. Delay: frame to result. Idle: CPU while paused.
Viewers: 20 of the page, 5 of them stalled.
"""

from __future__ import annotations

import json
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
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

FRAMES = 300  # of a round
FASTER = 1.2  # the camera's rate, by the bare Runner's
Copies = tuple[Classifier, ...]
VIEWERS, STALLED = 20, 5
MODULE = "edge_effnet.benchmarks.suite.camera"  # by which a child runs this file


class MemoryCamera:
    """A live source of pictures that are already decoded, ``fps`` a second."""

    live = True
    name = "memory camera"

    def __init__(self, images: list[NDArray[np.uint8]], fps: float) -> None:
        self._images, self.fps, self._number, self._due = images, fps, 0, 0.0

    def open(self) -> None:
        """Start the clock."""
        self._due = time.perf_counter()

    def read(self) -> NDArray[np.uint8]:
        """The next picture, when it is due."""
        self._due = max(self._due + 1 / self.fps, time.perf_counter() - 0.1)
        time.sleep(max(self._due - time.perf_counter(), 0))
        self._number += 1
        return self._images[self._number % len(self._images)]

    def rest(self) -> None:
        """Nothing piles up."""

    def close(self) -> None:
        """Nothing is held."""


def pictures(video: str, size: tuple[int, int], count: int = 60) -> list[NDArray[np.uint8]]:
    """The first frames of ``video``, scaled to ``size`` (width, height)."""
    source, cv2 = Video(video), opencv.load()
    source.open()
    frames = [source.read() for _ in range(count)]
    source.close()
    return [cv2.resize(frame, size) for frame in frames if frame is not None]


@dataclass(frozen=True)
class Speed:
    """Results a second by the wall clock, and milliseconds of CPU time for each."""

    fps: float
    cpu_ms: float


def speed_of(action: Callable[[], Any], count: int) -> Speed:
    """Of ``count`` calls."""
    started, used = time.perf_counter(), time.process_time()
    for _ in range(count):
        action()
    seconds, used = time.perf_counter() - started, time.process_time() - used
    return Speed(count / seconds, used / count * 1e3)


def run_session(
    copies: Copies, source: Any, controls: Controls, views: Any = (), **settings: Any
) -> dict[str, Any]:
    """One session to its end; its summary, with the CPU time of each result after the warm-up."""
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
    """Medians of rounds in turns; every ratio is of neighbours in time."""
    how, found = bare.card.preprocess, defaultdict[str, list[Speed]](list)
    rgb = np.ascontiguousarray(images[0][:, :, ::-1])
    tensor = bare.tensor(how.pixels(rgb))
    apps = {
        f"app, {len(copies)} x {copies[0].runner.info.threads} threads, {pixels}": (copies, pixels)
        for copies in ((bare,), single)
        for pixels in ("exact", "quick")
    }
    for _ in range(rounds):
        found["runner"].append(speed_of(lambda: bare.runner.run(tensor), FRAMES))
        found["loop"].append(speed_of(lambda: bare.logits_of_pixels(how.pixels(rgb)), FRAMES))
        for name, (copies, pixels) in apps.items():
            camera = MemoryCamera(images, FASTER * found["runner"][-1].fps)
            summary = run_session(
                copies, camera, Controls(1), max_frames=FRAMES, quick=pixels == "quick"
            )
            found[name].append(Speed(summary["inference_fps"], summary["cpu_ms"]))
    return {name: _compared(speeds, found) for name, speeds in found.items()}


def _compared(speeds: list[Speed], found: Mapping[str, list[Speed]]) -> dict[str, float]:
    median = statistics.median
    ratios = {
        f"of_{other}": median(a.fps / b.fps for a, b in zip(speeds, found[other], strict=True))
        for other in ("runner", "loop")
    }
    of_runner = median(b.cpu_ms / a.cpu_ms for a, b in zip(speeds, found["runner"], strict=True))
    measured = {
        "fps": median(item.fps for item in speeds),
        **ratios,
        "cpu_ms": median(item.cpu_ms for item in speeds),
        "runner_cpu_share": of_runner,
    }
    return {name: round(value, 3) for name, value in measured.items()}


def delay(copies: Copies, images: list[NDArray[np.uint8]], fps: float) -> dict[str, Any]:
    """Frame to result with a camera of ``fps``, and the bar from the same run."""
    summary = run_session(copies, MemoryCamera(images, fps), Controls(1), seconds=6.0)
    inference = summary["models"][0]["inference_ms"]["median"]
    return {
        "camera_fps": summary["camera_fps"],
        "inference_fps": summary["inference_fps"],
        "delay_ms": summary["delay_ms"]["median"],
        "bar_ms": round(inference + summary["preparing_ms"]["median"] + 5, 2),
    }


def idle(classifier: Classifier, video: str) -> float:
    """Share of a core used while paused."""
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
    """Inference rate without and with viewers, in turns; the viewers are another process."""
    rates: dict[str, list[float]] = {"without": [], "with": []}
    encoded = 0
    for _ in range(3):
        for kind, found in rates.items():
            controls = Controls(1)
            page = Page(controls, [classifier.path], "127.0.0.1", 0, None)
            watching = None
            if kind == "with":
                watching = subprocess.Popen(subprocesses.command(MODULE, "watch", str(page.port)))  # noqa: S603
                time.sleep(1.5)
            summary = run_session(
                (classifier,), MemoryCamera(images, fps), controls, [page], seconds=5.0
            )
            found.append(summary["inference_fps"])
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


def watch(port: int) -> None:
    """`VIEWERS` of the page, `STALLED` of which never read."""
    connections = []
    for _ in range(VIEWERS):
        connection = socket.create_connection(("127.0.0.1", port))
        connection.sendall(b"GET /picture HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        connections.append(connection)

    def read(connection: socket.socket) -> None:
        while connection.recv(1 << 16):
            pass

    for connection in connections[STALLED:]:
        threading.Thread(target=read, args=(connection,), daemon=True).start()
    time.sleep(60)


def soak(copies: Copies, images: list[NDArray[np.uint8]], frames: int) -> dict[str, Any]:
    """Growth of memory after the first minute, and threads and handles before and after (Linux)."""
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
    return pages * 4096 / 1e6


@click.command()
@click.argument("file")
@click.option("--video", required=True, help="Any video file.")
@click.option("--threads", type=click.IntRange(1), default=2, show_default=True)
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True)
@click.option("--soak", "soak_frames", type=click.IntRange(1), help="Soak this long instead.")
def main(file: str, video: str, threads: int, rounds: int, soak_frames: int | None) -> None:
    """Measure the camera app with FILE; JSON on standard output."""
    classifier = open_model(file, threads=threads)
    single = tuple(open_model(file, threads=1) for _ in range(threads))
    images = {size: pictures(video, size) for size in ((320, 240), (640, 480))}
    if soak_frames is not None:
        click.echo(json.dumps(soak(single, images[640, 480], soak_frames), indent=1))
        return
    found = {
        f"{width}x{height}": {
            "throughput": throughput(classifier, single, frames, rounds),
            "delay": delay((classifier,), frames, 1000.0),
            "delay_workers": delay(single, frames, 1000.0),
        }
        for (width, height), frames in images.items()
    }
    small = images[320, 240]
    rest = {
        "paused_cpu_share": idle(classifier, video),
        "viewers_30_fps_camera": viewers(classifier, images[640, 480], 30.0),
        "viewers_inference_bound": viewers(classifier, small, 1000.0),
    }
    click.echo(json.dumps({"threads": threads, **found, **rest}, indent=1))


if __name__ == "__main__":
    if sys.argv[1:2] == ["watch"]:
        watch(int(sys.argv[2]))
    else:
        main()
