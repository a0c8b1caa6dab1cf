"""A real Chromium without a window, a static server, and what a page does in it."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from PIL import Image

HERE = Path(__file__).parent
#: A phone's screen in CSS pixels.
PHONE = {"width": 390, "height": 844}
SCREEN = {"width": 1280, "height": 800}


def chromium() -> str:
    """The browser's path; skips where there is none and none can be installed."""
    done = subprocess.run([HERE / "chromium.sh"], capture_output=True, text=True, timeout=600)
    if done.returncode != 0:
        pytest.skip(done.stderr.strip().rpartition("\n")[2])
    return done.stdout.strip()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *arguments: object) -> None:
        pass


@contextmanager
def served(folder: Path, port: int = 0) -> Iterator[str]:
    """``folder`` over plain HTTP, as any static host does it; gives the address."""
    server = ThreadingHTTPServer(("127.0.0.1", port), partial(_Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()
        server.server_close()


@dataclass
class Watched:
    """A page, and what went wrong or out in it: console errors, exceptions, addresses asked."""

    page: Any
    context: Any
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def text(self, selector: str) -> str:
        """What stands in the first such element."""
        return str(self.page.inner_text(selector))


@contextmanager
def opened(
    path: str,
    arguments: Sequence[str] = (),
    viewport: dict[str, int] = SCREEN,
    permissions: Sequence[str] = ("camera",),
    **options: Any,
) -> Iterator[Watched]:
    """A new browser with a profile of its own and one empty page."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="it drives the browser")
    with TemporaryDirectory() as profile, sync_api.sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            profile,
            executable_path=path,
            chromium_sandbox=False,
            viewport=viewport,
            args=list(arguments),
            permissions=list(permissions),
            **options,
        )
        context.set_default_timeout(120_000)  # ms, on a machine that others use
        page = context.pages[0]
        watched = Watched(page, context)
        page.on("console", lambda message: _note(watched, message.type, message.text))
        page.on("pageerror", lambda error: _note(watched, "error", str(error)))
        context.on("request", lambda request: watched.requests.append(request.url))
        try:
            yield watched
        finally:
            context.close()


def _note(watched: Watched, kind: str, text: str) -> None:
    if kind in ("error", "warning"):
        watched.errors.append(text)


def film(path: Path, pictures: Sequence[Image.Image], fps: int) -> Path:
    """A YUV4MPEG2 video (4:2:0) of pictures of one size, for the fake camera to play in a loop."""
    width, height = pictures[0].size
    with path.open("wb") as video:
        video.write(f"YUV4MPEG2 W{width} H{height} F{fps}:1 Ip A1:1 C420\n".encode())
        for picture in pictures:
            luma, *chroma = picture.convert("YCbCr").split()
            planes = [
                luma,
                *(c.resize((width // 2, height // 2), Image.Resampling.BOX) for c in chroma),
            ]
            video.write(b"FRAME\n" + b"".join(plane.tobytes() for plane in planes))
    return path
