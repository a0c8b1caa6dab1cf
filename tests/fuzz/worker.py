"""Worker process: reads mutants one by one, and prints a line of each outcome.

python -m fuzz.worker SEED KIND:START:STOP ...   mutants
python -m fuzz.worker corpus KIND:START:STOP ... files of the corpus
"""

from __future__ import annotations

import os
import random
import resource
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from fuzz import tiny
from fuzz.outcome import MEMORY, SECONDS, Outcome, Word

_MOST = 3 << 30  # bytes of memory that the worker may have
_CLOSE = 6  # lines at the end of a traceback


def main(seed: str, *ranges: str) -> None:
    output = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what runtimes print
    tiny.install()
    from fuzz.child import ForkServer

    server = ForkServer()
    resource.setrlimit(resource.RLIMIT_DATA, (_MOST, resource.RLIM_INFINITY))
    from edge_effnet import limits
    from fuzz import corpus, kinds

    limits.run = server.run
    if seed != "corpus":
        for text in ranges:  # takes longer than a mutant may
            kinds.KINDS[text.partition(":")[0]].mutant(random.Random(0))
    print("ready", file=output, flush=True)
    with tempfile.TemporaryDirectory(prefix="edge-effnet-fuzz-") as folder:
        os.environ["XDG_CACHE_HOME"] = str(Path(folder, "cache"))
        work = Path(folder, "work")
        for text in ranges:
            kind, start, stop = text.split(":")
            for number in range(int(start), int(stop)):
                entry = (
                    corpus.entries(kind)[number].files
                    if seed == "corpus"
                    else kinds.mutant(kind, number, int(seed))
                )
                path = write(entry, work)
                outcome = observe(kind, number, path, kinds.KINDS[kind].read)
                shutil.rmtree(work)
                print(outcome.to_line(), file=output, flush=True)
    print("done", file=output, flush=True)
    output.close()
    os._exit(0)  # runtimes' threads and destructors are no part of it


def write(seed: object, folder: Path) -> Path:
    """Write a seed's files into an empty ``folder``; returns the path of the first."""
    paths = []
    for name, data in seed.items():  # type: ignore[attr-defined]
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        paths.append(path)
    return paths[0]


def observe(kind: str, number: int, path: Path, read: Callable[[Path], None]) -> Outcome:
    """Read ``path`` and note what it costs."""
    from edge_effnet.errors import EdgeEffNetError
    from fuzz.readers import Differs

    word: Word = "opens"
    message = ""
    _reset_peak()
    start = time.perf_counter()
    try:
        read(path)
    except EdgeEffNetError as error:
        word, message = "refused", str(error)
    except Differs as error:
        word, message = "differs", str(error)
    except (Exception, SystemExit):
        lines = traceback.format_exc().splitlines()
        word, message = "traceback", "\n".join(lines[-_CLOSE:])
    seconds, memory = time.perf_counter() - start, _peak()
    if word in ("opens", "refused"):
        if memory > MEMORY:
            word, message = "memory", f"{memory >> 20} MB; {message}"
        elif seconds > SECONDS:
            word, message = "hang", f"{seconds:.1f} s; {message}"
    return Outcome(kind, number, word, message, round(seconds, 4), memory)


def _reset_peak() -> None:
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")


def _peak() -> int:
    """Peak resident memory since `_reset_peak`, in bytes."""
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM"))


if __name__ == "__main__":
    main(*sys.argv[1:])
