"""Channel: passes the newest value from a thread to any number of asyncio readers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress


class Channel:
    """A value with many asyncio readers; slow readers miss intermediate values.

    The constructor needs a running event loop. `publish` and `close` may be called from any thread.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._value = b""
        self._number = 0
        self._closed = False
        self._changed = asyncio.Event()
        self.readers = 0

    def publish(self, value: bytes) -> None:
        """Replace the value by ``value``."""
        with suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._set, value)

    def close(self) -> None:
        """End all readers."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._end)

    async def closed(self) -> None:
        """Wait until the channel is closed."""
        while not self._closed:
            await self._changed.wait()

    async def values(self) -> AsyncGenerator[bytes, None]:
        """Yield the newest value, then newer ones; a slow reader misses values in between."""
        self.readers += 1
        delivered = 0
        try:
            while not self._closed:
                if self._number > delivered:
                    delivered = self._number
                    yield self._value
                else:
                    await self._changed.wait()
        finally:
            self.readers -= 1

    def _set(self, value: bytes) -> None:
        self._value = value
        self._number += 1
        self._wake()

    def _end(self) -> None:
        self._closed = True
        self._wake()

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
