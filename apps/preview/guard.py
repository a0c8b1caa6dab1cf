"""Guard: access control and security headers of the preview page."""

from __future__ import annotations

import ipaddress
import re
import secrets
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, quote, unquote

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK = ("127.0.0.1", "localhost", "::1")
COOKIE = "edge_effnet_token"
#: Request header required for commands; a form on another site cannot send it.
HEADER = b"x-edge-effnet"
_HOST = re.compile(
    r"(?:\[(?P<address>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9._-]+))(?::(?P<port>[0-9]{0,5}))?"
)
_LAST_PORT = 65_535
_HEADERS = [
    (b"cache-control", b"no-store"),
    (
        b"content-security-policy",
        b"default-src 'self'; img-src 'self' data:; frame-ancestors 'none'",
    ),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
]


class Guard:
    """ASGI middleware around ``app`` that checks every request.

    If there is a ``token``, every request must have it in the address (``?token=``) or in a cookie.
    The first request with the token sets this cookie. Without a token, only requests to this
    machine's own addresses are allowed, which prevents DNS rebinding. Commands (POST) need the
    header `HEADER`.
    """

    def __init__(self, app: ASGIApp, token: str | None) -> None:
        self._app, self._token = app, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass allowed requests to the app; respond 403 to all others."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        token = _query_token(scope)
        refusal = self._refusal(scope, token)
        if refusal:
            await _respond(send, 403, refusal)
            return
        extra = list(_HEADERS)
        if token is not None:
            cookie = f"{COOKIE}={quote(token, safe='')}; Path=/; HttpOnly; SameSite=Strict"
            extra.append((b"set-cookie", cookie.encode()))

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", []), *extra]}
            await send(message)

        await self._app(scope, receive, send_with_headers)

    def _refusal(self, scope: Scope, token: str | None) -> str:
        headers = dict(scope["headers"])
        if self._token is None:
            if _host_name(headers.get(b"host", b"").decode("latin-1")) not in LOOPBACK:
                return "this page is served at 127.0.0.1 and localhost only"
        elif not any(
            secrets.compare_digest(candidate.encode(), self._token.encode())
            for candidate in (token, *_cookie_tokens(headers))
            if candidate is not None
        ):
            return "open the address that the camera printed: it ends in ?token=..."
        if scope["method"] not in ("GET", "HEAD") and HEADER not in headers:
            return "commands come from the page only"
        return ""


def _query_token(scope: Scope) -> str | None:
    values = parse_qs(scope["query_string"].decode("latin-1")).get("token")
    return values[0] if values else None


def _cookie_tokens(headers: dict[bytes, bytes]) -> list[str]:
    """Values of the cookies `COOKIE`. Other programs on this machine have cookies of any form."""
    pairs = (
        each.strip().partition("=")
        for each in headers.get(b"cookie", b"").decode("latin-1").split(";")
    )
    return [unquote(value.strip('"')) for name, _, value in pairs if name == COOKIE]


def _host_name(host: str) -> str:
    """The name or address in a Host header, in the form of `LOOPBACK`; empty if it is malformed.

    RFC 9110 section 7.2: a name, IPv4 address or [IPv6 address], and a port or none.
    """
    parts = _HOST.fullmatch(host)
    if parts is None or int(parts["port"] or 0) > _LAST_PORT:
        return ""
    if parts["address"] is None:
        return parts["name"].lower().removesuffix(".")
    try:
        return str(ipaddress.IPv6Address(parts["address"]))
    except ValueError:
        return ""


async def _respond(send: Send, status: int, text: str) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8"), *_HEADERS]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": f"{text}\n".encode()})
