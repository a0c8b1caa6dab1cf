"""The printed addresses: they work where they say they work."""

from __future__ import annotations

import re
import socket
import urllib.request

import pytest

for module in ("cv2", "starlette", "uvicorn"):
    pytest.importorskip(module, reason="the page needs the extra 'camera'")

from edge_effnet.apps.camera.controls import Controls  # noqa: E402
from edge_effnet.apps.preview import address  # noqa: E402
from edge_effnet.apps.preview.server import Page  # noqa: E402


@pytest.fixture(autouse=True)
def _no_ssh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSH_CONNECTION", raising=False)


def test_a_page_for_all_is_reached_at_the_printed_address() -> None:
    page = Page(Controls(1), ["a"], "0.0.0.0", 0, None)  # noqa: S104
    try:
        (sentence,) = page.directions
        url = re.search(r"preview: (http://\S+)", sentence)[1]
        assert socket.gethostname() in sentence
        assert "0.0.0.0" not in url  # noqa: S104
        with urllib.request.urlopen(url, timeout=10) as answer:
            assert b"edge-effnet camera" in answer.read()
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(url.partition("/?")[0], timeout=10)
    finally:
        page.close()


@pytest.mark.parametrize(
    ("session", "login"),
    [
        ("10.0.0.9 51234 10.0.0.5 22", r"\w+@10\.0\.0\.5;"),
        ("fe80::1 51234 fe80::2 2222", r"-p 2222 \w+@fe80::2;"),
        ("", r"\w+@[\w.-]+;"),
    ],
)
def test_a_page_for_this_machine_says_how_to_tunnel(
    session: str, login: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSH_CONNECTION", session)
    here, tunnel = address.directions("127.0.0.1", 8088, None)
    assert here == "preview: http://127.0.0.1:8088 (this machine only)"
    assert re.search(rf"ssh -N -L 8088:127\.0\.0\.1:8088 {login}", tunnel)
    assert "open http://127.0.0.1:8088 there" in tunnel
    assert "bind='0.0.0.0'" in tunnel


def test_the_ssh_session_knows_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client has reached it there: better than any guess."""
    monkeypatch.setenv("SSH_CONNECTION", "2001:db8::9 5 2001:db8::5 22")
    assert address.address("::", 80, "t") == "http://[2001:db8::5]:80/?token=t"


def test_ipv6_loopback_and_one_address() -> None:
    assert "-L 80:[::1]:80 " in address.directions("::1", 80, None)[1]
    assert address.directions("192.0.2.7", 80, "t") == ("preview: http://192.0.2.7:80/?token=t",)


def test_without_a_network_the_host_name_remains(monkeypatch: pytest.MonkeyPatch) -> None:
    class Unplugged(socket.socket):
        def connect(self, _: object) -> None:
            raise OSError("Network is unreachable")

    monkeypatch.setattr(socket, "socket", Unplugged)
    assert address.reachable_address() == socket.gethostname()
