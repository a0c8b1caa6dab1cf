"""`FineTuneSettings`: the user's choices for fine-tuning."""

from __future__ import annotations

import os
from dataclasses import dataclass

from edge_effnet.apps.training.fine_tuning.recipes import Recipe, get_recipe
from edge_effnet.errors import UsageError


@dataclass(frozen=True)
class FineTuneSettings:
    """The user's choices for fine-tuning.

    Attributes:
        recipe: Name of the recipe.
        epochs: Number of epochs; None for the recipe's.
        seed: Seed of everything random.
        device: Device as torch names it: cpu, cuda, cuda:1, mps.
        threads: Compute threads on a CPU; 0 is one per core.
        balanced: Whether classes are drawn equally often.
        teacher: Checkpoint whose predictions are learned beside the labels, or None.
    """

    recipe: str = "default"
    epochs: int | None = None
    seed: int = 0
    device: str = "cpu"
    threads: int = 0
    balanced: bool = False
    teacher: str | os.PathLike[str] | None = None

    def __post_init__(self) -> None:
        get_recipe(self.recipe)
        if self.epochs is not None and self.epochs < 1:
            raise UsageError(f"epochs must be at least 1, not {self.epochs}")

    @property
    def training_recipe(self) -> Recipe:
        """The recipe's data."""
        return get_recipe(self.recipe)

    @property
    def total_epochs(self) -> int:
        """Number of epochs."""
        return self.epochs or self.training_recipe.epochs
