"""Strangers at the page: idle, slow and malformed connections leave the owner's page as it is."""

from __future__ import annotations

import http.client
import resource
import socket
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

pytest.importorskip("cv2", reason="the page needs the extra 'camera'")
for module in ("starlette", "uvicorn"):
    pytest.importorskip(module, reason="the page needs the extra 'camera'")

from edge_effnet.apps.camera.controls import Controls  # noqa: E402
from edge_effnet.apps.preview import connections, guard, server  # noqa: E402
from edge_effnet.errors import CameraError  # noqa: E402
from support.waiting import SECONDS, until  # noqa: E402

#: What a stranger sends and then leaves: nothing, half a request, a request without its body.
BEGINNINGS = (
    b"",
    b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ",
    b"POST /do/pause HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n",
    b"GET /?token=wrong HTTP/1.1\r\nHost: localhost\r\n\r\n",
)


@pytest.fixture(params=[None, "a secret; =ü"])
def page(request: pytest.FixtureRequest) -> Iterator[server.Page]:
    made = server.Page(Controls(2), ["a.tflite", "b.onnx"], "127.0.0.1", 0, request.param)
    yield made
    made.close()


def ask(page: server.Page, path: str = "/", **headers: str) -> tuple[int, http.client.HTTPMessage]:
    connection = http.client.HTTPConnection("127.0.0.1", page.port, timeout=SECONDS)
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status, answer.headers


def connect(page: server.Page, beginning: bytes = b"") -> socket.socket:
    stranger = socket.create_connection(("127.0.0.1", page.port), timeout=SECONDS)
    stranger.sendall(beginning)
    return stranger


def owners_path(page: server.Page) -> str:
    return page.address.removeprefix(f"http://127.0.0.1:{page.port}") or "/"


