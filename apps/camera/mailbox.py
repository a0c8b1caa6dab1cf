"""Mailbox: a slot between two threads that holds the newest item."""

from __future__ import annotations

import threading
from typing import Generic, TypeVar

T = TypeVar("T")


class Mailbox(Generic[T]):
    """Holds at most one item.

    A closed mailbox accepts no item. The last item can still be taken; afterwards `take` returns
    None.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._item: T | None = None
        self._closed = False

    def put(self, item: T) -> bool:
        """Store ``item``; returns whether it replaced an untaken item."""
        with self._changed:
            if self._closed:
                return False
            replaced = self._item is not None
            self._item = item
            self._changed.notify_all()
            return replaced

    def put_when_empty(self, item: T) -> bool:
        """Wait until the slot is empty, then store ``item``; False if the mailbox is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._item is None or self._closed)
            if self._closed:
                return False
            self._item = item
            self._changed.notify_all()
            return True

    def take(self, timeout: float | None = None) -> T | None:
        """Wait for the item and remove it; None after ``timeout`` seconds or if closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._item is not None or self._closed, timeout)
            item, self._item = self._item, None
            if item is not None:
                self._changed.notify_all()
            return item

    def close(self, discard: bool = False) -> None:
        """Close the mailbox and wake all waiting threads; ``discard`` drops the item."""
        with self._changed:
            self._closed = True
            if discard:
                self._item = None
            self._changed.notify_all()

    @property
    def finished(self) -> bool:
        """Whether the mailbox is closed and empty."""
        with self._changed:
            return self._closed and self._item is None
