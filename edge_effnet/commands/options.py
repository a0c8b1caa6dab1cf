"""Options shared by several commands, and the parsing of their values."""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge_effnet.answers import SMOOTHING, THRESHOLD, Rule
from edge_effnet.commands.vocabulary import Decorator, option
from edge_effnet.errors import UsageError

if TYPE_CHECKING:
    from edge_effnet.preprocess import CropMode, Interpolation, Preprocess


def items(value: str) -> list[str]:
    """The items of a comma-separated list."""
    return [item.strip() for item in value.split(",") if item.strip()]


def _json_target(context: click.Context, option: click.Parameter, path: str | None) -> str | None:
    """Path of --json, with ``-`` for /dev/stdout; raises `UsageError` if it is not a file."""
    if path == "/dev/stdout":
        return "-"
    if path is not None and os.path.exists(path) and not os.path.isfile(path):
        raise UsageError(f"--json {path} is not a file; give the path of a file, or - for stdout")
    return path


json_option = option("--json", callback=_json_target)


def without_weights(paths: Sequence[str]) -> tuple[str, ...]:
    """``paths`` without every OpenVINO ``.bin`` whose ``.xml`` is also in ``paths``.

    A shell pattern such as ``out/*int8*`` matches both files of one model.
    """
    models = {path.with_suffix("") for path in map(Path, paths) if path.suffix.lower() == ".xml"}

    def is_weights(path: Path) -> bool:
        return path.suffix.lower() == ".bin" and path.with_suffix("") in models

    return tuple(path for path in paths if not is_weights(Path(path)))


def model_files_argument(
    name: str = "files", metavar: str | None = None
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The click argument for any number of model files."""

    def callback(
        context: click.Context, argument: click.Parameter, paths: tuple[str, ...]
    ) -> tuple[str, ...]:
        return without_weights(paths)

    return click.argument(name, nargs=-1, required=True, metavar=metavar, callback=callback)


def threads_option(default: int | None = None) -> Decorator:
    """``--threads``: by default one thread for latency, all cores for everything else."""
    return option(
        "--threads", default=default, shown=f"{default}, for latency" if default else "all cores"
    )


#: The default of --min-confidence, for the help.
LEAST_CONFIDENCE = ", ".join(
    f"{Rule().least_confidence(classes):.2f} of {classes:,} classes" for classes in (1000, 5, 2)
)


def rule_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of a `Rule`. ``command`` receives them as one argument ``rule``."""
    section = "Answers"
    options = (
        option("--min-confidence", section=section, shown=LEAST_CONFIDENCE),
        option("--smoothing", section=section, default=SMOOTHING),
        option("--threshold", section=section, default=THRESHOLD),
    )

    @functools.wraps(command)
    def with_rule(
        min_confidence: float | None, smoothing: float, threshold: float, **settings: Any
    ) -> None:
        command(rule=Rule(min_confidence, threshold, smoothing), **settings)

    return _with(options, with_rule)


def preprocess_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add options that describe the input of a file without a card.

    ``command`` receives these options as one argument ``preprocess``: a `Preprocess`, or None if
    the user gave no option.
    """
    section = "Input of a file without a card"
    options = (
        option("--resolution", section=section),
        option("--mean", section=section),
        option("--std", section=section),
        option("--crop", section=section, shown="1.0"),
        option("--crop-mode", section=section, shown="center"),
        option("--interpolation", section=section, shown="bicubic"),
    )

    @functools.wraps(command)
    def with_preprocess(
        resolution: int | None,
        mean: str | None,
        std: str | None,
        crop: float | None,
        crop_mode: CropMode | None,
        interpolation: Interpolation | None,
        **settings: Any,
    ) -> None:
        described = _preprocess(resolution, mean, std, crop, crop_mode, interpolation)
        command(preprocess=described, **settings)

    return _with(options, with_preprocess)


def _preprocess(
    resolution: int | None,
    mean: str | None,
    std: str | None,
    crop: float | None,
    crop_mode: CropMode | None,
    interpolation: Interpolation | None,
) -> Preprocess | None:
    if all(each is None for each in (resolution, mean, std, crop, crop_mode, interpolation)):
        return None
    if resolution is None or mean is None or std is None:
        raise UsageError(
            "--resolution, --mean and --std describe the input together: give all three"
        )
    if crop is not None and not 0 < crop <= 1:
        raise UsageError(f"--crop {crop:g} is no share of the short side, above 0 and up to 1")
    from edge_effnet.preprocess import Preprocess

    means, deviations = channels("--mean", mean), channels("--std", std)
    return Preprocess(
        resolution,
        crop or 1.0,
        interpolation or "bicubic",
        means,
        deviations,
        crop_mode or "center",
    )


def channels(option: str, text: str) -> tuple[float, float, float]:
    """Three numbers from text: ``R,G,B``, or one number for all; raises `UsageError`."""
    try:
        values = [float(item) for item in text.split(",")]
    except ValueError:
        values = []
    usable = all(map(math.isfinite, values)) and (option == "--mean" or min(values, default=0) > 0)
    if len(values) not in (1, 3) or not usable:
        raise UsageError(f"{option} takes one number or three (R,G,B), not {text!r}")
    first, second, third = values if len(values) == 3 else values * 3
    return first, second, third


def host_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that select the machine to measure on."""
    section = "Another machine, over SSH"
    options = (
        option("--host", section=section, shown="this machine"),
        option("--python", section=section, default="python3"),
        option("--ssh-config", section=section),
    )
    return _with(options, command)


def device_options(several: bool = False) -> Decorator:
    """Options that select what computes.

    The command receives ``device`` (with ``several``: ``devices``, a tuple) and
    ``device_options``, a dict.
    """
    section = "Device"

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def with_device(
            device: str | tuple[str, ...], driver: tuple[str, ...], **settings: Any
        ) -> None:
            _refuse_address(device)
            selected = {"devices": device or ("cpu",)} if several else {"device": device}
            command(**selected, device_options=pairs(driver), **settings)

        default = None if several else "cpu"
        shown = "cpu; repeatable" if several else "cpu"
        options = (
            option("--device", section=section, default=default, shown=shown, multiple=several),
            option("--device-option", section=section, multiple=True),
        )
        return _with(options, with_device)

    return decorate


def _refuse_address(device: str | tuple[str, ...]) -> None:
    """Refuse the address of a machine, which --device took before --host."""
    for name in (device,) if isinstance(device, str) else device:
        if name.startswith("ssh://"):
            raise UsageError(f"--device {name} is a machine: give it as --host {name}")


def pairs(settings: Sequence[str]) -> dict[str, str]:
    """``KEY=VALUE`` settings as a dict; raises `UsageError` for another form."""
    pairs = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or not key:
            raise UsageError(f"--device-option {setting} is not KEY=VALUE, as precision=f32")
        pairs[key] = value
    return pairs


def _with(options: Sequence[Decorator], command: Callable[..., Any]) -> Callable[..., Any]:
    for each in reversed(options):
        command = each(command)
    return command
