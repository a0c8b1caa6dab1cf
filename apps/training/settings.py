"""Settings: everything that the user of `train` chose, as plain data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from edge_effnet.errors import UsageError
from edge_effnet.names import TrainRecipe
from edge_effnet.threads import check_threads

TRAIN_RECIPES: tuple[TrainRecipe, ...] = get_args(TrainRecipe)


@dataclass(frozen=True)
class Settings:
    """The choices of one training.

    Attributes:
        photos: Folder of photos.
        variant: Full name of the variant.
        weights: Path of the base checkpoint, ``imagenet`` or ``random``.
        labels: CSV with the header ``file,label[,split]``; None for a folder per class.
        class_names: File of class names in index order; None for the order of the names.
        recipe: Training recipe.
        epochs: Number of fine-tuning epochs; None for the recipe's.
        more: Epochs added to the finished run.
        resolution: Side of the input in pixels; None for the checkpoint's.
        seed: Seed of the splits and of everything random in the training.
        device: Device of fine-tuning, as torch names it: cpu, cuda, mps.
        threads: Compute threads; 0 is one per core.
        balanced: Whether rare classes are drawn as often as frequent ones.
        teacher: Checkpoint to distil from, or None.
        int8_aware: Whether the last epochs train the quantized network.
        keep_rows: Whether the base classifier's rows are kept by class name, because the base is
            the network of an earlier run.
    """

    photos: str
    variant: str
    weights: str = "imagenet"
    labels: str | None = None
    class_names: str | None = None
    recipe: TrainRecipe = "default"
    epochs: int | None = None
    more: int = 0
    resolution: int | None = None
    seed: int = 0
    device: str = "cpu"
    threads: int = 0
    balanced: bool = False
    teacher: str | None = None
    int8_aware: bool = True
    keep_rows: bool = False

    def __post_init__(self) -> None:
        if self.recipe not in TRAIN_RECIPES:
            raise UsageError(
                f"unknown training recipe {self.recipe!r}; known: {', '.join(TRAIN_RECIPES)}"
            )
        for name, smallest in (("epochs", 1), ("resolution", 1), ("more", 0)):
            value = getattr(self, name)
            if value is not None and value < smallest:
                raise UsageError(f"{name} must be at least {smallest}, not {value}")
        check_threads(self.threads, least=0)
