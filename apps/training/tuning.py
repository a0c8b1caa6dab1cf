"""Fine-tuning of a run: whether it is possible, and its networks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import TYPE_CHECKING

from edge_effnet.apps.training.metrics import EpochMetrics
from edge_effnet.apps.training.run import Run
from edge_effnet.apps.training.settings import Settings
from edge_effnet.checkpoints import load
from edge_effnet.errors import MissingExtra
from edge_effnet.installation import pip_line
from edge_effnet.model import Model
from edge_effnet.progress import Progress

if TYPE_CHECKING:
    from edge_effnet.apps.training.fine_tuning.settings import FineTuneSettings

#: Packages that fine-tuning needs; the extra ``train`` has them.
_TRAINING_PACKAGES = ("torch", "timm")


def can_fine_tune() -> bool:
    """Whether the packages for fine-tuning are installed."""
    return all(find_spec(package) is not None for package in _TRAINING_PACKAGES)


def check_can_fine_tune(
    alternative: str = "or give recipe='head' to train the classifier only",
) -> None:
    """Raise `MissingExtra` unless the packages for fine-tuning are installed.

    Args:
        alternative: Hint at what is possible without them; may be empty.
    """
    missing = [package for package in _TRAINING_PACKAGES if find_spec(package) is None]
    if missing:
        raise MissingExtra(
            f"fine-tuning needs {' and '.join(missing)} of the extra 'train': {pip_line('train')}",
            hint=alternative,
        )


def check_fine_tuning(
    base: Model, settings: Settings, class_names: tuple[str, ...] | None = None
) -> None:
    """Refuse a device, teacher or base network that fine-tuning cannot use.

    Without the packages for fine-tuning, and for the recipe ``head``, nothing is checked.
    """
    if settings.recipe == "head" or not can_fine_tune():
        return
    from edge_effnet.apps.training.fine_tuning.fine_tune import check

    check(base, _fine_tune_settings(settings), class_names)


def _fine_tune_settings(settings: Settings) -> FineTuneSettings:
    from edge_effnet.apps.training.fine_tuning.settings import FineTuneSettings

    return FineTuneSettings(
        recipe=settings.recipe,
        seed=settings.seed,
        device=settings.device,
        threads=settings.threads,
        balanced=settings.balanced,
        teacher=settings.teacher,
    )


@dataclass(frozen=True)
class FineTuned:
    """Result of fine-tuning; all three are the same network if no epoch was better than the head.

    Attributes:
        head: The network with the trained head.
        model: The network fine-tuned on the training photos; its validation accuracy is fair.
        final: The network fine-tuned on the training and validation photos, which is exported.
    """

    head: Model
    model: Model
    final: Model


def fine_tuned(run: Run, on_epoch: Callable[[EpochMetrics], None], progress: Progress) -> FineTuned:
    """Fine-tune the network of a run.

    Args:
        run: The run, past the head.
        on_epoch: Called with the metrics of each epoch.
        progress: Called with (step, done, total).

    Raises:
        MissingExtra: torch or timm is not installed.
    """
    check_can_fine_tune()
    from edge_effnet.apps.training.fine_tuning.devices import find_device, processes
    from edge_effnet.apps.training.fine_tuning.fine_tune import fine_tune, retrain

    settings, choices = run.settings, _fine_tune_settings(run.settings)
    if choices.teacher is None and run.teacher_file.is_file():
        choices = replace(choices, teacher=run.teacher_file)
    choices = replace(choices, epochs=(settings.epochs or choices.total_epochs) + settings.more)
    head, start = load("auto", run.head_file), load("auto", run.start_file)
    data, state = run.data(), run.state_file("fine_tuning")
    # Joined once: processes that leave torchrun's group and join again find the old connections.
    with processes(find_device(choices.device)):
        model = fine_tune(
            head, data, choices, state=state, start=start, on_epoch=on_epoch, progress=progress
        )
        if model is head:
            return FineTuned(head, head, head)
        final = retrain(start, model, data, choices, state=state, progress=progress)
    return FineTuned(head, model, final)
