"""Where the steps of a sweep run: Processes of this machine, or a Cluster of Dask workers.

Both take a dict of steps by key and give (key, result) as they are finished, in any order.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import re
import signal
import threading
from collections.abc import Generator, Iterator, Mapping
from concurrent.futures import CancelledError, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from edge_effnet.benchmarks.latency.host import thread_variables, usable_cores
from edge_effnet.benchmarks.sweep.tasks import Step, look, run
from edge_effnet.errors import DeviceError, UsageError, require
from edge_effnet.version import VERSION

_CONNECT = 10.0  # seconds
_ADDRESS = re.compile(r"(tcp|tls|ws|wss)://[^\s/]+:\d+/?")
_KILLED = "its process was killed (out of memory?)"

Finished = Generator[tuple[str, dict[str, Any]], None, None]


class Pool(Protocol):
    """Runs steps; ``threads`` is how many each may use."""

    threads: int

    def run(self, steps: Mapping[str, Step]) -> Finished:
        """The result of each, as they are finished."""
        ...


class Processes:
    """``workers`` processes of this machine, which share its cores and die with this process."""

    def __init__(self, workers: int) -> None:
        cores = len(usable_cores())
        if workers < 1:
            raise UsageError(f"{workers} workers do no work", hint="give workers=1 or more")
        self.workers = workers
        self.threads = max(1, cores // workers)

    def run(self, steps: Mapping[str, Step]) -> Finished:
        """As `Pool.run`. A step whose process dies twice has failed; the others go on."""
        left = dict(steps)
        count = min(self.workers, len(left))
        while left:
            yield from self._together(left, count)
            # A pool breaks as a whole: those that ran then, the first ones, are tried alone.
            for key in list(left)[: count + 1]:
                with self._executor(1) as executor:
                    try:
                        result = executor.submit(run, left[key]).result()
                    except BrokenProcessPool:
                        result = {"failed": _KILLED, "seconds": 0.0}
                del left[key]
                yield key, result

    def _together(self, left: dict[str, Step], count: int) -> Finished:
        """Run ``left`` in ``count`` processes, taking out what is done, until one of them dies."""
        with self._executor(count) as executor:
            futures = {executor.submit(run, step): key for key, step in left.items()}
            for future in as_completed(futures):
                try:
                    result = future.result()
                except BrokenProcessPool:
                    continue
                del left[futures[future]]
                yield futures[future], result

    @contextmanager
    def _executor(self, workers: int) -> Iterator[ProcessPoolExecutor]:
        """New processes: nothing of this one's threads and runtimes is forked into them."""
        context = multiprocessing.get_context("spawn")
        bounds = thread_variables(self.threads)
        before = {name: os.environ.get(name) for name in bounds}
        os.environ.update(bounds)
        executor = ProcessPoolExecutor(workers, context, initializer=_die_with_parent)
        try:
            yield executor
        except BaseException:
            for process in list((executor._processes or {}).values()):
                process.kill()
            raise
        finally:
            executor.shutdown(cancel_futures=True)
            for name, value in before.items():
                os.environ.pop(name, None)
                os.environ.update({} if value is None else {name: value})


class Cluster:
    """The workers behind a Dask scheduler, which see the same folders under the same names."""

    def __init__(self, address: str, folder: Path) -> None:
        """Connect to ``address`` (tcp://HOST:PORT) and compare the workers with this process.

        ``folder`` is one that both must see. Raises `DeviceError` if nobody answers or the workers
        are of no use, `UsageError` for an address that is none, `MissingExtra` without distributed.
        """
        self._dask = require("distributed", "cluster")
        _quieten("distributed")
        if not _ADDRESS.fullmatch(address):
            raise UsageError(f"{address} is no address of a Dask scheduler; give tcp://HOST:PORT")
        try:
            self._client = self._dask.Client(address, timeout=_CONNECT, set_as_default=False)
        except (OSError, TimeoutError) as error:
            raise DeviceError(
                f"no Dask scheduler answers at {address} within {_CONNECT:g} s; start one with "
                "'dask scheduler' and workers with 'dask worker'"
            ) from error
        self.address = address
        self.threads = 1
        try:
            self._check(folder)
        except BaseException:
            self.close()
            raise

    def run(self, steps: Mapping[str, Step]) -> Finished:
        """As `Pool.run`. The steps of a worker that is lost are given to another."""
        futures = {
            self._client.submit(run, step, key=f"{key} {os.urandom(4).hex()}", pure=False): key
            for key, step in steps.items()
        }
        lost = DeviceError(
            f"the connection to the Dask scheduler {self.address} was lost; what is done is kept: "
            "run the same command again when it is back"
        )
        try:
            for future in self._dask.as_completed(list(futures), loop=self._client.loop):
                if future.status == "lost" or future.cancelled():
                    raise lost
                error = future.exception() if future.status == "error" else None
                if isinstance(error, self._dask.scheduler.KilledWorker):
                    yield futures[future], {"failed": _KILLED, "seconds": 0.0}
                elif error is not None:
                    raise DeviceError(f"the Dask worker cannot run a step: {error}") from error
                else:
                    yield futures[future], future.result()
        except (CancelledError, OSError, TimeoutError) as error:  # CommClosedError is an OSError
            raise lost from error
        finally:
            self._client.cancel(list(futures), force=True, reason="the sweep ended")

    def close(self) -> None:
        """Leave the cluster as it was."""
        self._client.close(timeout=_CONNECT)

    def _check(self, folder: Path) -> None:
        """Raise `DeviceError` unless there are workers of our release that see ``folder``."""
        token = folder / f".token-{os.urandom(4).hex()}"
        token.write_text(VERSION, "utf-8")
        try:
            answers = self._client.run(_answer, str(token), on_error="return")
        finally:
            token.unlink(missing_ok=True)
        if not answers:
            raise DeviceError(
                f"the Dask scheduler {self.address} has no worker; start some with 'dask worker "
                f"{self.address} --nthreads 1'"
            )
        for worker, answer in answers.items():
            if isinstance(answer, BaseException):
                raise DeviceError(
                    f"the Dask worker {worker} cannot take part ({answer}); install edge-effnet "
                    f"{VERSION} there and share the folder {folder} with it under the same name"
                )
            if answer != [VERSION, VERSION]:
                raise DeviceError(
                    f"the Dask worker {worker} has edge-effnet {answer[0]}, this is {VERSION}; "
                    "install the same release on both"
                )


def _quieten(package: str) -> None:
    """Silence a package's own log: what goes wrong is told in our words, which it would bury."""
    for name in [package, *logging.root.manager.loggerDict]:
        if name.partition(".")[0] == package:
            logger = logging.getLogger(name)
            logger.handlers = [logging.NullHandler()]
            logger.propagate = False


def _answer(token: str) -> list[str]:
    """Runs in a worker: its release, and what it reads in a file of ours."""
    from edge_effnet.version import VERSION as THEIRS

    return [THEIRS, look(token)]


def _die_with_parent() -> None:
    """Runs in a process of a pool: end it when the one that began it is gone, however that went.

    Ctrl-C is that one's to handle.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None  # noqa: S101  (it is a child)

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
