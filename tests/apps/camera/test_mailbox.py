"""The mailbox between two threads: the newest item wins, nobody waits for ever."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from edge_effnet.apps.camera.mailbox import Mailbox


def test_the_newest_item_wins() -> None:
    box: Mailbox[int] = Mailbox()
    assert [box.put(number) for number in (1, 2, 3)] == [False, True, True]
    assert box.take() == 3
    assert box.take(timeout=0) is None
    assert not box.put(4)


def test_what_is_inside_may_be_taken_after_closing() -> None:
    box: Mailbox[int] = Mailbox()
    box.put(1)
    box.close()
    assert not box.finished
    assert not box.put(2)
    assert box.take() == 1
    assert box.finished
    assert box.take() is None


def test_discard_throws_it_away() -> None:
    box: Mailbox[int] = Mailbox()
    box.put(1)
    box.close(discard=True)
    assert box.take() is None
    assert box.finished


def test_closing_wakes_everybody_up() -> None:
    box: Mailbox[int] = Mailbox()
    full: Mailbox[int] = Mailbox()
    full.put(1)
    with ThreadPoolExecutor(2) as pool:
        taken = pool.submit(box.take)
        left = pool.submit(full.put_when_empty, 2)
        box.close()
        full.close(discard=True)
        assert taken.result(10) is None
        assert left.result(10) is False


def test_nothing_is_lost_or_out_of_order_when_the_writer_waits() -> None:
    box: Mailbox[int] = Mailbox()

    def write() -> None:
        for number in range(1, 2001):
            assert box.put_when_empty(number)
        box.close()

    writer = threading.Thread(target=write)
    writer.start()
    taken = list(iter(box.take, None))
    writer.join(10)
    assert taken == list(range(1, 2001))


def test_a_fast_writer_loses_old_items_only() -> None:
    """Whatever the interleaving: what is read is increasing, and ends with the last item."""
    box: Mailbox[int] = Mailbox()
    replaced = []

    def write() -> None:
        replaced.append(sum(box.put(number) for number in range(1, 5001)))
        box.close()

    writer = threading.Thread(target=write)
    writer.start()
    taken = list(iter(box.take, None))
    writer.join(10)
    assert taken == sorted(set(taken))
    assert taken[-1] == 5000
    assert len(taken) + replaced[0] == 5000
