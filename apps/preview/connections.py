"""Connections: uvicorn's HTTP protocol, with limits for connections that send no request.

Such connections are closed after `REQUEST_TIMEOUT` seconds. If there are too many, the oldest is
closed for a new one. A viewer's request arrives with its connection, so that any number of idle or
slow strangers leaves room for it.
"""

from __future__ import annotations

from asyncio import TimerHandle, Transport
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from uvicorn.protocols.http.h11_impl import H11Protocol

#: Seconds from the connection, or from the last response, to the end of a request's headers.
REQUEST_TIMEOUT = 5.0
#: Most connections without a request.
MOST_WAITING = 64


class _Connection(Protocol):
    def close_now(self) -> None:
        """Close the connection without waiting for the other side."""


class Waiting:
    """The connections without a request, oldest first, each with its deadline's timer."""

    def __init__(self, limit: int) -> None:
        self._limit = max(limit, 1)
        self._timers: dict[_Connection, TimerHandle] = {}

    def __contains__(self, connection: _Connection) -> bool:
        return connection in self._timers

    def __len__(self) -> int:
        return len(self._timers)

    def add(self, connection: _Connection, timer: TimerHandle) -> None:
        """Add a connection; at the limit, the oldest one is closed."""
        self._timers[connection] = timer
        if len(self._timers) > self._limit:
            oldest = next(iter(self._timers))
            self.remove(oldest)
            oldest.close_now()

    def remove(self, connection: _Connection) -> None:
        """Remove a connection and cancel its deadline."""
        timer = self._timers.pop(connection, None)
        if timer is not None:
            timer.cancel()


def protocol(waiting: Waiting) -> type[H11Protocol]:
    """The protocol class for `uvicorn.Config`; its connections are counted in ``waiting``."""
    from uvicorn.protocols.http.h11_impl import H11Protocol

    class Bounded(H11Protocol):
        # asyncio declares BaseTransport; the server of a TCP socket passes a Transport.
        def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._watch()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._watch()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            self._watch()

        def connection_lost(self, exc: Exception | None) -> None:
            waiting.remove(self)
            super().connection_lost(exc)

        def close_now(self) -> None:
            self.transport.abort()

        def _watch(self) -> None:
            answering = self.cycle is not None and not self.cycle.response_complete
            if answering or self.transport.is_closing():
                waiting.remove(self)
            elif self not in waiting:
                waiting.add(self, self.loop.call_later(REQUEST_TIMEOUT, self.close_now))

    return Bounded


def most_waiting() -> int:
    """`MOST_WAITING`, or a quarter of the files that this process may open if that is less."""
    try:
        import resource
    except ImportError:  # Windows
        return MOST_WAITING
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST_WAITING if soft == resource.RLIM_INFINITY else min(MOST_WAITING, soft // 4)
