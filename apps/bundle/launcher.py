"""Run the models of this bundle with the package versions in requirements.txt.

python3 run.py install                    create .venv, install packages, run the self-test
python3 run.py self-test                  compare logits with the expected ones
python3 run.py classify PHOTO...          classes of photos, one JSON line per photo
python3 run.py watch FOLDER               classify each new photo in FOLDER
python3 run.py camera [OPTION...]         classify live; options of 'edge-effnet camera'
python3 run.py service watch FOLDER       print a systemd unit for 'watch'
python3 run.py service camera [OPTION...] print a systemd unit for 'camera'
python3 run.py service rpicam [OPTION...] print the unit of rpicam-vid (Pi Camera Module)

Without --model FILE, the first model in bundle.json is used.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import pwd
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edge_effnet.card import ModelCard

HERE = Path(__file__).resolve().parent
PYTHON = HERE / ".venv" / "bin" / "python"


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit code: 0 done, 1 the self-test failed, 2 bad input."""
    command_line = sys.argv[1:] if arguments is None else arguments
    options, passed_on = parse(command_line)
    bundle = json.loads((HERE / "bundle.json").read_text())
    if options.command == "install":
        return install(bundle)
    try:
        from edge_effnet.commands.argument_names import in_options
        from edge_effnet.errors import EdgeEffNetError
        from edge_effnet.printable import message
    except ImportError:
        return start_again(command_line)
    trust(bundle)
    try:
        if options.command == "self-test":
            return self_test(bundle, options.threads)
        if options.command == "camera":
            return camera(bundle, passed_on)
        if options.command == "service":
            return service(bundle, options.job, passed_on)
        model = HERE / "models" / (options.model or bundle["models"][0]["file"])
        photos = (
            watch(options.folder, options.once) if options.command == "watch" else options.photos
        )
        return predict(model, photos, options)
    except (EdgeEffNetError, OSError) as error:
        print(message(f"error: {in_options(str(error))}"), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def trust(bundle: dict[str, Any]) -> None:
    """Let this process open the bundle's own files, which were opened when it was made.

    They need no child process, whose start takes seconds on a small board.
    """
    from edge_effnet.runtime import known_files

    for digest in bundle["digests"]:
        known_files.trust(digest)


def parse(arguments: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """The parsed command, and the options to pass on; exits with code 2 on bad usage."""
    parser = argparse.ArgumentParser(
        prog="run.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("install")
    commands.add_parser("self-test").add_argument("--threads", type=count)
    for name in ("classify", "watch"):
        command = commands.add_parser(name)
        command.add_argument("--model", help="a file in models/")
        command.add_argument("--threads", type=count, help="default: one per core")
        command.add_argument("--top", type=count, default=3, help="number of classes (3)")
        command.add_argument(
            "--min-confidence",
            type=float,
            help="least probability of an answer (0.35 of 1000 classes, 0.48 of 5)",
        )
        command.add_argument(
            "--threshold",
            type=float,
            default=0.5,
            help="least probability of a multi-label file's label (0.5)",
        )
        if name == "watch":
            command.add_argument("folder", type=Path)
            command.add_argument("--once", action="store_true", help="end after the last photo")
        else:
            command.add_argument("photos", nargs="+", metavar="PHOTO")
    commands.add_parser("camera", add_help=False)
    command = commands.add_parser("service", add_help=False)
    command.add_argument("job", choices=["watch", "camera", "rpicam"])
    options, passed_on = parser.parse_known_args(arguments)
    if passed_on and options.command not in ("camera", "service"):
        parser.error(f"{options.command} does not take {' '.join(passed_on)}")
    return options, passed_on


def count(text: str) -> int:
    """A number of at least 1, for argparse."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return number


def install(bundle: dict[str, Any]) -> int:
    """Create the environment .venv beside this file and run the self-test with it."""
    cause = obstacle(bundle)
    if cause:
        print(f"error: {cause}", file=sys.stderr)
        return 2
    system = ["--system-site-packages"] if bundle["system_packages"] else []
    pip = ["-m", "pip", "install", "--disable-pip-version-check"]
    steps = (
        (
            [sys.executable, "-m", "venv", *system, str(PYTHON.parents[1])],
            "the environment .venv could not be created; remove .venv and try again",
        ),
        (
            [str(PYTHON), *pip, "--requirement", "requirements.txt"],
            "pip could not install the packages, for the reason above; check that the board is "
            "online and has free space (df -h .), and run the same command again",
        ),
    )
    for command, failure in steps:
        if subprocess.run(command, cwd=HERE, check=False).returncode:  # noqa: S603
            print(f"error: {failure}", file=sys.stderr)
            return 2
    command = [str(PYTHON), str(HERE / "run.py"), "self-test"]
    return subprocess.run(command, check=False).returncode  # noqa: S603


def obstacle(bundle: dict[str, Any]) -> str:
    """Why this machine cannot install the bundle, with advice; empty if it can."""
    machine = platform.machine()
    if machine == "aarch64" and struct.calcsize("P") == 4:
        machine = "armv7l"  # 32-bit Python on a 64-bit kernel
    board = f"{platform.system().lower()}-{machine}"
    if board != bundle["board"]:
        return f"this bundle is for {bundle['board']} and this machine is {board}; make another one"
    if sys.version_info < (3, 11):
        return f"Python {platform.python_version()} is too old; the packages need 3.11"
    if bundle["system_packages"] and sys.version_info[:2] != (3, 11):
        return f"the runtime is built for Python 3.11 alone, not {platform.python_version()}"
    if not os.access(HERE, os.W_OK):
        user = pwd.getpwuid(os.geteuid()).pw_name
        return (
            f"{user} cannot write to {HERE}, which belongs to {owner(HERE)}; "
            f"type: sudo chown -R {user}: '{HERE}'"
        )
    modules = {"python3-venv": "ensurepip", "python3-numpy": "numpy", "python3-pil": "PIL"}
    wanted = ["python3-venv", *bundle["system_packages"]]
    missing = [name for name in wanted if importlib.util.find_spec(modules[name]) is None]
    if missing:
        names = " ".join(missing)
        return f"Debian packages are missing: {names}; type: sudo apt install {names}"
    return ""


def owner(path: Path) -> str:
    """Name of the owner of ``path``, or the user id if it has no name."""
    number = path.stat().st_uid
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def start_again(arguments: list[str]) -> int:
    """Run this file again with the Python of .venv; without .venv, print how to install."""
    if PYTHON.exists() and Path(sys.prefix) != PYTHON.parents[1]:
        os.execv(PYTHON, [str(PYTHON), str(HERE / "run.py"), *arguments])  # noqa: S606
    print(f"error: not installed yet; type: python3 {HERE / 'run.py'} install", file=sys.stderr)
    return 2


def self_test(bundle: dict[str, Any], threads: int | None) -> int:
    """Run every model on the test pictures and print one line per model."""
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


def predict(model: Path, photos: Any, options: argparse.Namespace) -> int:
    """Print one JSON line per photo: time, file, best class, and the ``--top`` classes.

    ``answer`` is the best class, or null below ``--min-confidence``. For a multi-label network,
    ``labels`` replaces all of them: the labels from ``--threshold`` on.
    """
    import edge_effnet
    from edge_effnet.answers import Rule
    from edge_effnet.errors import ImageError

    rule = Rule(options.min_confidence, options.threshold)
    classify = edge_effnet.open(model, threads=options.threads)
    least = rule.least_confidence(len(classify.card.labels))
    code = 0
    for photo in photos:
        began = time.perf_counter()
        try:
            best = classify(photo, top=options.top, threshold=rule.threshold)
        except ImageError as error:
            print(f"left out: {error}", file=sys.stderr, flush=True)
            code = 2
            continue
        line = {
            "time": datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
            "file": str(photo),
            "ms": round((time.perf_counter() - began) * 1000, 1),
            **classes_of(best, classify.card, least),
        }
        print(json.dumps(line), flush=True)
    return code


def classes_of(best: list[tuple[str, float]], card: ModelCard, least: float) -> dict[str, Any]:
    """A photo's classes as part of its line."""
    key = "value" if card.output_activation == "none" else "probability"
    classes: list[dict[str, Any]] = [
        {"label": label, key: round(value, 4)} for label, value in best
    ]
    if card.multi_label:
        return {"labels": classes}
    if card.output_activation == "none":
        return {**classes[0], "top": classes}
    answer = classes[0] if best[0][1] >= least else None
    return {**classes[0], "answer": answer, "top": classes}


def watch(folder: Path, once: bool, every: float = 0.5) -> Iterator[Path]:
    """Yield each photo of ``folder`` once its size is stable, and again after each change."""
    from edge_effnet.photo_files import HEIF_SUFFIXES, SUFFIXES

    last_states: dict[Path, tuple[float, int]] = {}
    named: dict[Path, tuple[float, int]] = {}
    folder.mkdir(parents=True, exist_ok=True)
    while True:
        now = {}
        for path in sorted(folder.iterdir()):
            if path.suffix.lower() in SUFFIXES | HEIF_SUFFIXES and not path.name.startswith("."):
                with suppress(FileNotFoundError):  # another program removed or renamed the photo
                    status = path.stat()
                    now[path] = (status.st_mtime, status.st_size)
        named = {path: state for path, state in named.items() if path in now}
        for path, state in now.items():
            if last_states.get(path) == state and named.get(path) != state:
                named[path] = state
                yield path
        if once and all(named.get(path) == state for path, state in now.items()):
            return
        last_states = now
        time.sleep(every)


def camera(bundle: dict[str, Any], options: list[str]) -> int:
    """Run ``edge-effnet camera`` on the first model; by default with the preview page."""
    from edge_effnet import cli

    cli.main(camera_arguments(bundle, options))
    return 0


def camera_arguments(bundle: dict[str, Any], options: list[str]) -> list[str]:
    """Command line of the camera; raises `UsageError` for a bundle without camera."""
    from edge_effnet.errors import UsageError

    if not bundle["camera"]:
        raise UsageError(
            "this bundle has no camera; make it with: edge-effnet bundle --with camera"
        )
    model = HERE / "models" / bundle["models"][0]["file"]
    return ["camera", str(model), "--preview", "http", *options]


def service(bundle: dict[str, Any], job: str, options: list[str]) -> int:
    """Print the systemd unit that runs ``job`` in the current folder, as the bundle's owner."""
    from edge_effnet.apps.bundle import service as systemd

    folder, user = str(Path.cwd()), owner(HERE)
    python = (str(PYTHON), str(HERE / "run.py"))
    if job == "rpicam":
        text = systemd.rpicam(options, folder, user)
    elif job == "watch":
        parse(["watch", *options])
        description = "Predictions for new photos (edge-effnet)"
        text = systemd.unit(description, (*python, "watch", *options), folder, user)
    else:
        options = ["--bind", "0.0.0.0", "--wait", *options]  # noqa: S104
        check_camera(camera_arguments(bundle, options))
        description = "Live predictions on a page (edge-effnet)"
        text = systemd.unit(description, (*python, "camera", *options), folder, user, group="video")
    print(text, end="")
    return 0


def check_camera(arguments: list[str]) -> None:
    """Raise `UsageError` for invalid options of the camera."""
    import click

    from edge_effnet.answers import Rule
    from edge_effnet.apps.camera.answers.on_answer import action_of
    from edge_effnet.commands.camera import camera as command
    from edge_effnet.errors import UsageError

    try:
        parameters = command.make_context("camera", arguments[1:]).params
    except click.UsageError as error:
        raise UsageError(error.format_message()) from error
    Rule(*(parameters[name] for name in ("min_confidence", "threshold", "smoothing")))
    if parameters["on_answer"] is not None:
        action_of(parameters["on_answer"])


if __name__ == "__main__":
    sys.exit(main())
