"""Supervisor: worker processes, what ends them, and the outcomes of all mutants."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from fuzz.outcome import SECONDS, Outcome, Word

_START = 300.0  # seconds that a worker may take to start
_GRACE = 10.0  # seconds beyond the limit of a mutant: the child's, and a busy machine
_ROOT = Path(__file__).parents[2]

Batch = tuple[str, int, int]  # kind, first number, number after the last


@dataclass
class _Worker:
    """A running worker, and what it has not done yet."""

    process: subprocess.Popen[bytes]
    errors: IO[bytes]
    pending: list[Batch]
    deadline: float
    buffer: bytes = field(default=b"")

    def advance(self) -> None:
        """Take one mutant from the pending ones."""
        kind, start, stop = self.pending[0]
        self.pending[:1] = [(kind, start + 1, stop)] if start + 1 < stop else []


def run(
    jobs: Sequence[Sequence[Batch]], seed: str, processes: int, until: float = float("inf")
) -> Iterator[Outcome]:
    """Outcomes of all mutants of ``jobs``, as they come.

    Args:
        jobs: Lists of batches; each list is for one process.
        seed: Seed of the mutants, or ``corpus``.
        processes: Number of processes at a time.
        until: Time (`time.monotonic`) from which no new job begins.
    """
    waiting = [list(job) for job in jobs]
    slow: set[tuple[str, int]] = set()
    workers: list[_Worker] = []
    with ExitStack() as stack:
        selector = stack.enter_context(selectors.DefaultSelector())
        stack.callback(lambda: [_end(worker) for worker in workers])
        while workers or (waiting and time.monotonic() < until):
            while waiting and len(workers) < processes and time.monotonic() < until:
                workers.append(_start(waiting.pop(0), seed))
                selector.register(workers[-1].process.stdout, selectors.EVENT_READ, workers[-1])  # type: ignore[arg-type]
            for key, _ in selector.select(1.0):
                yield from _read(key.data)
            for worker in list(workers):
                word = _ended(worker)
                if word is None:
                    continue
                selector.unregister(worker.process.stdout)  # type: ignore[arg-type]
                workers.remove(worker)
                yield from _read(worker)
                _end(worker)
                if not worker.pending:
                    continue
                kind, number, _ = worker.pending[0]
                if word == "hang" and (kind, number) not in slow:  # the machine may be busy
                    slow.add((kind, number))
                else:
                    yield Outcome(
                        kind, number, word, _last_words(worker, word), SECONDS * (word == "hang")
                    )
                    worker.advance()
                if worker.pending:
                    waiting.insert(0, worker.pending)


def _start(job: list[Batch], seed: str) -> _Worker:
    errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the worker
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join((str(_ROOT), str(_ROOT / "tests"))),
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "PYTHONHASHSEED": "0",
    }
    ranges = [":".join(map(str, batch)) for batch in job]
    process = subprocess.Popen(
        [sys.executable, "-m", "fuzz.worker", seed, *ranges],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, env=environment, cwd=_ROOT,
        start_new_session=True,
    )  # fmt: skip
    os.set_blocking(process.stdout.fileno(), False)  # type: ignore[union-attr]
    return _Worker(process, errors, list(job), time.monotonic() + _START)


def _read(worker: _Worker) -> Iterator[Outcome]:
    """The outcomes that the worker has printed since the last call."""
    stream = worker.process.stdout
    while stream is not None and (data := stream.read(1 << 16)):
        worker.buffer += data
    *lines, worker.buffer = worker.buffer.split(b"\n")
    for line in lines:
        worker.deadline = time.monotonic() + SECONDS + _GRACE
        if line.startswith(b"{"):
            worker.advance()
            yield Outcome.from_line(line.decode())


def _ended(worker: _Worker) -> Word | None:
    """died: the process is gone. hang: it says nothing for too long. None: it works."""
    if worker.process.poll() is not None:
        return "died"
    return "hang" if time.monotonic() > worker.deadline else None


def _end(worker: _Worker) -> None:
    """End the worker and the processes that it started."""
    if worker.process.poll() is None:
        os.killpg(worker.process.pid, signal.SIGKILL)
    worker.process.wait()


def _last_words(worker: _Worker, word: Word) -> str:
    worker.errors.seek(0)
    tail = worker.errors.read()[-1500:].decode("utf-8", "replace")
    return f"exit {worker.process.returncode}: {tail}" if word == "died" else tail


def batches(counts: dict[str, int], size: int) -> list[list[Batch]]:
    """Jobs of at most ``size`` mutants of one kind; kinds take turns."""
    jobs = [
        (start / count, (kind, start, min(start + size, count)))
        for kind, count in counts.items()
        for start in range(0, count, size)
    ]
    return [[batch] for _, batch in sorted(jobs)]


Report = Callable[[Outcome], None]
