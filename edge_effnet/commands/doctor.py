"""``edge-effnet doctor``: installed packages, and the right preprocessing of a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from edge_effnet.commands.command import Command
from edge_effnet.commands.options import json_option, threads_option
from edge_effnet.commands.terminal import progress, write, write_json
from edge_effnet.commands.vocabulary import option
from edge_effnet.errors import UsageError

if TYPE_CHECKING:
    from edge_effnet.benchmarks.accuracy.doctor import Diagnosis


@click.command(
    cls=Command,
    examples=["doctor", "doctor mine.tflite --images photos/ --labels labels.csv"],
)
@click.argument("file", required=False)
@option("--images")
@option("--labels")
@option("--split", shown="all photos")
@option("--photos", default=100)
@threads_option()
@json_option
def doctor(
    file: str | None,
    images: str | None,
    labels: str | None,
    split: str | None,
    photos: int,
    threads: int | None,
    json_to: str | None,
) -> None:
    """Show what is installed, or find a file's preprocessing.

    If a file is far less accurate than its checkpoint, wrong preprocessing is a more frequent cause
    than quantization. This command evaluates the file with all known normalisations and crops on
    labelled photos.
    """
    if file is None:
        if images or labels or split:
            raise UsageError("--images, --labels and --split are for trying a file: name one")
        text, content = _environment()
    else:
        if images is None:
            raise UsageError(
                f"trying {file} takes labelled photos: --images DIR, with --labels CSV or one "
                "folder a class"
            )
        from edge_effnet.benchmarks.accuracy.doctor import diagnose

        with progress() as report:
            diagnosis = diagnose(
                file, images, labels, split, photos=photos, threads=threads, progress=report
            )
        text, content = _sheet(diagnosis), diagnosis.as_json()
    if json_to != "-":
        write(text + "\n")
    if json_to:
        write_json(content, json_to)


def _sheet(diagnosis: Diagnosis) -> str:
    lines = [f"{diagnosis.file} on {diagnosis.photos} photos", ""]
    width = max(len(trial.convention.describe(trial.step)) for trial in diagnosis.trials)
    step = ""
    for trial in diagnosis.trials:
        head = "" if trial.step == step else trial.step
        step = trial.step
        mark = "*" if trial is diagnosis.best else " "
        description = trial.convention.describe(trial.step)
        lines.append(f"{head:<14}{mark}{trial.top1:6.1%}  {description:<{width}}  {trial.users}")
    return "\n".join([*(line.rstrip() for line in lines), "", diagnosis.summary])


def _environment() -> tuple[str, dict[str, Any]]:
    import platform

    from edge_effnet import environment
    from edge_effnet.benchmarks.latency import host
    from edge_effnet.version import VERSION

    machine, extras = host.describe(), environment.extras()
    dots = "has" if host.has_dot_product(machine.features) else "has no"
    lines = [
        f"edge-effnet {VERSION}, Python {platform.python_version()}, {machine.system}",
        f"{machine.cpu}, {machine.cores} cores; it {dots} 8-bit dot products",
        "",
    ]
    notes: list[dict[str, Any]] = []
    for extra in extras:
        lacking = environment.missing(extra, extras)
        parts = [*(f"[{name}]" for name in extra.includes)]
        for package in extra.packages:
            state = "not installed" if package.version is None else package.version
            parts.append(f"{package.name} {state}{' is broken' if package.fault else ''}")
        lines.append(f"{'missing' if lacking else 'ready':<9}{extra.name:<19}{', '.join(parts)}")
        lines += [f"{'':<28}{item.name}: {item.fault}" for item in lacking if item.fault]
        if lacking:
            lines.append(f"{'':<28}{extra.install}")
        notes.append(
            {
                "extra": extra.name,
                "ready": not lacking,
                "includes": list(extra.includes),
                "packages": [
                    {"name": item.name, "version": item.version, "fault": item.fault}
                    for item in extra.packages
                ],
                "install": extra.install,
            }
        )
    content = {
        "version": VERSION,
        "python": platform.python_version(),
        "system": machine.system,
        "cpu": machine.cpu,
        "cores": machine.cores,
        "features": list(machine.features),
        "extras": notes,
    }
    return "\n".join(lines), content
