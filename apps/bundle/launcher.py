"""Runs this bundle: the models beside this file, with what requirements.txt pins.

python3 run.py install                 make .venv, install the packages, run the self-test
python3 run.py self-test               known pixels -> the expected logits
python3 run.py classify PHOTO...       what is in the photos
python3 run.py watch FOLDER            name each new photo in FOLDER, one JSON line each

The first model of bundle.json runs unless --model FILE says otherwise.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PYTHON = HERE / ".venv" / "bin" / "python"


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit code: 0 done, 1 the self-test failed, 2 bad input."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=["install", "self-test", "classify", "watch"])
    parser.add_argument("paths", nargs="*", help="photos, or the folder to watch")
    parser.add_argument("--model", help="a file in models/")
    parser.add_argument("--threads", type=int, help="default: one a core")
    parser.add_argument("--top", type=int, default=3)
    parser.add_argument("--once", action="store_true", help="watch: end when all are named")
    given = parser.parse_args(arguments)
    bundle = json.loads((HERE / "bundle.json").read_text())
    if given.command == "install":
        return install(bundle)
    try:
        from edge_effnet.errors import EdgeEffNetError
    except ImportError:
        return start_again(sys.argv[1:] if arguments is None else arguments)
    try:
        if given.command == "self-test":
            return self_test(bundle, given.threads)
        if not given.paths:
            parser.error(f"{given.command} needs a path")
        model = HERE / "models" / (given.model or bundle["models"][0]["file"])
        photos = (
            watch(Path(given.paths[0]), given.once) if given.command == "watch" else given.paths
        )
        return name(model, photos, given.top, given.threads)
    except EdgeEffNetError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def install(bundle: dict[str, Any]) -> int:
    """Make the environment beside this file and run the self-test in it."""
    system = ["--system-site-packages"] if bundle["system_packages"] else []
    steps = (
        [sys.executable, "-m", "venv", *system, str(PYTHON.parents[1])],
        [str(PYTHON), "-m", "pip", "install", "--requirement", "requirements.txt"],
        [str(PYTHON), str(HERE / "run.py"), "self-test"],
    )
    for step in steps:
        code = subprocess.run(step, cwd=HERE, check=False).returncode  # noqa: S603
        if code:
            packages = " ".join(["python3-venv", *bundle["system_packages"]])
            print(
                f"failed: {' '.join(step)}\n(Debian packages needed: {packages})", file=sys.stderr
            )
            return code
    return 0


def start_again(arguments: list[str]) -> int:
    """Run under the environment that `install` made; only says what to type if there is none."""
    if not PYTHON.exists() or Path(sys.prefix) == PYTHON.parents[1]:
        print(f"error: not installed yet; type: python3 {HERE / 'run.py'} install", file=sys.stderr)
        return 2
    command = [str(PYTHON), str(HERE / "run.py"), *arguments]
    return subprocess.run(command, check=False).returncode  # noqa: S603


def self_test(bundle: dict[str, Any], threads: int | None) -> int:
    """Run every model on the known pictures and print one line a model."""
    import edge_effnet
    from edge_effnet.apps.bundle import selftest

    passed = True
    for entry in bundle["models"]:
        classifier = edge_effnet.open(HERE / "models" / entry["file"], threads=threads)
        outcome = selftest.check(classifier, selftest.Expectation(**entry))
        passed &= outcome.passed
        print(
            f"{'passed' if outcome.passed else 'FAILED'}: {outcome.file}: pixels "
            f"{_same(outcome.pixels_identical)}, logits {_same(outcome.logits_identical)} "
            f"(largest difference {outcome.difference:.3g}, allowed {entry['tolerance']:.3g}); "
            f"{outcome.runtime}"
        )
    return 0 if passed else 1


def _same(identical: bool) -> str:
    return "identical" if identical else "different"


def name(model: Path, photos: Any, top: int, threads: int | None) -> int:
    """Print one JSON line for each photo: its file, the names, and the milliseconds it took."""
    import edge_effnet
    from edge_effnet.errors import ImageError

    classify = edge_effnet.open(model, threads=threads)
    code = 0
    for photo in photos:
        began = time.perf_counter()
        try:
            best = classify(photo, top=top)
        except ImageError as error:
            print(f"left out: {error}", file=sys.stderr, flush=True)
            code = 2
            continue
        line = {
            "file": str(photo),
            "top": [{"label": label, "probability": round(share, 4)} for label, share in best],
            "ms": round((time.perf_counter() - began) * 1000, 1),
        }
        print(json.dumps(line), flush=True)
    return code


def watch(folder: Path, once: bool, every: float = 0.5) -> Iterator[Path]:
    """Each photo of ``folder`` once, when it has stopped growing; again if it is written anew."""
    from edge_effnet.preprocess import SUFFIXES

    seen: dict[Path, tuple[float, int]] = {}
    named: dict[Path, tuple[float, int]] = {}
    folder.mkdir(parents=True, exist_ok=True)
    while True:
        now = {}
        for path in sorted(folder.iterdir()):
            if path.suffix.lower() in SUFFIXES and not path.name.startswith("."):
                status = path.stat()
                now[path] = (status.st_mtime, status.st_size)
        for path, state in now.items():
            if seen.get(path) == state and named.get(path) != state:
                named[path] = state
                yield path
        if once and all(named.get(path) == state for path, state in now.items()):
            return
        seen = now
        time.sleep(every)


if __name__ == "__main__":
    sys.exit(main())
