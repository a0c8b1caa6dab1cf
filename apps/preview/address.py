"""Addresses of the preview page: on this machine, and from another one."""

from __future__ import annotations

import getpass
import os
import socket
from urllib.parse import quote

from edge_effnet.apps.preview.guard import LOOPBACK

#: Addresses that mean all of this machine's addresses.
EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104
#: An address of TEST-NET-1 (RFC 5737). Connecting a UDP socket to it sends nothing, but selects the
#: local address that reaches other networks.
_ELSEWHERE = ("192.0.2.1", 9)


def address(bind: str, port: int, token: str | None) -> str:
    """Address of the page served at ``bind``; for all addresses, the one that others reach."""
    host = reachable_address() if bind in EVERYWHERE else bind
    query = "" if token is None else f"/?token={quote(token, safe='')}"
    return f"http://{_bracketed(host)}:{port}{query}"


def directions(bind: str, port: int, token: str | None) -> tuple[str, ...]:
    """Sentences that say where the page is, and how to see it from another machine."""
    where = f"preview: {address(bind, port, token)}"
    if bind not in LOOPBACK:
        name = socket.gethostname()
        return (f"{where} (also by the name {name})",) if bind in EVERYWHERE else (where,)
    tunnel = f"ssh -N -L {port}:{_bracketed(bind)}:{port} {_login()}"
    return (
        f"{where} (this machine only)",
        f"from another machine, type there: {tunnel}; then open "
        f"{address('127.0.0.1', port, token)} there. Or start with bind='0.0.0.0'",
    )


def reachable_address() -> str:
    """This machine's address for others: the one of the SSH session, or of the default network.

    Without a network, the host name.
    """
    session = _ssh_session()
    if session is not None:
        return session[0]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(_ELSEWHERE)
            return str(probe.getsockname()[0])
        except OSError:
            return socket.gethostname()


def _ssh_session() -> tuple[str, str] | None:
    """(address, port) of this machine in the SSH session that runs this process, if there is one.

    OpenSSH sets SSH_CONNECTION to client address, client port, server address and server port.
    """
    fields = os.environ.get("SSH_CONNECTION", "").split()
    return (fields[2], fields[3]) if len(fields) == 4 else None


def _login() -> str:
    """Arguments of ssh that log in to this machine."""
    session = _ssh_session()
    host, port = session or (reachable_address(), "22")
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a user id without a name
        user = "USER"
    return f"{user}@{host}" if port == "22" else f"-p {port} {user}@{host}"


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
