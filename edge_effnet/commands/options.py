"""Options that several commands share, and what their values mean."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge_effnet.errors import UsageError

if TYPE_CHECKING:
    from edge_effnet.preprocess import Preprocess

_SIDE = click.IntRange(1)


def split(value: str) -> list[str]:
    """The items of a comma-separated list."""
    return [item.strip() for item in value.split(",") if item.strip()]


def _json_target(context: click.Context, option: click.Parameter, path: str | None) -> str | None:
    """``-`` for stdout by its other name; refuses what a finished file must not replace."""
    if path == "/dev/stdout":
        return "-"
    if path is not None and os.path.exists(path) and not os.path.isfile(path):
        raise UsageError(f"--json {path} is not a file; give the path of a file, or - for stdout")
    return path


json_option = click.option(
    "--json",
    "json_to",
    metavar="PATH",
    callback=_json_target,
    help="Write JSON to PATH, or - for stdout.",
)


def without_weights(paths: Sequence[str]) -> tuple[str, ...]:
    """The paths without each OpenVINO ``.bin`` whose ``.xml`` is among them.

    A shell's ``out/*int8*`` gives both files of one model.
    """
    models = {path.with_suffix("") for path in map(Path, paths) if path.suffix.lower() == ".xml"}

    def is_weights(path: Path) -> bool:
        return path.suffix.lower() == ".bin" and path.with_suffix("") in models

    return tuple(path for path in paths if not is_weights(Path(path)))


def model_files_argument(
    name: str = "files", metavar: str | None = None
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The argument of commands that take any number of model files."""

    def callback(
        context: click.Context, argument: click.Parameter, paths: tuple[str, ...]
    ) -> tuple[str, ...]:
        return without_weights(paths)

    return click.argument(name, nargs=-1, required=True, metavar=metavar, callback=callback)


def preprocess_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options that describe the input of a file without a card."""
    options = (
        click.option("--size", type=_SIDE, help="Input side in pixels, for a file without a card."),
        click.option("--crop", type=float, help="Share of the short side to crop [1.0]."),
        click.option("--mean", default=None, help="Mean in pixel units, R,G,B or one number."),
        click.option("--std", default=None, help="Deviation in pixel units, R,G,B or one number."),
        _resizing("--crop-mode", ["center", "squash", "border"], "How photos are made square."),
        _resizing("--interpolation", ["bicubic", "bilinear", "nearest"], "Filter of the resize."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def _resizing(name: str, choices: Sequence[str], text: str) -> Callable[..., Any]:
    """An option that `preprocess_of` finds in the context."""

    def keep(context: click.Context, option: click.Parameter, value: str | None) -> None:
        context.meta[name] = value

    return click.option(
        name,
        type=click.Choice(choices),
        expose_value=False,
        callback=keep,
        help=f"{text}  [{choices[0]}]",
    )


def preprocess_of(
    size: int | None, crop: float | None, mean: str | None, std: str | None
) -> Preprocess | None:
    """The `Preprocess` that the options describe; None if none was given."""
    context = click.get_current_context(silent=True)
    mode, interpolation = (
        context.meta.get(name) if context else None for name in ("--crop-mode", "--interpolation")
    )
    if all(each is None for each in (size, crop, mean, std, mode, interpolation)):
        return None
    if size is None or mean is None or std is None:
        raise UsageError("--size, --mean and --std describe the input together: give all three")
    if crop is not None and not 0 < crop <= 1:
        raise UsageError(f"--crop {crop:g} is no share of the short side, above 0 and up to 1")
    from edge_effnet.preprocess import Preprocess

    means, deviations = channels("--mean", mean), channels("--std", std)
    return Preprocess(
        size, crop or 1.0, interpolation or "bicubic", means, deviations, mode or "center"
    )


def channels(option: str, text: str) -> tuple[float, float, float]:
    """Three numbers from ``R,G,B`` or one; raises `UsageError`, naming ``option``."""
    try:
        values = [float(item) for item in text.split(",")]
    except ValueError:
        values = []
    usable = all(map(math.isfinite, values)) and (option == "--mean" or min(values, default=0) > 0)
    if len(values) not in (1, 3) or not usable:
        raise UsageError(f"{option} takes one number or three (R,G,B), not {text!r}")
    first, second, third = values if len(values) == 3 else values * 3
    return first, second, third


def device_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options that name the machine to measure on."""
    options = (
        click.option(
            "--device",
            "device_name",
            default="local",
            show_default=True,
            metavar="local|ssh://USER@HOST[:PORT]",
        ),
        click.option("--python", default="python3", show_default=True, help="That machine's."),
        click.option("--ssh-config", type=click.Path(exists=True), help="In place of your own."),
    )
    for option in reversed(options):
        command = option(command)
    return command
