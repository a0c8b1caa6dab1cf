"""A stream over a real socket that breaks: said so, waited for, connected again, or ended."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from support import command

cv2 = pytest.importorskip("cv2", reason="needs OpenCV: pip install '.[camera-headless]'")

_HEAD = b"HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=frame\r\n\r\n"
_FPS = 25


class Server:
    """Motion JPEG over HTTP. Each connection gets the frames of one entry of ``script``.

    Afterwards ``ends`` says what happens: the connection is closed, or stays open and silent (a
    cable pulled out). Connections beyond the script are refused.
    """

    def __init__(self, script: tuple[int, ...], ends: str) -> None:
        self._script, self._ends = list(script), ends
        self._stopping = threading.Event()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._socket.getsockname()[1]}/stream.mjpg"
        good, picture = cv2.imencode(".jpg", np.full((120, 160, 3), 90, np.uint8))
        assert good
        data = picture.tobytes()
        self._part = (
            b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(data)
        ) + data + b"\r\n"  # fmt: skip
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while self._script:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                self._answer(connection, self._script.pop(0))
        self._socket.close()

    def _answer(self, connection: socket.socket, frames: int) -> None:
        try:
            connection.recv(4096)
            connection.sendall(_HEAD)
            for _ in range(frames):
                connection.sendall(self._part)
                time.sleep(1 / _FPS)
            if self._ends == "silent":
                connection.settimeout(30)
                while connection.recv(4096) and not self._stopping.is_set():
                    pass
        except OSError:
            pass  # the client went away first

    def close(self) -> None:
        self._stopping.set()
        self._socket.close()


class Rpicam:
    """Raw MJPEG over TCP, as rpicam-vid sends it: to who connects, or to an address.

    ``frames`` of ``fps`` a second, as large as those of a camera; then the connection is closed.
    """

    def __init__(self, frames: int, fps: float, to: int | None = None) -> None:
        self._frames, self._fps, self._to = frames, fps, to
        self._stopping = threading.Event()
        self._listener = None if to else socket.create_server(("127.0.0.1", 0))
        self.port = to or self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        noise = np.random.default_rng(1).integers(0, 256, (240, 320, 3), dtype=np.uint8)
        picture = cv2.imencode(".jpg", noise)[1].tobytes()
        while not self._stopping.is_set():
            try:
                if self._to:
                    connection = socket.create_connection(("127.0.0.1", self._to))
                else:
                    connection, _ = self._listener.accept()
            except OSError:  # nobody listens yet
                self._stopping.wait(0.1)
                continue
            with connection, suppress(OSError):
                for _ in range(self._frames):
                    connection.sendall(picture)
                    if self._stopping.wait(1 / self._fps):
                        return

    def close(self) -> None:
        self._stopping.set()
        if self._listener is not None:
            self._listener.close()
        self._thread.join(5)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.fixture
def broken(request: pytest.FixtureRequest) -> Iterator[Server]:
    server = Server(*request.param)
    yield server
    server.close()


def camera(address: str, *options: object) -> subprocess.CompletedProcess[str]:
    file: Path = command.file("int8", ".tflite")
    return command.run(
        "camera", file, "--source", address, "--preview", "none", "--json", "-", *options
    )


@pytest.mark.parametrize(
    "broken",
    [((30, 200), "closed"), ((30, 200), "silent")],
    indirect=True,
    ids=["closed", "silent"],
)
def test_a_stream_that_breaks_is_connected_again(broken: Server) -> None:
    done = camera(broken.address, "--max-frames", 60)
    report = json.loads(command.done(done))
    assert report["reconnects"] == 1
    assert report["processed"] == 60
    assert report["captured"] > 30  # frames of the second connection
    assert f"{broken.address} is gone: waiting for it" in done.stderr
    assert f"{broken.address} is back" in done.stderr


@pytest.mark.parametrize("broken", [((30,), "closed")], indirect=True)
def test_a_stream_that_stays_away_ends_cleanly(broken: Server) -> None:
    """One message and exit code 2, and what was seen until then is told all the same."""
    done = camera(broken.address, "--give-up", 2)
    assert done.returncode == 2
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: ")
    assert "is gone and did not come back within 2 s" in last
    report = json.loads(done.stdout)
    assert report["ended"] == "lost"
    assert 0 < report["processed"] <= report["captured"] == 30


@pytest.mark.parametrize("fps", [30, 10])
def test_rpicam_vid_that_listens(fps: float) -> None:
    sender = Rpicam(1000, fps)
    try:
        address = f"tcp://127.0.0.1:{sender.port}"
        report = json.loads(command.done(camera(address, "--max-frames", 20)))
    finally:
        sender.close()
    assert report["source"] == address
    assert report["processed"] == 20
    assert report["reconnects"] == 0


def test_rpicam_vid_that_connects_and_comes_back() -> None:
    """The camera listens: on this machine alone, again after a loss."""
    port = free_port()
    sender = Rpicam(40, 30, to=port)
    try:
        done = camera(f"tcp://127.0.0.1:{port}?listen", "--wait", "--max-frames", 60)
    finally:
        sender.close()
    report = json.loads(command.done(done))
    assert report["processed"] == 60
    assert report["reconnects"] >= 1


def test_a_stream_that_is_not_there_yet_is_waited_for() -> None:
    port = free_port()
    address = f"tcp://127.0.0.1:{port}"
    refused = camera(address)
    assert f"the stream {address} cannot be opened" in command.refused(refused)
    done = camera(address, "--wait", "--give-up", 1)
    assert done.returncode == 2
    assert f"note: waiting: the stream {address} cannot be opened" in done.stderr
    assert "did not come back within 1 s" in done.stderr.splitlines()[-1]


def test_a_folder_that_is_not_there_is_not_waited_for(tmp_path: Path) -> None:
    done = camera(str(tmp_path / "absent.mp4"), "--wait")
    assert "there is no video" in command.refused(done)
