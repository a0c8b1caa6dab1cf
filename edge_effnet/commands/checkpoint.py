"""Options that describe a checkpoint, shared by the commands that read checkpoints."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, cast

from edge_effnet.commands.options import channels
from edge_effnet.commands.terminal import note
from edge_effnet.commands.vocabulary import option
from edge_effnet.errors import UsageError

if TYPE_CHECKING:
    from edge_effnet.model import Model
    from edge_effnet.names import OutputActivation
    from edge_effnet.preprocess import CropMode, Interpolation


@dataclass(frozen=True)
class CheckpointOptions:
    """The user's description of a checkpoint; None for properties to be detected."""

    checkpoint_type: str | None
    class_names: str | None
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
        """Load the model; notes for the user go to standard error."""
        from edge_effnet.checkpoints import load

        return load(
            variant,
            weights,
            labels=self.class_names,
            source=self.checkpoint_type,
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


IMAGENET = "imagenet"
weights_option = option("--weights", default=IMAGENET)
_SUFFIX = re.compile(r"\.[A-Za-z]\w*$")

_SECTION = "Checkpoint"
_OPTIONS = (
    option("--checkpoint-type", section=_SECTION, shown="detected"),
    option("--class-names", section=_SECTION, shown="the checkpoint's"),
    option("--resolution", section=_SECTION, shown="the variant's"),
    option("--classes", section=_SECTION, shown="the checkpoint's"),
    option("--mean", section=_SECTION, shown="the checkpoint's"),
    option("--std", section=_SECTION, shown="the checkpoint's"),
    option("--crop", section=_SECTION, shown="the checkpoint's"),
    option("--interpolation", section=_SECTION, shown="the checkpoint's"),
    option("--crop-mode", section=_SECTION, shown="the checkpoint's"),
    option("--output-activation", section=_SECTION, shown="the checkpoint's, or softmax"),
    option("--head", section=_SECTION, shown="the checkpoint's"),
)


def is_path(text: str) -> bool:
    """Whether the argument VARIANT is a path: an existing one, or text that looks like a path."""
    from edge_effnet.registry import get_variant

    try:
        get_variant(text)
    except UsageError:
        return os.path.exists(text) or os.sep in text or bool(_SUFFIX.search(text))
    return False


def variant_and_weights(variant: str, weights: str) -> tuple[str, str]:
    """The variant and the weights that the user gave.

    If the argument VARIANT is a checkpoint file, the variant is 'auto' and this file the weights.
    Raises `UsageError` if it names a variant and a checkpoint here, and no weights are given.
    """
    if variant.strip().lower() == "auto" or not is_path(variant):
        if weights == IMAGENET and any(map(os.path.isfile, (variant, f"{variant}/run.json"))):
            raise UsageError(
                f"{variant} is the name of a variant and of a checkpoint here: give ./{variant} "
                "for the checkpoint, or the variant in another folder"
            )
        return variant, weights
    if weights != IMAGENET:
        raise UsageError(
            f"{variant} and --weights {weights} are two checkpoints: give one, or the name of a "
            "variant with --weights"
        )
    return "auto", variant


def checkpoint_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options to ``command``, which receives them as one argument, ``checkpoint``."""

    @functools.wraps(command)
    def with_options(**values: Any) -> None:
        options = {field.name: values.pop(field.name) for field in fields(CheckpointOptions)}
        command(checkpoint=CheckpointOptions(**options), **values)

    decorated: Callable[..., None] = with_options
    for each in reversed(_OPTIONS):
        decorated = each(decorated)
    return decorated
