"""The preview page in a real browser, on a desk and on a phone."""

from __future__ import annotations

import io
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

for module in ("cv2", "starlette", "uvicorn"):
    pytest.importorskip(module, reason="the page needs the extra 'camera'")

from clients.browser import PHONE, SCREEN, Watched, chromium, opened  # noqa: E402
from support import command  # noqa: E402


@pytest.fixture(scope="module")
def camera(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A camera that plays photos; its page's address, and its folder of screenshots."""
    folder = tmp_path_factory.mktemp("screenshots")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    words = (
        *("camera", command.file("int8", ".tflite"), "--source", command.photos(), "--loop"),
        *("--preview", "http", "--port", port, "--screenshots", folder, "--top", 3),
    )
    process = subprocess.Popen(
        [str(word) for word in (command.SCRIPT, *words)], stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    assert f"http://127.0.0.1:{port}" in process.stderr.readline()
    yield f"http://127.0.0.1:{port}", folder
    process.send_signal(signal.SIGTERM)
    assert process.wait(120) == 0


def fits(watched: Watched) -> bool:
    return bool(watched.page.evaluate("document.documentElement.scrollWidth <= innerWidth"))


def press(watched: Watched, action: str) -> None:
    watched.page.click(f'[data-do="{action}"]')


@pytest.mark.parametrize("viewport", [SCREEN, PHONE], ids=["desk", "phone"])
def test_the_page_shows_answers_and_says_what_a_screenshot_became(
    viewport: dict[str, int], camera: tuple[str, Path]
) -> None:
    url, folder = camera
    with opened(chromium(), viewport=viewport, permissions=()) as watched:
        page = watched.page
        page.goto(url)
        page.wait_for_selector(".doubt:has-text('unsure')")  # the small network is never sure
        assert page.locator(".answer").count() == 3
        before = set(folder.iterdir())
        press(watched, "screenshot")
        page.wait_for_selector("#notice:has-text('screenshot saved')")
        (new,) = set(folder.iterdir()) - before
        assert str(new) in watched.text("#notice")
        box = page.locator("#notice").bounding_box()
        assert 0 <= box["y"] < viewport["height"]  # in sight of the button's user
        assert fits(watched)
        folder.rename(folder.with_name("moved"))
        folder.write_text("a file in the way")
        press(watched, "screenshot")
        page.wait_for_selector("#notice:has-text('no screenshot')")
        folder.unlink()
        folder.with_name("moved").rename(folder)
        assert not watched.errors


def test_a_paused_camera_shows_its_picture_to_whoever_comes(camera: tuple[str, Path]) -> None:
    with opened(chromium(), permissions=()) as watched:
        watched.page.goto(camera[0])
        wait_for_picture(watched.page)
        press(watched, "pause")
        watched.page.wait_for_selector("#status:has-text('paused')")
        later = watched.context.new_page()
        watched.page.close()
        later.wait_for_timeout(500)  # the camera has published its last picture
        later.goto(camera[0])
        wait_for_picture(later)
        later.click('[data-do="pause"]')
        later.wait_for_selector("#status", state="hidden")


def wait_for_picture(page: Any) -> None:
    """Wait until the browser draws a picture: its place is no longer plain black."""
    limit = time.monotonic() + 60
    while np.asarray(Image.open(io.BytesIO(page.locator("#picture").screenshot()))).std() < 10:
        assert time.monotonic() < limit, "the page shows no picture"
        page.wait_for_timeout(50)
