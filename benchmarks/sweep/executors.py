"""Executors of a sweep's tasks: processes of this machine, or Dask workers.

Both executors take a mapping of tasks and yield (key, result) in order of completion.
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
from edge_effnet.benchmarks.sweep.tasks import Task, look, run
from edge_effnet.errors import DeviceError, UsageError, require
from edge_effnet.version import VERSION

_CONNECT = 10.0  # seconds
_ADDRESS = re.compile(r"(tcp|tls|ws|wss)://[^\s/]+:\d+/?")
_KILLED = "its process was killed (out of memory?)"

Finished = Generator[tuple[str, dict[str, Any]], None, None]


class Executor(Protocol):
    """Runs tasks, each with at most ``threads`` threads."""

    threads: int

    def run(self, tasks: Mapping[str, Task]) -> Finished:
        """Run ``tasks``; yields (key, result) of each task in order of completion."""
        ...


class Processes:
    """``workers`` processes that share this machine's cores and exit with this process."""

    def __init__(self, workers: int) -> None:
        cores = len(usable_cores())
        if workers < 1:
            raise UsageError(f"{workers} workers do no work", hint="give workers=1 or more")
        self.workers = workers
        self.threads = max(1, cores // workers)

    def run(self, tasks: Mapping[str, Task]) -> Finished:
        """As `Executor.run`. A task whose process dies twice fails; other tasks continue."""
        pending = dict(tasks)
        count = min(self.workers, len(pending))
        while pending:
            yield from self._together(pending, count)
            # One dead process breaks the whole pool. The tasks running at that time are retried
            # alone.
            for key in list(pending)[: count + 1]:
                with self._executor(1) as executor:
                    try:
                        result = executor.submit(run, pending[key]).result()
                    except BrokenProcessPool:
                        result = {"failed": _KILLED, "seconds": 0.0}
                del pending[key]
                yield key, result

    def _together(self, pending: dict[str, Task], count: int) -> Finished:
        """Run ``pending`` in ``count`` processes until one dies, and remove the completed tasks."""
        with self._executor(count) as executor:
            futures = {executor.submit(run, task): key for key, task in pending.items()}
            for future in as_completed(futures):
                try:
                    result = future.result()
                except BrokenProcessPool:
                    continue
                del pending[futures[future]]
                yield futures[future], result

    @contextmanager
    def _executor(self, workers: int) -> Iterator[ProcessPoolExecutor]:
        """A pool of spawned processes, which inherit neither threads nor runtimes."""
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
    """Dask workers of a scheduler; they must see the same folders under the same paths."""

    def __init__(self, address: str, folder: Path) -> None:
        """Connect to the scheduler and check its workers.

        Args:
            address: tcp://HOST:PORT of the scheduler, or tls://HOST:PORT with the certificates of
                Dask's configuration.
            folder: Folder that the workers must see.

        Raises:
            DeviceError: The scheduler does not respond, or a worker cannot be used.
            UsageError: ``address`` has another form.
            MissingExtra: The package distributed is not installed.
        """
        self._dask = require("distributed", "cluster")
        _quieten("distributed")
        if not _ADDRESS.fullmatch(address):
            raise UsageError(
                f"{address} is no address of a Dask scheduler; give tcp://HOST:PORT or tls://HOST:PORT"
            )
        try:
            self._client = self._dask.Client(address, timeout=_CONNECT, set_as_default=False)
        except (RuntimeError, TypeError, ValueError) as error:  # certificates
            raise DeviceError(
                f"no connection to the Dask scheduler {address}: {error}. Certificates of tls:// "
                "are those of Dask's configuration, distributed.comm.tls.ca-file, .client.cert and "
                ".client.key"
            ) from error
        except (OSError, TimeoutError) as error:
            raise DeviceError(
                f"no Dask scheduler responds at {address} within {_CONNECT:g} s; start one with "
                "'dask scheduler' and workers with 'dask worker'"
            ) from error
        self.address = address
        self.threads = 1
        try:
            self._check(folder)
        except BaseException:
            self.close()
            raise

    def run(self, tasks: Mapping[str, Task]) -> Finished:
        """As `Executor.run`. Tasks of a lost worker run on another one."""
        futures = {
            self._client.submit(run, task, key=f"{key} {os.urandom(4).hex()}", pure=False): key
            for key, task in tasks.items()
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
                    raise DeviceError(f"the Dask worker cannot run a task: {error}") from error
                else:
                    yield futures[future], future.result()
        except (CancelledError, OSError, TimeoutError) as error:  # CommClosedError is an OSError
            raise lost from error
        finally:
            self._client.cancel(list(futures), force=True, reason="the sweep ended")

    def close(self) -> None:
        """Close the connection; the cluster continues."""
        self._client.close(timeout=_CONNECT)

    def _check(self, folder: Path) -> None:
        """Raise `DeviceError` unless workers exist, run the same release, and see ``folder``."""
        token = folder / f".token-{os.urandom(4).hex()}"
        token.write_text(VERSION, "utf-8")
        try:
            replies = self._client.run(_release, str(token), on_error="return")
        finally:
            token.unlink(missing_ok=True)
        if not replies:
            raise DeviceError(
                f"the Dask scheduler {self.address} has no worker; start some with 'dask worker "
                f"{self.address} --nthreads 1'"
            )
        for worker, reply in replies.items():
            if isinstance(reply, BaseException):
                raise DeviceError(
                    f"the Dask worker {worker} cannot take part ({reply}); install edge-effnet "
                    f"{VERSION} there and share the folder {folder} with it under the same name"
                )
            if reply != [VERSION, VERSION]:
                raise DeviceError(
                    f"the Dask worker {worker} has edge-effnet {reply[0]}, this is {VERSION}; "
                    "install the same release on both"
                )


def _quieten(package: str) -> None:
    """Silence the log of a package, whose errors already arrive as exceptions."""
    for name in [package, *logging.root.manager.loggerDict]:
        if name.partition(".")[0] == package:
            logger = logging.getLogger(name)
            logger.handlers = [logging.NullHandler()]
            logger.propagate = False


def _release(token: str) -> list[str]:
    """The worker's release of this package, and the content of the file ``token`` that it sees.

    Runs in a Dask worker.
    """
    from edge_effnet.version import VERSION as THEIRS

    return [THEIRS, look(token)]


def _die_with_parent() -> None:
    """Run in a worker process: exit when the parent ends, and ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None  # noqa: S101  (a child process has a parent)

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