@pytest.mark.parametrize("count", [200])
@pytest.mark.parametrize("seconds", [3, pytest.param(60, marks=pytest.mark.exhaustive)])
def test_the_owner_is_answered_beside_strangers(
    count: int, seconds: int, page: server.Page
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 3 * count + 200
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip(f"needs {wanted} open files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    strangers = [connect(page, BEGINNINGS[i % len(BEGINNINGS)]) for i in range(count)]
    slowest, end = 0.0, time.monotonic() + seconds
    try:
        while time.monotonic() < end:
            began = time.monotonic()
            assert ask(page, owners_path(page))[0] == 200
            slowest = max(slowest, time.monotonic() - began)
            for place, stranger in enumerate(strangers):  # who is closed comes again
                try:
                    stranger.sendall(b"x" if place % 2 else b"")
                    stranger.settimeout(0)
                    closed = not stranger.recv(10_000)
                except BlockingIOError:
                    closed = False
                except OSError:
                    closed = True
                if closed:
                    stranger.close()
                    strangers[place] = connect(page, BEGINNINGS[place % len(BEGINNINGS)])
                strangers[place].settimeout(10)
            time.sleep(0.2)
    finally:
        for stranger in strangers:
            stranger.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    print(f"slowest of the owner's answers: {slowest:.3f} s")
    assert slowest < connections.REQUEST_TIMEOUT, "the owner waits for nobody's deadline"


@pytest.mark.parametrize("beginning", BEGINNINGS)
def test_waiting_connections_are_closed(
    beginning: bytes, page: server.Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "REQUEST_TIMEOUT", 0.3)
    page._server.config.timeout_keep_alive = 1
    with connect(page, beginning) as stranger:
        stranger.settimeout(SECONDS)  # a connection that stays open ends as TimeoutError
        with suppress(ConnectionError):
            while stranger.recv(10_000):  # answers, then the end
                pass


def test_slow_bytes_do_not_move_the_deadline(
    page: server.Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "REQUEST_TIMEOUT", 0.5)

    def closed() -> bool:
        try:
            stranger.sendall(b"x")
        except ConnectionError:
            return True
        time.sleep(0.05)
        return False

    with connect(page, b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ") as stranger:
        until("the end of the connection", closed)


def test_a_viewer_is_not_closed(page: server.Page, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "REQUEST_TIMEOUT", 0.2)
    path = f"/events{owners_path(page).removeprefix('/')}"
    with connect(page, f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()) as viewer:
        assert viewer.recv(1000).startswith(b"HTTP/1.1 200")
        viewer.settimeout(2)
        with pytest.raises(TimeoutError):  # a closed connection would end
            list(iter(lambda: viewer.recv(1000), b""))


def test_viewers_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MOST_VIEWERS", 2)
    page = server.Page(Controls(1), ["a"], "127.0.0.1", 0, None)
    request = b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n"
    try:
        viewers = []
        for count in (1, 2):
            viewers.append(connect(page, request))
            until("the viewer", lambda: page._events.readers >= count)  # noqa: B023
        assert ask(page, "/events")[0] == 503
        assert ask(page, "/")[0] == 200
        for viewer in viewers:
            viewer.close()
    finally:
        page.close()


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1", 200),
        ("127.0.0.1:8088", 200),
        ("LocalHost:8088", 200),
        ("localhost.", 200),
        ("localhost.:1", 200),
        ("[::1]:8088", 200),
        ("[0:0:0:0:0:0:0:1]", 200),
        ("[::1].evil.example", 403),
        ("[::1", 403),
        ("[::1]]", 403),
        ("[]", 403),
        ("::1", 403),
        ("localhost:80:80", 403),
        ("localhost:port", 403),
        ("localhost:99999", 403),
        ("localhost:٣", 403),
        ("localhost:80@evil.example", 403),
        ("localhost.evil.example", 403),
        ("localhost..", 403),
        ("127.0.0.1.evil.example", 403),
        ("evil.example", 403),
        ("", 403),
    ],
)
def test_forms_of_the_host_header(host: str, status: int) -> None:
    accepted = guard._host_name(host) in guard.LOOPBACK
    assert accepted == (status == 200)


def test_the_host_header_is_checked_on_a_connection() -> None:
    page = server.Page(Controls(1), ["a"], "127.0.0.1", 0, None)
    try:
        assert ask(page, Host="[::1]:80")[0] == 200
        assert ask(page, Host="[::1].evil.example")[0] == 403
        for lines in (b"", b"Host: localhost\r\nHost: evil.example\r\n"):
            with connect(page, b"GET / HTTP/1.1\r\n" + lines + b"\r\n") as stranger:
                assert stranger.recv(1000).startswith(b"HTTP/1.1 400")
    finally:
        page.close()


def test_cookies_of_any_form() -> None:
    page = server.Page(Controls(1), ["a"], "127.0.0.1", 0, "se;cret ü")
    try:
        status, headers = ask(page, owners_path(page))
        assert status == 200
        cookie = headers["Set-Cookie"].partition(";")[0]
        for others in ("{}", "a:b=1; {}; (x)=,", '"; {}', "edge_effnet_token=other; {}", "=;{}"):
            assert ask(page, "/script.js", Cookie=others.format(cookie))[0] == 200
        for wrong in ("", "edge_effnet_token", "edge_effnet_token=", "xedge_effnet_token=se"):
            assert ask(page, "/script.js", Cookie=wrong)[0] == 403
    finally:
        page.close()


@pytest.mark.parametrize("action", ["9" * 5000, "٣", "-1", "1.0", "", "01", "pause%0a"])
def test_numbers_of_files(action: str) -> None:
    from urllib.parse import quote

    page = server.Page(Controls(1), ["a"], "127.0.0.1", 0, None)
    try:
        connection = http.client.HTTPConnection("127.0.0.1", page.port, timeout=SECONDS)
        connection.request("POST", f"/do/{quote(action, safe='%')}", headers={"X-Edge-Effnet": "1"})
        assert connection.getresponse().status == 404
    finally:
        page.close()


@pytest.mark.parametrize(
    ("bind", "port"),
    [("127.0.0.1", 99_999), ("127.0.0.1", -1), ("a" * 70, 0), ("a\0b", 0), ("", 0)],
)
def test_addresses_that_cannot_be(bind: str, port: int) -> None:
    with pytest.raises(CameraError, match="cannot be served"):
        server.Page(Controls(1), ["a"], bind, port, None)
