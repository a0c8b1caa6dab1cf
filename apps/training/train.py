"""`train`: from a folder of photos to a run with a checkpoint of the user's classes."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from edge_effnet.adaptation import Adaptation
from edge_effnet.apps.training.continuing import begins_again, extended, resumed
from edge_effnet.apps.training.run import Run, is_run
from edge_effnet.apps.training.settings import Settings
from edge_effnet.apps.training.stages import Job, run_stages
from edge_effnet.apps.training.torch_files import let_waiting_threads_sleep
from edge_effnet.apps.training.tuning import check_can_fine_tune, check_fine_tuning, fine_tuned
from edge_effnet.benchmarks.accuracy.dataset import NO_LABELS
from edge_effnet.checkpoints import load
from edge_effnet.checkpoints.canonical import RUN_FILE
from edge_effnet.checkpoints.match import unusable
from edge_effnet.errors import (
    CheckpointError,
    EdgeEffNetError,
    OutputError,
    UsageError,
    require,
)
from edge_effnet.files import make_folder
from edge_effnet.model import Model
from edge_effnet.names import TrainRecipe
from edge_effnet.notices import Notify, warn
from edge_effnet.progress import ProgressOption, ignore_progress, reporting
from edge_effnet.registry import get_variant

PathOption = str | os.PathLike[str] | None
_POLL = 0.5  # seconds between two looks of a further process at the run's state


def train(
    photos: PathOption = None,
    *,
    variant: str | None = None,
    weights: str | os.PathLike[str] | None = None,
    out: str | os.PathLike[str] = "run",
    labels: PathOption = None,
    class_names: PathOption = None,
    recipe: TrainRecipe | None = None,
    epochs: int | None = None,
    more: int | None = None,
    resume: bool = False,
    resolution: int | None = None,
    seed: int | None = None,
    device: str | None = None,
    threads: int = 0,
    balanced: bool | None = None,
    teacher: PathOption = None,
    int8_aware: bool | None = None,
    activation: str | None = None,
    squeeze_excite: bool = True,
    progress: ProgressOption = None,
    notify: Notify | None = None,
) -> Run:
    """Train a classifier of the user's classes.

    The stages are: check the photos; train the head; fine-tune all layers; train the quantized
    network; write the page. Without torch, the training ends after the head. A run that was
    interrupted at any moment goes on with ``resume=True``.

    Args:
        photos: Folder with a folder of photos per class, or with the folders train, val and test of
            class folders. It may be omitted to continue a run.
        variant: Name of the variant; by default ``lite0``, or the variant of ``weights``.
        weights: Base checkpoint; by default ``imagenet``. The folder of an earlier run keeps the
            rows of its classifier by class name.
        out: Folder of the run.
        labels: CSV with the header ``file,label[,split]``, instead of class folders.
        class_names: File of class names in index order.
        recipe: default, head (the classifier only), efficientnet or efficientnetv2.
        epochs: Number of fine-tuning epochs; by default the recipe's.
        more: Number of fine-tuning epochs to add to a finished run. If classes were added to the
            photos, the run is trained for them from its network.
        resume: Whether to continue an interrupted run, with the settings that it was started with.
        resolution: Side of the input in pixels; by default the checkpoint's.
        seed: Seed of splits and training; by default 0.
        device: Device of fine-tuning: cpu, cuda, mps.
        threads: Compute threads; 0 is one per core.
        balanced: Whether rare classes are drawn as often as frequent ones.
        teacher: Checkpoint of the same classes, whose predictions are learned beside the labels.
        int8_aware: Whether the quantized network is trained too; by default yes, except for the
            recipe ``head``.
        activation: hswish or relu6: the activation that replaces swish, for accelerators. The
            original network teaches the adapted one.
        squeeze_excite: Whether squeeze-excite is kept.
        progress: Called with (step, done, total). By default progress bars appear in notebooks
            and terminals; False shows none.
        notify: Called with each sentence about the photos and results; None issues Python
            warnings.

    Returns:
        The finished run; `Run.model` is its network.

    Raises:
        UsageError: Options exclude each other, the folder holds another run, or the photos cannot
            be trained on.
        ImageError: The folder has no photos, or a photo disappeared.
        CheckpointError: The base checkpoint cannot be read.
        MissingExtra: A package is not installed.
        OutputError: The disk is full.

    Example:
        >>> run = train("photos/", variant="lite0", out="run/")  # doctest: +SKIP
        >>> files = export(run.model(), calibration="photos/", out="out/")  # doctest: +SKIP
    """
    say = notify or warn
    let_waiting_threads_sleep()
    if labels is not None and os.fspath(labels) == NO_LABELS:
        raise UsageError("a training needs labels: a CSV, or a folder per class")
    require("sklearn", "export")
    require("onnxruntime", "export")
    variant = _adapted(variant, weights, Adaptation(activation, squeeze_excite))
    chosen: dict[str, Any] = {
        "variant": variant,
        "weights": None if weights is None else os.fspath(weights),
        "labels": None if labels is None else os.path.abspath(labels),
        "class_names": None if class_names is None else os.path.abspath(class_names),
        "recipe": recipe,
        "epochs": epochs,
        "resolution": resolution,
        "seed": seed,
        "device": device,
        "balanced": balanced,
        "teacher": None if teacher is None else os.path.abspath(teacher),
        "int8_aware": int8_aware,
    }
    chosen = {name: value for name, value in chosen.items() if value is not None}
    folder = Path(out)
    if rank() > 0:
        return _follow(folder, more is not None)
    base: Model | None = None
    if resume or more is not None:
        if resume and more is not None:
            raise UsageError(
                "an interrupted training is continued, a finished one extended: not both at once",
                hint="give resume=True or more=EPOCHS",
            )
        run = Run.open(folder)
        run = (
            resumed(run, photos, chosen, say)
            if more is None
            else extended(run, photos, chosen, more, say)
        )
    else:
        if photos is None:
            raise UsageError("a training needs a folder of photos")
        run, base = _started(folder, Path(photos), chosen, say)
    # The number of threads belongs to the machine, not to the training.
    run = replace(run, settings=replace(run.settings, threads=threads))
    if run.state.stage in ("data", "head") and base is None:
        base = _base(run.settings, say)
    refused = nullcontext() if resume or more is not None else _nothing_left(run)
    with reporting(progress) as report, refused, _told_how_to_go_on(run, say):
        return run_stages(run, Job(base, report, say))


def _adapted(
    variant: str | None, weights: str | os.PathLike[str] | None, adaptation: Adaptation
) -> str | None:
    """Name of the adapted variant; ``variant`` itself without changes."""
    if adaptation == Adaptation():
        return variant
    if variant in (None, "auto"):
        if weights in (None, "imagenet", "random"):
            variant = "lite0"
        else:
            file = Run.open(os.fspath(weights)).model_file if is_run(weights) else weights
            variant = load("auto", file, notify=lambda text: None).variant.name
    return adaptation.variant(get_variant(str(variant))).name


def _started(
    folder: Path, photos: Path, chosen: Mapping[str, Any], say: Notify
) -> tuple[Run, Model]:
    """A new run in ``folder``, with its base network."""
    if is_run(folder) and not _is_empty(Run.open(folder)):
        raise UsageError(
            f"{folder} holds a training already: continue it, extend it, or choose another folder",
            hint="give resume=True, more=EPOCHS or out=FOLDER",
        )
    values = dict(chosen)
    recipe = values.get("recipe")
    if recipe not in (None, "head"):
        check_can_fine_tune()
    weights = values.pop("weights", "imagenet")
    values["keep_rows"] = is_run(weights)
    if is_run(weights):
        weights = str(Run.open(weights).model_file)
    if os.path.exists(weights):
        weights = os.path.abspath(weights)
    name = values.pop("variant", "lite0" if weights in ("imagenet", "random") else "auto")
    # The class names are not known yet, and the paths are checked before the network is loaded.
    settings = Settings(os.path.abspath(photos), name, weights, **values)
    base = _base(settings, say)
    settings = Settings(os.path.abspath(photos), base.variant.name, weights, **values)
    check_fine_tuning(base, settings)
    source = base.info.source
    make_folder(folder)
    run = Run(folder, settings, weights_sha256="" if source is None else source.sha256)
    return run.write(), base


def _is_empty(run: Run) -> bool:
    """Whether the run stopped before its photos were accepted, so that a new one may replace it."""
    return run.state.stage == "data" and not run.base_file.is_file()


def _base(settings: Settings, say: Notify) -> Model:
    def relevant(text: str) -> None:
        if not text.endswith("train it before use"):  # that is what happens now
            say(text)

    base = load(settings.variant, settings.weights, resolution=settings.resolution, notify=relevant)
    problem = unusable(base.weights)
    if problem is not None:
        raise CheckpointError(f"{settings.weights} cannot be trained from: {problem}")
    return base


@contextmanager
def _nothing_left(run: Run) -> Iterator[None]:
    """Remove a new run whose photos are refused."""
    try:
        yield
    except EdgeEffNetError:
        with suppress(EdgeEffNetError, OSError):
            if _is_empty(Run.open(run.folder)):
                (run.folder / RUN_FILE).unlink()
                run.folder.rmdir()
        raise


@contextmanager
def _told_how_to_go_on(run: Run, say: Notify) -> Iterator[None]:
    """On Ctrl-C or a full disk, tell the user how to continue the run."""
    try:
        yield
    except KeyboardInterrupt:
        if _has_unread_classes(run):
            say(f"the training in {run.folder} is as it was before: extend it again")
        else:
            say(f"the training in {run.folder} goes on with resume=True")
        raise
    except OutputError:
        with suppress(EdgeEffNetError, OSError):
            if not _is_empty(Run.open(run.folder)) and not _has_unread_classes(run):
                say(f"with more space, the training in {run.folder} goes on with resume=True")
        raise


def _has_unread_classes(run: Run) -> bool:
    """Whether ``run`` is an extension by classes and its folder still holds the finished run."""
    return begins_again(run) and Run.open(run.folder).state.stage == "done"


def rank() -> int:
    """Number of this process among those that ``torchrun`` started; 0 for a single process."""
    return int(os.environ.get("RANK", "0"))


def _follow(folder: Path, extends: bool) -> Run:
    """A further process of ``torchrun``: it waits for the head and takes part in fine-tuning.

    If the first process fails, ``torchrun`` ends the others.
    """
    waiting = ("data", "head", "done") if extends else ("data", "head")
    while not is_run(folder) or Run.open(folder).state.stage in waiting:
        time.sleep(_POLL)
    run = Run.open(folder)
    if run.state.stage == "fine_tuning":
        fine_tuned(run, lambda row: None, ignore_progress)
    return run
