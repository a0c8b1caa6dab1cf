"""The page: who may see it, one encoding for all, stalled viewers change nothing."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

cv2 = pytest.importorskip("cv2", reason="the page needs the extra 'camera'")
for module in ("starlette", "uvicorn"):
    pytest.importorskip(module, reason="the page needs the extra 'camera'")

from edge_effnet.apps.camera.controls import Controls  # noqa: E402
from edge_effnet.apps.camera.frames import Frame  # noqa: E402
from edge_effnet.apps.camera.scene import Metrics, Panel, Scene  # noqa: E402
from edge_effnet.apps.preview import server  # noqa: E402
from edge_effnet.errors import CameraError  # noqa: E402

IMAGE = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
SCENE = Scene(
    Frame(IMAGE, 0, 0.0, 0.0),
    (Panel("model", (("<b>cat</b>", 0.75),), 1.0),),
    Metrics(30.0, 20.0, 5.0, 3),
    "",
    "",
    False,
)
COMMAND = {"X-Edge-Effnet": "1"}


@pytest.fixture
def page() -> Iterator[server.Page]:
    made = server.Page(Controls(2), ["a.tflite", "b.onnx"], "127.0.0.1", 0, None)
    yield made
    made.close()


def ask(page: server.Page, path: str, method: str = "GET", **headers: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", page.port, timeout=10)
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text


def stream(page: server.Page, path: str) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", page.port, timeout=10)
    connection.request("GET", path)
    return connection.getresponse()


def show_until(page: server.Page, count: int) -> None:
    """Show scenes until ``count`` pictures were encoded; the readers are there already."""
    while page.encoded < count:
        page.show(SCENE, lambda: IMAGE)


def test_the_page_and_its_parts(page: server.Page) -> None:
    for path, word in (("/", "script.js"), ("/style.css", "--accent"), ("/script.js", "EventS")):
        status, text = ask(page, path)
        assert status == 200
        assert word in text
        assert "http://" not in text
        assert "https://" not in text  # nothing from elsewhere
    assert ask(page, "/../server.py")[0] == 404


def test_other_names_for_this_machine_are_refused(page: server.Page) -> None:
    assert ask(page, "/", Host="evil.example")[0] == 403
    assert ask(page, "/", Host="localhost:1")[0] == 200


def test_commands_need_the_pages_header(page: server.Page) -> None:
    assert ask(page, "/do/pause", "POST")[0] == 403
    assert not page._controls.paused
    assert ask(page, "/do/pause", "POST", **COMMAND)[0] == 204
    assert page._controls.paused
    assert ask(page, "/do/1", "POST", **COMMAND)[0] == 204
    assert page._controls.active == (1,)
    assert ask(page, "/do/2", "POST", **COMMAND)[0] == 404
    assert ask(page, "/do/compare", "POST", **COMMAND)[0] == 204
    assert page._controls.active == (0, 1)


def test_a_token_guards_everything() -> None:
    page = server.Page(Controls(1), ["a"], "127.0.0.1", 0, "secret")
    try:
        assert page.address.endswith("/?token=secret")
        for path in ("/", "/picture", "/events", "/?token=wrong"):
            assert ask(page, path)[0] == 403
        assert ask(page, "/?token=secret")[0] == 200
        assert ask(page, "/script.js", Cookie="edge_effnet_token=secret")[0] == 200
        assert ask(page, "/script.js", Cookie="edge_effnet_token=other")[0] == 403
    finally:
        page.close()


def test_other_addresses_get_a_token() -> None:
    page = server.Page(Controls(1), ["a"], "0.0.0.0", 0, None)  # noqa: S104
    page.close()
    assert page.token is not None
    assert len(page.token) >= 20


def test_many_viewers_cost_one_encoding(page: server.Page) -> None:
    answers = [stream(page, "/picture") for _ in range(8)]
    while page.viewers < 8:  # each counts once its request is being served
        pass
    show_until(page, 1)
    heads = [answer.readline() for answer in answers]
    assert heads == [b"--picture\r\n"] * 8
    assert page.encoded == 1
    for answer in answers:
        answer.close()


def test_nobody_looking_costs_nothing(page: server.Page) -> None:
    page.show(SCENE, lambda: pytest.fail("drawn for nobody"))
    assert page.encoded == 0


def test_events_carry_the_predictions(page: server.Page) -> None:
    answer = stream(page, "/events")
    assert answer.headers["content-type"].startswith("text/event-stream")
    while not page._events.readers:
        pass
    page.show(SCENE, lambda: IMAGE)
    state = json.loads(answer.readline().decode().removeprefix("data: "))
    assert state["panels"][0]["top"] == [{"label": "<b>cat</b>", "p": 0.75}]
    assert state["models"] == ["a.tflite", "b.onnx"]
    answer.close()


def test_a_stalled_viewer_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """It fills the kernel's buffers, then no picture waits for it, then it is gone."""
    monkeypatch.setattr(server, "STALLED", 0.3)
    monkeypatch.setattr(server, "PAGE_FPS", 1000.0)
    page = server.Page(Controls(1), ["a"], "127.0.0.1", 0, None)
    try:
        stalled = socket.create_connection(("127.0.0.1", page.port))
        stalled.sendall(b"GET /picture HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        while not page.viewers:
            pass
        while page.viewers:  # the test's own time limit ends it if it is never dropped
            page.show(SCENE, lambda: IMAGE)
        stalled.close()
    finally:
        page.close()


def test_a_taken_port_is_refused(page: server.Page) -> None:
    with pytest.raises(CameraError, match="give another bind= or port="):
        server.Page(Controls(1), ["a"], "127.0.0.1", page.port, None)


def test_a_picture_is_complete_without_the_next_one(page: server.Page) -> None:
    """The next one's head follows at once: browsers show a paused camera's picture."""
    answer = stream(page, "/picture")
    while not page.viewers:
        pass
    page.show(SCENE, lambda: IMAGE)
    assert answer.readline() == b"--picture\r\n"
    assert http.client.parse_headers(answer)["Content-Type"] == "image/jpeg"
    received = b""
    while b"--picture\r\n" not in received:
        received += answer.readline()
    jpeg = received.removesuffix(b"\r\n--picture\r\n")
    assert cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR).shape == IMAGE.shape
    assert http.client.parse_headers(answer)["Content-Type"] == "image/jpeg"
    answer.close()


def test_events_say_what_happened(page: server.Page) -> None:
    answer = stream(page, "/events")
    while not page._events.readers:
        pass
    page.show(replace(SCENE, notice="screenshot saved: /a.png"), lambda: IMAGE)
    state = json.loads(answer.readline().decode().removeprefix("data: "))
    assert state["notice"] == "screenshot saved: /a.png"
    answer.close()
